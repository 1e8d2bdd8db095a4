//! The oracle: checks the invariants from what can be seen from outside.

//! Semantics and faults of the double, called without HTTP.

//! Settings: file, then environment, then flags; every mistake reported at once.

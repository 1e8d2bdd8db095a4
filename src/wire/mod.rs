//! The bytes that cross a boundary, as serde and schemars twins of the model. Pure.
//!
//! Decoding is total: any bytes give a value or a typed reason, never a panic (I9).

pub mod google;

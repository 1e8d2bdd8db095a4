//! The bytes that cross a boundary, as serde and schemars twins of the model. Pure.
//!
//! Decoding is total: any bytes give a value or a typed reason, never a panic (I9).

pub mod cloud_events;
pub mod command;
pub mod fit;
pub mod google;
pub mod headers;
pub mod ledger;
pub mod order;
pub mod outcome;
pub mod schema;

mod device;
mod json;
mod purpose;

pub use device::DeviceJson;
pub(crate) use json::shorten;
pub use purpose::PurposeJson;

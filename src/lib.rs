//! zerotouch-worker: order events from Kafka in, devices claimed, one outcome per device out.

pub mod model;
pub mod wire;

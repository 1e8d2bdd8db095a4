//! Doing: the room that talks to Kafka, to HTTP and to the clock.

pub mod http;
pub mod kafka;
pub mod telemetry;

//! zerotouch-worker: order events from Kafka in, devices claimed, one outcome per device out.

pub mod cli;
pub mod config;
pub mod demo;
pub mod engine;
pub mod model;
pub mod sandbox;
pub mod shell;
pub mod verify;
pub mod wire;

//! Doing: the room that talks to Kafka, to HTTP and to the clock.

mod causes;
mod clock;
mod limit;
mod lock;
mod positions;
mod reach;
mod rooms;
mod stats;
mod topics;

pub mod admin;
pub mod dispatch;
pub mod http;
pub mod intake;
pub mod kafka;
pub mod neighbours;
pub mod partitions;
pub mod rights;
pub mod run;
pub mod runtime;
mod shutdown;
pub mod telemetry;

pub use causes::chain;
pub use clock::Clock;
pub use stats::{Count, Stats};
pub use topics::Topics;

//! The whole product in one process: embedded broker, sandbox, a stream of orders, a summary.

pub mod progress;
pub mod scenario;
pub mod summary;

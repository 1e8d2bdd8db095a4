//! What the worker tells about itself while it runs: log lines and traces.

pub mod logs;
pub mod metrics;
pub mod traces;

//! Settings: file, then environment, then flags; every mistake reported at once.
//!
//! Text becomes a tree that knows where each value was written (`source`), the tree is checked
//! against the schema of [`settings`] (`decode`), then key against key (`check`), and what is right
//! becomes a [`Config`]. Nothing here touches the process environment, the network, or any file but
//! the one it is told to read. Secrets never print (I10).

mod check;
mod convert;
mod decode;
mod endpoint;
mod expected;
mod librdkafka;
mod load;
mod mistakes;
mod names;
mod owned_properties;
mod reference;
mod security;
pub mod settings;
mod source;
mod telemetry;
mod validated;
pub mod values;

pub use check::{LOG_LEVEL_EXPECTED, is_log_level};
pub use load::{ConfigArgs, DEFAULT_FILE, VARIABLE_PREFIX, load, load_text};
pub use mistakes::{Mistake, Mistakes, Origin};
pub use owned_properties::owned_property;
pub use reference::{reference_table, schema};
pub use settings::{GroupProtocol, LogFormat, OtlpProtocol};
pub use validated::{
    AccountConfig, AdminConfig, ApiConfig, AuthConfig, Config, IntakeConfig, KafkaConfig,
    LogConfig, TelemetryConfig, TopicsConfig,
};

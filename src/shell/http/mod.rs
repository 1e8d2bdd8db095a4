//! The reseller API over HTTP: one client for each account, and where its access tokens come from.
//!
//! What a reply means is decided in [`crate::wire::google`]; here is decided what was sent, what
//! certainly was not, and how long anything may take.

mod client;
mod error;
#[cfg(test)]
mod fake;
mod options;
pub(in crate::shell) mod tls;
mod token;

pub use client::{DevicePage, ResellerClient};
pub use error::ClientError;
pub use options::{Auth, ClientOptions};

//! `[api]` and `[[accounts]]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{mebibytes, seconds};
use crate::config::values::{ByteSize, Span};

/// `[api]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ApiSettings {
    /// Where the API is. Plain `http` is for a sandbox only: accounts with credentials refuse it.
    #[schemars(extend("x-expected" = "a URL such as https://host or http://host:port"))]
    pub endpoint: String,
    /// Longest wait for a connection, name resolution and TLS included.
    #[schemars(extend("x-min" = "100ms", "x-max" = "5m"))]
    pub connect_timeout: Span,
    /// Longest wait for a whole reply. At least `connect_timeout`.
    #[schemars(extend("x-min" = "100ms", "x-max" = "10m"))]
    pub request_timeout: Span,
    /// Largest reply to a poll, unpacked, in bytes, for each one under way; a larger one counts as
    /// broken. Submits and lookups have a bound of 1 MiB. The result of 1000 devices takes about
    /// 0.6 MB, and the metadata sent with them. At least 1000 bytes for each device of
    /// `batch.items_max`.
    #[schemars(extend("x-min" = "1MiB", "x-max" = "2GiB"))]
    pub response_memory: ByteSize,
    /// File of certificates (PEM) to trust beside the usual ones.
    pub ca_file: Option<PathBuf>,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            endpoint: "https://androiddeviceprovisioning.googleapis.com".to_owned(),
            connect_timeout: seconds(10),
            request_timeout: seconds(60),
            response_memory: mebibytes(64),
            ca_file: None,
        }
    }
}

/// Where access tokens come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// The JSON key file of a service account; `file` names it.
    ServiceAccountKey,
    /// `GOOGLE_APPLICATION_CREDENTIALS`, else gcloud's file, else the metadata server.
    #[default]
    ApplicationDefault,
    /// The metadata server: GKE workload identity, and Google's virtual machines.
    MetadataServer,
    /// No tokens: for the sandbox only.
    None,
}

/// `auth` of an account.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuthSettings {
    /// Where access tokens come from.
    pub kind: AuthKind,
    /// Path of the key file, with `kind = "service_account_key"` and only with it.
    #[schemars(length(min = 1))]
    pub file: Option<PathBuf>,
}

/// `[[accounts]]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["name", "partner_id"]))]
pub struct AccountSettings {
    /// The name that order events use. Required.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// The partner id in the zero-touch portal. Required.
    #[schemars(range(min = 1))]
    pub partner_id: i64,
    /// Where access tokens come from.
    pub auth: AuthSettings,
    /// API calls in any `quota_window`, over all workers: submissions, polls and lookups.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub quota_calls: u32,
    /// The window of the quota.
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    pub quota_window: Span,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            partner_id: 0,
            auth: AuthSettings::default(),
            quota_calls: 1_000,
            quota_window: seconds(100),
        }
    }
}

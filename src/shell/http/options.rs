//! What a client has to be told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::shell::telemetry::metrics::CallObserver;

/// Where access tokens come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// No tokens: for the sandbox only.
    None,
    /// The JSON key file of a service account.
    ServiceAccountKey(PathBuf),
    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names, else gcloud's well-known file, else
    /// the metadata server.
    #[default]
    ApplicationDefault,
    /// The metadata server: GKE workload identity, and Google's virtual machines.
    MetadataServer,
}

/// Options of one account's client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The account's name, for traces.
    pub account: Arc<str>,
    /// Where the API is; `https://androiddeviceprovisioning.googleapis.com` unless it is a sandbox.
    pub base_url: String,
    /// The partner id in the zero-touch portal.
    pub partner_id: String,
    /// Where access tokens come from.
    pub auth: Auth,
    /// Longest wait for a connection, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// Longest wait for a whole reply; for the token endpoint too.
    pub request_timeout: Duration,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Largest reply, unpacked, in bytes; a larger one counts as broken. A result of 1000
    /// devices takes about 0.6 MB, and their metadata.
    pub response_bytes_max: usize,
    /// Results of an operation that are kept at most. An operation that was taken over may be of a
    /// larger batch than this worker makes, so it is not the batch that says how many.
    pub results_max: usize,
    /// Pages that one lookup reads at most, of 100 devices each.
    pub find_pages_max: usize,
    /// Host and port of the metadata server, if it is not the usual one. Left out:
    /// `GCE_METADATA_HOST` decides.
    pub metadata_host: Option<String>,
    /// Told of every call.
    pub observer: Option<CallObserver>,
}

impl ClientOptions {
    /// Options for Google's API with the usual bounds.
    #[must_use]
    pub fn new(account: impl Into<Arc<str>>, partner_id: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            base_url: "https://androiddeviceprovisioning.googleapis.com".to_owned(),
            partner_id: partner_id.into(),
            auth: Auth::default(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            ca_file: None,
            response_bytes_max: 64 << 20,
            results_max: 2_000,
            find_pages_max: 10,
            metadata_host: None,
            observer: None,
        }
    }
}

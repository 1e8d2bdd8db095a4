//! Why a client cannot be made. All of these are mistakes in the configuration or its files.

use std::path::PathBuf;

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL is no such thing.
    #[error("base_url {url:?} is not an http or https URL without query: {reason}")]
    BaseUrl {
        /// As given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The partner id cannot stand in a path.
    #[error("partner_id {0:?} is not an id: give the number from the zero-touch portal")]
    PartnerId(String),
    /// A file cannot be read.
    #[error("cannot read {what} {}", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The CA file has no usable certificate in it.
    #[error("ca_file {} holds no usable PEM certificate", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
    },
    /// https cannot work without certificates to trust.
    #[error(
        "no CA certificates on this system: install ca-certificates, or set ca_file or \
         SSL_CERT_FILE"
    )]
    NoRoots,
    /// A credentials file is not one.
    #[error("credentials file {} is unusable: {reason}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong, without anything secret.
        reason: String,
    },
    /// The metadata server cannot be there.
    #[error("GCE_METADATA_HOST {0:?} is not a host with or without a port")]
    MetadataHost(String),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client")]
    Http(#[source] reqwest::Error),
}

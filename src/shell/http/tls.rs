//! Whom to trust: the system's certificates and the user's CA file; rustls with ring.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::ClientError;

/// A TLS configuration without ALPN. The provider is named here, so that nothing depends on a
/// process-wide default that another crate may have set.
///
/// # Errors
/// An unusable CA file; or, if `is_needed`, nobody to trust at all.
pub(in crate::shell) fn client_config(
    ca_file: Option<&Path>,
    is_needed: bool,
) -> Result<ClientConfig, ClientError> {
    let roots = roots(ca_file, is_needed)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Whom to trust.
///
/// # Errors
/// As of [`client_config`].
pub(in crate::shell) fn roots(
    ca_file: Option<&Path>,
    is_needed: bool,
) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "cannot load some of the system's CA certificates");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        let unusable = || ClientError::CaFile { path: path.to_owned() };
        let pem = std::fs::read(path).map_err(|source| ClientError::Read {
            what: "ca_file",
            path: path.to_owned(),
            source,
        })?;
        let certificates = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unusable())?;
        if certificates.is_empty() {
            return Err(unusable());
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|_| unusable())?;
        }
    }
    if is_needed && roots.is_empty() {
        return Err(ClientError::NoRoots);
    }
    Ok(roots)
}

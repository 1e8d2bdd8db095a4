//! What a record of the worker's own topics is meant for.
//!
//! Two installations that share a Kafka may by mistake share topics too. A command then says for
//! whom it was made, and nobody else carries it out.

use std::sync::Arc;

/// The reseller, the API and the group of workers that a record was made for. Nothing of it is
/// secret: the endpoint has no user name or password, and a partner id is no credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// Where the API is.
    pub endpoint: Arc<str>,
    /// The reseller's partner id.
    pub partner: Arc<str>,
    /// The consumer group of the workers, as it is configured.
    pub group: Arc<str>,
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, partner, group } = self;
        write!(f, "partner {partner} at {endpoint}, group {group}")
    }
}

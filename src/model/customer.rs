//! For whom a device is claimed: exactly one kind of customer id.

use std::num::NonZeroU64;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The customer of an order. The API takes one of the two ids, never both.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Customer {
    /// Company id of an Android zero-touch customer: a positive int64, as decimal text.
    #[serde(rename = "customerId")]
    ZeroTouch(String),
    /// Google Workspace customer id of a ChromeOS customer.
    #[serde(rename = "googleWorkspaceCustomerId")]
    Workspace(String),
}

impl Customer {
    /// The customer in 64 bits, for [`super::CommandFacts::customer`].
    #[must_use]
    pub fn short_hash(&self) -> NonZeroU64 {
        match self {
            Self::ZeroTouch(id) => short_hash(b'z', id),
            Self::Workspace(id) => short_hash(b'w', id),
        }
    }
}

/// 64 bits of a collision-resistant hash, for ids of which only equality is asked. `kind` keeps
/// ids of different kinds apart.
pub(super) fn short_hash(kind: u8, id: &str) -> NonZeroU64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]).update(id.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    NonZeroU64::new(u64::from_le_bytes(bytes)).unwrap_or(NonZeroU64::MIN)
}

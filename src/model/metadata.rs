//! Device metadata: text under text keys, merged per key.

use std::collections::BTreeMap;

/// The metadata key under which the API keeps the order number.
/// Source: <https://developers.google.com/zero-touch/guides/metadata>.
pub const ORDER_NUMBER: &str = "ordernumber";

/// Metadata of one device, in key order. At the API an empty value deletes its key.
pub type Metadata = BTreeMap<String, String>;

/// Bytes of a command's metadata at most, keys and values together. The API documents no bound;
/// this one leaves room for what people have, and no room for a document.
pub const METADATA_BYTES_MAX: usize = 4_096;

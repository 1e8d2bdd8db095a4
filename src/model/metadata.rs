//! Device metadata: text under text keys, merged per key.

use std::collections::BTreeMap;

/// The metadata key under which the API keeps the order number.
/// Source: <https://developers.google.com/zero-touch/guides/metadata>.
pub const ORDER_NUMBER: &str = "ordernumber";

/// Metadata of one device, in key order. At the API an empty value deletes its key.
pub type Metadata = BTreeMap<String, String>;

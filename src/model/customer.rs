//! For whom a device is claimed: exactly one kind of customer id.

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

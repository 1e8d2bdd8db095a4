//! What a command or a ledger record is meant for, as it stands in the record under `for`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Purpose;

/// Whom a record was made for. Another worker that reads it does nothing with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Purpose")]
pub struct PurposeJson<'a> {
    /// Where the API is.
    #[serde(borrow)]
    pub endpoint: Cow<'a, str>,
    /// The reseller's partner id.
    #[serde(borrow)]
    pub partner_id: Cow<'a, str>,
    /// The consumer group of the workers, as it is configured.
    #[serde(borrow)]
    pub group_id: Cow<'a, str>,
}

impl PurposeJson<'_> {
    /// Whether it says the same as that purpose: then it need not be kept a second time.
    #[must_use]
    pub fn is(&self, purpose: &Purpose) -> bool {
        *self.endpoint == *purpose.endpoint
            && *self.partner_id == *purpose.partner
            && *self.group_id == *purpose.group
    }
}

impl<'a> From<&'a Purpose> for PurposeJson<'a> {
    fn from(purpose: &'a Purpose) -> Self {
        Self {
            endpoint: Cow::Borrowed(&purpose.endpoint),
            partner_id: Cow::Borrowed(&purpose.partner),
            group_id: Cow::Borrowed(&purpose.group),
        }
    }
}

impl From<PurposeJson<'_>> for Purpose {
    fn from(json: PurposeJson<'_>) -> Self {
        Self {
            endpoint: json.endpoint.as_ref().into(),
            partner: json.partner_id.as_ref().into(),
            group: json.group_id.as_ref().into(),
        }
    }
}

//! Bodies of the calls we make. `Deserialize` too, since results echo the items.

use serde::{Deserialize, Serialize};

use super::{DeviceIdentifier, DeviceMetadata};

/// Body of `devices:claimAsync`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimDevicesRequest {
    /// One item a device.
    pub claims: Vec<PartnerClaim>,
}

/// One claim. Exactly one of the two customer fields is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartnerClaim {
    /// The device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_identifier: Option<DeviceIdentifier>,
    /// Always [`super::SECTION_ZERO_TOUCH`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_type: Option<String>,
    /// int64 as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// Workspace customer id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub google_workspace_customer_id: Option<String>,
    /// Metadata to set with the claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_metadata: Option<DeviceMetadata>,
    /// int64 as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_id: Option<String>,
    /// ChromeOS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_provisioning_token: Option<String>,
}

/// Body of `devices:unclaimAsync`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnclaimDevicesRequest {
    /// One item a device.
    pub unclaims: Vec<PartnerUnclaim>,
}

/// One unclaim. Exactly one of the two device fields is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartnerUnclaim {
    /// int64 as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_identifier: Option<DeviceIdentifier>,
    /// Always [`super::SECTION_ZERO_TOUCH`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_type: Option<String>,
}

/// Body of `devices:updateMetadataAsync`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateMetadataRequest {
    /// One item a device.
    pub updates: Vec<UpdateMetadataArguments>,
}

/// One metadata update. Exactly one of the two device fields is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateMetadataArguments {
    /// int64 as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_identifier: Option<DeviceIdentifier>,
    /// Keys to set; an empty value deletes its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_metadata: Option<DeviceMetadata>,
}

/// Body of `devices:findByIdentifier`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FindByIdentifierRequest {
    /// What to look for.
    pub device_identifier: DeviceIdentifier,
    /// Page size, 1 to 100, int64 as text.
    pub limit: String,
    /// Token of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
}

/// Body of `devices:findByOwner`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FindByOwnerRequest {
    /// Company ids, int64 as text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub customer_id: Vec<String>,
    /// Workspace customer ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub google_workspace_customer_id: Vec<String>,
    /// Page size, 1 to 100, int64 as text.
    pub limit: String,
    /// Token of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// Always [`super::SECTION_ZERO_TOUCH`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_type: Option<String>,
}

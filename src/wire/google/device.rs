//! Devices, their claims, and the companies that own them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::{short_list, short_map};

/// What one device and one page can have: more is a reply that cannot be trusted, and refused
/// before it takes memory. A page is asked for with 100 items.
const PAGE_MAX: usize = 200;
const CLAIMS_MAX: usize = 32;
const ENTRIES_MAX: usize = 4_096;

/// `DeviceIdentifier`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceIdentifier {
    /// First modem's IMEI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imei: Option<String>,
    /// Second modem's IMEI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imei2: Option<String>,
    /// First modem's MEID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meid: Option<String>,
    /// Second modem's MEID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meid2: Option<String>,
    /// Serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// `Build.MANUFACTURER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// `Build.MODEL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// ChromeOS attested device id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chrome_os_attested_device_id: Option<String>,
    /// `DEVICE_TYPE_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<String>,
}

/// `DeviceMetadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceMetadata {
    /// Text under text keys.
    #[serde(deserialize_with = "short_map::<_, ENTRIES_MAX>")]
    pub entries: BTreeMap<String, String>,
}

/// `Device`, as a reseller sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// int64 as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Resource name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Hardware ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_identifier: Option<DeviceIdentifier>,
    /// Metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_metadata: Option<DeviceMetadata>,
    /// Who holds it; empty when nobody does.
    #[serde(deserialize_with = "short_list::<_, _, CLAIMS_MAX>")]
    pub claims: Vec<DeviceClaim>,
}

/// `DeviceClaim`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceClaim {
    /// The customer's company id, int64 as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_company_id: Option<String>,
    /// The Workspace customer id, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub google_workspace_customer_id: Option<String>,
    /// The reseller that made the claim, int64 as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reseller_id: Option<String>,
    /// `SECTION_TYPE_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_type: Option<String>,
}

/// Reply of `devices:findByIdentifier` and `devices:findByOwner`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FindDevicesResponse {
    /// One page of devices.
    #[serde(deserialize_with = "short_list::<_, _, PAGE_MAX>")]
    pub devices: Vec<Device>,
    /// Token of the next page; absent or empty on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// Number of matches over all pages.
    pub total_size: i32,
}

/// `Company`: a customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Company {
    /// int64 as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_id: Option<String>,
    /// Display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_name: Option<String>,
    /// `TERMS_STATUS_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms_status: Option<String>,
}

/// Reply of `partners.customers.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListCustomersResponse {
    /// One page of customers.
    #[serde(deserialize_with = "short_list::<_, _, PAGE_MAX>")]
    pub customers: Vec<Company>,
    /// Token of the next page; absent or empty on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// Number of customers over all pages.
    pub total_size: i32,
}

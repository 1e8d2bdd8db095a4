//! Calls, replies and errors of the double as plain values, free of HTTP.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::wire::google::{
    ClaimDevicesRequest, Device, DeviceMetadata, FindByIdentifierRequest, FindByOwnerRequest,
    FindDevicesResponse, Operation, PartnerClaim, PartnerUnclaim, UnclaimDevicesRequest,
    UpdateMetadataRequest,
};

/// A method of the reseller API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Method {
    /// `partners.devices.claim`.
    #[serde(rename = "claim")]
    Claim,
    /// `partners.devices.claimAsync`.
    #[serde(rename = "claimAsync")]
    ClaimAsync,
    /// `partners.devices.unclaim`.
    #[serde(rename = "unclaim")]
    Unclaim,
    /// `partners.devices.unclaimAsync`.
    #[serde(rename = "unclaimAsync")]
    UnclaimAsync,
    /// `partners.devices.updateMetadataAsync`.
    #[serde(rename = "updateMetadataAsync")]
    UpdateMetadataAsync,
    /// `partners.devices.metadata`.
    #[serde(rename = "metadata")]
    Metadata,
    /// `partners.devices.findByIdentifier`.
    #[serde(rename = "findByIdentifier")]
    FindByIdentifier,
    /// `partners.devices.findByOwner`.
    #[serde(rename = "findByOwner")]
    FindByOwner,
    /// `partners.devices.get`.
    #[serde(rename = "devices.get")]
    GetDevice,
    /// `partners.customers.create`.
    #[serde(rename = "customers.create")]
    CreateCustomer,
    /// `partners.customers.list`.
    #[serde(rename = "customers.list")]
    ListCustomers,
    /// `partners.vendors.list`.
    #[serde(rename = "vendors.list")]
    ListVendors,
    /// `partners.vendors.customers.list`.
    #[serde(rename = "vendors.customers.list")]
    ListVendorCustomers,
    /// `operations.get`.
    #[serde(rename = "operations.get")]
    GetOperation,
    /// No method of the API: an unknown path, or a device seeded over the control route.
    #[serde(rename = "none")]
    None,
}

impl Method {
    /// The name that faults, logs and statistics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::ClaimAsync => "claimAsync",
            Self::Unclaim => "unclaim",
            Self::UnclaimAsync => "unclaimAsync",
            Self::UpdateMetadataAsync => "updateMetadataAsync",
            Self::Metadata => "metadata",
            Self::FindByIdentifier => "findByIdentifier",
            Self::FindByOwner => "findByOwner",
            Self::GetDevice => "devices.get",
            Self::CreateCustomer => "customers.create",
            Self::ListCustomers => "customers.list",
            Self::ListVendors => "vendors.list",
            Self::ListVendorCustomers => "vendors.customers.list",
            Self::GetOperation => "operations.get",
            Self::None => "none",
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One call: who makes it, and what is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The partner of the path; empty for `operations.get`, which has none.
    pub partner: String,
    /// The bearer token, if one came.
    pub token: Option<String>,
    /// What is asked.
    pub request: Request,
}

impl Call {
    /// A call without a token.
    #[must_use]
    pub fn new(partner: impl Into<String>, request: Request) -> Self {
        Self { partner: partner.into(), token: None, request }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `partners.devices.claim`; its body has the fields of one claim.
    Claim(PartnerClaim),
    /// `partners.devices.claimAsync`.
    ClaimAsync(ClaimDevicesRequest),
    /// `partners.devices.unclaim`; its body has the fields of one unclaim.
    Unclaim(PartnerUnclaim),
    /// `partners.devices.unclaimAsync`.
    UnclaimAsync(UnclaimDevicesRequest),
    /// `partners.devices.updateMetadataAsync`.
    UpdateMetadataAsync(UpdateMetadataRequest),
    /// `partners.devices.metadata`.
    Metadata {
        /// The device id of the path.
        device_id: String,
        /// Keys to set; an empty value deletes its key.
        metadata: DeviceMetadata,
    },
    /// `partners.devices.findByIdentifier`.
    FindByIdentifier(FindByIdentifierRequest),
    /// `partners.devices.findByOwner`.
    FindByOwner(FindByOwnerRequest),
    /// `partners.devices.get`.
    GetDevice {
        /// The device id of the path.
        device_id: String,
    },
    /// `partners.customers.create`.
    CreateCustomer(CompanyBody),
    /// `partners.customers.list`.
    ListCustomers(Paging),
    /// `partners.vendors.list`.
    ListVendors(Paging),
    /// `partners.vendors.customers.list`.
    ListVendorCustomers {
        /// The vendor's company id.
        vendor: String,
        /// Which page.
        paging: Paging,
    },
    /// `operations.get`.
    GetOperation {
        /// `operations/…`, whole.
        name: String,
    },
    /// A call that could not be understood: counted, logged and answered with its error.
    Malformed {
        /// The method it was meant for, as far as the path tells.
        method: Method,
        /// The answer.
        error: ApiError,
    },
}

impl Request {
    /// The method that is called.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Claim(_) => Method::Claim,
            Self::ClaimAsync(_) => Method::ClaimAsync,
            Self::Unclaim(_) => Method::Unclaim,
            Self::UnclaimAsync(_) => Method::UnclaimAsync,
            Self::UpdateMetadataAsync(_) => Method::UpdateMetadataAsync,
            Self::Metadata { .. } => Method::Metadata,
            Self::FindByIdentifier(_) => Method::FindByIdentifier,
            Self::FindByOwner(_) => Method::FindByOwner,
            Self::GetDevice { .. } => Method::GetDevice,
            Self::CreateCustomer(_) => Method::CreateCustomer,
            Self::ListCustomers(_) => Method::ListCustomers,
            Self::ListVendors(_) => Method::ListVendors,
            Self::ListVendorCustomers { .. } => Method::ListVendorCustomers,
            Self::GetOperation { .. } => Method::GetOperation,
            Self::Malformed { method, .. } => *method,
        }
    }
}

/// `pageSize` and `pageToken` of the list methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// Absent or 0: everything on one page.
    pub page_size: usize,
    /// Token of the page before.
    pub page_token: Option<String>,
}

/// `Company` with every field that the API documents for resellers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CompanyBody {
    /// Resource name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// int64 as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_id: Option<String>,
    /// Display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_name: Option<String>,
    /// Owners' addresses; at least one to create a customer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_emails: Vec<String>,
    /// Administrators' addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub admin_emails: Vec<String>,
    /// `TERMS_STATUS_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms_status: Option<String>,
    /// Language of the mails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_code: Option<String>,
    /// Ignored by the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_welcome_email: Option<bool>,
    /// The Workspace account of a ChromeOS customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub google_workspace_account: Option<WorkspaceAccount>,
}

/// `GoogleWorkspaceAccount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkspaceAccount {
    /// The Workspace customer id.
    pub customer_id: String,
    /// Tokens that a ChromeOS claim may carry; if none is listed, any is taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_provisioning_tokens: Vec<String>,
}

/// What a call that worked gives back.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// Of the `…Async` methods and `operations.get`.
    Operation(Box<Operation>),
    /// Of `claim`.
    #[serde(rename_all = "camelCase")]
    Claimed {
        /// int64 as text.
        device_id: String,
        /// Resource name.
        device_name: String,
    },
    /// Of `devices.get`.
    Device(Box<Device>),
    /// Of the two searches.
    Devices(FindDevicesResponse),
    /// Of `metadata`.
    Metadata(DeviceMetadata),
    /// Of `customers.create`.
    Company(Box<CompanyBody>),
    /// Of `customers.list` and `vendors.customers.list`.
    #[serde(rename_all = "camelCase")]
    Customers {
        /// One page.
        customers: Vec<CompanyBody>,
        /// Empty on the last page.
        next_page_token: String,
        /// Over all pages.
        total_size: usize,
    },
    /// Of `vendors.list`.
    #[serde(rename_all = "camelCase")]
    Vendors {
        /// One page.
        vendors: Vec<CompanyBody>,
        /// Empty on the last page.
        next_page_token: String,
        /// Over all pages.
        total_size: usize,
    },
    /// Of `unclaim`.
    Empty {},
}

/// How a reply travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// It arrives.
    #[default]
    Sent,
    /// The connection is closed in its place.
    Closed,
    /// Nothing comes and the connection stays open.
    Hung,
    /// Half of it arrives, as if that were all.
    CutOff,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// How long it takes beyond the network's own time.
    pub delay: Duration,
    /// Whether it arrives.
    pub delivery: Delivery,
    /// What it says, or would have said.
    pub result: Result<Body, ApiError>,
}

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// Name of the RPC code.
    pub status: &'static str,
    /// For developers.
    pub message: String,
    /// A `CustomErrorCode`, shown when structured details are asked for.
    pub reason: Option<&'static str>,
    /// Value of `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with the RPC code that belongs to the HTTP status.
    #[must_use]
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        let status = match code {
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            409 => "ABORTED",
            429 => "RESOURCE_EXHAUSTED",
            499 => "CANCELLED",
            500 => "INTERNAL",
            501 => "UNIMPLEMENTED",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            _ => "UNKNOWN",
        };
        Self { code, status, message: message.into(), reason: None, retry_after: None }
    }

    /// The same with a `CustomErrorCode`.
    #[must_use]
    pub fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// A 400.
    #[must_use]
    pub fn invalid(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(400, message).because(reason)
    }

    /// The envelope; `structured` adds the details of format version 2.
    #[must_use]
    pub fn envelope(&self, structured: bool) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if let (true, Some(reason)) = (structured, self.reason) {
            error["details"] = json!([{
                "@type": "type.googleapis.com/google.android.device.provisioning.v1.CustomError",
                "code": reason,
                "message": self.message,
            }]);
        }
        json!({ "error": error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_methods_name_is_also_its_json_form() {
        for method in [Method::Claim, Method::UpdateMetadataAsync, Method::GetOperation] {
            assert_eq!(serde_json::to_value(method).unwrap(), method.as_str());
        }
    }

    #[test]
    fn details_appear_only_in_format_version_2() {
        let error = ApiError::invalid("INVALID_IMEI", "bad");
        assert_eq!(error.envelope(true)["error"]["details"][0]["code"], "INVALID_IMEI");
        assert!(error.envelope(false)["error"].get("details").is_none());
        assert_eq!(error.envelope(false)["error"]["status"], "INVALID_ARGUMENT");
    }
}

//! The long-running operation and its per-device results.

use serde::{Deserialize, Serialize};

use super::{PartnerClaim, PartnerUnclaim, UpdateMetadataArguments};

/// `Operation`. Running while `done` is false or absent, whatever `progress` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operation {
    /// `operations/…`, kept whole with its slashes.
    pub name: String,
    /// The only sign of the end.
    pub done: bool,
    /// Progress; absent at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<DevicesOperationMetadata>,
    /// Results, when done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<DevicesOperationResponse>,
    /// Documented as never set for device batches; handled all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RpcStatus>,
}

/// `DevicesLongRunningOperationMetadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DevicesOperationMetadata {
    /// Devices the server could parse; may differ from what was sent.
    pub devices_count: i32,
    /// `BATCH_PROCESS_…`.
    pub processing_status: String,
    /// 0 to 100; 100 does not mean done.
    pub progress: i32,
}

/// `DevicesLongRunningOperationResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DevicesOperationResponse {
    /// Devices that succeeded.
    pub success_count: i32,
    /// One item a device, at best.
    #[serde(deserialize_with = "super::lenient::each")]
    pub per_device_status: Vec<OperationPerDevice>,
}

/// `OperationPerDevice`: a result and the item it is about, of which one kind is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationPerDevice {
    /// Echo of a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<PartnerClaim>,
    /// Echo of an unclaim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unclaim: Option<PartnerUnclaim>,
    /// Echo of a metadata update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_metadata: Option<UpdateMetadataArguments>,
    /// What became of it.
    pub result: PerDeviceStatus,
}

/// `PerDeviceStatusInBatch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PerDeviceStatus {
    /// int64 as text; may be missing even on success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Type of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_identifier: Option<String>,
    /// For developers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// `SINGLE_DEVICE_STATUS_…`.
    pub status: String,
}

/// `google.rpc.Status`, inside an operation: `code` is an RPC code, not an HTTP one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RpcStatus {
    /// RPC code.
    pub code: i32,
    /// For developers.
    pub message: String,
}

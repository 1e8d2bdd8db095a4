//! The reseller API's JSON, version v1: what we send, what we read, and what a failure means.
//!
//! Field names and types follow the discovery document; `tests/discovery.rs` holds them to it.
//! int64 values are JSON strings; fields with default values may be absent; unknown enum values are
//! kept as text, since Google adds values without a new version.

mod build;
mod device;
pub mod failure;
mod lenient;
mod lookup;
mod method;
mod named;
mod operation;
mod reply;
mod requests;
pub mod results;
#[cfg(test)]
mod samples;

pub use build::{SubmitRequest, find_by_identifier, find_by_owner};
pub use device::{Company, Device, DeviceClaim, DeviceIdentifier, DeviceMetadata};
pub use device::{FindDevicesResponse, ListCustomersResponse};
pub use lookup::{closest, device_state};
pub use method::{Method, is_path_id, operation_id};
pub use operation::{
    DevicesOperationMetadata, DevicesOperationResponse, Operation, OperationPerDevice,
    PerDeviceStatus, RpcStatus,
};
pub use requests::{
    ClaimDevicesRequest, FindByIdentifierRequest, FindByOwnerRequest, PartnerClaim, PartnerUnclaim,
    UnclaimDevicesRequest, UpdateMetadataArguments, UpdateMetadataRequest,
};

/// The only section this worker touches.
pub const SECTION_ZERO_TOUCH: &str = "SECTION_TYPE_ZERO_TOUCH";

//! What an operation says, in our words. A result without a clear success is never one.

use super::{Operation, OperationPerDevice, PerDeviceStatus, failure};
use crate::model::{
    CallFailure, DeviceFault, DeviceHash, DeviceKey, DeviceResult, DeviceVerdict, FailureCode,
    OperationReply,
};

const PREFIX: &str = "SINGLE_DEVICE_STATUS_";

/// Reads the reply to a poll.
///
/// # Errors
/// [`CallFailure::Ambiguous`] when the bytes are not an operation, or one that says it is done and
/// gives neither results nor an error.
pub fn decode(body: &[u8]) -> Result<OperationReply, CallFailure> {
    let operation: Operation = serde_json::from_slice(body)
        .map_err(|e| failure::ambiguous(format!("the reply is not an operation: {e}")))?;
    reply(operation)
}

/// Reads the name of the operation that an asynchronous call has started.
///
/// # Errors
/// [`CallFailure::Ambiguous`]: the call was made, and nothing can be polled.
pub fn decode_name(body: &[u8]) -> Result<String, CallFailure> {
    let operation: Operation = serde_json::from_slice(body)
        .map_err(|e| failure::ambiguous(format!("the reply is not an operation: {e}")))?;
    if super::operation_id(&operation.name).is_none() {
        return Err(failure::ambiguous("the reply names no operation"));
    }
    Ok(operation.name)
}

/// Translates an operation.
///
/// # Errors
/// [`CallFailure::Ambiguous`] when it is done and gives neither results nor an error.
pub fn reply(operation: Operation) -> Result<OperationReply, CallFailure> {
    if !operation.done {
        let progress = operation.metadata.map(|metadata| metadata.progress.clamp(0, 100));
        return Ok(OperationReply::Running { progress: progress.and_then(|p| p.try_into().ok()) });
    }
    if let Some(response) = operation.response {
        let results = response.per_device_status.into_iter().map(device_result).collect();
        return Ok(OperationReply::Done { results });
    }
    match operation.error {
        Some(error) => Ok(OperationReply::Failed {
            code: error.code,
            message: failure::redact(&error.message),
        }),
        None => Err(failure::ambiguous("the operation is done without response and error")),
    }
}

fn device_result(item: OperationPerDevice) -> DeviceResult {
    let OperationPerDevice { claim, unclaim, update_metadata, result } = item;
    let (device_id, identifier) = if let Some(echo) = claim {
        (None, echo.device_identifier)
    } else if let Some(echo) = unclaim {
        (echo.device_id, echo.device_identifier)
    } else if let Some(echo) = update_metadata {
        (echo.device_id, echo.device_identifier)
    } else {
        (None, None)
    };
    // The result's own device id is not used: it would give a key that no command has.
    let device = DeviceKey::of(
        &identifier.map(Into::into).unwrap_or_default(),
        device_id.as_deref().filter(|id| !id.is_empty()),
    );
    DeviceResult { device: device.as_ref().map(DeviceKey::hash), verdict: verdict(result) }
}

fn verdict(result: PerDeviceStatus) -> DeviceVerdict {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (code, retryable) = match result.status.strip_prefix(PREFIX).unwrap_or_default() {
        "SUCCESS" => {
            let device_id = some(result.device_id).map(Into::into);
            return DeviceVerdict::Succeeded { device_id };
        }
        "PERMISSION_DENIED" => (FailureCode::DevicePermissionDenied, false),
        "INVALID_DEVICE_IDENTIFIER" => (FailureCode::DeviceInvalidIdentifier, false),
        "INVALID_SECTION_TYPE" => (FailureCode::DeviceInvalidSectionType, false),
        "SECTION_NOT_YOURS" => (FailureCode::DeviceNotYours, false),
        "INVALID_TOKEN" => (FailureCode::DeviceInvalidToken, false),
        "REVOKED_TOKEN" => (FailureCode::DeviceRevokedToken, false),
        "DEVICE_LIMIT_EXCEEDED" => (FailureCode::DeviceLimitExceeded, false),
        // OTHER_ERROR, UNKNOWN_ERROR, UNSPECIFIED, none at all, and what is newer than this worker.
        _ => (FailureCode::DeviceOther, true),
    };
    DeviceVerdict::Failed(Box::new(DeviceFault {
        code,
        api_status: failure::redact(&result.status),
        api_identifier: some(result.error_identifier).map(|text| failure::redact(&text)),
        api_message: some(result.error_message).map(|text| failure::redact(&text)),
        retryable,
    }))
}

/// The hash a result about this command carries.
#[cfg(test)]
fn hash_of(command: &crate::model::Command) -> Option<DeviceHash> {
    command.device_key().as_ref().map(DeviceKey::hash)
}

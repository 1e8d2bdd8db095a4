//! What an operation says, in our words. A result without a clear success is never one.

use super::{Operation, OperationPerDevice, PerDeviceStatus, failure};
use crate::model::{
    CallFailure, DeviceFault, DeviceKey, DeviceResult, DeviceVerdict, FailureCode, OperationReply,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::{Action, Command};
    use crate::wire::google::{SubmitRequest, samples};

    fn decode_json(value: &serde_json::Value) -> Result<OperationReply, CallFailure> {
        decode(value.to_string().as_bytes())
    }

    /// The one result of an operation whose one item has this `result`.
    #[allow(clippy::needless_pass_by_value, reason = "reads better at the callers")]
    fn result_of(result: serde_json::Value) -> DeviceVerdict {
        let operation = json!({"name": "operations/1", "done": true, "response": {
            "perDeviceStatus": [{"result": result}]
        }});
        match decode_json(&operation) {
            Ok(OperationReply::Done { mut results }) => results.remove(0).verdict,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_operation_runs_until_it_says_done_whatever_its_progress() {
        let running = |progress| Ok(OperationReply::Running { progress });
        assert_eq!(decode_json(&json!({"name": "operations/1"})), running(None));
        for (progress, read) in [(0, 0), (100, 100), (1_000, 100), (-5, 0)] {
            let operation = json!({"metadata": {"progress": progress}, "response": {}});
            assert_eq!(decode_json(&operation), running(Some(read)));
        }
    }

    #[test]
    fn done_without_response_and_error_is_a_broken_reply_and_no_success() {
        let failure = decode_json(&json!({"name": "operations/1", "done": true})).unwrap_err();
        assert!(matches!(failure, CallFailure::Ambiguous { .. }));
    }

    #[test]
    fn an_error_of_the_operation_is_its_failure() {
        let operation = json!({"done": true, "error": {"code": 13, "message": "internal"}});
        let failed = OperationReply::Failed { code: 13, message: "internal".into() };
        assert_eq!(decode_json(&operation), Ok(failed));
    }

    #[test]
    fn only_the_success_status_is_a_success_and_the_device_id_may_be_missing() {
        let succeeded =
            |id: Option<&str>| DeviceVerdict::Succeeded { device_id: id.map(Into::into) };
        let status = "SINGLE_DEVICE_STATUS_SUCCESS";
        assert_eq!(result_of(json!({"status": status, "deviceId": "9"})), succeeded(Some("9")));
        assert_eq!(result_of(json!({"status": status})), succeeded(None));
        for other in
            ["", "SUCCESS", "SINGLE_DEVICE_STATUS_UNSPECIFIED", "single_device_status_success"]
        {
            let verdict = result_of(json!({"status": other, "deviceId": "9"}));
            assert!(matches!(verdict, DeviceVerdict::Failed(_)), "{other}");
        }
    }

    #[test]
    fn each_status_has_its_code_and_only_the_vague_ones_are_worth_a_retry() {
        let codes: Vec<String> = [
            "UNKNOWN_ERROR",
            "OTHER_ERROR",
            "PERMISSION_DENIED",
            "INVALID_DEVICE_IDENTIFIER",
            "INVALID_SECTION_TYPE",
            "SECTION_NOT_YOURS",
            "INVALID_TOKEN",
            "REVOKED_TOKEN",
            "DEVICE_LIMIT_EXCEEDED",
            "NEWER_THAN_US",
            "UNSPECIFIED",
        ]
        .iter()
        .map(|status| match result_of(json!({"status": format!("{PREFIX}{status}")})) {
            DeviceVerdict::Failed(fault) => {
                format!("{status} {} {}", fault.code.as_str(), fault.retryable)
            }
            DeviceVerdict::Succeeded { .. } => panic!("{status}"),
        })
        .collect();
        assert_eq!(
            codes,
            [
                "UNKNOWN_ERROR device.other true",
                "OTHER_ERROR device.other true",
                "PERMISSION_DENIED device.permission_denied false",
                "INVALID_DEVICE_IDENTIFIER device.invalid_identifier false",
                "INVALID_SECTION_TYPE device.invalid_section_type false",
                "SECTION_NOT_YOURS device.not_yours false",
                "INVALID_TOKEN device.invalid_token false",
                "REVOKED_TOKEN device.revoked_token false",
                "DEVICE_LIMIT_EXCEEDED device.limit_exceeded false",
                "NEWER_THAN_US device.other true",
                "UNSPECIFIED device.other true",
            ]
        );
    }

    #[test]
    fn the_api_s_own_words_are_kept_without_the_imei_in_them() {
        let verdict = result_of(json!({
            "status": "SINGLE_DEVICE_STATUS_OTHER_ERROR",
            "errorIdentifier": "DEVICE_ALREADY_EXISTS",
            "errorMessage": "device 490154203237518 exists",
        }));
        let DeviceVerdict::Failed(fault) = verdict else { panic!("{verdict:?}") };
        assert_eq!(fault.api_identifier.as_deref(), Some("DEVICE_ALREADY_EXISTS"));
        assert_eq!(fault.api_message.as_deref(), Some("device …7518 exists"));
    }

    #[test]
    fn a_result_without_a_usable_echo_names_no_device() {
        let operation = json!({"done": true, "response": {"perDeviceStatus": [
            {"result": {"deviceId": "9"}},
            {"result": {}, "claim": {"deviceIdentifier": {"model": "m"}}},
            {"result": {}, "unclaim": {"deviceId": ""}},
        ]}});
        let Ok(OperationReply::Done { results }) = decode_json(&operation) else { panic!() };
        assert!(results.iter().all(|result| result.device.is_none()), "{results:?}");
    }

    #[test]
    fn a_submit_reply_has_to_name_its_operation() {
        let name = decode_name(br#"{"name":"operations/apibatchoperation/12"}"#);
        assert_eq!(name.as_deref(), Ok("operations/apibatchoperation/12"));
        for bad in ["", "{}", "null", r#"{"name":"operations/"}"#, r#"{"name":"x"}"#, "<html>"] {
            let failure = decode_name(bad.as_bytes()).unwrap_err();
            assert!(matches!(failure, CallFailure::Ambiguous { .. }), "{bad}");
        }
    }

    /// What the server sends back when it echoes each item of the request as it came.
    fn echo(action: Action, commands: Vec<Command>) -> OperationReply {
        let body = serde_json::to_value(SubmitRequest::new(action, commands)).unwrap();
        let (list, kind) = match action {
            Action::Claim => ("claims", "claim"),
            Action::Unclaim => ("unclaims", "unclaim"),
            Action::UpdateMetadata => ("updates", "updateMetadata"),
        };
        let items: Vec<_> = body[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| json!({kind: item, "result": {"status": "SINGLE_DEVICE_STATUS_SUCCESS"}}))
            .collect();
        decode_json(&json!({"done": true, "response": {"perDeviceStatus": items}})).unwrap()
    }

    proptest! {
        #[test]
        fn the_echo_of_a_command_leads_back_to_its_device_key(
            (ids, device_id) in samples::identifiers(),
        ) {
            for action in Action::ALL {
                let command = samples::command(action, ids.clone(), device_id.as_deref());
                // A claim names identifiers, so that validation wants a full set for it.
                if action == Action::Claim && ids.clone().normalise(false).is_err() {
                    continue;
                }
                let hash = command.device_key().map(|key| key.hash());
                prop_assert!(hash.is_some());
                let OperationReply::Done { results } = echo(action, vec![command]) else {
                    panic!("not done");
                };
                prop_assert_eq!(results[0].device, hash);
            }
        }

        #[test]
        fn any_bytes_give_a_reply_or_a_failure(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = decode(&bytes);
            let _ = decode_name(&bytes);
        }

        #[test]
        fn an_operation_cut_or_bent_anywhere_gives_a_reply_or_a_failure(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut bytes = json!({"name": "operations/1", "done": true, "response": {
                "successCount": 1, "perDeviceStatus": [{"result": {"status": "X", "deviceId": "1"},
                "claim": {"deviceIdentifier": {"imei": "490154203237518", "meid": "é"}}}]
            }}).to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let _ = decode(&bytes);
        }
    }
}

//! What an operation says, in our words. A result without a clear success is never one.

use super::{Operation, OperationPerDevice, PerDeviceStatus, failure};
use crate::model::{
    CallFailure, DeviceFault, DeviceKey, DeviceResult, DeviceVerdict, FailureCode, OperationReply,
};

const PREFIX: &str = "SINGLE_DEVICE_STATUS_";

/// A reply to a poll, and what of it is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it says.
    pub reply: OperationReply,
    /// Results beyond those that there can be. They are not kept.
    pub beyond: usize,
    /// Results that cannot be read, as if they were not there.
    pub unreadable: usize,
}

/// Reads the reply to a poll, of whose results at most `results_max` are kept, and such beyond as
/// contradict one of these.
///
/// # Errors
/// [`CallFailure::Ambiguous`] when the bytes are not an operation, or one that says it is done and
/// gives neither results nor an error.
pub fn decode(body: &[u8], results_max: usize) -> Result<Decoded, CallFailure> {
    let read = super::reply::read(body, results_max)
        .map_err(|e| failure::ambiguous(format!("the reply is not an operation: {e}")))?;
    let decoded = |reply| Decoded { reply, beyond: 0, unreadable: 0 };
    if !read.done {
        return Ok(decoded(running(read.progress)));
    }
    if let Some(results) = read.results {
        let (beyond, unreadable) = (results.beyond, results.unreadable);
        return Ok(Decoded {
            reply: OperationReply::Done { results: results.kept },
            beyond,
            unreadable,
        });
    }
    failed(read.error).map(decoded)
}

fn running(progress: Option<i64>) -> OperationReply {
    let progress = progress.and_then(|progress| progress.clamp(0, 100).try_into().ok());
    OperationReply::Running { progress }
}

fn failed(error: Option<(i32, String)>) -> Result<OperationReply, CallFailure> {
    match error {
        Some((code, message)) => {
            Ok(OperationReply::Failed { code, message: failure::redact(&message) })
        }
        None => Err(failure::ambiguous("the operation is done without response and error")),
    }
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
        return Ok(running(operation.metadata.map(|metadata| metadata.progress.into())));
    }
    if let Some(response) = operation.response {
        let results = response.per_device_status.into_iter().map(device_result).collect();
        return Ok(OperationReply::Done { results });
    }
    failed(operation.error.map(|error| (error.code, error.message)))
}

pub(super) fn device_result(item: OperationPerDevice) -> DeviceResult {
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
        decode(value.to_string().as_bytes(), 10).map(|decoded| decoded.reply)
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

    fn success(imei: &str) -> serde_json::Value {
        json!({"claim": {"deviceIdentifier": {"imei": imei}},
               "result": {"status": "SINGLE_DEVICE_STATUS_SUCCESS", "deviceId": "9"}})
    }

    fn hash(imei: &str) -> Option<crate::model::DeviceHash> {
        let ids = crate::model::Identifiers { imei: Some(imei.into()), ..Default::default() };
        DeviceKey::of(&ids, None).map(|key| key.hash())
    }

    const A: &str = "356938035643809";
    const B: &str = "490154203237518";

    fn done(items: &[serde_json::Value], results_max: usize) -> (Vec<DeviceResult>, usize, usize) {
        let operation = json!({"done": true, "response": {"perDeviceStatus": items}});
        let decoded = decode(operation.to_string().as_bytes(), results_max).unwrap();
        let OperationReply::Done { results } = decoded.reply else { panic!("{decoded:?}") };
        (results, decoded.beyond, decoded.unreadable)
    }

    #[test]
    fn a_result_that_cannot_be_read_is_none_and_the_others_count() {
        let broken = [
            json!(5),
            json!("text"),
            json!([]),
            json!(null),
            json!({"result": []}),
            json!({"result": {"status": 5}, "claim": {"deviceIdentifier": {"imei": A}}}),
            json!({"result": {"status": "SINGLE_DEVICE_STATUS_SUCCESS", "deviceId": {"a": [1]}}}),
            json!({"result": {"status": "SINGLE_DEVICE_STATUS_SUCCESS", "deviceId": 1.5}}),
            json!({"result": {}, "claim": 7}),
            json!({"result": {}, "claim": {"deviceIdentifier": {"imei": true}}}),
            json!({"result": {}, "claim": {"deviceIdentifier": {"imei": "x".repeat(1_000)}}}),
        ];
        for item in broken {
            let (results, beyond, unreadable) = done(&[success(B), item.clone(), success(A)], 10);
            let devices: Vec<_> = results.iter().map(|result| result.device).collect();
            assert_eq!((devices, beyond, unreadable), (vec![hash(B), hash(A)], 0, 1), "{item}");
        }
        let twice = br#"{"done":true,"response":{"perDeviceStatus":[{"result":
            {"status":"SINGLE_DEVICE_STATUS_SUCCESS","status":"X"}}]}}"#;
        assert_eq!(decode(twice, 10).unwrap().unreadable, 1);
    }

    #[test]
    fn a_device_id_may_be_a_number_and_what_is_not_known_may_be_anything() {
        let mut item = success(A);
        item["result"]["deviceId"] = json!(1234567890123_u64);
        item["result"]["later"] = json!([[{"a": {}}], 1.5, null]);
        item["claim"]["customerId"] = json!(7);
        item["claim"]["deviceMetadata"] = json!("of another form");
        let (results, beyond, unreadable) = done(&[item], 10);
        assert_eq!((beyond, unreadable), (0, 0));
        let device_id = Some("1234567890123".into());
        assert_eq!(results[0].verdict, DeviceVerdict::Succeeded { device_id });
        let operation = json!({"metadata": {"progress": "40", "devicesCount": "x"}});
        assert_eq!(decode_json(&operation), Ok(OperationReply::Running { progress: Some(40) }));
    }

    #[test]
    fn of_too_many_results_those_beyond_are_counted_and_a_contradiction_is_kept() {
        let failed = json!({"claim": {"deviceIdentifier": {"imei": A}},
                            "result": {"status": "SINGLE_DEVICE_STATUS_OTHER_ERROR"}});
        let items = [success(A), success(B), success(A), failed.clone(), json!({}), failed];
        let (results, beyond, unreadable) = done(&items, 2);
        let devices: Vec<_> = results.iter().map(|result| result.device).collect();
        assert_eq!((beyond, unreadable), (4, 0));
        assert_eq!(devices, [hash(A), hash(B), hash(A)]);
        assert_ne!(results[0].verdict, results[2].verdict);
    }

    #[test]
    fn a_reply_that_contradicts_itself_is_broken() {
        for body in [
            r#"{"done":true,"done":false}"#,
            r#"{"done":"true"}"#,
            r#"{"done":true,"response":5}"#,
            r#"{"done":true,"response":{"perDeviceStatus":{}}}"#,
            r#"{"done":true,"response":{"perDeviceStatus":[],"perDeviceStatus":[]}}"#,
            r#"{"done":true,"response":{"perDeviceStatus":[]}}x"#,
            r#"[]"#,
        ] {
            let failure = decode(body.as_bytes(), 10).unwrap_err();
            assert!(matches!(failure, CallFailure::Ambiguous { .. }), "{body}");
        }
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
            let _ = decode(&bytes, 2);
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
            let _ = decode(&bytes, 2);
        }
    }
}

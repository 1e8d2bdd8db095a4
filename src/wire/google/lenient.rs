//! Results read one by one: what cannot be read of one is missing there, and harms no other.

use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use super::{OperationPerDevice, PerDeviceStatus};

/// Reads a list of results, of which each may have faults of its own.
pub(super) fn each<'de, D: Deserializer<'de>>(
    list: D,
) -> Result<Vec<OperationPerDevice>, D::Error> {
    struct Each;
    impl<'de> Visitor<'de> for Each {
        type Value = Vec<OperationPerDevice>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of results")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut results = Vec::new();
            while let Some(item) = list.next_element::<Value>()? {
                results.push(result(&item));
            }
            Ok(results)
        }
    }
    list.deserialize_seq(Each)
}

fn result(item: &Value) -> OperationPerDevice {
    OperationPerDevice::deserialize_from(item).unwrap_or_else(|| OperationPerDevice {
        claim: part(item, "claim"),
        unclaim: part(item, "unclaim"),
        update_metadata: part(item, "updateMetadata"),
        result: item.get("result").map(status).unwrap_or_default(),
    })
}

impl OperationPerDevice {
    fn deserialize_from(item: &Value) -> Option<Self> {
        serde::Deserialize::deserialize(item).ok()
    }
}

/// One part of a result, if it can be read.
fn part<T: DeserializeOwned>(item: &Value, key: &str) -> Option<T> {
    T::deserialize(item.get(key)?).ok()
}

/// A status whose ids may be numbers; one that is no text is none, which is no success.
fn status(status: &Value) -> PerDeviceStatus {
    let text = |key: &str| match status.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let word = status.get("status").and_then(Value::as_str);
    PerDeviceStatus {
        device_id: text("deviceId"),
        error_identifier: text("errorIdentifier"),
        error_message: text("errorMessage"),
        status: word.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::model::{DeviceVerdict, OperationReply};
    use crate::wire::google::results;

    #[test]
    fn a_result_that_cannot_be_read_harms_no_other() {
        let claim = |imei: &str| json!({"deviceIdentifier": {"imei": imei}});
        let good = json!({"status": "SINGLE_DEVICE_STATUS_SUCCESS", "deviceId": "7"});
        let number = json!({"status": "SINGLE_DEVICE_STATUS_SUCCESS", "deviceId": 12});
        let operation = json!({"done": true, "response": {"perDeviceStatus": [
            {"claim": claim("490154203237518"), "result": good},
            {"claim": claim("356938035643809"), "result": number},
            {"claim": claim("352099001761481"), "result": {"status": 3}},
            {"claim": 3, "result": good},
            {"claim": claim("356938030000005"), "result": "SUCCESS"},
            null,
            7,
        ]}});
        let reply = results::decode(operation.to_string().as_bytes());
        let Ok(OperationReply::Done { results }) = reply else { panic!("{reply:?}") };
        let succeeded: Vec<Option<&str>> = results
            .iter()
            .map(|result| match &result.verdict {
                DeviceVerdict::Succeeded { device_id } => device_id.as_deref(),
                DeviceVerdict::Failed(_) => None,
            })
            .collect();
        assert_eq!(succeeded, [Some("7"), Some("12"), None, Some("7"), None, None, None]);
        let known: Vec<bool> = results.iter().map(|result| result.device.is_some()).collect();
        assert_eq!(known, [true, true, true, false, true, false, false]);
    }
}

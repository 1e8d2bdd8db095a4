//! Proto3 JSON as Google's servers read and write it.
//!
//! Reading: int64 as text or number, `null` as absent, unknown fields and wrong types refused with
//! the path to them. Writing: default values left out, `@type` in the parts of an operation.

use serde_json::{Map, Value, json};

use crate::sandbox::api::{ApiError, Body};

/// Type of a field.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Int64,
    Int32,
    Bool,
    /// Text under text keys.
    TextMap,
    /// A message, by its fields.
    Message(Fields),
    List(&'static Kind),
}

/// Fields of a message.
pub(super) type Fields = &'static [(&'static str, FieldKind)];

/// Type of a field; opaque outside this file.
#[derive(Clone, Copy)]
pub(super) struct FieldKind(Kind);

const fn text(name: &'static str) -> (&'static str, FieldKind) {
    (name, FieldKind(Kind::Text))
}

const fn int64(name: &'static str) -> (&'static str, FieldKind) {
    (name, FieldKind(Kind::Int64))
}

const fn message(name: &'static str, fields: Fields) -> (&'static str, FieldKind) {
    (name, FieldKind(Kind::Message(fields)))
}

const fn list(name: &'static str, kind: &'static Kind) -> (&'static str, FieldKind) {
    (name, FieldKind(Kind::List(kind)))
}

const IDENTIFIER: Fields = &[
    text("imei"),
    text("imei2"),
    text("meid"),
    text("meid2"),
    text("serialNumber"),
    text("manufacturer"),
    text("model"),
    text("chromeOsAttestedDeviceId"),
    text("deviceType"),
];
const METADATA: Fields = &[("entries", FieldKind(Kind::TextMap))];
/// `PartnerClaim`, and the body of `claim`.
pub(super) const CLAIM: Fields = &[
    message("deviceIdentifier", IDENTIFIER),
    message("deviceMetadata", METADATA),
    text("sectionType"),
    int64("customerId"),
    text("googleWorkspaceCustomerId"),
    int64("configurationId"),
    text("preProvisioningToken"),
    int64("simlockProfileId"),
];
/// `PartnerUnclaim`, and the body of `unclaim`.
pub(super) const UNCLAIM: Fields = &[
    message("deviceIdentifier", IDENTIFIER),
    int64("deviceId"),
    text("sectionType"),
    ("vacationModeDays", FieldKind(Kind::Int32)),
    text("vacationModeExpireTime"),
];
const UPDATE: Fields = &[
    message("deviceIdentifier", IDENTIFIER),
    int64("deviceId"),
    message("deviceMetadata", METADATA),
];
/// Body of `claimAsync`.
pub(super) const CLAIMS: Fields = &[list("claims", &Kind::Message(CLAIM))];
/// Body of `unclaimAsync`.
pub(super) const UNCLAIMS: Fields = &[list("unclaims", &Kind::Message(UNCLAIM))];
/// Body of `updateMetadataAsync`.
pub(super) const UPDATES: Fields = &[list("updates", &Kind::Message(UPDATE))];
/// Body of `metadata`.
pub(super) const UPDATE_METADATA: Fields = &[message("deviceMetadata", METADATA)];
/// Body of `findByIdentifier`.
pub(super) const FIND_BY_IDENTIFIER: Fields =
    &[message("deviceIdentifier", IDENTIFIER), int64("limit"), text("pageToken")];
/// Body of `findByOwner`.
pub(super) const FIND_BY_OWNER: Fields = &[
    list("customerId", &Kind::Int64),
    list("googleWorkspaceCustomerId", &Kind::Text),
    int64("limit"),
    text("pageToken"),
    text("sectionType"),
];
const WORKSPACE: Fields = &[text("customerId"), list("preProvisioningTokens", &Kind::Text)];
const COMPANY: Fields = &[
    text("name"),
    int64("companyId"),
    text("companyName"),
    list("ownerEmails", &Kind::Text),
    list("adminEmails", &Kind::Text),
    text("termsStatus"),
    text("languageCode"),
    ("skipWelcomeEmail", FieldKind(Kind::Bool)),
    message("googleWorkspaceAccount", WORKSPACE),
];
/// Body of `customers.create`.
pub(super) const CREATE_CUSTOMER: Fields = &[message("customer", COMPANY)];

/// Reads a body of the given message type: every int64 becomes text, `null` disappears.
pub(super) fn read(bytes: &[u8], fields: Fields) -> Result<Value, ApiError> {
    let value = match bytes {
        [] => json!({}),
        bytes => serde_json::from_slice(bytes).map_err(|error| {
            ApiError::new(400, format!("Invalid JSON payload received. {error}"))
        })?,
    };
    read_message(value, fields, "")
}

fn read_message(value: Value, fields: Fields, path: &str) -> Result<Value, ApiError> {
    let Value::Object(object) = value else { return Err(wrong(path, "an object")) };
    let mut read = Map::new();
    for (name, value) in object {
        let Some((_, FieldKind(kind))) = fields.iter().find(|(known, _)| *known == name) else {
            return Err(ApiError::new(
                400,
                format!(
                    "Invalid JSON payload received. Unknown name \"{name}\" at '{path}': \
                     Cannot find field."
                ),
            ));
        };
        if !value.is_null() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            read.insert(name, read_value(value, *kind, &path)?);
        }
    }
    Ok(Value::Object(read))
}

fn read_value(value: Value, kind: Kind, path: &str) -> Result<Value, ApiError> {
    match (kind, value) {
        (Kind::Text, value @ Value::String(_)) | (Kind::Bool, value @ Value::Bool(_)) => Ok(value),
        (Kind::Int64, Value::String(text)) if text.parse::<i64>().is_ok() => {
            Ok(Value::String(text))
        }
        (Kind::Int64, Value::Number(number)) if number.is_i64() => {
            Ok(Value::String(number.to_string()))
        }
        (Kind::Int32, value @ Value::Number(_)) if value.as_i64().is_some() => Ok(value),
        (Kind::TextMap, Value::Object(map)) if map.values().all(Value::is_string) => {
            Ok(Value::Object(map))
        }
        (Kind::Message(fields), value) => read_message(value, fields, path),
        (Kind::List(kind), Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| read_value(item, *kind, &format!("{path}[{index}]")))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        (Kind::Text, _) => Err(wrong(path, "a string")),
        (Kind::Bool, _) => Err(wrong(path, "a boolean")),
        (Kind::Int64, _) => Err(wrong(path, "an int64")),
        (Kind::Int32, _) => Err(wrong(path, "an int32")),
        (Kind::TextMap, _) => Err(wrong(path, "a map of strings")),
        (Kind::List(_), _) => Err(wrong(path, "a list")),
    }
}

fn wrong(path: &str, expected: &str) -> ApiError {
    ApiError::invalid("INVALID_PARAMETER", format!("Invalid value at '{path}': not {expected}"))
}

/// Writes a reply.
pub(super) fn write(body: &Body) -> Value {
    let mut value = serde_json::to_value(body).unwrap_or_default();
    drop_defaults(&mut value);
    if let Body::Operation(_) = body {
        for (part, name) in [("metadata", "Metadata"), ("response", "Response")] {
            if let Some(Value::Object(part)) = value.get_mut(part) {
                let name = format!(
                    "type.googleapis.com/google.android.device.provisioning.v1.\
                     DevicesLongRunningOperation{name}"
                );
                part.insert("@type".to_owned(), Value::String(name));
            }
        }
    }
    value
}

/// Drops false, 0, empty text and empty lists; messages stay even when nothing is left in them.
/// The map of metadata entries is the user's: its values stay, only an empty map goes.
fn drop_defaults(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|name, value| match value {
                Value::Null | Value::Bool(false) => false,
                Value::Number(number) => number.as_i64() != Some(0),
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(map) => name != "entries" || !map.is_empty(),
                Value::Bool(true) => true,
            });
            for (name, value) in object {
                if name != "entries" {
                    drop_defaults(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_defaults),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::google::{DevicesOperationResponse, Operation};

    #[test]
    fn an_int64_is_read_as_text_or_number_and_null_is_absent() {
        let body = br#"{"claims":[{"customerId":123,"sectionType":null},{"customerId":"123"}]}"#;
        let read = read(body, CLAIMS).unwrap();
        assert_eq!(read, json!({"claims": [{"customerId": "123"}, {"customerId": "123"}]}));
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_refused_with_their_path() {
        let error = |body: &str| read(body.as_bytes(), CLAIMS).unwrap_err().message;
        assert!(error(r#"{"claims":[{"customer":1}]}"#).contains("\"customer\" at 'claims[0]'"));
        assert!(error(r#"{"claims":[{"customerId":"x"}]}"#).contains("claims[0].customerId"));
        assert!(error(r#"{"claims":{}}"#).contains("'claims'"));
        assert!(error("{").contains("Invalid JSON payload"));
        let entries = r#"{"claims":[{"deviceMetadata":{"entries":{"a":1}}}]}"#;
        assert!(error(entries).contains("entries"));
    }

    #[test]
    fn defaults_are_left_out_but_the_users_empty_values_stay() {
        let mut value = json!({"done": false, "name": "x", "list": [], "deviceMetadata":
            {"entries": {"a": ""}}, "other": {"entries": {}}, "n": 0, "m": {}});
        drop_defaults(&mut value);
        let left = json!({"name": "x", "deviceMetadata": {"entries": {"a": ""}}, "other": {},
            "m": {}});
        assert_eq!(value, left);
    }

    #[test]
    fn the_parts_of_an_operation_say_their_type() {
        let operation = Operation {
            response: Some(DevicesOperationResponse::default()),
            ..Operation::default()
        };
        let value = write(&Body::Operation(Box::new(operation)));
        let expected = "type.googleapis.com/google.android.device.provisioning.v1.\
                        DevicesLongRunningOperationResponse";
        assert_eq!(value, json!({"response": {"@type": expected}}));
    }
}

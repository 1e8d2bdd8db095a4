//! Holds our picture of the API to Google's discovery document (`tests/data/discovery.json`):
//! every field we send or read exists there with that JSON type, every enum value is known, and
//! every method has that verb and path.
//!
//! Samples are written without `..Default::default()`, so that a new field cannot be forgotten.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use zerotouch_worker::model::{DeviceVerdict, FailureCode, OperationReply};
use zerotouch_worker::wire::google::{
    ClaimDevicesRequest, Company, Device, DeviceClaim, DeviceIdentifier, DeviceMetadata,
    DevicesOperationMetadata, DevicesOperationResponse, FindByIdentifierRequest,
    FindByOwnerRequest, FindDevicesResponse, ListCustomersResponse, Method, Operation,
    OperationPerDevice, PartnerClaim, PartnerUnclaim, PerDeviceStatus, RpcStatus,
    SECTION_ZERO_TOUCH, UnclaimDevicesRequest, UpdateMetadataArguments, UpdateMetadataRequest,
    results,
};

fn discovery() -> Value {
    serde_json::from_str(include_str!("data/discovery.json")).unwrap()
}

/// What is wrong with a value under a schema, each with its place.
fn faults(document: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = &document["schemas"][name];
        assert!(schema.is_object(), "no schema {name}");
        return faults(document, schema, value, &format!("{place}<{name}>"));
    }
    // The two `any` fields of an operation have schemas of their own, which nothing refers to.
    let hidden = |key: &str| {
        let name = match (schema["id"].as_str()?, key) {
            ("Operation", "metadata") => "DevicesLongRunningOperationMetadata",
            ("Operation", "response") => "DevicesLongRunningOperationResponse",
            _ => return None,
        };
        Some(json!({"$ref": name}))
    };
    let format = schema["format"].as_str().unwrap_or_default();
    match (schema["type"].as_str().unwrap_or_default(), value) {
        ("object", Value::Object(fields)) => fields
            .iter()
            .flat_map(|(key, value)| {
                let place = format!("{place}.{key}");
                let known = schema["properties"].get(key);
                let known =
                    hidden(key).or_else(|| known.or(schema.get("additionalProperties")).cloned());
                match known {
                    Some(schema) => faults(document, &schema, value, &place),
                    None => vec![format!("{place} does not exist")],
                }
            })
            .collect(),
        ("array", Value::Array(items)) => {
            assert!(!items.is_empty(), "{place}: a sample without items proves nothing");
            let each = |item| faults(document, &schema["items"], item, &format!("{place}[]"));
            items.iter().flat_map(each).collect()
        }
        ("string", Value::String(text)) => {
            let is_known = match schema["enum"].as_array() {
                Some(values) => values.iter().any(|value| value == text),
                None => true,
            };
            let is_int64 = format != "int64" || text.parse::<i64>().is_ok();
            if is_known && is_int64 { vec![] } else { vec![format!("{place} may not be {text:?}")] }
        }
        ("integer", Value::Number(_)) if format == "int32" => vec![],
        ("boolean", Value::Bool(_)) => vec![],
        (wanted, value) => vec![format!("{place} is {wanted} {format}, not {value}")],
    }
}

#[track_caller]
fn assert_fits(schema: &str, sample: &impl Serialize) {
    let document = discovery();
    let value = serde_json::to_value(sample).unwrap();
    let faults = faults(&document, &json!({"$ref": schema}), &value, "");
    assert!(faults.is_empty(), "{schema}: {faults:#?}");
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn identifier() -> DeviceIdentifier {
    DeviceIdentifier {
        imei: text("490154203237518"),
        imei2: text("356938035643809"),
        meid: text("A0000000000001"),
        meid2: text("A0000000000002"),
        serial_number: text("S"),
        manufacturer: text("Google"),
        model: text("M"),
        chrome_os_attested_device_id: text("C"),
        device_type: text("DEVICE_TYPE_CHROME_OS"),
    }
}

fn metadata() -> DeviceMetadata {
    DeviceMetadata { entries: BTreeMap::from([("ordernumber".to_owned(), "A".to_owned())]) }
}

fn claim() -> PartnerClaim {
    PartnerClaim {
        device_identifier: Some(identifier()),
        section_type: text(SECTION_ZERO_TOUCH),
        customer_id: text("7"),
        google_workspace_customer_id: text("C01"),
        device_metadata: Some(metadata()),
        configuration_id: text("5"),
        pre_provisioning_token: text("t"),
    }
}

fn unclaim() -> PartnerUnclaim {
    PartnerUnclaim {
        device_id: text("9"),
        device_identifier: Some(identifier()),
        section_type: text(SECTION_ZERO_TOUCH),
    }
}

fn update() -> UpdateMetadataArguments {
    UpdateMetadataArguments {
        device_id: text("9"),
        device_identifier: Some(identifier()),
        device_metadata: Some(metadata()),
    }
}

fn device() -> Device {
    Device {
        device_id: text("9"),
        name: text("partners/12/devices/9"),
        device_identifier: Some(identifier()),
        device_metadata: Some(metadata()),
        claims: vec![DeviceClaim {
            owner_company_id: text("7"),
            google_workspace_customer_id: text("C01"),
            reseller_id: text("12"),
            section_type: text(SECTION_ZERO_TOUCH),
        }],
    }
}

#[test]
fn bodies_of_submits_fit_their_schemas() {
    assert_fits("ClaimDevicesRequest", &ClaimDevicesRequest { claims: vec![claim()] });
    assert_fits("UnclaimDevicesRequest", &UnclaimDevicesRequest { unclaims: vec![unclaim()] });
    let request = UpdateMetadataRequest { updates: vec![update()] };
    assert_fits("UpdateDeviceMetadataInBatchRequest", &request);
}

#[test]
fn an_operation_fits_its_schema_down_to_the_results() {
    let operation = Operation {
        name: "operations/batch/1".into(),
        done: true,
        metadata: Some(DevicesOperationMetadata {
            devices_count: 1,
            processing_status: "BATCH_PROCESS_PROCESSED".into(),
            progress: 100,
        }),
        response: Some(DevicesOperationResponse {
            success_count: 1,
            per_device_status: vec![OperationPerDevice {
                claim: Some(claim()),
                unclaim: Some(unclaim()),
                update_metadata: Some(update()),
                result: PerDeviceStatus {
                    device_id: text("9"),
                    error_identifier: text("INVALID_IMEI"),
                    error_message: text("m"),
                    status: "SINGLE_DEVICE_STATUS_SUCCESS".into(),
                },
            }],
        }),
        error: Some(RpcStatus { code: 13, message: "m".into() }),
    };
    assert_fits("Operation", &operation);
}

#[test]
fn lookups_and_lists_fit_their_schemas() {
    let by_identifier = FindByIdentifierRequest {
        device_identifier: identifier(),
        limit: "100".into(),
        page_token: text("p"),
    };
    assert_fits("FindDevicesByDeviceIdentifierRequest", &by_identifier);
    let by_owner = FindByOwnerRequest {
        customer_id: vec!["7".into()],
        google_workspace_customer_id: vec!["C01".into()],
        limit: "100".into(),
        page_token: text("p"),
        section_type: text(SECTION_ZERO_TOUCH),
    };
    assert_fits("FindDevicesByOwnerRequest", &by_owner);
    let found =
        FindDevicesResponse { devices: vec![device()], next_page_token: text("p"), total_size: 1 };
    assert_fits("FindDevicesByDeviceIdentifierResponse", &found);
    assert_fits("FindDevicesByOwnerResponse", &found);
    assert_fits("Device", &device());
    let customers = ListCustomersResponse {
        customers: vec![Company {
            company_id: text("7"),
            company_name: text("n"),
            terms_status: text("TERMS_STATUS_ACCEPTED"),
        }],
        next_page_token: text("p"),
        total_size: 1,
    };
    assert_fits("ListCustomersResponse", &customers);
}

#[test]
fn the_check_itself_notices_what_it_is_for() {
    let document = discovery();
    let schema = json!({"$ref": "PartnerUnclaim"});
    for bad in [
        json!({"noSuchField": "x"}),
        json!({"deviceId": 9}),
        json!({"deviceId": "nine"}),
        json!({"sectionType": "SECTION_TYPE_NEW"}),
        json!({"deviceIdentifier": {"imei": 1}}),
        json!({"deviceIdentifier": "imei"}),
    ] {
        assert_eq!(faults(&document, &schema, &bad, "").len(), 1, "{bad}");
    }
}

/// The discovery document's entry of a method.
fn entry<'a>(document: &'a Value, id: &str) -> &'a Value {
    let (resources, method) = id.rsplit_once('.').unwrap();
    let resource = resources.split('.').fold(document, |at, name| &at["resources"][name]);
    &resource["methods"][method]
}

#[test]
fn methods_have_the_verb_the_path_and_the_types_that_are_used() {
    let document = discovery();
    for method in Method::ALL {
        let entry = entry(&document, method.id());
        assert!(entry.is_object(), "no method {}", method.id());
        assert_eq!(entry["httpMethod"], method.verb(), "{}", method.id());
        assert_eq!(entry["flatPath"], method.template(), "{}", method.id());
        let (request, response) = match method {
            Method::ClaimAsync => (json!("ClaimDevicesRequest"), "Operation"),
            Method::UnclaimAsync => (json!("UnclaimDevicesRequest"), "Operation"),
            Method::UpdateMetadataAsync => {
                (json!("UpdateDeviceMetadataInBatchRequest"), "Operation")
            }
            Method::GetOperation => (Value::Null, "Operation"),
            Method::GetDevice => (Value::Null, "Device"),
            Method::FindByIdentifier => (
                json!("FindDevicesByDeviceIdentifierRequest"),
                "FindDevicesByDeviceIdentifierResponse",
            ),
            Method::FindByOwner => {
                (json!("FindDevicesByOwnerRequest"), "FindDevicesByOwnerResponse")
            }
            Method::ListCustomers => (Value::Null, "ListCustomersResponse"),
        };
        assert_eq!(entry["request"]["$ref"], request, "{}", method.id());
        assert_eq!(entry["response"]["$ref"], response, "{}", method.id());
    }
    let parameters = &entry(&document, Method::ListCustomers.id())["parameters"];
    for name in ["pageSize", "pageToken"] {
        assert_eq!(parameters[name]["location"], "query", "{name}");
    }
}

#[test]
fn every_documented_device_status_has_a_code_of_its_own_save_the_vague_ones() {
    let document = discovery();
    let statuses = &document["schemas"]["PerDeviceStatusInBatch"]["properties"]["status"]["enum"];
    let vague: Vec<&str> = statuses
        .as_array()
        .unwrap()
        .iter()
        .map(|status| status.as_str().unwrap())
        .filter(|status| {
            let operation = json!({"done": true, "response": {
                "perDeviceStatus": [{"result": {"status": status}}],
            }});
            let decoded = results::decode(operation.to_string().as_bytes(), 1).unwrap();
            let OperationReply::Done { results } = decoded.reply else { panic!("{decoded:?}") };
            match &results[0].verdict {
                DeviceVerdict::Succeeded { .. } => false,
                DeviceVerdict::Failed(fault) => fault.code == FailureCode::DeviceOther,
            }
        })
        .collect();
    assert_eq!(
        vague,
        [
            "SINGLE_DEVICE_STATUS_UNSPECIFIED",
            "SINGLE_DEVICE_STATUS_UNKNOWN_ERROR",
            "SINGLE_DEVICE_STATUS_OTHER_ERROR",
        ]
    );
}

//! The contracts of the topics: schemas are fresh, examples obey them and our decoders, and the
//! public lists of words change only on purpose. `UPDATE=1` rewrites the schema files.

// Every expectation here is a test of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zerotouch_worker::model::{
    DeadLetter, DeadLetterReason, FailureCode, Partition, Rejection, Source, Status,
};
use zerotouch_worker::wire::{command, headers, ledger, order, outcome, schema};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn is_update() -> bool {
    std::env::var_os("UPDATE").is_some_and(|value| value == "1")
}

fn validator(name: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&schema::schema(name).unwrap()).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// Examples below a folder: (name of the schema, file name, content).
fn examples(folder: &Path) -> Vec<(String, String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            let name = file.split('.').next().unwrap().to_owned();
            (name, file, fs::read(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// Whether our own code takes the example.
fn decode(name: &str, bytes: &[u8]) -> Result<(), String> {
    match name {
        "order-event" => {
            let source = Source { topic: "orders".into(), partition: 0, offset: 1 };
            let record = order::Record {
                source: &source,
                timestamp: None,
                headers: &[],
                payload: Some(bytes),
            };
            let event = order::decode(&record, &order::Limits::default());
            event.map(drop).map_err(|rejection| rejection.to_string())
        }
        "command" => command::decode(bytes).map(drop).map_err(|error| error.to_string()),
        "ledger-record" => {
            let value: Value = serde_json::from_slice(bytes).unwrap();
            let key = value["batchId"].as_str().unwrap_or_default();
            let write = ledger::decode(Partition(0), key.as_bytes(), Some(bytes));
            write.map(drop).map_err(|error| error.to_string())
        }
        "outcome" => outcome::decode(bytes).map(drop).map_err(|error| error.to_string()),
        "dead-letter-headers" => {
            let map: BTreeMap<String, String> = serde_json::from_slice(bytes).unwrap();
            let class = map["dead-letter-class"].as_str();
            let reason = DeadLetterReason::ALL.into_iter().find(|reason| reason.as_str() == class);
            let reason = reason.ok_or_else(|| format!("no class {class}"))?;
            assert_eq!(written_headers(reason, &map), map);
            Ok(())
        }
        other => panic!("no schema is called {other}"),
    }
}

/// The headers that we write for the dead letter that these headers describe.
fn written_headers(
    reason: DeadLetterReason,
    map: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let letter = DeadLetter {
        rejection: Rejection::new(reason, map["dead-letter-reason"].as_str()),
        source: Source {
            topic: map["dead-letter-source-topic"].clone(),
            partition: map["dead-letter-source-partition"].parse().unwrap(),
            offset: map["dead-letter-source-offset"].parse().unwrap(),
        },
        recorded_at: map.get("dead-letter-source-timestamp").map(|time| time.parse().unwrap()),
        rejected_at: map["dead-letter-time"].parse().unwrap(),
    };
    headers::dead_letter(&letter).map(|(name, value)| (name.into(), value.into_owned())).collect()
}

#[test]
fn schema_files_are_fresh() {
    for name in schema::names() {
        let path = folder().join(format!("{name}.schema.json"));
        let fresh = schema::schema(name).unwrap();
        if is_update() {
            fs::write(&path, &fresh).unwrap();
        }
        let file = fs::read_to_string(&path).unwrap_or_default();
        assert!(file == fresh, "{} is stale; run the tests with UPDATE=1", path.display());
    }
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    // The configuration's schema is kept fresh by the tests of the configuration.
    let is_ours = |path: &PathBuf| path.is_file() && !path.ends_with("config.schema.json");
    let count = files.filter(is_ours).count();
    assert_eq!(count, schema::names().len(), "schemas/ has a file that no contract owns");
}

#[test]
fn schemas_are_of_the_2020_12_draft_and_describe_every_member() {
    fn described(value: &Value, path: &str, faults: &mut Vec<String>) {
        if let Some(members) = value.get("properties").and_then(Value::as_object) {
            // The description of a variant with one member stands on the variant.
            let is_variant = members.len() == 1 && value.get("description").is_some();
            for (name, member) in members {
                let has = is_variant || member.get("description").is_some_and(|text| text != "");
                if !has {
                    faults.push(format!("{path}/{name}"));
                }
            }
        }
        if let Some(object) = value.as_object() {
            for (name, member) in object.iter().filter(|(name, _)| *name != "examples") {
                described(member, &format!("{path}/{name}"), faults);
            }
        }
        for member in value.as_array().into_iter().flatten() {
            described(member, path, faults);
        }
    }
    for name in schema::names() {
        let schema: Value = serde_json::from_str(&schema::schema(name).unwrap()).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(schema["title"].is_string() && schema["description"].is_string(), "{name}");
        assert!(validator(name).is_valid(&schema["examples"][0]), "{name}");
        let mut faults = Vec::new();
        described(&schema, name, &mut faults);
        assert!(faults.is_empty(), "without description: {faults:?}");
    }
    assert_eq!(schema::schema("nothing"), None);
}

#[test]
fn examples_obey_the_schema_and_are_decoded() {
    let mut count = BTreeMap::new();
    for (name, file, bytes) in examples(&folder().join("examples")) {
        *count.entry(name.clone()).or_insert(0) += 1;
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        if let Err(error) = validator(&name).validate(&value) {
            panic!("{file}: {error}");
        }
        if let Err(error) = decode(&name, &bytes) {
            panic!("{file}: {error}");
        }
    }
    for name in schema::names() {
        assert!(count.get(*name).is_some_and(|count| *count >= 2), "{name} needs examples");
    }
}

#[test]
fn bad_examples_are_refused_by_the_schema_and_by_the_decoder() {
    let bad = examples(&folder().join("examples/refused"));
    for name in schema::names() {
        assert!(bad.iter().any(|(of, _, _)| of == name), "{name} needs a bad example");
    }
    for (name, file, bytes) in bad {
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert!(!validator(&name).is_valid(&value), "{file} obeys the schema");
        assert!(decode(&name, &bytes).is_err(), "{file} is decoded");
    }
}

#[test]
fn what_we_write_obeys_the_schema() {
    for (name, file, bytes) in examples(&folder().join("examples")) {
        let written = match name.as_str() {
            "command" => {
                let (command, purpose) = command::decode_for(&bytes).unwrap();
                command::encode(&command, purpose.map(Into::into).as_ref())
            }
            "ledger-record" => ledger::encode(&ledger::decode_value(&bytes).unwrap()),
            "outcome" => serde_json::to_vec(&outcome::decode(&bytes).unwrap()).unwrap(),
            _ => continue,
        };
        let written: Value = serde_json::from_slice(&written).unwrap();
        let example: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(written, example, "{file}");
    }
}

#[test]
fn public_words_change_only_on_purpose() {
    let reasons = DeadLetterReason::ALL.map(DeadLetterReason::as_str).join("\n");
    insta::assert_snapshot!("dead_letter_reasons", reasons);
    insta::assert_snapshot!("statuses", Status::ALL.map(Status::as_str).join("\n"));
    // The schema lists every code, so a new one cannot be forgotten here.
    let schema: Value = serde_json::from_str(&schema::schema("outcome").unwrap()).unwrap();
    let codes: Vec<String> = schema["$defs"]["FailureCode"]["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code["const"].as_str().unwrap().to_owned())
        .collect();
    for code in &codes {
        let parsed: FailureCode = serde_json::from_value(Value::String(code.clone())).unwrap();
        assert_eq!(parsed.as_str(), code);
    }
    insta::assert_snapshot!("failure_codes", codes.join("\n"));
}

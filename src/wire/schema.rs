//! JSON Schemas (2020-12) of everything that crosses a topic, made from the types that read and
//! write it. `schemas/` holds them as files; a test keeps those fresh.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::command::CommandJson;
use super::json::DateTime;
use super::ledger::LedgerJson;
use super::order::OrderDocument;
use super::outcome::OutcomeJson;
use crate::model::DeadLetterReason;

/// A contract: its name, the title and the description of its schema, how to make it, an example.
struct Contract {
    name: &'static str,
    title: &'static str,
    schema: fn() -> Schema,
    example: &'static str,
}

const CONTRACTS: [Contract; 5] = [
    Contract {
        name: "order-event",
        title: "Order event, version 1",
        schema: root::<OrderDocument>,
        example: include_str!("../../schemas/examples/order-event.sale.json"),
    },
    Contract {
        name: "command",
        title: "Command, versions 1 and 2",
        schema: root::<CommandJson<'static>>,
        example: include_str!("../../schemas/examples/command.claim.json"),
    },
    Contract {
        name: "ledger-record",
        title: "Ledger record, version 1",
        schema: root::<LedgerJson<'static>>,
        example: include_str!("../../schemas/examples/ledger-record.accepted.json"),
    },
    Contract {
        name: "outcome",
        title: "Outcome, version 1",
        schema: root::<OutcomeJson<'static>>,
        example: include_str!("../../schemas/examples/outcome.succeeded.json"),
    },
    Contract {
        name: "dead-letter-headers",
        title: "Headers of a dead letter, version 1",
        schema: root::<DeadLetterHeaders>,
        example: include_str!("../../schemas/examples/dead-letter-headers.not-json.json"),
    },
];

/// Names of the schemas.
pub const NAMES: [&str; 5] = {
    let mut names = [""; 5];
    let mut index = 0;
    while index < names.len() {
        names[index] = CONTRACTS[index].name;
        index += 1;
    }
    names
};

/// Names of the schemas, in the order in which they are printed.
#[must_use]
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// A schema as indented JSON with a line feed at its end; `None` for a name that is not one.
#[must_use]
pub fn schema(name: &str) -> Option<String> {
    let contract = CONTRACTS.iter().find(|contract| contract.name == name)?;
    let mut schema = (contract.schema)();
    let _ = schema.insert("title".into(), contract.title.into());
    let _ = schema.insert("$id".into(), format!("urn:zerotouch-worker:{name}:v1").into());
    if let Ok(example) = serde_json::from_str::<Value>(contract.example) {
        let _ = schema.insert("examples".into(), Value::Array(vec![example]));
    }
    let mut text = serde_json::to_string_pretty(&schema).ok()?;
    text.push('\n');
    Some(text)
}

fn root<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

/// The headers that a dead letter has beside the record's own; key and value are those of the
/// refused record. What does not fit into a record is dropped, and said. Header values are text.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[allow(dead_code)]
struct DeadLetterHeaders {
    /// Class of the error.
    dead_letter_class: DeadLetterReason,
    /// What is wrong, for a person; not stable.
    dead_letter_reason: String,
    /// Topic the record was read from.
    dead_letter_source_topic: String,
    /// Partition the record was read from.
    #[schemars(regex(pattern = "^[0-9]+$"))]
    dead_letter_source_partition: String,
    /// Offset the record was read at.
    #[schemars(regex(pattern = "^[0-9]+$"))]
    dead_letter_source_offset: String,
    /// The record's own timestamp; absent if it had none.
    dead_letter_source_timestamp: Option<DateTime>,
    /// When the worker refused the record.
    dead_letter_time: DateTime,
    /// That the record's value was dropped since it did not fit, and how long it was.
    #[schemars(regex(pattern = "^dropped, [0-9]+ bytes$"))]
    dead_letter_value: Option<String>,
    /// How many of the record's headers were dropped since they did not fit, and their bytes.
    #[schemars(regex(pattern = "^[0-9]+ dropped, [0-9]+ bytes$"))]
    dead_letter_headers: Option<String>,
    /// That the record's key was dropped since it did not fit, and how long it was.
    #[schemars(regex(pattern = "^dropped, [0-9]+ bytes$"))]
    dead_letter_key: Option<String>,
}

//! The JSON Schema of the configuration, and the table of all keys, for people.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value as Json;

use super::expected::{Kind, bounds, kind, type_name};
use super::settings::Settings;

/// TOML has no null: what may be left out is left out. Unknown keys are refused.
#[derive(Clone)]
struct AsToml;

impl Transform for AsToml {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if let Some(Json::Array(variants)) = object.get("anyOf")
            && let [Json::Object(only), null] = variants.as_slice()
            && null.get("type").is_some_and(|name| name == "null")
        {
            let only = only.clone();
            object.remove("anyOf");
            for (name, value) in only {
                object.entry(name).or_insert(value);
            }
        }
        if let Some(Json::Array(names)) = object.get_mut("type") {
            names.retain(|name| name != "null");
            if let [only] = names.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if object.get("default").is_some_and(Json::is_null) {
            object.remove("default");
        }
        if object.contains_key("properties") {
            object.insert("additionalProperties".to_owned(), Json::Bool(false));
        }
        // What has to be given has no default, whatever the type needs while it is decoded.
        let Some(Json::Array(required)) = object.get("required").cloned() else { return };
        for name in required.iter().filter_map(Json::as_str) {
            let property = object.get_mut("properties").and_then(|all| all.get_mut(name));
            if let Some(Json::Object(property)) = property {
                property.remove("default");
            }
        }
    }
}

/// The schema as a value, everything in place of its reference.
pub(super) fn schema_value() -> Json {
    let settings = SchemaSettings::draft2020_12()
        .for_deserialize()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(AsToml);
    let mut schema = settings.into_generator().into_root_schema_for::<Settings>();
    schema.insert("title".to_owned(), Json::from("Configuration of zerotouch-worker"));
    schema.to_value()
}

/// The JSON Schema of the configuration file, with a line feed at the end.
#[must_use]
pub fn schema() -> String {
    format!("{:#}\n", schema_value())
}

/// A Markdown table of all keys: key, type and bounds, default, meaning.
#[must_use]
pub fn reference_table() -> String {
    let mut rows = String::from("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
    add_rows("", &schema_value(), &mut rows);
    rows
}

fn add_rows(prefix: &str, schema: &Json, rows: &mut String) {
    let Kind::Table(keys) = kind(schema) else { return };
    for (name, schema) in keys {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match kind(schema) {
            Kind::Table(_) => add_rows(&key, schema, rows),
            Kind::List(element) if matches!(kind(element), Kind::Table(_)) => {
                add_rows(&format!("{key}[]"), element, rows);
            }
            _ => rows.push_str(&row(&key, schema)),
        }
    }
}

fn row(key: &str, schema: &Json) -> String {
    let cell = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let escaped = |text: &str| cell(text).replace('|', "\\|");
    let kind = format!("{} {}", type_name(schema), bounds(schema));
    let default = match schema.get("default") {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => format!("`{text}`"),
        Some(other) => format!("`{other}`"),
    };
    let meaning = schema.get("description").and_then(Json::as_str).unwrap_or_default();
    format!("| `{key}` | {} | {default} | {} |\n", escaped(&kind), escaped(meaning))
}

impl Settings {
    /// Decodes what the schema has accepted.
    pub(super) fn deserialize_from(json: Json) -> Result<Self, String> {
        serde_json::from_value(json)
            .map_err(|_| "schema and settings disagree; please report this".to_owned())
    }
}

//! What the schema says about a key: its kind, its bounds, and how to say so to a person.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value as Json};

use super::source::Value;
use super::values::{ByteSize, Span, Start};

/// What may stand at a key.
pub(super) enum Kind<'a> {
    /// A table with these keys and no others.
    Table(&'a Map<String, Json>),
    /// A table with keys of the user's choice.
    Map(&'a Json),
    /// A list of such elements.
    List(&'a Json),
    /// One value.
    Scalar,
}

/// Reads the kind off a schema.
pub(super) fn kind(schema: &Json) -> Kind<'_> {
    if let Some(Json::Object(properties)) = schema.get("properties") {
        Kind::Table(properties)
    } else if let Some(element @ Json::Object(_)) = schema.get("additionalProperties") {
        Kind::Map(element)
    } else if let Some(element) = schema.get("items") {
        Kind::List(element)
    } else {
        Kind::Scalar
    }
}

/// Names of the types that a scalar may have.
fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The words that a scalar is restricted to, if it is.
fn words(schema: &Json) -> Vec<&str> {
    if let Some(Json::Array(words)) = schema.get("enum") {
        return words.iter().filter_map(Json::as_str).collect();
    }
    let Some(Json::Array(variants)) = schema.get("oneOf") else { return Vec::new() };
    let named = variants.iter().flat_map(|variant| match variant.get("const") {
        Some(Json::String(word)) => vec![word.as_str()],
        _ => words(variant),
    });
    named.collect()
}

fn text<'a>(schema: &'a Json, name: &str) -> Option<&'a str> {
    schema.get(name).and_then(Json::as_str)
}

/// The type of a key as the reference names it.
pub(super) fn type_name(schema: &Json) -> String {
    match kind(schema) {
        Kind::Table(_) | Kind::Map(_) => "table".to_owned(),
        Kind::List(element) => format!("list of {}", type_name(element)),
        Kind::Scalar if !words(schema).is_empty() => alternatives(&words(schema)),
        Kind::Scalar => match (text(schema, "format"), types(schema).as_slice()) {
            (Some("duration-with-unit"), _) => "duration".to_owned(),
            (Some("byte-size"), _) => "byte size".to_owned(),
            (Some("start"), _) => "`earliest`, `latest` or a time".to_owned(),
            (_, names) => names.join(" or ").replace("string", "text"),
        },
    }
}

fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Bounds as the reference and the report name them; empty if there are none.
pub(super) fn bounds(schema: &Json) -> String {
    let number = |name| schema.get(name).filter(|bound| bound.is_number()).map(Json::to_string);
    let written = |name| text(schema, name).map(str::to_owned);
    let least = written("x-min").or_else(|| number("minimum"));
    let most = written("x-max").or_else(|| number("maximum"));
    match (least, most) {
        (Some(least), Some(most)) => format!("from {least} to {most}"),
        (Some(least), None) => format!("of at least {least}"),
        (None, Some(most)) => format!("of at most {most}"),
        (None, None) => match (number("minLength"), number("maxLength")) {
            (Some(_), Some(most)) => format!("of 1 to {most} characters"),
            (Some(_), None) => "that is not empty".to_owned(),
            _ => String::new(),
        },
    }
}

/// What is expected, in words.
pub(super) fn expectation(schema: &Json) -> String {
    if let Some(words) = text(schema, "x-expected") {
        return words.to_owned();
    }
    let what = match kind(schema) {
        Kind::Table(_) | Kind::Map(_) => "a table".to_owned(),
        Kind::List(element) if matches!(kind(element), Kind::Table(_)) => {
            "a list of tables".to_owned()
        }
        Kind::List(_) => "a list of texts".to_owned(),
        Kind::Scalar if !words(schema).is_empty() => alternatives(&words(schema)),
        Kind::Scalar => match (text(schema, "format"), types(schema).as_slice()) {
            (Some("duration-with-unit"), _) => "a duration with unit, such as 500ms or 2s,".into(),
            (Some("byte-size"), _) => "a size with unit, such as 64MiB,".to_owned(),
            (Some("start"), _) => {
                "`earliest`, `latest` or a time such as 2026-05-01T00:00:00Z".to_owned()
            }
            (_, ["integer"]) => "a whole number".to_owned(),
            (_, ["boolean"]) => "true or false".to_owned(),
            _ => "text".to_owned(),
        },
    };
    format!("{what} {}", bounds(schema)).trim_end().trim_end_matches(',').to_owned()
}

/// Turns a variable's or flag's text into what the schema asks for, where that is possible.
pub(super) fn from_text(schema: &Json, text: &str) -> Value {
    let names = types(schema);
    match text.parse() {
        Ok(number) if names == ["integer"] => Value::Integer(number),
        _ if names == ["boolean"] && text == "true" => Value::Boolean(true),
        _ if names == ["boolean"] && text == "false" => Value::Boolean(false),
        _ => Value::Text(text.to_owned()),
    }
}

/// The JSON of a scalar, if the schema allows it.
pub(super) fn accept(schema: &Json, value: &Value) -> Option<Json> {
    let names = types(schema);
    match value {
        Value::Integer(number) if names.contains(&"integer") => {
            within_number(schema, *number).then(|| Json::from(*number))
        }
        Value::Boolean(truth) if names.contains(&"boolean") => Some(Json::from(*truth)),
        Value::Text(written) => {
            accept_text(schema, &names, written).then(|| Json::from(written.as_str()))
        }
        _ => None,
    }
}

fn within_number(schema: &Json, number: i64) -> bool {
    let bound = |name| schema.get(name).and_then(Json::as_i64);
    bound("minimum").is_none_or(|least| number >= least)
        && bound("maximum").is_none_or(|most| number <= most)
}

fn accept_text(schema: &Json, names: &[&str], written: &str) -> bool {
    let allowed = words(schema);
    if !allowed.is_empty() {
        return allowed.contains(&written);
    }
    match text(schema, "format") {
        Some("duration-with-unit") => return within::<Span>(schema, written),
        Some("byte-size") => return within::<ByteSize>(schema, written),
        Some("start") => return written.parse::<Start>().is_ok(),
        _ => {}
    }
    let length = u64::try_from(written.chars().count()).unwrap_or(u64::MAX);
    let bound = |name| schema.get(name).and_then(Json::as_u64);
    names.contains(&"string")
        && bound("minLength").is_none_or(|least| length >= least)
        && bound("maxLength").is_none_or(|most| length <= most)
}

fn within<T: FromStr + PartialOrd + Display>(schema: &Json, written: &str) -> bool {
    let Ok(value) = written.parse::<T>() else { return false };
    let bound = |name| text(schema, name).and_then(|bound| bound.parse::<T>().ok());
    bound("x-min").is_none_or(|least| value >= least)
        && bound("x-max").is_none_or(|most| value <= most)
}

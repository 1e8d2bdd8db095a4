//! What was written and where: the tree that file, environment and flags are merged into.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistakes::{Mistake, Origin, REDACTED, is_secret, shown_text};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value before anything is known of what it should be.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// What no setting takes: a fraction, a date, a number that does not fit. As written.
    Foreign(String),
}

impl Node {
    pub(super) fn text(text: &str, origin: Origin) -> Self {
        Self { value: Value::Text(text.to_owned()), origin }
    }

    pub(super) fn empty_table() -> Self {
        Self { value: Value::Table(BTreeMap::new()), origin: Origin::Default }
    }

    /// The value as it may be printed under `key`.
    pub(super) fn shown(&self, key: &str) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Text(text) => shown_text(key, text),
            _ if is_secret(key) => REDACTED.to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(truth) => truth.to_string(),
            Value::Foreign(text) => text.chars().take(40).collect(),
        }
    }

    /// Puts `other` over this: tables are merged, everything else is replaced.
    pub(super) fn merge(&mut self, other: Self) {
        match (&mut self.value, other.value) {
            (Value::Table(ours), Value::Table(theirs)) => {
                for (key, node) in theirs {
                    match ours.get_mut(&key) {
                        Some(present) => present.merge(node),
                        None => {
                            ours.insert(key, node);
                        }
                    }
                }
            }
            (ours, theirs) => {
                *ours = theirs;
                self.origin = other.origin;
            }
        }
    }
}

/// Line numbers of a text.
struct Lines<'a> {
    path: &'a Arc<str>,
    text: &'a str,
}

impl Lines<'_> {
    fn at(&self, position: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(position);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.path.clone(), line }
    }
}

/// Reads a TOML file as far as it can be read; all errors of form are noted.
///
/// Only the parser's own words are passed on, never the line: it may hold a secret.
pub(super) fn read_file(path: &str, text: &str, mistakes: &mut Vec<Mistake>) -> Node {
    let path = Arc::from(path);
    let lines = Lines { path: &path, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let position = error.span().map_or(0, |span| span.start);
        mistakes.push(Mistake {
            key: String::new(),
            value: None,
            origin: Some(lines.at(position)),
            problem: format!("not TOML: {}", error.message().trim()),
        });
    }
    let origin = lines.at(0);
    table_node(table.into_inner(), origin, &|position| lines.at(position))
}

/// Reads one TOML value from a variable or a flag, all of it of the same origin.
pub(super) fn read_inline(text: &str, origin: &Origin) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    Some(value_node(value, &|_| origin.clone()))
}

fn table_node(table: DeTable<'_>, origin: Origin, at: &dyn Fn(usize) -> Origin) -> Node {
    let entries = table.into_iter().map(|(key, value)| {
        let start = key.span().start;
        let mut node = value_node(value, at);
        // A table is where its key is; so is a value, which may begin on a later line.
        node.origin = at(start);
        (key.into_inner().into_owned(), node)
    });
    Node { value: Value::Table(entries.collect()), origin }
}

fn value_node(value: Spanned<DeValue<'_>>, at: &dyn Fn(usize) -> Origin) -> Node {
    let origin = at(value.span().start);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Foreign(number.to_string()),
        },
        DeValue::Float(number) => Value::Foreign(number.to_string()),
        DeValue::Boolean(truth) => Value::Boolean(truth),
        DeValue::Datetime(date) => Value::Foreign(date.to_string()),
        DeValue::Array(array) => {
            Value::List(array.into_iter().map(|element| value_node(element, at)).collect())
        }
        DeValue::Table(table) => return table_node(table, origin, at),
    };
    Node { value, origin }
}

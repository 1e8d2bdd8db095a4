//! The merged tree against the schema: every mistake is noted, and what remains decodes.
//!
//! serde stops at the first mistake. So the tree is checked before serde sees it; what is wrong is
//! left out, and a default takes its place, until all mistakes are known.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::expected::{Kind, accept, expectation, kind};
use super::mistakes::{Mistake, Origin, REDACTED, hint};
use super::source::{Node, Value};

/// A value as it may be printed, and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) shown: String,
    pub(super) origin: Origin,
}

/// What came out of a tree.
#[derive(Default)]
pub(super) struct Decoded {
    /// What was written at each key.
    pub(super) written: BTreeMap<String, Written>,
    /// Keys with a mistake: their values in the JSON are not what was meant.
    pub(super) bad: Vec<String>,
    /// The mistakes.
    pub(super) mistakes: Vec<Mistake>,
}

impl Decoded {
    /// Checks `node` against `schema` and gives the JSON of what is right.
    pub(super) fn decode(&mut self, schema: &Json, node: &Node) -> Json {
        self.any("", schema, node).unwrap_or_else(|| Json::Object(Map::new()))
    }

    fn any(&mut self, key: &str, schema: &Json, node: &Node) -> Option<Json> {
        if !key.is_empty() {
            let written = Written { shown: node.shown(key), origin: node.origin.clone() };
            self.written.insert(key.to_owned(), written);
        }
        match (kind(schema), &node.value) {
            (Kind::Table(keys), Value::Table(entries)) => {
                Some(self.table(key, schema, keys, node, entries))
            }
            (Kind::Map(element), Value::Table(entries)) => {
                let mut map = Map::new();
                self.map((key, key), element, entries, &mut map);
                Some(Json::Object(map))
            }
            (Kind::List(element), Value::List(nodes)) => self.list(key, element, nodes),
            (Kind::Scalar, value) => {
                let json = accept(schema, value);
                if json.is_none() {
                    self.wrong(key, schema, node);
                }
                json
            }
            _ => {
                self.wrong(key, schema, node);
                None
            }
        }
    }

    fn table(
        &mut self,
        key: &str,
        schema: &Json,
        keys: &Map<String, Json>,
        node: &Node,
        entries: &BTreeMap<String, Node>,
    ) -> Json {
        let mut object = Map::new();
        for (name, entry) in entries {
            let inner = join(key, name);
            if let Some(schema) = keys.get(name) {
                if let Some(json) = self.any(&inner, schema, entry) {
                    object.insert(name.clone(), json);
                }
            } else {
                // What stands at an unknown key may be a misplaced secret.
                self.note(&inner, Some(REDACTED.to_owned()), &entry.origin, unknown(name, keys));
            }
        }
        let required = schema.get("required").and_then(Json::as_array);
        for name in required.into_iter().flatten().filter_map(Json::as_str) {
            if !entries.contains_key(name) {
                let expected = keys.get(name).map(expectation).unwrap_or_default();
                self.note(&join(key, name), None, &node.origin, missing(&expected));
            }
        }
        Json::Object(object)
    }

    /// Keys like `sasl.password` read as nested tables unless quoted; they are joined again.
    fn map(
        &mut self,
        (root, key): (&str, &str),
        element: &Json,
        entries: &BTreeMap<String, Node>,
        map: &mut Map<String, Json>,
    ) {
        for (name, entry) in entries {
            let inner = join(key, name);
            if let Value::Table(entries) = &entry.value {
                self.map((root, &inner), element, entries, map);
            } else if self.written.contains_key(&inner) {
                self.note(&inner, None, &entry.origin, "given twice".to_owned());
            } else if let Some(json) = self.any(&inner, element, entry) {
                let name = inner.strip_prefix(root).and_then(|name| name.strip_prefix('.'));
                let name = name.unwrap_or(&inner);
                map.insert(name.to_owned(), json);
            }
        }
    }

    fn list(&mut self, key: &str, element: &Json, nodes: &[Node]) -> Option<Json> {
        let mut elements = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            elements.push(self.any(&join(key, &index.to_string()), element, node));
        }
        // With an element left out the rest would be counted wrongly.
        elements.into_iter().collect::<Option<Vec<_>>>().map(Json::Array)
    }

    fn wrong(&mut self, key: &str, schema: &Json, node: &Node) {
        let expected = format!("expected {}", expectation(schema));
        let shown = match (kind(schema), &node.value) {
            (Kind::Scalar, _) | (_, Value::List(_) | Value::Table(_)) => node.shown(key),
            // Text in place of a table may hold any of what belongs inside.
            _ => REDACTED.to_owned(),
        };
        self.note(key, Some(shown), &node.origin, expected);
    }

    fn note(&mut self, key: &str, value: Option<String>, origin: &Origin, problem: String) {
        self.bad.push(key.to_owned());
        let origin = (*origin != Origin::Default).then(|| origin.clone());
        self.mistakes.push(Mistake { key: key.to_owned(), value, origin, problem });
    }
}

/// The words for a key that has to be there.
pub(super) fn missing(expected: &str) -> String {
    format!("missing: expected {expected}")
}

/// The words for a key that does not exist.
pub(super) fn unknown(name: &str, keys: &Map<String, Json>) -> String {
    format!("unknown key{}", hint(name, keys.keys().map(String::as_str)))
}

/// A key inside another, in one line whatever it is.
pub(super) fn join(key: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = if !name.is_empty() && name.len() <= 100 && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("{:?}", name.chars().take(40).collect::<String>())
    };
    if key.is_empty() { name } else { format!("{key}.{name}") }
}

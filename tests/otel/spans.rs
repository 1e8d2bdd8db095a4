//! Spans as a collector sees them, read from OTLP's JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// OTLP's numbers of the kinds of spans.
pub(crate) const INTERNAL: u64 = 1;
pub(crate) const CLIENT: u64 = 3;
pub(crate) const PRODUCER: u64 = 4;
pub(crate) const CONSUMER: u64 = 5;

/// A span that a collector has received.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty if there is none.
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) kind: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Traces and spans.
    pub(crate) links: BTreeSet<(String, String)>,
    /// OTLP's code; 2 is an error.
    pub(crate) status: u64,
    pub(crate) resource: BTreeMap<String, String>,
}

impl Seen {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// As it is linked to.
    pub(crate) fn at(&self) -> (String, String) {
        (self.trace.clone(), self.id.clone())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, id, parent, name, attributes, links, .. } = self;
        write!(f, "{trace} {id} < {parent:16} {name} {attributes:?} links {links:?}")
    }
}

/// The spans of one export.
pub(crate) fn seen(body: &Value) -> Vec<Seen> {
    let mut all = Vec::new();
    for by_resource in list(&body["resourceSpans"]) {
        let resource = attributes(&by_resource["resource"]["attributes"]);
        for by_scope in list(&by_resource["scopeSpans"]) {
            for span in list(&by_scope["spans"]) {
                let links = list(&span["links"]).iter();
                all.push(Seen {
                    trace: text(&span["traceId"]),
                    id: text(&span["spanId"]),
                    parent: text(&span["parentSpanId"]),
                    name: text(&span["name"]),
                    kind: span["kind"].as_u64().unwrap_or(0),
                    start: text(&span["startTimeUnixNano"]).parse().unwrap(),
                    end: text(&span["endTimeUnixNano"]).parse().unwrap(),
                    attributes: attributes(&span["attributes"]),
                    links: links.map(|l| (text(&l["traceId"]), text(&l["spanId"]))).collect(),
                    status: span["status"]["code"].as_u64().unwrap_or(0),
                    resource: resource.clone(),
                });
            }
        }
    }
    all
}

/// The only one of these with the name.
pub(crate) fn only<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    let found = named(spans, name);
    assert_eq!(found.len(), 1, "spans named {name}: {found:#?}");
    found[0]
}

pub(crate) fn named<'a>(spans: &'a [Seen], name: &str) -> Vec<&'a Seen> {
    spans.iter().filter(|span| span.name == name).collect()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn attributes(value: &Value) -> BTreeMap<String, String> {
    let one = |entry: &Value| {
        let value = entry["value"].as_object().and_then(|kinds| kinds.values().next());
        let value = value.cloned().unwrap_or_default();
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (text(&entry["key"]), value)
    };
    list(value).iter().map(one).collect()
}

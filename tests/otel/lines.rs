//! Log lines as a collector sees them, read from OTLP's JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::spans::{attributes, list, text};

/// OTLP's number of the severity.
pub(crate) const INFO: u64 = 9;
pub(crate) const WARN: u64 = 13;

/// A line that a collector has received.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) body: String,
    pub(crate) severity: u64,
    pub(crate) severity_text: String,
    /// Empty if there is none; the span too.
    pub(crate) trace: String,
    pub(crate) span: String,
    pub(crate) time: u64,
    /// Where in the code.
    pub(crate) target: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) resource: BTreeMap<String, String>,
}

/// The lines of one export.
pub(crate) fn lines(body: &Value) -> Vec<Line> {
    let mut all = Vec::new();
    for by_resource in list(&body["resourceLogs"]) {
        let resource = attributes(&by_resource["resource"]["attributes"]);
        for by_scope in list(&by_resource["scopeLogs"]) {
            for line in list(&by_scope["logRecords"]) {
                all.push(Line {
                    body: text(&line["body"]["stringValue"]),
                    severity: line["severityNumber"].as_u64().unwrap_or(0),
                    severity_text: text(&line["severityText"]),
                    trace: text(&line["traceId"]),
                    span: text(&line["spanId"]),
                    time: text(&line["timeUnixNano"]).parse().unwrap(),
                    target: text(&by_scope["scope"]["name"]),
                    attributes: attributes(&line["attributes"]),
                    resource: resource.clone(),
                });
            }
        }
    }
    all
}

/// The first that begins so.
pub(crate) fn find<'a>(lines: &'a [Line], beginning: &str) -> Option<&'a Line> {
    lines.iter().find(|line| line.body.starts_with(beginning))
}

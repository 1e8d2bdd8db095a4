//! The metrics that the chart shows: which a text names.

use std::collections::BTreeSet;
use std::fs;

pub(crate) const RULES: &str = "helm/zerotouch-worker/files/alerts.yaml";
pub(crate) const DASHBOARD: &str = "helm/zerotouch-worker/files/dashboard.json";

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    let whole = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{whole}: {error}"))
}

/// The metrics that a text names, without what Prometheus adds to histograms.
pub(crate) fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_part(c));
    let ours = words.filter(|w| w.starts_with("zerotouch_") || w.starts_with("process_"));
    ours.map(|word| {
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        bare.unwrap_or(word).to_owned()
    })
    .collect()
}

/// Those in the table of `docs/metrics.md`.
pub(crate) fn documented() -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: BTreeSet<String> =
        rows.filter_map(|row| row.split_once('`')).map(|(name, _)| name.to_owned()).collect();
    assert!(names.len() > 25, "{names:?}");
    names
}

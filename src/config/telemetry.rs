//! What can be wrong with `[telemetry]` beyond what its schema says.

use super::check::is_path;
use super::endpoint::Endpoint;
use super::settings::TelemetrySettings;

/// Keys with what is wrong with them.
pub(super) fn problems(telemetry: &TelemetrySettings) -> Vec<(String, &'static str)> {
    let mut problems = Vec::new();
    if let Some(url) = &telemetry.otlp_endpoint
        && let Err(problem) = Endpoint::parse(url)
    {
        problems.push(("telemetry.otlp_endpoint".to_owned(), problem));
    }
    if telemetry.ca_file.as_deref().is_some_and(|file| !is_path(file)) {
        let problem = "expected the path of a file, not its content";
        problems.push(("telemetry.ca_file".to_owned(), problem));
    }
    // Names of HTTP/2 headers have no capitals. Dots are refused, since in the name of a variable
    // an underscore stands for one, and no header is meant so.
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        !name.is_empty() && name.chars().all(plain) && !name.ends_with("-bin")
    };
    for name in telemetry.otlp_headers.keys().filter(|name| !is_name(name)) {
        let problem = "expected the name of a header, in lower case and without dots; in a \
                       variable, give the whole table: { \"x-api-key\" = \"…\" }";
        problems.push((format!("telemetry.otlp_headers.{name}"), problem));
    }
    problems
}

//! The report of all mistakes, and where a value came from. Decides what may be printed of a value.

use std::fmt;
use std::sync::Arc;

use super::owned_properties::owned_property;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the default.
    Default,
    /// In the file.
    File {
        /// The path as given.
        path: Arc<str>,
        /// Line, counted from 1.
        line: usize,
    },
    /// In an environment variable of this name.
    Variable(Arc<str>),
    /// In a flag of this name.
    Flag(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key with dots between; empty if it concerns the file or a flag as a whole.
    pub key: String,
    /// The value as far as it may be printed; `None` if there is none.
    pub value: Option<String>,
    /// Where it was written; `None` if it is missing.
    pub origin: Option<Origin>,
    /// What is wrong, or what was expected.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin, problem } = self;
        match (key.is_empty(), origin) {
            (true, Some(origin)) => return write!(f, "{origin}: {problem}"),
            (true, None) => return f.write_str(problem),
            (false, _) => f.write_str(key)?,
        }
        if let Some(value) = value {
            write!(f, " = {value}")?;
        }
        if let Some(origin) = origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {problem}")
    }
}

/// All mistakes of a configuration, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// `Err` if there are any.
    pub(super) fn none_of(mut mistakes: Vec<Mistake>) -> Result<(), Self> {
        mistakes.sort_by_key(|mistake| match mistake.origin {
            Some(Origin::File { line, .. }) => (0, line),
            Some(Origin::Variable(_)) => (1, 0),
            Some(Origin::Flag(_)) => (2, 0),
            Some(Origin::Default) => (3, 0),
            None => (4, 0),
        });
        if mistakes.is_empty() { Ok(()) } else { Err(Self(mistakes)) }
    }

    /// The mistakes in the order in which they are corrected: the file by line, environment,
    /// flags, defaults that do not fit, and what is missing.
    #[must_use]
    pub fn list(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 mistake in the configuration:")?,
            count => write!(f, "{count} mistakes in the configuration:")?,
        }
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Stands for what may not be printed.
pub(super) const REDACTED: &str = "[redacted]";

/// Longest text of a value in the report, in characters.
const SHOWN_MAX: usize = 80;

/// librdkafka properties whose values may be printed.
const HARMLESS_PROPERTIES: [&str; 14] = [
    "broker.address.family",
    "client.dns.lookup",
    "client.rack",
    "compression.type",
    "debug",
    "enable.ssl.certificate.verification",
    "linger.ms",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "security.protocol",
    "socket.keepalive.enable",
    "ssl.ca.location",
    "ssl.endpoint.identification.algorithm",
];

/// Whether the value at `key` may be a secret.
pub(super) fn is_secret(key: &str) -> bool {
    let property = key.strip_prefix("kafka.properties.");
    key.starts_with("telemetry.otlp_headers")
        || property.is_some_and(|name| {
            !HARMLESS_PROPERTIES.contains(&name) && owned_property(name).is_none()
        })
}

/// The text of a value as it may be printed: quoted, on one line, cut, and without what looks like
/// a key or a password in the wrong place.
pub(super) fn shown_text(key: &str, text: &str) -> String {
    let suspicious = text.contains("PRIVATE KEY") || text.contains('{') || text.contains('@');
    if is_secret(key) || suspicious {
        return REDACTED.to_owned();
    }
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The closest of `known` to a mistyped `word`, as a hint to add to a message.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = |name: &&str| strsim::jaro_winkler(word, name);
    let best = known.into_iter().max_by(|a, b| near(a).total_cmp(&near(b)));
    match best {
        Some(name) if near(&name) > 0.75 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

//! Log lines: how they look, which are let through, and how that changes at run time.
//!
//! Lines go to stderr, and to a collector if that is wanted; stdout belongs to what a command
//! prints.

mod export;

use std::io;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

pub(super) use export::Gate;

/// Quieter than the rest unless the user's directives name them: they repeat what this worker
/// reports itself.
const QUIET: [&str; 8] = [
    "librdkafka=error",
    "rdkafka=error",
    "hyper=warn",
    "hyper_util=warn",
    "h2=warn",
    "tonic=warn",
    "tower=warn",
    "rustls=warn",
];

/// Why logs cannot be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The directives cannot be read.
    #[error("cannot read the log level {filter:?}: {reason}")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong.
        reason: ParseError,
    },
    /// Logs can be set up once in a process.
    #[error("logs are set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// The process is ending.
    #[error("cannot change the log level: logs are closed")]
    Closed(#[from] reload::Error),
}

/// Changes what is let through, while the process runs.
#[derive(Clone, Debug)]
pub struct LogsHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    gate: Gate,
}

impl LogsHandle {
    /// Takes new directives; if they cannot be read, the old ones stay.
    ///
    /// # Errors
    /// [`LogsError::Filter`], or [`LogsError::Closed`] if nothing logs any more.
    pub fn set(&self, filter: &str) -> Result<(), LogsError> {
        Ok(self.filter.reload(parse(filter)?)?)
    }

    /// The directives in force, those that are quiet by default among them.
    #[must_use]
    pub fn current(&self) -> String {
        self.filter.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Where lines go to the collector.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

/// Sets up the logs of this process.
///
/// # Errors
/// [`LogsError::Filter`], or [`LogsError::Twice`] if the process has logs already.
pub fn init(format: LogFormat, filter: &str) -> Result<LogsHandle, LogsError> {
    let (subscriber, handle) = subscriber(format, filter, io::stderr)?;
    subscriber.try_init()?;
    Ok(handle)
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + 'static, LogsHandle), LogsError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Text => lines.compact().with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let gate = Gate::default();
    let exported = export::layer(&gate)
        .with_filter(filter_fn(|metadata| export::is_exported(metadata.target())));
    let subscriber = Registry::default().with(filter).with(lines).with(exported);
    Ok((subscriber, LogsHandle { filter: handle, gate }))
}

fn parse(filter: &str) -> Result<EnvFilter, LogsError> {
    let mut directives: Vec<&str> = QUIET.to_vec();
    // Later directives win, so what the user says of a target stands.
    directives.push(filter);
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    builder
        .parse(directives.join(","))
        .map_err(|reason| LogsError::Filter { filter: filter.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str, log: impl FnOnce(&LogsHandle)) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let (subscriber, handle) = subscriber(format, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || log(&handle));
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_has_level_target_and_fields() {
        let line = logged(LogFormat::Json, "info", |_| {
            tracing::info!(target: "worker", lane = 3, "assigned");
        });
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "worker");
        assert_eq!(line["message"], "assigned");
        assert_eq!(line["lane"], 3);
    }

    #[test]
    fn librdkafka_is_quiet_unless_named() {
        let log = |_: &LogsHandle| tracing::warn!(target: "librdkafka", "noise");
        assert_eq!(logged(LogFormat::Text, "info", log), "");
        assert!(logged(LogFormat::Text, "info,librdkafka=debug", log).contains("noise"));
    }

    #[test]
    fn the_level_changes_while_running_and_a_bad_one_changes_nothing() {
        let text = logged(LogFormat::Text, "info", |handle| {
            tracing::debug!("before");
            handle.set("debug").unwrap();
            tracing::debug!("after");
            assert!(handle.set("a=b=c").is_err());
            tracing::debug!("still");
            assert!(handle.current().contains("debug"));
        });
        assert!(!text.contains("before"), "{text}");
        assert!(text.contains("after") && text.contains("still"), "{text}");
    }
}

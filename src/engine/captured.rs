//! What is logged meanwhile: for tests of this room and of those that may name it.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Sink {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The lines that are logged at a level meanwhile.
pub(crate) fn logged(level: tracing::Level, work: impl Fn()) -> Vec<Value> {
    // What nobody wants is remembered for the whole process, and while there is but one subscriber,
    // by the one of whichever thread asks: with other tests beside, events would be missed. So
    // there is one more that wants everything, and all events have been met before they are looked
    // at.
    static EAGER: OnceLock<tracing::Dispatch> = OnceLock::new();
    EAGER.get_or_init(|| {
        let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        tracing::Dispatch::new(all.with_writer(io::sink).finish())
    });
    work();
    let sink = Sink::default();
    let lines = tracing_subscriber::fmt().json().flatten_event(true);
    let subscriber = lines.with_max_level(level).with_writer(sink.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Those that say this.
pub(crate) fn find<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    let said = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains(message));
    lines.iter().filter(said).collect()
}

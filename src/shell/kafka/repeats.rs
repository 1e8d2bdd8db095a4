//! Lines that say the same again and again are told once, then once a minute with how many there
//! were: librdkafka tells each attempt to connect, of each client, of each broker.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long what was told is not told again.
const QUIET: Duration = Duration::from_secs(60);
/// Different lines that are remembered at most; beyond, they count as one.
const LINES_MAX: usize = 256;

/// For all clients of the process: they go the same way to the same brokers.
static LINES: Mutex<Repeats> = Mutex::new(Repeats(BTreeMap::new()));

#[derive(Debug)]
struct Line {
    told: Instant,
    again: u64,
}

/// What has been told, and how often it was held back since.
#[derive(Debug)]
struct Repeats(BTreeMap<String, Line>);

impl Repeats {
    fn tell(&mut self, line: &str, now: Instant) -> Option<u64> {
        if !self.0.contains_key(line) && self.0.len() >= LINES_MAX {
            // What has been quiet for longer is over.
            self.0.retain(|_, line| now.saturating_duration_since(line.told) < 2 * QUIET);
        }
        let line = if self.0.contains_key(line) || self.0.len() < LINES_MAX { line } else { "" };
        match self.0.get_mut(line) {
            None => {
                self.0.insert(line.to_owned(), Line { told: now, again: 0 });
                Some(0)
            }
            Some(known) if now.saturating_duration_since(known.told) >= QUIET => {
                known.told = now;
                Some(std::mem::take(&mut known.again))
            }
            Some(known) => {
                known.again += 1;
                None
            }
        }
    }
}

/// Whether to tell a line: if so, how often it was held back since it was told last.
pub(in crate::shell) fn tell(line: &str) -> Option<u64> {
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.tell(essence(line), Instant::now())
}

/// What two lines that say the same have in common. A line of the log begins with the name of a
/// thread, a complaint that says the same does not; both end in how long something took and how
/// often it was the same.
fn essence(line: &str) -> &str {
    let line = match line.strip_prefix("[thrd:") {
        Some(rest) => rest.split_once("]: ").map_or(line, |(_, rest)| rest),
        None => line,
    };
    line.rsplit_once(" (after ").map_or(line, |(essence, _)| essence)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: &str = "localhost:9092/1: Connect to 127.0.0.1:9092 failed: Connection refused";

    #[test]
    fn a_line_is_told_at_once_and_then_once_a_minute_with_how_many_there_were() {
        let mut repeats = Repeats(BTreeMap::new());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(repeats.tell(DOWN, at(0)), Some(0));
        for second in 1..60 {
            assert_eq!(repeats.tell(DOWN, at(second)), None);
        }
        assert_eq!(repeats.tell("another", at(59)), Some(0));
        assert_eq!(repeats.tell(DOWN, at(60)), Some(59));
        assert_eq!(repeats.tell(DOWN, at(61)), None);
        assert_eq!(repeats.tell(DOWN, at(1_000)), Some(1));
    }

    #[test]
    fn a_complaint_is_the_line_of_the_log_without_thread_and_times() {
        let line = format!(
            "[thrd:localhost:9092/1]: {DOWN} (after 2ms in state CONNECT, 3 identical error(s) \
             suppressed)"
        );
        assert_eq!(essence(&line), DOWN);
        assert_eq!(essence(&format!("{DOWN} (after 0ms in state CONNECT)")), DOWN);
        assert_eq!(essence("[thrd: no end"), "[thrd: no end");
    }

    #[test]
    fn lines_that_differ_every_time_cannot_flood_the_log_nor_the_memory() {
        let mut repeats = Repeats(BTreeMap::new());
        let start = Instant::now();
        let told = |repeats: &mut Repeats, now| {
            (0..10_000).filter(|n| repeats.tell(&format!("{n} at {now:?}"), now).is_some()).count()
        };
        assert_eq!(told(&mut repeats, start), LINES_MAX + 1);
        assert!(repeats.0.len() <= LINES_MAX + 1);
        let later = start + 2 * QUIET;
        assert_eq!(told(&mut repeats, later), LINES_MAX + 1, "what is over is forgotten");
    }
}

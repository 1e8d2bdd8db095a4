//! Lines that say the same again and again are told once, then once a minute with how many there
//! were: librdkafka tells each attempt to connect, of each client, of each broker.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::shell::limit::Limit;
use crate::shell::lock::locked;

/// How long what was told is not told again.
const QUIET: Duration = Duration::from_secs(60);
/// Different lines that are remembered at most; beyond, they count as one.
const LINES_MAX: usize = 256;

/// For all clients of the process: they go the same way to the same brokers.
static LINES: Mutex<Limit<String>> = Mutex::new(Limit::new(1, QUIET));

/// Whether to tell a line: if so, how often it was held back since it was told last, if it was.
pub(in crate::shell) fn tell(line: &str) -> Option<Option<u64>> {
    let held_back = admit(&mut locked(&LINES), line, Instant::now())?;
    Some((held_back > 0).then_some(held_back))
}

fn admit(lines: &mut Limit<String>, line: &str, now: Instant) -> Option<u64> {
    let mut line = essence(line).to_owned();
    if lines.is_too_many(&line, LINES_MAX) {
        // What has been quiet for longer is over.
        lines.over(now);
        if lines.is_too_many(&line, LINES_MAX) {
            line.clear();
        }
    }
    lines.admit(line, now)
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
        let mut lines = Limit::new(1, QUIET);
        let start = Instant::now();
        let mut tell = |line: &str, seconds| {
            let line = format!("{line} (after {seconds}ms in state CONNECT)");
            admit(&mut lines, &line, start + Duration::from_secs(seconds))
        };
        assert_eq!(tell(DOWN, 0), Some(0));
        for second in 1..60 {
            assert_eq!(tell(DOWN, second), None);
        }
        assert_eq!(tell("another", 59), Some(0));
        assert_eq!(tell(DOWN, 60), Some(59));
        assert_eq!(tell(DOWN, 61), None);
        assert_eq!(tell(DOWN, 1_000), Some(1));
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
        let mut lines = Limit::new(1, QUIET);
        let start = Instant::now();
        let mut told = |now| {
            let line = |n| format!("{n} at {now:?}");
            (0..10_000).filter(|n| admit(&mut lines, &line(*n), now).is_some()).count()
        };
        assert_eq!(told(start), LINES_MAX + 1);
        assert_eq!(told(start + QUIET), LINES_MAX + 1, "what is over is forgotten");
    }
}

//! Whether the transactions of a half go through. One that does not is ordinary, as after a
//! rebalance; several in a row are not.

use std::time::{Duration, Instant};

/// Failures in a row, and for how long, before it is said.
const FAILURES: u32 = 3;
const FAILING: Duration = Duration::from_secs(5);
/// Nothing has been tried for this long, so nothing is known: what failed may have gone to another
/// worker. Longer than the longest wait before a transaction is written again.
const OVER: Duration = Duration::from_secs(180);
/// A transaction that takes longer than this is told: nothing else is written meanwhile.
const LONG: Duration = Duration::from_secs(30);

/// The transactions of one half.
#[derive(Debug, Default)]
pub(super) struct Writes {
    failing: Option<Failing>,
    /// For how long the present one has been under way.
    under_way: Duration,
}

#[derive(Debug)]
struct Failing {
    failures: u32,
    since: Instant,
    last: Instant,
    reason: String,
}

impl Writes {
    /// One was aborted. Gives how many were in a row.
    pub(super) fn failed(&mut self, reason: &str, now: Instant) -> u32 {
        let is_over = |failing: &Failing| now.saturating_duration_since(failing.last) > OVER;
        let before = self.failing.take().filter(|failing| !is_over(failing));
        let (failures, since) = before.map_or((0, now), |before| (before.failures, before.since));
        let failures = failures.saturating_add(1);
        self.failing = Some(Failing { failures, since, last: now, reason: reason.to_owned() });
        failures
    }

    /// One went through, or a new session begins.
    pub(super) fn ok(&mut self) {
        self.failing = None;
    }

    /// For how long the present one has been under way, if there is one.
    pub(super) fn under_way(&mut self, busy: Option<Duration>) {
        self.under_way = busy.unwrap_or_default();
    }

    /// Why they keep failing, if they do.
    pub(super) fn wrong(&self, now: Instant) -> Option<String> {
        if self.under_way > LONG {
            let seconds = self.under_way.as_secs();
            return Some(format!("the present one has been under way for {seconds} s"));
        }
        let failing = self.failing.as_ref()?;
        let lasts = now.saturating_duration_since(failing.since) >= FAILING;
        let is_over = now.saturating_duration_since(failing.last) > OVER;
        let is_told = failing.failures >= FAILURES && lasts && !is_over;
        is_told.then(|| format!("the last one: {}", failing.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_failures_in_a_row_over_some_seconds_are_wrong_until_one_goes_through() {
        let mut writes = Writes::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((writes.failed("first", at(0)), writes.failed("second", at(6))), (1, 2));
        assert_eq!(writes.wrong(at(6)), None, "two may be a rebalance");
        assert_eq!(writes.failed("no WRITE", at(7)), 3);
        assert_eq!(writes.wrong(at(7)).as_deref(), Some("the last one: no WRITE"));
        writes.ok();
        assert_eq!(writes.wrong(at(8)), None);
        let quick: Vec<u32> = (0..3).map(|_| writes.failed("quick", at(9))).collect();
        assert_eq!((quick, writes.wrong(at(10))), (vec![1, 2, 3], None));
        assert_eq!(writes.wrong(at(14)).as_deref(), Some("the last one: quick"));
        assert_eq!(writes.wrong(at(500)), None, "nothing was tried since");
        assert_eq!(writes.failed("anew", at(500)), 1);
        writes.under_way(Some(Duration::from_secs(45)));
        let long = "the present one has been under way for 45 s";
        assert_eq!(writes.wrong(at(501)).as_deref(), Some(long));
        writes.under_way(None);
        assert_eq!(writes.wrong(at(501)), None);
    }
}

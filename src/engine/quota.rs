//! The quota of one account: a token bucket that submits, polls and lookups share.
//!
//! The documented limit counts calls in a window, so bursts and refill together must stay within
//! it: a tenth of the limit may burst, nine tenths flow in evenly over the window. A refused call
//! (429) halves the flow; each quiet window gives a tenth of the limit back (AIMD).

use std::time::Duration;

use super::Mono;

/// Share of the limit that may be spent at once.
const BURST: f64 = 0.1;
/// The flow never falls below this part of the limit, or nothing would ever find out that the
/// quota is free again.
const FLOW_MIN: f64 = 0.02;

/// Share of the flow, and of the burst, that looking for an item at fault may take: the rest is for
/// calls that nothing speaks against.
const PROBES: f64 = 0.25;

/// Keeps the flow of a worker without lanes above zero; it has nothing to send.
const SHARE_MIN: f64 = 1e-6;

/// The bucket.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: f64,
    window: Duration,
    /// Part of the limit that is ours: lanes owned over lanes there are.
    share: f64,
    /// Part of the full flow that the last refusals leave us.
    pace: f64,
    pace_raised: Mono,
    tokens: f64,
    /// Of these, what probes may take.
    probe_tokens: f64,
    filled: Mono,
    /// Nothing is granted before: the server asked to wait.
    closed_until: Mono,
}

impl Quota {
    pub(crate) fn new(calls: u32, window: Duration) -> Self {
        Self {
            limit: f64::from(calls.max(1)),
            window,
            share: 1.0,
            pace: 1.0,
            pace_raised: Mono::default(),
            tokens: f64::INFINITY,
            probe_tokens: f64::INFINITY,
            filled: Mono::default(),
            closed_until: Mono::default(),
        }
    }

    /// Sets the part of the limit that this worker may use.
    pub(crate) fn set_share(&mut self, now: Mono, share: f64) {
        self.fill(now);
        self.share = share.clamp(0.0, 1.0);
        self.tokens = self.tokens.min(self.burst());
    }

    /// Takes a token if there is one.
    pub(crate) fn grant(&mut self, now: Mono) -> bool {
        self.fill(now);
        let granted = now >= self.closed_until && self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    /// Takes a token for a call that looks for an item at fault, if the share of those has one.
    pub(crate) fn grant_probe(&mut self, now: Mono) -> bool {
        self.fill(now);
        let granted = self.probe_tokens >= 1.0 && self.grant(now);
        if granted {
            self.probe_tokens -= 1.0;
        }
        granted
    }

    /// When [`Self::grant_probe`] can succeed.
    pub(crate) fn next_probe(&mut self, now: Mono) -> Mono {
        let call = self.next_grant(now);
        let missing = (1.0 - self.probe_tokens).max(0.0);
        (now + self.time_for(missing / PROBES)).max(call)
    }

    /// When the next token can be had.
    pub(crate) fn next_grant(&mut self, now: Mono) -> Mono {
        self.fill(now);
        let missing = (1.0 - self.tokens).max(0.0);
        (now + self.time_for(missing)).max(self.closed_until)
    }

    /// How long it takes until so many tokens have flowed in.
    fn time_for(&self, missing: f64) -> Duration {
        let wait = if missing == 0.0 { 0.0 } else { missing / self.flow() };
        // A nanosecond more, so that rounding never wakes us just before the token is whole.
        let full = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
        full.saturating_add(Duration::from_nanos(u64::from(missing > 0.0)))
    }

    /// Until when the server asked to be left alone.
    pub(crate) fn closed_until(&self) -> Mono {
        self.closed_until
    }

    /// The server refused a call: slow down, and wait as long as it says.
    pub(crate) fn refused(&mut self, now: Mono, after: Duration) {
        self.fill(now);
        // Calls that were under way together are refused together: that is one sign, not many.
        if now >= self.closed_until {
            self.pace = (self.pace / 2.0).max(FLOW_MIN);
        }
        self.pace_raised = now;
        self.tokens = self.tokens.min(0.0);
        self.closed_until = self.closed_until.max(now + after);
    }

    /// The average time between two tokens.
    pub(crate) fn interval(&self) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.flow()).unwrap_or(Duration::MAX)
    }

    /// The part of the burst that is spent: 0 when calls are plentiful, 1 when none is left.
    pub(crate) fn scarcity(&mut self, now: Mono) -> f64 {
        self.fill(now);
        (1.0 - self.tokens() / self.burst()).clamp(0.0, 1.0)
    }

    /// Tokens at hand, for reports.
    pub(crate) fn tokens(&self) -> f64 {
        self.tokens.min(self.burst())
    }

    fn flow(&self) -> f64 {
        (1.0 - BURST) * self.limit * self.share.max(SHARE_MIN) * self.pace
            / self.window.as_secs_f64().max(f64::EPSILON)
    }

    fn burst(&self) -> f64 {
        (BURST * self.limit * self.share).max(1.0)
    }

    fn fill(&mut self, now: Mono) {
        let windows = now.since(self.pace_raised).as_secs_f64() / self.window.as_secs_f64();
        if self.pace < 1.0 && windows >= 1.0 {
            self.pace = (self.pace + 0.1 * windows.floor()).min(1.0);
            self.pace_raised = now;
        }
        let gained = now.since(self.filled).as_secs_f64() * self.flow();
        self.tokens = (self.tokens + gained).min(self.burst());
        let probes_max = (PROBES * self.burst()).max(1.0);
        self.probe_tokens = (self.probe_tokens + PROBES * gained).min(probes_max);
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono(millis * 1_000_000)
    }

    fn granted_between(quota: &mut Quota, from: u64, to: u64) -> u32 {
        (from..to).map(|ms| u32::from(quota.grant(at(ms)))).sum()
    }

    #[test]
    fn no_window_sees_more_calls_than_the_limit() {
        let mut quota = Quota::new(1_000, Duration::from_secs(100));
        let first = granted_between(&mut quota, 0, 100_000);
        assert!((950..=1_000).contains(&first), "{first}");
        assert!(granted_between(&mut quota, 100_000, 200_000) <= 1_000);
    }

    #[test]
    fn probes_take_a_quarter_and_leave_the_rest() {
        let mut quota = Quota::new(1_000, Duration::from_secs(100));
        let first = (0..1_000).filter(|_| quota.grant_probe(at(0))).count();
        assert_eq!(first, 25);
        assert_eq!((0..1_000).filter(|_| quota.grant(at(0))).count(), 75);
        let mut probes = 0;
        for ms in 1..100_000 {
            let next = quota.next_probe(at(ms));
            let granted = quota.grant_probe(at(ms));
            assert_eq!(granted, next <= at(ms), "{ms}");
            probes += u32::from(granted);
        }
        assert!((215..=225).contains(&probes), "{probes}");
    }

    #[test]
    fn the_share_of_a_worker_scales_burst_and_flow() {
        let mut quota = Quota::new(1_000, Duration::from_secs(100));
        quota.set_share(at(0), 0.25);
        let granted = granted_between(&mut quota, 0, 100_000);
        assert!((235..=250).contains(&granted), "{granted}");
    }

    #[test]
    fn the_next_grant_is_granted_exactly_then() {
        let mut quota = Quota::new(10, Duration::from_secs(10));
        assert!(quota.grant(at(0)));
        let next = quota.next_grant(at(0));
        assert!(next > at(0));
        assert!(!quota.grant(Mono(next.0 - 1_000_000)));
        assert!(quota.grant(next));
    }

    #[test]
    fn a_refusal_waits_as_told_halves_the_flow_and_recovers_by_tenths() {
        let mut quota = Quota::new(100, Duration::from_secs(10));
        let full = quota.interval();
        quota.refused(at(0), Duration::from_secs(3));
        assert!(!quota.grant(at(2_999)));
        assert!(quota.grant(at(3_000)));
        assert_eq!(quota.interval(), full * 2);
        quota.grant(at(70_000));
        assert!(quota.interval() <= full + Duration::from_micros(1));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_grants_nothing_extra() {
        let mut quota = Quota::new(10, Duration::from_secs(10));
        assert!(quota.grant(at(5_000)));
        assert!(!quota.grant(at(5_000)));
        assert!(!quota.grant(at(1_000)));
    }
}

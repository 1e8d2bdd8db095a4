//! The call quota: so many calls of one partner in any window.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::operations::later;

/// The calls of the window that lies behind, for each partner. Refused calls do not count.
#[derive(Clone, Debug, Default)]
pub(super) struct Quota {
    calls: BTreeMap<String, VecDeque<Timestamp>>,
}

impl Quota {
    /// Counts a call, or says how long until the next one is allowed.
    ///
    /// # Errors
    /// When the window is full.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        partner: &str,
        max: usize,
        window: Duration,
    ) -> Result<(), Duration> {
        if max == 0 {
            return Ok(());
        }
        let calls = self.calls.entry(partner.to_owned()).or_default();
        while calls.front().is_some_and(|first| later(*first, window) <= now) {
            calls.pop_front();
        }
        match calls.front() {
            Some(first) if calls.len() >= max => {
                Err(Duration::try_from(later(*first, window).duration_since(now))
                    .unwrap_or(Duration::ZERO))
            }
            _ => {
                calls.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides_and_each_partner_has_its_own() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut quota = Quota::default();
        let mut take =
            |second, partner| quota.take(at(second), partner, 2, Duration::from_secs(10));
        assert_eq!(take(0, "1"), Ok(()));
        assert_eq!(take(4, "1"), Ok(()));
        assert_eq!(take(5, "1"), Err(Duration::from_secs(5)));
        assert_eq!(take(5, "2"), Ok(()));
        assert_eq!(take(10, "1"), Ok(()));
        assert_eq!(take(11, "1"), Err(Duration::from_secs(3)));
    }
}

//! What may happen a thousand times in a row is told a few times, and counted from then on.
//!
//! Plain and told the time: it neither looks at a clock nor logs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Lets a few of each kind through in a stretch of time, and counts the others.
#[derive(Debug)]
pub(in crate::shell) struct Limit<K> {
    most: u32,
    window: Duration,
    kinds: BTreeMap<K, Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    told: u32,
    held: u64,
}

impl Window {
    const fn new(began: Instant) -> Self {
        Self { began, told: 0, held: 0 }
    }

    fn is_over(&self, now: Instant, window: Duration) -> bool {
        now.saturating_duration_since(self.began) >= window
    }
}

impl<K: Clone + Ord> Limit<K> {
    /// Lets `most` of each kind through in a `window`, which begins with the first of them; one at
    /// least.
    pub(in crate::shell) const fn new(most: u32, window: Duration) -> Self {
        Self { most, window, kinds: BTreeMap::new() }
    }

    /// One more of a kind. If it may be told: how many of the kind have been held back since the
    /// last one that was told, and are forgotten now.
    pub(in crate::shell) fn admit(&mut self, kind: K, now: Instant) -> Option<u64> {
        let window = self.kinds.entry(kind).or_insert(Window::new(now));
        let mut before = 0;
        if window.is_over(now, self.window) {
            before = std::mem::replace(window, Window::new(now)).held;
        }
        if window.told < self.most.max(1) {
            window.told += 1;
            Some(before)
        } else {
            window.held += 1;
            None
        }
    }

    /// More of a kind that are not to be told one by one in any case.
    pub(in crate::shell) fn hold(&mut self, kind: K, more: u64, now: Instant) {
        if more > 0 {
            self.kinds.entry(kind).or_insert(Window::new(now)).held += more;
        }
    }

    /// Kinds whose time is over, and how many of each were held back. To be asked now and then, or
    /// the last ones of a flood are told with the next one only.
    pub(in crate::shell) fn over(&mut self, now: Instant) -> Vec<(K, u64)> {
        let (window, mut held) = (self.window, Vec::new());
        self.kinds.retain(|kind, one| {
            let is_over = one.is_over(now, window);
            if is_over && one.held > 0 {
                held.push((kind.clone(), one.held));
            }
            !is_over
        });
        held
    }

    /// Whether another kind would be one more than `kinds_max`.
    pub(in crate::shell) fn is_too_many(&self, kind: &K, kinds_max: usize) -> bool {
        self.kinds.len() >= kinds_max && !self.kinds.contains_key(kind)
    }

    /// The same for all kinds, whether their time is over or not: for the end.
    pub(in crate::shell) fn rest(&mut self) -> Vec<(K, u64)> {
        let kinds = std::mem::take(&mut self.kinds).into_iter();
        kinds.filter(|(_, one)| one.held > 0).map(|(kind, one)| (kind, one.held)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn times() -> impl Fn(u64) -> Instant {
        let began = Instant::now();
        move |seconds| began + Duration::from_secs(seconds)
    }

    #[test]
    fn a_few_of_each_kind_are_told_in_a_window_and_the_others_counted() {
        let (mut limit, at) = (Limit::new(2, WINDOW), times());
        let told: Vec<_> = (0..5).map(|second| limit.admit("a", at(second))).collect();
        assert_eq!(told, [Some(0), Some(0), None, None, None]);
        assert_eq!(limit.admit("b", at(5)), Some(0), "a kind of its own");
        assert_eq!(limit.over(at(59)), []);
        assert_eq!(limit.over(at(60)), [("a", 3)], "the window began with the first one");
        assert_eq!(limit.over(at(70)), [], "told already, and none of b was held back");
        assert_eq!(limit.admit("a", at(70)), Some(0));
    }

    #[test]
    fn one_that_comes_before_anybody_asked_says_how_many_were_held_back() {
        let (mut limit, at) = (Limit::new(1, WINDOW), times());
        assert_eq!(limit.admit("a", at(0)), Some(0));
        assert_eq!(limit.admit("a", at(1)), None);
        limit.hold("a", 10, at(2));
        assert_eq!(limit.admit("a", at(60)), Some(11));
        assert_eq!(limit.admit("a", at(61)), None, "it began a window of its own");
        assert_eq!(limit.over(at(120)), [("a", 1)]);
    }

    #[test]
    fn at_the_end_nothing_is_kept_back() {
        let (mut limit, at) = (Limit::new(1, WINDOW), times());
        limit.hold("b", 0, at(0));
        for second in 0..3 {
            limit.admit("a", at(second));
        }
        assert_eq!(limit.rest(), [("a", 2)]);
        assert_eq!(limit.rest(), []);
    }

    #[test]
    fn kinds_that_are_over_are_forgotten() {
        let (mut limit, at) = (Limit::new(1, WINDOW), times());
        let admitted = (0..1_000).filter_map(|kind| limit.admit(kind, at(0)));
        assert_eq!(admitted.count(), 1_000);
        limit.over(at(60));
        assert!(limit.kinds.is_empty());
    }
}

//! Records of order topics that are passed over: for whoever wonders where an event is, and not so
//! often that it is a nuisance, since nothing is wrong.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::unusable::Place;
use crate::engine::intake::PassedOver;
use crate::shell::limit::Limit;
use crate::shell::lock::locked;
use crate::wire::shorten;

/// Lines of a kind in a window at most; the others are counted.
const LINES_MAX: u32 = 1;
const WINDOW: Duration = Duration::from_secs(60);
/// Of a reason, in bytes: it quotes the type that a producer gave.
const TEXT_MAX: usize = 200;

/// Tells of them. Only of what is committed.
#[derive(Debug)]
pub(in crate::shell) struct PassedOvers(Mutex<Limit<PassedOver>>);

impl Default for PassedOvers {
    fn default() -> Self {
        Self(Mutex::new(Limit::new(LINES_MAX, WINDOW)))
    }
}

impl PassedOvers {
    /// A record is passed over.
    pub(in crate::shell) fn one(
        &self,
        (topic, partition, offset): Place<'_>,
        (kind, why): (PassedOver, &str),
        now: Instant,
    ) {
        let Some(held) = self.limit().admit(kind, now) else { return };
        tell_held(kind, held);
        tracing::info!(
            topic,
            partition,
            offset,
            kind = kind.as_str(),
            why = &*shorten(why, TEXT_MAX),
            "a record of an order topic is passed over and counted; it is no dead letter"
        );
    }

    /// What was not told one by one, once its time is over. To be called now and then.
    pub(in crate::shell) fn tell_held(&self, now: Instant) {
        let held = self.limit().over(now);
        held.into_iter().for_each(|(kind, count)| tell_held(kind, count));
    }

    /// The same at the end.
    pub(in crate::shell) fn tell_rest(&self) {
        let rest = self.limit().rest();
        rest.into_iter().for_each(|(kind, count)| tell_held(kind, count));
    }

    fn limit(&self) -> MutexGuard<'_, Limit<PassedOver>> {
        locked(&self.0)
    }
}

fn tell_held(kind: PassedOver, count: u64) {
    if count > 0 {
        tracing::info!(kind = kind.as_str(), count, "more records of order topics are passed over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::captured::{find, logged};

    #[test]
    fn one_of_each_kind_is_told_in_a_window_and_the_others_counted() {
        let began = Instant::now();
        let lines = logged(tracing::Level::INFO, || {
            let (passed, at) = (PassedOvers::default(), |s| began + Duration::from_secs(s));
            for offset in 0..100 {
                passed.one(("orders", 2, offset), (PassedOver::Tombstone, "no value"), at(1));
            }
            passed.one(("orders", 2, 100), (PassedOver::Other, "type \"paid\""), at(2));
            passed.tell_held(at(30));
            passed.tell_held(at(70));
            passed.tell_rest();
        });
        let told = find(&lines, "a record of an order topic is passed over");
        assert_eq!(told.len(), 2, "{lines:?}");
        assert_eq!((&told[0]["topic"], &told[0]["offset"]), (&"orders".into(), &0.into()));
        assert_eq!(
            (&told[1]["kind"], &told[1]["why"]),
            (&"unknown_type".into(), &"type \"paid\"".into())
        );
        let counted = find(&lines, "more records of order topics are passed over");
        assert_eq!(counted.len(), 1, "{lines:?}");
        assert_eq!(counted[0]["count"], 99);
    }
}

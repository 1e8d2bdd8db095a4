//! How large the records of a transaction may be, topic by topic, and how many did not fit.

use std::time::Instant;

use super::telemetry::metrics::Half;
use super::{Stats, Topics};
use crate::wire::fit::Room;

/// What may leave whole. Smaller for the rest of a transaction once a topic has refused a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shell) struct Rooms {
    pub(in crate::shell) outcomes: Room,
    pub(in crate::shell) dead_letters: Room,
}

impl Rooms {
    pub(in crate::shell) const fn new(bytes_max: usize) -> Self {
        let room = Room::new(bytes_max);
        Self { outcomes: room, dead_letters: room }
    }

    /// A topic has refused a record of this size. `false` if nothing smaller can be written to it.
    pub(in crate::shell) fn refused(&mut self, topics: &Topics, topic: &str, bytes: usize) -> bool {
        let room = match topic {
            _ if topic == &*topics.outcomes => &mut self.outcomes,
            _ if topic == &*topics.dead_letters => &mut self.dead_letters,
            _ => return false,
        };
        let less = room.less_than(bytes);
        *room = less.unwrap_or(*room);
        less.is_some()
    }
}

/// Records of a transaction that were shortened to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::shell) struct Shortened {
    pub(in crate::shell) outcomes: u64,
    pub(in crate::shell) dead_letters: u64,
}

impl Shortened {
    pub(in crate::shell) fn add(&mut self, other: Self) {
        self.outcomes += other.outcomes;
        self.dead_letters += other.dead_letters;
    }

    /// They are committed.
    pub(in crate::shell) fn tell(self, stats: &Stats, topics: &Topics, half: Half) {
        let now = Instant::now();
        for (count, topic, kind) in [
            (self.outcomes, &topics.outcomes, "outcome"),
            (self.dead_letters, &topics.dead_letters, "dead_letter"),
        ] {
            if count > 0 {
                stats.metrics.shortened(kind, count);
                stats.unusable.shortened((kind, count), topic, half, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_refuses_gets_less_and_others_get_what_they_did() {
        let topics = Topics::default();
        let mut rooms = Rooms::new(1_000_000);
        assert!(rooms.refused(&topics, &topics.dead_letters, 600_000));
        assert_eq!(rooms.dead_letters.bytes_max(), 150_000);
        assert_eq!(rooms.outcomes.bytes_max(), 1_000_000);
        assert!(!rooms.refused(&topics, &topics.ledger, 600_000), "has no shorter form");
        let mut attempts = 1;
        while rooms.refused(&topics, &topics.dead_letters, 1_000) {
            attempts += 1;
        }
        assert_eq!((attempts, rooms.dead_letters.bytes_max()), (3, 0));
    }
}

//! Which offsets of a lane still lack an outcome, and up to where the lane is done.
//!
//! Offsets are tracked as seen, since a partition has gaps: transaction markers, compacted records.
//! Holds I4: the watermark is computed in one place and passes only decided offsets.

use std::collections::VecDeque;

use crate::model::Offset;

/// The offsets read and not yet below the watermark.
#[derive(Debug, Default)]
pub(crate) struct Watermark {
    /// Ascending; a decided offset is kept as its complement, which is negative.
    pending: VecDeque<i64>,
    /// The offset after the last one read, or where reading begins.
    next: i64,
}

impl Watermark {
    /// Begins at a committed offset.
    pub(crate) fn at(start: Offset) -> Self {
        Self { pending: VecDeque::new(), next: start.0 }
    }

    /// Notes that an offset was read. `false` if it was read before: it must then be ignored.
    pub(crate) fn read(&mut self, offset: Offset) -> bool {
        let fresh = offset.0 >= self.next;
        if fresh {
            self.pending.push_back(offset.0);
            self.next = offset.next().0;
        }
        fresh
    }

    /// Notes that the outcome of an offset stands in the transaction being built.
    ///
    /// # Panics
    /// If the offset was not read or is already decided: an outcome would be published twice.
    pub(crate) fn decide(&mut self, offset: Offset) {
        let real = |entry: i64| if entry < 0 { !entry } else { entry };
        let place = self.pending.binary_search_by_key(&offset.0, |entry| real(*entry));
        let entry = place.ok().and_then(|index| self.pending.get_mut(index));
        match entry {
            Some(entry) if *entry >= 0 => *entry = !*entry,
            _ => panic!("offset {offset} decided twice or never read"),
        }
        while self.pending.front().is_some_and(|entry| *entry < 0) {
            self.pending.pop_front();
        }
    }

    /// The lowest offset without outcome: what Kafka is told to continue from.
    pub(crate) fn position(&self) -> Offset {
        Offset(self.pending.front().copied().unwrap_or(self.next))
    }

    /// The lowest offset without outcome, if any is there.
    pub(crate) fn head(&self) -> Option<Offset> {
        self.pending.front().copied().map(Offset)
    }

    /// The offset after the last one read.
    pub(crate) fn read_position(&self) -> Offset {
        Offset(self.next)
    }

    /// The offsets held, and whether they are decided.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> impl Iterator<Item = (Offset, bool)> + '_ {
        self.pending.iter().map(|entry| (Offset(*entry.max(&!entry)), *entry < 0))
    }

    /// Offsets held, decided ones behind an undecided one included.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_watermark_waits_for_the_lowest_undecided_offset() {
        let mut mark = Watermark::at(Offset(3));
        assert_eq!(mark.position(), Offset(3));
        for offset in [3, 4, 7] {
            assert!(mark.read(Offset(offset)));
        }
        assert!(!mark.read(Offset(4)));
        mark.decide(Offset(4));
        assert_eq!(mark.position(), Offset(3));
        mark.decide(Offset(3));
        assert_eq!(mark.position(), Offset(7));
        mark.decide(Offset(7));
        assert_eq!(mark.position(), Offset(8));
    }

    #[test]
    #[should_panic(expected = "decided twice")]
    fn an_offset_is_decided_once() {
        let mut mark = Watermark::at(Offset(0));
        mark.read(Offset(0));
        mark.read(Offset(1));
        mark.decide(Offset(1));
        mark.decide(Offset(1));
    }

    proptest! {
        #[test]
        fn no_order_of_deciding_lets_it_pass_an_undecided_offset(
            offsets in proptest::collection::btree_set(0_i64..500, 1..60),
            shuffle in proptest::collection::vec(any::<u32>(), 60),
        ) {
            let mut mark = Watermark::at(Offset(0));
            let mut open: BTreeSet<i64> = BTreeSet::new();
            for offset in &offsets {
                mark.read(Offset(*offset));
                open.insert(*offset);
            }
            let end = mark.read_position();
            let mut order: Vec<i64> = offsets.iter().copied().collect();
            order.sort_by_key(|o| shuffle[*o as usize % shuffle.len()].rotate_left(*o as u32 % 32));
            for offset in order {
                mark.decide(Offset(offset));
                open.remove(&offset);
                let lowest = open.first().map_or(end, |o| Offset(*o));
                prop_assert_eq!(mark.position(), lowest);
            }
            prop_assert_eq!(mark.len(), 0);
        }
    }
}

//! By which record each partition is known again, and when a later one takes its place.
//!
//! The anchor is committed with every position. It is replaced by a later record only once it was
//! seen again behind that: so a topic that is made anew and filled beyond the position between two
//! looks never gets an anchor of its own under a position of the old topic.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::TopicPartition;
use super::record::{RecordBatch, RecordView};
use crate::model::Anchor;
use crate::shell::lock::locked;

/// Records of a partition that are remembered as next anchors, at most.
const SAMPLES: usize = 32;

/// The anchors of a process, by partition. They outlive sessions: when a topic is deleted, Kafka
/// forgets the positions in it, and this is what is left.
#[derive(Clone, Debug, Default)]
pub(in crate::shell) struct Anchors(Arc<Mutex<BTreeMap<TopicPartition, Track>>>);

#[derive(Debug, Default)]
struct Track {
    anchor: Option<Anchor>,
    /// Records read since, thinned out, in order.
    samples: VecDeque<Anchor>,
    /// What is committed, as far as this process has asked for it.
    position: i64,
    /// The next anchor, if the present one is seen by the look that is under way.
    candidate: Option<Anchor>,
    is_read: bool,
}

impl Anchors {
    /// Reading of a partition begins at a position that this anchor was kept with.
    pub(in crate::shell) fn begin(
        &self,
        partition: &TopicPartition,
        position: i64,
        anchor: Option<Anchor>,
    ) {
        let track = Track { anchor, position, is_read: true, ..Track::default() };
        locked(&self.0).insert(partition.clone(), track);
    }

    /// The partition is read no more by this session.
    pub(in crate::shell) fn end(&self, partition: &TopicPartition) {
        if let Some(track) = locked(&self.0).get_mut(partition) {
            track.is_read = false;
        }
    }

    /// Whether this process has read the partition, and the anchor it had then.
    pub(in crate::shell) fn known(&self, partition: &TopicPartition) -> Option<Option<Anchor>> {
        locked(&self.0).get(partition).map(|track| track.anchor)
    }

    /// Notes some of the records that were read.
    pub(in crate::shell) fn read(&self, batch: &RecordBatch) {
        let mut ends: BTreeMap<(usize, i32), (RecordView<'_>, RecordView<'_>)> = BTreeMap::new();
        for record in batch.iter() {
            let place = (Arc::as_ptr(record.topic()).addr(), record.partition());
            ends.entry(place).and_modify(|ends| ends.1 = record).or_insert((record, record));
        }
        let mut tracks = locked(&self.0);
        for (first, last) in ends.into_values() {
            let name = TopicPartition::new(Arc::clone(first.topic()), first.partition());
            let Some(track) = tracks.get_mut(&name) else { continue };
            track.sample(&first);
            if last.offset() > first.offset() {
                track.sample(&last);
            }
        }
    }

    /// What is to be kept with a position that is committed.
    pub(in crate::shell) fn mark(&self, partition: &TopicPartition, next: i64) -> Option<Anchor> {
        let mut tracks = locked(&self.0);
        let track = tracks.get_mut(partition)?;
        track.position = track.position.max(next);
        if track.anchor.is_none() {
            // Better one behind the position than none: it tells as well which topic it was.
            track.anchor = track.latest(next).or(track.samples.front().copied());
        }
        track.anchor
    }

    /// The anchors to look for, with the positions behind them.
    pub(in crate::shell) fn to_look_for(&self) -> Vec<(TopicPartition, i64, Anchor)> {
        let mut tracks = locked(&self.0);
        let mut asked = Vec::new();
        for (partition, track) in tracks.iter_mut().filter(|(_, track)| track.is_read) {
            let Some(anchor) = track.anchor else { continue };
            track.candidate = track.latest(track.position);
            asked.push((partition.clone(), track.position, anchor));
        }
        asked
    }

    /// The anchor was there when it was looked for, or could not be looked for any more.
    pub(in crate::shell) fn seen(&self, partition: &TopicPartition) {
        if let Some(track) = locked(&self.0).get_mut(partition)
            && let Some(candidate) = track.candidate.take()
        {
            track.anchor = Some(candidate);
            track.samples.retain(|sample| sample.offset > candidate.offset);
        }
    }
}

impl Track {
    fn sample(&mut self, record: &RecordView<'_>) {
        let time = record.timestamp_ms();
        self.samples.push_back(Anchor::of(record.offset(), time, record.key(), record.payload()));
        if self.samples.len() > SAMPLES {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// The last record below a position.
    fn latest(&self, position: i64) -> Option<Anchor> {
        self.samples.iter().rev().find(|sample| sample.offset < position).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(anchors: &Anchors, partition: &TopicPartition, offsets: impl Iterator<Item = i64>) {
        let mut tracks = locked(&anchors.0);
        let track = tracks.get_mut(partition).unwrap();
        for offset in offsets {
            track.samples.push_back(Anchor::of(offset, None, None, None));
        }
    }

    #[test]
    fn an_anchor_moves_on_only_when_it_was_seen() {
        let (anchors, lane) = (Anchors::default(), TopicPartition::new("commands", 1));
        anchors.begin(&lane, 0, None);
        sampled(&anchors, &lane, [4, 9].into_iter());
        let at = |next| anchors.mark(&lane, next).map(|anchor| anchor.offset);
        assert_eq!((at(4), at(20)), (Some(4), Some(4)), "the first is kept until it is seen");
        let asked = anchors.to_look_for();
        assert_eq!((asked.len(), asked[0].1, asked[0].2.offset), (1, 20, 4));
        // What is read while the look is under way may be of another topic already.
        sampled(&anchors, &lane, [30].into_iter());
        assert_eq!(at(31), Some(4));
        anchors.seen(&lane);
        assert_eq!(at(31), Some(9));
        anchors.seen(&lane);
        assert_eq!(at(31), Some(9), "one look moves it once");
        anchors.end(&lane);
        assert!(anchors.to_look_for().is_empty());
        assert_eq!(anchors.known(&lane).flatten().map(|anchor| anchor.offset), Some(9));
        assert_eq!(anchors.known(&TopicPartition::new("commands", 2)), None);
    }
}

//! Partitions come and go: from where a session reads them, and what it forgets with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Message, Session};
use crate::engine::positions::{News, Undecided};
use crate::shell::intake::start::{self, Placed, place};
use crate::shell::kafka::{StartAt, TopicPartition};
use crate::shell::positions::{self, start_not_given};

impl Session {
    /// Asks from where newly assigned partitions are to be read.
    pub(super) fn place(&mut self, partitions: &[TopicPartition]) {
        if partitions.is_empty() {
            return;
        }
        self.assignments += 1;
        let assignment = self.assignments;
        self.unplaced.extend(partitions.iter().map(|partition| (partition.clone(), assignment)));
        let (intake, anchors) = (Arc::clone(&self.intake), self.anchors.clone());
        let (messages, runtime) = (self.messages.clone(), tokio::runtime::Handle::current());
        self.consumer.committed(partitions.to_vec(), move |answer| {
            runtime.spawn_blocking(move || {
                let message = match answer {
                    Ok(committed) => loop {
                        match place(&intake.kafka, intake.start, &anchors, &committed) {
                            Ok(placed) => break Message::Placed(assignment, placed),
                            Err(_) if messages.is_closed() => return,
                            Err(reason) => tracing::warn!(
                                reason,
                                "order topics could not be looked at; it is tried again"
                            ),
                        }
                        std::thread::sleep(start::RETRY_WAIT);
                    },
                    Err(reason) => Message::Broken(reason),
                };
                let _ = messages.blocking_send(message);
            });
        });
    }

    pub(super) fn on_placed(&mut self, assignment: u64, mut placed: Vec<Placed>) {
        placed.retain(|one| self.unplaced.get(&one.partition) == Some(&assignment));
        let (intake, group) = (Arc::clone(&self.intake), &self.intake.kafka.group_id);
        start::tell_first(&placed, group, intake.start);
        for Placed { partition, position, anchor, is_committed, .. } in placed {
            self.unplaced.remove(&partition);
            match position {
                Ok(position) => {
                    if !matches!(position.news, News::First { .. }) {
                        positions::tell(&intake.stats, &partition, &position);
                    }
                    self.anchors.begin(&partition, position.from, anchor);
                    if is_committed {
                        self.start(partition, position.from);
                    } else {
                        self.placing.insert(partition, position.from);
                    }
                }
                Err(why) => {
                    let records = match why {
                        Undecided::StartNotGiven { records } => records,
                        Undecided::PositionGone | Undecided::BehindEnd { .. } => 0,
                    };
                    self.undecided.insert(partition, records);
                }
            }
        }
        for reason in self.undecided() {
            tracing::error!("{reason}");
        }
    }

    pub(super) fn start(&self, partition: TopicPartition, from: i64) {
        self.consumer.start(partition.clone(), StartAt::Offset(from));
        if self.paused {
            self.consumer.pause(vec![partition]);
        }
    }

    /// What has to be decided, by topic.
    pub(super) fn undecided(&self) -> Vec<String> {
        let mut topics: BTreeMap<&str, i64> = BTreeMap::new();
        for (partition, records) in &self.undecided {
            *topics.entry(&partition.topic).or_default() += records;
        }
        let group = &self.intake.kafka.group_id;
        let topics = topics.into_iter();
        topics.map(|(topic, records)| start_not_given(topic, records, group)).collect()
    }

    /// Looks whether the topics are still those that are being read.
    pub(super) fn look(&mut self) {
        if !self.looking {
            let messages = self.messages.clone();
            self.looking = true;
            positions::look_again(&self.intake.kafka, &self.anchors, false, move |looked| {
                let _ = messages.blocking_send(Message::Looked(looked));
            });
        }
    }

    /// Records of partitions that go away, and are in no transaction under way, are for their next
    /// owner.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.unplaced.remove(partition);
            self.placing.remove(partition);
            self.undecided.remove(partition);
            self.anchors.end(partition);
        }
        self.backlog.forget(partitions);
        if self.retry_at.is_some() {
            self.running.retain(|part| !partitions.contains(&part.partition));
            self.placed.retain(|partition, _| !partitions.contains(partition));
        }
    }

    /// Gives up revoked partitions that are in no transaction.
    pub(super) fn release_closed(&mut self) {
        let running = self.running.iter().map(|part| &part.partition);
        let held: BTreeSet<&TopicPartition> = running.chain(self.placed.keys()).collect();
        let free: Vec<TopicPartition> =
            self.closing.iter().filter(|partition| !held.contains(partition)).cloned().collect();
        if free.is_empty() {
            return;
        }
        for partition in &free {
            self.closing.remove(partition);
            self.owned.remove(partition);
            self.done.remove(partition);
        }
        self.consumer.release(free);
    }

    /// Reads no further while too much waits.
    pub(super) fn pause_or_resume(&mut self) {
        let max = self.intake.backlog_bytes_max;
        let bytes = self.backlog.bytes();
        if !self.paused && bytes > max {
            self.paused = true;
            self.consumer.pause(self.owned.iter().cloned().collect());
        } else if self.paused && bytes <= max / 2 {
            self.paused = false;
            self.consumer.resume(self.owned.iter().cloned().collect());
        }
    }
}

//! How a session gets its lanes to work: what became of their batches, and from where their
//! commands are read.

use std::sync::Arc;

use super::Session;
use crate::engine::Input;
use crate::model::{Epoch, Offset, Partition};
use crate::shell::dispatch::ledger::{Recovered, Replay, recover};
use crate::shell::dispatch::message::Message;
use crate::shell::dispatch::tell;
use crate::shell::kafka::TopicPartition;
use crate::shell::positions;

/// The first command that is under way by a lane's ledger.
fn first_open(records: &Replay) -> Option<Offset> {
    let records = records.as_ref().ok()?;
    records.iter().filter_map(|(_, record)| record.open.iter().next()).min()
}

impl Session {
    /// The stable committed offset first: with it, the old owner's transactions have ended.
    pub(super) fn read_ledger(&self, partition: Partition, epoch: Epoch) {
        let (messages, dispatch) = (self.messages.clone(), Arc::clone(&self.dispatch));
        let (commands, anchors) = (self.commands(partition), self.anchors.clone());
        let runtime = tokio::runtime::Handle::current();
        self.consumer.committed(vec![commands.clone()], move |answer| {
            runtime.spawn_blocking(move || {
                let ledger = TopicPartition::new(Arc::clone(&dispatch.topics.ledger), partition.0);
                let known = anchors.known(&commands);
                let recovered = answer.and_then(|offsets| {
                    let committed = offsets.first().and_then(|(_, at)| *at);
                    recover(&dispatch.kafka, (&commands, &ledger), committed, known)
                });
                let _ = messages.blocking_send(match recovered {
                    Ok(recovered) => Message::Recovered(partition, epoch, recovered),
                    Err(reason) => Message::Unread(partition, epoch, reason),
                });
            });
        });
    }

    /// The lane's ledger was read, and where its commands are to be read from is known, or is for
    /// somebody to decide.
    pub(super) fn on_recovered(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        recovered: Recovered,
    ) {
        if self.epochs.get(&partition.0) != Some(&epoch) {
            return;
        }
        let Recovered { replay: records, seen, anchor, position } = recovered;
        tell::restored(partition, self.unread.settled(partition), &records);
        let at = self.commands(partition);
        let (committed, log) = match position {
            Ok(position) => {
                positions::tell(&self.dispatch.stats, &at, &position);
                self.anchors.begin(&at, position.from, anchor);
                (Offset(position.from), Ok(position.log))
            }
            Err(why) => {
                let group = &self.dispatch.kafka.group_id;
                let open = first_open(&records);
                (Offset(seen.log_start), Err(positions::stopped(&at, group, why, open)))
            }
        };
        self.feed(Input::LedgerRead { partition, epoch, committed, log, records });
    }

    /// The lane waits, and all others go on.
    pub(super) fn on_unread(&mut self, partition: Partition, epoch: Epoch, reason: &str) {
        if self.epochs.get(&partition.0) != Some(&epoch) {
            return;
        }
        self.dispatch.stats.ledger_retries.add(1);
        self.dispatch.stats.metrics.retry("ledger");
        let (failures, wait) = self.unread.failed(partition, epoch, reason);
        tracing::error!(
            %partition, failures, ?wait, reason,
            "the ledger of a lane cannot be read; the lane waits, all others go on"
        );
        let messages = self.messages.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = messages.send(Message::ReadAgain(partition, epoch)).await;
        });
    }

    /// Looks whether the topic is still the one that is being read.
    pub(super) fn look(&mut self) {
        if !self.looking {
            let messages = self.messages.clone();
            self.looking = true;
            positions::look_again(&self.dispatch.kafka, &self.anchors, true, move |looked| {
                let _ = messages.blocking_send(Message::Looked(looked));
            });
        }
    }
}

//! Says which command, in which batch, holds back a lane, once that has lasted for long.

use std::time::Duration;

use crate::engine::{HeadReport, Mono, Now, Worker};

use super::spans::Spans;

/// How often the heads are looked at: it takes a look at every command in memory.
const EVERY: Duration = Duration::from_secs(60);
/// From when on a head is worth a line: operations take minutes, seldom longer.
const LONG: Duration = Duration::from_secs(300);

/// When the heads are to be looked at next.
#[derive(Debug, Default)]
pub(super) struct Heads {
    next: Mono,
}

impl Heads {
    /// Logs the heads that have held their lanes for long, if it is time to.
    pub(super) fn tell(&mut self, worker: &Worker, now: Now, spans: &Spans) {
        for head in self.due(worker, now) {
            let batch = head.batch.as_ref();
            let operation = batch.and_then(|batch| batch.operation.as_deref());
            let trace = operation.and_then(|operation| spans.trace_of_operation(operation));
            tracing::warn!(
                partition = head.partition,
                offset = head.offset,
                held_seconds = head.held_seconds,
                stage = head.stage,
                attempts = head.attempts,
                batch = batch.map(|batch| tracing::field::display(batch.id)),
                phase = batch.map(|batch| batch.phase),
                action = batch.map(|batch| batch.action.as_str()),
                account = batch.map(|batch| &*batch.account),
                operation,
                trace_id = trace.map(tracing::field::display),
                "a command holds back the read position of its lane; commands of other devices go \
                 on, but after a restart all behind it are read again"
            );
        }
    }

    fn due(&mut self, worker: &Worker, now: Now) -> Vec<HeadReport> {
        if now.mono < self.next {
            return Vec::new();
        }
        self.next = now.mono + EVERY;
        let mut heads = worker.heads(now);
        heads.retain(|head| Duration::from_secs(head.held_seconds) >= LONG);
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AccountOptions, CommandContent, CommandRead, Input, Options};
    use crate::model::{Epoch, Offset, PackedCommand, Partition};
    use crate::wire;

    #[test]
    fn only_a_head_that_has_held_its_lane_for_long_is_told_and_once_a_minute() {
        let at = |seconds| Now {
            mono: Mono::default() + Duration::from_secs(seconds),
            wall: jiff::Timestamp::UNIX_EPOCH,
        };
        let account = AccountOptions {
            name: "main".into(),
            partner_id: "1".into(),
            quota_calls: 1_000,
            quota_window: Duration::from_secs(100),
        };
        let mut worker = Worker::new(Options { accounts: vec![account], ..Options::default() });
        let (partition, epoch) = (Partition(0), Epoch(1));
        worker.handle(at(0), Input::Assigned { partition, epoch });
        let (committed, records) = (Offset(0), Ok(Vec::new()));
        worker.handle(at(0), Input::LedgerRead { partition, epoch, committed, records });
        let sample = include_bytes!("../../../schemas/examples/command.claim.json");
        let command = wire::command::decode(sample).unwrap();
        let content = CommandContent::Command {
            facts: command.facts().unwrap(),
            packed: PackedCommand::pack(&command),
            account: Some(0),
        };
        let commands = vec![CommandRead { offset: Offset(7), content }];
        worker.handle(at(10), Input::CommandsRead { partition, epoch, commands });
        let mut heads = Heads::default();
        assert_eq!(heads.due(&worker, at(309)), []);
        assert_eq!(heads.due(&worker, at(320)), [], "looked at a moment ago");
        let told = heads.due(&worker, at(369));
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].offset, told[0].held_seconds), (7, 359));
        assert_eq!(told[0].stage, "ready");
        assert_eq!(heads.due(&worker, at(400)), []);
        assert_eq!(heads.due(&worker, at(429)).len(), 1);
    }
}

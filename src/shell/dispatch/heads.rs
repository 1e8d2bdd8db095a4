//! Says which command, in which batch, holds back a lane, once that has lasted for long.

use std::time::Duration;

use crate::engine::{HeadReport, Mono, Now};

use super::spans::Spans;

/// How often a head is told.
const EVERY: Duration = Duration::from_secs(60);
/// From when on a head is worth a line: operations take minutes, seldom longer.
const LONG: Duration = Duration::from_secs(300);

/// When the heads are to be told next.
#[derive(Debug, Default)]
pub(super) struct Heads {
    next: Mono,
}

impl Heads {
    /// Logs those of the heads that have held their lanes for long, if it is time to.
    pub(super) fn tell(&mut self, heads: &[HeadReport], now: Now, spans: &Spans) {
        for head in self.due(heads, now) {
            let (command, batch) = (head.command.as_ref(), head.batch.as_ref());
            let operation = batch.and_then(|batch| batch.operation.as_deref());
            let trace = operation.and_then(|operation| spans.trace_of_operation(operation));
            tracing::warn!(
                partition = head.partition,
                offset = head.offset,
                held_seconds = head.held_seconds,
                device = command.map(|command| &*command.device),
                action = command.map(|command| command.action.as_str()),
                account = command.map(|command| &*command.account),
                order_id = command.map(|command| &*command.order_id),
                event_id = command.map(|command| &*command.event_id),
                stage = head.stage,
                attempts = head.attempts,
                batch = batch.map(|batch| tracing::field::display(batch.id)),
                phase = batch.map(|batch| batch.phase),
                operation,
                trace_id = trace.map(tracing::field::display),
                "a command holds back the read position of its lane; commands of other devices go \
                 on, but after a restart all behind it are read again"
            );
        }
    }

    fn due<'a>(&mut self, heads: &'a [HeadReport], now: Now) -> Vec<&'a HeadReport> {
        if now.mono < self.next {
            return Vec::new();
        }
        self.next = now.mono + EVERY;
        let is_long = |head: &&HeadReport| Duration::from_secs(head.held_seconds) >= LONG;
        heads.iter().filter(is_long).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AccountOptions, CommandContent, CommandRead, Input, Options, Worker};
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
        worker.handle(
            at(0),
            Input::LedgerRead { partition, epoch, committed, log: Ok(Default::default()), records },
        );
        let sample = include_bytes!("../../../schemas/examples/command.claim.json");
        let command = wire::command::decode(sample).unwrap();
        let content = CommandContent::Command {
            facts: command.facts().unwrap(),
            packed: PackedCommand::pack(&command),
            account: Some(0),
            purpose: None,
        };
        let commands = vec![CommandRead { offset: Offset(7), content }];
        worker.handle(at(10), Input::CommandsRead { partition, epoch, commands });
        let mut heads = Heads::default();
        let seen = |seconds| worker.heads(at(seconds));
        assert!(heads.due(&seen(309), at(309)).is_empty());
        assert!(heads.due(&seen(320), at(320)).is_empty(), "looked at a moment ago");
        let seen_later = seen(369);
        let told = heads.due(&seen_later, at(369));
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].offset, told[0].held_seconds), (7, 359));
        assert_eq!(told[0].stage, "ready");
        assert!(heads.due(&seen(400), at(400)).is_empty());
        assert_eq!(heads.due(&seen(429), at(429)).len(), 1);
    }
}

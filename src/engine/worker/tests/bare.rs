//! The engine by itself: every effect and its answer in the test's hands.

use std::time::Duration;

use crate::engine::{
    CallNumber, CommandContent, CommandRead, Effect, Input, Mono, Now, Options, Worker,
};
use crate::model::{
    Action, BatchId, BatchState, Command, Epoch, LedgerRecord, Offset, OffsetSet, PackedCommand,
    Partition,
};

/// The engine by itself: every effect and its answer in the test's hands.
pub(super) struct Bare {
    pub(super) worker: Worker,
    pub(super) now: Mono,
}

impl Bare {
    pub(super) fn new(options: Options) -> Self {
        Self { worker: Worker::new(options), now: Mono(1) }
    }

    pub(super) fn at(&self) -> Now {
        let wall = jiff::Timestamp::UNIX_EPOCH + Duration::from_nanos(self.now.0);
        Now { mono: self.now, wall }
    }

    pub(super) fn feed(&mut self, input: Input) -> Vec<Effect> {
        let wall = jiff::Timestamp::UNIX_EPOCH + Duration::from_nanos(self.now.0);
        self.worker.handle(Now { mono: self.now, wall }, input);
        std::iter::from_fn(|| self.worker.next_effect()).collect()
    }

    pub(super) fn after(&mut self, wait: Duration, input: Input) -> Vec<Effect> {
        self.now = self.now + wait;
        self.feed(input)
    }

    pub(super) fn assign(&mut self, partition: i32, epoch: u64) {
        let (partition, epoch) = (Partition(partition), Epoch(epoch));
        self.feed(Input::Assigned { partition, epoch });
    }

    pub(super) fn replay(
        &mut self,
        (partition, epoch): (i32, u64),
        records: Vec<LedgerRecord>,
    ) -> Vec<Effect> {
        let records = Ok(records.into_iter().map(|record| (record.batch, record)).collect());
        let (partition, epoch) = (Partition(partition), Epoch(epoch));
        self.feed(Input::LedgerRead {
            partition,
            epoch,
            committed: Offset(0),
            log: Ok(Default::default()),
            records,
        })
    }

    pub(super) fn read(
        &mut self,
        (partition, epoch): (i32, u64),
        commands: &[(i64, &Command)],
    ) -> Vec<Effect> {
        let commands = commands
            .iter()
            .map(|(offset, command)| CommandRead {
                offset: Offset(*offset),
                content: CommandContent::Command {
                    facts: command.facts().unwrap(),
                    account: Some(0),
                    packed: PackedCommand::pack(command),
                    purpose: None,
                },
            })
            .collect();
        let (partition, epoch) = (Partition(partition), Epoch(epoch));
        let mut effects = self.feed(Input::CommandsRead { partition, epoch, commands });
        effects.extend(self.feed(Input::CaughtUp { partition }));
        effects
    }

    /// Lets timers come due one after the other until an effect of interest is there.
    pub(super) fn run_until<T>(&mut self, mut wanted: impl FnMut(&Effect) -> Option<T>) -> T {
        for _ in 0..100 {
            let wall = jiff::Timestamp::UNIX_EPOCH + Duration::from_nanos(self.now.0);
            let at = self.worker.wake_at(Now { mono: self.now, wall }).expect("a timer");
            self.now = self.now.max(at);
            let effects = self.feed(Input::TimePassed);
            if let Some(found) = effects.iter().find_map(&mut wanted) {
                return found;
            }
        }
        panic!("nothing of interest happens: {:?}", self.worker.report());
    }
}

pub(super) fn number_of_commit(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::Commit(transaction) => Some(transaction.number),
        _ => None,
    }
}

pub(super) fn call_of_submit(effect: &Effect) -> Option<CallNumber> {
    match effect {
        Effect::Submit(submit) => Some(submit.call),
        _ => None,
    }
}

pub(super) fn call_of_poll(effect: &Effect) -> Option<CallNumber> {
    match effect {
        Effect::Poll { call, .. } => Some(*call),
        _ => None,
    }
}

pub(super) fn record(state: BatchState, open: &[i64], attempt: u16) -> LedgerRecord {
    let open = open.iter().copied().map(Offset).collect();
    LedgerRecord {
        batch: BatchId(uuid::Uuid::from_u128(7)),
        action: Action::Claim,
        account: "main".into(),
        state,
        open: OffsetSet::new(open),
        decided: OffsetSet::default(),
        retried: Vec::new(),
        attempt,
        intended_at: jiff::Timestamp::UNIX_EPOCH,
        deadline: jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(600),
        purpose: None,
    }
}

pub(super) fn accepted() -> BatchState {
    BatchState::Accepted { operation: "operations/1".into() }
}

//! A world for the engine: one ledger, one log of outcomes, one API, all obedient unless told
//! otherwise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::engine::account::Kind;
use crate::engine::{
    AccountOptions, CommandContent, CommandRead, Effect, Input, Mono, Now, Options, OutcomeWrite,
    Submit, Transaction, Worker,
};
use crate::model::*;

/// How often the world misbehaves, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) not_sent: u32,
    pub(super) lost: u32,
    pub(super) throttled: u32,
    pub(super) short: u32,
    pub(super) failed: u32,
    pub(super) aborted: u32,
}

#[derive(Debug, Default)]
struct Device {
    owner: Option<Customer>,
    metadata: Metadata,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) worker: Worker,
    pub(super) options: Options,
    pub(super) now: Mono,
    pub(super) faults: Faults,
    pub(super) log: BTreeMap<Partition, Vec<Command>>,
    pub(super) ledger: BTreeMap<(Partition, BatchId), LedgerRecord>,
    pub(super) offsets: BTreeMap<Partition, Offset>,
    pub(super) outcomes: Vec<OutcomeWrite>,
    pub(super) submits: Vec<(Mono, Action, usize)>,
    pub(super) lookups: usize,
    api: BTreeMap<String, Device>,
    operations: BTreeMap<String, Vec<DeviceResult>>,
    inputs: VecDeque<Input>,
    position: BTreeMap<Partition, usize>,
    epoch: u64,
    epochs: BTreeMap<Partition, Epoch>,
    rng: ChaCha8Rng,
    lost_before: i64,
    pub(super) released: BTreeSet<Partition>,
    /// The watermark is not checked, for streams too long for a slow check.
    pub(super) is_fast: bool,
    /// The API answers every submit with 503 and does nothing.
    pub(super) is_down: bool,
    /// Calls that the API answers with 403.
    pub(super) refused: Vec<Kind>,
    /// How the API answers every submit with a device in it.
    pub(super) culprits: Vec<(u64, CallFailure)>,
    /// How it answers lookups of a device.
    pub(super) unseen: Vec<(u64, CallFailure)>,
    /// Devices whose identifiers an unclaim may not name.
    pub(super) nameless: Vec<u64>,
    /// When calls were made.
    pub(super) calls: Vec<(Mono, Kind)>,
    /// Until then operations run.
    pub(super) done_at: Mono,
}

pub(super) fn options() -> Options {
    Options {
        accounts: vec![AccountOptions {
            name: "main".into(),
            partner_id: "1".into(),
            quota_calls: 1_000,
            quota_window: Duration::from_secs(100),
        }],
        ..Options::default()
    }
}

pub(super) fn imei(n: u64) -> String {
    let body = format!("35{n:012}");
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let d = u32::from(b - b'0') * if i % 2 == 0 { 2 } else { 1 };
            d / 10 + d % 10
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

pub(super) fn command(cause: Cause, device: u64, customer: Option<&str>, order: &str) -> Command {
    let action = match cause {
        Cause::Sale => Action::Claim,
        Cause::Return | Cause::Cancellation => Action::Unclaim,
        Cause::Amendment => Action::UpdateMetadata,
    };
    let mut metadata = Metadata::new();
    if action == Action::Claim {
        metadata.insert(ORDER_NUMBER.into(), order.into());
    }
    Command {
        action,
        cause,
        event_id: format!("{order}-{}", cause.as_str()),
        order_id: order.into(),
        line: "1".into(),
        account: "main".into(),
        customer: customer.map(|id| Customer::ZeroTouch(id.into())),
        device: Identifiers { imei: Some(imei(device)), ..Identifiers::default() },
        device_id: None,
        metadata,
        configuration_id: None,
        pre_provisioning_token: None,
        recorded_at: None,
        occurred_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
        source: Source { topic: "orders".into(), partition: 0, offset: 0 },
        traceparent: None,
    }
}

impl World {
    pub(super) fn new(options: Options, seed: u64) -> Self {
        Self {
            worker: Worker::new(options.clone()),
            options,
            now: Mono(1),
            faults: Faults::default(),
            log: BTreeMap::new(),
            ledger: BTreeMap::new(),
            offsets: BTreeMap::new(),
            outcomes: Vec::new(),
            submits: Vec::new(),
            lookups: 0,
            api: BTreeMap::new(),
            operations: BTreeMap::new(),
            inputs: VecDeque::new(),
            position: BTreeMap::new(),
            epoch: 0,
            epochs: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            lost_before: 0,
            released: BTreeSet::new(),
            is_fast: false,
            is_down: false,
            refused: Vec::new(),
            culprits: Vec::new(),
            unseen: Vec::new(),
            nameless: Vec::new(),
            calls: Vec::new(),
            done_at: Mono::default(),
        }
    }

    /// The present, with a wall clock that runs like the other.
    pub(super) fn at(&self) -> Now {
        let wall = Timestamp::UNIX_EPOCH.checked_add(Duration::from_nanos(self.now.0)).unwrap();
        Now { mono: self.now, wall }
    }

    pub(super) fn write(&mut self, partition: i32, mut command: Command) {
        let log = self.log.entry(Partition(partition)).or_default();
        command.source.partition = partition;
        command.source.offset = i64::try_from(log.len()).unwrap();
        log.push(command);
    }

    pub(super) fn assign(&mut self, partition: i32) {
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        self.epochs.insert(Partition(partition), epoch);
        self.feed(Input::Assigned { partition: Partition(partition), epoch });
    }

    /// The process dies and another one takes its partitions.
    pub(super) fn crash(&mut self) {
        self.inputs.clear();
        self.worker = Worker::new(Options { seed: self.rng.random(), ..self.options.clone() });
        self.position.clear();
        let partitions: Vec<Partition> = self.log.keys().copied().collect();
        for partition in partitions {
            self.assign(partition.0);
        }
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.worker.handle(self.at(), input);
        while let Some(effect) = self.worker.next_effect() {
            self.carry_out(effect);
        }
    }

    /// Hands over what was written since.
    pub(super) fn read_all(&mut self) {
        let partitions: Vec<Partition> = self.position.keys().copied().collect();
        for partition in partitions {
            let (from, epoch) = (self.position[&partition], self.epochs[&partition]);
            let commands: Vec<CommandRead> = self.log[&partition][from..]
                .iter()
                .enumerate()
                .map(|(index, command)| CommandRead {
                    offset: Offset(i64::try_from(from + index).unwrap()),
                    content: CommandContent::Command {
                        facts: command.facts().unwrap(),
                        account: Some(0),
                        packed: PackedCommand::pack(command),
                        purpose: None,
                    },
                })
                .collect();
            self.position.insert(partition, from + commands.len());
            if !commands.is_empty() {
                self.feed(Input::CommandsRead { partition, epoch, commands });
            }
            self.feed(Input::CaughtUp { partition });
        }
    }

    /// One input, or one jump to the next time something happens. `false` when all is quiet.
    pub(super) fn step(&mut self) -> bool {
        if let Some(input) = self.inputs.pop_front() {
            self.now = self.now + Duration::from_millis(1);
            self.feed(input);
        } else if let Some(at) = self.worker.wake_at(self.at()) {
            self.now = self.now.max(at);
            self.feed(Input::TimePassed);
        } else {
            return false;
        }
        true
    }

    /// Steps until so much time has passed.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            assert!(self.step(), "the engine waits for nothing");
        }
    }

    /// Steps until so many batches have been sent.
    pub(super) fn run_until_sent(&mut self, batches: usize) {
        while self.submits.len() < batches {
            self.step();
        }
    }

    /// Handles what is at hand, without letting time pass.
    pub(super) fn run_commits(&mut self) {
        while let Some(input) = self.inputs.pop_front() {
            self.feed(input);
        }
    }

    /// Runs without checking every watermark against every outcome.
    pub(super) fn run_fast(&mut self) {
        self.is_fast = true;
        self.run();
    }

    /// What is on its way to the worker never arrives.
    pub(super) fn drop_answers(&mut self) {
        self.inputs.clear();
    }

    /// The topic's retention has taken the records before `offset`.
    pub(super) fn forget_before(&mut self, partition: i32, offset: usize) {
        let position = self.position.get_mut(&Partition(partition)).unwrap();
        *position = (*position).max(offset);
        self.lost_before = i64::try_from(offset).unwrap();
    }

    pub(super) fn run(&mut self) {
        for _ in 0..1_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the engine does not come to rest: {:?}", self.worker.report());
    }

    /// Notes a call; an answer if the API refuses such calls.
    fn refuse(&mut self, kind: Kind) -> Option<CallFailure> {
        self.calls.push((self.now, kind));
        let reason = || format!("403: no {}", kind.plural());
        self.refused.contains(&kind).then(|| CallFailure::Unauthorised { reason: reason() })
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ReadLedger { partition, epoch } => {
                let records = self.ledger.iter().filter(|((lane, _), _)| *lane == partition);
                let records = records.map(|((_, id), record)| (*id, record.clone())).collect();
                let committed = self.offsets.get(&partition).copied().unwrap_or(Offset(0));
                let records = Ok(records);
                self.inputs.push_back(Input::LedgerRead {
                    partition,
                    epoch,
                    committed,
                    log: Ok(Default::default()),
                    records,
                });
            }
            Effect::Start { partition, from, .. } => {
                self.log.entry(partition).or_default();
                self.position.insert(partition, usize::try_from(from.0).unwrap());
            }
            Effect::Commit(transaction) => self.commit(&transaction),
            Effect::Submit(submit) => self.submit(&submit),
            Effect::Poll { call, operation, .. } => {
                let result = if let Some(refusal) = self.refuse(Kind::Poll) {
                    Err(refusal)
                } else if self.chance(self.faults.not_sent) {
                    Err(CallFailure::NotSent { reason: "no connection".into() })
                } else if self.now < self.done_at {
                    Ok(OperationReply::Running { progress: None })
                } else {
                    Ok(OperationReply::Done { results: self.operations[&*operation].clone() })
                };
                self.inputs.push_back(Input::Polled { call, result });
            }
            Effect::Lookup { call, command, .. } => {
                self.lookups += 1;
                if let Some(refusal) = self.refuse(Kind::Lookup) {
                    let refusal = Input::LookedUp { call, result: Err(refusal) };
                    return self.inputs.push_back(refusal);
                }
                let command = command.unpack();
                let imei_of = |device: u64| Some(imei(device)) == command.device.imei;
                let unseen = self.unseen.iter().find(|(device, _)| imei_of(*device));
                if let Some((_, failure)) = unseen {
                    let result = Err(failure.clone());
                    return self.inputs.push_back(Input::LookedUp { call, result });
                }
                let key = command.device_key().unwrap().as_str().to_owned();
                let state = self.api.get(&key).map(|device| DeviceState {
                    device_id: Some("1".into()),
                    owner: device.owner.clone(),
                    reseller: Some("1".into()),
                    metadata: device.metadata.clone(),
                });
                self.inputs.push_back(Input::LookedUp { call, result: Ok(state) });
            }
            Effect::Release { partition } => drop(self.released.insert(partition)),
            Effect::Pause(_) | Effect::Resume(_) | Effect::Drained => {}
        }
    }

    fn commit(&mut self, transaction: &Transaction) {
        let number = transaction.number;
        if self.chance(self.faults.aborted) {
            return self.inputs.push_back(Input::Aborted { transaction: number });
        }
        for write in &transaction.ledger {
            let key = (write.partition, write.batch);
            match &write.record {
                Some(record) => drop(self.ledger.insert(key, record.clone())),
                None => drop(self.ledger.remove(&key)),
            }
            assert!(transaction.offsets.iter().any(|o| o.partition == write.partition));
        }
        self.outcomes.extend(transaction.outcomes.iter().cloned());
        for write in &transaction.offsets {
            let before = self.offsets.insert(write.partition, write.offset);
            assert!(before.is_none_or(|before| before <= write.offset), "a watermark went back");
            if self.is_fast {
                continue;
            }
            let undecided = (self.lost_before..write.offset.0).map(Offset).find(|offset| {
                !self.outcomes.iter().any(|o| o.partition == write.partition && o.offset == *offset)
            });
            assert_eq!(undecided, None, "I4: the watermark passed a command without outcome");
        }
        self.inputs.push_back(Input::Committed { transaction: number });
    }

    fn submit(&mut self, submit: &Submit) {
        let Submit { call, action, commands, .. } = submit;
        let intended: usize = commands.iter().filter(|c| self.is_intended(c)).count();
        assert_eq!(intended, commands.len(), "I5: a call without committed intent");
        let fault = |reason: &str| reason.to_owned();
        let result = if let Some(refusal) = self.refuse(Kind::Submit) {
            Err(refusal)
        } else if let Some(failure) = self.spoilt(commands) {
            Err(failure)
        } else if self.is_down {
            Err(CallFailure::Ambiguous { reason: fault("503") })
        } else if self.chance(self.faults.not_sent) {
            Err(CallFailure::NotSent { reason: fault("no connection") })
        } else if self.chance(self.faults.throttled) {
            Err(CallFailure::Throttled { after: None })
        } else {
            self.submits.push((self.now, *action, commands.len()));
            let name = format!("operations/{}", self.operations.len());
            let mut results: Vec<DeviceResult> =
                commands.iter().map(|command| self.apply(*action, &command.unpack())).collect();
            if self.chance(self.faults.short) {
                results.pop();
            }
            self.operations.insert(name.clone(), results);
            if self.chance(self.faults.lost) {
                Err(CallFailure::Ambiguous { reason: fault("connection lost") })
            } else {
                Ok(Arc::from(name))
            }
        };
        self.inputs.push_back(Input::Submitted { call: *call, result });
    }

    fn spoilt(&self, commands: &[PackedCommand]) -> Option<CallFailure> {
        let sent: BTreeSet<String> =
            commands.iter().filter_map(|command| command.unpack().device.imei).collect();
        let culprit = self.culprits.iter().find(|(device, _)| sent.contains(&imei(*device)));
        culprit.map(|(_, failure)| failure.clone())
    }

    fn is_intended(&self, command: &PackedCommand) -> bool {
        let command = command.unpack();
        let (lane, offset) = (Partition(command.source.partition), Offset(command.source.offset));
        self.ledger.iter().any(|((partition, _), record)| {
            *partition == lane
                && record.open.contains(offset)
                && record.state == BatchState::Intended
        })
    }

    fn apply(&mut self, action: Action, command: &Command) -> DeviceResult {
        let key = command.device_key().unwrap();
        let fails = self.chance(self.faults.failed);
        let is_nameless = |device: &u64| Some(imei(*device)) == command.device.imei;
        let is_nameless = action == Action::Unclaim && self.nameless.iter().any(is_nameless);
        // The one device that has an id.
        let named = self.api.keys().next().filter(|_| command.device_id.is_some()).cloned();
        let name = named.unwrap_or_else(|| key.as_str().to_owned());
        let device = self.api.entry(name).or_default();
        let fault = |code, retryable| {
            DeviceVerdict::Failed(Box::new(DeviceFault {
                code,
                api_status: "SINGLE_DEVICE_STATUS_OTHER_ERROR".into(),
                api_identifier: None,
                api_message: None,
                retryable,
            }))
        };
        let other = device.owner.is_some() && device.owner != command.customer;
        let verdict = if fails {
            fault(FailureCode::DeviceOther, true)
        } else if is_nameless {
            fault(FailureCode::DeviceInvalidIdentifier, false)
        } else if action == Action::Claim && other {
            fault(FailureCode::DeviceNotYours, false)
        } else {
            match action {
                Action::Claim => device.owner.clone_from(&command.customer),
                Action::Unclaim => (device.owner, device.metadata) = Default::default(),
                Action::UpdateMetadata => {}
            }
            if action != Action::Unclaim {
                device.metadata.extend(command.metadata.clone());
            }
            DeviceVerdict::Succeeded { device_id: Some("1".into()) }
        };
        DeviceResult { device: Some(key.hash()), verdict }
    }

    pub(super) fn owner(&self, device: u64) -> Option<&str> {
        match self.api.get(&format!("imei:{}", imei(device)))?.owner.as_ref()? {
            Customer::ZeroTouch(id) | Customer::Workspace(id) => Some(id),
        }
    }

    pub(super) fn metadata(&self, device: u64, key: &str) -> Option<&str> {
        let device = self.api.get(&format!("imei:{}", imei(device)))?;
        device.metadata.get(key).map(String::as_str)
    }

    /// Status of each command of a partition, by offset.
    pub(super) fn statuses(&self, partition: i32) -> Vec<&'static str> {
        let mut of: Vec<_> =
            self.outcomes.iter().filter(|o| o.partition == Partition(partition)).collect();
        of.sort_by_key(|outcome| outcome.offset);
        of.into_iter().map(|outcome| outcome.verdict.status.as_str()).collect()
    }

    /// Everything is decided, once, and nothing is left anywhere.
    pub(super) fn assert_settled(&self) {
        for (partition, log) in &self.log {
            let mut offsets: Vec<i64> = self
                .outcomes
                .iter()
                .filter(|outcome| outcome.partition == *partition)
                .map(|outcome| outcome.offset.0)
                .collect();
            offsets.sort_unstable();
            let all: Vec<i64> = (0..i64::try_from(log.len()).unwrap()).collect();
            assert_eq!(offsets, all, "I1: one outcome a command, partition {partition}");
            let end = Offset(i64::try_from(log.len()).unwrap());
            assert_eq!(self.offsets.get(partition).copied().unwrap_or(Offset(0)), end);
        }
        assert_eq!(self.ledger.len(), 0, "the ledger keeps {:?}", self.ledger);
        let report = self.worker.report();
        assert_eq!((report.commands, report.command_bytes), (0, 0));
        assert_eq!(report.accounts[0].batches, 0);
        assert_eq!(report.accounts[0].ready, [0, 0, 0]);
    }
}

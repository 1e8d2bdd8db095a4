//! The engine alone: commands in, lanes, folds, batches, settlement, outcomes out; no IO.
//!
//! The world answers at once, so what is measured is the engine and the handing over of values.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use zerotouch_worker::engine::{
    AccountOptions, CommandContent, CommandRead, Effect, Input, Mono, Now, Options, Transaction,
    Worker,
};
use zerotouch_worker::model::{
    Action, BatchState, Cause, CommandFacts, Customer, DeviceHash, DeviceResult, DeviceVerdict,
    Epoch, Offset, OperationReply, PackedCommand, Partition, order_hash,
};

const COMMANDS: usize = 100_000;
const LANES: i32 = 4;

fn options() -> Options {
    Options {
        accounts: vec![AccountOptions {
            name: "main".into(),
            partner_id: "1".into(),
            quota_calls: 1_000_000,
            quota_window: Duration::from_secs(1),
        }],
        partitions_total: 4,
        commands_max: 10_000_000,
        command_bytes_max: 1 << 40,
        ..Options::default()
    }
}

/// A worker with its lanes open.
fn worker() -> Worker {
    let mut worker = Worker::new(options());
    let now = now(1);
    for lane in 0..LANES {
        let (partition, epoch) = (Partition(lane), Epoch(1));
        worker.handle(now, Input::Assigned { partition, epoch });
        let (committed, records) = (Offset(0), Ok(Vec::new()));
        worker.handle(
            now,
            Input::LedgerRead { partition, epoch, committed, log: Ok(Default::default()), records },
        );
    }
    while worker.next_effect().is_some() {}
    worker
}

fn now(millis: u64) -> Now {
    Now { mono: Mono(millis * 1_000_000), wall: Timestamp::UNIX_EPOCH }
}

fn devices(count: usize) -> Vec<DeviceHash> {
    let hash = |n: usize| {
        let mut device = [0; 16];
        device.copy_from_slice(&blake3::hash(&n.to_le_bytes()).as_bytes()[..16]);
        DeviceHash(u128::from_le_bytes(device))
    };
    (0..count).map(hash).collect()
}

/// What the consumer would hand over: the devices take turns.
fn reads(devices: &[DeviceHash], packed: &PackedCommand) -> Vec<Input> {
    let customer = Some(Customer::ZeroTouch("7".into()).short_hash());
    let command = |n: usize| {
        let facts = CommandFacts {
            device: devices[n % devices.len()],
            action: Action::Claim,
            cause: Cause::Sale,
            customer,
            order: order_hash("A-1001"),
            occurred_at: 0,
            names_order: false,
        };
        let content = CommandContent::Command {
            facts,
            account: Some(0),
            packed: packed.clone(),
            purpose: None,
        };
        let offset = Offset((n / LANES as usize) as i64);
        CommandRead { offset, content }
    };
    let lanes = LANES as usize;
    let mut inputs = Vec::new();
    for first in (0..COMMANDS).step_by(1_000) {
        for lane in 0..lanes {
            let commands =
                (first..first + 1_000).filter(|n| n % lanes == lane).map(command).collect();
            let (partition, epoch) = (Partition(lane as i32), Epoch(1));
            inputs.push(Input::CommandsRead { partition, epoch, commands });
        }
    }
    inputs
}

/// Feeds everything and answers until all outcomes are out. Returns their number.
fn run(mut worker: Worker, inputs: Vec<Input>, devices: &[DeviceHash]) -> usize {
    let mut outcomes = 0;
    let mut millis = 10;
    // Of one action there is one batch between its intent and its call.
    let mut intended: Vec<DeviceHash> = Vec::new();
    let mut sent: Vec<Vec<DeviceHash>> = Vec::new();
    let mut inputs = inputs.into_iter();
    let mut answers = std::collections::VecDeque::new();
    let mut settled = 0;
    loop {
        let input = match answers.pop_front().or_else(|| inputs.next()) {
            Some(input) => input,
            None => match worker.wake_at(now(millis)) {
                Some(at) => {
                    millis = millis.max(at.0 / 1_000_000 + 1);
                    Input::TimePassed
                }
                None => return outcomes,
            },
        };
        worker.handle(now(millis), input);
        while let Some(effect) = worker.next_effect() {
            match effect {
                Effect::Commit(transaction) => {
                    outcomes += transaction.outcomes.len();
                    intended.extend(of_intents(&transaction, devices));
                    let transaction = black_box(transaction).number;
                    answers.push_back(Input::Committed { transaction });
                }
                Effect::Submit(submit) => {
                    let name: std::sync::Arc<str> = format!("operations/{}", sent.len()).into();
                    sent.push(std::mem::take(&mut intended));
                    let call = submit.call;
                    answers.push_back(Input::Submitted { call, result: Ok(name) });
                }
                Effect::Poll { call, .. } => {
                    // Operations end in the order in which they began.
                    let results = sent[settled].iter().copied().map(succeeded).collect();
                    settled += 1;
                    let result = Ok(OperationReply::Done { results });
                    answers.push_back(Input::Polled { call, result });
                }
                other => panic!("nothing else is expected: {other:?}"),
            }
        }
    }
}

/// The devices of the intents in a transaction: not in the order in which they go out.
fn of_intents<'a>(
    transaction: &'a Transaction,
    devices: &'a [DeviceHash],
) -> impl Iterator<Item = DeviceHash> + 'a {
    let records = transaction.ledger.iter().filter_map(|write| {
        let record = write.record.as_ref()?;
        (record.state == BatchState::Intended).then_some((write.partition, &record.open))
    });
    records.flat_map(move |(lane, open)| {
        let number = move |offset: Offset| offset.0 as usize * LANES as usize + lane.0 as usize;
        open.iter().map(move |offset| devices[number(offset) % devices.len()])
    })
}

fn succeeded(device: DeviceHash) -> DeviceResult {
    let verdict = DeviceVerdict::Succeeded { device_id: None };
    DeviceResult { device: Some(device), verdict }
}

fn engine(criterion: &mut Criterion) {
    let packed = PackedCommand::pack(&sample());
    let (all, tenth) = (devices(COMMANDS), devices(COMMANDS / 10));
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(COMMANDS as u64)).sample_size(10);
    group.bench_function("claims of as many devices", |bencher| {
        bencher.iter_batched(
            || (worker(), reads(&all, &packed)),
            |(worker, inputs)| assert_eq!(run(worker, inputs, &all), COMMANDS),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("ten claims of each device, folded", |bencher| {
        bencher.iter_batched(
            || (worker(), reads(&tenth, &packed)),
            |(worker, inputs)| assert_eq!(run(worker, inputs, &tenth), COMMANDS),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// A phone of an order, as most commands are.
fn sample() -> zerotouch_worker::model::Command {
    zerotouch_worker::model::Command {
        action: Action::Claim,
        cause: Cause::Sale,
        event_id: "5b6b7f0e-65f3-4f0e-9f5e-3c1f0a4b1c2d".into(),
        order_id: "A-1001".into(),
        line: "1".into(),
        account: "main".into(),
        customer: Some(Customer::ZeroTouch("1234567".into())),
        device: zerotouch_worker::model::Identifiers {
            imei: Some("490154203237518".into()),
            manufacturer: Some("Google".into()),
            model: Some("Pixel 9".into()),
            ..Default::default()
        },
        device_id: None,
        metadata: std::iter::once(("ordernumber".to_owned(), "A-1001".to_owned())).collect(),
        configuration_id: None,
        pre_provisioning_token: None,
        recorded_at: None,
        occurred_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
        source: zerotouch_worker::model::Source {
            topic: "orders".into(),
            partition: 3,
            offset: 1_234_567,
        },
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    }
}

criterion_group!(benches, engine);
criterion_main!(benches);

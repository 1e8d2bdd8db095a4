//! What it costs to cross the boundaries: order event to commands, operation response to outcomes.
//!
//! The element count of each figure is devices, so the throughput reads per device.

// A bench that cannot build its input has nothing to measure.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use zerotouch_worker::engine::intake::{self, IntakeOptions, Intaken};
use zerotouch_worker::model::{
    Command, DeviceHash, DeviceVerdict, OperationReply, PackedCommand, Source, Status, Verdict,
};
use zerotouch_worker::shell::telemetry::metrics::{Decided, Metrics};
use zerotouch_worker::wire::google::results;
use zerotouch_worker::wire::{command, headers, order, outcome};

/// The IMEI with this serial, check digit included.
fn imei(serial: usize) -> String {
    let digits = format!("35693803{serial:06}");
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, byte)| {
            let digit = u32::from(byte - b'0');
            if index % 2 == 1 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

fn sale(devices: usize) -> Vec<u8> {
    let devices: Vec<Value> = (0..devices)
        .map(|index| json!({"line": (index + 1).to_string(), "imei": imei(index)}))
        .collect();
    let event = json!({
        "eventId": "9f0c2c1e-5d6a-4f6e-8f7c-0a4b8d1f2e11", "type": "sale",
        "occurredAt": "2026-05-04T08:00:00Z", "orderId": "SO-104233",
        "customer": {"customerId": "1234567890"}, "devices": devices,
    });
    event.to_string().into_bytes()
}

fn options() -> IntakeOptions {
    let accounts = ["main".to_owned()].into();
    let default_account = Some("main".into());
    IntakeOptions { accounts, default_account, ..IntakeOptions::default() }
}

fn commands(payload: &[u8], source: &Source, options: &IntakeOptions) -> Vec<Command> {
    let record = order::Record { source, timestamp: None, headers: &[], payload: Some(payload) };
    let event = order::decode(&record, &order::Limits::default()).expect("a good event");
    intake::map(event, (source, None), "2026-05-04T08:00:01Z".parse().expect("a time"), options)
        .into_iter()
        .map(|intaken| match intaken {
            Intaken::Command(command) => command,
            Intaken::Refused(refused) => panic!("refused: {:?}", refused.verdict),
        })
        .collect()
}

fn intake_bench(c: &mut Criterion) {
    let source = Source { topic: "orders".into(), partition: 2, offset: 815 };
    let options = options();
    let mut group = c.benchmark_group("order_event_to_commands");
    for devices in [1, 10, 500] {
        let payload = sale(devices);
        let _ = group.throughput(Throughput::Elements(devices as u64));
        let _ =
            group.bench_with_input(BenchmarkId::from_parameter(devices), &payload, |b, bytes| {
                b.iter(|| {
                    for one in commands(black_box(bytes), &source, &options) {
                        let key = one.device_key();
                        let _ = black_box((key, command::encode(&one, None)));
                    }
                });
            });
    }
    group.finish();
}

fn operation(commands: &[Command]) -> Vec<u8> {
    let results: Vec<Value> = commands
        .iter()
        .enumerate()
        .map(|(index, command)| {
            json!({
                "claim": {
                    "deviceIdentifier": {"imei": command.device.imei},
                    "sectionType": "SECTION_TYPE_ZERO_TOUCH", "customerId": "1234567890",
                    "deviceMetadata": {"entries": {"ordernumber": "SO-104233"}},
                },
                "result": {"deviceId": format!("55001122{index:04}"),
                    "status": "SINGLE_DEVICE_STATUS_SUCCESS"},
            })
        })
        .collect();
    let operation = json!({
        "name": "operations/apibatchoperation/1234567890123476789", "done": true,
        "response": {"successCount": results.len(), "perDeviceStatus": results},
    });
    operation.to_string().into_bytes()
}

/// What the worker does with the answer to a poll: decode, match each result to its command by the
/// echo, open the packed command, write the outcome. The engine between them has its own bench.
fn outcomes(bytes: &[u8], name: &Arc<str>, sent: &[(DeviceHash, PackedCommand)]) -> usize {
    let at = "2026-05-04T08:00:07Z".parse().expect("a time");
    let decoded = results::decode(bytes, 2 * sent.len()).expect("an operation");
    let OperationReply::Done { results } = decoded.reply else { panic!("the operation is done") };
    let mut written = 0;
    for (result, (device, packed)) in results.into_iter().zip(sent) {
        assert_eq!(result.device, Some(*device));
        let DeviceVerdict::Succeeded { device_id } = result.verdict else { panic!("a success") };
        let command = packed.unpack();
        let verdict = Verdict {
            status: Status::Succeeded,
            failure: None,
            decided_by: None,
            device_id,
            operation: Some(Arc::clone(name)),
            attempts: 1,
            submitted_at: Some(at),
            completed_at: at,
        };
        let key = outcome::key(&command);
        let value = outcome::encode(&command, &verdict);
        let headers = headers::outcome(&command, &verdict, &key);
        written += black_box((value, headers)).0.len();
    }
    written
}

fn outcome_bench(c: &mut Criterion) {
    const DEVICES: usize = 1_000;
    let source = Source { topic: "orders".into(), partition: 2, offset: 815 };
    let commands = commands(&sale(DEVICES), &source, &options());
    let response = operation(&commands);
    let name: Arc<str> = "operations/apibatchoperation/1234567890123476789".into();
    let hash = |command: &Command| command.device_key().expect("a key").hash();
    let sent: Vec<_> =
        commands.iter().map(|command| (hash(command), PackedCommand::pack(command))).collect();
    let mut group = c.benchmark_group("operation_response_to_outcomes");
    let _ = group.throughput(Throughput::Elements(DEVICES as u64));
    let _ = group.bench_function(DEVICES.to_string(), |b| {
        b.iter(|| outcomes(black_box(&response), &name, &sent));
    });
    group.finish();
}

/// What counting costs of that: the transaction with the same outcomes commits.
fn metrics_bench(c: &mut Criterion) {
    const DEVICES: usize = 1_000;
    let source = Source { topic: "orders".into(), partition: 2, offset: 815 };
    let commands = commands(&sale(DEVICES), &source, &options());
    let at: jiff::Timestamp = "2026-05-04T08:00:07Z".parse().expect("a time");
    let verdict = Verdict {
        status: Status::Succeeded,
        failure: None,
        decided_by: None,
        device_id: None,
        operation: None,
        attempts: 1,
        submitted_at: Some(at),
        completed_at: at,
    };
    let metrics = Metrics::default();
    let mut group = c.benchmark_group("outcomes_counted");
    let _ = group.throughput(Throughput::Elements(DEVICES as u64));
    let _ = group.bench_function(DEVICES.to_string(), |b| {
        b.iter(|| {
            let mut decided = Decided::default();
            for command in &commands {
                decided.add(black_box(command), &verdict);
            }
            metrics.published(&decided, at);
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = intake_bench, outcome_bench, metrics_bench
}
criterion_main!(benches);

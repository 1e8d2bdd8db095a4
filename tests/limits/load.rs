//! The loads: the demo's stream at its own pace, and its full load, sales of single devices that
//! are all due at once.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use zerotouch_worker::demo::scenario::{Scenario, ScenarioOptions};
use zerotouch_worker::verify::Expectation;

use crate::asking::ADMIN;
use crate::client::Record;
use crate::process::{Process, wait_for};
use crate::world::{Setup, World};

/// What the demo does unless told otherwise: devices, and over how long they are sold.
const DEMO_DEVICES: u64 = 3_000;
const DEMO_TIME: Duration = Duration::from_secs(12);
const TICK: Duration = Duration::from_millis(100);

/// As the worker's defaults have it, which the other tests have not.
const DEFAULTS: [(&str, &str); 6] = [
    ("topics.partitions", "12"),
    ("kafka.session_timeout", "\"15s\""),
    ("kafka.transaction_timeout", "\"15s\""),
    ("kafka.commit_timeout", "\"10s\""),
    ("operation.poll_delay_min", "\"2s\""),
    ("operation.poll_delay_max", "\"10s\""),
];

/// The quota is Google's.
const ACCOUNT: &str = r#"
[[accounts]]
name = "main"
partner_id = 1001
auth = { kind = "none" }
"#;

/// With the sandbox of the demo.
pub(crate) fn world(name: &str) -> World {
    let settings: Vec<_> = ADMIN.iter().chain(&DEFAULTS).copied().collect();
    let sandbox = ["--quota-calls", "1000", "--operation-time", "2s", "--operation-jitter", "1"];
    let accounts = Some(ACCOUNT);
    World::new(name, Setup { sandbox: &sandbox, settings: &settings, accounts, ..Setup::default() })
}

/// The demo's stream, written at its pace. Gives the outcomes that there must be.
pub(crate) fn demo(world: &mut World, devices: u64) -> usize {
    let start = Timestamp::from_second(1_767_225_600).unwrap();
    let items: Vec<_> = Scenario::new(ScenarioOptions { devices, seed: 1, start }).collect();
    let ticks = (DEMO_TIME.as_secs_f64() * devices as f64
        / DEMO_DEVICES as f64
        / TICK.as_secs_f64())
    .ceil() as usize;
    let (began, topic) = (Instant::now(), world.topic("orders"));
    for (tick, items) in items.chunks(items.len().div_ceil(ticks)).enumerate() {
        let due = began + TICK * u32::try_from(tick).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let text =
            |(name, value): &(&str, String)| ((*name).to_owned(), value.clone().into_bytes());
        let records: Vec<Record> = items
            .iter()
            .map(|item| Record {
                topic: topic.clone(),
                key: Some(item.key.clone().into_bytes()),
                value: Some(item.payload.clone()),
                headers: item.headers.iter().map(text).collect(),
                ..Record::default()
            })
            .collect();
        world.send_records(&vec![Value::Null; records.len()], &records);
    }
    let outcomes = items.iter().map(|item| match &item.expectation {
        Expectation::Commands(commands) => commands.len(),
        Expectation::DeadLetter => 0,
    });
    outcomes.sum()
}

/// Sales of single devices, as fast as they can be written. Gives the outcomes that there must be.
pub(crate) fn full(world: &mut World, devices: u64) -> usize {
    const CHUNK: u64 = 5_000;
    for from in (0..devices).step_by(CHUNK as usize) {
        let sales: Vec<Value> = (from..devices.min(from + CHUNK)).map(sale).collect();
        world.send(&sales);
    }
    usize::try_from(devices).unwrap()
}

/// Sales of many devices each, with long ids and metadata that all of its devices get: what follows
/// from one of less than 300 KiB takes more than 60 MiB. Gives the outcomes that there must be.
pub(crate) fn multiplied(world: &mut World, orders: u64, devices: u64) -> usize {
    for order in 0..orders {
        let imeis = order * devices..(order + 1) * devices;
        let devices: Vec<Value> =
            imeis.map(|number| json!({"imei": crate::events::imei(number)})).collect();
        let id = |letter: &str| format!("{}{order}", letter.repeat(1_000));
        world.send(&[json!({
            "type": "sale",
            "eventId": id("E"),
            "occurredAt": "2026-01-01T00:00:00Z",
            "orderId": id("O"),
            "customer": {"customerId": "1001"},
            "metadata": {"k": "v".repeat(4_000)},
            "devices": devices,
        })]);
    }
    usize::try_from(orders * devices).unwrap()
}

fn sale(number: u64) -> Value {
    let order = format!("F-1-{number}");
    json!({
        "type": "sale",
        "eventId": format!("sale-{order}"),
        "occurredAt": "2026-01-01T00:00:00Z",
        "orderId": order,
        "customer": {"customerId": "1001"},
        "devices": [{"line": "1", "imei": crate::events::imei(number)}],
    })
}

/// Waits until all is worked off, by the committed offsets, and there are as many outcomes.
pub(crate) fn work_off(world: &mut World, worker: &mut Process, outcomes: usize, limit: Duration) {
    let progress = wait_for(&format!("{outcomes} outcomes"), limit, || {
        assert!(worker.ended().is_none(), "the worker has ended: {:?}", worker.ended());
        let progress = world.progress();
        (progress.is_quiet && progress.outcomes >= outcomes).then_some(progress)
    });
    assert_eq!(progress.outcomes, outcomes);
}

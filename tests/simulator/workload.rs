//! The commands of a run: few devices, customers and orders, so that commands meet, fold, come too
//! late and sell the same device again.

use std::sync::Arc;

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zerotouch_worker::engine::ForeignRecord;
use zerotouch_worker::model::{
    Action, Cause, Command, Customer, Identifiers, Metadata, ORDER_NUMBER, Source,
};

use crate::plan::{Fault, Plan};

/// One record for the commands topic.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Command(Arc<Command>),
    Foreign(i32, Arc<ForeignRecord>),
    /// A command that not every worker may take.
    Held(Arc<Command>, Hold),
}

/// Why a command stops a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is of a version that every second worker understands, and all do once the faults end.
    Newer,
    /// It is meant for another partner, until the faults end: then the configuration is put right.
    Elsewhere,
}

impl Item {
    pub(crate) fn command(&self) -> Option<&Arc<Command>> {
        match self {
            Self::Command(command) | Self::Held(command, _) => Some(command),
            Self::Foreign(..) => None,
        }
    }
}

/// Records that are written at once, and when.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) at: u64,
    pub(crate) items: Vec<Item>,
    pub(crate) is_giant: bool,
}

/// An account that is not configured.
pub(crate) const UNKNOWN_ACCOUNT: &str = "gone";
/// When the first record is written; times of events count from here.
pub(crate) const BEGIN: i64 = 1_767_225_600;

pub(crate) fn writes(plan: &Plan) -> Vec<Write> {
    let rng = &mut ChaCha8Rng::seed_from_u64(plan.seed ^ 0x5eed_0f04_de45);
    let end = plan.phase_one.as_nanos() as u64;
    let mut writes = Vec::new();
    let mut count = 0;
    while count < plan.commands {
        let at = rng.random_range(0..end);
        let giant = rng.random_range(0..10_000) < plan.rate(Fault::GiantOrder);
        let size = if giant {
            rng.random_range(20..60)
        } else {
            rng.random_range(1..=4.min(plan.commands))
        };
        writes.push((at, size.min(plan.commands - count), giant));
        count += size;
    }
    writes.sort_unstable();
    let mut number = 0;
    let holds = &mut ChaCha8Rng::seed_from_u64(plan.seed ^ 0x401d);
    writes
        .into_iter()
        .map(|(at, size, is_giant)| {
            let mut items = Vec::with_capacity(size);
            for _ in 0..size {
                number += 1;
                items.push(held(plan, holds, item(plan, rng, number, at)));
            }
            Write { at, items, is_giant }
        })
        .collect()
}

fn item(plan: &Plan, rng: &mut ChaCha8Rng, number: i64, at: u64) -> Item {
    let foreign = rng.random_range(0..10_000) < plan.rate(Fault::Foreign);
    let unknown = rng.random_range(0..10_000) < plan.rate(Fault::UnknownAccount);
    let partition = rng.random_range(0..plan.partitions);
    let command = command(plan, rng, number, at, unknown);
    if foreign {
        let record = ForeignRecord {
            key: Some(vec![1]),
            payload: Some(vec![2, 3]),
            reason: "not a command".into(),
        };
        return Item::Foreign(partition, Arc::new(record));
    }
    Item::Command(Arc::new(command))
}

/// The item, or what keeps a worker from taking it.
fn held(plan: &Plan, rng: &mut ChaCha8Rng, item: Item) -> Item {
    let kinds = [(Fault::NewerCommand, Hold::Newer), (Fault::ForeignPurpose, Hold::Elsewhere)];
    let hit =
        kinds.map(|(fault, hold)| (rng.random_range(0..10_000) < plan.rate(fault)).then_some(hold));
    match (item, hit.into_iter().flatten().next()) {
        (Item::Command(command), Some(hold)) => Item::Held(command, hold),
        (item, _) => item,
    }
}

fn command(plan: &Plan, rng: &mut ChaCha8Rng, number: i64, at: u64, unknown: bool) -> Command {
    let cause = match rng.random_range(0..10) {
        0..=3 => Cause::Sale,
        4..=5 => Cause::Return,
        6..=7 => Cause::Cancellation,
        _ => Cause::Amendment,
    };
    let action = match cause {
        Cause::Sale => Action::Claim,
        Cause::Return | Cause::Cancellation => Action::Unclaim,
        Cause::Amendment => Action::UpdateMetadata,
    };
    let device = rng.random_range(0..plan.devices);
    let order = format!("o{}", rng.random_range(0..plan.orders));
    let customer = rng.random_range(1..=plan.customers).to_string();
    let names_customer = action == Action::Claim || rng.random_bool(0.4);
    let mut metadata = Metadata::new();
    if action == Action::Claim {
        metadata.insert(ORDER_NUMBER.into(), order.clone());
    }
    if action == Action::UpdateMetadata || (action == Action::Claim && rng.random_bool(0.3)) {
        let key = if rng.random_bool(0.5) { "phonenumber" } else { "note" };
        let value = rng.random_range(0..4);
        let value = if value == 0 { String::new() } else { value.to_string() };
        metadata.insert(key.into(), value);
    }
    // One account for each device: devices of two resellers are two stories.
    let account = device as usize % plan.engine.accounts.len();
    let account = plan.engine.accounts[account].name.to_string();
    let second = BEGIN + (at / 1_000_000_000) as i64 + rng.random_range(-30..30);
    let occurred_at = Timestamp::from_second(second).unwrap();
    Command {
        action,
        cause,
        event_id: format!("e{number}"),
        order_id: order,
        line: "1".into(),
        account: if unknown { UNKNOWN_ACCOUNT.into() } else { account },
        customer: names_customer.then_some(Customer::ZeroTouch(customer)),
        device: identifiers(device),
        device_id: None,
        metadata,
        configuration_id: None,
        pre_provisioning_token: None,
        recorded_at: None,
        occurred_at,
        received_at: occurred_at,
        source: Source { topic: "orders".into(), partition: 0, offset: number },
        traceparent: None,
    }
}

/// A sale of a device that nobody has sold before: by it the worker learns that the API works.
pub(crate) fn fresh_sale(plan: &Plan, number: i64, device: u64) -> Item {
    let rng = &mut ChaCha8Rng::seed_from_u64(plan.seed ^ device);
    let drawn = command(plan, rng, number, 0, false);
    let account = device as usize % plan.engine.accounts.len();
    let metadata = std::iter::once((ORDER_NUMBER.into(), drawn.order_id.clone())).collect();
    Item::Command(Arc::new(Command {
        action: Action::Claim,
        cause: Cause::Sale,
        account: plan.engine.accounts[account].name.to_string(),
        customer: Some(Customer::ZeroTouch("1".into())),
        device: identifiers(device),
        metadata,
        ..drawn
    }))
}

/// Phones of one and of two modems, and tablets.
pub(crate) fn identifiers(device: u64) -> Identifiers {
    if device % 5 == 4 {
        return Identifiers {
            serial_number: Some(format!("S{device}")),
            manufacturer: Some("Google".into()),
            model: Some("Tablet".into()),
            ..Identifiers::default()
        };
    }
    Identifiers {
        imei: Some(imei(2 * device)),
        imei2: (device % 5 == 3).then(|| imei(2 * device + 1)),
        ..Identifiers::default()
    }
}

fn imei(number: u64) -> String {
    let body = format!("35{number:012}");
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0') * if place % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

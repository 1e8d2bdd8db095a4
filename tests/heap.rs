//! How many bytes of heap a device in flight costs, counted by the allocator.
//!
//! One test in a binary of its own: the allocator counts for the whole process.

// Tests may panic.
#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::time::Duration;

use jiff::Timestamp;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zerotouch_worker::engine::{
    AccountOptions, CommandContent, CommandRead, Effect, Input, Mono, Now, Options, Worker,
};
use zerotouch_worker::model::{
    Action, Cause, Command, Customer, Epoch, Identifiers, Offset, PackedCommand, Partition, Source,
};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEVICES: u64 = 100_000;
const BYTES_MAX: f64 = 300.0;

fn now(millis: u64) -> Now {
    Now { mono: Mono(millis * 1_000_000), wall: Timestamp::UNIX_EPOCH }
}

fn imei(number: u64) -> String {
    format!("35{number:013}")
}

/// A phone of an order, as most commands are.
fn command(number: u64) -> Command {
    Command {
        action: Action::Claim,
        cause: Cause::Sale,
        event_id: "5b6b7f0e-65f3-4f0e-9f5e-3c1f0a4b1c2d".into(),
        order_id: format!("A-{number}"),
        line: "1".into(),
        account: "main".into(),
        customer: Some(Customer::ZeroTouch("1234567".into())),
        device: Identifiers { imei: Some(imei(number)), ..Identifiers::default() },
        device_id: None,
        metadata: std::iter::once(("ordernumber".to_owned(), format!("A-{number}"))).collect(),
        configuration_id: None,
        pre_provisioning_token: None,
        recorded_at: None,
        occurred_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
        source: Source { topic: "orders".into(), partition: 3, offset: 1_234_567 },
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    }
}

fn read(offsets: std::ops::Range<u64>) -> Input {
    let commands = offsets
        .map(|number| {
            let command = command(number);
            let content = CommandContent::Command {
                facts: command.facts().unwrap(),
                account: Some(0),
                packed: PackedCommand::pack(&command),
                purpose: None,
            };
            CommandRead { offset: Offset(i64::try_from(number).unwrap()), content }
        })
        .collect();
    Input::CommandsRead { partition: Partition(0), epoch: Epoch(1), commands }
}

#[test]
fn a_device_in_flight_costs_at_most_300_bytes_its_command_included() {
    let account = AccountOptions {
        name: "main".into(),
        partner_id: "1".into(),
        quota_calls: 1_000_000,
        quota_window: Duration::from_secs(1),
    };
    let region = Region::new(HEAP);
    let mut worker = Worker::new(Options {
        accounts: vec![account],
        commands_max: 1_000_000,
        command_bytes_max: 1 << 40,
        ..Options::default()
    });
    let (partition, epoch) = (Partition(0), Epoch(1));
    worker.handle(now(0), Input::Assigned { partition, epoch });
    let (committed, records) = (Offset(0), Ok(Vec::new()));
    worker.handle(
        now(0),
        Input::LedgerRead { partition, epoch, committed, log: Ok(Default::default()), records },
    );
    let mut accepted = 0;
    let mut millis = 1;
    for first in (0..DEVICES).step_by(1_000) {
        worker.handle(now(millis), read(first..first + 1_000));
        while let Some(effect) = worker.next_effect() {
            millis += 1;
            match effect {
                Effect::Commit(transaction) => {
                    let transaction = transaction.number;
                    worker.handle(now(millis), Input::Committed { transaction });
                }
                Effect::Submit(submit) => {
                    accepted += submit.commands.len() as u64;
                    let call = submit.call;
                    drop(submit);
                    let result = Ok("operations/apibatchoperation/1234567890123".into());
                    worker.handle(now(millis), Input::Submitted { call, result });
                }
                _ => {}
            }
        }
    }
    assert_eq!(accepted, DEVICES, "all of them are in flight");
    let change = region.change();
    let bytes = (change.bytes_allocated - change.bytes_deallocated) as f64;
    let each = bytes / DEVICES as f64;
    let packed = worker.report().command_bytes as f64 / DEVICES as f64;
    println!("heap per device in flight: {each:.1} bytes, {packed:.1} of them its packed command");
    assert!(each <= BYTES_MAX, "{each:.1} bytes of heap per device, of them {packed:.1} packed");
}

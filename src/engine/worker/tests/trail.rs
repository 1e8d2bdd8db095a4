//! What the engine logs, and what it says of the heads of its lanes.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::bare::{Bare, accepted, call_of_poll, number_of_commit, record};
use super::world::{World, command, imei, options};
use crate::engine::captured::{find, logged};
use crate::engine::worker::Worker;
use crate::engine::{
    CallNumber, CommandContent, CommandRead, Effect, HeadReport, Input, Mono, Now, Options,
    OutcomeWrite,
};
use crate::model::{
    CallFailure, Cause, Command, DeviceFault, DeviceResult, DeviceVerdict, Epoch, FailureCode,
    Offset, OperationReply, PackedCommand, Partition, Status,
};

fn sale(device: u64, order: &str) -> Command {
    command(Cause::Sale, device, Some("7"), order)
}

/// Two devices, of which one is told of twice, from the order to the outcome.
fn three_sales() {
    let mut world = World::new(options(), 1);
    for (device, order) in [(1, "o1"), (2, "o2"), (2, "o2")] {
        world.write(0, sale(device, order));
    }
    world.crash();
    world.run();
    world.read_all();
    world.run();
    world.assert_settled();
}

#[test]
fn at_debug_there_is_a_line_for_each_batch_call_and_answer_and_for_what_a_batch_came_to() {
    let lines = logged(tracing::Level::DEBUG, three_sales);
    let [begun] = find(&lines, "a batch begins")[..] else { panic!("{lines:#?}") };
    assert_eq!((&begun["account"], &begun["action"]), (&"main".into(), &"claim".into()));
    assert_eq!(begun["devices"], 2, "{begun}");
    let [submit, poll, ..] = find(&lines, "a call goes out")[..] else { panic!("{lines:#?}") };
    assert_eq!((&submit["kind"], &submit["batch"]), (&"submit".into(), &begun["batch"]));
    assert_eq!((&poll["kind"], &poll["batch"]), (&"poll".into(), &begun["batch"]));
    let answers = find(&lines, "a call was answered");
    assert_eq!(answers[0]["call"], submit["call"]);
    assert_eq!((&answers[0]["class"], &answers[0]["said"]), (&"ok".into(), &"accepted".into()));
    let last = answers.last().unwrap();
    assert_eq!((&last["kind"], &last["said"]), (&"poll".into(), &"done".into()));
    assert_eq!(last["operation"], poll["operation"]);
    let [done] = find(&lines, "a batch is done")[..] else { panic!("{lines:#?}") };
    assert_eq!((&done["succeeded"], &done["superseded"]), (&2.into(), &1.into()), "{done}");
    assert_eq!((&done["batch"], &done["failed"]), (&begun["batch"], &Value::Null));
    assert_eq!(find(&lines, "an outcome").len(), 0, "a line for each device is for trace");
    assert_eq!(logged(tracing::Level::INFO, three_sales), Vec::<Value>::new());
}

#[test]
fn at_trace_each_outcome_names_its_device_masked_and_no_line_has_a_whole_id() {
    let lines = logged(tracing::Level::TRACE, three_sales);
    let outcomes = find(&lines, "an outcome");
    let statuses: Vec<&str> =
        outcomes.iter().map(|line| line["status"].as_str().unwrap()).collect();
    assert_eq!(statuses.len(), 3, "{lines:#?}");
    assert_eq!(statuses.iter().filter(|status| **status == "succeeded").count(), 2);
    for line in &outcomes {
        assert!(line["device"].as_str().unwrap().starts_with("imei:…"), "{line}");
    }
    let text = format!("{lines:?}");
    assert!(!text.contains(&imei(1)[..14]) && !text.contains(&imei(2)[..14]), "{text}");
}

/// A lane with one device, whose operation the last owner had begun, and its first poll.
fn restored() -> (Bare, CallNumber) {
    restored_with(options(), 1)
}

/// The same with more devices, two of each order.
fn restored_with(options: Options, devices: u64) -> (Bare, CallNumber) {
    let mut bare = Bare::new(options);
    bare.assign(0, 1);
    let offsets: Vec<i64> = (0..devices.cast_signed()).collect();
    bare.replay((0, 1), vec![record(accepted(), &offsets, 1)]);
    let order = |offset: &i64| format!("o{}", offset / 2 + 1);
    let sales = offsets.iter().map(|at| (*at, sale(at.cast_unsigned() + 1, &order(at))));
    let sales: Vec<(i64, Command)> = sales.collect();
    let commands: Vec<(i64, &Command)> = sales.iter().map(|(at, sale)| (*at, sale)).collect();
    let mut effects = bare.read((0, 1), &commands);
    effects.extend(bare.feed(Input::TimePassed));
    let call = effects.iter().find_map(call_of_poll).unwrap();
    (bare, call)
}

#[test]
fn an_operation_whose_polls_fail_is_told_once_and_once_more_when_it_answers() {
    let lines = logged(tracing::Level::INFO, || {
        let (mut bare, mut call) = restored();
        let mut poll = |result| {
            bare.feed(Input::Polled { call, result });
            call = bare.run_until(call_of_poll);
        };
        for status in [503, 502, 503] {
            let reason = format!("HTTP {status}");
            poll(Err(CallFailure::Ambiguous { reason }));
        }
        for _ in 0..2 {
            poll(Ok(OperationReply::Running { progress: None }));
        }
        let reason = "connection refused".to_owned();
        poll(Err(CallFailure::NotSent { reason }));
    });
    let levels: Vec<&str> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["WARN", "INFO", "WARN"], "{lines:#?}");
    let first = &lines[0];
    assert_eq!((&first["account"], &first["operation"]), (&"main".into(), &"operations/1".into()));
    assert!(first["reason"] == "HTTP 503" && first["wait"].is_string(), "{first}");
    assert!(lines[1]["message"].as_str().unwrap().contains("answered for again"));
}

#[test]
fn an_unresolved_outcome_is_told_with_all_that_a_person_needs_to_look_it_up() {
    let lines = logged(tracing::Level::WARN, || {
        let (mut bare, call) = restored();
        let day = Duration::from_secs(24 * 3_600);
        let running = Ok(OperationReply::Running { progress: None });
        bare.after(day, Input::Polled { call, result: running });
        let call = bare.run_until(|effect| match effect {
            Effect::Lookup { call, .. } => Some(*call),
            _ => None,
        });
        bare.feed(Input::LookedUp { call, result: Ok(None) });
    });
    let [line] = find(&lines, "outcome is unresolved")[..] else { panic!("{lines:#?}") };
    assert_eq!(line["level"], "WARN");
    let device = format!("imei:…{}", &imei(1)[11..]);
    for (field, value) in [
        ("device", &*device),
        ("order_id", "o1"),
        ("event_id", "o1-sale"),
        ("account", "main"),
        ("action", "claim"),
        ("operation", "operations/1"),
        ("code", "transport.deadline_exceeded"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    assert!(line["why"].as_str().unwrap().contains("did not end before the deadline"), "{line}");
    assert!(!line.to_string().contains(&imei(1)[..14]), "{line}");
}

/// Carries effects out, with all devices unknown to lookups, until so many outcomes are written.
fn outcomes_of(bare: &mut Bare, effects: Vec<Effect>, count: usize) -> Vec<OutcomeWrite> {
    let mut effects = VecDeque::from(effects);
    let mut outcomes = Vec::new();
    while outcomes.len() < count {
        let answer = match effects.pop_front() {
            Some(Effect::Lookup { call, .. }) => Input::LookedUp { call, result: Ok(None) },
            Some(Effect::Commit(contents)) => {
                outcomes.extend(contents.outcomes.iter().cloned());
                Input::Committed { transaction: contents.number }
            }
            Some(_) => continue,
            None => {
                let due = bare.worker.wake_at(bare.at()).expect("a timer");
                bare.now = bare.now.max(due);
                Input::TimePassed
            }
        };
        effects.extend(bare.feed(answer));
    }
    outcomes
}

/// The operation of this many devices vanishes and stays so beyond its deadline.
fn vanished_beyond_the_deadline(devices: u64) -> Vec<OutcomeWrite> {
    let day = Duration::from_secs(24 * 3_600);
    let patient = Options { ambiguous_grace: day * 2, ..options() };
    let (mut bare, call) = restored_with(patient, devices);
    let gone = Input::Polled { call, result: Err(CallFailure::NotFound) };
    let effects = bare.after(day, gone);
    outcomes_of(&mut bare, effects, usize::try_from(devices).unwrap())
}

#[test]
fn an_operation_that_vanished_is_told_with_what_is_in_it_and_once() {
    let lines = logged(tracing::Level::WARN, || {
        let (mut bare, mut call) = restored_with(options(), 5);
        for _ in 0..2 {
            bare.feed(Input::Polled { call, result: Err(CallFailure::NotFound) });
            call = bare.run_until(call_of_poll);
        }
    });
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    assert!(line["message"].as_str().unwrap().contains("does not know an operation"), "{line}");
    for (field, value) in [
        ("account", "main"),
        ("operation", "operations/1"),
        ("order_id", "o1"),
        ("action", "claim"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!((&line["devices"], &line["orders"]), (&5.into(), &3.into()), "{line}");
    assert!(line["batch"].is_string() && line["wait"].is_string(), "{line}");
}

#[test]
fn what_vanished_and_outlasts_its_deadline_is_told_as_vanished() {
    let outcomes = vanished_beyond_the_deadline(1);
    let verdict = &outcomes[0].verdict;
    assert_eq!(verdict.status, Status::Unresolved);
    let failure = verdict.failure.as_ref().unwrap();
    assert_eq!(failure.code, FailureCode::ResultMissing);
    assert!(failure.message.contains("is unknown to the API"), "{failure:?}");
}

#[test]
fn of_many_unresolved_outcomes_of_a_batch_the_first_are_told_and_then_their_number() {
    let told = |devices| {
        let lines = logged(tracing::Level::WARN, || drop(vanished_beyond_the_deadline(devices)));
        let each = find(&lines, "a change was made; its outcome is unresolved");
        let devices: Vec<Value> = each.iter().map(|line| line["device"].clone()).collect();
        let together = find(&lines, "the changes of an operation were made");
        (devices, together.into_iter().cloned().collect::<Vec<_>>())
    };
    let (devices, together) = told(3);
    assert_eq!((devices.len(), together.len()), (3, 0), "each has its line");
    let (devices, together) = told(40);
    let masked = |device| Value::from(format!("imei:…{}", &imei(device)[11..]));
    assert_eq!(devices, [masked(1), masked(2), masked(3)]);
    let [line] = &together[..] else { panic!("{together:#?}") };
    for (field, value) in
        [("account", "main"), ("operation", "operations/1"), ("code", "transport.result_missing")]
    {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(line["count"], 40, "{line}");
}

/// The head of a lane that was just taken over, at this time of the wall clock.
fn head_of_new_owner(command: &Command, wall: Timestamp) -> (Worker, HeadReport) {
    let mut worker = Worker::new(options());
    let now = Now { mono: Mono(5), wall };
    let (partition, epoch) = (Partition(0), Epoch(1));
    worker.handle(now, Input::Assigned { partition, epoch });
    let records = Ok(vec![{
        let record = record(accepted(), &[0], 1);
        (record.batch, record)
    }]);
    worker.handle(
        now,
        Input::LedgerRead {
            partition,
            epoch,
            committed: Offset(0),
            log: Ok(Default::default()),
            records,
        },
    );
    let content = CommandContent::Command {
        facts: command.facts().unwrap(),
        account: Some(0),
        packed: PackedCommand::pack(command),
        purpose: None,
    };
    let commands = vec![CommandRead { offset: Offset(0), content }];
    worker.handle(now, Input::CommandsRead { partition, epoch, commands });
    let head = worker.heads(now).remove(0);
    (worker, head)
}

#[test]
fn the_age_of_a_head_goes_on_over_restarts_and_is_never_negative() {
    let received = Timestamp::from_second(1_000_000).unwrap();
    let command = Command { received_at: received, ..sale(1, "o1") };
    for hours in [1, 2, 30] {
        let (_, head) = head_of_new_owner(&command, received + Duration::from_secs(hours * 3_600));
        assert_eq!(head.held_seconds, hours * 3_600, "the process began a moment ago");
    }
    // The clock of the worker that took the event in is ahead of this one's by an hour.
    let behind = received - Duration::from_secs(3_600);
    let (worker, head) = head_of_new_owner(&command, behind);
    assert_eq!(head.held_seconds, 0);
    let later = Now { mono: Mono(5) + Duration::from_secs(400), wall: behind };
    assert_eq!(worker.heads(later)[0].held_seconds, 400, "what this process has seen itself");
}

#[test]
fn a_head_says_which_device_of_which_order_it_is_and_no_whole_id() {
    let (_, head) = head_of_new_owner(&sale(1, "o1"), Timestamp::UNIX_EPOCH);
    let shown = serde_json::to_value(&head).unwrap();
    let device = format!("imei:…{}", &imei(1)[11..]);
    for (field, value) in [
        ("device", &*device),
        ("action", "claim"),
        ("account", "main"),
        ("orderId", "o1"),
        ("eventId", "o1-sale"),
        ("receivedAt", "1970-01-01T00:00:00Z"),
        ("stage", "in_batch"),
    ] {
        assert_eq!(shown[field], value, "{shown}");
    }
    assert_eq!(shown["batch"]["operation"], "operations/1");
    assert!(!format!("{shown}{head:?}").contains(&imei(1)[..14]), "{shown}");
}

#[test]
fn a_head_whose_outcome_waits_for_its_transaction_still_names_its_device() {
    let (mut bare, call) = restored();
    // A transaction is under way, so that the outcome has to wait for the next one.
    let writing = bare.read((0, 1), &[(1, &sale(2, "o2"))]);
    let writing = writing.iter().find_map(number_of_commit);
    let writing = writing.unwrap_or_else(|| bare.run_until(number_of_commit));
    let failed = OperationReply::Done { results: vec![failed_result(1)] };
    bare.feed(Input::Polled { call, result: Ok(failed) });
    let head = bare.worker.heads(bare.at()).remove(0);
    assert_eq!((head.offset, head.stage), (0, "publishing"), "{head:?}");
    assert_eq!(head.command.unwrap().order_id, "o1");
    let effects = bare.feed(Input::Committed { transaction: writing });
    assert!(effects.iter().any(|effect| number_of_commit(effect).is_some()));
    let head = bare.worker.heads(bare.at()).remove(0);
    assert_eq!(head.offset, 1, "the watermark goes with the transaction");
}

fn failed_result(device: u64) -> DeviceResult {
    let fault = DeviceFault {
        code: FailureCode::DeviceInvalidToken,
        api_status: "SINGLE_DEVICE_STATUS_INVALID_TOKEN".into(),
        api_identifier: None,
        api_message: None,
        retryable: false,
    };
    let device = sale(device, "o1").facts().map(|facts| facts.device);
    DeviceResult { device, verdict: DeviceVerdict::Failed(Box::new(fault)) }
}

//! A lane stops before a command that it must not pass over, and finishes what came before.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bare::{Bare, accepted, record};
use super::world::{command, options};
use crate::engine::{
    AccountOptions, CommandContent, CommandRead, Effect, Input, Installation, Options, Transaction,
};
use crate::model::{
    BatchState, Cause, Command, DeviceResult, DeviceVerdict, Epoch, LedgerRecord, Offset,
    OffsetSet, OperationReply, PackedCommand, Partition, Purpose,
};

const LANE: Partition = Partition(0);
const EPOCH: Epoch = Epoch(1);

fn sale(device: u64) -> Command {
    command(Cause::Sale, device, Some("7"), "o1")
}

fn installed() -> Options {
    let account = AccountOptions { partner_id: "123".into(), ..options().accounts[0].clone() };
    let installation = Installation { endpoint: "https://api".into(), group: "one".into() };
    Options { accounts: vec![account], installation: Some(installation), ..options() }
}

fn purpose(partner: &str, group: &str) -> Purpose {
    Purpose { endpoint: "https://api".into(), partner: partner.into(), group: group.into() }
}

fn newer() -> CommandContent {
    CommandContent::Newer { version: 9, known: 2 }
}

fn content(device: u64, purpose: Option<Purpose>) -> CommandContent {
    let command = sale(device);
    CommandContent::Command {
        facts: command.facts().unwrap(),
        account: Some(0),
        packed: PackedCommand::pack(&command),
        purpose: purpose.map(Arc::new),
    }
}

/// A lane that goes on from these records.
fn lane(options: Options, records: Vec<LedgerRecord>) -> Bare {
    let mut bare = Bare::new(options);
    bare.assign(0, 1);
    bare.replay((0, 1), records);
    bare
}

fn read(bare: &mut Bare, contents: Vec<(i64, CommandContent)>) -> Vec<Effect> {
    let commands = contents.into_iter();
    let commands =
        commands.map(|(offset, content)| CommandRead { offset: Offset(offset), content }).collect();
    let mut effects = bare.feed(Input::CommandsRead { partition: LANE, epoch: EPOCH, commands });
    effects.extend(bare.feed(Input::CaughtUp { partition: LANE }));
    effects
}

fn reason(bare: &Bare) -> String {
    let lane = bare.worker.report().lanes.remove(0);
    assert_eq!(lane.phase, "stopped");
    lane.reason.unwrap()
}

/// Lets all that is under way succeed, and gives every transaction. `restored` are the devices of
/// operations that an earlier owner began.
fn finish(bare: &mut Bare, mut effects: Vec<Effect>, restored: &[u64]) -> Vec<Arc<Transaction>> {
    let (mut transactions, mut sent) = (Vec::new(), BTreeMap::new());
    for _ in 0..300 {
        let mut next = Vec::new();
        for effect in effects.drain(..) {
            next.extend(match effect {
                Effect::Commit(transaction) => {
                    let transaction_number = transaction.number;
                    transactions.push(transaction);
                    bare.feed(Input::Committed { transaction: transaction_number })
                }
                Effect::Submit(submit) => {
                    let name: Arc<str> = format!("operations/{}", submit.call.0).into();
                    let devices = submit.commands.iter().map(|one| one.unpack().facts().unwrap());
                    let devices: Vec<_> = devices.map(|facts| facts.device).collect();
                    sent.insert(Arc::clone(&name), devices);
                    bare.feed(Input::Submitted { call: submit.call, result: Ok(name) })
                }
                Effect::Poll { call, operation, .. } => {
                    let earlier = || restored.iter().map(|n| sale(*n).facts().unwrap().device);
                    let devices = sent.get(&operation).cloned().unwrap_or(earlier().collect());
                    let results = devices.into_iter().map(|device| DeviceResult {
                        device: Some(device),
                        verdict: DeviceVerdict::Succeeded { device_id: None },
                    });
                    let results = results.collect();
                    bare.feed(Input::Polled { call, result: Ok(OperationReply::Done { results }) })
                }
                _ => Vec::new(),
            });
        }
        if next.is_empty() {
            let Some(at) = bare.worker.wake_at(bare.at()) else { break };
            bare.now = bare.now.max(at);
            next = bare.feed(Input::TimePassed);
        }
        effects = next;
    }
    transactions
}

fn outcomes(transactions: &[Arc<Transaction>]) -> Vec<i64> {
    let writes = transactions.iter().flat_map(|transaction| &transaction.outcomes);
    writes.map(|write| write.offset.0).collect()
}

fn last_offset(transactions: &[Arc<Transaction>]) -> Option<i64> {
    let writes = transactions.iter().flat_map(|transaction| &transaction.offsets);
    writes.last().map(|write| write.offset.0)
}

#[test]
fn what_is_before_a_command_of_a_newer_version_is_finished_and_nothing_behind_is_passed() {
    let mut bare = lane(options(), Vec::new());
    let contents = vec![(0, content(1, None)), (4, newer()), (5, content(2, None)), (6, newer())];
    let effects = read(&mut bare, contents);
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Pause(lanes) if lanes == &[LANE]))
    );
    let transactions = finish(&mut bare, effects, &[]);
    assert_eq!(outcomes(&transactions), [0]);
    assert!(transactions.iter().all(|transaction| transaction.dead_letters.is_empty()));
    // One more than the last that was done: what lies between is no record.
    assert_eq!(last_offset(&transactions), Some(1));
    let told = reason(&bare);
    for words in ["command at offset 4", "has version 9", "up to version 2", "upgrade this one"] {
        assert!(told.contains(words), "{told}");
    }
    // What is read behind it later changes nothing.
    let effects = read(&mut bare, vec![(7, content(3, None))]);
    assert!(finish(&mut bare, effects, &[]).is_empty());
    assert_eq!(bare.worker.report().lanes[0].position, 1);
}

#[test]
fn a_stopped_lane_goes_to_a_worker_that_understands_it() {
    let mut bare = lane(options(), Vec::new());
    read(&mut bare, vec![(0, newer())]);
    let effects = bare.feed(Input::Revoked { partition: LANE });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Release { .. })), "{effects:?}");
    // The next one reads from where this one stopped.
    let mut next = lane(options(), Vec::new());
    let effects = read(&mut next, vec![(0, content(1, None))]);
    assert_eq!(outcomes(&finish(&mut next, effects, &[])), [0]);
}

#[test]
fn a_restored_batch_with_a_command_of_a_newer_version_is_left_to_who_understands_it() {
    let batch = record(accepted(), &[0, 1], 1);
    let mut bare = lane(options(), vec![batch]);
    let effects = read(&mut bare, vec![(0, content(1, None)), (1, newer())]);
    let transactions = finish(&mut bare, effects, &[1]);
    assert!(transactions.is_empty(), "its record must not change: {transactions:?}");
    assert!(reason(&bare).contains("offset 1 has version 9"));
}

#[test]
fn a_decided_command_of_a_newer_version_stops_nothing() {
    let decided = OffsetSet::new(vec![Offset(0)]);
    let done = LedgerRecord { decided, ..record(BatchState::Resolved, &[], 1) };
    let mut bare = lane(options(), vec![done]);
    let effects = read(&mut bare, vec![(0, newer()), (1, content(1, None))]);
    assert_eq!(outcomes(&finish(&mut bare, effects, &[])), [1]);
    assert_eq!(bare.worker.report().lanes[0].phase, "live");
}

#[test]
fn a_command_for_another_partner_or_group_is_not_sent_and_its_lane_says_so() {
    for (foreign, words) in [
        (purpose("222", "one"), "partner id of this worker's account `main` is 123"),
        (purpose("123", "two"), "this worker's group is one"),
    ] {
        let mut bare = lane(installed(), Vec::new());
        let own = content(1, Some(purpose("123", "one")));
        let old = content(2, None);
        let contents = vec![(0, own), (1, old), (2, content(3, Some(foreign)))];
        let effects = read(&mut bare, contents);
        let transactions = finish(&mut bare, effects, &[]);
        let mut done = outcomes(&transactions);
        done.sort_unstable();
        assert_eq!(done, [0, 1]);
        assert_eq!(last_offset(&transactions), Some(2));
        let told = reason(&bare);
        assert!(told.contains("command at offset 2 is meant for partner"), "{told}");
        assert!(told.contains(words) && told.contains("its own `prefix`"), "{told}");
    }
}

#[test]
fn a_command_for_a_partner_of_no_account_here_is_not_failed() {
    let mut bare = lane(installed(), Vec::new());
    let command = sale(1);
    let content = CommandContent::Command {
        facts: command.facts().unwrap(),
        account: None,
        packed: PackedCommand::pack(&command),
        purpose: Some(purpose("222", "one").into()),
    };
    let effects = read(&mut bare, vec![(0, content)]);
    assert!(finish(&mut bare, effects, &[]).is_empty());
    assert!(reason(&bare).contains("no account of this worker has that partner id (123)"));
}

#[test]
fn a_ledger_of_another_group_stops_the_lane_by_name() {
    let of = |purpose| LedgerRecord {
        purpose: Some(Arc::new(purpose)),
        ..record(BatchState::Intended, &[0], 1)
    };
    let bare = lane(installed(), vec![of(purpose("123", "two"))]);
    let told = reason(&bare);
    assert!(told.contains("group two") && told.contains("this worker's group is one"), "{told}");
    let bare = lane(installed(), vec![of(purpose("123", "one"))]);
    assert_eq!(bare.worker.report().lanes[0].phase, "live");
}

#[test]
fn ledger_records_say_whom_they_are_for() {
    let mut bare = lane(installed(), Vec::new());
    let effects = read(&mut bare, vec![(0, content(1, Some(purpose("123", "one"))))]);
    let transactions = finish(&mut bare, effects, &[]);
    let writes = transactions.iter().flat_map(|transaction| &transaction.ledger);
    let records: Vec<_> = writes.filter_map(|write| write.record.as_ref()).collect();
    assert!(!records.is_empty());
    for record in records {
        assert_eq!(record.purpose.as_deref(), Some(&purpose("123", "one")));
    }
}

//! What outlives a process, and what a lane's next owner is told.

use std::time::Duration;

use super::bare::{Bare, accepted, call_of_poll, call_of_submit, number_of_commit, record};
use super::world::{Faults, World, command, options};
use crate::engine::batch::RECORD_OFFSETS_MAX;
use crate::engine::{Effect, Input, Mono, Options, Transaction};
use crate::model::{
    BatchState, CallFailure, Cause, Command, LedgerRecord, Metadata, Offset, OffsetSet,
    OperationReply, Partition,
};

fn sale(device: u64, order: &str) -> Command {
    command(Cause::Sale, device, Some("7"), order)
}

fn amendment(device: u64, key: &str, value: &str) -> Command {
    let metadata: Metadata = std::iter::once((key.into(), value.into())).collect();
    Command { metadata, ..command(Cause::Amendment, device, None, "a") }
}

fn transaction_of(effects: &[Effect]) -> Option<std::sync::Arc<Transaction>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Commit(transaction) => Some(transaction.clone()),
        _ => None,
    })
}

fn deferred(offset: i64, attempts: u16) -> LedgerRecord {
    let retried = vec![(attempts, OffsetSet::new(vec![Offset(offset)]))];
    LedgerRecord { retried, ..record(BatchState::Deferred, &[offset], 0) }
}

#[test]
fn how_often_a_device_was_sent_outlives_crashes() {
    let mut world = World::new(options(), 1);
    world.faults = Faults { failed: 100, ..Faults::default() };
    world.write(0, sale(1, "o1"));
    let mut crashes = 0;
    while world.outcomes.is_empty() {
        world.crash();
        crashes += 1;
        assert!(crashes < 20, "sent again without end");
        let sent = world.submits.len();
        while world.outcomes.is_empty() && world.ledger.is_empty() || world.submits.len() == sent {
            assert!(world.step());
            world.read_all();
        }
        // Until the failure is written down, and what follows from it.
        let is_deferred = |record: &LedgerRecord| record.state == BatchState::Deferred;
        while world.outcomes.is_empty() && !world.ledger.values().any(is_deferred) {
            assert!(world.step());
        }
    }
    assert_eq!(world.submits.len(), usize::from(options().device_attempts_max));
    assert_eq!(crashes, world.submits.len(), "one between any two calls");
    assert_eq!(world.outcomes[0].verdict.attempts, options().device_attempts_max);
    world.run();
    world.assert_settled();
}

#[test]
fn an_intent_that_was_never_written_leaves_the_count_of_sends_to_the_next_owner() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    bare.replay((0, 1), vec![deferred(0, 2)]);
    bare.read((0, 1), &[(0, &sale(1, "o1"))]);
    bare.assign(1, 1);
    bare.replay((1, 1), Vec::new());
    bare.read((1, 1), &[(0, &amendment(2, "phonenumber", "1"))]);
    // The other lane's intent is under way when the retry is due: its own has to wait.
    let running = bare.run_until(number_of_commit);
    bare.after(Duration::from_secs(100), Input::TimePassed);
    bare.after(Duration::from_secs(1), Input::TimePassed);
    bare.feed(Input::Revoked { partition: Partition(0) });
    let effects = bare.feed(Input::Committed { transaction: running });
    let transaction = transaction_of(&effects).expect("what the next owner has to know");
    let of_lane = transaction.ledger.iter().filter(|write| write.partition == Partition(0));
    let records: Vec<_> = of_lane.filter_map(|write| write.record.as_ref()).collect();
    let [record] = records[..] else { panic!("{transaction:?}") };
    assert_eq!(record.state, BatchState::Deferred);
    assert_eq!(record.retried, deferred(0, 2).retried);
    let ended = transaction.ledger.iter().filter(|write| write.record.is_none()).count();
    assert_eq!(ended, 1, "the deferral before it: {transaction:?}");
}

#[test]
fn a_revoked_lane_of_which_nothing_has_changed_is_released_at_once() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    bare.replay((0, 1), vec![record(BatchState::Intended, &[0], 1)]);
    bare.read((0, 1), &[(0, &sale(1, "o1"))]);
    let effects = bare.feed(Input::Revoked { partition: Partition(0) });
    assert!(matches!(effects[..], [Effect::Release { .. }]), "{effects:?}");
}

#[test]
fn a_deferred_unclaim_is_guarded_again_after_a_restart() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    let action = crate::model::Action::Unclaim;
    bare.replay((0, 1), vec![LedgerRecord { action, ..deferred(0, 1) }]);
    let mut effects = bare.read((0, 1), &[(0, &command(Cause::Return, 1, None, "o1"))]);
    effects.extend(bare.feed(Input::TimePassed));
    assert!(effects.iter().any(|e| matches!(e, Effect::Lookup { .. })), "{effects:?}");
}

#[test]
fn the_halves_of_a_rejected_batch_are_written_where_the_whole_ends() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    bare.replay((0, 1), Vec::new());
    bare.read((0, 1), &[(0, &sale(1, "o1")), (1, &sale(2, "o1"))]);
    let number = bare.run_until(number_of_commit);
    let effects = bare.feed(Input::Committed { transaction: number });
    let call = effects.iter().find_map(call_of_submit).unwrap();
    let rejected = CallFailure::Rejected {
        status: "INVALID_ARGUMENT".into(),
        identifier: None,
        message: "test".into(),
        named: crate::model::Named::default(),
    };
    let effects = bare.feed(Input::Submitted { call, result: Err(rejected) });
    let transaction = transaction_of(&effects).unwrap();
    let records: Vec<_> = transaction.ledger.iter().map(|write| &write.record).collect();
    assert_eq!(records.iter().filter(|record| record.is_none()).count(), 1, "the whole");
    let open = records.iter().filter_map(|record| record.as_ref()).map(|record| &record.open);
    let mut open: Vec<_> = open.flat_map(OffsetSet::iter).collect();
    open.sort_unstable();
    assert_eq!(open, [Offset(0), Offset(1)], "{transaction:?}");
}

#[test]
fn that_an_answer_was_lost_before_a_batch_was_halved_outlives_a_restart() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    // Intended by an earlier owner, and perhaps sent.
    bare.replay((0, 1), vec![record(BatchState::Intended, &[0, 1], 1)]);
    bare.read((0, 1), &[(0, &sale(1, "o1")), (1, &sale(2, "o1"))]);
    let submit = |bare: &mut Bare| {
        let number = bare.run_until(number_of_commit);
        let effects = bare.feed(Input::Committed { transaction: number });
        effects.iter().find_map(call_of_submit)
    };
    let call = submit(&mut bare).unwrap();
    let rejected = CallFailure::Rejected {
        status: "INVALID_ARGUMENT".into(),
        identifier: None,
        message: "test".into(),
        named: crate::model::Named::default(),
    };
    let effects = bare.feed(Input::Submitted { call, result: Err(rejected) });
    let number = effects.iter().find_map(number_of_commit).unwrap();
    let effects = bare.feed(Input::Committed { transaction: number });
    let call = effects.iter().find_map(call_of_submit).or_else(|| submit(&mut bare)).unwrap();
    let effects = bare.feed(Input::Submitted { call, result: Ok("operations/1".into()) });
    let transaction = transaction_of(&effects).unwrap();
    let accepted = transaction.ledger.iter().filter_map(|write| write.record.as_ref());
    let accepted: Vec<_> =
        accepted.filter(|record| matches!(record.state, BatchState::Accepted { .. })).collect();
    let [record] = accepted[..] else { panic!("{transaction:?}") };
    assert!(record.attempt > 1, "the next owner has to know: {record:?}");
}

#[test]
fn an_unknown_operation_is_asked_for_again_until_the_grace_time_is_over() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    bare.replay((0, 1), vec![record(accepted(), &[0], 1)]);
    let mut effects = bare.read((0, 1), &[(0, &sale(1, "o1"))]);
    effects.extend(bare.feed(Input::TimePassed));
    let first = effects.iter().find_map(call_of_poll).unwrap();
    let gone = |bare: &mut Bare, call| {
        let effects = bare.feed(Input::Polled { call, result: Err(CallFailure::NotFound) });
        let looks_up = effects.iter().any(|e| matches!(e, Effect::Lookup { .. }));
        (bare.now, looks_up)
    };
    // Known again in between: the time counts anew.
    assert!(!gone(&mut bare, first).1);
    let call = bare.run_until(call_of_poll);
    let running = Ok(OperationReply::Running { progress: None });
    bare.feed(Input::Polled { call, result: running });
    let mut since: Option<Mono> = None;
    loop {
        let call = bare.run_until(call_of_poll);
        let (now, looks_up) = gone(&mut bare, call);
        let since = *since.get_or_insert(now);
        let grace_is_over = now.since(since) >= options().ambiguous_grace;
        assert_eq!(looks_up, grace_is_over);
        if looks_up {
            return;
        }
    }
}

#[test]
fn no_ledger_record_outgrows_what_a_broker_takes() {
    let devices = u64::try_from(RECORD_OFFSETS_MAX).unwrap() + 100;
    let mut world = World::new(Options { batch_items_max: 100_000, ..options() }, 1);
    for device in 0..devices {
        world.write(0, sale(device, "o1"));
    }
    world.crash();
    world.run();
    world.read_all();
    world.run_fast();
    let sizes: Vec<usize> = world.submits.iter().map(|submit| submit.2).collect();
    assert_eq!(sizes, [RECORD_OFFSETS_MAX, 100]);
    world.assert_settled();
}

#[test]
fn no_device_takes_more_commands_into_one_than_a_record_can_name() {
    let mut world = World::new(options(), 1);
    for _ in 0..2 * crate::engine::slots::FOLDED_MAX {
        world.write(0, amendment(1, "phonenumber", "1"));
    }
    world.crash();
    world.run();
    world.read_all();
    world.run_fast();
    assert_eq!(world.submits.len(), 2);
    world.assert_settled();
}

#[test]
fn metadata_is_merged_only_as_far_as_one_command_may_carry_it() {
    let mut world = World::new(options(), 1);
    for key in ["a", "b", "c"] {
        world.write(0, amendment(1, key, &"x".repeat(1_500)));
    }
    world.crash();
    world.run();
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded", "merged", "succeeded"]);
    assert_eq!(world.metadata(1, "c").map(str::len), Some(1_500));
    world.assert_settled();
}

#[test]
fn the_head_of_a_lane_names_the_batch_that_holds_it_and_for_how_long() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    bare.replay((0, 1), vec![record(accepted(), &[0], 1)]);
    bare.read((0, 1), &[(0, &sale(1, "o1")), (1, &sale(2, "o1"))]);
    bare.after(Duration::from_secs(90), Input::TimePassed);
    let heads = bare.worker.heads(bare.at());
    let [head] = &heads[..] else { panic!("{heads:?}") };
    assert_eq!((head.partition, head.offset, head.held_seconds), (0, 0, 90));
    assert_eq!((head.stage, head.attempts), ("in_batch", 1));
    let batch = head.batch.as_ref().unwrap();
    assert_eq!((batch.phase, batch.operation.as_deref()), ("polling", Some("operations/1")));
    assert_eq!(batch.id, record(accepted(), &[0], 1).batch);
}

//! One rule a test.

use std::time::Duration;

use super::bare::{Bare, accepted, call_of_poll, call_of_submit, number_of_commit, record};
use super::world::{World, command, options};
use crate::engine::{Effect, GuardMode, Input, Mono, Now, Options};
use crate::model::{
    Action, BatchState, CallFailure, Cause, Command, Epoch, Metadata, Offset, OperationReply,
    PackedCommand, Partition,
};

pub(super) fn world(options: Options) -> World {
    let mut world = World::new(options, 1);
    world.assign(0);
    world.run();
    world
}

pub(super) fn sale(device: u64, customer: &str, order: &str) -> Command {
    command(Cause::Sale, device, Some(customer), order)
}

fn amendment(device: u64, key: &str, value: &str) -> Command {
    let metadata: Metadata = std::iter::once((key.into(), value.into())).collect();
    Command { metadata, ..command(Cause::Amendment, device, None, "a") }
}

#[test]
fn a_sale_is_claimed_and_answered() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded"]);
    assert_eq!(world.owner(1), Some("7"));
    world.assert_settled();
}

#[test]
fn a_device_alone_leaves_within_the_linger() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    let began = world.now;
    world.run();
    let waited = world.submits[0].0.since(began);
    assert!(waited <= Duration::from_millis(60), "{waited:?}");
}

#[test]
fn while_the_quota_is_scarce_no_call_leaves_less_than_full() {
    let mut options = options();
    options.accounts[0].quota_calls = 10;
    options.accounts[0].quota_window = Duration::from_secs(10);
    options.batch_items_max = 100;
    let mut world = world(options);
    for device in 0..2_000 {
        world.write(0, sale(device, "7", "o1"));
    }
    world.read_all();
    world.run();
    let sizes: Vec<usize> = world.submits.iter().map(|submit| submit.2).collect();
    assert_eq!(sizes, vec![100; 20]);
    world.assert_settled();
}

#[test]
fn sale_return_and_sale_to_another_customer_end_with_the_last() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.write(0, command(Cause::Return, 1, None, "o1"));
    world.write(0, sale(1, "8", "o2"));
    world.read_all();
    world.run();
    assert_eq!(world.owner(1), Some("8"));
    assert_eq!(world.statuses(0), ["superseded", "succeeded", "succeeded"]);
    world.assert_settled();
}

#[test]
fn a_cancellation_annihilates_the_unsent_claim_without_a_call() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.write(0, amendment(1, "phonenumber", "1"));
    world.write(0, command(Cause::Cancellation, 1, None, "o1"));
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["cancelled", "cancelled", "cancelled"]);
    assert_eq!((world.submits.len(), world.lookups), (0, 0));
    world.assert_settled();
}

#[test]
fn a_cancellation_after_the_claim_was_sent_unclaims() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run_until_sent(1);
    world.write(0, command(Cause::Cancellation, 1, None, "o1"));
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded", "succeeded"]);
    assert_eq!(world.owner(1), None);
    world.assert_settled();
}

#[test]
fn a_cancellation_after_the_same_sale_twice_leaves_nothing_claimed() {
    // The first one is on its way, or done, when the second one is waiting.
    for is_done in [false, true] {
        let mut world = world(options());
        world.write(0, sale(1, "7", "o1"));
        world.read_all();
        world.run_until_sent(1);
        if is_done {
            world.run();
        }
        world.write(0, sale(1, "7", "o1"));
        world.write(0, command(Cause::Cancellation, 1, None, "o1"));
        world.read_all();
        world.run();
        assert_eq!(world.statuses(0), ["succeeded", "superseded", "succeeded"]);
        assert_eq!(world.owner(1), None);
        world.assert_settled();
    }
}

#[test]
fn a_claim_superseded_by_its_cancellation_is_restored_as_the_unclaim_that_it_became() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run();
    world.write(0, sale(1, "7", "o1"));
    world.write(0, command(Cause::Cancellation, 1, None, "o1"));
    world.read_all();
    world.run_until_sent(2);
    world.run_commits();
    world.crash();
    world.run();
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded", "superseded", "succeeded"]);
    assert_eq!(world.owner(1), None);
    world.assert_settled();
}

#[test]
fn metadata_rides_with_the_unsent_claim_and_the_last_writer_wins() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.write(0, amendment(1, "phonenumber", "1"));
    world.write(0, amendment(1, "phonenumber", "2"));
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded", "merged", "merged"]);
    assert_eq!(world.metadata(1, "phonenumber"), Some("2"));
    let claim = world.log[&Partition(0)][0].id();
    let deciders = world.outcomes.iter().filter_map(|o| o.verdict.decided_by);
    assert_eq!(deciders.collect::<Vec<_>>(), [claim, claim]);
    world.assert_settled();
}

#[test]
fn a_return_of_an_older_order_is_stale() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o2"));
    world.read_all();
    world.run();
    world.write(0, command(Cause::Return, 1, None, "o1"));
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded", "stale"]);
    assert_eq!(world.owner(1), Some("7"));
    assert_eq!(world.lookups, 0, "the lane knew");
    world.assert_settled();
}

#[test]
fn what_the_lane_does_not_know_is_looked_up() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o2"));
    world.read_all();
    world.run();
    world.crash();
    world.write(0, command(Cause::Return, 1, None, "o1"));
    world.run();
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded", "stale"]);
    assert_eq!(world.lookups, 1);
    world.assert_settled();
}

#[test]
fn without_the_guard_nothing_is_looked_up() {
    let mut world = world(Options { guard: GuardMode::Never, ..options() });
    world.write(0, command(Cause::Return, 1, None, "o1"));
    world.read_all();
    world.run();
    assert_eq!((world.statuses(0), world.lookups), (vec!["succeeded"], 0));
    assert_eq!(world.submits.len(), 1);
}

#[test]
fn a_claim_of_a_device_that_another_customer_holds_fails_and_says_so() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run();
    world.write(0, sale(1, "8", "o2"));
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded", "failed"]);
    let failure = world.outcomes[1].verdict.failure.as_ref().unwrap();
    assert_eq!(failure.code.as_str(), "device.claimed_by_other_customer");
    assert_eq!(world.owner(1), Some("7"));
    world.assert_settled();
}

#[test]
fn past_the_bound_partitions_pause_and_resume_at_three_quarters() {
    let mut world = World::new(Options { commands_max: 100, ..options() }, 1);
    world.assign(0);
    world.run();
    for device in 0..100 {
        world.write(0, sale(device, "7", "o1"));
    }
    world.read_all();
    assert!(world.worker.report().paused);
    world.run();
    assert!(!world.worker.report().paused);
    world.assert_settled();
}

#[test]
fn a_partition_is_released_only_after_its_transaction_has_ended() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run();
    let now: Now = world.at();
    // An outcome is on its way when the revocation comes.
    let epoch = Epoch(1);
    let content = crate::engine::CommandContent::Foreign(
        crate::engine::ForeignRecord { key: None, payload: None, reason: "test".into() }.into(),
    );
    let commands = vec![crate::engine::CommandRead { offset: Offset(1), content }];
    world.worker.handle(now, Input::CommandsRead { partition: Partition(0), epoch, commands });
    let number = match world.worker.next_effect() {
        Some(Effect::Commit(transaction)) => transaction.number,
        other => panic!("{other:?}"),
    };
    world.worker.handle(now, Input::Revoked { partition: Partition(0) });
    assert!(world.worker.next_effect().is_none());
    world.worker.handle(now, Input::Committed { transaction: number });
    assert!(matches!(world.worker.next_effect(), Some(Effect::Release { .. })));
}

#[test]
fn a_drain_ends_at_once_and_the_next_owner_goes_on_polling() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run_until_sent(1);
    world.worker.handle(world.at(), Input::DrainRequested);
    assert!(world.worker.next_effect().is_none(), "the call's answer is waited for");
    world.run();
    let record = world.ledger.values().next().unwrap();
    assert!(matches!(record.state, BatchState::Accepted { .. }));
    world.crash();
    world.run();
    world.read_all();
    world.run();
    assert_eq!(world.submits.len(), 1, "nothing is sent twice");
    assert_eq!(world.submits[0].1, Action::Claim);
    world.assert_settled();
}

#[test]
fn while_more_is_known_to_wait_a_batch_is_not_closed_early() {
    let mut world = world(Options { batch_items_max: 10, ..options() });
    let read = |world: &mut World, devices: std::ops::Range<u64>| {
        let commands = devices
            .map(|device| {
                let command = sale(device, "7", "o1");
                crate::engine::CommandRead {
                    offset: Offset(i64::try_from(device).unwrap()),
                    content: crate::engine::CommandContent::Command {
                        facts: command.facts().unwrap(),
                        account: Some(0),
                        packed: PackedCommand::pack(&command),
                        purpose: None,
                    },
                }
            })
            .collect();
        let (partition, epoch) = (Partition(0), Epoch(1));
        world.worker.handle(world.at(), Input::CommandsRead { partition, epoch, commands });
    };
    read(&mut world, 0..6);
    // A hiccup of the broker, longer than the linger: the partition has more, so nothing goes out.
    world.now = world.now + Duration::from_millis(500);
    world.worker.handle(world.at(), Input::TimePassed);
    assert!(world.worker.next_effect().is_none());
    read(&mut world, 6..10);
    assert!(matches!(world.worker.next_effect(), Some(Effect::Commit(_))), "full, so it goes");
}

#[test]
fn a_batch_does_not_wait_for_commands_that_the_topic_has_lost() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.write(0, sale(2, "7", "o1"));
    world.read_all();
    world.run_until_sent(1);
    world.run_commits();
    world.crash();
    world.run();
    world.forget_before(0, 1);
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded"]);
    assert_eq!(world.ledger.len(), 0, "{:?}", world.ledger);
    assert_eq!(world.worker.report().accounts[0].batches, 0);
}

#[test]
fn what_of_an_aborted_transaction_belongs_to_a_lost_lane_is_not_written_again() {
    let mut bare = Bare::new(options());
    for partition in [0, 1] {
        bare.assign(partition, 1);
        bare.replay((partition, 1), Vec::new());
    }
    bare.read((0, 1), &[(0, &sale(1, "7", "o1"))]);
    let number = bare.run_until(number_of_commit);
    // Refused, since the member is no longer known; only then it hears that its lanes are lost.
    assert!(bare.feed(Input::Aborted { transaction: number }).is_empty());
    bare.feed(Input::Lost { partition: Partition(0) });
    bare.feed(Input::Lost { partition: Partition(1) });
    bare.assign(1, 2);
    bare.replay((1, 2), Vec::new());
    let effects = bare.after(Duration::from_secs(60), Input::TimePassed);
    assert!(effects.iter().all(|effect| number_of_commit(effect).is_none()), "{effects:?}");
}

#[test]
fn an_operation_accepted_after_a_lost_answer_has_the_whole_time() {
    let mut bare = Bare::new(options());
    let deadline = options().operation_deadline;
    bare.assign(0, 1);
    bare.replay((0, 1), Vec::new());
    bare.read((0, 1), &[(0, &sale(1, "7", "o1"))]);
    let number = bare.run_until(number_of_commit);
    let effects = bare.feed(Input::Committed { transaction: number });
    let call = effects.iter().find_map(call_of_submit).unwrap();
    let lost = CallFailure::Ambiguous { reason: "test".into() };
    bare.feed(Input::Submitted { call, result: Err(lost) });
    let number = bare.run_until(number_of_commit);
    let effects = bare.feed(Input::Committed { transaction: number });
    let call = effects.iter().find_map(call_of_submit).unwrap();
    // The answer comes when the deadline of the first call has nearly passed.
    bare.now = Mono(1) + deadline.saturating_sub(Duration::from_secs(1));
    let effects = bare.feed(Input::Submitted { call, result: Ok("operations/1".into()) });
    let transaction = effects.iter().find_map(number_of_commit).unwrap();
    bare.feed(Input::Committed { transaction });
    let effects = bare.after(Duration::from_secs(2), Input::TimePassed);
    assert!(effects.iter().any(|effect| call_of_poll(effect).is_some()), "{effects:?}");
}

#[test]
fn a_deadline_written_by_a_clock_far_ahead_does_not_hold_the_lane() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    let far = jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(400 * 24 * 3_600);
    bare.replay(
        (0, 1),
        vec![crate::model::LedgerRecord { deadline: far, ..record(accepted(), &[0], 1) }],
    );
    let mut effects = bare.read((0, 1), &[(0, &sale(1, "7", "o1"))]);
    effects.extend(bare.feed(Input::TimePassed));
    let call = effects.iter().find_map(call_of_poll).unwrap();
    let running = Ok(OperationReply::Running { progress: None });
    bare.after(options().operation_deadline, Input::Polled { call, result: running });
    let is_lookup = |effect: &Effect| matches!(effect, Effect::Lookup { .. }).then_some(());
    bare.run_until(is_lookup);
}

#[test]
fn that_an_answer_was_lost_before_the_last_call_outlives_a_restart() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    bare.replay((0, 1), vec![record(accepted(), &[0], 2)]);
    let mut effects = bare.read((0, 1), &[(0, &sale(1, "7", "o1"))]);
    effects.extend(bare.feed(Input::TimePassed));
    let call = effects.iter().find_map(call_of_poll).unwrap();
    let fault = crate::model::DeviceFault {
        code: crate::model::FailureCode::DeviceLimitExceeded,
        api_status: "SINGLE_DEVICE_STATUS_DEVICE_LIMIT_EXCEEDED".into(),
        api_identifier: None,
        api_message: None,
        retryable: false,
    };
    let results = vec![crate::model::DeviceResult {
        device: Some(sale(1, "7", "o1").facts().unwrap().device),
        verdict: crate::model::DeviceVerdict::Failed(Box::new(fault)),
    }];
    let effects = bare.feed(Input::Polled { call, result: Ok(OperationReply::Done { results }) });
    // The call before may have claimed the device.
    assert!(matches!(effects[..], [Effect::Lookup { .. }]), "{effects:?}");
}

#[test]
fn a_claim_without_its_metadata_is_no_success_once_its_operation_is_given_up() {
    let mut bare = Bare::new(options());
    bare.assign(0, 1);
    bare.now = Mono(1) + Duration::from_secs(700);
    bare.replay((0, 1), vec![record(accepted(), &[0], 1)]);
    let mut effects = bare.read((0, 1), &[(0, &sale(1, "7", "o2"))]);
    effects.extend(bare.feed(Input::TimePassed));
    // The deadline passed while nobody was there: the operation is asked for once all the same.
    let call = effects.iter().find_map(call_of_poll).unwrap();
    let running = Ok(OperationReply::Running { progress: None });
    bare.feed(Input::Polled { call, result: running });
    let call = bare.run_until(|effect| match effect {
        Effect::Lookup { call, .. } => Some(*call),
        _ => None,
    });
    // Claimed for the same customer by an earlier order.
    let state = crate::model::DeviceState {
        device_id: Some("1".into()),
        owner: Some(crate::model::Customer::ZeroTouch("7".into())),
        reseller: Some("1".into()),
        metadata: std::iter::once(("ordernumber".into(), "o1".into())).collect(),
    };
    let effects = bare.feed(Input::LookedUp { call, result: Ok(Some(state)) });
    let [Effect::Commit(transaction)] = &effects[..] else { panic!("{effects:?}") };
    let statuses: Vec<_> =
        transaction.outcomes.iter().map(|outcome| outcome.verdict.status.as_str()).collect();
    assert_eq!(statuses, ["unresolved"]);
}

#[test]
fn a_full_memory_does_not_keep_a_restored_batch_from_its_commands() {
    let mut bare = Bare::new(Options { commands_max: 2, operations_max: 1, ..options() });
    bare.assign(0, 1);
    bare.replay((0, 1), Vec::new());
    bare.assign(1, 1);
    bare.replay((1, 1), vec![record(accepted(), &[0], 1)]);
    // The other lane fills the memory with commands that wait for the place of the operation.
    let (first, second) = (sale(1, "7", "o1"), sale(2, "7", "o1"));
    let effects = bare.read((0, 1), &[(0, &first), (1, &second)]);
    let paused: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Pause(lanes) => Some(lanes.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(paused, [vec![Partition(0)]], "the lane that is being restored is read on");
    let mut effects = bare.read((1, 1), &[(0, &sale(3, "7", "o1"))]);
    effects.extend(bare.feed(Input::TimePassed));
    assert!(effects.iter().any(|effect| call_of_poll(effect).is_some()), "{effects:?}");
    let is_paused =
        |effect: &Effect| matches!(effect, Effect::Pause(lanes) if lanes[..] == [Partition(1)]);
    assert!(effects.iter().any(is_paused), "restored, it pauses like the others: {effects:?}");
}

#[test]
fn a_partition_is_not_released_before_the_answer_to_its_call_is_written_down() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run_until_sent(1);
    // The call is out, its answer on the way.
    world.worker.handle(world.at(), Input::Revoked { partition: Partition(0) });
    assert!(world.worker.next_effect().is_none());
    world.run_commits();
    assert!(world.released.contains(&Partition(0)));
    let record = world.ledger.values().next().unwrap();
    assert!(matches!(record.state, BatchState::Accepted { .. }), "{record:?}");
}

#[test]
fn a_partition_is_released_in_time_even_if_the_answer_never_comes() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run_until_sent(1);
    world.drop_answers();
    world.feed(Input::Revoked { partition: Partition(0) });
    assert!(world.released.is_empty());
    world.run();
    assert!(world.released.contains(&Partition(0)));
}

#[test]
fn a_long_queue_of_stale_unclaims_is_decided_in_order_and_without_nesting() {
    let mut world = world(Options { commands_max: 1_000_000, ..options() });
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    for order in 0..20_000 {
        world.write(0, command(Cause::Return, 1, None, &format!("other-{order}")));
    }
    world.read_all();
    world.run_fast();
    let offsets: Vec<i64> = world.outcomes.iter().map(|outcome| outcome.offset.0).collect();
    assert!(offsets.is_sorted(), "outcomes of one device come in its order");
    assert_eq!(world.statuses(0).iter().filter(|status| **status == "stale").count(), 20_000);
    assert_eq!(world.owner(1), Some("7"));
}

#[test]
fn an_outage_longer_than_the_deadline_fails_nothing() {
    let mut world = world(Options { batch_items_max: 10, ..options() });
    for device in 0..100 {
        world.write(0, sale(device, "7", "o1"));
    }
    world.read_all();
    world.is_down = true;
    world.run_for(Duration::from_secs(30));
    assert!(world.worker.report().accounts[0].batches < 8, "an outage is not met by more calls");
    world.run_for(Duration::from_hours(3));
    world.is_down = false;
    world.run();
    assert_eq!(world.statuses(0), vec!["succeeded"; 100]);
    world.assert_settled();
}

#[test]
fn a_paused_account_sends_nothing_new_goes_on_polling_and_catches_up_when_resumed() {
    let mut world = world(options());
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run_until_sent(1);
    let pause = |paused| Input::AccountPaused { account: 0, paused };
    world.feed(pause(true));
    world.write(0, sale(2, "7", "o2"));
    world.read_all();
    world.run();
    assert_eq!(world.statuses(0), ["succeeded"], "what was under way has been polled to its end");
    assert_eq!(world.submits.len(), 1);
    let now = world.at();
    assert_eq!(world.worker.wake_at(now), None, "nothing is waited for but the person");
    let report = world.worker.report();
    assert!(report.accounts[0].paused && report.accounts[0].ready == [1, 0, 0], "{report:?}");
    world.feed(pause(false));
    world.run();
    assert_eq!(world.statuses(0), ["succeeded", "succeeded"]);
    world.assert_settled();
}

#[test]
fn time_spent_waiting_for_the_quota_is_counted_and_no_other() {
    let mut options = options();
    options.accounts[0].quota_calls = 10;
    options.accounts[0].quota_window = Duration::from_secs(10);
    options.batch_items_max = 1;
    let mut world = world(options);
    for device in 0..10 {
        world.write(0, sale(device, "7", "o1"));
    }
    world.read_all();
    world.run();
    let waited = world.worker.report().accounts[0].quota_wait_seconds;
    let took = world.now.since(Mono::default()).as_secs_f64();
    assert!(waited > 5.0 && waited < took, "{waited} of {took}");
    world.now = world.now + Duration::from_secs(1_000);
    world.worker.handle(world.at(), Input::TimePassed);
    let after = world.worker.report().accounts[0].quota_wait_seconds;
    assert!(after - waited < 1.0, "{after}");
}

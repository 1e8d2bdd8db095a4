//! For each invariant a history that holds and several that break it; and random ones.

mod random;
mod world;

use jiff::SignedDuration;

use crate::model::{FailureCode, Status};

use self::world::{World, customer};
use super::{Invariant, Orders, Report, check};

/// Which invariants a report says are broken.
fn broken(report: &Report) -> Vec<Invariant> {
    report.checks.iter().filter(|check| !check.held).map(|check| check.invariant).collect()
}

/// The violations of one invariant, which must be the only one broken.
fn violations(world: &World, invariant: Invariant) -> String {
    let report = world.check();
    assert_eq!(broken(&report), [invariant], "{report}");
    report.checks[invariant as usize].violations.join("\n")
}

#[track_caller]
fn assert_held(world: &World) {
    let report = world.check();
    assert!(report.held(), "{report}");
}

/// Sales, a merge, an annihilation, a supersession, a stale return, garbage, an invalid line.
fn busy() -> World {
    let mut world = World::default();
    let first = world.sale(0, "A", "1");
    let amended = world.amendment(0, "A", "555");
    world.commit();
    world.send(first, &[amended]);
    world.decide(first, Status::Succeeded, None);
    world.decide(amended, Status::Merged, Some(first));
    world.garbage();
    let sold = world.sale(1, "B", "1");
    let cancelled = world.cancellation(1, "B");
    world.decide(sold, Status::Cancelled, Some(cancelled));
    world.decide(cancelled, Status::Cancelled, Some(sold));
    world.invalid_line();
    let (sold, returned) = (world.sale(3, "C", "1"), world.giving_back(3, "C"));
    let resold = world.sale(3, "D", "2");
    let late = world.giving_back(3, "C");
    world.decide(sold, Status::Superseded, Some(returned));
    world.succeed(returned);
    world.succeed(resold);
    world.decide(late, Status::Stale, None);
    world.rest()
}

#[test]
fn a_busy_history_without_fault_holds_and_everything_in_it_is_counted() {
    let report = busy().check();
    insta::assert_snapshot!(report, @r"
    I1 held     one outcome for every command (18 looked at: commands, lines, dead letters)
    I2 held     devices end as their commands say (3 looked at: devices)
    I3 held     one operation at a time for a device (3 looked at: devices in operations)
    I4 held     no offset committed ahead of its outcome (6 looked at: committed offsets)
    ");
}

#[test]
fn without_orders_an_invalid_line_is_undetermined() {
    let report = check(&busy().history, Orders::Unknown);
    assert!(report.held(), "{report}");
    assert_eq!(report.checks[0].undetermined, 1);
}

#[test]
fn nothing_at_all_holds_but_proves_nothing() {
    let report = World::default().check();
    assert!(report.held() && !report.is_complete());
    assert!(report.to_string().starts_with("I1 untested"), "{report}");
    assert!(busy().check().is_complete());
}

#[test]
fn a_lost_outcome_is_found_by_i1_and_by_i4() {
    let mut world = busy();
    world.history.outcomes.retain(|outcome| outcome.status != Status::Stale);
    let report = world.check();
    assert_eq!(broken(&report), [Invariant::I1, Invariant::I4], "{report}");
}

#[test]
fn a_second_outcome_a_foreign_outcome_and_a_wrong_outcome_id_break_i1() {
    let mut world = busy();
    let mut again = world.history.outcomes[0].clone();
    world.history.outcomes.push(again.clone());
    assert_eq!(violations(&world, Invariant::I1), "command 0/1 (imei:…0000) has 2 outcomes");
    world.history.outcomes.pop();
    again.command_id = crate::model::CommandId(uuid::Uuid::nil());
    world.history.outcomes.push(again);
    let text = violations(&world, Invariant::I1);
    assert!(text.contains("unknown command") && text.contains("of another"), "{text}");
}

#[test]
fn an_outcome_about_another_device_breaks_i1() {
    let mut world = busy();
    world.history.outcomes[0].device = Some(world::key(7));
    assert!(violations(&world, Invariant::I1).contains("is about claim of imei:…0007"));
}

#[test]
fn a_copy_of_a_command_breaks_i1() {
    let mut world = busy();
    let mut copy = world.history.commands[2].clone();
    copy.offset += 100;
    world.history.commands.push(copy);
    assert!(violations(&world, Invariant::I1).contains("second copy"));
}

#[test]
fn an_order_line_without_command_and_a_command_without_order_line_break_i1() {
    let mut world = busy();
    let order = world.orders.pop().unwrap();
    assert!(violations(&world, Invariant::I1).contains("no order line asked for command 0/"));
    world.orders.push(order.clone());
    let source = crate::model::Source { offset: 99, ..order.source };
    world.orders.push(super::OrderSeen { source, ..order });
    assert!(violations(&world, Invariant::I1).contains("orders/0/99 (unclaim) has no command"));
}

#[test]
fn a_command_that_says_something_else_than_its_order_breaks_i1() {
    let mut world = busy();
    world.history.commands[1].metadata.insert("phonenumber".into(), "556".into());
    let report = world.check();
    assert!(
        report.checks[0].violations[0].ends_with("differs from it in its metadata"),
        "{report}"
    );
}

#[test]
fn the_order_number_may_be_added_to_metadata_but_nothing_else() {
    let mut world = busy();
    world.history.commands[1].metadata.insert("ordernumber".into(), "A".into());
    assert_held(&world);
    world.history.commands[1].metadata.insert("ordernumber".into(), "B".into());
    assert!(!world.check().checks[0].held);
}

#[test]
fn a_missing_and_a_needless_dead_letter_break_i1() {
    let mut world = busy();
    let mut letter = world.history.dead_letters.pop().unwrap();
    assert!(violations(&world, Invariant::I1).contains("has 0 dead letters"));
    world.history.dead_letters.push(letter.clone());
    letter.source.offset = 0;
    world.history.dead_letters.push(letter);
    assert!(violations(&world, Invariant::I1).contains("readable record orders/0/0"));
}

#[test]
fn an_invalid_line_that_is_let_through_breaks_i1() {
    let mut world = busy();
    let is_refusal = |o: &&mut super::OutcomeSeen| o.code == Some(FailureCode::InvalidImei);
    world.history.outcomes.iter_mut().find(is_refusal).unwrap().status = Status::Succeeded;
    assert!(violations(&world, Invariant::I1).contains("not as failed with input.*"));
}

#[test]
fn a_wrong_owner_at_the_end_breaks_i2() {
    let mut world = busy();
    world.history.changes.clear();
    world.history.devices[0].owner = Some(customer("9"));
    let text = violations(&world, Invariant::I2);
    assert_eq!(text, "imei:…0000: ends with 9, its commands say another owner");
    world.history.devices.remove(0);
    assert!(violations(&world, Invariant::I2).contains("ends with no owner"));
}

#[test]
fn metadata_that_is_lost_or_comes_from_nowhere_breaks_i2() {
    let mut world = busy();
    world.history.devices[0].metadata.remove("phonenumber");
    assert!(violations(&world, Invariant::I2).contains("wrong metadata under \"phonenumber\""));
    let mut world = busy();
    world.history.devices[0].metadata.insert("colour".into(), "red".into());
    assert!(violations(&world, Invariant::I2).contains("wrong metadata under \"colour\""));
}

#[test]
fn an_empty_value_deletes_its_key() {
    let mut world = World::default();
    for command in
        [world.sale(0, "A", "1"), world.amendment(0, "A", "555"), world.amendment(0, "A", "")]
    {
        world.succeed(command);
    }
    let mut world = world.rest();
    assert_held(&world);
    world.history.devices[0].metadata.insert("phonenumber".into(), "555".into());
    assert!(violations(&world, Invariant::I2).contains("phonenumber"));
}

#[test]
fn a_device_claimed_or_changed_by_no_command_breaks_i2() {
    let mut world = busy();
    let mut foreign = world.history.devices[0].clone();
    foreign.device = world::key(50);
    world.history.devices.push(foreign);
    let mut change = world.history.changes[0].clone();
    change.device = world::key(51);
    world.history.changes.push(change);
    let text = violations(&world, Invariant::I2);
    assert!(text.contains("0050: claimed, but") && text.contains("0051: changed, but"), "{text}");
}

#[test]
fn a_superseded_claim_that_was_sent_all_the_same_breaks_i2() {
    let mut world = World::default();
    let (sold, returned) = (world.sale(0, "A", "1"), world.giving_back(0, "A"));
    world.send(sold, &[]);
    world.decide(sold, Status::Superseded, Some(returned));
    world.succeed(returned);
    let text = violations(&world.rest(), Invariant::I2);
    assert!(text.contains("went from no owner to 1") && text.contains("by no command"), "{text}");
}

#[test]
fn commands_of_a_device_in_two_partitions_break_i2() {
    let mut world = busy();
    world.history.commands[1].partition = 2;
    world.history.watermarks.clear();
    assert!(violations(&world, Invariant::I2).contains("more than one partition"));
}

/// Two sales of one device and a return between them, folded as `fold` likes.
fn folded(fold: impl FnOnce(&mut World, usize, usize, usize)) -> Report {
    let mut world = World::default();
    let sold = world.sale(0, "A", "1");
    let returned = world.giving_back(0, "A");
    let resold = world.sale(0, "B", "2");
    fold(&mut world, sold, returned, resold);
    world.rest().check()
}

#[test]
fn a_sale_may_not_be_lost_to_another_customers_claim() {
    let report = folded(|world, sold, returned, resold| {
        world.decide(sold, Status::Superseded, Some(resold));
        world.decide(returned, Status::Superseded, Some(resold));
        world.succeed(resold);
    });
    assert_eq!(broken(&report), [Invariant::I2], "{report}");
    assert!(report.checks[1].violations[0].contains("may not be superseded"), "{report}");
}

#[test]
fn a_return_may_not_give_way_to_a_claim_that_finds_the_device_taken() {
    let report = folded(|world, sold, returned, resold| {
        world.succeed(sold);
        world.decide(returned, Status::Superseded, Some(resold));
        world.decide(resold, Status::Failed, None);
    });
    assert_eq!(broken(&report), [Invariant::I2], "{report}");
    let report = folded(|world, sold, returned, resold| {
        world.decide(sold, Status::Superseded, Some(returned));
        world.decide(returned, Status::Superseded, Some(resold));
        world.succeed(resold);
    });
    assert!(report.held(), "{report}");
}

#[test]
fn a_return_is_not_stale_while_its_order_holds_the_device() {
    let report = folded(|world, sold, returned, resold| {
        world.succeed(sold);
        world.decide(returned, Status::Stale, None);
        world.decide(resold, Status::Failed, None);
    });
    assert!(report.checks[1].violations[0].contains("is not stale"), "{report}");
}

#[test]
fn a_late_return_must_not_remove_a_newer_claim() {
    let mut world = World::default();
    for command in [
        world.sale(0, "A", "1"),
        world.giving_back(0, "A"),
        world.sale(0, "B", "2"),
        world.giving_back(0, "A"),
    ] {
        world.succeed(command);
    }
    assert!(
        violations(&world.rest(), Invariant::I2).contains("removed the newer claim of order B")
    );
}

#[test]
fn a_sale_may_not_give_way_to_a_stale_return_of_another_order() {
    let mut world = World::default();
    let (sold, stale) = (world.sale(0, "B", "1"), world.giving_back(0, "A"));
    world.decide(sold, Status::Superseded, Some(stale));
    world.decide(stale, Status::Stale, None);
    assert!(violations(&world.rest(), Invariant::I2).contains("is lost: it gave way to stale"));
}

#[test]
fn a_sale_whose_successor_was_cancelled_is_undetermined() {
    let mut world = World::default();
    let (sold, again) = (world.sale(0, "A", "1"), world.sale(0, "B", "1"));
    let cancelled = world.cancellation(0, "B");
    world.decide(sold, Status::Superseded, Some(again));
    world.decide(again, Status::Cancelled, Some(cancelled));
    world.decide(cancelled, Status::Cancelled, Some(again));
    let report = world.rest().check();
    assert!(report.held() && report.checks[1].undetermined == 1, "{report}");
}

#[test]
fn annihilation_takes_a_claim_and_the_cancellation_of_the_same_order() {
    for order in ["A", "B"] {
        let mut world = World::default();
        let (sold, cancelled) = (world.sale(0, "A", "1"), world.cancellation(0, order));
        world.decide(sold, Status::Cancelled, Some(cancelled));
        world.decide(cancelled, Status::Cancelled, None);
        assert_eq!(world.rest().check().held(), order == "A");
    }
    let mut world = World::default();
    let (sold, returned) = (world.sale(0, "A", "1"), world.giving_back(0, "A"));
    world.decide(sold, Status::Cancelled, Some(returned));
    world.decide(returned, Status::Cancelled, Some(sold));
    assert!(violations(&world.rest(), Invariant::I2).contains("may not be cancelled by"));
}

#[test]
fn a_folded_command_must_name_one_that_may_decide_it() {
    let mut world = World::default();
    let (sold, amended) = (world.sale(0, "A", "1"), world.amendment(0, "A", "5"));
    let foreign = world.sale(3, "B", "1");
    world.succeed(sold);
    world.succeed(foreign);
    for (by, text) in [(None, "names no other"), (Some(foreign), "names no other")] {
        world.decide(amended, Status::Merged, by);
        let report = world.check();
        assert!(report.checks[1].violations[0].contains(text), "{report}");
        world.history.outcomes.pop();
    }
    world.decide(amended, Status::Superseded, Some(sold));
    assert!(world.check().checks[1].violations[0].contains("an earlier command"));
}

#[test]
fn metadata_merged_into_a_failed_claim_is_not_expected() {
    let mut world = World::default();
    let (sold, amended) = (world.sale(0, "A", "1"), world.amendment(0, "A", "5"));
    world.decide(sold, Status::Failed, None);
    world.decide(amended, Status::Merged, Some(sold));
    assert_held(&world.rest());
}

#[test]
fn merges_that_name_each_other_end_and_are_undetermined_at_worst() {
    let mut world = World::default();
    let (one, two) = (world.amendment(0, "A", "5"), world.amendment(0, "A", "6"));
    world.decide(one, Status::Merged, Some(two));
    world.decide(two, Status::Merged, Some(one));
    assert_held(&world.rest());
}

#[test]
fn an_unresolved_claim_leaves_the_owner_undetermined_but_not_anybodys() {
    for (owner, held) in [(None, true), (Some("1"), true), (Some("2"), false)] {
        let mut world = World::default();
        let sold = world.sale(0, "A", "1");
        if owner.is_some() {
            world.send(sold, &[]);
        }
        world.decide(sold, Status::Unresolved, None);
        let mut world = world.rest();
        world.history.changes.clear();
        for device in &mut world.history.devices {
            device.owner = owner.map(customer);
        }
        let report = world.check();
        assert_eq!((report.checks[1].undetermined, report.held()), (1, held), "{report}");
    }
}

#[test]
fn a_log_of_changes_that_jumps_or_ends_elsewhere_breaks_i2() {
    let mut world = busy();
    world.history.changes.last_mut().unwrap().from = Some(customer("5"));
    assert!(violations(&world, Invariant::I2).contains("jumps from no owner to 5"));
    let mut world = busy();
    world.history.changes.pop();
    assert!(violations(&world, Invariant::I2).contains("the log of changes ends with no owner"));
}

#[test]
fn two_operations_at_a_time_for_a_device_break_i3() {
    let mut world = busy();
    let operations = &mut world.history.operations;
    operations[2].started = operations[1].ended.unwrap() - SignedDuration::from_millis(1);
    assert!(violations(&world, Invariant::I3).contains("operations/2 started"));
    let operations = &mut world.history.operations;
    operations[2].started = operations[1].ended.unwrap();
    assert_held(&world);
    world.history.operations[1].ended = None;
    assert!(violations(&world, Invariant::I3).contains("never ended"));
}

#[test]
fn an_operation_whose_name_was_lost_excuses_the_next_one_only() {
    let mut world = busy();
    world.history.operations[1].ended = None;
    world.history.operations[1].reply_lost = true;
    let report = world.check();
    assert!(report.held() && report.checks[2].undetermined == 1, "{report}");
    let mut world = busy();
    let operations = &mut world.history.operations;
    operations[2].started = operations[1].started;
    operations[2].reply_lost = true;
    assert!(!world.check().checks[2].held);
}

#[test]
fn a_long_operation_overlaps_with_more_than_its_neighbour() {
    let mut world = World::default();
    let commands = [world.sale(0, "A", "1"), world.giving_back(0, "A"), world.sale(0, "B", "1")];
    for command in commands {
        world.succeed(command);
    }
    let mut world = world.rest();
    world.history.operations[0].ended = world.history.operations[2].ended;
    world.check();
    assert_eq!(world.check().checks[2].violations_total, 2);
}

#[test]
fn a_watermark_ahead_of_an_outcome_breaks_i4() {
    let mut world = busy();
    assert_eq!(world.history.watermarks[0].outcomes_visible, 0);
    world.history.watermarks[0].committed += 1;
    let text = violations(&world, Invariant::I4);
    assert!(text.contains("offset 2 was committed although the command at 1 had no"), "{text}");
    world.history.watermarks[0].outcomes_visible = 1;
    assert_held(&world);
}

#[test]
fn reports_are_bounded_and_mask_ids() {
    let mut world = World::default();
    for device in 123_456_700..123_456_800 {
        let sold = world.sale(device, "A", "1");
        world.succeed(sold);
    }
    let mut world = world.rest();
    world.history.outcomes.clear();
    world.history.watermarks.clear();
    let report = world.check();
    assert_eq!(report.checks[0].violations_total, 100);
    let text = format!("{report} {world:?}", world = world.history);
    assert!(report.to_string().contains("and 80 more") && !text.contains("12345"), "{report}");
}

//! Random histories of a worker that does everything right hold; with one fault they do not.

use proptest::prelude::*;

use crate::model::Status;
use crate::verify::{History, Invariant, OperationSeen, WatermarkSeen};

use super::broken;
use super::world::{World, customer};

/// One stretch in the life of a device, after which it is as it was before or held by its order.
#[derive(Clone, Copy, Debug)]
enum Episode {
    Sale,
    AmendedSale,
    AnnihilatedSale,
    SupersededSale,
    FailedSale,
    Amendment,
    StaleReturn,
    Return,
    Resale,
    InvalidLine,
    Garbage,
}

fn episode() -> impl Strategy<Value = (usize, Episode, bool)> {
    use Episode::{
        AmendedSale, Amendment, AnnihilatedSale, FailedSale, Garbage, InvalidLine, Resale, Return,
        Sale, StaleReturn, SupersededSale,
    };
    let kind = prop::sample::select(vec![
        Sale,
        AmendedSale,
        AnnihilatedSale,
        SupersededSale,
        FailedSale,
        Amendment,
        StaleReturn,
        Return,
        Resale,
        InvalidLine,
        Garbage,
    ]);
    (0..6_usize, kind, any::<bool>())
}

/// Plays the episodes that fit the state of their device; returns whether each device is held.
fn play(episodes: &[(usize, Episode, bool)]) -> World {
    let mut world = World::default();
    let mut holders: [Option<String>; 6] = Default::default();
    // Something for every fault to hit.
    let first = world.sale(0, "first", "1");
    world.commit();
    world.succeed(first);
    world.garbage();
    holders[0] = Some("first".to_owned());
    for (number, (device, episode, commit)) in episodes.iter().enumerate() {
        let holder = &mut holders[*device];
        let order = format!("O{number}");
        if holder.is_some() {
            play_held(&mut world, *device, *episode, holder, order);
        } else {
            play_free(&mut world, *device, *episode, holder, order);
        }
        if *commit {
            world.commit();
        }
    }
    world.rest()
}

fn play_free(
    world: &mut World,
    device: usize,
    episode: Episode,
    holder: &mut Option<String>,
    order: String,
) {
    match episode {
        Episode::Sale | Episode::Resale => {
            let sold = world.sale(device, &order, "1");
            world.succeed(sold);
            *holder = Some(order);
        }
        Episode::AmendedSale => {
            let sold = world.sale(device, &order, "2");
            let amended = world.amendment(device, &order, &order);
            world.send(sold, &[amended]);
            world.commit();
            world.decide(amended, Status::Merged, Some(sold));
            world.decide(sold, Status::Succeeded, None);
            *holder = Some(order);
        }
        Episode::AnnihilatedSale => {
            let sold = world.sale(device, &order, "1");
            let cancelled = world.cancellation(device, &order);
            world.decide(cancelled, Status::Cancelled, Some(sold));
            world.commit();
            world.decide(sold, Status::Cancelled, Some(cancelled));
        }
        Episode::SupersededSale => {
            let sold = world.sale(device, &order, "1");
            let again = world.sale(device, &format!("{order}b"), "1");
            world.decide(sold, Status::Superseded, Some(again));
            world.succeed(again);
            *holder = Some(format!("{order}b"));
        }
        _ => play_anyhow(world, device, episode, &order),
    }
}

fn play_held(
    world: &mut World,
    device: usize,
    episode: Episode,
    holder: &mut Option<String>,
    order: String,
) {
    let held = holder.clone().unwrap_or_default();
    match episode {
        Episode::Amendment => {
            let amended = world.amendment(device, &held, &order);
            world.succeed(amended);
        }
        Episode::StaleReturn => {
            let returned = world.giving_back(device, &order);
            world.decide(returned, Status::Stale, None);
        }
        Episode::Return => {
            let returned = world.giving_back(device, &held);
            world.succeed(returned);
            *holder = None;
        }
        Episode::Resale => {
            let returned = world.giving_back(device, &held);
            let sold = world.sale(device, &order, "3");
            world.succeed(returned);
            world.succeed(sold);
            *holder = Some(order);
        }
        _ => play_anyhow(world, device, episode, &order),
    }
}

fn play_anyhow(world: &mut World, device: usize, episode: Episode, order: &str) {
    match episode {
        Episode::Garbage => world.garbage(),
        Episode::InvalidLine => world.invalid_line(),
        _ => {
            let sold = world.sale(device, order, "4");
            world.decide(sold, Status::Failed, None);
        }
    }
}

/// One thing that goes wrong, and the invariant that it breaks.
#[derive(Clone, Copy, Debug)]
enum Fault {
    DropOutcome,
    RepeatOutcome,
    DropCommand,
    RepeatCommand,
    DropDeadLetter,
    ChangeOwner,
    ChangeMetadata,
    ForgetDecider,
    OverlapOperations,
    AdvanceWatermark,
}

const FAULTS: [(Fault, Invariant); 10] = [
    (Fault::DropOutcome, Invariant::I1),
    (Fault::RepeatOutcome, Invariant::I1),
    (Fault::DropCommand, Invariant::I1),
    (Fault::RepeatCommand, Invariant::I1),
    (Fault::DropDeadLetter, Invariant::I1),
    (Fault::ChangeOwner, Invariant::I2),
    (Fault::ChangeMetadata, Invariant::I2),
    (Fault::ForgetDecider, Invariant::I2),
    (Fault::OverlapOperations, Invariant::I3),
    (Fault::AdvanceWatermark, Invariant::I4),
];

/// Puts the fault in at a place; says whether there was one.
fn spoil(history: &mut History, fault: Fault, at: prop::sample::Index) -> bool {
    match fault {
        Fault::DropOutcome => drop(history.outcomes.remove(at.index(history.outcomes.len()))),
        Fault::RepeatOutcome => history.outcomes.push(at.get(&history.outcomes).clone()),
        Fault::DropCommand => drop(history.commands.remove(at.index(history.commands.len()))),
        Fault::RepeatCommand => {
            let mut copy = at.get(&history.commands).clone();
            copy.offset += 1_000_000;
            history.commands.push(copy);
        }
        Fault::DropDeadLetter => {
            history.dead_letters.remove(at.index(history.dead_letters.len()));
        }
        Fault::ChangeOwner => {
            let at = at.index(history.devices.len());
            history.devices[at].owner = Some(customer("nobody"));
        }
        Fault::ChangeMetadata => {
            let held = history.devices.iter_mut().filter(|device| device.owner.is_some());
            let Some(device) = held.last() else { return false };
            device.metadata.insert("ordernumber".to_owned(), "wrong".to_owned());
        }
        Fault::ForgetDecider => {
            let is_folded = |o: &&mut crate::verify::OutcomeSeen| {
                o.decided_by.is_some() && o.action != crate::model::Action::Unclaim
            };
            let Some(outcome) = history.outcomes.iter_mut().find(is_folded) else { return false };
            outcome.decided_by = None;
        }
        Fault::OverlapOperations => {
            let other = at.get(&history.operations).clone();
            let started = other.started;
            history.operations.push(OperationSeen { started, name: "late".to_owned(), ..other });
        }
        Fault::AdvanceWatermark => {
            let command = at.get(&history.commands);
            let decided = history.outcomes.iter().position(|o| o.command_id == command.command_id);
            let (partition, committed) = (command.partition, command.offset + 1);
            let Some(outcomes_visible) = decided else { return false };
            history.watermarks.push(WatermarkSeen { partition, committed, outcomes_visible });
        }
    }
    true
}

proptest! {
    #[test]
    fn a_right_history_holds_and_each_single_fault_is_found(
        episodes in prop::collection::vec(episode(), 0..40),
        (fault, invariant) in prop::sample::select(FAULTS.to_vec()),
        at in any::<prop::sample::Index>(),
    ) {
        let mut world = play(&episodes);
        let report = world.check();
        prop_assert!(report.held(), "{}", report);
        prop_assert_eq!(report.checks[1].undetermined, 0);
        prop_assume!(spoil(&mut world.history, fault, at));
        let report = world.check();
        prop_assert!(broken(&report).contains(&invariant), "{:?} unseen:\n{}", fault, report);
    }
}

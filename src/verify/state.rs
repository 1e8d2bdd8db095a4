//! I2: a device's state at the API equals the fold of its commands in lane order.
//!
//! Which command took effect is read from the outcomes:
//!
//! | outcome | owner | metadata |
//! |---|---|---|
//! | `succeeded` | applied | applied |
//! | `failed`, `stale` | not applied | not applied |
//! | `failed` with `transport.*` or `batch.operation_failed` | may be applied | may be applied |
//! | `unresolved`, or no outcome | may be applied | may be applied |
//! | `merged` | not applied | applied if the command that absorbed it was |
//! | `superseded` | not applied by itself | may have been carried along |
//! | `cancelled` | not applied | not applied |
//!
//! And the outcomes are held to the rules of folding, so that "superseded" cannot excuse a lost
//! sale: a command merges into a claim or a metadata update of its device; a claim is superseded
//! only by a later unclaim or by a later claim for the same customer; a cancellation and the claim
//! of the same order cancel each other; an unclaim is stale only if its order does not hold the
//! device, and a successful one has removed neither another customer's nor a newer order's claim (a
//! worker whose guard is off may break this last rule). A device whose owner depends on something
//! unknown is counted as undetermined.

use std::collections::BTreeMap;

use crate::model::{Action, Customer};

use super::folding::{Lane, Step};
use super::history::{ChangeSeen, DeviceSeen, History, KeyText};
use super::index::Index;
use super::reference::{Certainty, Reference};
use super::report::{Check, Invariant};

/// Checks I2.
pub(super) fn check(index: &Index<'_>) -> Check {
    let mut check = Check::new(Invariant::I2);
    let lanes = commands_by_device(index);
    let seen = Api::new(index.history);
    for lane in &lanes {
        check_device(&mut check, &Lane::new(index, lane), &seen);
    }
    let is_ours = |device: &KeyText| {
        let found = lanes.binary_search_by(|lane| index.command(lane[0]).device.cmp(device));
        found.is_ok()
    };
    for device in &index.history.devices {
        if device.owner.is_some() && !is_ours(&device.device) {
            check.violated(|| format!("{}: claimed, but by no command", device.device));
        }
    }
    for change in &index.history.changes {
        if !is_ours(&change.device) {
            check.violated(|| format!("{}: changed, but by no command", change.device));
        }
    }
    check
}

/// Places of commands, each device's in lane order, devices in the order of their keys.
fn commands_by_device(index: &Index<'_>) -> Vec<Vec<usize>> {
    let commands = &index.history.commands;
    let mut places: Vec<usize> = (0..commands.len()).filter(|&at| !index.is_copy(at)).collect();
    places.sort_unstable_by(|&a, &b| {
        let (a, b) = (&commands[a], &commands[b]);
        (&a.device, a.partition, a.offset).cmp(&(&b.device, b.partition, b.offset))
    });
    let same_device = |a: &usize, b: &usize| commands[*a].device == commands[*b].device;
    places.chunk_by(same_device).map(<[usize]>::to_vec).collect()
}

/// What the API shows, by device.
struct Api<'a> {
    devices: BTreeMap<&'a KeyText, &'a DeviceSeen>,
    changes: Vec<&'a ChangeSeen>,
}

impl<'a> Api<'a> {
    fn new(history: &'a History) -> Self {
        let devices = history.devices.iter().map(|seen| (&seen.device, seen)).collect();
        let mut changes: Vec<&ChangeSeen> = history.changes.iter().collect();
        changes.sort_by(|a, b| (&a.device, a.at).cmp(&(&b.device, b.at)));
        Self { devices, changes }
    }

    /// The changes of one device in the order of time.
    fn changes(&self, device: &KeyText) -> &[&'a ChangeSeen] {
        let from = self.changes.partition_point(|change| change.device < *device);
        let to = self.changes.partition_point(|change| change.device <= *device);
        &self.changes[from..to]
    }
}

fn check_device(check: &mut Check, lane: &Lane<'_>, api: &Api<'_>) {
    check.checked += 1;
    let device = lane.device();
    if lane.is_split() {
        check.violated(|| format!("{device}: has commands in more than one partition"));
    }
    let mut reference = Reference::new();
    for (at, step) in lane.steps.iter().enumerate() {
        if let Some(broken) = lane.broken_rule(at, &reference) {
            check.violated(|| format!("{device}: {step} {broken}"));
        }
        reference.apply(step.command, step.change, step.metadata);
        if lane.is_doubtful(at) {
            reference.doubt(step.command);
        }
    }
    if !reference.is_owner_certain() {
        check.undetermined += 1;
    }
    let seen = api.devices.get(device).copied();
    check_end(check, device, &reference, seen);
    check_changes(check, lane, seen, api.changes(device));
}

fn check_end(
    check: &mut Check,
    device: &KeyText,
    reference: &Reference<'_>,
    seen: Option<&DeviceSeen>,
) {
    let none = BTreeMap::new();
    let owner = seen.and_then(|seen| seen.owner.as_ref());
    if !reference.allows_owner(owner) {
        check.violated(|| {
            let said = reference.holder.certain().map_or("something else", |holder| {
                if holder.is_some() { "another owner" } else { "no owner" }
            });
            format!("{device}: ends with {}, its commands say {said}", name(owner))
        });
    }
    // The API may drop the metadata of a device that nobody holds.
    if owner.is_none() {
        return;
    }
    let metadata = seen.map_or(&none, |seen| &seen.metadata);
    if let Some(key) = reference.wrong_key(metadata) {
        check.violated(|| format!("{device}: ends with the wrong metadata under {key:?}"));
    }
}

/// The API changed owners only as some command says that did not end as "nothing happened".
fn check_changes(
    check: &mut Check,
    lane: &Lane<'_>,
    seen: Option<&DeviceSeen>,
    changes: &[&ChangeSeen],
) {
    let device = lane.device();
    let mut before: Option<&Customer> = None;
    for change in changes {
        let (from, to) = (change.from.as_ref(), change.to.as_ref());
        if from != before {
            check.violated(|| {
                format!(
                    "{device}: the log of changes jumps from {} to {}",
                    name(before),
                    name(from)
                )
            });
        }
        before = to;
        let explains = |step: &Step<'_>| {
            let is_it = match to {
                Some(_) => {
                    step.command.action == Action::Claim && step.command.customer.as_ref() == to
                }
                None => step.command.action == Action::Unclaim,
            };
            is_it && step.change != Certainty::Never
        };
        if from != to && !lane.steps.iter().any(explains) {
            check.violated(|| {
                let (from, to) = (name(from), name(to));
                format!("{device}: went from {from} to {to} at {}, by no command", change.at)
            });
        }
    }
    let owner = seen.and_then(|seen| seen.owner.as_ref());
    if !changes.is_empty() && before != owner {
        check.violated(|| {
            let (before, owner) = (name(before), name(owner));
            format!("{device}: the log of changes ends with {before}, the device with {owner}")
        });
    }
}

fn name(owner: Option<&Customer>) -> &str {
    match owner {
        Some(Customer::ZeroTouch(id) | Customer::Workspace(id)) => id,
        None => "no owner",
    }
}

//! The rules of folding, as the outcomes of one device have to show them.
//!
//! Says for each command whether it took effect, and which rule its outcome breaks, so that no
//! outcome can excuse a lost sale or a removed claim. The rules are listed in [`super::state`].

use std::collections::BTreeMap;

use crate::model::{Action, Cause, FailureCode, Status};

use super::history::{CommandSeen, KeyText, OutcomeSeen};
use super::index::Index;
use super::reference::{Certainty, Holder, Reference};

/// A command with its outcome.
pub(super) struct Step<'a> {
    pub(super) command: &'a CommandSeen,
    outcome: Option<&'a OutcomeSeen>,
    /// The step that decided this one, if the outcome names one of the same device.
    decider: Option<usize>,
    /// Whether the device was claimed or unclaimed by this command itself.
    pub(super) change: Certainty,
    /// Whether its metadata was written, by whatever call.
    pub(super) metadata: Certainty,
}

impl Step<'_> {
    fn is(&self, status: Status) -> bool {
        self.outcome.is_some_and(|outcome| outcome.status == status)
    }

    fn is_claim(&self) -> bool {
        self.command.action == Action::Claim
    }

    fn is_cancellation(&self) -> bool {
        self.command.action == Action::Unclaim && self.command.cause == Cause::Cancellation
    }

    fn is_of_order(&self, other: &Self) -> bool {
        self.command.order_id == other.command.order_id
    }
}

impl std::fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CommandSeen { partition, offset, order_id, .. } = self.command;
        let action = self.command.action.as_str();
        let status = self.outcome.map_or("undecided", |outcome| outcome.status.as_str());
        write!(f, "{status} {action} at {partition}/{offset} of order {order_id}")
    }
}

/// All commands of one device, in lane order; never empty.
pub(super) struct Lane<'a> {
    pub(super) steps: Vec<Step<'a>>,
    /// For each step, the end of its chain of `superseded`; itself, if it is none.
    last_decider: Vec<usize>,
    /// For each step, whether a cancelled claim names it.
    is_annihilator: Vec<bool>,
    /// For each order, its last claim.
    claimed_by: BTreeMap<&'a str, usize>,
}

impl<'a> Lane<'a> {
    /// From the places of the commands in the history.
    pub(super) fn new(index: &Index<'a>, places: &[usize]) -> Self {
        let position = |at: usize| (index.command(at).partition, index.command(at).offset);
        let mut steps: Vec<Step<'a>> = places
            .iter()
            .map(|&at| {
                let outcome = index.outcome(at);
                let (change, metadata) = certainty(outcome);
                let decider = outcome.and_then(|outcome| index.find(outcome.decided_by?)).and_then(
                    |decider| {
                        let found =
                            places.binary_search_by_key(&position(decider), |&p| position(p));
                        found.ok().filter(|&found| places[found] == decider)
                    },
                );
                Step { command: index.command(at), outcome, decider, change, metadata }
            })
            .collect();
        resolve_merged(&mut steps);
        let mut last_decider: Vec<usize> = (0..steps.len()).collect();
        let mut is_annihilator = vec![false; steps.len()];
        let mut claimed_by = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            if step.is_claim() {
                claimed_by.insert(step.command.order_id.as_str(), at);
                if let Some(decider) = step.decider.filter(|_| step.is(Status::Cancelled)) {
                    is_annihilator[decider] = true;
                }
            }
        }
        for (at, step) in steps.iter().enumerate().rev() {
            // A decider before its step is against the rules, and reported as that.
            let decider = step.decider.filter(|&decider| decider > at);
            if let Some(decider) = decider.filter(|_| step.is(Status::Superseded)) {
                last_decider[at] = last_decider[decider];
            }
        }
        Self { steps, last_decider, is_annihilator, claimed_by }
    }

    pub(super) fn device(&self) -> &'a KeyText {
        &self.steps[0].command.device
    }

    /// Whether the commands of the device are spread over partitions, so that they have no order.
    pub(super) fn is_split(&self) -> bool {
        self.steps.iter().any(|step| step.command.partition != self.steps[0].command.partition)
    }

    /// Whether nobody can say if this claim should stand: a later sale took its place and was then
    /// cancelled.
    pub(super) fn is_doubtful(&self, at: usize) -> bool {
        let (step, last) = (&self.steps[at], &self.steps[self.last_decider[at]]);
        step.is(Status::Superseded)
            && step.is_claim()
            && last.is(Status::Cancelled)
            && !step.is_of_order(last)
    }

    /// The rule that a step's outcome breaks, given what the device was before it.
    pub(super) fn broken_rule(&self, at: usize, before: &Reference<'_>) -> Option<String> {
        let step = &self.steps[at];
        match step.outcome?.status {
            Status::Merged => self.broken_merge(at),
            Status::Superseded => self.broken_supersession(at, before),
            Status::Cancelled => self.broken_annihilation(at),
            Status::Stale => broken_staleness(step, before),
            Status::Succeeded => self.broken_unclaim(step, before),
            Status::Failed | Status::Unresolved => None,
        }
    }

    fn decider(&self, at: usize) -> Result<(usize, &Step<'a>), String> {
        let decider = self.steps[at].decider.filter(|&decider| decider != at);
        decider
            .map(|decider| (decider, &self.steps[decider]))
            .ok_or_else(|| "names no other command of the device that decided it".to_owned())
    }

    fn broken_merge(&self, at: usize) -> Option<String> {
        let (_, decider) = match self.decider(at) {
            Ok(found) => found,
            Err(broken) => return Some(broken),
        };
        let may_merge = self.steps[at].command.action == Action::UpdateMetadata
            && decider.command.action != Action::Unclaim;
        (!may_merge).then(|| format!("cannot be carried by {decider}"))
    }

    fn broken_supersession(&self, at: usize, before: &Reference<'_>) -> Option<String> {
        let step = &self.steps[at];
        let (place, decider) = match self.decider(at) {
            Ok(found) => found,
            Err(broken) => return Some(broken),
        };
        if place < at {
            return Some(format!("is superseded by an earlier command, {decider}"));
        }
        let customer = &decider.command.customer;
        let may_supersede = match (step.command.action, decider.command.action) {
            (_, Action::UpdateMetadata) => false,
            (Action::Claim, Action::Claim) => step.command.customer == *customer,
            // The claim must find the device free, or as it wants it.
            (Action::Unclaim, Action::Claim) => {
                before.allows_owner(None) || before.allows_owner(customer.as_ref())
            }
            _ => true,
        };
        if !may_supersede {
            return Some(format!("may not be superseded by {decider}"));
        }
        let last = &self.steps[self.last_decider[at]];
        let is_lost = match step.command.action {
            Action::Claim => last.is(Status::Stale),
            Action::Unclaim => {
                let is_held = matches!(before.holder.certain(), Some(Some(_)));
                is_held && (last.is(Status::Stale) || last.is(Status::Cancelled))
            }
            Action::UpdateMetadata => false,
        };
        (is_lost && !step.is_of_order(last))
            .then(|| format!("is lost: it gave way to {last}, which did nothing"))
    }

    fn broken_annihilation(&self, at: usize) -> Option<String> {
        let step = &self.steps[at];
        if step.is_cancellation() {
            let broken = "is cancelled, but no claim of its order with it".to_owned();
            return (!self.is_annihilator[at]).then_some(broken);
        }
        let (place, decider) = match self.decider(at) {
            Ok(found) => found,
            Err(broken) => return Some(broken),
        };
        let is_pair = decider.is(Status::Cancelled) && decider.is_of_order(step);
        let may_cancel = match step.command.action {
            Action::Claim => is_pair && decider.is_cancellation() && place > at,
            Action::Unclaim => false,
            // It had been merged into the claim.
            Action::UpdateMetadata => decider.is(Status::Cancelled),
        };
        (!may_cancel).then(|| format!("may not be cancelled by {decider}"))
    }

    /// A successful unclaim must not have removed another customer's or a newer order's claim.
    fn broken_unclaim(&self, step: &Step<'_>, before: &Reference<'_>) -> Option<String> {
        let holder = before.holder.certain().flatten()?;
        let CommandSeen { action, customer, order_id, .. } = step.command;
        if *action != Action::Unclaim {
            return None;
        }
        if customer.as_ref().is_some_and(|customer| customer != holder.owner) {
            return Some(format!("removed the claim of order {}'s customer", holder.order));
        }
        let claimed = |order: &str| self.claimed_by.get(order).copied();
        let is_newer = holder.order != order_id.as_str()
            && claimed(order_id).is_some_and(|own| Some(own) < claimed(holder.order));
        is_newer.then(|| format!("removed the newer claim of order {}", holder.order))
    }
}

/// An unclaim is not stale while its own order holds the device.
fn broken_staleness(step: &Step<'_>, before: &Reference<'_>) -> Option<String> {
    let CommandSeen { action, customer, order_id, .. } = step.command;
    if *action != Action::Unclaim {
        return Some("is no unclaim and cannot be stale".to_owned());
    }
    let Holder { owner, order } = before.holder.certain().flatten()?;
    let holds = order == order_id && customer.as_ref().is_none_or(|customer| customer == owner);
    holds.then(|| "is not stale: its order holds the device".to_owned())
}

/// Whether a command took effect itself: the device's claim, and the metadata.
fn certainty(outcome: Option<&OutcomeSeen>) -> (Certainty, Certainty) {
    let Some(outcome) = outcome else { return (Certainty::Maybe, Certainty::Maybe) };
    let certainty = match outcome.status {
        Status::Succeeded => Certainty::Certain,
        Status::Unresolved => Certainty::Maybe,
        Status::Failed => match outcome.code {
            Some(
                FailureCode::BatchOperationFailed
                | FailureCode::DeadlineExceeded
                | FailureCode::ResultMissing,
            ) => Certainty::Maybe,
            _ => Certainty::Never,
        },
        Status::Stale | Status::Cancelled => Certainty::Never,
        // What becomes of the metadata depends on the decider.
        Status::Superseded | Status::Merged => return (Certainty::Never, Certainty::Maybe),
    };
    (certainty, certainty)
}

/// Gives each merged step the certainty of the step that carried it in the end.
fn resolve_merged(steps: &mut [Step<'_>]) {
    let mut is_resolved: Vec<bool> = steps.iter().map(|step| !step.is(Status::Merged)).collect();
    for start in 0..steps.len() {
        let mut path = Vec::new();
        let mut at = start;
        while !is_resolved[at] {
            // Marked at once, so that a circle ends.
            is_resolved[at] = true;
            path.push(at);
            at = steps[at].decider.unwrap_or(at);
        }
        let metadata = steps[at].metadata;
        for at in path {
            steps[at].metadata = metadata;
        }
    }
}

//! I1: every command has exactly one outcome, and no outcome is without a command.

use crate::model::{OutcomeId, Status};

use super::history::{KeyText, Orders, OutcomeSeen};
use super::index::Index;
use super::orders;
use super::report::{Check, Invariant};

/// Checks I1.
pub(super) fn check(index: &Index<'_>, orders: Orders<'_>) -> Check {
    let mut check = Check::new(Invariant::I1);
    for (at, command) in index.history.commands.iter().enumerate() {
        let place = || format!("command {}/{}", command.partition, command.offset);
        if index.is_copy(at) {
            check.violated(|| {
                let (place, id) = (place(), command.command_id);
                format!("{place} is a second copy of command {id} ({})", command.device)
            });
            continue;
        }
        check.checked += 1;
        match index.decided(at).count {
            0 => check.violated(|| format!("{} ({}) has no outcome", place(), command.device)),
            1 => {}
            n => check.violated(|| format!("{} ({}) has {n} outcomes", place(), command.device)),
        }
    }
    for outcome in &index.history.outcomes {
        check_outcome(&mut check, index, outcome);
    }
    match orders {
        Orders::Known(orders) => orders::check(&mut check, index, orders),
        Orders::Unknown => check_orphans(&mut check, index),
    }
    check
}

/// An outcome has the id that its command gives it, and says whom and what it is about.
fn check_outcome(check: &mut Check, index: &Index<'_>, outcome: &OutcomeSeen) {
    let id = outcome.command_id;
    if outcome.outcome_id != OutcomeId::from(id) {
        let found = outcome.outcome_id;
        check.violated(|| format!("the outcome of command {id} has the id {found} of another"));
    }
    if outcome.status == Status::Failed && outcome.code.is_none() {
        check.violated(|| format!("the outcome of command {id} is failed without a code"));
    }
    let Some(command) = index.find(id).map(|at| index.command(at)) else { return };
    if outcome.action != command.action || outcome.device.as_ref() != Some(&command.device) {
        check.violated(|| {
            let none = KeyText::from("none");
            let device = outcome.device.as_ref().unwrap_or(&none);
            format!(
                "the outcome of command {id} is about {} of {device}, the command about {} of {}",
                outcome.action.as_str(),
                command.action.as_str(),
                command.device
            )
        });
    }
}

/// Whether this is what an invalid order line ends as.
pub(super) fn is_refused_input(outcome: &OutcomeSeen) -> bool {
    outcome.status == Status::Failed
        && outcome.code.is_some_and(|code| code.as_str().starts_with("input."))
}

/// Without the orders, an outcome without command may still be that of an invalid order line.
fn check_orphans(check: &mut Check, index: &Index<'_>) {
    for &at in index.orphans() {
        let outcome = &index.history.outcomes[at];
        if is_refused_input(outcome) {
            check.undetermined += 1;
        } else {
            check.violated(|| orphan(outcome));
        }
    }
}

pub(super) fn orphan(outcome: &OutcomeSeen) -> String {
    format!("an outcome ({}) names an unknown command {}", outcome.status.as_str(), {
        outcome.command_id
    })
}

//! API writes that were made more than once, and whether a lost reply explains each.
//!
//! A device may change more often than its commands asked for only if the name of an operation was
//! lost: the worker died between the API's acceptance and the ledger's. Such an operation is known
//! by its name being nowhere in Kafka, neither in the ledger nor in an outcome.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Action, Status};
use crate::verify::{History, KeyText, OutcomeSeen};

/// A successful item of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write<'a> {
    pub(super) device: &'a KeyText,
    pub(super) action: Action,
    /// Whether the name of its operation never reached Kafka.
    pub(super) is_lost: bool,
}

/// The figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Writes {
    pub(super) all: u64,
    /// Beyond what the commands asked for.
    pub(super) duplicated: u64,
    /// Of these, such of a device that was also in an operation whose name was lost.
    pub(super) explained: u64,
}

/// How often a device was changed in one way, and how often it should have been.
#[derive(Default)]
struct Tally {
    made: u64,
    lost: u64,
    wanted: u64,
}

/// Counts.
pub(super) fn count<'a>(history: &'a History, writes: impl Iterator<Item = Write<'a>>) -> Writes {
    let mut tallies: BTreeMap<(&KeyText, Action), Tally> = BTreeMap::new();
    let mut all = 0;
    for write in writes {
        let tally = tallies.entry((write.device, write.action)).or_default();
        all += 1;
        tally.made += 1;
        tally.lost += u64::from(write.is_lost);
    }
    // An outcome written twice is for I1 to find; here it must not excuse a write.
    let mut counted = BTreeSet::new();
    let wanted = history.outcomes.iter().filter(|outcome| asks_for_a_write(outcome));
    for outcome in wanted.filter(|outcome| counted.insert(outcome.command_id)) {
        let key = outcome.device.as_ref().map(|device| (device, outcome.action));
        if let Some(tally) = key.and_then(|key| tallies.get_mut(&key)) {
            tally.wanted += 1;
        }
    }
    let mut writes = Writes { all, ..Writes::default() };
    for tally in tallies.values() {
        let duplicated = tally.made.saturating_sub(tally.wanted);
        writes.duplicated += duplicated;
        writes.explained += duplicated.min(tally.lost);
    }
    writes
}

/// Folded and stale commands ask for none; those that failed have changed nothing.
fn asks_for_a_write(outcome: &OutcomeSeen) -> bool {
    outcome.decided_by.is_none() && matches!(outcome.status, Status::Succeeded | Status::Unresolved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CommandId;

    fn outcome(id: u128, device: &str, action: Action, status: Status) -> OutcomeSeen {
        let command_id = CommandId(uuid::Uuid::from_u128(id));
        OutcomeSeen {
            outcome_id: command_id.into(),
            command_id,
            device: Some(device.to_owned().into()),
            action,
            status,
            code: None,
            decided_by: None,
        }
    }

    fn counted(outcomes: Vec<OutcomeSeen>, made: &[(&str, Action, bool)]) -> Writes {
        let history = History { outcomes, ..History::default() };
        let devices: Vec<KeyText> =
            made.iter().map(|(device, ..)| (*device).to_owned().into()).collect();
        let writes = made.iter().zip(&devices);
        let writes = writes.map(|((_, action, is_lost), device)| Write {
            device,
            action: *action,
            is_lost: *is_lost,
        });
        count(&history, writes)
    }

    const CLAIM: Action = Action::Claim;

    #[test]
    fn as_many_writes_as_commands_are_no_duplicates() {
        let outcomes = vec![
            outcome(1, "imei:1", CLAIM, Status::Succeeded),
            outcome(2, "imei:1", Action::Unclaim, Status::Succeeded),
            outcome(3, "imei:1", CLAIM, Status::Succeeded),
        ];
        let made = [
            ("imei:1", CLAIM, false),
            ("imei:1", Action::Unclaim, false),
            ("imei:1", CLAIM, false),
        ];
        assert_eq!(counted(outcomes, &made), Writes { all: 3, duplicated: 0, explained: 0 });
    }

    #[test]
    fn a_write_repeated_after_a_lost_name_is_explained() {
        let outcomes = vec![outcome(1, "imei:1", CLAIM, Status::Succeeded)];
        let made = [("imei:1", CLAIM, true), ("imei:1", CLAIM, false)];
        assert_eq!(counted(outcomes, &made), Writes { all: 2, duplicated: 1, explained: 1 });
    }

    #[test]
    fn a_write_repeated_although_every_name_is_known_is_not_explained() {
        let outcomes = vec![outcome(1, "imei:1", CLAIM, Status::Succeeded)];
        let made = [("imei:1", CLAIM, false), ("imei:1", CLAIM, false), ("imei:2", CLAIM, true)];
        assert_eq!(counted(outcomes, &made), Writes { all: 3, duplicated: 2, explained: 1 });
    }

    #[test]
    fn an_outcome_written_twice_and_a_stale_one_excuse_nothing() {
        let outcomes = vec![
            outcome(1, "imei:1", CLAIM, Status::Succeeded),
            outcome(1, "imei:1", CLAIM, Status::Succeeded),
            outcome(2, "imei:1", CLAIM, Status::Stale),
        ];
        let made = [("imei:1", CLAIM, false), ("imei:1", CLAIM, false)];
        assert_eq!(counted(outcomes, &made), Writes { all: 2, duplicated: 1, explained: 0 });
    }
}

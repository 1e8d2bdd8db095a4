//! What speaks against a batch (I15): is it the account, the API, or something in this one call?
//!
//! That is decided by evidence alone. A failure counts as a strike when other submits of the
//! account were accepted around it: after it and before the next try, or since the failure before.
//! A batch with a strike is split, and a device that stands alone with a strike is given up after
//! enough tries. While nothing of the account is accepted there is no strike, so an outage or a
//! refused account fails nothing. A failure of another kind begins anew: what was accepted between
//! a refusal and a silence says nothing about the outage that began with the silence. Since with
//! one batch in hand there are no others to compare with, two batches may be taken apart without
//! evidence; their parts then speak for each other.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::model::{Action, DeviceFault};

use super::account::AccountIx;
use super::batch::BatchIx;

/// Failures in a row after which a batch is split if there is a strike against it …
pub(crate) const TRIES_BLAMED: u32 = 2;
/// … and if there is none, or the device alone is given up if there is one.
pub(crate) const TRIES: u32 = 3;
/// Parts into which a batch is split when the API refuses nothing clearly: each round of those
/// costs the grace time, so fewer rounds are worth more calls.
pub(crate) const PARTS: usize = 8;
/// Batches of an account that may be taken apart without evidence until one of its submits is
/// accepted.
pub(crate) const BLIND_MAX: u32 = 2;
/// Refusals without a reason (403, 404) of an account that worked before it counts as refused.
pub(crate) const DOUBTS_MAX: u32 = 2;
/// Suspects of an account whose calls are under way at once: one that hangs holds up no other.
pub(crate) const PROBES_MAX: usize = 4;
/// A batch of more devices than this is split before its devices are looked up.
pub(crate) const LOOKED_UP_MAX: usize = 32;
/// From here on the same refusal of all parts of a batch is taken for one of its shape …
pub(crate) const SHAPE_MIN: usize = 48;
/// … once it was split so often …
pub(crate) const SHAPE_DEPTH: u8 = 2;
/// … and so many of its devices were refused one by one, of as many orders as there are.
pub(crate) const SHAPE_SINGLES: usize = 32;
/// Names in refusals of one batch that are believed, one refusal after another.
pub(crate) const NAMED_ROUNDS_MAX: u32 = 16;

/// How a call failed: an outage and a refused account do not look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// No usable answer.
    Silent,
    /// Refused without a reason (403, 404).
    Forbidden,
}

/// What speaks against one batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspicion {
    /// Failures in a row, those of the batch that it was split from included.
    pub(crate) failures: u32,
    /// Of its own failures, those around which other submits were accepted, since it has failed in
    /// the manner of the last one.
    pub(crate) strikes: u32,
    /// Submits of the account that were accepted when that was last looked at.
    answered: Option<u64>,
    /// How it failed last.
    manner: Option<Manner>,
    /// What the last failure said.
    pub(crate) said: Arc<str>,
}

impl Suspicion {
    /// It failed again.
    pub(crate) fn fail(&mut self, answered: u64, manner: Manner, said: &str) {
        self.look(answered);
        if self.manner.replace(manner).is_some_and(|before| before != manner) {
            self.strikes = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.said = said.into();
    }

    /// Whether others were accepted since the last look, as a strike. Only once it has failed.
    pub(crate) fn look(&mut self, answered: u64) {
        if self.failures > 0 && self.answered.is_some_and(|before| answered > before) {
            self.strikes = self.strikes.saturating_add(1);
        }
        self.answered = Some(answered);
    }

    /// What is known of a part of it: strikes are those of the whole.
    pub(crate) fn of_part(&self) -> Self {
        Self { strikes: 0, ..self.clone() }
    }
}

/// The number of a refusal in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RefusalIx(pub(crate) u64);

/// A batch that the API refused, with all that it was split into.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) account: AccountIx,
    pub(crate) action: Action,
    /// What the API said first.
    pub(crate) fault: DeviceFault,
    /// Devices in the first batch.
    pub(crate) devices: usize,
    /// Its batches that are not done.
    pub(crate) parts: BTreeSet<BatchIx>,
    /// Of these, those that wait for the verdict on the shape.
    pub(crate) parked: BTreeSet<BatchIx>,
    /// Something of it was accepted, or was refused in other words: it is not the shape.
    pub(crate) is_mixed: bool,
    /// Devices have been taken out to stand alone.
    pub(crate) is_sampled: bool,
    /// Refusals that named what they meant.
    pub(crate) named: u32,
    /// Devices that were set aside so far, and their orders.
    pub(crate) refused: usize,
    pub(crate) orders: BTreeSet<NonZeroU64>,
    /// The order and the masked device of the first of them.
    pub(crate) first: Option<(String, Option<String>)>,
}

impl Refusal {
    pub(crate) fn new(
        (account, action): (AccountIx, Action),
        fault: DeviceFault,
        devices: usize,
    ) -> Self {
        Self {
            account,
            action,
            fault,
            devices,
            parts: BTreeSet::new(),
            parked: BTreeSet::new(),
            is_mixed: false,
            is_sampled: false,
            named: 0,
            refused: 0,
            orders: BTreeSet::new(),
            first: None,
        }
    }

    /// Whether another refusal says the same.
    pub(crate) fn says(&self, fault: &DeviceFault) -> bool {
        // Places, counts and masked ids in a message say nothing new.
        let words = |fault: &DeviceFault| {
            let message = fault.api_message.clone().unwrap_or_default();
            message.replace(|c: char| c.is_ascii_digit(), "")
        };
        (&self.fault.api_status, &self.fault.api_identifier)
            == (&fault.api_status, &fault.api_identifier)
            && words(&self.fault) == words(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_strike_only_if_others_were_accepted_around_it() {
        let mut suspicion = Suspicion::default();
        for _ in 0..3 {
            suspicion.fail(7, Manner::Silent, "500");
            suspicion.look(7);
        }
        assert_eq!((suspicion.failures, suspicion.strikes), (3, 0), "an outage");
        suspicion.look(8);
        assert_eq!(suspicion.strikes, 1, "accepted after the failure");
        suspicion.fail(8, Manner::Silent, "500");
        assert_eq!(suspicion.strikes, 1, "that counts once");
        suspicion.fail(9, Manner::Silent, "500");
        assert_eq!(suspicion.strikes, 2, "accepted between two failures");
        let part = suspicion.of_part();
        assert_eq!((part.failures, part.strikes), (5, 0));
    }

    #[test]
    fn what_was_accepted_before_the_failures_changed_says_nothing_about_an_outage_since() {
        let mut suspicion = Suspicion::default();
        suspicion.fail(7, Manner::Forbidden, "403");
        suspicion.look(8);
        assert_eq!(suspicion.strikes, 1);
        suspicion.fail(9, Manner::Silent, "500");
        assert_eq!((suspicion.failures, suspicion.strikes), (2, 0), "an outage may have begun");
        suspicion.fail(9, Manner::Silent, "500");
        suspicion.look(9);
        assert_eq!(suspicion.strikes, 0, "it goes on");
        suspicion.look(10);
        assert_eq!(suspicion.strikes, 1);
    }
}

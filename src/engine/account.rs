//! One reseller account: its quota, and the calls that wait for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Action, Purpose};

use super::batch::BatchIx;
use super::batcher::Batcher;
use super::quota::Quota;
use super::slots::SlotRef;
use super::{AccountOptions, Mono};

/// The index of an account in the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AccountIx(pub(crate) u16);

/// The kinds of calls. The API may refuse one of them and answer the others: a key that may read
/// and not write, a partner that may no longer claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Submit,
    Poll,
    Lookup,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Submit, Self::Poll, Self::Lookup];

    /// One such call, as the log says it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Poll => "poll",
            Self::Lookup => "lookup",
        }
    }

    /// Such calls, as messages say it.
    pub(crate) const fn plural(self) -> &'static str {
        match self {
            Self::Submit => "submits",
            Self::Poll => "polls",
            Self::Lookup => "lookups",
        }
    }
}

/// How the API has refused (401, 403) one kind of calls lately.
#[derive(Debug, Default)]
struct Refusal {
    /// No such call before this time.
    until: Mono,
    /// In a row.
    times: u32,
    /// What the last one said; none while such calls are answered.
    because: Option<String>,
}

/// A wait that the API has asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) until: Mono,
    pub(crate) since_at: Timestamp,
    pub(crate) until_at: Timestamp,
}

/// What an account is waiting to do.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    pub(crate) partner_id: Arc<str>,
    /// What its records are meant for.
    pub(crate) purpose: Option<Arc<Purpose>>,
    pub(crate) quota: Quota,
    /// One for each action.
    pub(crate) batchers: [Batcher; 3],
    /// Batches whose next poll is due.
    pub(crate) polls: VecDeque<BatchIx>,
    /// Batches to be sent once more.
    pub(crate) resends: VecDeque<BatchIx>,
    /// Batches that something speaks against, to be sent once more in their share of the quota.
    pub(crate) suspects: VecDeque<BatchIx>,
    /// Of these, how many are between intent and answer.
    pub(crate) probes: usize,
    /// Batches that something speaks against and that are not accepted; they take no place of
    /// others.
    pub(crate) aside: usize,
    /// Calls that worked, one number for each kind, in the order of [`Kind::ALL`].
    pub(crate) answered: [u64; 3],
    /// Submits refused without a reason (403, 404) since the last one that was accepted.
    pub(crate) doubts: u32,
    /// Batches taken apart since then although nothing else had been accepted meanwhile.
    pub(crate) blind: u32,
    /// What the API asked to be waited for, if that is told.
    pub(crate) asked_to_wait: Option<Wait>,
    /// Devices to be looked up.
    pub(crate) lookups: VecDeque<SlotRef>,
    pub(crate) lookups_running: usize,
    /// Batches that exist, for the bound on operations.
    pub(crate) batches: usize,
    /// Submits in a row that got no usable answer, and when the next new batch may begin.
    pub(crate) failures: u32,
    pub(crate) batches_after: Mono,
    /// One for each kind of call, in the order of [`Kind::ALL`].
    refusals: [Refusal; 3],
    /// Held back by a person: no new submits.
    pub(crate) paused: bool,
    /// Since when something has been waiting for nothing but the quota, and for how long before.
    pub(crate) starved: Option<Mono>,
    pub(crate) starved_before: Duration,
    /// Whose turn it is when a submit and a lookup both wait for the quota.
    pub(crate) lookup_turn: bool,
}

impl Account {
    /// With what its records are meant for.
    pub(crate) fn of(self, purpose: Option<Arc<Purpose>>) -> Self {
        Self { purpose, ..self }
    }

    pub(crate) fn new(options: &AccountOptions) -> Self {
        Self {
            name: Arc::clone(&options.name),
            partner_id: Arc::clone(&options.partner_id),
            purpose: None,
            quota: Quota::new(options.quota_calls, options.quota_window),
            batchers: Default::default(),
            polls: VecDeque::new(),
            resends: VecDeque::new(),
            suspects: VecDeque::new(),
            probes: 0,
            aside: 0,
            answered: [0; 3],
            doubts: 0,
            blind: 0,
            asked_to_wait: None,
            lookups: VecDeque::new(),
            lookups_running: 0,
            batches: 0,
            failures: 0,
            batches_after: Mono::default(),
            refusals: Default::default(),
            paused: false,
            starved: None,
            starved_before: Duration::ZERO,
            lookup_turn: false,
        }
    }

    /// Whether a submit is between intent and answer.
    pub(crate) fn is_submitting(&self) -> bool {
        self.probes > 0 || self.batchers.iter().any(|batcher| batcher.submitting.is_some())
    }

    /// Batches that count for the bound on operations: suspects do not, or those that might speak
    /// for the account could not be sent.
    pub(crate) fn places(&self) -> usize {
        self.batches.saturating_sub(self.aside)
    }

    /// A wait that the API asked for may be over.
    pub(crate) fn note_wait_over(&mut self, now: Mono) {
        self.asked_to_wait = self.asked_to_wait.filter(|wait| now < wait.until);
    }

    pub(crate) fn batcher(&mut self, action: Action) -> &mut Batcher {
        let [claims, unclaims, updates] = &mut self.batchers;
        match action {
            Action::Claim => claims,
            Action::Unclaim => unclaims,
            Action::UpdateMetadata => updates,
        }
    }

    /// Takes a token for one call, if such a call may be made at all.
    pub(crate) fn grant(&mut self, now: Mono, kind: Kind) -> bool {
        self.may_call(now, kind) && self.quota.grant(now)
    }

    /// Whether nothing but the quota holds back such a call.
    pub(crate) fn may_call(&self, now: Mono, kind: Kind) -> bool {
        now >= self.refused_until(kind)
    }

    /// Notes whether a call is due and waits for the quota alone.
    pub(crate) fn note_starved(&mut self, now: Mono, is_waiting: bool) {
        if let Some(since) = self.starved {
            self.starved_before += now.since(since);
        }
        self.starved = is_waiting.then_some(now);
    }

    /// Until when such calls are held back, because the API refuses them.
    pub(crate) fn refused_until(&self, kind: Kind) -> Mono {
        self.refusals[kind as usize].until
    }

    /// The API refused such a call; `wait` tells how long to leave it alone, from how many refusals
    /// there were in a row. Calls that were under way together count as one.
    pub(crate) fn refuse(
        &mut self,
        now: Mono,
        kind: Kind,
        reason: &str,
        wait: impl FnOnce(u32) -> Duration,
    ) -> Duration {
        let refusal = &mut self.refusals[kind as usize];
        refusal.because = Some(reason.to_owned());
        if now >= refusal.until {
            refusal.times = refusal.times.saturating_add(1);
            refusal.until = now + wait(refusal.times);
        }
        refusal.until.since(now)
    }

    /// Such a call was answered.
    pub(crate) fn answer(&mut self, kind: Kind) {
        self.refusals[kind as usize] = Refusal::default();
    }

    /// Whether the API refuses such calls.
    pub(crate) fn is_refused(&self, kind: Kind) -> bool {
        self.refusals[kind as usize].because.is_some()
    }

    /// Which calls the API refuses, and what it said; none while the account works.
    pub(crate) fn refused_because(&self) -> Option<String> {
        let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
        for (kind, refusal) in Kind::ALL.iter().zip(&self.refusals) {
            let Some(because) = refusal.because.as_deref() else { continue };
            match said.iter_mut().find(|(known, _)| *known == because) {
                Some((_, kinds)) => kinds.push(kind.plural()),
                None => said.push((because, vec![kind.plural()])),
            }
        }
        let told =
            |(because, kinds): &(&str, Vec<&str>)| format!("{}: {because}", kinds.join(", "));
        (!said.is_empty()).then(|| said.iter().map(told).collect::<Vec<_>>().join("; "))
    }

    /// The shortest useful time between two polls of one operation, so that all of those that run
    /// take at most half of the quota together.
    pub(crate) fn poll_interval(&self, operations: usize) -> Duration {
        let operations = u32::try_from(operations).unwrap_or(u32::MAX);
        self.quota.interval().saturating_mul(operations.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_calls_that_are_refused_are_named_and_what_is_said_twice_is_told_once() {
        let mut account = Account::new(&AccountOptions {
            name: "main".into(),
            partner_id: "7".into(),
            quota_calls: 1,
            quota_window: Duration::from_secs(1),
        });
        let mut refuse = |kind, reason| {
            account.refuse(Mono::default(), kind, reason, |_| Duration::ZERO);
            account.refused_because()
        };
        assert_eq!(refuse(Kind::Lookup, "401").as_deref(), Some("lookups: 401"));
        let two = refuse(Kind::Submit, "403");
        assert_eq!(two.as_deref(), Some("submits: 403; lookups: 401"));
        let same = refuse(Kind::Submit, "401");
        assert_eq!(same.as_deref(), Some("submits, lookups: 401"));
        for kind in Kind::ALL {
            account.answer(kind);
        }
        assert_eq!(account.refused_because(), None);
    }
}

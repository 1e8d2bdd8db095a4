//! One reseller account: its quota, and the calls that wait for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Action;

use super::batch::BatchIx;
use super::batcher::Batcher;
use super::quota::Quota;
use super::slots::SlotRef;
use super::{AccountOptions, Mono};

/// The index of an account in the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AccountIx(pub(crate) u16);

/// What an account is waiting to do.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    pub(crate) partner_id: Arc<str>,
    pub(crate) quota: Quota,
    /// One for each action.
    pub(crate) batchers: [Batcher; 3],
    /// Batches whose next poll is due.
    pub(crate) polls: VecDeque<BatchIx>,
    /// Batches to be sent once more.
    pub(crate) resends: VecDeque<BatchIx>,
    /// Devices to be looked up.
    pub(crate) lookups: VecDeque<SlotRef>,
    pub(crate) lookups_running: usize,
    /// Batches that exist, for the bound on operations.
    pub(crate) batches: usize,
    /// Submits in a row that got no usable answer, and when the next new batch may begin.
    pub(crate) failures: u32,
    pub(crate) batches_after: Mono,
    /// Refused by the API (401, 403): no call before this time.
    pub(crate) blocked_until: Mono,
    /// Refusals in a row.
    pub(crate) refusals: u32,
    /// What the last refusal said; none while the account works.
    pub(crate) refused_because: Option<String>,
    /// Held back by a person: no new submits.
    pub(crate) paused: bool,
    /// Since when something has been waiting for nothing but the quota, and for how long before.
    pub(crate) starved: Option<Mono>,
    pub(crate) starved_before: Duration,
    /// Whose turn it is when a submit and a lookup both wait for the quota.
    pub(crate) lookup_turn: bool,
}

impl Account {
    pub(crate) fn new(options: &AccountOptions) -> Self {
        Self {
            name: Arc::clone(&options.name),
            partner_id: Arc::clone(&options.partner_id),
            quota: Quota::new(options.quota_calls, options.quota_window),
            batchers: Default::default(),
            polls: VecDeque::new(),
            resends: VecDeque::new(),
            lookups: VecDeque::new(),
            lookups_running: 0,
            batches: 0,
            failures: 0,
            batches_after: Mono::default(),
            blocked_until: Mono::default(),
            refusals: 0,
            refused_because: None,
            paused: false,
            starved: None,
            starved_before: Duration::ZERO,
            lookup_turn: false,
        }
    }

    pub(crate) fn batcher(&mut self, action: Action) -> &mut Batcher {
        let [claims, unclaims, updates] = &mut self.batchers;
        match action {
            Action::Claim => claims,
            Action::Unclaim => unclaims,
            Action::UpdateMetadata => updates,
        }
    }

    /// Takes a token for one call, if the account may call at all.
    pub(crate) fn grant(&mut self, now: Mono) -> bool {
        now >= self.blocked_until && self.quota.grant(now)
    }

    /// Notes whether a call is due and waits for the quota alone.
    pub(crate) fn note_starved(&mut self, now: Mono, is_waiting: bool) {
        if let Some(since) = self.starved {
            self.starved_before += now.since(since);
        }
        self.starved = (is_waiting && now >= self.blocked_until).then_some(now);
    }

    /// When the next call can be made.
    pub(crate) fn next_grant(&mut self, now: Mono) -> Mono {
        self.quota.next_grant(now).max(self.blocked_until)
    }

    /// The API refused the account.
    pub(crate) fn refuse(&mut self, until: Mono, reason: String) {
        self.refusals = self.refusals.saturating_add(1);
        self.blocked_until = self.blocked_until.max(until);
        self.refused_because = Some(reason);
    }

    /// A call got through.
    pub(crate) fn answer(&mut self) {
        self.refusals = 0;
        self.refused_because = None;
    }

    /// The shortest useful time between two polls of one operation, so that all of them together
    /// take at most half of the quota.
    pub(crate) fn poll_interval(&self) -> Duration {
        let operations = u32::try_from(self.batches).unwrap_or(u32::MAX);
        self.quota.interval().saturating_mul(operations.saturating_mul(2))
    }
}

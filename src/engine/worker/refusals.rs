//! What the API refuses (401, 403) is held back: one kind of calls, until it is answered again.

use std::time::Duration;

use crate::engine::Now;
use crate::engine::account::{AccountIx, Kind, Wait};
use crate::engine::backoff::backoff;
use crate::engine::batch::{BatchIx, Phase};
use crate::engine::batcher::Batcher;
use crate::engine::mutant::{self, Mutant};
use crate::engine::suspicion::{BLIND_MAX, DOUBTS_MAX, Manner, PARTS, Suspicion, TRIES};
use crate::model::{DeviceFault, Named};

use super::Worker;

/// A wait that the API asks for is told from here on.
const WAIT_TOLD: Duration = Duration::from_secs(10);

impl Worker {
    /// The account may not make such calls: nothing of it is failed or lost, it waits.
    pub(super) fn refuse(
        &mut self,
        now: Now,
        account: AccountIx,
        kind: Kind,
        reason: &str,
    ) -> Duration {
        let (min, max) = (self.options.backoff_min, self.options.backoff_max);
        let (state, rng) = (&mut self.accounts[usize::from(account.0)], &mut self.rng);
        let is_news = state.may_call(now.mono, kind);
        let wait = |times| backoff(times, min, max, rng);
        let wait = state.refuse(now.mono, kind, reason, wait);
        if is_news {
            tracing::error!(
                account = %state.name, calls = kind.plural(), ?wait, reason,
                "the API refuses this account; what waits for such calls waits on, nothing is \
                 failed or lost. Check its credentials and its access in the zero-touch portal"
            );
        }
        wait
    }

    /// Such a call worked: whatever fails beside it is not the account's fault.
    pub(super) fn note_success(&mut self, account: AccountIx, kind: Kind) {
        let state = self.account(account);
        state.answered[kind as usize] += 1;
        if kind == Kind::Submit {
            (state.doubts, state.blind) = (0, 0);
        }
        self.note_answer(account, kind);
    }

    /// The API refused a submit without a reason (403, 404): is it the account, or something in it?
    pub(super) fn on_forbidden(
        &mut self,
        now: Now,
        ix: BatchIx,
        fault: &DeviceFault,
        reason: &str,
    ) {
        let is_blamed = self.suspect(ix, Manner::Forbidden, reason);
        self.set_suspect(ix, true);
        let Some(batch) = self.batches.get(&ix) else { return };
        let (account, failures, items) =
            (batch.account, batch.suspicion.failures, batch.items.len());
        if is_blamed && (items > 1 || failures >= TRIES) && !mutant::is(Mutant::SuspectsKept) {
            return self.on_refused(now, ix, fault, &Named::default());
        }
        let state = self.account(account);
        state.doubts = state.doubts.saturating_add(1);
        let has_worked = state.answered[Kind::Submit as usize] > 0;
        let wait = if is_blamed || (has_worked && state.doubts <= DOUBTS_MAX) {
            let wait = self.next_backoff(ix);
            self.tell_submit_failed(
                ix,
                wait,
                reason,
                "the API refuses a batch and does not say why; it is sent again, and taken apart \
                 if others are accepted meanwhile. Nothing is failed or lost",
            );
            wait
        } else {
            self.refuse(now, account, Kind::Submit, reason)
        };
        let state = self.account(account);
        let is_blind = !is_blamed && items > 1 && failures >= 2 && state.blind < BLIND_MAX;
        if is_blind && !mutant::is(Mutant::SuspectsKept) {
            state.blind += 1;
            self.split_evenly(now, ix, PARTS);
        } else {
            self.resend_after(now, ix, wait);
        }
    }

    /// Whether a poll that is refused is so alone: others have been answered since it failed last.
    pub(super) fn is_alone_refused(&mut self, ix: BatchIx, reason: &str) -> bool {
        let Some(batch) = self.batches.get_mut(&ix) else { return false };
        let state = &self.accounts[usize::from(batch.account.0)];
        batch.suspicion.fail(state.answered[Kind::Poll as usize], Manner::Forbidden, reason);
        batch.suspicion.strikes > 0
    }

    /// Nothing speaks against a batch any more.
    pub(super) fn calm(&mut self, ix: BatchIx) {
        if let Some(batch) = self.batches.get_mut(&ix) {
            batch.suspicion = Suspicion::default();
        }
    }

    /// The server asks to be left alone (429).
    pub(super) fn throttle(&mut self, now: Now, account: AccountIx, wait: Duration) {
        let state = self.account(account);
        let before = state.quota.closed_until();
        state.quota.refused(now.mono, wait);
        let until = state.quota.closed_until();
        if until <= before || until.since(now.mono) < WAIT_TOLD {
            return;
        }
        let (wait, until_at) = (until.since(now.mono), now.wall_after(until.since(now.mono)));
        let since_at = state.asked_to_wait.map_or(now.wall, |wait| wait.since_at);
        let is_news = state.asked_to_wait.is_none_or(|told| until.since(told.until) >= WAIT_TOLD);
        state.asked_to_wait = Some(Wait { until, since_at, until_at });
        if is_news {
            tracing::warn!(
                account = %state.name, ?wait, until = %until_at,
                "the API asks this account to wait (429, Retry-After); nothing is called for it \
                 until then, nothing is failed or lost. If that is longer than its quota explains, \
                 look at what else uses the service account"
            );
        }
    }

    /// The API answered such a call: it does not refuse them (any more). What it has refused of
    /// another kind stays refused until that kind is answered, but for what nobody waits for now.
    pub(super) fn note_answer(&mut self, account: AccountIx, kind: Kind) {
        if self.account(account).is_refused(kind) {
            let name = &self.account(account).name;
            let calls = kind.plural();
            tracing::info!(account = %name, calls, "the API answers this account again");
        }
        self.account(account).answer(kind);
        for other in Kind::ALL {
            if self.account(account).is_refused(other) && !self.wants(account, other) {
                self.account(account).answer(other);
            }
        }
    }

    /// Whether anything of the account is waiting for such a call, or will be. Looks at all there
    /// is: for the rare case of a refusal.
    fn wants(&self, account: AccountIx, kind: Kind) -> bool {
        let mut batches = self.batches.values().filter(|batch| batch.account == account);
        match kind {
            Kind::Submit => {
                let is_filling = |batcher: &Batcher| batcher.len() > 0;
                let unsent = [Phase::Intending, Phase::Submitting, Phase::Waiting];
                self.accounts[usize::from(account.0)].batchers.iter().any(is_filling)
                    || batches.any(|batch| unsent.contains(&batch.phase))
            }
            Kind::Poll => batches.any(|batch| batch.phase == Phase::Polling),
            Kind::Lookup => self.questions.keys().any(|name| {
                self.slots.get(*name).is_some_and(|ix| self.slots[ix].account == account)
            }),
        }
    }
}

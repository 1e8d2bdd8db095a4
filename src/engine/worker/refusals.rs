//! What the API refuses (401, 403) is held back: one kind of calls, until it is answered again.

use std::time::Duration;

use crate::engine::Now;
use crate::engine::account::{AccountIx, Kind};
use crate::engine::backoff::backoff;
use crate::engine::batch::Phase;
use crate::engine::batcher::Batcher;

use super::Worker;

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

//! Suspects: batches that something speaks against are sent in a share of the quota of their own,
//! taken apart, and at last the device at fault is set aside (I15). `suspicion` says by what
//! evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::account::{AccountIx, Kind};
use crate::engine::batch::{BatchIx, LanePart, Phase};
use crate::engine::lane::LanePhase;
use crate::engine::mutant::{self, Mutant};
use crate::engine::slots::{SlotIx, SlotRef, Stage};
use crate::engine::suspicion::{
    BLIND_MAX, LOOKED_UP_MAX, Manner, PARTS, PROBES_MAX, TRIES, TRIES_BLAMED,
};
use crate::engine::{Mono, Now};
use crate::model::{Action, Failure, FailureCode, Partition, Status};

use super::Worker;
use super::lookups::Why;

/// A look at a device is good for so long, and for some calls of the quota.
const SEEN_FOR: Duration = Duration::from_secs(300);

/// What is done with a batch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Again,
    Split,
    GiveUp,
}

impl Worker {
    /// A submit failed in a way that may be the batch's own fault. Tells whether others say so.
    pub(super) fn suspect(&mut self, ix: BatchIx, manner: Manner, said: &str) -> bool {
        let Some(batch) = self.batches.get_mut(&ix) else { return false };
        let state = &self.accounts[usize::from(batch.account.0)];
        batch.suspicion.fail(state.answered[Kind::Submit as usize], manner, said);
        batch.suspicion.strikes > 0 && !mutant::is(Mutant::AccountBlamed)
    }

    /// Notes whether a batch waits among the suspects.
    pub(super) fn set_suspect(&mut self, ix: BatchIx, is_suspect: bool) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        let state = &mut self.accounts[usize::from(batch.account.0)];
        if batch.is_suspect && !is_suspect {
            state.aside -= 1;
        } else if is_suspect && !batch.is_suspect {
            state.aside += 1;
        }
        batch.is_suspect = is_suspect;
    }

    /// Sends a batch again, as soon as its turn comes.
    pub(super) fn queue_again(&mut self, ix: BatchIx) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        batch.phase = Phase::Waiting;
        let account = batch.account;
        if batch.is_suspect || batch.suspicion.failures >= TRIES_BLAMED {
            self.set_suspect(ix, true);
            self.account(account).suspects.push_back(ix);
        } else {
            self.account(account).resends.push_back(ix);
        }
    }

    /// The grace time after a lost answer has passed.
    pub(super) fn on_silence_over(&mut self, now: Now, ix: BatchIx) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        let state = &self.accounts[usize::from(batch.account.0)];
        batch.suspicion.look(state.answered[Kind::Submit as usize]);
        // Meanwhile a device may be somebody else's: an unclaim is never sent twice unseen.
        let is_unclaim = batch.action == Action::Unclaim;
        let items = batch.items.len();
        let is_looked_up =
            (is_unclaim && !mutant::is(Mutant::SuspectsUnseen)) || items <= LOOKED_UP_MAX;
        match self.step(ix) {
            Step::GiveUp => {
                self.with_batch(ix, |batch| batch.is_condemned = true);
                self.look_apart(ix);
            }
            Step::Split if is_looked_up && !mutant::is(Mutant::SuspectsUnseen) => {
                self.with_batch(ix, |batch| batch.is_split_next = true);
                self.look_apart(ix);
            }
            Step::Split => self.split_evenly(now, ix, PARTS),
            Step::Again if is_unclaim && !mutant::is(Mutant::SuspectsUnseen) => {
                self.look_apart(ix);
            }
            Step::Again => self.queue_again(ix),
        }
    }

    fn with_batch(&mut self, ix: BatchIx, change: impl FnOnce(&mut crate::engine::batch::Batch)) {
        if let Some(batch) = self.batches.get_mut(&ix) {
            change(batch);
        }
    }

    fn step(&mut self, ix: BatchIx) -> Step {
        let Some(batch) = self.batches.get(&ix) else { return Step::Again };
        let mut live = batch.items.iter().filter_map(|name| self.slots.get(*name));
        let (first, is_alone) = (live.next(), live.next().is_none());
        let Some(first) = first else { return Step::Again };
        let (failures, strikes) = (batch.suspicion.failures, batch.suspicion.strikes);
        let account = batch.account;
        if mutant::is(Mutant::SuspectsKept) {
            return Step::Again;
        }
        if is_alone {
            let has_evidence = strikes > 0 || mutant::is(Mutant::OutageBlamed);
            let is_enough = failures >= TRIES && !self.may_retry(first);
            return if has_evidence && is_enough { Step::GiveUp } else { Step::Again };
        }
        if strikes > 0 && failures >= TRIES_BLAMED {
            return Step::Split;
        }
        let state = self.account(account);
        if failures >= TRIES && state.blind < BLIND_MAX {
            state.blind += 1;
            return Step::Split;
        }
        Step::Again
    }

    /// Looks every device of a batch up; those that are not as wanted come back into it.
    fn look_apart(&mut self, ix: BatchIx) {
        self.with_batch(ix, |batch| batch.is_apart = true);
        self.verify_all(ix, &Why::AnswerLost);
        self.apart.insert(ix);
    }

    /// A device of a batch whose answer was lost is not as the command wants it.
    pub(super) fn set_apart(&mut self, now: Now, ix: SlotIx) {
        let name = self.slots.name(ix);
        let of = self.slots[ix].batch;
        match self.batches.get_mut(&of) {
            Some(batch) if batch.is_condemned => {
                let said = std::sync::Arc::clone(&batch.suspicion.said);
                self.give_up(now, ix, &said);
            }
            Some(batch) if batch.is_apart => {
                self.slots[ix].stage = Stage::InBatch;
                batch.items.push(name);
                self.apart.insert(of);
            }
            Some(_) | None => self.retry(now, ix),
        }
    }

    /// Sends on what is left of batches whose devices have all been looked up.
    pub(super) fn review_apart(&mut self, now: Now) {
        for ix in std::mem::take(&mut self.apart) {
            let slots = &self.slots;
            let Some(batch) = self.batches.get_mut(&ix).filter(|batch| batch.is_apart) else {
                continue;
            };
            batch.items.retain(|name| slots.get(*name).is_some());
            if batch.items.len() < batch.waiting || batch.items.is_empty() {
                continue;
            }
            (batch.is_apart, batch.looked) = (false, now.mono);
            if std::mem::take(&mut batch.is_split_next) && batch.items.len() > 1 {
                self.split_evenly(now, ix, PARTS);
            } else {
                self.queue_again(ix);
            }
        }
    }

    /// Whether an unclaim whose answer was lost was looked at too long ago to be sent. A slow quota
    /// alone is no reason: another look would take as long.
    fn is_unseen(&self, now: Mono, ix: BatchIx) -> bool {
        self.batches.get(&ix).is_some_and(|batch| {
            let quota = &self.accounts[usize::from(batch.account.0)].quota;
            let slow = quota.interval().saturating_mul(16);
            batch.action == Action::Unclaim
                && batch.ambiguous
                && now.since(batch.looked) > SEEN_FOR.saturating_add(slow)
        })
    }

    /// Looks at the unclaims of a batch again if they would be sent too long after the last look.
    pub(super) fn looks_again(&mut self, now: Mono, ix: BatchIx) -> bool {
        let is_unseen = self.is_unseen(now, ix);
        if is_unseen {
            self.look_apart(ix);
        }
        is_unseen
    }

    fn give_up(&mut self, now: Now, ix: SlotIx, said: &str) {
        let sends = self.sends_of(ix);
        let failure = Failure {
            code: FailureCode::NoAnswer,
            api_status: None,
            api_identifier: None,
            message: format!(
                "no usable answer came to {sends} calls, the last of them alone, while other calls \
                 were answered ({said}); a lookup shows the device unchanged, but it may still \
                 change. Look at the device, then send the event again if need be"
            ),
            retryable: true,
        };
        self.decide(now, ix, Status::Unresolved, Some(failure), None);
    }

    /// Splits a batch into so many parts, or one for each device.
    pub(super) fn split_evenly(&mut self, now: Now, ix: BatchIx, parts: usize) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        let slots = &self.slots;
        let mut items = std::mem::take(&mut batch.items);
        items.retain(|name| slots.get(*name).is_some());
        let size = items.len().div_ceil(parts).max(1);
        let parts: Vec<Vec<SlotRef>> = items.chunks(size).map(<[SlotRef]>::to_vec).collect();
        self.split_into(now, ix, parts);
    }

    /// Ends a batch and goes on with its parts, as suspects.
    pub(super) fn split_into(
        &mut self,
        now: Now,
        ix: BatchIx,
        parts: Vec<Vec<SlotRef>>,
    ) -> Vec<BatchIx> {
        let Some(batch) = self.batches.get_mut(&ix) else { return Vec::new() };
        let (id, lanes) = (batch.id, std::mem::take(&mut batch.lanes));
        let (account, action) = (batch.account, batch.action);
        // The ledger tells a lost answer by the second attempt.
        let is_ambiguous = batch.ambiguous;
        let sends = if is_ambiguous { batch.sends } else { 0 };
        let (suspicion, depth) = (batch.suspicion.of_part(), batch.depth.saturating_add(1));
        let (looked, refusal) = (batch.looked, batch.refusal);
        self.tell_split(ix, parts.len());
        let mut resolved = BTreeMap::new();
        if !mutant::is(Mutant::RejectedRecordKept) {
            // The next owner of a lane that goes has to know that its commands may have been sent.
            let stays = |lane: &Partition| {
                self.lanes.get(lane).is_some_and(|lane| lane.phase != LanePhase::Closing)
            };
            for (lane, part) in lanes.into_iter().filter(|(lane, _)| !is_ambiguous || stays(lane)) {
                // What of it is published stays known for as long as the watermark is below.
                if part.decided.is_empty() {
                    self.commit.ended.insert((lane, id));
                } else {
                    resolved.insert(lane, LanePart { open: Vec::new(), ..part });
                }
            }
        }
        let is_over = resolved.is_empty();
        self.with_batch(ix, |batch| (batch.waiting, batch.lanes) = (0, resolved));
        self.finish_batch(ix);
        if is_over {
            self.batches.remove(&ix);
        }
        // What is left of the whole is for the ledger: nothing waits in it any more.
        for name in parts.iter().flatten() {
            self.slots[name.ix].batch = BatchIx::NONE;
        }
        self.split += 1;
        let mut made = Vec::with_capacity(parts.len());
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let part = self.new_batch(now, account, action, part);
            if let Some(batch) = self.batches.get_mut(&part) {
                (batch.ambiguous, batch.sends) = (is_ambiguous, sends);
                (batch.suspicion, batch.depth) = (suspicion.clone(), depth);
                (batch.looked, batch.refusal) = (looked, refusal);
                // In the transaction that ends the whole, so that no crash forgets them.
                self.commit.dirty.extend(batch.lanes.keys().map(|lane| (*lane, part)));
            }
            if let Some(refusal) = refusal.and_then(|refusal| self.refusals.get_mut(&refusal)) {
                refusal.parts.insert(part);
            }
            self.set_suspect(part, true);
            self.account(account).suspects.push_back(part);
            made.push(part);
        }
        made
    }

    /// Whether a suspect's call may be made, the quota permitting.
    pub(super) fn may_probe(&mut self, account: AccountIx) -> bool {
        let state = &mut self.accounts[usize::from(account.0)];
        while let Some(ix) = state.suspects.front() {
            let is_parked = |refusal| {
                let refusal = self.refusals.get(&refusal);
                refusal.is_some_and(|refusal| refusal.parked.contains(ix))
            };
            let batch = self.batches.get(ix).filter(|batch| batch.phase == Phase::Waiting);
            match batch {
                Some(batch) if !batch.refusal.is_some_and(is_parked) => {
                    // One is enough to find out that the account is let in again.
                    let is_refused = state.is_refused(Kind::Submit);
                    let probes_max = if is_refused { 1 } else { PROBES_MAX };
                    return !state.paused && state.probes < probes_max;
                }
                Some(_) | None => drop(state.suspects.pop_front()),
            }
        }
        false
    }

    /// Sends suspects, in their share of the quota.
    pub(super) fn make_probes(&mut self, now: Now, account: AccountIx) {
        while self.may_probe(account) {
            let state = self.account(account);
            if !state.may_call(now.mono, Kind::Submit) || !state.quota.grant_probe(now.mono) {
                return;
            }
            let Some(ix) = state.suspects.pop_front() else { return };
            if self.looks_again(now.mono, ix) {
                continue;
            }
            if let Some(batch) = self.batches.get_mut(&ix) {
                batch.is_probe = true;
                self.account(account).probes += 1;
                self.intend(now, ix);
            }
        }
    }

    /// The call of a batch is over, or will not be made.
    pub(super) fn end_probe(&mut self, ix: BatchIx) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        if std::mem::take(&mut batch.is_probe) {
            self.accounts[usize::from(batch.account.0)].probes -= 1;
        }
    }
}

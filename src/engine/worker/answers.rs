//! What comes back from submits and polls.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::account::{AccountIx, Kind};
use crate::engine::backoff::backoff;
use crate::engine::batch::{Batch, BatchIx, Phase};
use crate::engine::mutant::{self, Mutant};
use crate::engine::settlement::settle;
use crate::engine::slots::{SlotIx, SlotRef};
use crate::engine::suspicion::{Manner, Suspicion};
use crate::engine::{CallNumber, Mono, Now};
use crate::model::{
    Action, CallFailure, DeviceFault, DeviceHash, DeviceKey, DeviceResult, DeviceVerdict, Failure,
    FailureCode, Identifiers, Named, OperationReply, Status,
};

use super::calls::Call;
use super::lookups::{Question, Why};
use super::trail::found;
use super::{Timer, Worker};

impl Worker {
    pub(super) fn on_submitted(
        &mut self,
        now: Now,
        call: CallNumber,
        result: Result<Arc<str>, CallFailure>,
    ) {
        let Some(asked @ Call::Submit(ix)) = self.calls.remove(&call) else { return };
        self.tell_answer(call.0, asked, &result, |_| "accepted");
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        if batch.phase != Phase::Submitting {
            return;
        }
        let account = batch.account;
        if batch.is_probe {
            self.end_probe(ix);
        } else {
            self.accounts[usize::from(account.0)].batcher(batch.action).submitting = None;
        }
        self.on_submit_answer(now, ix, account, result);
        // Its lanes may have gone while the call was out.
        if self.batches.get(&ix).is_some_and(|batch| batch.waiting == 0) {
            self.finish_batch(ix);
        }
    }

    fn on_submit_answer(
        &mut self,
        now: Now,
        ix: BatchIx,
        account: AccountIx,
        result: Result<Arc<str>, CallFailure>,
    ) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        match result {
            Ok(operation) => {
                batch.sends = batch.sends.saturating_add(1);
                batch.operation = Some(operation);
                (batch.phase, batch.failures) = (Phase::Polling, 0);
                batch.suspicion = Suspicion::default();
                // A batch that was sent before and lost its answer has spent part of the first
                // deadline; this operation gets the whole time, or it would be given up running.
                if !mutant::is(Mutant::DeadlineKept) {
                    batch.deadline = now.mono + self.options.operation_deadline;
                    batch.deadline_at = now.wall_after(self.options.operation_deadline);
                }
                self.commit.dirty.extend(batch.lanes.keys().map(|lane| (*lane, ix)));
                let first = self.options.poll_delay_min;
                self.timers.insert((now.mono + first, Timer::Poll(ix)));
                self.set_suspect(ix, false);
                self.leave_refusal(ix, true);
                self.note_success(account, Kind::Submit);
                let state = self.account(account);
                (state.failures, state.batches_after) = (0, Mono::default());
                if mutant::is(Mutant::TwoOperations) {
                    self.move_up_all(ix);
                }
            }
            Err(CallFailure::NotSent { reason }) => {
                let wait = self.next_backoff(ix);
                self.tell_submit_failed(
                    ix,
                    wait,
                    &reason,
                    "a submit did not reach the API; it is repeated",
                );
                self.resend_after(now, ix, wait);
                self.hold_submits(now, account);
            }
            Err(CallFailure::Ambiguous { reason }) => self.on_silence(now, ix, account, &reason),
            Err(CallFailure::Throttled { after }) => {
                let wait = after.unwrap_or_else(|| self.next_backoff(ix));
                self.throttle(now, account, wait);
                self.resend_after(now, ix, wait);
            }
            Err(CallFailure::Unauthorised { reason }) => {
                let wait = self.refuse(now, account, Kind::Submit, &reason);
                self.resend_after(now, ix, wait);
            }
            Err(CallFailure::Forbidden { status, message, reason }) => {
                self.on_forbidden(now, ix, &rejection(status, None, message), &reason);
            }
            Err(CallFailure::Rejected { status, identifier, message, named }) => {
                self.note_answer(account, Kind::Submit);
                self.on_refused(now, ix, &rejection(status, identifier, message), &named);
            }
            Err(CallFailure::NotFound) => {
                self.note_answer(account, Kind::Submit);
                let fault = rejection("NOT_FOUND".into(), None, "the method answered 404".into());
                self.on_refused(now, ix, &fault, &Named::default());
            }
        }
    }

    /// The answer to a submit was lost.
    fn on_silence(&mut self, now: Now, ix: BatchIx, account: AccountIx, reason: &str) {
        self.lost_answers += 1;
        let is_blamed = self.suspect(ix, Manner::Silent, reason);
        self.leave_refusal(ix, true);
        let is_hasty = mutant::is(Mutant::NoGrace);
        let grace = if is_hasty { Duration::ZERO } else { self.options.ambiguous_grace };
        let wait = grace.max(self.next_backoff(ix));
        self.tell_submit_failed(
            ix,
            wait,
            reason,
            "the answer to a submit was lost; it may have worked, so it is repeated only \
             after the grace time, and what fails then is looked up",
        );
        self.lose_answer(ix);
        self.resend_after(now, ix, wait);
        // One that has failed before says nothing new, and must not hold back the others.
        let is_known = self.batches.get(&ix).is_some_and(|batch| batch.is_suspect);
        if !is_blamed && !is_known {
            self.hold_submits(now, account);
        }
    }

    /// While calls fail, no new batches are begun: they would only share the uncertainty.
    fn hold_submits(&mut self, now: Now, account: AccountIx) {
        let failures = self.account(account).failures.saturating_add(1);
        let (min, max) = (self.options.backoff_min, self.options.backoff_max);
        let wait = backoff(failures, min, max, &mut self.rng);
        let state = self.account(account);
        state.failures = failures;
        state.batches_after = now.mono + wait;
    }

    fn lose_answer(&mut self, ix: BatchIx) {
        if let Some(batch) = self.batches.get_mut(&ix) {
            batch.sends = batch.sends.saturating_add(1);
            batch.ambiguous = true;
        }
    }

    pub(super) fn resend_after(&mut self, now: Now, ix: BatchIx, wait: Duration) {
        if let Some(batch) = self.batches.get_mut(&ix) {
            batch.phase = Phase::Waiting;
            self.timers.insert((now.mono + wait, Timer::Resend(ix)));
        }
    }

    pub(super) fn on_resend_due(&mut self, now: Now, ix: BatchIx) {
        let Some(batch) = self.batches.get(&ix) else { return };
        if batch.phase == Phase::Waiting {
            if batch.ambiguous {
                self.on_silence_over(now, ix);
            } else {
                self.queue_again(ix);
            }
        }
    }

    pub(super) fn on_poll_due(&mut self, now: Now, ix: BatchIx) {
        let Some(batch) = self.batches.get(&ix) else { return };
        if batch.phase == Phase::Polling {
            let account = batch.account;
            // After an outage longer than the deadline the operation may have ended long ago.
            if now.mono >= batch.deadline && batch.is_polled {
                let is_known = batch.vanished.is_none();
                self.verify_all(ix, if is_known { &Why::Deadline } else { &Why::Vanished });
            } else {
                self.account(account).polls.push_back(ix);
            }
        }
    }

    pub(super) fn on_polled(
        &mut self,
        now: Now,
        call: CallNumber,
        result: Result<OperationReply, CallFailure>,
    ) {
        let Some(asked @ Call::Poll(ix)) = self.calls.remove(&call) else { return };
        self.tell_answer(call.0, asked, &result, found);
        if result.is_ok() {
            self.tell_poll_answered(ix);
        }
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        if batch.phase != Phase::Polling {
            return;
        }
        let account = batch.account;
        batch.is_polled = true;
        if result.is_ok() {
            batch.vanished = None;
        }
        if matches!(result, Ok(_) | Err(CallFailure::NotFound)) {
            batch.failures = 0;
            self.note_success(account, Kind::Poll);
            self.calm(ix);
        }
        let Some(batch) = self.batches.get(&ix) else { return };
        match result {
            Ok(OperationReply::Running { progress }) => {
                let delay = poll_delay(now, batch, progress, &self.options);
                let delay = delay.max(self.poll_interval(account));
                self.timers.insert((now.mono + delay, Timer::Poll(ix)));
            }
            Ok(OperationReply::Done { results }) => self.on_results(now, ix, results),
            Ok(OperationReply::Failed { code, message }) => {
                self.tell_operation(
                    ix,
                    Some(&format!("code {code}: {message}")),
                    None,
                    "an operation failed as a whole; its devices are looked up",
                );
                self.verify_all(ix, &Why::OperationFailed { code, message: message.into() });
            }
            Err(CallFailure::NotFound) => self.on_vanished(now, ix, None),
            Err(CallFailure::Rejected { status, message, .. }) => {
                self.on_vanished(now, ix, Some(&format!("{status}: {message}")));
            }
            Err(CallFailure::NotSent { reason } | CallFailure::Ambiguous { reason }) => {
                let wait = self.next_backoff(ix).max(self.options.poll_delay_min);
                self.tell_poll_failed(ix, wait, &reason);
                self.timers.insert((now.mono + wait, Timer::Poll(ix)));
            }
            Err(CallFailure::Throttled { after }) => {
                let wait = after.unwrap_or_else(|| self.next_backoff(ix));
                self.throttle(now, account, wait);
                self.timers.insert((now.mono + wait, Timer::Poll(ix)));
            }
            // Other polls are answered: it is this operation, not the account.
            Err(CallFailure::Forbidden { reason, .. }) if self.is_alone_refused(ix, &reason) => {
                let wait = self.next_backoff(ix).max(self.options.poll_delay_min);
                self.tell_poll_failed(ix, wait, &reason);
                self.timers.insert((now.mono + wait, Timer::Poll(ix)));
            }
            Err(CallFailure::Unauthorised { reason } | CallFailure::Forbidden { reason, .. }) => {
                let wait = self.refuse(now, account, Kind::Poll, &reason);
                self.timers.insert((now.mono + wait, Timer::Poll(ix)));
            }
        }
    }

    /// The API does not know the operation: perhaps not yet everywhere, perhaps it has forgotten
    /// one that still runs. It is asked again for the grace time, or until the operation's deadline
    /// if that is sooner; then the devices say what became of it.
    fn on_vanished(&mut self, now: Now, ix: BatchIx, reason: Option<&str>) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        let (account, deadline) = (batch.account, batch.deadline);
        let since = *batch.vanished.get_or_insert(now.mono);
        let left = self.options.ambiguous_grace.saturating_sub(now.mono.since(since));
        if left.is_zero() {
            return self.verify_all(ix, &Why::Vanished);
        }
        if since == now.mono {
            self.tell_operation(
                ix,
                reason,
                Some(left.min(deadline.since(now.mono))),
                "the API does not know an operation that it named; it is asked again for a while, \
                 then the devices are looked up",
            );
        }
        let interval = self.poll_interval(account);
        let delay = self.options.poll_delay_max.max(interval).min(left);
        self.timers.insert((now.mono + delay, Timer::Poll(ix)));
    }

    fn on_results(&mut self, now: Now, ix: BatchIx, results: Vec<DeviceResult>) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        batch.phase = Phase::Settling;
        let (ambiguous, action) = (batch.ambiguous, batch.action);
        let items = std::mem::take(&mut batch.items);
        let hash = |name: &SlotRef| {
            let ix = self.slots.get(*name)?;
            let by_id = self.by_id.get(name).and_then(|id| {
                DeviceKey::of(&Identifiers::default(), Some(id)).map(|key| key.hash())
            });
            Some(by_id.unwrap_or(self.slots[ix].facts.device))
        };
        // The hash of a device is never 0, so that a dropped item matches nothing.
        let devices: Vec<DeviceHash> =
            items.iter().map(|name| hash(name).unwrap_or(DeviceHash(0))).collect();
        let verdicts = settle(&devices, results);
        let again = mutant::is(Mutant::RetriesSucceeded)
            && verdicts
                .iter()
                .flatten()
                .any(|verdict| matches!(verdict, DeviceVerdict::Failed(fault) if fault.retryable));
        for (name, verdict) in items.into_iter().zip(verdicts) {
            let Some(ix) = self.slots.get(name) else { continue };
            match verdict {
                Some(DeviceVerdict::Succeeded { .. }) if again && self.may_retry(ix) => {
                    self.retry(now, ix);
                }
                Some(DeviceVerdict::Succeeded { device_id }) => {
                    self.decide(now, ix, Status::Succeeded, None, device_id);
                }
                Some(DeviceVerdict::Failed(fault)) => {
                    if ambiguous || needs_lookup(action, &fault) {
                        self.ask(ix, Question::verify(Why::Failed(fault)));
                    } else {
                        self.fail_or_retry(now, ix, &fault);
                    }
                }
                None if mutant::is(Mutant::MissingResultSucceeds) => {
                    self.decide(now, ix, Status::Succeeded, None, None);
                }
                None => self.ask(ix, Question::verify(Why::ResultMissing)),
            }
        }
    }

    /// Finds out about every device of a batch by itself.
    pub(super) fn verify_all(&mut self, ix: BatchIx, why: &Why) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        batch.phase = Phase::Settling;
        for name in std::mem::take(&mut batch.items) {
            if let Some(ix) = self.slots.get(name) {
                self.ask(ix, Question::verify(why.clone()));
            }
        }
    }

    /// Takes a device's failure at its word: once more if that may help, else it is final.
    pub(super) fn fail_or_retry(&mut self, now: Now, ix: SlotIx, fault: &DeviceFault) {
        if fault.retryable && self.sends_of(ix) < self.options.device_attempts_max {
            self.retry(now, ix);
        } else {
            self.decide(now, ix, Status::Failed, Some(failure(fault)), None);
        }
    }

    /// The shortest useful time between two polls of one operation of an account.
    fn poll_interval(&self, account: AccountIx) -> Duration {
        let runs = |batch: &&Batch| batch.account == account && batch.phase == Phase::Polling;
        let operations = self.batches.values().filter(runs).count();
        self.accounts[usize::from(account.0)].poll_interval(operations)
    }

    pub(super) fn next_backoff(&mut self, ix: BatchIx) -> Duration {
        let failures = self.batches.get_mut(&ix).map_or(1, |batch| {
            batch.failures = batch.failures.saturating_add(1);
            batch.failures
        });
        backoff(failures, self.options.backoff_min, self.options.backoff_max, &mut self.rng)
    }
}

/// When to ask next: Google's sample formula, within bounds.
fn poll_delay(
    now: Now,
    batch: &Batch,
    progress: Option<u8>,
    options: &crate::engine::Options,
) -> Duration {
    let elapsed = now.mono.since(batch.submitted);
    let estimate = match progress {
        Some(progress @ 1..=100) => {
            elapsed.saturating_mul(100 - u32::from(progress)) / u32::from(progress)
        }
        // Google's samples disagree here: one waits the minimum, the others the maximum. Waiting
        // as long again as it took so far lies between.
        _ => elapsed,
    };
    estimate.max(options.poll_delay_min).min(options.poll_delay_max)
}

/// Failures whose meaning depends on the device's real state: "already claimed" by the right
/// customer is a success, and so is "not claimed" for an unclaim.
pub(super) fn needs_lookup(action: Action, fault: &DeviceFault) -> bool {
    let exists = fault.api_identifier.as_deref() == Some("DEVICE_ALREADY_EXISTS");
    match action {
        Action::Claim => exists || fault.code == FailureCode::DeviceNotYours,
        Action::Unclaim => fault.code != FailureCode::DevicePermissionDenied,
        Action::UpdateMetadata => false,
    }
}

fn rejection(status: String, identifier: Option<String>, message: String) -> DeviceFault {
    DeviceFault {
        code: FailureCode::BatchRejected,
        api_status: status,
        api_identifier: identifier,
        api_message: Some(message),
        retryable: false,
    }
}

/// The outcome's account of a device's fault.
pub(super) fn failure(fault: &DeviceFault) -> Failure {
    let said = fault.api_message.as_deref().unwrap_or("no message");
    Failure {
        code: fault.code,
        api_status: Some(fault.api_status.clone()).filter(|status| !status.is_empty()),
        api_identifier: fault.api_identifier.clone(),
        message: format!("the API refused the change: {said}"),
        retryable: fault.retryable,
    }
}

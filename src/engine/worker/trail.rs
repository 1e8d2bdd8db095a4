//! What the engine tells of its doings: batches, calls and answers at `debug`, outcomes at `trace`,
//! and in any case what a person has to know.
//!
//! An event that nobody wants costs a look at its level: what it says is put together only then.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::Now;
use crate::engine::batch::{Batch, BatchIx};
use crate::engine::suspicion::Refusal;
use crate::model::{
    CallFailure, DeviceState, FailureCode, OperationReply, PackedCommand, Status, Verdict,
};

use super::Worker;
use super::calls::Call;

/// Unresolved outcomes of a batch that get a line each; more of them get one together. An operation
/// that vanishes takes up to a thousand devices along, and the first ones tell what it is about.
const UNRESOLVED_TOLD: u32 = 3;

/// Refusals that get a line each, in so much time; more of them are told at `debug`.
const REFUSALS_TOLD: u32 = 10;
const REFUSALS_WINDOW: Duration = Duration::from_secs(60);

/// The device, masked.
fn device(command: &PackedCommand) -> Option<String> {
    command.unpack().device_key().map(|key| key.to_string())
}

impl Worker {
    fn account_of(&self, batch: &Batch) -> &str {
        &self.accounts[usize::from(batch.account.0)].name
    }

    /// Commands have been put together, by this worker or by the one before.
    pub(super) fn tell_batch(&self, batch: &Batch, what: &'static str) {
        tracing::debug!(
            batch = %batch.id,
            account = self.account_of(batch),
            action = batch.action.as_str(),
            devices = batch.waiting,
            phase = batch.phase.as_str(),
            operation = batch.operation.as_deref(),
            "{what}"
        );
    }

    /// A call goes out. A batch's call is told by its id, a lookup by its device.
    pub(super) fn tell_call(&self, number: u64, call: Call) {
        match call {
            Call::Submit(ix) | Call::Poll(ix) => {
                let Some(batch) = self.batches.get(&ix) else { return };
                tracing::debug!(
                    call = number,
                    kind = call.kind().as_str(),
                    batch = %batch.id,
                    account = self.account_of(batch),
                    action = batch.action.as_str(),
                    devices = batch.items.len(),
                    operation = batch.operation.as_deref(),
                    "a call goes out"
                );
            }
            Call::Lookup(account, name) => {
                tracing::debug!(
                    call = number,
                    kind = call.kind().as_str(),
                    account = &*self.accounts[usize::from(account.0)].name,
                    device = self.slots.get(name).and_then(|ix| device(&self.slots[ix].packed)),
                    "a call goes out"
                );
            }
        }
    }

    /// A call was answered.
    pub(super) fn tell_answer<T>(
        &self,
        number: u64,
        call: Call,
        result: &Result<T, CallFailure>,
        said: fn(&T) -> &'static str,
    ) {
        let batch = match call {
            Call::Submit(ix) | Call::Poll(ix) => self.batches.get(&ix),
            Call::Lookup(..) => None,
        };
        tracing::debug!(
            call = number,
            kind = call.kind().as_str(),
            batch = batch.map(|batch| tracing::field::display(batch.id)),
            operation = batch.and_then(|batch| batch.operation.as_deref()),
            class = result.as_ref().err().map_or("ok", CallFailure::class),
            said = result.as_ref().ok().map(said),
            reason = result.as_ref().err().map(tracing::field::display),
            "a call was answered"
        );
    }

    /// No device of a batch is open any more; those that are sent again are in other batches.
    pub(super) fn tell_finished(&self, batch: &Batch) {
        if batch.is_deferral {
            return;
        }
        let count = |status: Status| {
            let count = batch.outcomes[status as usize];
            (count > 0).then_some(count)
        };
        tracing::debug!(
            batch = %batch.id,
            account = self.account_of(batch),
            action = batch.action.as_str(),
            sends = batch.sends,
            operation = batch.operation.as_deref(),
            succeeded = count(Status::Succeeded),
            failed = count(Status::Failed),
            superseded = count(Status::Superseded),
            merged = count(Status::Merged),
            stale = count(Status::Stale),
            unresolved = count(Status::Unresolved),
            "a batch is done: its devices have outcomes, or go on in other batches"
        );
        self.tell_many_unresolved(batch);
    }

    /// How many unresolved outcomes there were, if not each had a line.
    fn tell_many_unresolved(&self, batch: &Batch) {
        let count = batch.outcomes[Status::Unresolved as usize];
        if count <= UNRESOLVED_TOLD {
            return;
        }
        let code = match batch.vanished {
            Some(_) => FailureCode::ResultMissing,
            None => FailureCode::DeadlineExceeded,
        };
        tracing::warn!(
            batch = %batch.id,
            account = self.account_of(batch),
            action = batch.action.as_str(),
            operation = batch.operation.as_deref(),
            code = code.as_str(),
            count,
            logged = UNRESOLVED_TOLD,
            "nobody knows whether the changes of an operation were made; so many of its outcomes \
             are unresolved, the first are logged one by one. The outcomes topic has all of them, \
             with this operation: look the devices up in the zero-touch portal"
        );
    }

    /// Something is odd with the operation of a batch, for this reason; it is still asked for
    /// meanwhile, if there is a `wait`.
    pub(super) fn tell_operation(
        &self,
        ix: BatchIx,
        reason: Option<&str>,
        wait: Option<Duration>,
        what: &'static str,
    ) {
        let Some(batch) = self.batches.get(&ix) else { return };
        let slots = || batch.items.iter().filter_map(|name| self.slots.get(*name));
        let orders: BTreeSet<_> = slots().map(|ix| self.slots[ix].facts.order).collect();
        let first = slots().next().map(|ix| self.slots[ix].packed.unpack().order_id);
        tracing::warn!(
            batch = %batch.id,
            account = self.account_of(batch),
            action = batch.action.as_str(),
            operation = batch.operation.as_deref(),
            devices = slots().count(),
            orders = orders.len(),
            order_id = first,
            wait = wait.map(tracing::field::debug),
            reason,
            "{what}"
        );
    }

    /// A person has to look at the device. The first ones of a batch get a line each.
    pub(super) fn tell_unresolved(
        &self,
        batch: BatchIx,
        packed: &PackedCommand,
        verdict: &Verdict,
    ) {
        let batch = self.batches.get(&batch);
        let number = batch.map_or(1, |batch| batch.outcomes[Status::Unresolved as usize]);
        if number > UNRESOLVED_TOLD {
            return;
        }
        let command = packed.unpack();
        tracing::warn!(
            device = command.device_key().map(|key| key.to_string()),
            action = command.action.as_str(),
            account = command.account,
            order_id = command.order_id,
            event_id = command.event_id,
            code = verdict.failure.as_ref().map(|failure| failure.code.as_str()),
            operation = verdict.operation.as_deref(),
            batch = batch.map(|batch| tracing::field::display(batch.id)),
            why = verdict.failure.as_ref().map(|failure| &*failure.message),
            "nobody knows whether a change was made; its outcome is unresolved. Look the device \
             up in the zero-touch portal, and send the order event again if the change is not there"
        );
    }

    /// A batch is taken apart, since it fails while nothing says that the account is at fault.
    pub(super) fn tell_split(&self, ix: BatchIx, parts: usize) {
        let Some(batch) = self.batches.get(&ix) else { return };
        tracing::debug!(
            batch = %batch.id,
            account = self.account_of(batch),
            action = batch.action.as_str(),
            failures = batch.suspicion.failures,
            parts,
            "a batch is taken apart to find what its calls fail for"
        );
    }

    /// All that a refused batch was split into is done.
    pub(super) fn tell_refusal(&mut self, now: Now, refusal: &Refusal) {
        if refusal.refused == 0 {
            return;
        }
        self.set_aside += refusal.refused as u64;
        let (since, told) = &mut self.refusals_told;
        if now.mono.since(*since) > REFUSALS_WINDOW {
            (*since, *told) = (now.mono, 0);
        }
        *told = told.saturating_add(1);
        let first = refusal.first.as_ref();
        let (account, action) =
            (&*self.accounts[usize::from(refusal.account.0)].name, refusal.action);
        let (action, devices, of) = (action.as_str(), refusal.refused, refusal.devices);
        let (orders, order_id) = (refusal.orders.len(), first.map(|(order, _)| order));
        let device = first.and_then(|(_, device)| device.as_ref());
        let (status, identifier) = (&refusal.fault.api_status, &refusal.fault.api_identifier);
        let reason = refusal.fault.api_message.as_deref();
        if *told > REFUSALS_TOLD {
            tracing::debug!(
                account,
                action,
                devices,
                of,
                orders,
                order_id,
                device,
                status,
                identifier,
                reason,
                "the API refuses devices for what their calls say; their outcomes are failed"
            );
            return;
        }
        tracing::warn!(
            account,
            action,
            devices,
            of,
            orders,
            order_id,
            device,
            status,
            identifier,
            reason,
            "the API refuses devices for what their calls say; their outcomes are failed, what was \
             sent with them goes on. Correct what the reason names, then send their order events \
             again"
        );
    }

    /// A submit got no usable answer.
    pub(super) fn tell_submit_failed(
        &self,
        ix: BatchIx,
        wait: Duration,
        reason: &str,
        what: &'static str,
    ) {
        let Some(batch) = self.batches.get(&ix) else { return };
        tracing::warn!(
            batch = %batch.id,
            account = self.account_of(batch),
            action = batch.action.as_str(),
            devices = batch.items.len(),
            ?wait,
            reason,
            "{what}"
        );
    }

    /// Polls of an operation get no usable answer. Only the first in a row is worth a line.
    pub(super) fn tell_poll_failed(&mut self, ix: BatchIx, wait: Duration, reason: &str) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        if std::mem::replace(&mut batch.is_poll_failing, true) {
            tracing::debug!(?wait, reason, "a poll failed again; the operation is asked for again");
            return;
        }
        tracing::warn!(
            batch = %batch.id,
            account = &*self.accounts[usize::from(batch.account.0)].name,
            operation = batch.operation.as_deref(),
            ?wait,
            reason,
            "a poll failed; the operation is asked for again until it answers, its devices wait"
        );
    }

    /// A poll got a usable answer.
    pub(super) fn tell_poll_answered(&mut self, ix: BatchIx) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        if std::mem::take(&mut batch.is_poll_failing) {
            tracing::info!(
                batch = %batch.id,
                account = &*self.accounts[usize::from(batch.account.0)].name,
                operation = batch.operation.as_deref(),
                "an operation whose polls failed is answered for again"
            );
        }
    }
}

/// What a poll found.
pub(super) const fn found(reply: &OperationReply) -> &'static str {
    match reply {
        OperationReply::Running { .. } => "running",
        OperationReply::Done { .. } => "done",
        OperationReply::Failed { .. } => "failed",
    }
}

/// What a lookup found.
pub(super) const fn known(state: &Option<DeviceState>) -> &'static str {
    if state.is_some() { "known" } else { "unknown" }
}

/// A command is decided.
pub(super) fn tell_outcome(packed: &PackedCommand, verdict: &Verdict) {
    if tracing::enabled!(tracing::Level::TRACE) {
        let command = packed.unpack();
        tracing::trace!(
            device = command.device_key().map(|key| key.to_string()),
            order_id = command.order_id,
            status = verdict.status.as_str(),
            code = verdict.failure.as_ref().map(|failure| failure.code.as_str()),
            operation = verdict.operation.as_deref(),
            "an outcome"
        );
    }
}

//! Devices looked up: before an unclaim goes out, and where a result is not to be trusted.

use std::sync::Arc;

use crate::engine::account::{AccountIx, Kind};
use crate::engine::backoff::backoff;
use crate::engine::guard::{Holder, stale};
use crate::engine::slots::{SlotIx, SlotRef, Stage};
use crate::engine::suspicion::{Manner, Suspicion};
use crate::engine::{CallNumber, Effect, GuardMode, Now};
use crate::model::{
    Action, CallFailure, Command, DeviceFault, DeviceState, Failure, FailureCode, Status,
};

use super::answers::failure;
use super::calls::Call;
use super::trail::known;
use super::{Timer, Worker};

/// A device whose lookups failed so often is given up, if so often others were answered meanwhile.
const LOOKUP_TRIES: u32 = 6;
const LOOKUP_STRIKES: u32 = 3;

/// Errors of the API that are about a device's identifiers.
const IDENTIFIER_CODES: [&str; 6] = [
    "INVALID_IDENTIFIER_SET",
    "INVALID_IMEI",
    "INVALID_MEID",
    "INVALID_SERIAL",
    "INVALID_MANUFACTURER",
    "INVALID_MODEL",
];

/// Why a device is looked up.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Would this unclaim remove a claim that it does not mean?
    MayUnclaim,
    /// Did the command take effect?
    Verify { why: Why },
}

/// What made a result doubtful.
#[derive(Clone, Debug)]
pub(super) enum Why {
    /// The API said no, which may be because it is so already.
    Failed(Box<DeviceFault>),
    /// The operation is done and says nothing of the device.
    ResultMissing,
    /// The operation is unknown to the API.
    Vanished,
    /// The operation ended with an error of its own.
    OperationFailed { code: i32, message: Arc<str> },
    /// The operation did not end in time.
    Deadline,
    /// The call was never answered.
    AnswerLost,
}

impl Question {
    pub(super) const fn verify(why: Why) -> Self {
        Self::Verify { why }
    }
}

/// What a device's real state says of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    AsWanted,
    /// Claimed as wanted, but the claim's metadata is not there.
    LacksMetadata,
    /// Somebody else holds the device.
    HeldByOther,
    NotAsWanted,
}

impl Worker {
    pub(super) fn ask(&mut self, ix: SlotIx, question: Question) {
        if matches!(question, Question::Verify { .. }) {
            self.slots[ix].stage = Stage::Verifying;
        }
        let name = self.slots.name(ix);
        self.questions.insert(name, (question, Suspicion::default()));
        self.queue_lookup(name);
    }

    pub(super) fn queue_lookup(&mut self, name: SlotRef) {
        if let Some(ix) = self.slots.get(name) {
            let account = self.slots[ix].account;
            self.account(account).lookups.push_back(name);
        }
    }

    /// Whether a lookup waits, and one more may be under way.
    pub(super) fn has_lookup(&mut self, account: AccountIx) -> bool {
        let (slots, state) = (&self.slots, &mut self.accounts[usize::from(account.0)]);
        while state.lookups.front().is_some_and(|name| slots.get(*name).is_none()) {
            state.lookups.pop_front();
        }
        !state.lookups.is_empty() && state.lookups_running < self.options.lookups_max
    }

    pub(super) fn make_lookup(&mut self, account: AccountIx) {
        let Some(name) = self.account(account).lookups.pop_front() else { return };
        self.account(account).lookups_running += 1;
        let call = self.number_call(Call::Lookup(account, name));
        let command = self.slots[name.ix].packed.clone();
        self.effects.push_back(Effect::Lookup { call, account: account.0, command });
    }

    pub(super) fn on_looked_up(
        &mut self,
        now: Now,
        call: CallNumber,
        result: Result<Option<DeviceState>, CallFailure>,
    ) {
        let Some(asked @ Call::Lookup(account, name)) = self.calls.remove(&call) else { return };
        self.tell_answer(call.0, asked, &result, known);
        self.account(account).lookups_running -= 1;
        let Some(ix) = self.slots.get(name) else { return };
        let Some((question, mut suspicion)) = self.questions.remove(&name) else { return };
        match &result {
            Ok(_) | Err(CallFailure::NotFound) => self.note_success(account, Kind::Lookup),
            Err(CallFailure::Rejected { .. }) => self.note_answer(account, Kind::Lookup),
            Err(
                CallFailure::NotSent { reason }
                | CallFailure::Ambiguous { reason }
                | CallFailure::Forbidden { reason, .. },
            ) => {
                let answered = self.account(account).answered[Kind::Lookup as usize];
                let is_forbidden = matches!(&result, Err(CallFailure::Forbidden { .. }));
                let manner = if is_forbidden { Manner::Forbidden } else { Manner::Silent };
                suspicion.fail(answered, manner, reason);
                // Other devices can be looked up all the while.
                if suspicion.strikes >= LOOKUP_STRIKES && suspicion.failures >= LOOKUP_TRIES {
                    let said = suspicion.said;
                    return self.on_lookup_given_up(now, ix, question, &said);
                }
            }
            Err(CallFailure::Throttled { .. } | CallFailure::Unauthorised { .. }) => {}
        }
        let wait = match result {
            Ok(state) => {
                return self.on_state(now, ix, question, state.as_ref());
            }
            Err(CallFailure::NotFound) => return self.on_state(now, ix, question, None),
            Err(CallFailure::Rejected { status, identifier, message, named: _ }) => {
                let fault = DeviceFault {
                    code: FailureCode::DeviceInvalidIdentifier,
                    api_status: status,
                    api_identifier: identifier,
                    api_message: Some(message),
                    retryable: false,
                };
                return self.on_lookup_rejected(now, ix, question, &fault);
            }
            Err(CallFailure::Throttled { after }) => {
                let wait = after.unwrap_or(self.options.backoff_min);
                self.throttle(now, account, wait);
                wait
            }
            Err(CallFailure::Unauthorised { reason }) => {
                self.refuse(now, account, Kind::Lookup, &reason)
            }
            Err(CallFailure::Forbidden { reason, .. }) if suspicion.strikes == 0 => {
                self.refuse(now, account, Kind::Lookup, &reason)
            }
            Err(
                CallFailure::NotSent { .. }
                | CallFailure::Ambiguous { .. }
                | CallFailure::Forbidden { .. },
            ) => {
                let (min, max) = (self.options.backoff_min, self.options.backoff_max);
                backoff(suspicion.failures, min, max, &mut self.rng)
            }
        };
        self.questions.insert(name, (question, suspicion));
        self.timers.insert((now.mono + wait, Timer::Lookup(name)));
    }

    fn on_state(&mut self, now: Now, ix: SlotIx, question: Question, state: Option<&DeviceState>) {
        match question {
            Question::MayUnclaim => self.on_holder(now, ix, state),
            Question::Verify { why } => self.on_truth(now, ix, &why, state),
        }
    }

    fn on_holder(&mut self, now: Now, ix: SlotIx, state: Option<&DeviceState>) {
        let id = device_id(state);
        let Some(holder) = state.and_then(Holder::of_state) else {
            // Nobody holds it, which is what the command wants.
            return self.decide(now, ix, Status::Succeeded, None, id);
        };
        match stale(&self.slots[ix].facts, &holder, self.options.guard_match_order) {
            Some(reason) => self.decide_stale(now, ix, reason),
            None => self.make_ready(now, ix),
        }
    }

    fn on_truth(&mut self, now: Now, ix: SlotIx, why: &Why, state: Option<&DeviceState>) {
        let command = self.slots[ix].packed.unpack();
        let truth = truth(&command, state);
        if truth == Truth::NotAsWanted && command.action == Action::Unclaim {
            // Sent before or not: by now it may be somebody else's device.
            let holder = state.and_then(Holder::of_state);
            let (facts, match_order) = (self.slots[ix].facts, self.options.guard_match_order);
            let is_guarded = self.options.guard != GuardMode::Never;
            let reason = holder.and_then(|holder| stale(&facts, &holder, match_order));
            if let Some(reason) = reason.filter(|_| is_guarded) {
                return self.decide_stale(now, ix, reason);
            }
            if reason.is_none() && self.may_send_by_id(ix, why, state) {
                return self.retry(now, ix);
            }
        }
        match truth {
            Truth::AsWanted => self.decide(now, ix, Status::Succeeded, None, device_id(state)),
            // The operation may be writing them at this moment, or never: neither sent again nor
            // called a success.
            Truth::LacksMetadata if matches!(why, Why::Deadline | Why::Vanished) => {
                self.on_untrue(now, ix, why);
            }
            Truth::LacksMetadata if self.may_retry(ix) => {
                self.slots[ix].call = Action::UpdateMetadata;
                self.retry(now, ix);
            }
            Truth::LacksMetadata => {
                let failure = Failure {
                    code: FailureCode::DeviceOther,
                    api_status: None,
                    api_identifier: None,
                    message: "the device is claimed as wanted, but its metadata could not be \
                              written; send an amendment"
                        .into(),
                    retryable: true,
                };
                self.decide(now, ix, Status::Failed, Some(failure), device_id(state));
            }
            Truth::HeldByOther if is_failure_of_item(why) => {
                let account = self.slots[ix].account;
                let ours = state.and_then(|state| state.reseller.as_deref())
                    == Some(&*self.account(account).partner_id);
                self.decide(now, ix, Status::Failed, Some(held_by_other(why, ours)), None);
            }
            Truth::HeldByOther | Truth::NotAsWanted => {
                self.on_untrue(now, ix, why);
            }
        }
    }

    /// The device is not as the command wants it.
    fn on_untrue(&mut self, now: Now, ix: SlotIx, why: &Why) {
        let (status, code, text) = match why {
            Why::Failed(fault) => return self.fail_or_retry(now, ix, fault),
            // The grace time has passed: it is sent again, or given up after enough tries.
            Why::AnswerLost => return self.set_apart(now, ix),
            // The operation has ended, so sending again cannot meet it.
            Why::ResultMissing | Why::OperationFailed { .. } if self.may_retry(ix) => {
                return self.retry(now, ix);
            }
            Why::ResultMissing => (
                Status::Failed,
                FailureCode::ResultMissing,
                "the operation ended without a result for this device, and a lookup shows it \
                 unchanged"
                    .to_owned(),
            ),
            Why::OperationFailed { code, message } => (
                Status::Failed,
                FailureCode::BatchOperationFailed,
                format!("the operation failed with code {code}: {message}"),
            ),
            Why::Vanished => (
                Status::Unresolved,
                FailureCode::ResultMissing,
                "the operation is unknown to the API, and a lookup shows the device unchanged; it \
                 may still change. Look at the device, then send the event again if need be"
                    .to_owned(),
            ),
            Why::Deadline => (
                Status::Unresolved,
                FailureCode::DeadlineExceeded,
                "the operation did not end before the deadline, and a lookup shows the device \
                 unchanged; it may still change. Look at the device, then send the event again if \
                 need be"
                    .to_owned(),
            ),
        };
        let failure = Failure {
            code,
            api_status: None,
            api_identifier: None,
            message: text,
            retryable: true,
        };
        self.decide(now, ix, status, Some(failure), None);
    }

    /// The API does not take the identifiers that an unclaim names, and yet finds the device by
    /// them, held as the unclaim means it: then it is sent once more, by the API's own id.
    fn may_send_by_id(&mut self, ix: SlotIx, why: &Why, state: Option<&DeviceState>) -> bool {
        let Why::Failed(fault) = why else { return false };
        let said = fault.api_identifier.as_deref().unwrap_or_default();
        let is_identifier =
            fault.code == FailureCode::DeviceInvalidIdentifier || IDENTIFIER_CODES.contains(&said);
        let Some(id) = device_id(state).filter(|_| is_identifier) else { return false };
        let name = self.slots.name(ix);
        let is_first = !self.by_id.contains_key(&name);
        self.by_id.insert(name, id);
        is_first
    }

    /// A device cannot be looked up, though others can.
    fn on_lookup_given_up(&mut self, now: Now, ix: SlotIx, asked: Question, said: &str) {
        let batch = self.batches.get(&self.slots[ix].batch);
        let is_ambiguous = batch.is_none_or(|batch| batch.ambiguous);
        let (status, text) = match asked {
            Question::Verify { why: Why::Failed(first) } if !is_ambiguous => {
                return self.decide(now, ix, Status::Failed, Some(failure(&first)), None);
            }
            Question::Verify { .. } => (
                Status::Unresolved,
                "whether the change was made is not known: the API does not answer lookups of this \
                 device, though those of others",
            ),
            Question::MayUnclaim => (
                Status::Failed,
                "nothing was sent: the API does not answer lookups of this device, though those of \
                 others, so nobody knows whom an unclaim would hit",
            ),
        };
        let failure = Failure {
            code: FailureCode::NoAnswer,
            api_status: None,
            api_identifier: None,
            message: format!("{text} ({said}). Look at the device, then send the event again"),
            retryable: true,
        };
        self.decide(now, ix, status, Some(failure), None);
    }

    /// The API cannot even look the device up.
    fn on_lookup_rejected(&mut self, now: Now, ix: SlotIx, asked: Question, fault: &DeviceFault) {
        match asked {
            Question::Verify { why: Why::Failed(first) } => {
                self.decide(now, ix, Status::Failed, Some(failure(&first)), None);
            }
            Question::Verify { why } => self.on_untrue(now, ix, &why),
            // Unguarded it must not go out.
            Question::MayUnclaim => {
                self.decide(now, ix, Status::Failed, Some(failure(fault)), None);
            }
        }
    }
}

/// Not a refusal of the call as a whole, which has its own words.
fn is_failure_of_item(why: &Why) -> bool {
    matches!(why, Why::Failed(fault) if fault.code != FailureCode::BatchRejected)
}

fn device_id(state: Option<&DeviceState>) -> Option<Box<str>> {
    state.and_then(|state| state.device_id.as_deref()).map(Into::into)
}

fn truth(command: &Command, state: Option<&DeviceState>) -> Truth {
    let owner = state.and_then(|state| state.owner.as_ref());
    let has_metadata = state.is_some_and(|state| {
        command.metadata.iter().all(|(key, value)| {
            state.metadata.get(key).map_or(value.is_empty(), |known| known == value)
        })
    });
    match command.action {
        Action::Claim => match owner {
            None => Truth::NotAsWanted,
            Some(owner) if Some(owner) != command.customer.as_ref() => Truth::HeldByOther,
            Some(_) if has_metadata => Truth::AsWanted,
            Some(_) => Truth::LacksMetadata,
        },
        Action::Unclaim if owner.is_none() => Truth::AsWanted,
        Action::Unclaim => Truth::NotAsWanted,
        Action::UpdateMetadata if has_metadata => Truth::AsWanted,
        Action::UpdateMetadata => Truth::NotAsWanted,
    }
}

fn held_by_other(why: &Why, ours: bool) -> Failure {
    let mut failed = match why {
        Why::Failed(fault) => failure(fault),
        Why::ResultMissing
        | Why::Vanished
        | Why::OperationFailed { .. }
        | Why::Deadline
        | Why::AnswerLost => Failure {
            code: FailureCode::DeviceNotYours,
            api_status: None,
            api_identifier: None,
            message: String::new(),
            retryable: false,
        },
    };
    if ours {
        failed.code = FailureCode::DeviceClaimedByOtherCustomer;
        failed.message = "the device is claimed for another customer; unclaim it there first (a \
                          return event with that order), then send this event again"
            .into();
        failed.retryable = true;
    } else {
        failed.code = FailureCode::DeviceNotYours;
        failed.message =
            "another company holds the device; it must release the device first".into();
    }
    failed
}

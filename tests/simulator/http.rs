//! Calls to the API: from commands to requests and back by the worker's own mapping, with the
//! sandbox's state in place of Google, and a network that loses and delays.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use zerotouch_worker::engine::{CallNumber, Input, Submit};
use zerotouch_worker::model::{CallFailure, DeviceKey, DeviceState, OperationReply, PackedCommand};
use zerotouch_worker::sandbox::{self, ApiError, Body, Call, Delivery, Reply, Rule};
use zerotouch_worker::wire::google::{self, Method, SubmitRequest, failure, results};

use crate::mutants::{Slip, slips};
use crate::plan::{Class, Fault, Plan, log_uniform};
use crate::workload;
use crate::world::{Event, Message, World, millis, nanos};

#[derive(Debug)]
pub(crate) struct HttpCall {
    pub(crate) call: CallNumber,
    pub(crate) account: u16,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Submit(Submit),
    Poll(Arc<str>),
    Lookup(PackedCommand),
}

/// The faults of the API itself.
pub(crate) fn rules(plan: &Plan) -> Vec<Rule> {
    use sandbox::Fault as Api;
    let status = |http, after| Api::Status { http, after, retry_after: None };
    let device = |status: &str, identifier: &str| Api::DeviceStatus {
        status: status.into(),
        error_identifier: identifier.into(),
    };
    let all = [
        (Fault::ReplyLost, Api::LoseReply { hang: false }),
        (Fault::ReplyLost, Api::LoseReply { hang: true }),
        (Fault::Throttled, Api::Status { http: 429, after: false, retry_after: Some(3) }),
        (Fault::ServerError, status(503, false)),
        (Fault::ServerErrorAfter, status(500, true)),
        (Fault::Poison, Api::Poison),
        (Fault::Unauthorised, status(401, false)),
        (Fault::Unauthorised, status(403, false)),
        (Fault::DropItems, Api::DropItems { count: 1 }),
        (Fault::ShortResult, Api::ShortResult { count: 1 }),
        (Fault::DuplicateResult, Api::DuplicateResult { count: 1 }),
        (Fault::ReorderResult, Api::ReorderResult),
        (Fault::MissingEcho, Api::MissingEcho { count: Some(1) }),
        (Fault::MissingEcho, Api::MissingEcho { count: None }),
        (Fault::NeverDone, Api::NeverDone),
        (Fault::StuckAtHundred, Api::StuckAtHundred),
        (Fault::OperationError, Api::OperationError { code: 13 }),
        (Fault::Vanish, Api::Vanish),
        (Fault::DeviceStatus, device("OTHER_ERROR", "")),
        (Fault::DeviceStatus, device("DEVICE_LIMIT_EXCEEDED", "")),
        (Fault::DeviceStatus, device("SECTION_NOT_YOURS", "AUTHORIZATION_FAIL")),
    ];
    all.into_iter()
        .filter(|(fault, _)| plan.rate(*fault) > 0)
        .map(|(fault, api)| {
            let probability = f64::from(plan.rate(fault)) / 10_000.0;
            Rule { probability, ..Rule::of(api) }
        })
        .collect()
}

/// The rules about the culprit, which outlast all other faults.
pub(crate) fn culprit_rules(plan: &Plan) -> Vec<Rule> {
    use sandbox::Fault as Api;
    let (device, class) = plan.culprit;
    let command = workload::identifiers(device);
    let key = DeviceKey::of(&command, None).unwrap().as_str().to_owned();
    let fault = match class {
        Class::Status(http) => Api::Status { http, after: false, retry_after: None },
        Class::NoReply { hang } => Api::LoseReply { hang },
        Class::Unreadable => Api::Unreadable,
    };
    let rule = |method| Rule {
        method: Some(method),
        device: Some(key.clone()),
        ..Rule::of(fault.clone())
    };
    let mut rules = Vec::new();
    if plan.rate(Fault::Culprit) > 0 {
        rules.extend(SUBMITS.map(rule));
    }
    if plan.rate(Fault::CulpritPoll) > 0 {
        rules.push(rule(sandbox::Method::GetOperation));
    }
    rules
}

/// Nobody's submits are accepted.
pub(crate) fn outage_rules(plan: &Plan) -> Vec<Rule> {
    let fault = sandbox::Fault::Status { http: 500, after: false, retry_after: None };
    let rule = |method| Rule { method: Some(method), ..Rule::of(fault.clone()) };
    if plan.rate(Fault::Outage) > 0 { SUBMITS.map(rule).into() } else { Vec::new() }
}

const SUBMITS: [sandbox::Method; 3] = [
    sandbox::Method::ClaimAsync,
    sandbox::Method::UnclaimAsync,
    sandbox::Method::UpdateMetadataAsync,
];

impl World {
    /// The last moment before a call leaves.
    pub(crate) fn on_send(&mut self, slot: usize, session: u32, call: HttpCall) {
        if let What::Submit(submit) = &call.what {
            if self.mono_of(slot) >= submit.lease_until && !slips(Slip::LeaseUnchecked) {
                let failed = CallFailure::NotSent { reason: "the lease has passed".into() };
                self.checks.counts.event("lease passed", "");
                return self.answer(0, slot, session, &call, Err(failed));
            }
            self.check_sent(slot, session, submit);
        }
        if self.hits(Fault::NotSent) {
            let failed = CallFailure::NotSent { reason: "no connection".into() };
            return self.answer(millis(1), slot, session, &call, Err(failed));
        }
        let longest = self.plan.request_timeout.as_millis() as u64;
        let wait = if self.hits(Fault::SlowApi) {
            millis(log_uniform(&mut self.rng, 10, longest))
        } else {
            millis(self.rng.random_range(1..=30))
        };
        let sent = self.now;
        self.after(wait, Event::Arrive { slot, session, call, sent });
    }

    pub(crate) fn on_arrive(&mut self, slot: usize, session: u32, call: &HttpCall, sent: u64) {
        let partner = self.plan.engine.accounts[usize::from(call.account)].partner_id.to_string();
        let answer = match &call.what {
            What::Submit(submit) => self.submit(slot, submit, &partner),
            What::Poll(operation) => {
                let request = sandbox::Request::GetOperation { name: operation.to_string() };
                self.ask(String::new(), request, Method::GetOperation).map(|body| match body {
                    Body::Operation(operation) => results::reply(*operation).map(Answer::Polled),
                    other => panic!("{other:?}"),
                })
            }
            What::Lookup(command) => self.look_up(&partner, command),
        };
        self.note_telling(slot, session, call);
        let timeout = sent + nanos(self.plan.request_timeout);
        let (at, result) = match answer {
            Told::Said { delay, result } => {
                let way = if self.hits(Fault::SlowApi) {
                    let longest = 2 * self.plan.request_timeout.as_millis() as u64;
                    millis(log_uniform(&mut self.rng, 10, longest))
                } else {
                    millis(self.rng.random_range(1..=30))
                };
                (self.now + nanos(delay) + way, result)
            }
            Told::Closed => (self.now + millis(5), Err(failure::ambiguous("connection closed"))),
            Told::Hung => (timeout, Err(failure::ambiguous("timeout"))),
            Told::CutOff => (self.now + millis(5), Err(failure::ambiguous("half a reply"))),
        };
        let (at, result) =
            if at > timeout { (timeout, Err(failure::ambiguous("timeout"))) } else { (at, result) };
        self.answer(at.saturating_sub(self.now), slot, session, call, result);
    }

    fn answer(
        &mut self,
        wait: u64,
        slot: usize,
        session: u32,
        call: &HttpCall,
        result: Result<Answer, CallFailure>,
    ) {
        let number = call.call;
        if let Err(failed) = &result {
            self.note(|| format!("w{slot} call {} fails: {failed}", number.0));
        }
        self.note_answered(call, &result.as_ref().map(drop).map_err(Clone::clone), wait);
        let input = match &call.what {
            What::Submit(_) => {
                let result = result.map(|answer| match answer {
                    Answer::Submitted(name) => name,
                    other => panic!("{other:?}"),
                });
                Input::Submitted { call: number, result }
            }
            What::Poll(_) => {
                let result = result.map(|answer| match answer {
                    Answer::Polled(reply) => reply,
                    other => panic!("{other:?}"),
                });
                Input::Polled { call: number, result }
            }
            What::Lookup(_) => {
                let result = result.map(|answer| match answer {
                    Answer::LookedUp(state) => state,
                    other => panic!("{other:?}"),
                });
                Input::LookedUp { call: number, result }
            }
        };
        self.tell(wait, slot, session, Message::Input(input));
    }

    fn submit(&mut self, slot: usize, submit: &Submit, partner: &str) -> Told {
        let commands = submit.commands.iter().map(PackedCommand::unpack);
        let request = match SubmitRequest::new(submit.action, commands) {
            SubmitRequest::Claim(body) => sandbox::Request::ClaimAsync(body),
            SubmitRequest::Unclaim(body) => sandbox::Request::UnclaimAsync(body),
            SubmitRequest::UpdateMetadata(body) => sandbox::Request::UpdateMetadataAsync(body),
        };
        let before = self.api.log().stats.operations;
        let told = self.ask(partner.to_owned(), request, submit.action.into());
        if self.api.log().stats.operations > before {
            self.check_accepted(slot, submit);
        } else {
            self.note(|| format!("w{slot} call {} is not accepted", submit.call.0));
        }
        told.map(|body| match body {
            Body::Operation(operation) => Ok(Answer::Submitted(operation.name.into())),
            other => panic!("{other:?}"),
        })
    }

    fn look_up(&mut self, partner: &str, command: &PackedCommand) -> Told {
        let command = command.unpack();
        let mut delay = Duration::ZERO;
        for search in google::find_by_identifier(&command.device) {
            let request = sandbox::Request::FindByIdentifier(search);
            let told = self.ask(partner.to_owned(), request, Method::FindByIdentifier);
            let found = match told {
                Asked::Said { delay: more, result: Ok(Body::Devices(found)) } => {
                    delay += more;
                    found
                }
                other => {
                    return other.map(|body| panic!("{body:?}"));
                }
            };
            if let Some(state) = google::device_state(&command, &found.devices) {
                return Told::Said { delay, result: Ok(Answer::LookedUp(Some(state))) };
            }
        }
        Told::Said { delay, result: Ok(Answer::LookedUp(None)) }
    }

    fn ask(&mut self, partner: String, request: sandbox::Request, method: Method) -> Asked {
        let now = self.timestamp(self.now);
        let Reply { delay, delivery, result } = self.api.call(now, Call::new(partner, request));
        match delivery {
            Delivery::Closed => Asked::Closed,
            Delivery::Hung => Asked::Hung,
            Delivery::CutOff => Asked::CutOff,
            Delivery::Sent => {
                let result = result.map_err(|error: ApiError| {
                    let body = error.envelope(true).to_string();
                    let after =
                        error.retry_after.map(|after| after.as_secs_f64().ceil().to_string());
                    failure::from_reply(method, error.code, after.as_deref(), body.as_bytes(), now)
                });
                Asked::Said { delay, result }
            }
        }
    }
}

/// What a call gave.
#[derive(Debug)]
enum Answer {
    Submitted(Arc<str>),
    Polled(OperationReply),
    LookedUp(Option<DeviceState>),
}

/// What comes back over the wire.
enum Asked {
    Said { delay: Duration, result: Result<Body, CallFailure> },
    Closed,
    Hung,
    CutOff,
}

/// The same, read.
enum Told {
    Said { delay: Duration, result: Result<Answer, CallFailure> },
    Closed,
    Hung,
    CutOff,
}

impl Asked {
    fn map(self, read: impl FnOnce(Body) -> Result<Answer, CallFailure>) -> Told {
        match self {
            Self::Said { delay, result } => Told::Said { delay, result: result.and_then(read) },
            Self::Closed => Told::Closed,
            Self::Hung => Told::Hung,
            Self::CutOff => Told::CutOff,
        }
    }
}

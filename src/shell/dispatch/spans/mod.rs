//! Spans of dispatch, derived from the engine's effects and the inputs that answer them.
//!
//! - `process <commands topic>` for each sampled command, from when it was read until its outcome
//!   was committed. Its id is the one that the outcome's header names.
//! - `<action> batch` for each call with a sampled command in it, linked to the spans of its
//!   commands and they to it; below it the submit and the polls.
//! - a lookup, below the command that it is for.
//!
//! A command carries its context through every crash. The span of a batch is named by its
//! operation, which the ledger keeps, so the worker that goes on with the operation goes on with
//! the span. Batches without a sampled command leave nothing but a note of their name.

mod batch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{SpanId, SpanKind, TraceFlags, TraceId};
use opentelemetry_semantic_conventions::attribute as key;

use crate::engine::{CallNumber, Input, OutcomeWrite, Submit, Transaction};
use crate::model::{CallFailure, Command, DeviceKey, Offset, PackedCommand, Partition, Status};
use crate::shell::telemetry::traces::{Span, Traces};
use crate::wire::google::Method;
use crate::wire::headers::{TraceParent, outcome_trace};

use super::Dispatch;
use batch::{Batch, Batches, Links};

/// Readings of a lane that are remembered; beyond them the oldest two become one.
const READS_MAX: usize = 1_024;

/// How long the span of a batch of the ledger waits for outcomes in its other lanes.
const RESTORED_WAIT: Duration = Duration::from_secs(2);

/// The spans of one session.
pub(super) struct Spans {
    traces: Traces,
    api: Api,
    topic: String,
    group: String,
    client: String,
    /// When the commands from an offset on were read.
    reads: BTreeMap<Partition, VecDeque<(Offset, SystemTime)>>,
    calls: BTreeMap<CallNumber, Call>,
    batches: Batches,
    /// Batches of the ledger that have outcomes, and since when.
    restored: VecDeque<(Instant, Arc<str>)>,
}

/// What an answer will be about.
struct Call {
    started: SystemTime,
    about: About,
}

enum About {
    Submit(Batch),
    Poll(Arc<str>),
    Lookup(Method, TraceParent, usize),
}

/// Where the API is, and whose calls these are.
struct Api {
    servers: Vec<(String, Option<u16>)>,
    accounts: Vec<Arc<str>>,
}

impl Api {
    /// A call that has been answered.
    fn span(&self, account: usize, method: Method, context: TraceParent, at: SystemTime) -> Span {
        let name = format!("{} /{}", method.verb(), method.template());
        let (host, port) = self.servers.get(account).cloned().unwrap_or_default();
        Span::new(name, SpanKind::Client, context, at)
            .with(key::HTTP_REQUEST_METHOD, method.verb())
            .with(key::URL_TEMPLATE, format!("/{}", method.template()))
            .with(key::SERVER_ADDRESS, host)
            .with_some(key::SERVER_PORT, port.map(i64::from))
            .with_some("zerotouch.account", self.account(account))
            .with("zerotouch.method", method.id())
    }

    fn account(&self, account: usize) -> Option<String> {
        self.accounts.get(account).map(ToString::to_string)
    }
}

/// With the failure of a call, as far as it may be shown.
fn failed(span: Span, failure: &CallFailure) -> Span {
    let (kind, status) = match failure {
        CallFailure::NotSent { .. } => ("not_sent", None),
        CallFailure::Ambiguous { .. } => ("no_usable_answer", None),
        CallFailure::Rejected { .. } => ("rejected", None),
        CallFailure::Throttled { .. } => ("throttled", Some(429)),
        CallFailure::Unauthorised { .. } | CallFailure::Forbidden { .. } => ("unauthorised", None),
        CallFailure::NotFound => ("not_found", Some(404)),
    };
    span.with_some(key::HTTP_RESPONSE_STATUS_CODE, status).failed(kind, failure.to_string())
}

/// A span that nobody else knows of.
fn fresh(trace: TraceParent) -> TraceParent {
    let id = rand::random::<u64>().max(1);
    TraceParent { span_id: SpanId::from(id), ..trace }
}

/// The context of a command, if it is sampled. Opens next to nothing.
fn sampled(command: &PackedCommand) -> Option<TraceParent> {
    let (trace, span, flags) = command.trace()?;
    let flags = TraceFlags::new(flags);
    let (trace_id, span_id) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
    flags.is_sampled().then_some(TraceParent { trace_id, span_id, flags })
}

/// The call that an input answers.
pub(super) fn answered_call(input: &Input) -> Option<CallNumber> {
    match input {
        Input::Submitted { call, .. }
        | Input::Polled { call, .. }
        | Input::LookedUp { call, .. } => Some(*call),
        _ => None,
    }
}

impl Spans {
    pub(super) fn new(dispatch: &Dispatch) -> Self {
        Self {
            traces: dispatch.traces.clone(),
            api: Api {
                servers: dispatch.clients.iter().map(|client| client.server()).collect(),
                accounts: dispatch.engine.accounts.iter().map(|a| Arc::clone(&a.name)).collect(),
            },
            topic: dispatch.topics.commands.to_string(),
            group: dispatch.kafka.group_id.clone(),
            client: dispatch.kafka.client_id.clone(),
            reads: BTreeMap::new(),
            calls: BTreeMap::new(),
            batches: Batches::default(),
            restored: VecDeque::new(),
        }
    }

    /// Commands from this offset on were read now.
    pub(super) fn read(&mut self, partition: Partition, from: Offset) {
        if !self.traces.is_on() {
            return;
        }
        let reads = self.reads.entry(partition).or_default();
        if reads.len() >= READS_MAX {
            reads.remove(1);
        }
        reads.push_back((from, SystemTime::now()));
    }

    /// A lane is gone, or begins anew.
    pub(super) fn forget(&mut self, partition: Partition) {
        self.reads.remove(&partition);
    }

    /// A batch goes out.
    pub(super) fn submitting(&mut self, submit: &Submit) {
        if !self.traces.is_on() {
            return;
        }
        let mut links = Links::default();
        for command in &submit.commands {
            if let Some(context) = sampled(command) {
                links.add(context, || outcome_trace(&command.unpack()));
            }
        }
        let (account, items) = (usize::from(submit.account), submit.commands.len());
        let batch = Batch::sent(submit.action, account, items, links);
        self.begin(submit.call, About::Submit(batch));
    }

    /// An operation is asked for; one that this session did not submit is of the ledger.
    pub(super) fn polling(&mut self, call: CallNumber, account: u16, operation: &Arc<str>) {
        if !self.traces.is_on() {
            return;
        }
        let batch = self.batches.get_or_restored(operation, usize::from(account));
        if batch.is_traced() {
            self.begin(call, About::Poll(Arc::clone(operation)));
        }
    }

    /// A device is looked up.
    pub(super) fn looking_up(&mut self, call: CallNumber, account: u16, command: &PackedCommand) {
        if !self.traces.is_on() || sampled(command).is_none() {
            return;
        }
        let command = command.unpack();
        let by_key = DeviceKey::of(&command.device, None).is_some();
        let method = if by_key { Method::FindByIdentifier } else { Method::GetDevice };
        let parent = outcome_trace(&command);
        self.begin(call, About::Lookup(method, parent, usize::from(account)));
    }

    fn begin(&mut self, call: CallNumber, about: About) {
        self.calls.insert(call, Call { started: SystemTime::now(), about });
    }

    /// What log lines about a call say of its trace.
    pub(super) fn log_span(&self, call: Option<CallNumber>) -> tracing::Span {
        let Some((trace, span)) = call.and_then(|call| self.trace_of_call(call)) else {
            return tracing::Span::none();
        };
        let span = span.map(tracing::field::display);
        // Of the highest level, so that every line has it, whatever is let through.
        tracing::error_span!("call", trace_id = %trace, span_id = span)
    }

    /// With the span that the call is below, if that is settled.
    fn trace_of_call(&self, call: CallNumber) -> Option<(TraceId, Option<SpanId>)> {
        let of_batch = |batch: &Batch| {
            let span = batch.context().map(|context| context.span_id);
            batch.trace().map(|trace| (trace, span))
        };
        match &self.calls.get(&call)?.about {
            About::Submit(batch) => of_batch(batch),
            About::Poll(operation) => of_batch(self.batches.get(operation)?),
            About::Lookup(_, parent, _) => Some((parent.trace_id, Some(parent.span_id))),
        }
    }

    /// The trace of the batch that an operation carries, for log lines.
    pub(super) fn trace_of_operation(&self, operation: &str) -> Option<TraceId> {
        self.batches.get(operation)?.trace()
    }

    /// An input may answer a call.
    pub(super) fn answered(&mut self, input: &Input) {
        match input {
            Input::Submitted { call, result } => self.submitted(*call, result),
            Input::Polled { call, result } => {
                let Some(Call { started, about: About::Poll(operation) }) = self.calls.remove(call)
                else {
                    return;
                };
                let Some(batch) = self.batches.get_mut(&operation) else { return };
                batch.polled(started, result);
                if batch.is_complete() {
                    batch.emit(&self.traces, &self.api, &operation);
                }
            }
            Input::LookedUp { call, result } => {
                let Some(Call { started, about: About::Lookup(method, parent, account) }) =
                    self.calls.remove(call)
                else {
                    return;
                };
                if !self.traces.has_room() {
                    return;
                }
                let span = self.api.span(account, method, fresh(parent), started).below(parent);
                self.traces.emit(match result {
                    Ok(_) => span.with(key::HTTP_RESPONSE_STATUS_CODE, 200),
                    Err(failure) => failed(span, failure),
                });
            }
            _ => {}
        }
    }

    fn submitted(&mut self, call: CallNumber, result: &Result<Arc<str>, CallFailure>) {
        let Some(Call { started, about: About::Submit(mut batch) }) = self.calls.remove(&call)
        else {
            return;
        };
        match result {
            Ok(operation) => {
                batch.accepted(&self.traces, &self.api, operation, started);
                self.batches.insert(operation, batch);
            }
            Err(failure) => batch.refused(&self.traces, &self.api, started, failure),
        }
    }

    /// A transaction has committed: its outcomes are public.
    pub(super) fn committed(&mut self, transaction: &Transaction) {
        if !self.traces.is_on() {
            return;
        }
        self.link_restored(&transaction.outcomes);
        for write in &transaction.outcomes {
            if sampled(&write.command).is_some() && self.traces.has_room() {
                let span = self.command(write);
                self.traces.emit(span);
            }
        }
        for write in &transaction.offsets {
            let Some(reads) = self.reads.get_mut(&write.partition) else { continue };
            while reads.get(1).is_some_and(|(from, _)| *from <= write.offset) {
                reads.pop_front();
            }
        }
    }

    /// Batches of the ledger learn of their commands only now, lane by lane: their spans wait for a
    /// while. Of the others some are not written yet, as their operation has vanished.
    fn link_restored(&mut self, outcomes: &[OutcomeWrite]) {
        let mut touched: Vec<Arc<str>> = Vec::new();
        for OutcomeWrite { command, verdict, .. } in outcomes {
            let Some(context) = sampled(command) else { continue };
            let Some(operation) = &verdict.operation else { continue };
            let Some(batch) = self.batches.get_mut(operation) else { continue };
            if !batch.is_emitted() {
                if batch.is_restored() {
                    batch.link(command, context);
                }
                if touched.last() != Some(operation) {
                    touched.push(Arc::clone(operation));
                }
            }
        }
        for operation in touched {
            let Some(batch) = self.batches.get_mut(&operation) else { continue };
            if !batch.is_restored() {
                batch.emit(&self.traces, &self.api, &operation);
            } else if batch.settle_restored(&operation) {
                self.restored.push_back((Instant::now(), operation));
            }
        }
    }

    /// Writes what has waited for long enough; at the end, everything.
    pub(super) fn flush(&mut self, at_end: bool) {
        while let Some((since, operation)) = self.restored.front()
            && (at_end || since.elapsed() >= RESTORED_WAIT)
        {
            if let Some(batch) = self.batches.get_mut(operation) {
                batch.emit(&self.traces, &self.api, operation);
            }
            self.restored.pop_front();
        }
    }

    fn command(&self, write: &OutcomeWrite) -> Span {
        let command = write.command.unpack();
        let verdict = &write.verdict;
        let context = outcome_trace(&command);
        let name = format!("process {}", self.topic);
        let started = self.read_at(write.partition, write.offset);
        let span = Span::new(name, SpanKind::Consumer, context, started)
            .with(key::MESSAGING_SYSTEM, "kafka")
            .with(key::MESSAGING_OPERATION_NAME, "process")
            .with(key::MESSAGING_OPERATION_TYPE, "process")
            .with(key::MESSAGING_DESTINATION_NAME, self.topic.clone())
            .with(key::MESSAGING_DESTINATION_PARTITION_ID, write.partition.0.to_string())
            .with(key::MESSAGING_KAFKA_OFFSET, write.offset.0)
            .with(key::MESSAGING_CONSUMER_GROUP_NAME, self.group.clone())
            .with(key::MESSAGING_CLIENT_ID, self.client.clone())
            .with(key::CLOUDEVENTS_EVENT_ID, command.event_id.clone())
            .with("zerotouch.action", command.action.as_str())
            .with("zerotouch.account", command.account.clone())
            .with_some("zerotouch.device", masked(&command))
            .with("zerotouch.status", verdict.status.as_str())
            .with("zerotouch.attempts", i64::from(verdict.attempts))
            .with_some("zerotouch.operation", verdict.operation.as_deref().map(str::to_owned));
        let batch = verdict.operation.as_ref().and_then(|operation| self.batches.get(operation));
        let span = span.linked(batch.and_then(Batch::context), 0);
        let parent = command.traceparent.as_deref().and_then(TraceParent::parse);
        let span = match parent {
            Some(parent) => span.below_remote(parent),
            None => span,
        };
        match (&verdict.failure, verdict.status) {
            (Some(failure), Status::Failed | Status::Unresolved) => {
                // The message may repeat what the API said of the device.
                span.failed(failure.code.as_str(), String::new())
            }
            _ => span,
        }
    }

    fn read_at(&self, partition: Partition, offset: Offset) -> SystemTime {
        let reads = self.reads.get(&partition);
        let read = reads.and_then(|reads| reads.iter().rev().find(|(from, _)| *from <= offset));
        read.map_or_else(SystemTime::now, |(_, at)| *at)
    }
}

/// The device as logs show it.
fn masked(command: &Command) -> Option<String> {
    command.device_key().map(|key| key.to_string())
}

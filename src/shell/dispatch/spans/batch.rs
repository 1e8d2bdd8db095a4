//! The span of a batch: whose commands it carried, what was called, and when it is written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_semantic_conventions::attribute as key;

use crate::model::{Action, CallFailure, OperationReply, PackedCommand};
use crate::shell::telemetry::traces::{Span, Traces};
use crate::wire::google::Method;
use crate::wire::headers::{TraceParent, outcome_trace};

use super::{Api, failed, fresh};

/// Commands that the span of a batch is linked to at most, the limit that OpenTelemetry proposes;
/// the rest are counted. Each command is linked to its batch in any case.
const LINKS_MAX: usize = 128;
/// Polls of an operation that get a span; of more, the last one takes the place of the one before.
const POLLS_MAX: usize = 32;
/// Operations that are remembered; beyond them the oldest are forgotten. Most were written long
/// before.
const BATCHES_MAX: usize = 4_096;

/// The sampled commands of a batch.
#[derive(Debug, Default)]
pub(super) struct Links {
    to: Vec<TraceParent>,
    dropped: u32,
    /// The context that all of these commands carry, as those of one order event do.
    carried: Option<TraceParent>,
    is_mixed: bool,
}

impl Links {
    /// Adds a command with this context; `span` gives its own.
    pub(super) fn add(&mut self, context: TraceParent, span: impl FnOnce() -> TraceParent) {
        self.is_mixed |= self.carried.is_some_and(|carried| carried != context);
        self.carried = Some(context);
        if self.to.len() < LINKS_MAX {
            self.to.push(span());
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// The only command, else the order event of all of them. A batch of several traces has none:
    /// it begins a trace, from which links lead to the others.
    fn parent(&self) -> Option<TraceParent> {
        match self.to.as_slice() {
            [only] => Some(*only),
            _ => self.carried.filter(|_| !self.is_mixed),
        }
    }
}

#[derive(Debug)]
struct Poll {
    started: SystemTime,
    ended: SystemTime,
    failure: Option<CallFailure>,
}

/// A batch, until its span is written and as long as outcomes may refer to it.
#[derive(Debug)]
pub(super) struct Batch {
    /// `None` for one of the ledger: the poll does not say.
    action: Option<Action>,
    account: usize,
    items: usize,
    started: SystemTime,
    ended: Option<SystemTime>,
    failed: bool,
    links: Links,
    polls: Vec<Poll>,
    polls_dropped: u32,
    /// Its span, once it is known.
    context: Option<TraceParent>,
    is_emitted: bool,
}

impl Batch {
    pub(super) fn sent(action: Action, account: usize, items: usize, links: Links) -> Self {
        Self { action: Some(action), items, links, ..Self::restored(account) }
    }

    fn restored(account: usize) -> Self {
        Self {
            action: None,
            account,
            items: 0,
            started: SystemTime::now(),
            ended: None,
            failed: false,
            links: Links::default(),
            polls: Vec::new(),
            polls_dropped: 0,
            context: None,
            is_emitted: false,
        }
    }

    /// Whether another session submitted it.
    pub(super) fn is_restored(&self) -> bool {
        self.action.is_none()
    }

    /// Whether a command of it is sampled, or may be.
    pub(super) fn is_traced(&self) -> bool {
        self.is_restored() || !self.links.to.is_empty()
    }

    pub(super) fn is_emitted(&self) -> bool {
        self.is_emitted
    }

    /// Whether all is known that its span tells. Of a batch of the ledger it never is: each of its
    /// lanes may ask for the operation by itself, and tells later what it carried.
    pub(super) fn is_complete(&self) -> bool {
        let is_linked = !self.is_restored() && !self.links.to.is_empty();
        self.ended.is_some() && is_linked && !self.is_emitted
    }

    /// Its span, if it has one.
    pub(super) fn context(&self) -> Option<TraceParent> {
        self.context
    }

    /// The trace it is part of, as far as that is known.
    pub(super) fn trace(&self) -> Option<TraceId> {
        let parent = self.context.or_else(|| self.links.parent());
        parent.map(|context| context.trace_id)
    }

    pub(super) fn link(&mut self, command: &PackedCommand, context: TraceParent) {
        self.links.add(context, || outcome_trace(&command.unpack()));
    }

    /// The same span for every worker that has to do with the operation.
    fn settle_context(&mut self, name: &str) -> TraceParent {
        let own = TraceParent::of(name);
        let trace_id = self.links.parent().map_or(own.trace_id, |parent| parent.trace_id);
        *self.context.get_or_insert(TraceParent { trace_id, ..own })
    }

    /// Fixes the span of a batch of the ledger, since outcomes are about to refer to it; tells
    /// whether that is new.
    pub(super) fn settle_restored(&mut self, operation: &str) -> bool {
        let is_new = self.context.is_none();
        self.settle_context(operation);
        is_new
    }

    /// The call was answered with an operation.
    pub(super) fn accepted(
        &mut self,
        traces: &Traces,
        api: &Api,
        operation: &str,
        started: SystemTime,
    ) {
        self.started = started;
        if !self.is_traced() || !traces.has_room() {
            return;
        }
        let context = self.settle_context(operation);
        if let Some(action) = self.action {
            let span = api.span(self.account, Method::from(action), fresh(context), started);
            traces.emit(span.below(context).with(key::HTTP_RESPONSE_STATUS_CODE, 200));
        }
    }

    /// The call failed: there is no operation, and the commands go on in another batch.
    pub(super) fn refused(
        mut self,
        traces: &Traces,
        api: &Api,
        started: SystemTime,
        failure: &CallFailure,
    ) {
        self.started = started;
        let Some(action) = self.action.filter(|_| self.is_traced() && traces.has_room()) else {
            return;
        };
        let context = self.settle_context(&format!("{:032x}", rand::random::<u128>()));
        let span = api.span(self.account, Method::from(action), fresh(context), started);
        traces.emit(failed(span.below(context), failure));
        (self.ended, self.failed) = (Some(SystemTime::now()), true);
        self.emit(traces, api, "");
    }

    pub(super) fn polled(
        &mut self,
        started: SystemTime,
        result: &Result<OperationReply, CallFailure>,
    ) {
        let ended = SystemTime::now();
        if self.polls.len() >= POLLS_MAX {
            self.polls.pop();
            self.polls_dropped = self.polls_dropped.saturating_add(1);
        }
        self.polls.push(Poll { started, ended, failure: result.as_ref().err().cloned() });
        match result {
            Ok(OperationReply::Running { .. }) | Err(_) => {}
            Ok(OperationReply::Done { .. }) => self.ended = Some(ended),
            Ok(OperationReply::Failed { .. }) => (self.ended, self.failed) = (Some(ended), true),
        }
    }

    /// Writes the span and those of the polls. Only once, whatever is learnt later.
    pub(super) fn emit(&mut self, traces: &Traces, api: &Api, operation: &str) {
        if self.is_emitted || !self.is_traced() || !traces.has_room() {
            return;
        }
        let context = self.settle_context(operation);
        self.is_emitted = true;
        for poll in std::mem::take(&mut self.polls) {
            if traces.has_room() {
                let context = fresh(context);
                let span = api
                    .span(self.account, Method::GetOperation, context, poll.started)
                    .below(self.context.unwrap_or(context))
                    .ended(poll.ended);
                traces.emit(match &poll.failure {
                    None => span.with(key::HTTP_RESPONSE_STATUS_CODE, 200),
                    Some(failure) => failed(span, failure),
                });
            }
        }
        let links = std::mem::take(&mut self.links);
        let name =
            self.action.map_or("batch".into(), |action| format!("{} batch", action.as_str()));
        let mut span = Span::new(name, SpanKind::Internal, context, self.started)
            .with_some("zerotouch.action", self.action.map(Action::as_str))
            .with_some("zerotouch.account", api.account(self.account))
            .with_some("zerotouch.operation", Some(operation.to_owned()).filter(|o| !o.is_empty()))
            .with("zerotouch.restored", self.is_restored());
        if !self.is_restored() {
            let count = i64::try_from(self.items).unwrap_or(i64::MAX);
            span = span.with(key::MESSAGING_BATCH_MESSAGE_COUNT, count);
        }
        // Of a batch of the ledger, a later outcome may have been of another order.
        if let Some(parent) = links.parent().filter(|p| p.trace_id == context.trace_id) {
            span = span.below(parent);
        }
        if self.polls_dropped > 0 {
            let count = KeyValue::new("zerotouch.polls", i64::from(self.polls_dropped));
            span.event("further polls", self.ended.unwrap_or(self.started), vec![count]);
        }
        if let Some(ended) = self.ended {
            span = span.ended(ended);
        }
        span = span.linked(links.to, links.dropped);
        if self.failed {
            span = span.failed("batch", "the call or its operation failed".into());
        }
        traces.emit(span);
    }
}

/// The batches of a session, by operation.
#[derive(Debug, Default)]
pub(super) struct Batches {
    by_operation: BTreeMap<Arc<str>, Batch>,
    order: VecDeque<Arc<str>>,
}

impl Batches {
    pub(super) fn get(&self, operation: &str) -> Option<&Batch> {
        self.by_operation.get(operation)
    }

    pub(super) fn get_mut(&mut self, operation: &Arc<str>) -> Option<&mut Batch> {
        self.by_operation.get_mut(operation)
    }

    pub(super) fn insert(&mut self, operation: &Arc<str>, batch: Batch) {
        if self.by_operation.insert(Arc::clone(operation), batch).is_none() {
            self.order.push_back(Arc::clone(operation));
        }
        while self.order.len() > BATCHES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_operation.remove(&oldest);
        }
    }

    /// The batch of an operation; a new one if another session submitted it.
    pub(super) fn get_or_restored(&mut self, operation: &Arc<str>, account: usize) -> &Batch {
        if !self.by_operation.contains_key(operation) {
            self.insert(operation, Batch::restored(account));
        }
        &self.by_operation[operation]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> TraceParent {
        TraceParent::of(&number.to_string())
    }

    #[test]
    fn links_are_bounded_and_the_rest_is_counted() {
        let mut links = Links::default();
        for number in 0..1_000 {
            links.add(name(0), || name(number));
        }
        assert_eq!((links.to.len(), links.dropped), (LINKS_MAX, 1_000 - 128));
        assert_eq!(links.parent(), Some(name(0)), "all are of one order event");
    }

    #[test]
    fn a_batch_is_below_its_only_command_and_below_none_of_several_orders() {
        let mut links = Links::default();
        links.add(name(0), || name(1));
        assert_eq!(links.parent(), Some(name(1)));
        links.add(name(2), || name(3));
        links.add(name(2), || name(4));
        assert_eq!(links.parent(), None);
    }

    #[test]
    fn whoever_goes_on_with_an_operation_goes_on_with_its_span() {
        let links = || {
            let mut links = Links::default();
            links.add(name(0), || name(1));
            links
        };
        let mut sent = Batch::sent(Action::Claim, 0, 1, links());
        let mut restored = Batch { links: links(), ..Batch::restored(0) };
        let context = sent.settle_context("operations/1");
        assert_eq!(context, restored.settle_context("operations/1"));
        assert_eq!(context.trace_id, name(1).trace_id);
        assert_ne!(context, Batch::restored(0).settle_context("operations/2"));
    }

    #[test]
    fn operations_that_are_remembered_are_bounded() {
        let mut batches = Batches::default();
        for number in 0..BATCHES_MAX + 10 {
            batches.get_or_restored(&number.to_string().into(), 0);
        }
        assert_eq!(batches.by_operation.len(), BATCHES_MAX);
        assert!(batches.get("0").is_none() && batches.get("10").is_some());
    }
}

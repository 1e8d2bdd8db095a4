//! A finished span on its way to the exporter.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::wire::headers::TraceParent;

/// A span that has ended.
#[derive(Debug)]
pub(in crate::shell) struct Span(SpanData);

impl Span {
    /// A span from `started` until now.
    #[must_use]
    pub(in crate::shell) fn new(
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        context: TraceParent,
        started: SystemTime,
    ) -> Self {
        Self(SpanData {
            span_context: span_context(context, false),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: kind,
            name: name.into(),
            start_time: started,
            // A clock that was set back must not give a negative duration.
            end_time: SystemTime::now().max(started),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("zerotouch-worker")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        })
    }

    /// Below a span of this process.
    #[must_use]
    pub(in crate::shell) fn below(mut self, parent: TraceParent) -> Self {
        self.0.parent_span_id = parent.span_id;
        self
    }

    /// Below a span that a record named.
    #[must_use]
    pub(in crate::shell) fn below_remote(mut self, parent: TraceParent) -> Self {
        self.0.parent_span_is_remote = true;
        self.below(parent)
    }

    /// Ended at this time, not now.
    #[must_use]
    pub(in crate::shell) fn ended(mut self, at: SystemTime) -> Self {
        self.0.end_time = at.max(self.0.start_time);
        self
    }

    /// With an attribute.
    #[must_use]
    pub(in crate::shell) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.0.attributes.push(KeyValue::new(key, value));
        self
    }

    /// With an attribute, if there is a value.
    #[must_use]
    pub(in crate::shell) fn with_some(
        self,
        key: &'static str,
        value: Option<impl Into<Value>>,
    ) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Linked to these, and to `dropped` more that found no room.
    #[must_use]
    pub(in crate::shell) fn linked(
        mut self,
        to: impl IntoIterator<Item = TraceParent>,
        dropped: u32,
    ) -> Self {
        let link = |context| Link::with_context(span_context(context, true));
        self.0.links.links.extend(to.into_iter().map(link));
        self.0.links.dropped_count += dropped;
        self
    }

    /// With something that happened meanwhile.
    pub(in crate::shell) fn event(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        at: SystemTime,
        attributes: Vec<KeyValue>,
    ) {
        self.0.events.events.push(Event::new(name, at, attributes, 0));
    }

    /// Ended badly.
    #[must_use]
    pub(in crate::shell) fn failed(mut self, kind: impl Into<Value>, why: String) -> Self {
        self.0.status = Status::error(why);
        self.with(opentelemetry_semantic_conventions::attribute::ERROR_TYPE, kind)
    }
}

impl From<Span> for SpanData {
    fn from(span: Span) -> Self {
        span.0
    }
}

fn span_context(context: TraceParent, is_remote: bool) -> SpanContext {
    let TraceParent { trace_id, span_id, flags } = context;
    SpanContext::new(trace_id, span_id, flags, is_remote, TraceState::NONE)
}

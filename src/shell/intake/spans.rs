//! Spans of an order event: `process <topic>`, and below it one `send` of all its commands, and one
//! for each refused line. Commands carry the context of that `send`.
//!
//! Ids are derived from the event's context, so that a second attempt after a crash writes the
//! same bytes and the same trace.

use std::time::SystemTime;

use opentelemetry::trace::{SpanKind, TraceFlags};
use opentelemetry_semantic_conventions::attribute as key;

use crate::engine::intake::Refused;
use crate::model::{OrderEvent, Rejection, Source};
use crate::shell::kafka::TopicPartition;
use crate::shell::telemetry::traces::{Span, Traces};
use crate::wire::cloud_events::{CE_TRACEPARENT, TRACEPARENT};
use crate::wire::headers::{TraceParent, outcome_trace};

use super::Intake;

/// Refused lines of one event that get a span of their own, at most.
const REFUSED_MAX: usize = 128;

/// The trace of one order event that is sampled.
#[derive(Clone, Debug)]
pub(super) struct EventTrace {
    /// The producer's span; `None` if the trace begins here.
    parent: Option<TraceParent>,
    process: TraceParent,
    send: TraceParent,
    started: SystemTime,
    event_id: Option<String>,
    rejected: Option<&'static str>,
    refused: Vec<(TraceParent, Option<&'static str>)>,
}

impl EventTrace {
    /// Takes up the event's trace, and puts its continuation into the event. `None` if it is not
    /// sampled: then the event keeps what it brought.
    pub(super) fn of_event(
        traces: &Traces,
        event: &mut OrderEvent,
        source: &Source,
    ) -> Option<Self> {
        if !traces.is_on() {
            return None;
        }
        let given = TraceParent::parse(event.traceparent.as_deref()?)?;
        let begun = Self::begin(traces, given, source);
        match &begun {
            Some(trace) => event.traceparent = Some(trace.send.to_string()),
            // Whoever reads the outcome shall not look for spans that nobody has written.
            None if given.flags.is_sampled() => {
                let unsampled = TraceParent { flags: TraceFlags::default(), ..given };
                event.traceparent = Some(unsampled.to_string());
            }
            None => {}
        }
        let event_id = Some(event.id.clone());
        begun.map(|trace| Self { event_id, ..trace })
    }

    /// The same for a record that is no order event.
    pub(super) fn of_rejected(
        traces: &Traces,
        headers: &[(&str, &[u8])],
        source: &Source,
        rejection: &Rejection,
    ) -> Option<Self> {
        if !traces.is_on() {
            return None;
        }
        let text = |name| {
            let header = headers.iter().find(|(header, _)| *header == name);
            header.and_then(|(_, value)| std::str::from_utf8(value).ok())
        };
        let given = text(TRACEPARENT).or_else(|| text(CE_TRACEPARENT));
        let given = given.and_then(TraceParent::parse);
        let mut trace =
            Self::begin(traces, given.unwrap_or_else(|| TraceParent::root(source)), source)?;
        trace.reject(rejection);
        Some(trace)
    }

    fn begin(traces: &Traces, given: TraceParent, source: &Source) -> Option<Self> {
        let is_ours = given == TraceParent::root(source);
        let parent = (!is_ours).then(|| given.flags.is_sampled());
        if !traces.samples(given.trace_id, parent) {
            return None;
        }
        let process = if is_ours { given } else { given.child(b"process") };
        let process = TraceParent { flags: process.flags | TraceFlags::SAMPLED, ..process };
        Some(Self {
            parent: (!is_ours).then_some(given),
            process,
            send: process.child(b"send"),
            started: SystemTime::now(),
            event_id: None,
            rejected: None,
            refused: Vec::new(),
        })
    }

    /// The event becomes a dead letter.
    pub(super) fn reject(&mut self, rejection: &Rejection) {
        self.rejected = Some(rejection.reason.as_str());
        self.refused.clear();
    }

    /// A line of the event is refused.
    pub(super) fn refused(&mut self, refused: &Refused) {
        if self.refused.len() < REFUSED_MAX {
            let code = refused.verdict.failure.as_ref().map(|failure| failure.code.as_str());
            self.refused.push((outcome_trace(&refused.command), code));
        }
    }

    /// Writes the spans, once what follows from the event is committed.
    pub(super) fn emit(
        &self,
        intake: &Intake,
        partition: &TopicPartition,
        offset: i64,
        commands: u64,
        sent: SystemTime,
    ) {
        let topics = &intake.topics;
        let sending = |topic: &str, context| {
            Span::new(format!("send {topic}"), SpanKind::Producer, context, sent)
                .with(key::MESSAGING_SYSTEM, "kafka")
                .with(key::MESSAGING_OPERATION_NAME, "send")
                .with(key::MESSAGING_OPERATION_TYPE, "send")
                .with(key::MESSAGING_DESTINATION_NAME, topic.to_owned())
                .with(key::MESSAGING_CLIENT_ID, intake.kafka.client_id.clone())
        };
        if intake.traces.has_room() {
            let topic = &partition.topic;
            let name = format!("process {topic}");
            let mut span = Span::new(name, SpanKind::Consumer, self.process, self.started)
                .with(key::MESSAGING_SYSTEM, "kafka")
                .with(key::MESSAGING_OPERATION_NAME, "process")
                .with(key::MESSAGING_OPERATION_TYPE, "process")
                .with(key::MESSAGING_DESTINATION_NAME, topic.to_string())
                .with(key::MESSAGING_DESTINATION_PARTITION_ID, partition.partition.to_string())
                .with(key::MESSAGING_KAFKA_OFFSET, offset)
                .with(key::MESSAGING_CONSUMER_GROUP_NAME, intake.kafka.group_id.clone())
                .with(key::MESSAGING_CLIENT_ID, intake.kafka.client_id.clone())
                .with_some(key::CLOUDEVENTS_EVENT_ID, self.event_id.clone());
            if let Some(parent) = self.parent {
                span = span.below_remote(parent);
            }
            if let Some(reason) = self.rejected {
                span = span.failed(reason, "the record became a dead letter".into());
            }
            intake.traces.emit(span);
        }
        if self.rejected.is_none() && intake.traces.has_room() {
            let count = i64::try_from(commands).unwrap_or(i64::MAX);
            let span = sending(&topics.commands, self.send).below(self.process);
            intake.traces.emit(span.with(key::MESSAGING_BATCH_MESSAGE_COUNT, count));
        }
        for (context, code) in &self.refused {
            if intake.traces.has_room() {
                let span = sending(&topics.outcomes, *context).below(self.send);
                let why = "the line cannot be sent".into();
                intake.traces.emit(span.failed(code.unwrap_or("input"), why));
            }
        }
    }
}

//! The bounded queue of spans before the collector.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _,
};
use tokio::runtime::Handle;

use crate::shell::telemetry::export::{DELAY, EXPORT_ITEMS, FULL, Watch};

/// The queue before the collector.
pub(super) struct Queue {
    processor: BatchSpanProcessor,
    watch: Arc<Watch>,
}

impl Queue {
    /// As large as is watched. To be called within the runtime.
    pub(super) fn before(exporter: impl SpanExporter + 'static, watch: Arc<Watch>) -> Self {
        let max = watch.max();
        let counted = Counted {
            exporter: Arc::new(exporter),
            watch: Arc::clone(&watch),
            runtime: Handle::current(),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(max)
            .with_max_export_batch_size(EXPORT_ITEMS.min(max))
            .with_scheduled_delay(DELAY)
            .build();
        Self { processor: BatchSpanProcessor::new(counted, batches), watch }
    }

    pub(super) fn has_room(&self) -> bool {
        let has_room = self.watch.has_room();
        if !has_room {
            self.watch.lose(1);
            self.watch.tell(&FULL);
        }
        has_room
    }

    pub(super) fn push(&self, span: SpanData) {
        if self.watch.take_room() {
            self.processor.on_end(span);
        } else {
            self.watch.tell(&FULL);
        }
    }

    /// Blocks, for `limit` at most.
    pub(super) fn shutdown(&self, limit: Duration) {
        self.watch.end(limit, |limit| self.processor.shutdown_with_timeout(limit));
    }

    #[cfg(test)]
    pub(super) fn lost(&self) -> u64 {
        self.watch.lost()
    }
}

/// Counts what leaves the queue and what fails.
#[derive(Debug)]
struct Counted<E> {
    exporter: Arc<E>,
    watch: Arc<Watch>,
    runtime: Handle,
}

impl<E: SpanExporter + 'static> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (count, exporter) = (batch.len(), Arc::clone(&self.exporter));
        let export = async move { exporter.export(batch).await };
        self.watch.export(&self.runtime, count, export).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use opentelemetry::trace::SpanKind;
    use opentelemetry_sdk::error::OTelSdkError;
    use prometheus::IntCounter;

    use super::*;
    use crate::shell::telemetry::traces::Span;
    use crate::wire::headers::TraceParent;

    /// An exporter that never answers, or always refuses.
    #[derive(Debug)]
    struct Bad {
        hangs: bool,
    }

    impl SpanExporter for Bad {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            Err(OTelSdkError::InternalFailure("refused".into()))
        }
    }

    fn queue(hangs: bool) -> Arc<Queue> {
        let lost = IntCounter::new("lost", "lost").unwrap();
        let watch = Arc::new(Watch::new("spans", 128, lost));
        Arc::new(Queue::before(Bad { hangs }, watch))
    }

    fn span() -> SpanData {
        let started = std::time::SystemTime::now();
        Span::new("span", SpanKind::Internal, TraceParent::of("span"), started).into()
    }

    async fn shut_down(queue: &Arc<Queue>, limit: Duration) -> Duration {
        let closing = Arc::clone(queue);
        let began = Instant::now();
        tokio::task::spawn_blocking(move || closing.shutdown(limit)).await.unwrap();
        began.elapsed()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_finds_no_room_is_counted_and_a_frozen_collector_holds_up_nothing() {
        let queue = queue(true);
        for _ in 0..1_000 {
            if queue.has_room() {
                queue.push(span());
            }
        }
        // One export at most has left the queue, and as many spans may have taken its place.
        assert!((1_000 - 2 * 128..=1_000 - 128).contains(&queue.lost()), "{}", queue.lost());
        let took = shut_down(&queue, Duration::from_millis(200)).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_that_a_collector_refuses_are_counted() {
        let queue = queue(false);
        (0..100).for_each(|_| queue.push(span()));
        shut_down(&queue, Duration::from_secs(30)).await;
        assert_eq!(queue.lost(), 100);
        assert!(queue.has_room());
    }
}

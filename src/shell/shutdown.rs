//! Signals: the first one drains, the second one ends the process at once. A drain can begin before
//! the first signal, by a request; then the process stays until the signal comes.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the signals ask for.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    /// Cancelled by the first SIGTERM or SIGINT, or when a drain is asked for by other means.
    pub(super) drain: CancellationToken,
    /// Cancelled by the first SIGTERM or SIGINT.
    pub(super) end: CancellationToken,
    /// Cancelled by the second.
    pub(super) stop: CancellationToken,
}

impl Signals {
    /// Begins to listen. Must be called within the runtime.
    #[must_use]
    pub(super) fn new() -> Self {
        let end = CancellationToken::new();
        let signals = Self { drain: CancellationToken::new(), end, stop: CancellationToken::new() };
        let told = signals.clone();
        tokio::spawn(async move {
            if let Err(error) = told.listen().await {
                tracing::error!(%error, "signals cannot be listened for");
            }
        });
        signals
    }

    async fn listen(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        for tokens in [&[&self.end, &self.drain][..], &[&self.stop]] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tokens.iter().for_each(|token| token.cancel());
        }
        Ok(())
    }
}

//! The real clocks, as the engine wants them.

use std::time::Instant;

use jiff::Timestamp;

use crate::engine::{Mono, Now};

/// Reads both clocks; copies of one count from the same beginning.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: Timestamp::now() }
    }

    /// The present, to wait by.
    #[must_use]
    pub fn mono(&self) -> Mono {
        Mono::default() + self.began.elapsed()
    }

    /// When a point will have come, for timers; `None` if it lies beyond all reason.
    #[must_use]
    pub fn instant(&self, at: Mono) -> Option<Instant> {
        self.began.checked_add(at.since(Mono::default()))
    }
}

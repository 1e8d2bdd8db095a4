//! The engine's two clocks, both passed in: one to wait by, one to write down.

use std::time::Duration;

use jiff::Timestamp;

/// A point on the monotonic clock, in nanoseconds since the process began. Waiting, leases and
/// deadlines count on it, since the wall clock may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// The end of time.
    pub const MAX: Self = Self(u64::MAX);

    /// Time since an earlier point; zero if it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Mono {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The present, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// To wait by.
    pub mono: Mono,
    /// To write down: ledger deadlines and the times of outcomes.
    pub wall: Timestamp,
}

impl Now {
    /// The wall clock's reading of a wait that begins now; the last representable time if it
    /// lies beyond.
    #[must_use]
    pub fn wall_after(&self, wait: Duration) -> Timestamp {
        self.wall.checked_add(wait).unwrap_or(Timestamp::MAX)
    }

    /// How long until a stored time; zero if it has passed.
    #[must_use]
    pub fn until(&self, stored: Timestamp) -> Duration {
        Duration::try_from(stored.duration_since(self.wall)).unwrap_or(Duration::ZERO)
    }
}

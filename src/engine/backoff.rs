//! How long to wait after a failure: exponential, with full jitter.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A wait drawn evenly from half to all of `min * 2^(failures - 1)`, at most `max`.
///
/// The lower half is kept out so that a failing peer never sees an instant retry.
pub(crate) fn backoff(
    failures: u32,
    min: Duration,
    max: Duration,
    rng: &mut ChaCha8Rng,
) -> Duration {
    let doubled =
        min.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let ceiling = doubled.min(max).max(min);
    ceiling.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_are_never_instant() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
        for (failures, ceiling) in [(1, 1), (2, 2), (5, 16), (7, 60), (40, 60), (u32::MAX, 60)] {
            for _ in 0..50 {
                let wait = backoff(failures, min, max, &mut rng);
                assert!(wait <= Duration::from_secs(ceiling), "{failures}: {wait:?}");
                assert!(wait >= Duration::from_secs(ceiling) / 2, "{failures}: {wait:?}");
            }
        }
    }
}

//! Growing pauses (pure).

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// A pause that doubles from `first` to `max`, drawn from ±20 % so that many who failed together do not come back together.
///
/// Kafka: `ExponentialBackoff` with multiplier 2 and jitter 0.2 (KIP-580).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// No pause is longer.
    pub max: Duration,
}

/// Jitter in thousandths: Kafka's `RETRY_BACKOFF_JITTER`.
const JITTER_PERMILLE: u64 = 200;

impl Backoff {
    /// The pause after the `failures`th failure in a row, counted from 1.
    #[must_use]
    pub fn pause(&self, failures: u32, rng: &mut StdRng) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let grown = self.first.saturating_mul(1 << doublings).min(self.max.max(self.first));
        let permille = rng.random_range(1_000 - JITTER_PERMILLE..=1_000 + JITTER_PERMILLE);
        let nanos = u64::try_from(grown.as_nanos()).unwrap_or(u64::MAX);
        let drawn = Duration::from_nanos((nanos / 1_000).saturating_mul(permille));
        drawn.min(self.max.max(self.first))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn pauses_double_to_the_maximum_with_a_fifth_of_jitter() {
        let backoff =
            Backoff { first: Duration::from_millis(100), max: Duration::from_millis(1_000) };
        let mut rng = StdRng::seed_from_u64(1);
        for (failures, expected) in [(1, 100), (2, 200), (4, 800), (5, 1_000), (u32::MAX, 1_000)] {
            let millis = backoff.pause(failures, &mut rng).as_millis();
            assert!((expected * 8 / 10..=(expected * 12 / 10).min(1_000)).contains(&millis));
        }
    }
}

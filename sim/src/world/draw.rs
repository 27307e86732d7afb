//! Randomness of the world: generators that no other draw disturbs, and distributions over spans of time.
//!
//! Nothing here asks the platform's mathematics library: `ln`, `exp` and `powf` differ between machines. Only `+ - * / sqrt`,
//! which IEEE 754 defines to the last bit.

use std::sync::Arc;
use std::time::Duration;

use super::name::nanos;

/// A small generator (SplitMix64: Steele, Lea, Flood 2014), the same on every machine and with every version of `rand`.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The generator for `purpose` under `seed`.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut state = mix(seed ^ 0x6f74_746c_6121_7369);
        for byte in purpose.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        Self(state)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the high half of a product")
    }

    /// True `per_million` times in a million.
    pub fn chance(&mut self, per_million: u32) -> bool {
        match per_million {
            0 => false,
            1_000_000.. => true,
            some => self.below(1_000_000) < u64::from(some),
        }
    }
}

/// Mixes 64 bits well and loses none.
#[must_use]
pub fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// How long something takes: one span, or a draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Always this.
    Fixed(Duration),
    /// Any span of `low..=high`, all alike.
    Uniform {
        /// The shortest.
        low: Duration,
        /// The longest.
        high: Duration,
    },
    /// One of these, in nanoseconds, all alike; zero where there is none.
    OneOf(Arc<[u64]>),
    /// By its quantiles: see [`Distribution::lognormal`].
    Quantiles(Arc<[(u32, u64)]>),
}

/// Probabilities in ten-thousandths, and the standard normal distribution's quantiles there. Between them a straight line.
const NORMAL: [(u32, f64); 19] = [
    (0, -3.719),
    (10, -3.0902),
    (100, -2.3263),
    (200, -2.0537),
    (500, -1.6449),
    (1_000, -1.2816),
    (2_000, -0.8416),
    (3_000, -0.5244),
    (4_000, -0.2533),
    (5_000, 0.0),
    (6_000, 0.2533),
    (7_000, 0.5244),
    (8_000, 0.8416),
    (9_000, 1.2816),
    (9_500, 1.6449),
    (9_800, 2.0537),
    (9_900, 2.3263),
    (9_990, 3.0902),
    (10_000, 3.719),
];

impl Distribution {
    /// Takes no time.
    pub const ZERO: Distribution = Distribution::Fixed(Duration::ZERO);

    /// The lognormal distribution whose median is `p50` and whose 99th percentile is `p99` (not below `p50`); no draw is
    /// beyond its quantile of 99.99 %.
    #[must_use]
    pub fn lognormal(p50: Duration, p99: Duration) -> Self {
        let median = p50.as_nanos().max(1) as f64;
        let ratio = (p99.as_nanos().max(1) as f64 / median).max(1.0);
        let table = NORMAL.iter().map(|&(probability, z)| {
            let value = median * power(ratio, z / 2.3263);
            #[expect(clippy::cast_possible_truncation, reason = "positive, and saturates")]
            let value = value as u64;
            (probability, value)
        });
        Self::Quantiles(table.collect())
    }

    /// The longest span that can be drawn.
    #[must_use]
    pub fn longest(&self) -> Duration {
        match self {
            Self::Fixed(span) => *span,
            Self::Uniform { high, .. } => *high,
            Self::OneOf(values) => {
                Duration::from_nanos(values.iter().copied().max().unwrap_or_default())
            }
            Self::Quantiles(table) => Duration::from_nanos(table.last().map_or(0, |last| last.1)),
        }
    }

    /// Whether every draw is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.longest().is_zero()
    }

    /// One draw, in nanoseconds.
    pub fn draw(&self, draw: &mut Draw) -> u64 {
        match self {
            Self::Fixed(span) => nanos(*span),
            Self::Uniform { low, high } => {
                let (low, high) = (nanos(*low), nanos(*high));
                low + draw.below((high.saturating_sub(low)).saturating_add(1))
            }
            Self::OneOf(values) => {
                let index = draw.below(values.len() as u64);
                usize::try_from(index)
                    .ok()
                    .and_then(|index| values.get(index))
                    .copied()
                    .unwrap_or(0)
            }
            Self::Quantiles(table) => interpolate(table, draw.below(10_000_000)),
        }
    }
}

/// The value at `position` of ten million, between the two quantiles around it.
fn interpolate(table: &[(u32, u64)], position: u64) -> u64 {
    let above =
        table.partition_point(|&(probability, _)| u64::from(probability) * 1_000 <= position);
    let (Some(&(p0, v0)), Some(&(p1, v1))) = (table.get(above.wrapping_sub(1)), table.get(above))
    else {
        return table.last().map_or(0, |last| last.1);
    };
    let (p0, p1) = (u64::from(p0) * 1_000, u64::from(p1) * 1_000);
    let part = u128::from(v1.saturating_sub(v0)) * u128::from(position - p0) / u128::from(p1 - p0);
    v0 + u64::try_from(part).unwrap_or(u64::MAX / 2)
}

/// `base` to the power `exponent`, for `base >= 1` and `|exponent| < 8`, by squaring and square roots alone.
fn power(base: f64, exponent: f64) -> f64 {
    let (mut rest, mut result) = (exponent.abs(), 1.0);
    while rest >= 1.0 {
        result *= base;
        rest -= 1.0;
    }
    let mut root = base;
    for _ in 0..40 {
        root = root.sqrt();
        rest *= 2.0;
        if rest >= 1.0 {
            result *= root;
            rest -= 1.0;
        }
    }
    if exponent < 0.0 { 1.0 / result } else { result }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lognormal_has_its_median_and_its_99th_percentile() {
        let (p50, p99) = (Duration::from_millis(1), Duration::from_millis(40));
        let latency = Distribution::lognormal(p50, p99);
        let mut draw = Draw::new(7, "test");
        let mut all: Vec<u64> = (0..20_000).map(|_| latency.draw(&mut draw)).collect();
        all.sort_unstable();
        let near = |seen: u64, wanted: Duration| {
            let wanted = nanos(wanted) as f64;
            assert!((seen as f64 / wanted - 1.0).abs() < 0.15, "{seen} against {wanted}");
        };
        near(all[10_000], p50);
        near(all[19_800], p99);
        assert!(all.last().expect("draws") <= &nanos(latency.longest()));
    }

    #[test]
    fn purposes_draw_apart_and_seeds_repeat() {
        let bits = |seed, purpose| Draw::new(seed, purpose).bits();
        assert_eq!(bits(1, "a"), bits(1, "a"));
        assert_ne!(bits(1, "a"), bits(1, "b"));
        assert_ne!(bits(1, "a"), bits(2, "a"));
    }

    #[test]
    fn uniform_draws_reach_both_ends_and_chances_hold() {
        let some =
            Distribution::Uniform { low: Duration::from_nanos(3), high: Duration::from_nanos(5) };
        let mut draw = Draw::new(1, "test");
        let seen: std::collections::BTreeSet<u64> =
            (0..100).map(|_| some.draw(&mut draw)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert!((0..1000).all(|_| !draw.chance(0)) && (0..1000).all(|_| draw.chance(1_000_000)));
        let hits = (0..10_000).filter(|_| draw.chance(250_000)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
    }
}

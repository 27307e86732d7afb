//! A part of the seeds: what one of many machines runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// More shards than this are a slip of the finger.
const SHARDS_MAX: u64 = 100_000;

/// The seeds that equal `number` modulo `of`. Shards count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which one: `1..=of`.
    pub number: u64,
    /// How many there are. At least 1.
    pub of: u64,
}

impl Shard {
    /// All seeds.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// Whether a seed is one of its own.
    #[must_use]
    pub const fn holds(self, seed: u64) -> bool {
        seed % self.of == self.number % self.of
    }
}

impl FromStr for Shard {
    type Err = String;

    /// Reads `2/3`.
    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is no shard: write `2/3` for the second of three");
        let (number, of) = text.split_once('/').ok_or_else(shape)?;
        let number: u64 = number.trim().parse().map_err(|_| shape())?;
        let of: u64 = of.trim().parse().map_err(|_| shape())?;
        match of {
            0 => Err("no shards are none: write `2/3` for the second of three".into()),
            _ if of > SHARDS_MAX => Err(format!("{of} shards are too many: at most {SHARDS_MAX}")),
            _ if !(1..=of).contains(&number) => {
                Err(format!("there is no shard {number} of {of}: they count from 1 to {of}"))
            }
            _ => Ok(Self { number, of }),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_in_exactly_one_shard() {
        for seed in 0..50 {
            let holds = |number: &u64| Shard { number: *number, of: 3 }.holds(seed);
            assert_eq!((1..=3).filter(holds).count(), 1, "seed {seed}");
            assert!(Shard::WHOLE.holds(seed));
        }
    }

    #[test]
    fn shards_that_are_none_are_refused_with_the_reason() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Shard>().unwrap_err(), expected);
        };
        check("3/2", "there is no shard 3 of 2: they count from 1 to 2");
        check("0/2", "there is no shard 0 of 2: they count from 1 to 2");
        check("1/0", "no shards are none: write `2/3` for the second of three");
        check("two", "`two` is no shard: write `2/3` for the second of three");
        check("-1/2", "`-1/2` is no shard: write `2/3` for the second of three");
        check("1/999999", "999999 shards are too many: at most 100000");
        assert_eq!("2/3".parse(), Ok(Shard { number: 2, of: 3 }));
    }
}

//! Positions in a partition's log.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// The position of a record in a partition's log: 0 and up, never reused while the log keeps its history.
///
/// Names ending in `end_offset`, and `high_watermark`, are exclusive.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of an empty, never trimmed log.
    pub const ZERO: Offset = Offset(0);
    /// The largest offset that can be named.
    pub const MAX: Offset = Offset(i64::MAX);

    /// The offset `value`.
    ///
    /// Panics where `value` is negative: sentinels end in `protocol/`.
    #[must_use]
    pub const fn new(value: i64) -> Self {
        assert!(value >= 0, "an offset is never negative");
        Self(value)
    }

    /// The offset that a wire or file field names; `None` for the negative sentinels.
    #[must_use]
    pub const fn from_wire(value: i64) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The plain number, for wire and files.
    #[must_use]
    pub const fn value(self) -> i64 {
        self.0
    }

    /// `self + count`, or `None` beyond [`Offset::MAX`].
    #[must_use]
    pub fn checked_add(self, count: u64) -> Option<Self> {
        let count = i64::try_from(count).ok()?;
        self.0.checked_add(count).map(Self)
    }

    /// How many offsets lie in `earlier..self`; 0 where `earlier` is not earlier.
    #[must_use]
    pub fn saturating_distance(self, earlier: Offset) -> u64 {
        u64::try_from(self.0 - earlier.0).unwrap_or(0)
    }
}

impl Add<u64> for Offset {
    type Output = Offset;

    fn add(self, count: u64) -> Offset {
        self.checked_add(count).expect("offsets stay below 2^63")
    }
}

impl Sub for Offset {
    type Output = u64;

    fn sub(self, earlier: Offset) -> u64 {
        u64::try_from(self.0 - earlier.0).expect("the subtrahend is the earlier offset")
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

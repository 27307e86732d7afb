//! Durations as people write them: a number and a unit, `250ms`, `1.5s`, `2m`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The units, with their nanoseconds. `m` is a minute, as in Go, Rust's `humantime` and Kafka's documentation.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// The longest duration a scenario may name: 100 days, which is beyond every default of Kafka's (retention is 7 days) and
/// keeps all sums of a run within 64 bits of nanoseconds.
pub const LONGEST: Span = Span(100 * 86_400_000_000_000);

/// A length of simulated time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A length of `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A length of `seconds` seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// The nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The sum; sums beyond 64 bits stay at the largest.
    #[must_use]
    pub const fn plus(self, other: Span) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Reads `250ms`, `1.5s`, `2m`.
    ///
    /// Errors: a sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let (number, unit) = text.split_at(split.unwrap_or(text.len()));
        let unit = unit.trim();
        if number.is_empty() {
            return Err(format!(
                "`{text}` is not a duration: write a number and a unit, as in `90s`"
            ));
        }
        if unit.is_empty() {
            return Err(format!(
                "the duration `{text}` has no unit: did you mean `{text}s` or `{text}ms`?"
            ));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!(
                "`{unit}` is not a unit of time: known are ns, us, ms, s, m (minutes), h, d"
            ));
        };
        let too_long = || format!("the duration `{text}` is too long: the longest is {LONGEST}");
        let nanos = parse_decimal(number, *scale)
            .map_err(|()| format!("`{number}` in the duration `{text}` is not a number"))?
            .ok_or_else(too_long)?;
        if nanos > LONGEST.0 { Err(too_long()) } else { Ok(Self(nanos)) }
    }
}

/// `number` × `scale`, rounded down; `Ok(None)` beyond 64 bits.
fn parse_decimal(number: &str, scale: u64) -> Result<Option<u64>, ()> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(());
    }
    let Ok(whole) = whole.parse::<u64>() else { return Ok(None) };
    let mut nanos = u128::from(whole) * u128::from(scale);
    let mut digit_value = u128::from(scale);
    for digit in fraction.bytes() {
        // Digits below a nanosecond are worth nothing.
        digit_value /= 10;
        nanos += u128::from(digit - b'0') * digit_value;
    }
    Ok(u64::try_from(nanos).ok())
}

impl fmt::Display for Span {
    /// The largest unit that leaves a whole number, or seconds with three decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS
            .iter()
            .rev()
            .filter(|(name, _)| *name != "µs" && *name != "d" && *name != "h")
            .find(|(name, scale)| {
                self.0.is_multiple_of(*scale) && (*name != "m" || self.0 >= 600_000_000_000)
            });
        match exact {
            _ if self.0 == 0 => f.write_str("0s"),
            Some((name, scale)) if self.0 / scale < 100_000 => {
                write!(f, "{}{name}", self.0 / scale)
            }
            _ => write!(f, "{}.{:03}s", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1_000),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Span::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    /// Exact, in nanoseconds where no larger unit is: what is written reads back as the same.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.exact())
    }
}

impl Span {
    /// The value in the largest unit that keeps it exact.
    #[must_use]
    pub fn exact(self) -> String {
        let (name, scale) = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)]
            .into_iter()
            .find(|(_, scale)| self.0.is_multiple_of(*scale))
            .unwrap_or(("ns", 1));
        format!("{}{name}", self.0 / scale)
    }

    /// The value as a person writes it, and still exact: `5.6s`, `17.264105817s`, `2.5ms`.
    #[must_use]
    pub fn decimal(self) -> String {
        let units = [("s", 1_000_000_000, 9), ("ms", 1_000_000, 6), ("us", 1_000, 3)];
        let Some((name, scale, digits)) = units.into_iter().find(|(_, scale, _)| self.0 >= *scale)
        else {
            return self.exact();
        };
        let number = format!("{}.{:0digits$}", self.0 / scale, self.0 % scale);
        format!("{}{name}", number.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(input: &[&str], expected: Expect) {
        let mut out = String::new();
        for text in input {
            match Span::parse(text) {
                Ok(span) => out.push_str(&format!("{text} = {} ns = {span}\n", span.nanos())),
                Err(what) => out.push_str(&format!("{text}: {what}\n")),
            }
        }
        expected.assert_eq(&out);
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        check(
            &["0s", "250ms", "1.5s", "90s", "10m", "3us", "1.0000000009s", "2h"],
            expect![[r#"
                0s = 0 ns = 0s
                250ms = 250000000 ns = 250ms
                1.5s = 1500000000 ns = 1500ms
                90s = 90000000000 ns = 90s
                10m = 600000000000 ns = 10m
                3us = 3000 ns = 3us
                1.0000000009s = 1000000000 ns = 1s
                2h = 7200000000000 ns = 120m
            "#]],
        );
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        check(
            &["90", "s", "", "1.s", "1..2s", "5 weeks", "99999999999999999999s", "101d", "-1s"],
            expect![[r#"
                90: the duration `90` has no unit: did you mean `90s` or `90ms`?
                s: `s` is not a duration: write a number and a unit, as in `90s`
                : `` is not a duration: write a number and a unit, as in `90s`
                1.s: `1.` in the duration `1.s` is not a number
                1..2s: `1..2` in the duration `1..2s` is not a number
                5 weeks: `weeks` is not a unit of time: known are ns, us, ms, s, m (minutes), h, d
                99999999999999999999s: the duration `99999999999999999999s` is too long: the longest is 8640000.000s
                101d: the duration `101d` is too long: the longest is 8640000.000s
                -1s: `-1s` is not a duration: write a number and a unit, as in `90s`
            "#]],
        );
    }

    #[test]
    fn the_exact_form_reads_back_as_the_same() {
        for nanos in [0, 1, 999, 1_000, 1_234_567, 5_000_000, 90_000_000_000] {
            let span = Span::from_nanos(nanos);
            assert_eq!(Span::parse(&span.exact()), Ok(span));
            assert_eq!(Span::parse(&span.decimal()), Ok(span));
        }
    }

    #[test]
    fn the_decimal_form_is_short() {
        let decimal = |nanos| Span::from_nanos(nanos).decimal();
        assert_eq!(decimal(17_264_105_817), "17.264105817s");
        assert_eq!(decimal(5_600_000_000), "5.6s");
        assert_eq!(decimal(90_000_000_000), "90s");
        assert_eq!(decimal(300_000_000), "300ms");
        assert_eq!(decimal(2_050_000), "2.05ms");
        assert_eq!(
            (decimal(1_001), decimal(7), decimal(0)),
            ("1.001us".into(), "7ns".into(), "0s".into())
        );
    }
}

//! What an expectation compares with: `0`, `">= 1"`, `"<= 2s"`, `true`, `["broker 1"]`.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::draw::describe;
use super::duration::Span;

/// A value that a run shows, or that a file names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measured {
    /// How many.
    Count(u64),
    /// How long.
    Time(Span),
    /// Whether.
    Flag(bool),
    /// Which.
    Text(String),
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Time(span) => span.fmt(f),
            Self::Flag(true) => f.write_str("yes"),
            Self::Flag(false) => f.write_str("no"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What kind of value an expectation measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// How many.
    Count,
    /// How long.
    Time,
    /// Whether.
    Flag,
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

const COMPARISONS: &[(&str, Comparison)] = &[
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("!=", Comparison::Unequal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
    ("=", Comparison::Equal),
];

/// What a measured value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It compares so with this.
    Compare(Comparison, Measured),
    /// It is one of these. Never empty.
    OneOf(Vec<Measured>),
}

impl Condition {
    /// Reads what a file says.
    ///
    /// Errors: a sentence that says what is wrong.
    pub fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(values) if !values.is_empty() => {
                values.iter().map(parse_plain).collect::<Result<_, _>>().map(Self::OneOf)
            }
            Value::String(text) => {
                let text = text.trim();
                let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
                    text.strip_prefix(sign).map(|rest| (*comparison, rest.trim()))
                });
                let (comparison, rest) = found.unwrap_or((Comparison::Equal, text));
                Ok(Self::Compare(comparison, parse_text(rest)?))
            }
            Value::Number(_) | Value::Bool(_) => {
                Ok(Self::Compare(Comparison::Equal, parse_plain(value)?))
            }
            Value::Null | Value::Array(_) | Value::Object(_) => Err(format!(
                "expected a condition such as `0`, `\">= 1\"` or `\"<= 2s\"`, found {}",
                describe(value)
            )),
        }
    }

    /// Whether `value` is as asked. A value of another kind is not.
    #[must_use]
    pub fn holds(&self, value: &Measured) -> bool {
        match self {
            Self::OneOf(values) => values.contains(value),
            Self::Compare(comparison, asked) => {
                if std::mem::discriminant(asked) != std::mem::discriminant(value) {
                    return false;
                }
                match comparison {
                    Comparison::Equal => value == asked,
                    Comparison::Unequal => value != asked,
                    Comparison::Below => value < asked,
                    Comparison::AtMost => value <= asked,
                    Comparison::Above => value > asked,
                    Comparison::AtLeast => value >= asked,
                }
            }
        }
    }

    /// Whether values of this kind can be compared with it at all.
    ///
    /// Errors: a sentence that says what would fit.
    pub fn suits(&self, measure: Measure) -> Result<(), String> {
        let asked = match self {
            Self::Compare(_, asked) => std::slice::from_ref(asked),
            Self::OneOf(values) => values.as_slice(),
        };
        let fits = |value: &Measured| {
            matches!(
                (measure, value),
                (Measure::Count, Measured::Count(_))
                    | (Measure::Time, Measured::Time(_))
                    | (Measure::Flag, Measured::Flag(_))
            )
        };
        match asked.iter().find(|value| !fits(value)) {
            None => Ok(()),
            Some(other) => Err(match measure {
                Measure::Count => format!("`{other}` is not a number: this measures how many"),
                Measure::Time => format!("`{other}` is not a duration: write \"<= 2s\""),
                Measure::Flag => format!("`{other}` is neither `true` nor `false`"),
            }),
        }
    }

    /// Whether it can hold for some count above 0.
    #[must_use]
    pub fn admits_more_than_zero(&self) -> bool {
        match self {
            Self::Compare(Comparison::Equal | Comparison::AtMost, Measured::Count(0)) => false,
            Self::Compare(Comparison::Below, Measured::Count(limit)) => *limit > 1,
            Self::Compare(_, _) => true,
            Self::OneOf(values) => values.iter().any(|value| *value != Measured::Count(0)),
        }
    }
}

fn parse_plain(value: &Value) -> Result<Measured, String> {
    match value {
        Value::Number(number) => number
            .as_u64()
            .map(Measured::Count)
            .ok_or_else(|| format!("expected a whole number of at least 0, found {number}")),
        Value::Bool(flag) => Ok(Measured::Flag(*flag)),
        Value::String(text) => parse_text(text),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("expected a number, a duration or a text, found {}", describe(value)))
        }
    }
}

fn parse_text(text: &str) -> Result<Measured, String> {
    match text.bytes().next() {
        None => Err("the condition names no value".into()),
        Some(b'0'..=b'9') if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') => text
            .replace('_', "")
            .parse()
            .map(Measured::Count)
            .map_err(|_| format!("`{text}` is too large")),
        Some(b'0'..=b'9') => Span::parse(text).map(Measured::Time),
        Some(_) => Ok(match text {
            "true" => Measured::Flag(true),
            "false" => Measured::Flag(false),
            _ => Measured::Text(text.into()),
        }),
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "one of {}", values.join(", "))
            }
            Self::Compare(comparison, value) => {
                let sign = COMPARISONS.iter().find(|(_, known)| known == comparison);
                write!(f, "{} {value}", sign.expect("every comparison has a sign").0)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse(&value).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_compare_counts_times_and_flags() {
        let holds = |is: Value, value: Measured| Condition::parse(&is).unwrap().holds(&value);
        assert!(holds(json!(0), Measured::Count(0)) && !holds(json!(0), Measured::Count(1)));
        assert!(
            holds(json!(">= 1"), Measured::Count(1)) && !holds(json!("> 1"), Measured::Count(1))
        );
        assert!(holds(json!("<= 2s"), Measured::Time(Span::from_secs(2))));
        assert!(!holds(json!("< 2s"), Measured::Time(Span::from_secs(2))));
        assert!(
            holds(json!(true), Measured::Flag(true)) && !holds(json!(true), Measured::Flag(false))
        );
        assert!(
            holds(json!([0, 3]), Measured::Count(3)) && !holds(json!([0, 3]), Measured::Count(1))
        );
        assert!(holds(json!("!= 4"), Measured::Count(3)));
        assert!(!holds(json!("!= 4"), Measured::Flag(true)), "another kind never fits");
    }

    #[test]
    fn a_condition_of_another_kind_is_refused() {
        let suits = |is: Value, measure| Condition::parse(&is).unwrap().suits(measure);
        assert_eq!(suits(json!(">= 1"), Measure::Count), Ok(()));
        assert!(suits(json!(">= 1s"), Measure::Count).is_err());
        assert!(suits(json!("yes"), Measure::Flag).is_err());
        assert!(Condition::parse(&json!(">=")).is_err());
        assert!(Condition::parse(&json!(-1)).is_err());
    }

    #[test]
    fn only_conditions_that_allow_loss_declare_it() {
        let admits = |is: Value| Condition::parse(&is).unwrap().admits_more_than_zero();
        assert!(!admits(json!(0)) && !admits(json!("<= 0")) && !admits(json!("< 1")));
        assert!(admits(json!(">= 1")) && admits(json!("<= 3")) && admits(json!([0, 1])));
    }
}

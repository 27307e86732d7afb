//! Ranges of seeds: `1..=200`, `5`, `[1, 7, 9]`.

use serde_json::Value;

/// More seeds than this in one file or argument are a slip of the finger.
const SEEDS_MAX: u64 = 100_000_000;

/// Which seeds to run, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// `first..=last`.
    Range {
        /// The first.
        first: u64,
        /// The last, inclusive.
        last: u64,
    },
    /// These. Never empty.
    List(Vec<u64>),
}

impl Seeds {
    /// The ten that a file without `seeds` gets.
    pub const DEFAULT: Seeds = Seeds::Range { first: 1, last: 10 };

    /// Reads what a file says.
    ///
    /// Errors: a sentence that says what is wrong.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let shape = || "expected seeds such as \"1..=200\", 7 or [1, 7, 9]".to_string();
        match value {
            Value::Number(number) => {
                let seed = number.as_u64().ok_or_else(shape)?;
                Ok(Self::Range { first: seed, last: seed })
            }
            Value::String(text) => Self::parse_text(text),
            Value::Array(values) if !values.is_empty() => {
                let seeds: Option<Vec<u64>> = values.iter().map(Value::as_u64).collect();
                seeds.map(Self::List).ok_or_else(shape)
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(shape()),
        }
    }

    /// Reads `A..=B`, `A..B` (without B), or `A`.
    ///
    /// Errors: a sentence that says what is wrong.
    pub fn parse_text(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a range of seeds: write `1..=200`, or one number");
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
        let (first, last) = match text.split_once("..") {
            None => (number(text)?, number(text)?),
            Some((first, rest)) => match rest.strip_prefix('=') {
                Some(last) => (number(first)?, number(last)?),
                None => (number(first)?, number(rest)?.checked_sub(1).ok_or_else(wrong)?),
            },
        };
        if first > last {
            return Err(format!("the range of seeds `{text}` is empty"));
        }
        if last - first >= SEEDS_MAX {
            return Err(format!("the range `{text}` holds more than {SEEDS_MAX} seeds"));
        }
        Ok(Self::Range { first, last })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Range { first, last } => last - first + 1,
            Self::List(seeds) => u64::try_from(seeds.len()).expect("a list in memory"),
        }
    }

    /// The first `limit` of them, or all.
    pub fn iter(&self, limit: Option<usize>) -> Box<dyn Iterator<Item = u64> + '_> {
        let limit = limit.unwrap_or(usize::MAX);
        match self {
            Self::Range { first, last } => Box::new((*first..=*last).take(limit)),
            Self::List(seeds) => Box::new(seeds.iter().copied().take(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn seeds_are_a_range_a_number_or_a_list() {
        let seeds =
            |value: Value| Seeds::parse(&value).map(|seeds| seeds.iter(None).collect::<Vec<_>>());
        assert_eq!(seeds(json!("3..=5")), Ok(vec![3, 4, 5]));
        assert_eq!(seeds(json!("3..5")), Ok(vec![3, 4]));
        assert_eq!(seeds(json!(7)), Ok(vec![7]));
        assert_eq!(seeds(json!([9, 1])), Ok(vec![9, 1]));
        assert_eq!(seeds(json!("5..=3")).unwrap_err(), "the range of seeds `5..=3` is empty");
        assert_eq!(
            seeds(json!("1..=99999999999")).unwrap_err(),
            "the range `1..=99999999999` holds more than 100000000 seeds"
        );
        assert!(
            seeds(json!("x")).is_err() && seeds(json!([])).is_err() && seeds(json!(-1)).is_err()
        );
    }
}

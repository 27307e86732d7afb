//! What is wrong with a scenario file: where, what, and the nearest word that would have been right.

use std::fmt;

/// One thing that is wrong, at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, as a sentence without its full stop.
    pub what: String,
    /// What would have been right, where we can guess it.
    pub help: Option<String>,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file. Lines and columns count from 1; columns count characters.
    File {
        /// The path as the user gave it.
        path: String,
        /// The line.
        line: u32,
        /// The character in the line.
        column: u32,
    },
    /// On the command line: the argument.
    Argument(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Argument(argument) => f.write_str(argument),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        match &self.help {
            Some(help) => write!(f, ": {help}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with what was asked. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// "did you mean `…`?" for the known word nearest to `word`, or the whole list where it is short and nothing is near.
#[must_use]
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let begins = |candidate: &str| word.len() >= 3 && candidate.starts_with(word);
    let nearest = known
        .iter()
        .map(|candidate| {
            let edits = strsim::damerau_levenshtein(word, candidate);
            (!begins(candidate), edits, *candidate)
        })
        .min()
        .filter(|(is_other, edits, candidate)| {
            let longest = word.chars().count().max(candidate.chars().count());
            !is_other || *edits <= 1 || *edits * 5 <= longest * 2
        });
    match nearest {
        Some((_, _, candidate)) => Some(format!("did you mean `{candidate}`?")),
        None if known.is_empty() => None,
        None if known.len() <= 12 => Some(format!("known are {}", known.join(", "))),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_suggested() {
        let known = ["kill", "start", "power-loss"];
        assert_eq!(suggest("kil", known), Some("did you mean `kill`?".into()));
        assert_eq!(suggest("powerloss", known), Some("did you mean `power-loss`?".into()));
        assert_eq!(suggest("xyz", known), Some("known are kill, start, power-loss".into()));
        assert_eq!(suggest("xyz", []), None);
    }
}

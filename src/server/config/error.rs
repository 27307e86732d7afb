//! What is wrong with a configuration, in words a person can act on.

use std::fmt;

/// A configuration that cannot be used: every problem found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong: four lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// Where: a line of the file, or the command line.
    pub place: String,
    /// Why that is wrong.
    pub why: String,
    /// What to do.
    pub next: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, place, why, next } = self;
        write!(f, "{what}\n  where: {place}\n  why:   {why}\n  next:  {next}")
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Something to tell at start that does not keep the node from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are names of properties and what Display prints")]
pub enum ConfigWarning {
    /// The last one of two settings wins.
    SetTwice { name: String, line: u32, earlier: String },
    /// Done another way here.
    Mapped { name: String, how: String },
    /// Without effect here: all such names, once.
    Inert { names: Vec<String> },
    /// Ignored because `--allow-unknown` was given.
    Unknown { name: String },
    /// No host was given to tell clients.
    AdvertisesLocalhost { name: String },
    /// A broker calls controllers by the first of these names only.
    FirstControllerListener { names: String },
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetTwice { name, line, earlier } => {
                write!(f, "{name} is set twice: line {line} wins over {earlier}")
            }
            Self::Mapped { name, how } => write!(f, "{name} is accepted: {how}"),
            Self::Inert { names } => write!(f, "without effect here: {}", names.join(", ")),
            Self::Unknown { name } => write!(f, "{name} is not a property of Kafka's: ignored"),
            Self::AdvertisesLocalhost { name } => write!(
                f,
                "listener {name} names no host: clients are told localhost; set advertised.listeners \
                 for clients on other machines"
            ),
            Self::FirstControllerListener { names } => {
                write!(f, "controller.listener.names={names}: a broker uses the first of them only")
            }
        }
    }
}

impl ConfigWarning {
    /// Whether a person should look at it; else it is for information.
    #[must_use]
    pub fn is_serious(&self) -> bool {
        match self {
            Self::SetTwice { .. } | Self::Inert { .. } | Self::Unknown { .. } => true,
            Self::Mapped { .. }
            | Self::AdvertisesLocalhost { .. }
            | Self::FirstControllerListener { .. } => false,
        }
    }
}

/// The names most like `name`: at most three, the nearest first, none that is far away.
#[must_use]
pub fn nearest_names<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let far = (name.len() / 4).max(2);
    let mut near: Vec<(usize, &str)> = known
        .map(|one| (strsim::damerau_levenshtein(name, one), one))
        .filter(|(distance, _)| *distance <= far)
        .collect();
    near.sort_unstable();
    // Only those about as near as the nearest: a second guess five letters off helps nobody.
    let best = near.first().map_or(0, |(distance, _)| *distance);
    near.into_iter()
        .filter(|(distance, _)| *distance <= best + 2)
        .take(3)
        .map(|(_, one)| one)
        .collect()
}

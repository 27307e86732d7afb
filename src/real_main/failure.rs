//! How a command says that it failed: four lines and an exit code.

use std::fmt;
use std::process::ExitCode;

/// Exit codes of every command. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// A check failed, or the node could not go on (the last log directory failed).
    Failed = 1,
    /// The command line or a configuration is wrong.
    Usage = 2,
    /// Nobody answers at the address.
    Unreachable = 3,
    /// The broker answered with an error.
    Refused = 4,
    /// No answer in time.
    TimedOut = 5,
    /// Ended by Ctrl-C before the work was done.
    Interrupted = 130,
}

/// What failed, where, why, and what to type next.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    place: Option<String>,
    why: Option<String>,
    next: Option<String>,
    exit: Exit,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { what: what.into(), place: None, why: None, next: None, exit }
    }

    pub(crate) fn place(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    pub(crate) fn why(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        let lines = [("where", &self.place), ("why", &self.why), ("next", &self.next)];
        for (name, text) in lines {
            if let Some(text) = text {
                write!(f, "\n{name:>5}: {}", text.replace('\n', "\n       "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_print_what_where_why_and_what_to_type_next() {
        let failure = Failure::new(Exit::Unreachable, "cannot reach the cluster")
            .place("localhost:9092")
            .why("connection refused")
            .next("ottla dev");
        let expected = "error: cannot reach the cluster\nwhere: localhost:9092\n  why: connection refused\n next: ottla dev";
        assert_eq!(failure.to_string(), expected);
    }
}

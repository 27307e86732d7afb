//! What both command lines print, and how they end early.

use clap::ValueEnum;

/// What a command ends with where the scenario or the command line is wrong.
pub(super) const EXIT_BAD_INPUT: u8 = 2;

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For tools: schema sim.report/1
    Json,
    /// For continuous integration
    Junit,
}

/// Something that ends a command before it has done its work: what is printed, and the exit code.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) message: String,
    pub(super) exit_code: u8,
}

impl Stop {
    pub(super) fn bad_input(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), exit_code: EXIT_BAD_INPUT }
    }
}

/// Prints to standard output. A reader that went away (`| head`) is no error.
pub(super) fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

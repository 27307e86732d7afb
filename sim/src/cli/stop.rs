//! What both command lines print, and how they end early.

use std::io::{self, Write as _};
use std::sync::OnceLock;

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

/// Prints to standard output. A reader that went away (`| head`) is no error; anything else is (a full disk), as what was printed
/// looks whole and is not: the process ends with [`EXIT_BAD_INPUT`] once the command is done ([`printed`]).
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        FAILED.get_or_init(|| error.to_string());
    }
}

/// Why something that was printed did not get through, the first time.
static FAILED: OnceLock<String> = OnceLock::new();

/// Whether all that was printed got through.
pub(super) fn printed() -> Result<(), Stop> {
    match FAILED.get() {
        None => Ok(()),
        Some(reason) => Err(Stop::bad_input(format!(
            "standard output: {reason}; what was printed is not whole"
        ))),
    }
}

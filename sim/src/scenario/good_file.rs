//! For tests: a file that is accepted, and what is said of it once a piece of it is another.

use super::Scenario;

/// The text of a scenario that makes sense.
pub(super) struct GoodFile(pub(super) &'static str);

impl GoodFile {
    /// The scenario of this text; the error is all that is said of it.
    pub(super) fn load(&self) -> Result<Scenario, String> {
        load(self.0)
    }

    /// The text with the first `from` replaced.
    #[track_caller]
    pub(super) fn with(&self, from: &str, to: &str) -> String {
        assert!(self.0.contains(from), "the good file holds {from}");
        self.0.replacen(from, to, 1)
    }

    /// With the first `from` replaced it is refused, and `expected` is said of it.
    #[track_caller]
    pub(super) fn refused(&self, from: &str, to: &str, expected: &str) {
        let said = load(&self.with(from, to)).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

/// The scenario of a text; the error is all that is said of it.
pub(super) fn load(text: &str) -> Result<Scenario, String> {
    Scenario::load("x.toml", text, &[]).map_err(|problems| problems.to_string())
}

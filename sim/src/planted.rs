//! Which bug is planted in this process: one of `sim/mutants/`, in a build that has them.

use crate::scenario::error::suggest;

/// The environment variable that names it. Unset, nothing is planted.
pub const PLANTED: &str = "OTTLA_PLANTED";

mod plantable {
    include!(concat!(env!("OUT_DIR"), "/plantable.rs"));
}

/// The bug that is planted in this process, if any.
///
/// Errors: what [`PLANTED`] names is in no place of this build.
pub fn planted() -> Result<Option<String>, String> {
    let name = std::env::var(PLANTED).ok().filter(|name| !name.is_empty());
    name.map(|name| known(name, plantable::PLANTABLE)).transpose()
}

fn known(name: String, plantable: &[&str]) -> Result<String, String> {
    if plantable.is_empty() {
        return Err(format!(
            "{PLANTED}={name}, and this build has no planted bugs: `cargo sim mutants` makes the one that has them, target/mutants/sim-1"
        ));
    }
    if plantable.contains(&name.as_str()) {
        return Ok(name);
    }
    let help = suggest(&name, plantable.iter().copied())
        .unwrap_or_else(|| "`cargo sim mutants --list` lists all".into());
    Err(format!("{PLANTED}={name}: there is no such planted bug: {help}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_that_cannot_be_planted_is_refused() {
        let name = || "B7-watermark".to_owned();
        let refused = known(name(), &[]).unwrap_err();
        assert!(refused.contains("has no planted bugs"), "{refused}");
        let refused = known(name(), &["A1-other", "B7-watermarks"]).unwrap_err();
        assert!(refused.contains("B7-watermarks"), "the nearest name: {refused}");
        assert_eq!(known(name(), &["B7-watermark"]), Ok(name()));
    }
}

//! `cargo sim list`, `check` and `schema`: what can be said of scenarios without running them.

use super::{Paths, Stop, files, print};
use crate::scenario::schema::json_schema;

/// Lists the scenarios with their claims.
pub(super) fn list(paths: &Paths) -> Result<u8, Stop> {
    let scenarios = files::load(&files::find(&paths.paths)?, &[])?;
    let mut out = String::new();
    for scenario in scenarios {
        out.push_str(&format!("{}\n    {}\n", scenario.path, scenario.claim));
        for variant in &scenario.variants {
            out.push_str(&format!("    variant {variant}: {}\n", scenario.claim_of(Some(variant))));
        }
    }
    print(&out);
    Ok(0)
}

/// Checks scenario files.
pub(super) fn check(paths: &Paths) -> Result<u8, Stop> {
    let scenarios = files::load(&files::find(&paths.paths)?, &[])?;
    let variants: usize = scenarios.iter().map(|scenario| scenario.variants.len()).sum();
    print(&format!("{} scenarios with {variants} variants are fine\n", scenarios.len()));
    Ok(0)
}

/// Prints the JSON Schema.
pub(super) fn schema() -> Result<u8, Stop> {
    let text = serde_json::to_string_pretty(&json_schema()).map_err(Stop::bad_input)?;
    print(&format!("{text}\n"));
    Ok(0)
}

//! Planted bugs: what the testbed finds, and what it costs to find it.
//!
//! A mutant is a patch below `sim/mutants/`: a realistic slip, planted behind `if crate::types::planted("NAME")`, beside the right
//! code. `planted` does not exist in `src/`: the product carries no switch. All patches are woven into one *copy* of the tree, which
//! is built once; which bug that binary has is said by an environment variable. So sixty mutants cost one build, and a reader
//! of a patch sees right and wrong side by side.
//!
//! Pure here: patches, weaving them together, results and the score. `cli/mutants/` does what touches disks and processes.

pub mod corpus;
pub mod patch;
pub mod result;
pub mod score;
pub mod weave;

/// The mark that a run reaches where the place of its planted bug is reached (`sim/mutants/planted.overlay`).
pub const REACHED: &str = "a planted bug";

#[cfg(test)]
mod tests {
    /// Whoever follows the README's way from a red run to the line of code begins with a storm that is red.
    #[test]
    fn the_readme_names_the_storm_that_finds_the_bug() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
        let read = |name: &str| std::fs::read_to_string(format!("{root}{name}")).unwrap();
        let (readme, table) = (read("README.md"), read("reports/mutants.md"));
        let row = table.lines().find(|line| line.starts_with("| B7-")).unwrap();
        let seed = row.split('|').nth(3).unwrap().trim();
        let command =
            format!("target/mutants/sim-1 run scenarios/chaos/swarm.toml --seed {seed}\n");
        assert!(readme.contains(&command), "`{command}` is not in README.md");
    }
}

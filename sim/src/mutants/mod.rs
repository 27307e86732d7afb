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

/// The environment variable that names the planted bug. Unset, nothing is planted.
pub const PLANTED: &str = "OTTLA_PLANTED";

/// The mark that a run reaches where the place of its planted bug is reached (`sim/mutants/planted.overlay`).
pub const REACHED: &str = "a planted bug";

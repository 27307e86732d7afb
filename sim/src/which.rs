//! Which of the two testbeds this build is: what reports and messages must say differently.

/// Whether runs take place in the simulated world. In the real one a seed decides what the file draws, and nothing else.
pub const IS_SIMULATED: bool = cfg!(madsim);

/// The command that runs scenarios here.
pub const COMMAND: &str = if IS_SIMULATED { "cargo sim run" } else { "cargo real run" };

/// What a run's time is called.
pub const TIME: &str = if IS_SIMULATED { "simulated time" } else { "real time" };

/// The invariants that are held against what clients were told alone. The others are held against what each node does inside
/// and has on its disks, at the very moment: only the simulated world shows that.
const OF_HISTORIES: [&str; 13] = [
    "S10",
    "phantom",
    "lost-write",
    "unseen",
    "duplicate",
    "inconsistent-offsets",
    "R16",
    "int-poll-skip",
    "int-nonmonotonic-poll",
    "poll-skip",
    "nonmonotonic-poll",
    "int-nonmonotonic-send",
    "nonmonotonic-send",
];

/// Whether this build holds runs against an invariant.
#[must_use]
pub fn is_checked(invariant: &str) -> bool {
    IS_SIMULATED || OF_HISTORIES.contains(&invariant) || ["converged", "panic"].contains(&invariant)
}

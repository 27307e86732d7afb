//! What a power loss does, and what it did.

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PowerLossMode {
    /// All of it had reached the disk by chance.
    KeepAll,
    /// None of it had.
    LoseUnsynced,
    /// Each block and each directory entry by a draw.
    LoseRandomUnsynced,
    /// All of it, but of each file's last write only a prefix.
    TornLastWrite,
}

impl PowerLossMode {
    /// Every mode, and its name in scenario files.
    pub const ALL: [(PowerLossMode, &'static str); 4] = [
        (PowerLossMode::KeepAll, "keep-all"),
        (PowerLossMode::LoseUnsynced, "lose-unsynced"),
        (PowerLossMode::LoseRandomUnsynced, "lose-random-unsynced"),
        (PowerLossMode::TornLastWrite, "torn-last-write"),
    ];

    /// The mode of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(mode, _)| *mode)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let mode = Self::ALL.iter().find(|(mode, _)| *mode == self);
        mode.expect("every mode has a name").1
    }
}

/// What a power loss took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PowerLoss {
    /// Bytes that readers could see before and cannot see now.
    pub bytes_lost: u64,
    /// Changes of directories (files made, renamed, removed) that were undone.
    pub entries_lost: u64,
    /// Files whose last write is there in part or not at all (only in `torn-last-write`).
    pub files_torn: u64,
    /// The files that lost bytes or were torn, by path, sorted.
    pub files: Vec<String>,
}

/// What one file lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileLoss {
    pub(super) bytes_lost: u64,
    pub(super) torn: bool,
}

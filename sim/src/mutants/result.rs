//! What was found out of one mutant: kept on disk, so that an interrupted run goes on.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A seed that was red, or the word that it was not: what a run in a process of its own says of each seed, a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The seed.
    pub seed: u64,
    /// What was found; `None`: the seed is green.
    pub red: Option<Red>,
    /// Whether the place of the planted bug was reached.
    pub reached: bool,
    /// The hash of the trace.
    pub trace: String,
    /// CPU time of the process so far, in milliseconds.
    pub cpu_ms: u64,
}

/// Why a seed is red.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Red {
    /// The check that fired first in virtual time; `expect THAT` where only an expectation of the file was missed.
    pub check: String,
    /// In words.
    pub what: String,
}

/// Where a mutant was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The scenario's path.
    pub scenario: String,
    /// Its variant; `None` is the file as it stands.
    pub variant: Option<String>,
    /// The seed.
    pub seed: u64,
    /// What fired first.
    pub red: Red,
}

/// How far the seeds of a scenario and variant were looked at without a find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Green {
    /// The scenario's path.
    pub scenario: String,
    /// Its variant.
    pub variant: Option<String>,
    /// Seeds 1 to this one were green.
    pub seeds: u64,
}

/// A search: by storms, or by scenarios.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// What was green.
    pub green: Vec<Green>,
    /// The first find.
    pub found: Option<Found>,
    /// CPU time that it took, in milliseconds.
    pub cpu_ms: u64,
    /// In how many seeds the place of the planted bug was reached.
    pub reached: u64,
}

impl Search {
    /// How many seeds of a scenario and variant were green.
    #[must_use]
    pub fn green_seeds(&self, scenario: &str, variant: Option<&str>) -> u64 {
        let it = |green: &&Green| green.scenario == scenario && green.variant.as_deref() == variant;
        self.green.iter().find(it).map_or(0, |green| green.seeds)
    }

    /// Notes that seeds 1 to `seeds` were green.
    pub fn note_green(&mut self, scenario: &str, variant: Option<&str>, seeds: u64) {
        let it =
            |green: &&mut Green| green.scenario == scenario && green.variant.as_deref() == variant;
        match self.green.iter_mut().find(it) {
            Some(green) => green.seeds = green.seeds.max(seeds),
            None => self.green.push(Green {
                scenario: scenario.to_owned(),
                variant: variant.map(str::to_owned),
                seeds,
            }),
        }
    }

    /// The seeds that were run, red or green.
    #[must_use]
    pub fn seeds(&self) -> u64 {
        self.green.iter().map(|green| green.seeds).sum::<u64>() + u64::from(self.found.is_some())
    }
}

/// All that is known of one mutant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutantResult {
    /// Of what patch and tree it is: another key, and it is void.
    pub key: String,
    /// By storms alone.
    pub storm: Search,
    /// By scenarios.
    pub scenarios: Search,
    /// The testbed did not live to the end of a seed: how.
    pub died: Option<String>,
}

impl MutantResult {
    /// What is kept below `directory` of the mutant `name`; nothing where it is of another key, or cannot be read.
    #[must_use]
    pub fn load(directory: &Path, name: &str, key: &str) -> Self {
        let text = std::fs::read_to_string(directory.join(format!("{name}.json"))).ok();
        let kept: Option<Self> = text.and_then(|text| serde_json::from_str(&text).ok());
        kept.filter(|kept| kept.key == key)
            .unwrap_or_else(|| Self { key: key.to_owned(), ..Self::default() })
    }

    /// Keeps it, whole or not at all.
    ///
    /// Errors: the path that could not be written, and why.
    pub fn save(&self, directory: &Path, name: &str) -> Result<(), String> {
        let path = directory.join(format!("{name}.json"));
        let half = path.with_extension("new");
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&half, text + "\n"))
            .and_then(|()| std::fs::rename(&half, &path));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// What a result is of: the patch, and the tree with all scenarios in it.
#[must_use]
pub fn key(patch: &str, tree: u64) -> String {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, patch.as_bytes());
    format!("{sum:016x}-{tree:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_kept_and_void_under_another_key() {
        let directory = tempfile::tempdir().unwrap();
        let mut result = MutantResult::load(directory.path(), "A1-x", "key");
        assert_eq!(result, MutantResult { key: "key".into(), ..MutantResult::default() });
        result.storm.note_green("s.toml", None, 10);
        result.storm.note_green("s.toml", None, 100);
        result.storm.note_green("s.toml", Some("v"), 5);
        result.save(directory.path(), "A1-x").unwrap();
        let again = MutantResult::load(directory.path(), "A1-x", "key");
        assert_eq!(again, result);
        assert_eq!((again.storm.green_seeds("s.toml", None), again.storm.seeds()), (100, 105));
        let void = MutantResult::load(directory.path(), "A1-x", "other");
        assert_eq!(void.storm, Search::default());
    }

    #[test]
    fn a_half_written_result_is_none() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("A1-x.json"), "{ \"key\": \"k").unwrap();
        assert_eq!(MutantResult::load(directory.path(), "A1-x", "k").storm.seeds(), 0);
    }

    #[test]
    fn a_key_is_of_patch_and_tree() {
        assert_eq!(key("a", 1), key("a", 1));
        assert!(key("a", 1) != key("b", 1) && key("a", 1) != key("a", 2));
    }
}

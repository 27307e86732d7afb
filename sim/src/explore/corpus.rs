//! The seeds that reached something new, kept over sessions: what an exploration has seen, and where it goes on.

use serde::{Deserialize, Serialize};

use super::coverage::{Coverage, News};

/// The schema of corpus files.
pub const CORPUS_SCHEMA: &str = "sim.corpus/1";

/// More than these are not kept: the ones that brought the least go.
const KEPT_MAX: usize = 2_000;

/// A run that reached something new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// The path of the scenario.
    pub path: String,
    /// Its variant.
    pub variant: Option<String>,
    /// The seed.
    #[serde(with = "super::summary::as_text")]
    pub seed: u64,
    /// What the exploration set to vary it.
    pub settings: Vec<String>,
    /// What was new.
    pub news: News,
}

/// What an exploration knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Corpus {
    schema: String,
    /// The first seed that was not tried.
    #[serde(with = "super::summary::as_text")]
    pub next_seed: u64,
    /// The runs that reached something new, in the order they did.
    pub kept: Vec<Kept>,
    /// What is known to be reachable.
    pub coverage: Coverage,
}

impl Corpus {
    /// One that knows nothing and begins at a seed.
    #[must_use]
    pub fn new(next_seed: u64) -> Self {
        Self {
            schema: CORPUS_SCHEMA.into(),
            next_seed,
            kept: Vec::new(),
            coverage: Coverage::default(),
        }
    }

    /// Keeps a run.
    pub fn keep(&mut self, kept: Kept) {
        self.kept.push(kept);
        if self.kept.len() > KEPT_MAX {
            let least = self.kept.iter().enumerate().min_by_key(|(_, kept)| kept.news);
            let at = least.map_or(0, |(at, _)| at);
            self.kept.remove(at);
        }
    }

    /// Reads a file.
    ///
    /// Errors: what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let corpus: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if corpus.schema != CORPUS_SCHEMA {
            return Err(format!("its schema is `{}`, not `{CORPUS_SCHEMA}`", corpus.schema));
        }
        Ok(corpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(seed: u64, states: usize) -> Kept {
        let news = News { states, ..News::default() };
        Kept { path: "a.toml".into(), variant: None, seed, settings: vec!["/a=1".into()], news }
    }

    #[test]
    fn a_corpus_reads_back_and_another_file_is_none() {
        let mut corpus = Corpus::new(5_001);
        corpus.keep(kept(3, 1));
        let text = serde_json::to_string(&corpus).unwrap();
        assert_eq!(Corpus::from_json(&text), Ok(corpus));
        let other = text.replace(CORPUS_SCHEMA, "sim.corpus/0");
        assert_eq!(
            Corpus::from_json(&other).unwrap_err(),
            "its schema is `sim.corpus/0`, not `sim.corpus/1`"
        );
        assert!(Corpus::from_json("{}").is_err());
    }

    #[test]
    fn the_least_goes_where_there_are_too_many() {
        let mut corpus = Corpus::new(1);
        for seed in 0..=KEPT_MAX as u64 {
            corpus.keep(kept(seed, if seed == 7 { 1 } else { 2 }));
        }
        assert_eq!(corpus.kept.len(), KEPT_MAX);
        assert!(corpus.kept.iter().all(|kept| kept.seed != 7));
    }
}

//! Scenario files: one claim each, as TOML that people write or JSON that tools write.
//!
//! ```text
//! text ─ parse ─► values and their places ─ schema, check ─► Scenario ─ resolve(variant, seed) ─► Plan
//! ```
//!
//! A file is checked whole before anything runs, in all its variants, and every problem is told at once.

pub mod check;
pub mod condition;
pub mod draw;
pub mod duration;
pub mod error;
pub mod parse;
pub mod plan;
pub mod schema;
pub mod seeds;
pub mod target;
pub mod words;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use error::{Place, Problem, Problems};
use parse::{Document, join, parse_argument};
pub use plan::Plan;
pub use seeds::Seeds;

/// A file larger than this is no scenario: the largest one people wrote by hand has 300 lines.
const FILE_BYTES_MAX: usize = 1 << 20;

/// How many seeds a file is checked with that lets each seed choose.
const CHOICES_LOOKED_AT: usize = 64;

/// The name that reports give to the file as it stands, without a variant.
pub const NO_VARIANT: &str = "-";

/// A checked scenario file.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The path as the user gave it.
    pub path: String,
    /// Its name in reports: the directory and the file, `storage/power-loss-flush-1`.
    pub name: String,
    /// What it shows.
    pub claim: String,
    /// The full range of seeds.
    pub seeds: Seeds,
    /// The names of its variants, in the order of the file; the file as it stands is not among them.
    pub variants: Vec<String>,
    /// What the command line set, for the command that reproduces a run.
    pub settings: Vec<String>,
    base: Document,
    by_variant: BTreeMap<String, Document>,
}

impl Scenario {
    /// Reads and checks a file. `settings` are the command line's `/pointer=value`, done before the variants'.
    ///
    /// Errors: everything that is wrong with it.
    pub fn load(path: &str, text: &str, settings: &[String]) -> Result<Self, Problems> {
        if text.len() > FILE_BYTES_MAX {
            let place = Place::File { path: path.into(), line: 1, column: 1 };
            let what = format!(
                "{} bytes are too many for a scenario: at most {FILE_BYTES_MAX}",
                text.len()
            );
            return Err(Problems(vec![Problem { place, what, help: None }]));
        }
        let mut base = Document::parse(path, text)?;
        apply_arguments(&mut base, settings)?;
        let mut problems = check_document(&base);
        let variants = variant_names(&base);
        let mut by_variant = BTreeMap::new();
        if problems.is_empty() {
            for name in &variants {
                match with_variant(&base, name) {
                    Ok(document) => {
                        problems.extend(check_document(&document));
                        by_variant.insert(name.clone(), document);
                    }
                    Err(problem) => problems.push(problem),
                }
            }
        }
        problems.sort();
        problems.dedup();
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let text_of = |key: &str| base.root.get(key).and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            path: path.into(),
            name: name_of(path),
            claim: text_of("claim").into(),
            seeds: base
                .root
                .get("seeds")
                .map_or(Seeds::DEFAULT, |value| Seeds::parse(value).expect("the file was checked")),
            variants,
            settings: settings.to_vec(),
            base,
            by_variant,
        })
    }

    /// What `seed` of `variant` does. `None` is the file as it stands.
    ///
    /// Panics where the variant is not one of the file's.
    #[must_use]
    pub fn plan(&self, variant: Option<&str>, seed: u64) -> Plan {
        plan_of(&self.document(variant).root, seed)
    }

    /// The file's values in `variant`, with the draws that are made once a seed resolved: what `repro.json` keeps.
    #[must_use]
    pub fn resolved(&self, variant: Option<&str>, seed: u64) -> Value {
        let mut root = self.document(variant).root.clone();
        schema::resolve(&mut root, seed);
        if let Some(table) = root.as_object_mut() {
            table.shift_remove("variants");
            table.shift_remove("seeds");
        }
        root
    }

    /// The file's values in `variant`, draws as they are written.
    ///
    /// Panics where the variant is not one of the file's.
    #[must_use]
    pub fn root(&self, variant: Option<&str>) -> &Value {
        &self.document(variant).root
    }

    /// What `variant` shows: its own claim, or the file's.
    #[must_use]
    pub fn claim_of(&self, variant: Option<&str>) -> &str {
        let own = variant
            .and_then(|name| self.base.root.get("variants")?.get(name)?.get("claim")?.as_str());
        own.unwrap_or(&self.claim)
    }

    /// Where the value at `pointer` was written.
    #[must_use]
    pub fn place(&self, variant: Option<&str>, pointer: &str) -> Place {
        self.document(variant).place(pointer)
    }

    fn document(&self, variant: Option<&str>) -> &Document {
        match variant {
            None => &self.base,
            Some(name) => {
                self.by_variant.get(name).expect("the caller names a variant of the file")
            }
        }
    }
}

/// The directory and the file without its ending.
fn name_of(path: &str) -> String {
    let path = path.replace('\\', "/");
    let stem = path.strip_suffix(".toml").or_else(|| path.strip_suffix(".json")).unwrap_or(&path);
    let parts: Vec<&str> =
        stem.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let from = parts
        .iter()
        .rposition(|part| *part == "scenarios")
        .map_or(parts.len().saturating_sub(2), |at| at + 1);
    parts[from.min(parts.len().saturating_sub(1))..].join("/")
}

fn apply_arguments(document: &mut Document, settings: &[String]) -> Result<(), Problems> {
    let mut problems = Vec::new();
    for setting in settings {
        let place = Place::Argument(format!("--set {setting}"));
        let done = match setting.split_once('=') {
            Some((pointer, value)) => document.set(pointer, parse_argument(value), place.clone()),
            None => Err("expected `/pointer=value`".into()),
        };
        if let Err(what) = done {
            problems.push(Problem { place, what, help: None });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

fn check_document(document: &Document) -> Vec<Problem> {
    let problems = schema::check(document);
    if !problems.is_empty() {
        return problems;
    }
    // Checks of meaning need the types, and types need a seed; bounds of draws were checked for all seeds.
    let seed = document
        .root
        .get("seeds")
        .map_or(Seeds::DEFAULT, |value| Seeds::parse(value).expect("the shape was checked"));
    let looked_at = if has_choices(&document.root) { CHOICES_LOOKED_AT } else { 1 };
    let mut problems: Vec<Problem> = Vec::new();
    for seed in seed.iter(Some(looked_at)) {
        let mut root = document.root.clone();
        schema::resolve(&mut root, seed);
        problems.extend(match Plan::deserialize(&root) {
            Ok(plan) => check::check(document, &plan),
            Err(error) => vec![document.problem("", format!("this cannot be run: {error}"))],
        });
    }
    problems.sort();
    problems.dedup();
    problems
}

/// Whether a seed chooses what is no number: such values are checked as they are drawn, not by their bounds.
fn has_choices(value: &Value) -> bool {
    match value {
        Value::Object(table) => table.contains_key("one-of") || table.values().any(has_choices),
        Value::Array(values) => values.iter().any(has_choices),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn plan_of(root: &Value, seed: u64) -> Plan {
    let mut root = root.clone();
    let drawn = schema::resolve(&mut root, seed);
    let mut plan = Plan::deserialize(&root).expect("the file was checked");
    plan.seed = seed;
    plan.drawn = drawn.iter().map(|(pointer, value)| format!("{pointer}={value}")).collect();
    plan
}

fn variant_names(document: &Document) -> Vec<String> {
    let table = document.root.get("variants").and_then(Value::as_object);
    table.map_or_else(Vec::new, |table| table.keys().cloned().collect())
}

fn with_variant(base: &Document, name: &str) -> Result<Document, Problem> {
    let mut document = base.clone();
    let at = join(&join("/variants", name), "set");
    let settings = base.root.pointer(&at).and_then(Value::as_object);
    for (pointer, value) in settings.into_iter().flatten() {
        let place = base.place(&join(&at, pointer));
        document.set(pointer, value.clone(), place.clone()).map_err(|what| Problem {
            place,
            what,
            help: None,
        })?;
    }
    Ok(document)
}

#[cfg(test)]
mod good_file;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_choices;
#[cfg(test)]
mod tests_of_groups;

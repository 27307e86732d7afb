//! Finds and loads scenario files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Stop;
use crate::scenario::Scenario;

/// Where scenarios are where nobody says.
const DEFAULT_PATH: &str = "scenarios";

/// Directories deeper than this are a loop of links.
const DEPTH_MAX: usize = 16;

/// The scenario files that `paths` name, in the order given; those of a directory sorted by path.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Stop> {
    let default = [PathBuf::from(DEFAULT_PATH)];
    let paths = if paths.is_empty() { &default[..] } else { paths };
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            walk(path, 0, &mut found)?;
            if found.len() == before {
                return Err(Stop::bad_input(format!(
                    "{}: no scenario file (*.toml) in it",
                    path.display()
                )));
            }
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn walk(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Stop> {
    let wrong =
        |error: std::io::Error| Stop::bad_input(format!("{}: {error}", directory.display()));
    if depth > DEPTH_MAX {
        return Err(Stop::bad_input(format!(
            "{}: directories are nested too deep",
            directory.display()
        )));
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(wrong)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, depth + 1, found)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    Ok(())
}

/// Loads every file; all problems of all files at once.
pub(super) fn load(paths: &[PathBuf], settings: &[String]) -> Result<Vec<Arc<Scenario>>, Stop> {
    let mut scenarios = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match read(path).and_then(|text| {
            Scenario::load(&path.display().to_string(), &text, settings)
                .map_err(|problems| problems.to_string())
        }) {
            Ok(scenario) => scenarios.push(Arc::new(scenario)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(scenarios) } else { Err(Stop::bad_input(problems.join("\n"))) }
}

/// The text of a file.
///
/// Errors: why it cannot be read, with its path.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        format!("{}: not UTF-8 text: byte {}", path.display(), error.utf8_error().valid_up_to())
    })
}

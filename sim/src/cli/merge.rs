//! `cargo sim merge DIR…`: what the shards of one run or exploration showed together.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Format, Stop, files, print};
use crate::explore::{Shard, Summary, text};

#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// The out directories of all shards, or their summary files
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// What is printed: text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Adds up summaries.
pub(super) fn merge(args: &MergeArgs) -> Result<u8, Stop> {
    let mut whole: Option<(PathBuf, Summary)> = None;
    for path in find(&args.dirs)? {
        let summary = read(&path)?;
        match &mut whole {
            None => whole = Some((path, summary)),
            Some((first, whole)) => whole.merge(summary).map_err(|reason| {
                let (first, other) = (first.display(), path.display());
                Stop::bad_input(format!("{other} is no part of what {first} is one of: {reason}"))
            })?,
        }
    }
    let Some((_, whole)) = whole else { return Err(Stop::bad_input("there is nothing to merge")) };
    let missing: Vec<String> = whole.missing().iter().map(Shard::to_string).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Stop::bad_input(format!(
            "of the shards {missing} nothing is there: name the directories of all of them"
        )));
    }
    show(&whole, args.format)?;
    Ok(whole.verdict().exit_code())
}

/// Prints a summary.
pub(super) fn show(summary: &Summary, format: Format) -> Result<(), Stop> {
    match format {
        Format::Text => print(&text::summary(summary)),
        Format::Json => {
            let json = serde_json::to_string_pretty(&summary.to_json()).map_err(Stop::bad_input)?;
            print(&(json + "\n"));
        }
        Format::Junit => {
            let what = "a summary has no single tests: --format is text or json here";
            return Err(Stop::bad_input(what));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Summary, Stop> {
    let text = files::read(path).map_err(Stop::bad_input)?;
    Summary::from_json(&text)
        .map_err(|reason| Stop::bad_input(format!("{}: {reason}", path.display())))
}

/// The summaries of each directory, sorted by name; files as they are named.
fn find(dirs: &[PathBuf]) -> Result<Vec<PathBuf>, Stop> {
    let mut found = Vec::new();
    for dir in dirs {
        if !dir.is_dir() {
            found.push(dir.clone());
            continue;
        }
        let wrong = |error: std::io::Error| Stop::bad_input(format!("{}: {error}", dir.display()));
        let mut of_dir = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("summary") && name.ends_with(".json") {
                of_dir.push(path);
            }
        }
        if of_dir.is_empty() {
            return Err(Stop::bad_input(format!(
                "{}: no summary in it (summary*.json): was it the --out of `cargo sim explore`, or of `cargo sim run --shard`?",
                dir.display()
            )));
        }
        of_dir.sort();
        found.extend(of_dir);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::summaries;
    use crate::explore::summary::tests::{green, red, run_of};

    fn leave(out: &Path, number: u64) -> Shard {
        let shard = Shard { number, of: 2 };
        let mut summary = Summary::new("explore", shard);
        let runs = [green(1, &[1]), green(2, &[2]), red(3, "R3", "x")];
        for run in runs.iter().filter(|run| shard.holds(run.seed)) {
            summary.add(&run_of("a.toml"), run, false);
        }
        summaries::keep_summary(out, shard, &summary).unwrap();
        shard
    }

    fn merged(dirs: &[&Path]) -> Result<u8, String> {
        let dirs = dirs.iter().map(|dir| dir.to_path_buf()).collect();
        let args = MergeArgs { dirs, format: Format::Json };
        merge(&args).map_err(|stop| {
            assert_eq!(stop.exit_code, 2);
            stop.message
        })
    }

    #[test]
    fn shards_are_found_and_added_up() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        for (out, number) in [(&one, 1), (&other, 2)] {
            std::fs::create_dir(out).unwrap();
            leave(out, number);
        }
        assert_eq!(merged(&[&one, &other]), Ok(1));
        assert_eq!(merged(&[&other.join("summary-2-of-2.json"), &one]), Ok(1));
        let error = merged(&[&one]).unwrap_err();
        assert!(error.starts_with("of the shards 2/2 nothing is there"), "{error}");
        let error = merged(&[&one, &one]).unwrap_err();
        assert!(error.ends_with("shard 1/2 is there twice"), "{error}");
    }

    #[test]
    fn what_is_no_summary_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let error = merged(&[dir.path()]).unwrap_err();
        assert!(error.contains("no summary in it"), "{error}");
        let error = merged(&[&dir.path().join("none")]).unwrap_err();
        assert!(error.contains("No such file"), "{error}");
        let foreign = dir.path().join("summary.json");
        std::fs::write(&foreign, r#"{ "schema": "sim.report/1" }"#).unwrap();
        let error = merged(&[dir.path()]).unwrap_err();
        assert!(error.contains("summary.json: its schema is `sim.report/1`"), "{error}");
        std::fs::write(&foreign, [0xff, 0xfe]).unwrap();
        assert!(merged(&[dir.path()]).unwrap_err().contains("not UTF-8"));
    }
}

//! What a failing run leaves in the out directory. A directory is there whole or not at all.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::{html, json, perfetto};
use crate::scenario::Scenario;
use crate::verdict::{SeedRun, VariantRun};

/// The smallest scenario that fails for the same reason, which `cargo sim shrink` writes beside the repro.
pub(super) const MINIMAL: &str = "minimal.toml";

/// Writes the files of a run below `out`; where they are.
///
/// Errors: the path that could not be written, and why. Nothing is left behind then.
pub(super) fn keep(
    out: &Path,
    scenario: &Scenario,
    run: &VariantRun,
    seed: &SeedRun,
) -> Result<PathBuf, String> {
    let mut directory = out.join(&run.scenario);
    if let Some(variant) = &run.variant {
        directory.push(variant);
    }
    directory.push(seed.seed.to_string());
    let half = directory.with_extension("new");
    let written = write_all(&half, scenario, run, seed).and_then(|()| {
        carry_minimal(&directory, &half, seed)?;
        remove_if_there(&directory)?;
        std::fs::rename(&half, &directory)
    });
    written.map_err(|error| {
        // What is left of a failed attempt says nothing to anybody; that it cannot be removed neither.
        let _ = std::fs::remove_dir_all(&half);
        format!("{}: {error}", directory.display())
    })?;
    Ok(directory)
}

fn write_all(
    directory: &Path,
    scenario: &Scenario,
    run: &VariantRun,
    seed: &SeedRun,
) -> io::Result<()> {
    remove_if_there(directory)?;
    std::fs::create_dir_all(directory)?;
    let resolved = scenario.resolved(run.variant.as_deref(), seed.seed);
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text);
    let pretty =
        |value: &serde_json::Value| serde_json::to_string_pretty(value).map(|text| text + "\n");
    write("report.json", pretty(&json::seed(run, seed, &resolved))?)?;
    write("repro.json", pretty(&json::repro(run, seed, &resolved, &commit()))?)?;
    write("report.html", html::page(run, seed))?;
    write("trace.json", perfetto::trace(seed))?;
    let events: String =
        seed.events.iter().map(|event| format!("{}\n", json::event(event))).collect();
    write("events.jsonl", events)?;
    let history: String = seed.history.iter().map(|line| format!("{line}\n")).collect();
    write("history.jsonl", history)
}

/// What was shrunk of the run that lies there stays, where it failed for the same reason: it took long to find.
fn carry_minimal(from: &Path, to: &Path, seed: &SeedRun) -> io::Result<()> {
    let Ok(repro) = std::fs::read_to_string(from.join("repro.json")) else { return Ok(()) };
    let repro: serde_json::Value = serde_json::from_str(&repro).unwrap_or_default();
    let then = repro.pointer("/failed/0").and_then(serde_json::Value::as_str);
    let now = json::failed_checks(seed);
    if then.is_some() && then == now.first().map(String::as_str) && from.join(MINIMAL).exists() {
        std::fs::copy(from.join(MINIMAL), to.join(MINIMAL))?;
    }
    Ok(())
}

fn remove_if_there(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The commit that runs, with a mark where the tree has changes; `unknown` outside of a repository.
pub(super) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let is_dirty = git(&["status", "--porcelain", "--untracked-files=no"])
        .is_some_and(|text| !text.is_empty());
    let changes = if is_dirty { " with changes" } else { "" };
    let planted = crate::planted::planted().ok().flatten();
    let planted = planted.map_or_else(String::new, |name| format!(", {name} planted"));
    format!("{commit}{changes}{planted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_kept_run_is_whole_and_what_was_shrunk_of_it_stays_while_it_fails_alike() {
        let out = std::env::temp_dir().join(format!("ottla-keep-{}", std::process::id()));
        let text = "claim = \"x\"\nrun-for = \"2s\"\n";
        let scenario = Scenario::load("sample.toml", text, &[]).unwrap();
        let mut run = sample::variant();
        let keep = |run: &VariantRun| keep(&out, &scenario, run, &run.seeds[0]).unwrap();
        let directory = keep(&run);
        let files = std::fs::read_dir(&directory).unwrap();
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let all = [
            "events.jsonl",
            "history.jsonl",
            "report.html",
            "report.json",
            "repro.json",
            "trace.json",
        ];
        assert_eq!(names, all);
        std::fs::write(directory.join(MINIMAL), "small").unwrap();
        keep(&run);
        assert!(directory.join(MINIMAL).exists(), "the same check fails");
        run.seeds[0].violations[0].check = "R4";
        keep(&run);
        assert!(!directory.join(MINIMAL).exists(), "another check fails");
        std::fs::remove_dir_all(&out).unwrap();
    }
}

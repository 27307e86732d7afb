//! `cargo sim replay FILE`: a kept run again. First under its seed: the same build gives the same trace. Where the trace is
//! another (another commit), the faults that fired then are done again as fixed steps.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::run::{job, run_jobs};
use super::{EXIT_BAD_INPUT, Stop, files, print};
use crate::report::json::{REPORT_SCHEMA, REPRO_SCHEMA, failed_checks};
use crate::report::text;
use crate::runner::Options;
use crate::scenario::Scenario;
use crate::verdict::{SeedRun, VariantRun};

/// What a repro file says.
struct Repro {
    scenario: String,
    path: String,
    seed: u64,
    resolved: Value,
    fired: Vec<Value>,
    failed: Vec<String>,
    trace: String,
    commit: String,
}

/// Runs a kept run again.
pub(super) fn replay(file: &Path) -> Result<u8, Stop> {
    let repro = read(file)?;
    let run = run(&repro, repro.resolved.clone())?;
    let Some(seed) = run.seeds.first() else {
        return Err(Stop { message: "the seed was not run".into(), exit_code: EXIT_BAD_INPUT });
    };
    print(&text::variant(&run));
    if seed.trace_hash == repro.trace {
        print(&format!("\n   The same trace as when it was kept: {}.\n", repro.trace));
        print(&compare(&repro, seed));
        return Ok(run.verdict().exit_code());
    }
    print(&format!(
        "\n   Another trace than when it was kept (then {}, at commit {}; now {}): the build is another one.\n",
        repro.trace, repro.commit, seed.trace_hash
    ));
    print(&compare(&repro, seed));
    print("   The faults that fired then, as fixed steps:\n\n");
    let fixed = run_fixed(&repro)?;
    print(&text::variant(&fixed));
    if let Some(seed) = fixed.seeds.first() {
        print(&compare(&repro, seed));
    }
    Ok(fixed.verdict().max(run.verdict()).exit_code())
}

fn compare(repro: &Repro, seed: &SeedRun) -> String {
    let now = failed_checks(seed);
    let words =
        |names: &[String]| if names.is_empty() { "nothing".into() } else { names.join(", ") };
    match (repro.failed.first(), now.first()) {
        (Some(then), Some(_)) if now.contains(then) => format!("   {then} fails again.\n"),
        (Some(_), _) => format!("   Then {} failed, now {}.\n", words(&repro.failed), words(&now)),
        (None, None) => "   Nothing failed then, nothing fails now.\n".into(),
        (None, Some(_)) => format!("   Nothing failed then, now {}.\n", words(&now)),
    }
}

fn run(repro: &Repro, resolved: Value) -> Result<VariantRun, Stop> {
    let text = resolved.to_string();
    let name = format!("{}.resolved.json", repro.path);
    let mut scenario = Scenario::load(&name, &text, &[]).map_err(Stop::bad_input)?;
    scenario.path.clone_from(&repro.path);
    scenario.name.clone_from(&repro.scenario);
    let jobs = [job(&Arc::new(scenario), None, repro.seed, true)];
    let options =
        Options { jobs: 1, until_failure: false, time_budget: None, check_determinism: false };
    let mut runs = run_jobs(&jobs, &options);
    runs.pop().ok_or_else(|| Stop::bad_input("the seed was not run"))
}

fn run_fixed(repro: &Repro) -> Result<VariantRun, Stop> {
    let mut resolved = repro.resolved.clone();
    if let Some(table) = resolved.as_object_mut() {
        table.shift_remove("chaos");
        table.insert("timeline".into(), Value::Array(repro.fired.clone()));
    }
    run(repro, resolved)
}

fn read(file: &Path) -> Result<Repro, Stop> {
    let shown = file.display();
    let value = read_json(file)?;
    let schema = value.get("schema").and_then(Value::as_str).unwrap_or_default();
    if schema == REPORT_SCHEMA {
        // The report lies beside its repro.
        return read_repro(&file.with_file_name("repro.json"));
    }
    if schema != REPRO_SCHEMA {
        return Err(Stop::bad_input(format!(
            "{shown}: its schema is `{schema}`, not `{REPRO_SCHEMA}`: was it written by `cargo sim run`, of this version?"
        )));
    }
    read_repro(file)
}

fn read_json(file: &Path) -> Result<Value, Stop> {
    let text = files::read(file).map_err(Stop::bad_input)?;
    serde_json::from_str(&text)
        .map_err(|error| Stop::bad_input(format!("{}: not JSON: {error}", file.display())))
}

fn read_repro(file: &Path) -> Result<Repro, Stop> {
    let value = read_json(file)?;
    let missing = |key: &str| {
        Stop::bad_input(format!("{}: `{key}` is missing or of another type", file.display()))
    };
    let text = |key: &str| {
        value.get(key).and_then(Value::as_str).map(str::to_string).ok_or_else(|| missing(key))
    };
    let list =
        |key: &str| value.get(key).and_then(Value::as_array).cloned().ok_or_else(|| missing(key));
    Ok(Repro {
        scenario: text("scenario")?,
        path: text("path")?,
        seed: text("seed")?.parse().map_err(|_| missing("seed"))?,
        resolved: value.get("resolved").cloned().ok_or_else(|| missing("resolved"))?,
        fired: list("fired")?,
        failed: list("failed")?
            .iter()
            .filter_map(|name| name.as_str().map(str::to_string))
            .collect(),
        trace: text("trace")?,
        commit: text("commit")?,
    })
}

//! `cargo sim replay FILE`: a kept run again. First under its seed: the same build gives the same trace. Where the trace is
//! another (another commit), the faults that fired then are done again as fixed steps.

use serde_json::Value;

use super::repro::Repro;
use super::reseed::reseed;
use super::run::{job, run_jobs};
use super::state::state;
use super::{EXIT_BAD_INPUT, ReplayArgs, Stop, print};
use crate::report::json::failed_checks;
use crate::report::text;
use crate::runner::Options;
use crate::verdict::{SeedRun, VariantRun};

/// Runs a kept run again.
pub(super) fn replay(args: &ReplayArgs) -> Result<u8, Stop> {
    if let (Some(until), Some(node)) = (args.until, &args.state) {
        return state(args, until, node);
    }
    let repro = Repro::read(&args.file)?;
    if args.reseed.is_asked()? {
        return reseed(&repro, &args.reseed);
    }
    let run = again(&repro, &repro.resolved)?;
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
    let fixed = again(&repro, &repro.fixed())?;
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

fn again(repro: &Repro, values: &Value) -> Result<VariantRun, Stop> {
    let jobs = [job(&repro.load(values)?, None, repro.seed, true)];
    let options =
        Options { jobs: 1, until_failure: false, time_budget: None, check_determinism: false };
    let mut runs = run_jobs(&jobs, &options);
    runs.pop().ok_or_else(|| Stop::bad_input("the seed was not run"))
}

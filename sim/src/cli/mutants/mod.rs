//! `cargo sim mutants`: builds the corpus of planted bugs into a copy of the tree, and measures how soon each is found.

mod probe;
mod search;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::run::cores;
use super::{MutantsArgs, Stop, files, keep, print};
use crate::mutants::corpus::{Corpus, DIRECTORY};
use crate::mutants::patch::Mutant;
use crate::mutants::result::{MutantResult, key};
use crate::mutants::score::Table;
use crate::run::run_once;
use crate::runner::wall_now;
use crate::scenario::error::suggest;
pub(super) use probe::probe;
use probe::{Question, ask};
use search::{Bug, Place, Searcher};
use tree::{HOME, Tree, build};

/// The page that is written where all mutants are measured.
const PAGE: &str = "reports/mutants.md";
/// The storms where a patch names none: each seed draws its own cluster, configuration, load and faults.
const STORM: &str = "scenarios/chaos/swarm.toml";
/// Held to give the same trace in the tree with all patches and none planted as in the tree without: so many storm seeds.
const COMPARED_SEEDS: u64 = 2;
/// The name of the results of the tree without any bug.
const CLEAN: &str = "clean";

/// Does what the command line says.
pub(super) fn mutants(args: &MutantsArgs) -> Result<u8, Stop> {
    let root = PathBuf::from(".");
    let corpus = Corpus::load(&root).map_err(Stop::bad_input)?;
    let chosen = choose(&corpus, &args.only)?;
    if args.check || args.list {
        print(&if args.list { list(&chosen) } else { conclusion(&corpus) });
        return Ok(0);
    }
    let began = wall_now();
    let is_time_over = || args.time_budget.is_some_and(|budget| began.elapsed() >= budget);
    let tree = Tree::find(&root)?;
    let key_of_tree = tree.key()?;
    let results = root.join(HOME).join("results");
    let load = |name: &str, patch: &str| {
        let key = key(patch, key_of_tree);
        if args.fresh {
            return MutantResult { key, ..MutantResult::default() };
        }
        MutantResult::load(&results, name, &key)
    };
    let jobs = args.jobs.unwrap_or_else(cores);
    let storms = storms(&corpus);
    let places = places(&storms)?;
    let mut searcher = Searcher {
        root: PathBuf::new(),
        results: results.clone(),
        storm_seeds: args.seeds,
        places,
        scenario_seeds: args.scenario_seeds,
        jobs,
    };
    // Of the tree that is woven, whatever becomes of this one by then.
    let commit = keep::commit();
    let mut clean = Bug::clean(&storms, load(CLEAN, ""));
    let mut known: BTreeMap<String, MutantResult> = BTreeMap::new();
    for (index, round) in corpus.rounds.iter().enumerate() {
        let mine = chosen.iter().filter(|mutant| round.mutants.contains(&mutant.name));
        let mut bugs: Vec<Bug> =
            mine.map(|mutant| Bug::planted(mutant, load(&mutant.name, &mutant.diff))).collect();
        let is_left = bugs.iter().any(|bug| !searcher.is_done(bug));
        let is_clean_left = index == 0 && args.only.is_empty() && !searcher.is_done(&clean);
        if (is_left || is_clean_left) && !is_time_over() {
            let copy = tree.copy(&corpus, round)?;
            let binary = build(&copy, &corpus, round, index + 1)?;
            searcher.root = std::path::absolute(&copy).map_err(Stop::bad_input)?;
            let binary = std::path::absolute(&binary).map_err(Stop::bad_input)?;
            for storm in &storms {
                compare(&binary, &searcher, storm, jobs)?;
            }
            if is_clean_left {
                bugs.insert(0, clean);
            }
            searcher.search(&binary, &mut bugs, &is_time_over)?;
            if is_clean_left {
                clean = bugs.remove(0);
            } else {
                clean = Bug::clean(&storms, load(CLEAN, ""));
            }
        }
        known.extend(bugs.into_iter().map(|bug| (bug.name, bug.result)));
    }
    let chosen: Vec<Mutant> = chosen.into_iter().cloned().collect();
    let command = command(args);
    let table = Table {
        mutants: &chosen,
        results: &known,
        clean: &clean.result,
        storms: &storms,
        storm_seeds: args.seeds,
        scenario_seeds: args.scenario_seeds,
        scenarios: searcher.places.len(),
        command: &command,
        commit: &commit,
    };
    let page = table.page();
    if args.only.is_empty() {
        write(Path::new(PAGE), &page)?;
        eprintln!("{PAGE} is written");
    }
    print(&page);
    let is_false = clean.result.storm.found.is_some() || clean.result.scenarios.found.is_some();
    Ok(u8::from(is_false))
}

/// The mutants with these names, or all. A row stands for all of its mutants.
fn choose<'a>(corpus: &'a Corpus, only: &[String]) -> Result<Vec<&'a Mutant>, Stop> {
    for name in only {
        let is_known = |mutant: &&Mutant| mutant.name == *name || mutant.row == *name;
        if !corpus.mutants.iter().any(|mutant| is_known(&mutant)) {
            let names = corpus.mutants.iter().map(|mutant| mutant.name.as_str());
            let help = suggest(name, names)
                .unwrap_or_else(|| "`cargo sim mutants --list` lists all".to_owned());
            return Err(Stop::bad_input(format!("there is no mutant `{name}`: {help}")));
        }
    }
    let is_chosen = |mutant: &&Mutant| {
        only.is_empty() || only.contains(&mutant.name) || only.contains(&mutant.row)
    };
    Ok(corpus.mutants.iter().filter(is_chosen).collect())
}

fn list(mutants: &[&Mutant]) -> String {
    let line = |mutant: &&Mutant| {
        let aimed = mutant.scenario.as_ref().map_or_else(String::new, |path| format!(" ({path})"));
        let (name, class) = (&mutant.name, mutant.class.name());
        format!("{name}\n  {} [{class}; {}]{aimed}\n", mutant.title, mutant.expect)
    };
    mutants.iter().map(line).collect()
}

fn conclusion(corpus: &Corpus) -> String {
    let rounds = corpus.rounds.len();
    let builds = if rounds == 1 { "one build" } else { "builds" };
    let count = if rounds == 1 { String::new() } else { format!("{rounds} ") };
    format!("{} patches of {DIRECTORY} apply, in {count}{builds}\n", corpus.mutants.len())
}

/// The storms that any patch is searched with.
fn storms(corpus: &Corpus) -> BTreeSet<String> {
    let named = corpus.mutants.iter().filter_map(|mutant| mutant.storm.clone());
    named.chain([STORM.to_owned()]).collect()
}

/// Every scenario and variant but those of the storms.
fn places(storms: &BTreeSet<String>) -> Result<Vec<Place>, Stop> {
    let mut places = Vec::new();
    for scenario in files::load(&files::find(&[])?, &[])? {
        if storms.contains(&scenario.path) {
            continue;
        }
        for variant in super::run::variants_of(&scenario) {
            places.push(Place { path: scenario.path.clone(), variant });
        }
    }
    Ok(places)
}

/// Holds that patches that are not planted change nothing: the same seeds, the same traces.
fn compare(binary: &Path, searcher: &Searcher, storm: &str, jobs: usize) -> Result<(), Stop> {
    let question = Question {
        binary,
        root: &searcher.root,
        planted: None,
        scenario: storm,
        variant: None,
        first: 1,
        last: COMPARED_SEEDS,
        jobs,
    };
    let scenarios = files::load(&[PathBuf::from(storm)], &[])?;
    for probed in ask(&question)?.seeds {
        let own = run_once(&super::run::job(&scenarios[0], None, probed.seed, false)).0;
        if own.trace_hash != probed.trace {
            return Err(Stop::bad_input(format!(
                "seed {} of {storm} gives another trace where no bug is planted: a patch changes more than its bug (or this binary is of another tree)",
                probed.seed
            )));
        }
    }
    Ok(())
}

fn command(args: &MutantsArgs) -> String {
    let (storms, scenarios) = (args.seeds, args.scenario_seeds);
    let mut command = format!("cargo sim mutants --seeds {storms} --scenario-seeds {scenarios}");
    for name in &args.only {
        command.push_str(&format!(" --only {name}"));
    }
    command
}

fn write(path: &Path, text: &str) -> Result<(), Stop> {
    let half = path.with_extension("new");
    std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, path)).map_err(|error| {
        // Nothing half-written stays.
        let _ = std::fs::remove_file(&half);
        Stop::bad_input(format!("{}: {error}", path.display()))
    })
}

//! The order of the search: what is cheap for all mutants first, so that a run that is interrupted knows something of each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::Stop;
use super::probe::{Answer, Question, ask};
use crate::mutants::patch::Mutant;
use crate::mutants::result::{Found, MutantResult, Search};

/// So many storm seeds in a process, once the first hundred are green.
const CHUNK: u64 = 100;

/// A scenario and variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) variant: Option<String>,
}

/// What is searched for.
pub(super) struct Bug {
    /// Of the mutant, or of the tree without any bug.
    pub(super) name: String,
    planted: bool,
    aimed: Option<String>,
    /// The storms that are to find it.
    storms: Vec<Place>,
    pub(super) result: MutantResult,
}

impl Bug {
    pub(super) fn planted(mutant: &Mutant, result: MutantResult) -> Self {
        let (name, aimed) = (mutant.name.clone(), mutant.scenario.clone());
        let storms = vec![storm(mutant.storm.as_deref().unwrap_or(super::STORM))];
        Self { name, planted: true, aimed, storms, result }
    }

    /// No bug: all storms that any bug is searched with.
    pub(super) fn clean(storms: &BTreeSet<String>, result: MutantResult) -> Self {
        let storms = storms.iter().map(|path| storm(path)).collect();
        Self { name: super::CLEAN.to_owned(), planted: false, aimed: None, storms, result }
    }
}

fn storm(path: &str) -> Place {
    Place { path: path.to_owned(), variant: None }
}

/// A step of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Storm seeds up to this one.
    Storm(u64),
    /// The scenario that aims at it.
    Aimed,
    /// All others, for what no storm has found yet.
    Scenarios,
}

/// Where to search.
pub(super) struct Searcher {
    pub(super) root: PathBuf,
    pub(super) results: PathBuf,
    pub(super) storm_seeds: u64,
    pub(super) places: Vec<Place>,
    pub(super) scenario_seeds: u64,
    pub(super) jobs: usize,
}

impl Searcher {
    fn steps(&self) -> Vec<Step> {
        let end = self.storm_seeds;
        let mut steps = vec![Step::Storm(end.min(10)), Step::Aimed];
        let early = [(10, 30), (30, CHUNK)].into_iter().filter(|(before, _)| *before < end);
        steps.extend(early.map(|(_, upto)| Step::Storm(upto.min(end))));
        steps.push(Step::Scenarios);
        let later = (2..).map(|chunk| chunk * CHUNK);
        steps.extend(
            later.take_while(|upto| upto - CHUNK < end).map(|upto| Step::Storm(upto.min(end))),
        );
        steps
    }

    /// Whether nothing is left to run.
    pub(super) fn is_done(&self, bug: &Bug) -> bool {
        bug.result.died.is_some()
            || self.steps().into_iter().all(|step| self.is_step_done(bug, step))
    }

    fn is_step_done(&self, bug: &Bug, step: Step) -> bool {
        match step {
            Step::Storm(upto) => {
                let storm = &bug.result.storm;
                storm.found.is_some() || bug.storms.iter().all(|of| green(storm, of) >= upto)
            }
            Step::Aimed | Step::Scenarios => {
                bug.result.scenarios.found.is_some()
                    || step == Step::Scenarios && bug.result.storm.found.is_some()
                    || self
                        .places_of(bug, step)
                        .all(|place| green(&bug.result.scenarios, place) >= self.scenario_seeds)
            }
        }
    }

    fn places_of<'a>(&'a self, bug: &'a Bug, step: Step) -> impl Iterator<Item = &'a Place> {
        self.places.iter().filter(move |place| match step {
            Step::Aimed => bug.aimed.as_ref() == Some(&place.path),
            Step::Scenarios => true,
            Step::Storm(_) => false,
        })
    }

    /// Goes through the steps, each for all bugs; what is found is kept at once.
    pub(super) fn search(
        &self,
        binary: &Path,
        bugs: &mut [Bug],
        is_time_over: &dyn Fn() -> bool,
    ) -> Result<(), Stop> {
        let count = bugs.len();
        for step in self.steps() {
            for (number, bug) in (1..).zip(bugs.iter_mut()) {
                if bug.result.died.is_some() || self.is_step_done(bug, step) {
                    continue;
                }
                if is_time_over() {
                    return Ok(());
                }
                self.take(binary, bug, step)?;
                bug.result.save(&self.results, &bug.name).map_err(Stop::bad_input)?;
                eprintln!("{number:3}/{count} {step:?} {}: {}", bug.name, state(&bug.result));
            }
        }
        Ok(())
    }

    fn take(&self, binary: &Path, bug: &mut Bug, step: Step) -> Result<(), Stop> {
        let places: Vec<(Place, u64)> = match step {
            Step::Storm(upto) => bug.storms.iter().map(|of| (of.clone(), upto)).collect(),
            Step::Aimed | Step::Scenarios => {
                let places = self.places_of(bug, step);
                places.map(|place| (place.clone(), self.scenario_seeds)).collect()
            }
        };
        for (place, last) in places {
            let is_storm = matches!(step, Step::Storm(_));
            self.run(binary, bug, is_storm, &place, last)?;
            let search = if is_storm { &bug.result.storm } else { &bug.result.scenarios };
            if search.found.is_some() || bug.result.died.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Runs what is left of seeds 1 to `last`, and takes in what is found. A seed that is red without the bug finds nothing.
    fn run(
        &self,
        binary: &Path,
        bug: &mut Bug,
        is_storm: bool,
        place: &Place,
        last: u64,
    ) -> Result<(), Stop> {
        let search = if is_storm { &mut bug.result.storm } else { &mut bug.result.scenarios };
        let (scenario, variant) = (&place.path, place.variant.as_deref());
        loop {
            let first = green(search, place) + 1;
            if first > last {
                return Ok(());
            }
            let planted = bug.planted.then_some(bug.name.as_str());
            let answer = self.ask(binary, planted, place, first, last)?;
            search.cpu_ms += answer.cpu_ms();
            let reached = answer.seeds.iter().map(|probed| u64::from(probed.reached));
            search.reached += reached.sum::<u64>();
            let first_red = answer.first_red();
            let found = first_red.and_then(|probed| Some((probed.seed, probed.red.clone()?)));
            let Some((seed, red)) = found else {
                match answer.died {
                    None => search.note_green(scenario, variant, last),
                    Some(how) => bug.result.died = Some(how),
                }
                return Ok(());
            };
            if bug.planted && self.ask(binary, None, place, seed, seed)?.first_red().is_some() {
                eprintln!("seed {seed} of {scenario} is red without {} too", bug.name);
                search.note_green(scenario, variant, seed);
                continue;
            }
            if seed > 1 {
                search.note_green(scenario, variant, seed - 1);
            }
            let (scenario, variant) = (scenario.clone(), place.variant.clone());
            search.found = Some(Found { scenario, variant, seed, red });
            return Ok(());
        }
    }

    fn ask(
        &self,
        binary: &Path,
        planted: Option<&str>,
        place: &Place,
        first: u64,
        last: u64,
    ) -> Result<Answer, Stop> {
        ask(&Question {
            binary,
            root: &self.root,
            planted,
            scenario: &place.path,
            variant: place.variant.as_deref(),
            first,
            last,
            jobs: self.jobs,
        })
    }
}

fn green(search: &Search, place: &Place) -> u64 {
    search.green_seeds(&place.path, place.variant.as_deref())
}

/// What is known, in a line.
fn state(result: &MutantResult) -> String {
    let of = |search: &Search| match &search.found {
        Some(found) => format!("{} at seed {} of {}", found.red.check, found.seed, found.scenario),
        None => format!("nothing in {} seeds", search.seeds()),
    };
    let died = result.died.as_ref().map_or_else(String::new, |how| format!("; died: {how}"));
    format!("storms {}; scenarios {}{died}", of(&result.storm), of(&result.scenarios))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::result::Red;

    fn searcher(storm_seeds: u64) -> Searcher {
        let place = |path: &str| Place { path: path.into(), variant: None };
        Searcher {
            root: PathBuf::new(),
            results: PathBuf::new(),
            storm_seeds,
            places: vec![place("a"), place("b")],
            scenario_seeds: 10,
            jobs: 1,
        }
    }

    #[test]
    fn the_cheap_steps_come_first() {
        let steps = searcher(250).steps();
        let expected = [
            Step::Storm(10),
            Step::Aimed,
            Step::Storm(30),
            Step::Storm(100),
            Step::Scenarios,
            Step::Storm(200),
            Step::Storm(250),
        ];
        assert_eq!(steps, expected);
        assert_eq!(searcher(5).steps(), [Step::Storm(5), Step::Aimed, Step::Scenarios]);
        assert_eq!(searcher(100).steps().last(), Some(&Step::Scenarios));
    }

    #[test]
    fn a_search_goes_on_where_it_was_left() {
        let searcher = searcher(20);
        let storms = BTreeSet::from(["storm".to_owned(), "other".to_owned()]);
        let mut bug = Bug::clean(&storms, MutantResult::default());
        bug.aimed = Some("b".into());
        assert!(!searcher.is_step_done(&bug, Step::Aimed));
        bug.result.scenarios.note_green("b", None, 10);
        assert!(searcher.is_step_done(&bug, Step::Aimed));
        assert!(!searcher.is_step_done(&bug, Step::Scenarios));
        bug.result.storm.note_green("storm", None, 10);
        assert!(!searcher.is_step_done(&bug, Step::Storm(10)), "there are two");
        bug.result.storm.note_green("other", None, 20);
        assert!(searcher.is_step_done(&bug, Step::Storm(10)) && !searcher.is_done(&bug));
        bug.result.scenarios.note_green("a", None, 10);
        bug.result.storm.note_green("storm", None, 20);
        assert!(searcher.is_done(&bug));
    }

    #[test]
    fn what_a_storm_has_found_is_searched_with_the_scenario_that_aims_at_it_only() {
        let mut bug = Bug::clean(&BTreeSet::from(["storm".to_owned()]), MutantResult::default());
        bug.aimed = Some("b".into());
        let red = Red { check: "R1".into(), what: String::new() };
        let (scenario, variant) = ("storm".to_owned(), None);
        bug.result.storm.found = Some(Found { scenario, variant, seed: 1, red });
        assert!(searcher(20).is_step_done(&bug, Step::Scenarios));
        assert!(!searcher(20).is_step_done(&bug, Step::Aimed));
    }
}

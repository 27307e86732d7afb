//! Whether a file that has the shape of a scenario makes sense: names that exist, times in order, faults that can bite.

mod expectations;
mod names;
mod properties;
mod timeline;

use std::collections::BTreeSet;

use ottla::client::{ConsumerConfig, ProducerConfig};

use super::duration::Span;
use super::error::{Problem, suggest};
use super::parse::{Document, join};
use super::plan::{CommitStyle, Plan, Properties, TopicPlan, WorkloadKind, WorkloadPlan};

pub use expectations::measure;

/// No run is longer than this: a month of simulated time at a thousandfold is an hour.
const RUN_LONGEST: Span = Span::from_secs(31 * 86_400);

/// Everything in the file that makes no sense.
#[must_use]
pub fn check(document: &Document, plan: &Plan) -> Vec<Problem> {
    let mut check = Check { document, plan, problems: Vec::new() };
    check.times();
    check.cluster();
    check.topics();
    check.properties();
    check.workloads();
    check.timeline();
    check.chaos();
    check.expectations();
    check.problems
}

struct Check<'a> {
    document: &'a Document,
    plan: &'a Plan,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn refuse(&mut self, pointer: &str, what: impl Into<String>, help: Option<String>) {
        self.problems.push(Problem { help, ..self.document.problem(pointer, what) });
    }

    fn times(&mut self) {
        let (run_for, heal_at) = (self.plan.run_for, self.plan.heal_at());
        if run_for == Span::ZERO {
            self.refuse("/run-for", "a run of no time shows nothing", None);
        }
        if run_for > RUN_LONGEST {
            self.refuse("/run-for", format!("{run_for} is too long: at most {RUN_LONGEST}"), None);
        }
        if heal_at > run_for {
            self.refuse(
                "/heal-at",
                format!("{heal_at} is after the end of the run ({run_for})"),
                None,
            );
        }
    }

    fn cluster(&mut self) {
        let cluster = &self.plan.cluster;
        if cluster.is_combined() && cluster.voters() > cluster.brokers {
            let what = format!(
                "{} combined controllers need as many brokers, and there are {}",
                cluster.voters(),
                cluster.brokers
            );
            self.refuse("/cluster/controllers", what, None);
        }
        if cluster.combined == Some(false) && cluster.controllers.is_none() {
            self.refuse("/cluster/combined", "it needs `controllers`: how many of them", None);
        }
        if cluster.racks.iter().any(|rack| rack.is_empty() || rack.contains(char::is_whitespace)) {
            self.refuse("/cluster/racks", "a rack has a name, without blanks", None);
        }
    }

    fn topics(&mut self) {
        for (name, topic) in &self.plan.topics {
            let at = join("/topics", name);
            let brokers = self.plan.cluster.brokers;
            if topic.replication_factor.is_some_and(|factor| u32::from(factor) > brokers) {
                let what = format!("more copies than brokers: there are {brokers}");
                self.refuse(&join(&at, "replication-factor"), what, None);
            }
            if let Err(what) = check_assignment(topic, brokers) {
                self.refuse(&join(&at, "assignment"), what, None);
            }
        }
    }

    fn workloads(&mut self) {
        for (name, workload) in &self.plan.workloads {
            let at = join("/workloads", name);
            if name.contains(['/', '$', '(', '*']) || name.is_empty() {
                self.refuse(
                    &at,
                    format!("`{name}`: the name of a workload holds none of / $ ( *"),
                    None,
                );
            }
            if !self.plan.topics.contains_key(&workload.topic) {
                let help = suggest(&workload.topic, self.plan.topics.keys().map(String::as_str));
                self.refuse(
                    &join(&at, "topic"),
                    format!("there is no topic `{}`", workload.topic),
                    help,
                );
            }
            if let Err(what) = client_properties(workload) {
                let key = workload.config.0.keys().find(|key| what.contains(key.as_str()));
                let below = join(&at, "config");
                self.refuse(&key.map_or(below.clone(), |key| join(&below, key)), what, None);
            }
            self.members(&at, workload);
            if let WorkloadKind::Consumer { assign: Some(assign), .. } = &workload.kind {
                let partitions =
                    self.plan.topics.get(&workload.topic).map_or(0, |topic| topic.partitions);
                if parse_assign(assign, partitions).is_none() {
                    self.refuse(
                        &join(&at, "assign"),
                        format!(
                            "`{assign}` names no partitions of `{}`: write \"*\" or \"0,2\"",
                            workload.topic
                        ),
                        None,
                    );
                }
            }
        }
    }
}

impl Check<'_> {
    /// What only members of a group do, and what they do not.
    fn members(&mut self, at: &str, workload: &WorkloadPlan) {
        let WorkloadKind::Consumer {
            assign,
            group,
            topics,
            static_members,
            commit,
            processing,
            pause_at,
            poll_timeout,
            seek_every,
            from: _,
        } = &workload.kind
        else {
            return;
        };
        if *poll_timeout == Span::ZERO {
            let what = "a poll that waits for nothing lets no time pass";
            self.refuse(&join(at, "poll-timeout"), what, None);
        }
        for topic in topics.iter().filter(|topic| !self.plan.topics.contains_key(*topic)) {
            let help = suggest(topic, self.plan.topics.keys().map(String::as_str));
            self.refuse(&join(at, "topics"), format!("there is no topic `{topic}`"), help);
        }
        let Some(group) = group else {
            let given = [
                ("topics", !topics.is_empty()),
                ("static-members", *static_members),
                ("commit", commit.is_some()),
                ("processing", processing.is_some()),
                ("pause-at", pause_at.is_some()),
            ];
            for (key, _) in given.iter().filter(|(_, is_given)| *is_given) {
                let what = format!("`{key}` is of members, and there is no `group`");
                self.refuse(&join(at, key), what, None);
            }
            return;
        };
        if seek_every.is_some() {
            let what = "a member reads on where its group committed: `seek-every` is of consumers without `group`";
            self.refuse(&join(at, "seek-every"), what, None);
        }
        if assign.is_some() {
            let what = "a member reads what its group gives it: either `assign` or `group`";
            self.refuse(&join(at, "assign"), what, None);
        }
        let is_beside = |style| matches!(style, CommitStyle::Auto | CommitStyle::AfterProcessing);
        if pause_at.is_some() && !is_beside(commit.unwrap_or_default()) {
            let what = "who processes beside polling commits `auto` or `after-processing`";
            self.refuse(&join(at, "pause-at"), what, None);
        }
        if group.is_empty() || group.contains(['(', ')', ':', '/']) {
            let what = format!("`{group}`: the name of a group holds none of ( ) : /");
            self.refuse(&join(at, "group"), what, None);
        }
        let own = [
            ("group.id", "group"),
            ("group.instance.id", "static-members"),
            ("enable.auto.commit", "commit"),
            ("auto.offset.reset", "from"),
        ];
        for (property, key) in own {
            if workload.config.0.contains_key(property) {
                let below = join(&join(at, "config"), property);
                self.refuse(&below, format!("`{property}` of members is said by `{key}`"), None);
            }
        }
    }
}

/// The partitions that `assign` names: all of `0..partitions` for `*`; `None` where one does not exist.
#[must_use]
pub fn parse_assign(assign: &str, partitions: u32) -> Option<Vec<u32>> {
    if assign.trim() == "*" {
        return Some((0..partitions).collect());
    }
    let one = |text: &str| text.trim().parse().ok().filter(|index| *index < partitions);
    assign.split(',').map(one).collect()
}

/// Errors: why a topic cannot lie so.
fn check_assignment(topic: &TopicPlan, brokers: u32) -> Result<(), String> {
    if topic.assignment.is_empty() {
        return Ok(());
    }
    if topic.assignment.len() != topic.partitions as usize {
        let (given, partitions) = (topic.assignment.len(), topic.partitions);
        return Err(format!("{given} lists of brokers for {partitions} partitions"));
    }
    for replicas in &topic.assignment {
        let different: BTreeSet<_> = replicas.iter().collect();
        if replicas.is_empty() || different.len() != replicas.len() {
            return Err("a partition lies on at least one broker, and on none twice".into());
        }
        if let Some(id) = replicas.iter().find(|id| !(1..=brokers).contains(*id)) {
            return Err(format!("there is no broker {id}: ids are 1 to {brokers}"));
        }
        if topic.replication_factor.is_some_and(|factor| usize::from(factor) != replicas.len()) {
            return Err("`replication-factor` says another number of copies".into());
        }
    }
    Ok(())
}

/// The client's own reader of properties says what is wrong.
fn client_properties(workload: &WorkloadPlan) -> Result<(), String> {
    let Properties(mut properties) = workload.config.clone();
    for own in ["bootstrap.servers", "client.id"] {
        if properties.contains_key(own) {
            return Err(format!("`{own}` is set by the testbed"));
        }
    }
    properties.insert("bootstrap.servers".into(), "localhost:9092".into());
    match workload.kind {
        WorkloadKind::Producer { .. } => ProducerConfig::from_properties(&properties)
            .map(drop)
            .map_err(|error| error.to_string()),
        WorkloadKind::Consumer { .. } => ConsumerConfig::from_properties(&properties)
            .map(drop)
            .map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Expectation, Step};
    use super::super::words;

    #[test]
    fn every_word_has_its_type() {
        // A word of the table that the types do not know would be refused as "cannot be run"; this finds it here.
        let measured: Vec<&str> = words::EXPECTATIONS.iter().map(|word| word.name).collect();
        for name in measured {
            let value = serde_json::json!({
                "that": name, "is": 0, "event": "node.started", "check": "R3", "error": "NONE",
                "partition": "orders-0", "who": "brokers(1)", "group": "billing",
            });
            serde_json::from_value::<Expectation>(value)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for word in words::ACTIONS {
            let value = serde_json::json!({
                "do": word.name, "at": "1s", "target": "brokers(1)", "between": ["brokers(1)", "writer/0"],
                "api": "Produce", "by": "1s", "chance": 0.5, "operation": "sync", "file": "x", "ppm": 1,
                "workload": "writer", "text": "x", "config": {}, "topic": "orders", "partitions": 2,
                "group": "billing", "partition": "orders-0",
            });
            let step: Step = serde_json::from_value(value)
                .unwrap_or_else(|error| panic!("{}: {error}", word.name));
            assert_eq!(step.action.name(), word.name);
        }
    }
}

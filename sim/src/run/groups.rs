//! Consumer groups of a run: their topic and who coordinates them; and the end of all who read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::client::partition;
use super::stage::{LOOK_EVERY, Stage};
use crate::checker::arrivals::{Arrivals, Reader, Reads, Stopped};
use crate::checker::liveness::Missing;
use crate::event::Who;
use crate::scenario::Plan;
use crate::scenario::check::parse_assign;
use crate::scenario::plan::{CommitStyle, StartFrom, WorkloadKind, WorkloadPlan};
use crate::world::SimTime;

/// The topic that groups and their offsets are kept in (Kafka: `Topic.GROUP_METADATA_TOPIC_NAME`).
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// How many partitions it has where nobody says: Kafka's 50 are 150 replicas on three brokers, and most of them idle.
const OFFSETS_PARTITIONS: u32 = 3;

/// Within this long after everybody has read all there is, whoever reads in a group is a member: a session, an interval between polls, a
/// rebalance.
const GATHER_WITHIN: Duration = Duration::from_secs(60);
/// So long before the end nobody is waited for any more: they are to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(20);

/// A group's hash (Kafka: `GroupCoordinatorService.partitionFor`, `Utils.abs`; Java: `String.hashCode`).
pub(super) fn hash_of(group: &str) -> u32 {
    let step = |hash: u32, unit: u16| hash.wrapping_mul(31).wrapping_add(unit.into());
    group.encode_utf16().fold(0, step) & 0x7fff_ffff
}

/// What brokers are told besides where a scenario has groups and does not say it itself.
pub(super) fn properties(plan: &Plan) -> String {
    if plan.groups().is_empty() {
        return String::new();
    }
    let defaults = [
        ("offsets.topic.num.partitions", OFFSETS_PARTITIONS),
        ("offsets.topic.replication.factor", plan.cluster.brokers.min(3)),
    ];
    let open = defaults.iter().filter(|(name, _)| !plan.broker_config.0.contains_key(*name));
    open.map(|(name, value)| format!("{name}={value}\n")).collect()
}

impl Stage {
    /// Waits until everybody who reads has come to the end of it, and not for ever: who gets on no more is returned, of those that leave
    /// nothing out.
    pub(super) async fn drain(&self, deadline: SimTime) -> Vec<Stopped> {
        let readers = readers(&self.plan);
        if readers.is_empty() {
            return Vec::new();
        }
        // They need time to close, too.
        let now = self.world().now();
        let deadline = now + deadline.since(now) / 2;
        let mut arrivals = self.look_at_history(|history| Arrivals::begin(history, &readers, now));
        loop {
            let now = self.world().now();
            self.look_at_history(|history| arrivals.note(history));
            let runs = |reader: &Reader| self.is_read_by(reader);
            if arrivals.are_over(now, runs) || now >= deadline {
                let arrives =
                    |reader: &Reader| runs(reader) && leaves_nothing_out(&self.plan, reader);
                return arrivals.stopped(now, arrives);
            }
            self.world().sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every group has as many members as clients of it run, and not for ever: which have not is returned. They are to
    /// close afterwards, so where too little time is left nobody is said to be late.
    pub(super) async fn gather(&self, deadline: SimTime) -> Vec<Missing> {
        if self.plan.is_without("L11") {
            return Vec::new();
        }
        let now = self.world().now();
        let left = deadline.since(now).saturating_sub(CLOSE_WITHIN);
        let (late_at, closing_at) = (now + GATHER_WITHIN, now + left);
        loop {
            let missing = self.ears.oracle.outside(&self.running_members());
            let now = self.world().now();
            if missing.is_empty() || now >= late_at.min(closing_at) {
                return if now >= late_at { missing } else { Vec::new() };
            }
            self.world().sleep(LOOK_EVERY).await;
        }
    }

    /// How many clients run that read in each group.
    fn running_members(&self) -> BTreeMap<Arc<str>, usize> {
        let mut running = BTreeMap::new();
        for (name, workload) in &self.plan.workloads {
            let Some(group) = workload.group() else { continue };
            *running.entry(group.into()).or_default() += self.running_of(|of| of == name).len();
        }
        running
    }

    /// The clients of some workloads that run.
    fn running_of(&self, is_asked: impl Fn(&str) -> bool) -> Vec<Who> {
        let runs = |who: &Who| self.node(who).is_some_and(|node| self.cluster.is_running(node));
        self.clients_of(is_asked).into_iter().filter(runs).collect()
    }

    /// Whether some client that reads as this one runs.
    fn is_read_by(&self, reader: &Reader) -> bool {
        let group_of =
            |workload: &str| self.plan.workloads.get(workload).and_then(WorkloadPlan::group);
        let running = self.running_of(|workload| match reader {
            Reader::Client(name) => name.rsplit_once('/').is_some_and(|(of, _)| of == workload),
            Reader::Group(group) => group_of(workload) == Some(group),
        });
        running.iter().any(|who| match reader {
            Reader::Client(name) => who.to_string() == **name,
            Reader::Group(_) => true,
        })
    }
}

/// Who is to come to the end of what: consumers that began at the start and go nowhere else by themselves, and groups.
fn readers(plan: &Plan) -> BTreeMap<Reader, Reads> {
    let mut readers = BTreeMap::new();
    for (name, workload) in &plan.workloads {
        let WorkloadKind::Consumer {
            group: None,
            assign,
            from: StartFrom::Earliest,
            seek_every: None,
            ..
        } = &workload.kind
        else {
            continue;
        };
        let count = plan.topics.get(&workload.topic).map_or(0, |topic| topic.partitions);
        let assigned = parse_assign(assign.as_deref().unwrap_or("*"), count);
        let partitions = assigned.unwrap_or_default().into_iter();
        let partitions = partitions.map(|index| partition(&workload.topic, index));
        let reads = Reads::Partitions(partitions.collect());
        // Those that steps add are not known yet: they are not waited for.
        for index in 0..workload.clients {
            readers.insert(Reader::Client(format!("{name}/{index}").into()), reads.clone());
        }
    }
    for (group, topics) in plan.groups() {
        let topics: BTreeSet<Arc<str>> = topics.into_iter().map(Arc::from).collect();
        readers.insert(Reader::Group(group.into()), Reads::Topics(topics));
    }
    readers
}

/// Whether somebody is given all there is, whatever befalls him: not a group that begins at the end, or commits before it processes.
fn leaves_nothing_out(plan: &Plan, reader: &Reader) -> bool {
    let Reader::Group(group) = reader else { return true };
    let mut members = plan.workloads.values().filter(|of| of.group() == Some(group));
    members.all(|workload| match &workload.kind {
        WorkloadKind::Producer { .. } => true,
        WorkloadKind::Consumer { from, commit, .. } => {
            *from == StartFrom::Earliest && *commit != Some(CommitStyle::BeforeProcessing)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_hashed_as_java_does() {
        // From `"…".hashCode() & 0x7fffffff` in Java; the last one is negative there.
        assert_eq!(hash_of(""), 0);
        assert_eq!(hash_of("a"), 97);
        assert_eq!(hash_of("group"), 98_629_247);
        assert_eq!(hash_of("polygenelubricants"), 0, "Integer.MIN_VALUE");
    }
}

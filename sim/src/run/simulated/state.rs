//! A run up to a moment, and what a node was then: what it said of itself up to there, and what is on its disk.
//!
//! Everything up to the moment is as in the whole run: who waits for it wakes at it and not before, and nothing is drawn for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla::types::{BrokerId, BrokerSet, TopicIdPartition, Uuid};

use super::{Job, WorldOptions};
use crate::checker::ghost::log::METADATA;
use crate::checker::ghost::{GhostLog, Role};
use crate::checker::group_state::{self, Clients, more, row};
use crate::checker::segment_reader::{
    FileBatch, FileSegment, read_epoch_checkpoint, read_quorum_state, read_segment_on,
};
use crate::checker::{Disks, Ghost};
use crate::event::Who;
use crate::history::{Outcome, SharedHistory};
use crate::run::ears::Ears;
use crate::run::node::Member;
use crate::run::stage::{Stage, broker_id};
use crate::run::{Parts, SETUP_WITHIN, play};
use crate::scenario::duration::Span;
use crate::scenario::plan::WorkloadPlan;
use crate::scenario::target::Target;
use crate::verdict::show_time;
use crate::world::{NodeId, SimTime, World};

/// How many of a log's last batches are shown.
const BATCHES_MAX: usize = 8;

/// What nodes were at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateAt {
    /// The moment: what was asked for, or the end where the run ended before.
    pub at: Span,
    /// Whether the run ended before the moment that was asked for.
    pub is_end: bool,
    /// Each node or client that was asked for, with its state, a line each.
    pub nodes: Vec<(String, Vec<String>)>,
}

/// Runs a seed up to `until` and looks at whom `target` means then.
///
/// Errors: why it means nobody then, or why there is no such moment.
pub fn state_at(job: &Job, until: Span, target: &Target) -> Result<StateAt, String> {
    let plan = Arc::new(job.scenario.plan(job.variant.as_deref(), job.seed));
    let resolved = Arc::new(job.scenario.resolved(job.variant.as_deref(), job.seed));
    let history = SharedHistory::default();
    let ears = Arc::new(Ears::new());
    let options = WorldOptions::new(job.seed).sink(Arc::clone(&ears) as _);
    let parts = Parts { plan, resolved, ears, history, reseed: None };
    let target = target.clone();
    let main = move |world| async move { run_until(parts, world, until, &target).await };
    match crate::world::run(options, main) {
        Ok(ended) => ended.value,
        Err(failed) => Err(failed.to_string()),
    }
}

async fn run_until(
    parts: Parts,
    world: Arc<World>,
    until: Span,
    target: &Target,
) -> Result<StateAt, String> {
    let Parts { plan, resolved, ears, history, reseed: _ } = parts;
    let stage = Stage::new(Arc::clone(&world), Arc::clone(&plan), ears, history.clone());
    stage.set_up(SETUP_WITHIN).await.map_err(|reason| {
        format!("the cluster did not come up, so its clients never started: {reason}")
    })?;
    let moment = world.now() + until.as_duration();
    let is_end = tokio::select! {
        biased;
        () = world.sleep_until(moment) => false,
        _ = play(&stage, &plan, &resolved) => true,
    };
    let whom = stage.resolve(target, "/state")?;
    if whom.is_empty() {
        return Err(format!("`{target}` means nobody at {}", show_time(stage.time())));
    }
    let look = Look { stage: &stage, history: &history };
    let nodes = whom.iter().map(|who| Ok((who.to_string(), look.state(who)?)));
    Ok(StateAt { at: stage.time(), is_end, nodes: nodes.collect::<Result<_, String>>()? })
}

struct Look<'a> {
    stage: &'a Stage,
    history: &'a SharedHistory,
}

impl Look<'_> {
    fn state(&self, who: &Who) -> Result<Vec<String>, String> {
        let node = self
            .stage
            .node(who)
            .ok_or_else(|| format!("{who} is not there at {}", show_time(self.stage.time())))?;
        let mut out = vec![self.process(who, node)];
        if matches!(who, Who::Client { .. }) {
            out.extend(self.client(who));
            out.extend(self.member(who, node));
            return Ok(out);
        }
        let world = self.stage.world();
        let clients = group_state::clients(&self.history.lock());
        out.extend(self.stage.ears.oracle.show(world, |ghost, disks| {
            let node = NodeLook { look: self, clients: &clients, ghost, disks, node };
            let mut out = node.registration(who);
            out.extend(node.quorum());
            for (id, _) in ghost.partitions().filter(|(id, _)| id.topic_id != Uuid::METADATA_TOPIC)
            {
                out.extend(node.partition(id));
            }
            out.extend(node.groups(who));
            out
        }));
        Ok(out)
    }

    fn time(&self, at: SimTime) -> String {
        show_time(self.stage.recorder().time(at.nanos()))
    }

    fn process(&self, who: &Who, node: NodeId) -> String {
        let runs = self.stage.cluster.is_running(node);
        let machine = self.stage.world().machine(node);
        let is_paused = machine.process().is_some_and(|process| process.is_paused());
        let words = match (runs, is_paused) {
            (true, true) => "stands still (paused)",
            (true, false) => "runs",
            (false, _) if matches!(who, Who::Client { .. }) => "has ended",
            (false, _) => "is down",
        };
        row("process", words)
    }

    /// What a client sent and was told.
    fn client(&self, who: &Who) -> Vec<String> {
        let name = who.to_string();
        let history = self.history.lock();
        let sent: Vec<_> = history.sent.iter().filter(|sent| *sent.client == *name).collect();
        let polls = history.polls.iter().filter(|poll| *poll.client == *name);
        let mut read: BTreeMap<String, (usize, i64)> = BTreeMap::new();
        for record in polls.flat_map(|poll| &poll.records) {
            let (count, last) = read.entry(record.partition.to_string()).or_default();
            *count += 1;
            *last = record.offset.value();
        }
        if sent.is_empty() && read.is_empty() {
            return vec![row("records", "none sent, none read yet")];
        }
        let count = |is: fn(&Outcome) -> bool| sent.iter().filter(|sent| is(&sent.outcome)).count();
        let mut out = Vec::new();
        if !sent.is_empty() {
            out.push(row(
                "records",
                format!(
                    "{} sent, {} acknowledged, {} pending, {} failed, {} unknown",
                    sent.len(),
                    count(|outcome| matches!(outcome, Outcome::Acked { .. })),
                    count(|outcome| matches!(outcome, Outcome::Pending)),
                    count(|outcome| matches!(outcome, Outcome::Failed { .. })),
                    count(|outcome| matches!(outcome, Outcome::Unknown { .. })),
                ),
            ));
        }
        let pending = sent.iter().filter(|sent| matches!(sent.outcome, Outcome::Pending));
        for (number, sent) in pending.take(BATCHES_MAX).enumerate() {
            let to = sent.partition.as_ref().map_or("no partition yet".into(), ToString::to_string);
            let words =
                format!("record {} to {to}, sent at {}", sent.id.0, self.time(sent.sent_at));
            out.push(row(if number == 0 { "pending" } else { "" }, words));
        }
        let acked = sent.iter().rev().filter_map(|sent| match sent.outcome {
            Outcome::Acked { offset } => Some((sent, offset)),
            Outcome::Pending | Outcome::Failed { .. } | Outcome::Unknown { .. } => None,
        });
        for (number, (sent, offset)) in acked.take(BATCHES_MAX).enumerate() {
            let to = sent.partition.as_ref().map_or("?".into(), ToString::to_string);
            let offset = offset.map_or("no offset (acks=0)".into(), |at| format!("offset {at}"));
            let at = sent.done_at.map(|at| self.time(at)).unwrap_or_default();
            let words = format!("record {} at {to}, {offset}, told at {at}", sent.id.0);
            out.push(row(if number == 0 { "last acked" } else { "" }, words));
        }
        for (number, (partition, (count, last))) in read.into_iter().enumerate() {
            let words = format!("{count} records of {partition}, the last at offset {last}");
            out.push(row(if number == 0 { "read" } else { "" }, words));
        }
        out
    }
}

impl Look<'_> {
    /// What a client has of the group that it reads in, where it does.
    fn member(&self, who: &Who, node: NodeId) -> Vec<String> {
        let Who::Client { workload, .. } = who else { return Vec::new() };
        let workload = self.stage.plan.workloads.get(&**workload);
        let Some(group) = workload.and_then(WorkloadPlan::group) else { return Vec::new() };
        let client = who.to_string();
        let runs = self.stage.cluster.is_running(node);
        let reader = group_state::Reader { client: &client, group, runs };
        let history = self.history.lock();
        let show = |ghost: &Ghost, _: &dyn Disks| group_state::member(ghost, &history, reader);
        self.stage.ears.oracle.show(self.stage.world(), show)
    }
}

/// A broker or a controller.
struct NodeLook<'a> {
    look: &'a Look<'a>,
    clients: &'a Clients,
    ghost: &'a Ghost,
    disks: &'a dyn Disks,
    node: NodeId,
}

/// A node by its id.
fn name(id: BrokerId) -> String {
    u32::try_from(id.value())
        .map_or_else(|_| id.to_string(), |id| Member::of_id(id).who().to_string())
}

fn names(ids: &BrokerSet) -> String {
    format!("[{}]", ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(","))
}

impl NodeLook<'_> {
    fn is_running(&self) -> bool {
        self.ghost.is_running(self.node)
    }

    /// The broker as the controller knows it.
    fn registration(&self, who: &Who) -> Vec<String> {
        let (Who::Broker(id), Some(node)) = (who, self.ghost.node(self.node)) else {
            return Vec::new();
        };
        let registration = broker_id(*id).and_then(|id| self.ghost.registration(id));
        let words = registration.map_or_else(
            || "never registered".to_owned(),
            |of| {
                let fenced = if of.is_fenced { "fenced" } else { "not fenced" };
                let leaving =
                    if of.in_controlled_shutdown { ", in controlled shutdown" } else { "" };
                format!("broker epoch {}, {fenced}{leaving}", of.broker_epoch)
            },
        );
        let mut out = vec![row("registered", format!("{words}; start number {}", node.boots))];
        if !node.failed_dirs.is_empty() {
            out.push(row("disks", format!("log directories that failed: {:?}", node.failed_dirs)));
        }
        out
    }

    /// Its part in the metadata quorum: by its own word, and on its disk.
    fn quorum(&self) -> Vec<String> {
        let Some(voter) = self.ghost.quorum().node(self.node) else { return Vec::new() };
        let mut words = match voter.role.filter(|_| self.is_running()) {
            Some((role, epoch)) => format!("{role:?} in epoch {epoch}").to_lowercase(),
            None => match voter.epoch {
                Some(epoch) => format!("nothing said since its start; epoch {epoch} before"),
                None => "nothing said yet".to_owned(),
            },
        };
        if voter.is_active {
            words.push_str(", the active controller");
        }
        let leads = voter.epoch.and_then(|epoch| self.ghost.quorum().terms.get(&epoch));
        if let Some(term) = leads {
            words.push_str(&format!("; {} leads that epoch", name(term.leader)));
        }
        let mut out = vec![row("quorum", words)];
        if let Some(id) = self.ghost.broker_of(self.node) {
            let last = self
                .ghost
                .quorum()
                .votes
                .range((id, voter_start())..)
                .take_while(|((of, _), _)| *of == id)
                .last();
            if let Some(((_, epoch), candidate)) = last {
                out.push(more(format!("voted for {} in epoch {epoch}", name(*candidate))));
            }
        }
        if let Some(bytes) = self.file("__cluster_metadata-0", "quorum-state")
            && let Some(state) = read_quorum_state(&bytes)
        {
            let one = |id: i32| BrokerId::from_wire(id).map_or("nobody".to_owned(), name);
            out.push(more(format!(
                "on disk: epoch {}, leader {}, vote {}",
                state.epoch,
                one(state.leader),
                one(state.voted)
            )));
        }
        let applied = self.ghost.node(self.node).and_then(|node| node.applied);
        let applied = applied.map_or("none".to_owned(), |end| format!("up to {end}"));
        let watermark = voter.high_watermark.map_or("unknown".to_owned(), |at| at.to_string());
        out.push(row(
            "metadata",
            format!("{}, high watermark {watermark}, applied {applied}", log_words(&voter.log)),
        ));
        out.extend(self.tail(METADATA));
        out
    }

    /// A replica: by the controller's word, by its own, and on its disk.
    fn partition(&self, id: TopicIdPartition) -> Vec<String> {
        let log = self.ghost.log(self.node, id);
        let Some(log) = log else { return Vec::new() };
        let mut out = vec![String::new()];
        let committed =
            self.ghost.partition(id).and_then(|of| Some((of.partition_epoch()?, of.state()?)));
        let committed = committed.map_or("not known".to_owned(), |(version, state)| {
            let leader = state
                .leader
                .map_or("no leader".to_owned(), |leader| format!("{} leads", name(leader)));
            format!(
                "{leader}, epoch {}, isr {} of {}, version {version}",
                state.leader_epoch,
                names(&state.isr),
                names(&state.replicas)
            )
        });
        out.push(row(&self.ghost.name(id), format!("committed: {committed}")));
        out.push(row("  believes", self.role(id)));
        if let Some(leading) = self.ghost.leading(self.node, id).filter(|_| self.is_running()) {
            if let Some((isr, since)) = &leading.pending {
                out.push(more(format!(
                    "asked for isr {} at {}",
                    names(isr),
                    self.look.time(*since)
                )));
            }
            for (broker, progress) in &leading.progress {
                out.push(more(format!(
                    "{} has fetched everything below {}",
                    name(*broker),
                    progress.fetch_offset
                )));
            }
        }
        let watermark =
            log.high_watermark.map_or("not told since its start".to_owned(), |at| at.to_string());
        out.push(row("  log", format!("{}, high watermark {watermark}", log_words(log))));
        out.extend(self.tail(id));
        out
    }

    /// The consumer groups that it coordinates, where the run has any.
    fn groups(&self, who: &Who) -> Vec<String> {
        let has_groups = !self.look.stage.plan.groups().is_empty();
        if !has_groups || !matches!(who, Who::Broker(_)) {
            return Vec::new();
        }
        group_state::coordinated(self.ghost, self.node, self.clients)
    }

    fn role(&self, id: TopicIdPartition) -> String {
        if !self.is_running() {
            return "nothing: its process is down".to_owned();
        }
        match self.ghost.replica(self.node, id).and_then(|replica| replica.role.as_ref()) {
            Some(Role::Leader(leading)) => format!(
                "it leads in epoch {} from offset {}, isr {}, at least {} in sync, version {}",
                leading.epoch,
                leading.start_offset,
                names(&leading.isr),
                leading.min_isr,
                leading.partition_epoch
            ),
            Some(Role::Follower { leader: Some(leader), epoch, partition_epoch, .. }) => {
                format!("it follows {} in epoch {epoch}, version {partition_epoch}", name(*leader))
            }
            Some(Role::Follower { leader: None, epoch, partition_epoch, .. }) => {
                format!("nobody leads in epoch {epoch}, version {partition_epoch}")
            }
            None => "nothing since its start".to_owned(),
        }
    }

    // ── On disk ────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The files of a partition's directory, wherever it lies.
    fn files_in(&self, directory: &str) -> Vec<PathBuf> {
        let is_in =
            |path: &PathBuf| path.parent().is_some_and(|parent| parent.ends_with(directory));
        self.disks.files(self.node).into_iter().filter(is_in).collect()
    }

    fn file(&self, directory: &str, name: &str) -> Option<bytes::Bytes> {
        let found = self.files_in(directory).into_iter().find(|path| path.ends_with(name))?;
        self.disks.cached(self.node, &found, 0)
    }

    /// The end of the log as its files have it: the last batches, with their epochs.
    fn tail(&self, id: TopicIdPartition) -> Vec<String> {
        let directory = self.ghost.name(id);
        let files = self.files_in(&directory);
        let mut segments: Vec<&PathBuf> =
            files.iter().filter(|path| path.extension().is_some_and(|of| of == "log")).collect();
        segments.sort();
        let Some(last) = segments.last() else { return vec![more("on disk: no segment")] };
        let mut batches: Vec<(FileBatch, bool)> = Vec::new();
        let mut trailing = 0;
        for path in &segments {
            let (content, durable) = self.read(path);
            trailing = content.trailing;
            let is_durable = |batch: &FileBatch| {
                durable
                    .batches
                    .iter()
                    .any(|on| (on.position, on.crc) == (batch.position, batch.crc) && on.crc_holds)
            };
            batches.extend(content.batches.iter().map(|batch| (*batch, is_durable(batch))));
        }
        let place = last.parent().unwrap_or(last).display();
        let end = batches.last().map_or(0, |(batch, _)| batch.end_offset);
        let first = batches.first().map_or(0, |(batch, _)| batch.base_offset);
        let trailing = if trailing > 0 {
            format!(", then {trailing} bytes that are no whole batch")
        } else {
            String::new()
        };
        let mut out = vec![more(format!(
            "on disk: {place}, segments: {}, {} batches, {first}..{end}{trailing}",
            segments.len(),
            batches.len()
        ))];
        if let Some(epochs) = self
            .file(&directory, "leader-epoch-checkpoint")
            .and_then(|bytes| read_epoch_checkpoint(&bytes))
        {
            let epochs: Vec<String> =
                epochs.iter().map(|(epoch, from)| format!("{epoch} from {from}")).collect();
            out.push(more(format!("epochs: {}", epochs.join(", "))));
        }
        if batches.is_empty() {
            return out;
        }
        out.push(more(format!(
            "{:>15}  {:>5}  {:<28} {:>6}",
            "offsets", "epoch", "producer", "bytes"
        )));
        let from = batches.len().saturating_sub(BATCHES_MAX);
        out.extend(
            batches[from..].iter().map(|(batch, is_durable)| more(batch_words(batch, *is_durable))),
        );
        out
    }

    /// A segment as a reader would be given it, and as it would be after a loss of power now.
    fn read(&self, path: &Path) -> (FileSegment, FileSegment) {
        let read = |bytes: Option<bytes::Bytes>| {
            let mut segment = FileSegment::default();
            read_segment_on(&mut segment, 0, &bytes.unwrap_or_default());
            segment
        };
        (read(self.disks.cached(self.node, path, 0)), read(self.disks.durable(self.node, path, 0)))
    }
}

/// The smallest epoch.
fn voter_start() -> ottla::types::LeaderEpoch {
    ottla::types::LeaderEpoch::new(0)
}

fn log_words(log: &GhostLog) -> String {
    let open = if log.is_open { "" } else { ", not opened since its start" };
    format!("{}..{}, said to be durable up to {}{open}", log.start, log.end, log.synced_end)
}

fn batch_words(batch: &FileBatch, is_durable: bool) -> String {
    let offsets = format!("{}..{}", batch.base_offset, batch.end_offset);
    let producer = if batch.producer_id < 0 {
        "-".to_owned()
    } else {
        format!("{} epoch {} seq {}", batch.producer_id, batch.producer_epoch, batch.base_sequence)
    };
    let mut notes = Vec::new();
    if !batch.crc_holds {
        notes.push("ROTTEN: the checksum does not hold");
    }
    if !is_durable {
        notes.push("not synced");
    }
    if batch.is_control {
        notes.push("control");
    }
    let notes = notes.join(", ");
    format!("{offsets:>15}  {:>5}  {producer:<28} {:>6}  {notes}", batch.leader_epoch, batch.length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chronicle::Replica;
    use crate::run::run_once;
    use crate::scenario::Scenario;

    /// A broker that dies under load and comes back.
    fn job() -> Job {
        let text = r#"
            claim = "x"
            run-for = "5s"
            [topics.orders]
            partitions = 1
            [workloads.writer]
            kind = "producer"
            topic = "orders"
            rate-per-s = 40
            [[timeline]]
            at = "2s"
            do = "kill"
            target = "brokers(1)"
            [[timeline]]
            at = "3500ms"
            do = "start"
            target = "brokers(1)"
            [[expect]]
            that = "event"
            event = "node.started"
            after = "2s"
            is = ">= 1"
            bites = true
        "#;
        let scenario = Scenario::load("s.toml", text, &[]).unwrap();
        let scenario = Arc::new(scenario);
        Job { scenario, variant: None, seed: 3, is_recording: false, keeps_all: true }
    }

    fn at(millis: u64, target: &str) -> Result<StateAt, String> {
        let until = Span::from_nanos(millis * 1_000_000);
        state_at(&job(), until, &Target::parse(target).unwrap())
    }

    fn rows(state: &StateAt) -> String {
        state.nodes.iter().flat_map(|(_, rows)| rows).map(|row| format!("{row}\n")).collect()
    }

    #[test]
    fn up_to_the_moment_the_run_is_the_one_that_goes_on() {
        let (whole, _) = run_once(&job());
        let chronicle = &whole.stats.chronicle;
        let (id, _) = chronicle.partitions()[0];
        for millis in [700, 1_900, 4_200] {
            let until = Span::from_nanos(millis * 1_000_000);
            let who = Who::Broker(1);
            let of_replica = chronicle.of_replica(&who, id).filter(|(at, _)| *at <= until);
            let ends = of_replica.filter_map(|(_, change)| {
                if let Replica::End(end) = change { Some(end) } else { None }
            });
            let end = ends.last().unwrap();
            let rows = rows(&at(millis, "brokers(1)").unwrap());
            assert!(end.value() > 10, "{end}");
            assert!(rows.contains(&format!("0..{end}, said to be")), "{end} in\n{rows}");
            assert!(rows.contains(&format!("batches, 0..{end}")), "{end} on disk in\n{rows}");
            assert!(rows.contains("believes   it leads in epoch"), "{rows}");
            assert!(rows.contains("leader in epoch") && rows.contains("the active controller"));
        }
    }

    #[test]
    fn a_dead_node_believes_nothing_and_its_disk_is_there() {
        let rows = rows(&at(3_000, "brokers(1)").unwrap());
        for words in
            ["process      is down", "nothing: its process is down", "on disk: /", "offsets"]
        {
            assert!(rows.contains(words), "{words} in\n{rows}");
        }
    }

    #[test]
    fn a_client_says_what_is_pending_and_what_was_acknowledged() {
        let state = at(3_000, "writer/*").unwrap();
        assert_eq!(state.nodes.len(), 1);
        let rows = rows(&state);
        assert!(rows.contains("process      runs") && rows.contains("sent, "), "{rows}");
        assert!(rows.contains("pending      record "), "with its broker dead: {rows}");
        assert!(rows.contains("last acked   record "), "{rows}");
    }

    /// Two clients read in a group of the classic protocol, one in a group of the other.
    fn with_groups() -> Job {
        let text = r#"
            claim = "x"
            run-for = "12s"
            [topics.orders]
            partitions = 3
            [workloads.writer]
            kind = "producer"
            topic = "orders"
            rate-per-s = 20
            [workloads.billing]
            kind = "consumer"
            topic = "orders"
            group = "billing"
            clients = 2
            commit = "after-processing"
            [workloads.audit]
            kind = "consumer"
            topic = "orders"
            group = "audit"
            commit = "after-processing"
            config = { "group.protocol" = "consumer" }
            [[expect]]
            that = "event"
            event = "member.assigned"
            after = "1s"
            is = ">= 1"
            bites = true
        "#;
        let scenario = Arc::new(Scenario::load("s.toml", text, &[]).unwrap());
        Job { scenario, variant: None, seed: 3, is_recording: false, keeps_all: true }
    }

    #[test]
    fn a_coordinator_and_a_member_say_what_there_is_of_their_group() {
        let look = |target: &str| {
            let until = Span::from_secs(11);
            rows(&state_at(&with_groups(), until, &Target::parse(target).unwrap()).unwrap())
        };
        let classic = look("coordinator(group:billing)");
        for words in ["billing, classic: Stable in generation", "client billing/1", "given in"] {
            assert!(classic.contains(words), "{words} in\n{classic}");
        }
        let consumer = look("coordinator(group:audit)");
        for words in ["audit, consumer: Stable in epoch", "client audit/0", "has, and is to have:"]
        {
            assert!(consumer.contains(words), "{words} in\n{consumer}");
        }
        let member = look("billing/0");
        for words in ["billing, coordinated by broker", "listed as", "it is billing/0-", "it has:"]
        {
            assert!(member.contains(words), "{words} in\n{member}");
        }
        assert!(!look("writer/0").contains("group"), "it reads in none");
    }

    #[test]
    fn what_means_nobody_then_and_what_is_after_the_end_are_said() {
        let state = at(90_000, "brokers(1)").unwrap();
        assert!(state.is_end && state.at < Span::from_secs(90));
        assert!(!at(1_000, "brokers(1)").unwrap().is_end);
        assert!(at(1_000, "leader(orders-7)").unwrap_err().contains("orders-7"));
    }
}

//! What is known of consumer groups at a moment, in words: of those that a node coordinates, and of a client that is a member.
//!
//! Who is in a group, and has what, its coordinator said itself. What is committed is true of the group, whoever took it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use ottla::types::{
    CoordinatorTerm, GenerationId, GroupPhase, GroupProtocol, Offset, ShortName, TopicIdPartition,
    TopicPartition,
};

use super::Ghost;
use super::ghost::consumer_groups::{GhostConsumer, GhostConsumers};
use super::ghost::groups::{GhostCoordinator, GhostGroup, GhostMember, GhostOffset};
use crate::history::{Commit, CommitOutcome, History, Membership};
use crate::world::{NodeId, SimTime};

/// So wide is a list at most, where its words allow it.
const WIDTH: usize = 85;

/// A row: its name, and what there is to say.
pub(crate) fn row(name: &str, words: impl Display) -> String {
    format!("{name:<12} {words}").trim_end().to_owned()
}

/// More of the row above.
pub(crate) fn more(words: impl Display) -> String {
    row("", words)
}

/// More of the row above: a list, over as many rows as it takes.
fn listed(head: &str, items: impl Iterator<Item = String>) -> Vec<String> {
    let indent = if head.trim().is_empty() { head.len() + 1 } else { 4 };
    let mut rows = Vec::new();
    let mut words = head.to_owned();
    for (number, item) in items.enumerate() {
        if number > 0 {
            words.push(',');
        }
        if number > 0 && words.chars().count() + item.chars().count() >= WIDTH {
            rows.push(more(std::mem::replace(&mut words, " ".repeat(indent))));
        } else {
            words.push(' ');
        }
        words.push_str(&item);
    }
    rows.push(more(words));
    rows
}

/// Which client is which member of which group.
pub type Clients = BTreeMap<(ShortName, ShortName), Arc<str>>;

/// Which client each member is, as the clients know themselves.
#[must_use]
pub fn clients(history: &History) -> Clients {
    let of = |(client, known): (&Arc<str>, &Membership)| {
        let (member, _, _) = known.seen?;
        Some(((ShortName::of(&known.group), member), Arc::clone(client)))
    };
    history.memberships.iter().filter_map(of).collect()
}

/// The groups that a node coordinates.
#[must_use]
pub fn coordinated(ghost: &Ghost, node: NodeId, clients: &Clients) -> Vec<String> {
    if !ghost.is_running(node) {
        return vec![String::new(), row("groups", "coordinates none: its process is down")];
    }
    let own = ghost.groups().coordinators.iter().filter(|((of, _), _)| *of == node);
    let mut out = Vec::new();
    for ((_, term), coordinator) in own {
        out.extend(Look { ghost, clients, term: *term, coordinator }.coordinator());
    }
    if out.is_empty() {
        return vec![String::new(), row("groups", "it has not said that it coordinates any")];
    }
    out
}

/// A coordinator.
struct Look<'a> {
    ghost: &'a Ghost,
    clients: &'a Clients,
    term: CoordinatorTerm,
    coordinator: &'a GhostCoordinator,
}

impl Look<'_> {
    fn coordinator(&self) -> Vec<String> {
        let CoordinatorTerm { partition, leader_epoch } = self.term;
        let log = format!("__consumer_offsets-{partition} in epoch {leader_epoch}");
        let words = match self.coordinator.loaded {
            Some((_, end)) => format!("coordinates {log}, which it read up to {end}"),
            None => format!("reads {log}, and does not answer yet; so far it has read:"),
        };
        let mut out = vec![String::new(), row("groups", words)];
        out.extend(self.successor().map(more));
        // Of a group that has never had members since then only offsets are known.
        let read = self.coordinator.loaded_offsets.keys().map(|(group, _)| *group);
        let names: BTreeSet<ShortName> =
            self.coordinator.groups.keys().copied().chain(read).collect();
        if names.is_empty() {
            out.push(more("no group of it is known"));
        }
        for name in names {
            out.extend(self.group(name));
        }
        out
    }

    /// Who has followed a coordinator that goes on.
    fn successor(&self) -> Option<String> {
        let mut logs = self.ghost.groups().logs.iter();
        let log = logs.find(|log| log.partition == self.term.partition)?;
        let state = self.ghost.partition(*log)?.state()?;
        let epoch = state.leader_epoch;
        let leader = state.leader.map_or("nobody".to_owned(), |leader| format!("broker {leader}"));
        (epoch > self.term.leader_epoch).then(|| {
            format!("since then {leader} leads it, in epoch {epoch}: this one has not said it ends")
        })
    }

    fn group(&self, name: ShortName) -> Vec<String> {
        let Some(known) = self.coordinator.groups.get(&name) else {
            let mut out = vec![row("group", format!("{name}: no members known, only offsets"))];
            out.extend(self.committed(name));
            return out;
        };
        let mut out = vec![row("group", format!("{name}, {}", self.standing(known)))];
        let mut members: Vec<Vec<String>> =
            known.members.keys().map(|member| self.classic(name, known, *member)).collect();
        let consumers = known.consumers.members.iter();
        members.extend(consumers.map(|(member, of)| self.consumer(name, *member, of)));
        if members.is_empty() {
            out.push(row("  members", "none known"));
        }
        for (number, member) in members.into_iter().enumerate() {
            let label = if number == 0 { "  members" } else { "" };
            out.extend(under(label, member));
        }
        out.extend(self.committed(name));
        out
    }

    /// A group's protocol, state, and generation or epoch.
    fn standing(&self, known: &GhostGroup) -> String {
        if known.is_consumer {
            return format!(
                "{}: {}",
                GroupProtocol::Consumer.name(),
                self.consumers(&known.consumers, known.generation)
            );
        }
        let protocol = GroupProtocol::Classic.name();
        let generation = known.generation;
        let Some(phase) = known.phase else {
            return format!("{protocol}: generation {generation}, nothing said of its state");
        };
        let waits = match phase.phase {
            GroupPhase::PreparingRebalance | GroupPhase::CompletingRebalance => {
                format!(", for {:?} at most", phase.limit)
            }
            GroupPhase::Empty | GroupPhase::Stable => String::new(),
        };
        let assignor = known.assignor.map(|assignor| format!(", assigned by {assignor}"));
        format!(
            "{protocol}: {} in generation {generation} since {}{waits}{}",
            phase.phase.name(),
            self.ghost.clock(phase.since),
            assignor.unwrap_or_default()
        )
    }

    fn consumers(&self, known: &GhostConsumers, generation: GenerationId) -> String {
        let Some(standing) = known.standing else {
            return format!("epoch {generation}, nothing said of its state");
        };
        format!(
            "{} in epoch {} since {}, the assignment is of epoch {}",
            standing.phase.name(),
            standing.epoch,
            self.ghost.clock(standing.since),
            standing.target_epoch
        )
    }

    /// A member's names.
    fn names(&self, group: ShortName, member: ShortName, instance: Option<ShortName>) -> String {
        let client = self.clients.get(&(group, member));
        let client = client.map_or("client not known".to_owned(), |name| format!("client {name}"));
        let instance = instance.map(|name| format!(", static {name}")).unwrap_or_default();
        format!("{member}, {client}{instance}")
    }

    /// A member of a group of the classic protocol.
    fn classic(&self, group: ShortName, known: &GhostGroup, member: ShortName) -> Vec<String> {
        let GhostMember { instance, joined, told } =
            known.members.get(&member).copied().unwrap_or_default();
        let joined = joined.map_or("joined no generation yet".to_owned(), |generation| {
            format!("joined generation {generation}")
        });
        let told = told.map_or("told of no assignment by this coordinator".to_owned(), |told| {
            format!("told its assignment in generation {told}")
        });
        let mut out =
            vec![self.names(group, member, instance), more(format!("  {joined}; {told}"))];
        let given_in = known.given_in;
        let is_owner = |(_, owners): &(_, &BTreeSet<ShortName>)| owners.contains(&member);
        let mut given = known.owners.iter().filter(is_owner).map(|(id, _)| self.ghost.name(*id));
        let words = format!("  given in generation {given_in}:");
        match given.next() {
            Some(first) => out.extend(listed(&words, std::iter::once(first).chain(given))),
            None if known.given.contains_key(&member) => {
                out.push(more(format!("{words} no partition that is known")));
            }
            None => out.push(more("  nothing known of an assignment")),
        }
        out
    }

    /// A member of a group of the consumer protocol.
    fn consumer(&self, group: ShortName, member: ShortName, of: &GhostConsumer) -> Vec<String> {
        let epoch = of.epoch.map_or("in no epoch (new, or static and away)".to_owned(), |epoch| {
            format!("in epoch {epoch}")
        });
        let told = of.told.map_or("told of none by this coordinator".to_owned(), |told| {
            format!("told of epoch {told}")
        });
        let mut out =
            vec![self.names(group, member, of.instance), more(format!("  {epoch}; {told}"))];
        let has: BTreeSet<TopicIdPartition> = of.has.keys().copied().collect();
        let (lost, kept): (Vec<_>, Vec<_>) = of.has.iter().partition(|(_, held)| held.is_given_up);
        let ids = |held: Vec<(&TopicIdPartition, _)>| held.into_iter().map(|(id, _)| *id).collect();
        if lost.is_empty() && has == of.target {
            out.extend(self.partitions("  has, and is to have:", has));
            return out;
        }
        out.extend(self.partitions("  has:", ids(kept)));
        if !lost.is_empty() {
            out.extend(self.partitions("  has, and is to give up:", ids(lost)));
        }
        out.extend(self.partitions("  is to have:", of.target.clone()));
        out
    }

    fn partitions(&self, head: &str, ids: BTreeSet<TopicIdPartition>) -> Vec<String> {
        if ids.is_empty() {
            return vec![more(format!("{head} nothing"))];
        }
        listed(head, ids.into_iter().map(|id| self.ghost.name(id)))
    }

    /// What the group has committed, and what is taken and may be lost.
    fn committed(&self, group: ShortName) -> Vec<String> {
        let offsets = &self.ghost.groups().offsets;
        let read = self.coordinator.loaded_offsets.keys();
        let of_group = offsets.keys().chain(read).filter(|(of, _)| *of == group);
        let ids: BTreeSet<TopicIdPartition> = of_group.map(|(_, id)| *id).collect();
        if ids.is_empty() {
            return vec![row("  committed", "nothing known of any offset")];
        }
        let known = |id: &TopicIdPartition| offsets.get(&(group, *id)).cloned().unwrap_or_default();
        let last = ids.iter().filter_map(|id| Some(known(id).told?.at)).max();
        let last = last.map_or("nobody was told that anything is stored".to_owned(), |at| {
            format!("told last at {}", self.ghost.clock(at))
        });
        let mut out = vec![row("  committed", format!("partitions: {}, {last}", ids.len()))];
        let words = |id: &TopicIdPartition| {
            let known = known(id);
            let read = self.coordinator.loaded_offsets.get(&(group, *id)).copied();
            format!("{} {}{}", self.ghost.name(*id), offset(&known), self.read(&known, read))
        };
        out.extend(listed(" ", ids.iter().map(words)));
        if ids.iter().any(|id| not_durable(&known(id)).is_some()) {
            out.push(more("  (taken: in a coordinator's log; nobody was told that it is stored)"));
        }
        out
    }

    /// What the coordinator read in its log, where that is something else than what was told before its term.
    fn read(&self, known: &GhostOffset, read: Option<Offset>) -> String {
        let told = known.told.map(|told| told.offset);
        let is_of_term = known.told.is_some_and(|told| told.leader_epoch >= self.term.leader_epoch);
        match read {
            _ if is_of_term || told == read => String::new(),
            Some(offset) => format!(" (read: {offset})"),
            None if self.coordinator.loaded.is_some() => " (read: none)".to_owned(),
            None => String::new(),
        }
    }
}

/// Rows of which the first is the words of a row, without a label.
fn under(label: &str, mut rows: Vec<String>) -> Vec<String> {
    if let Some(first) = rows.first_mut() {
        *first = row(label, &*first);
    }
    rows
}

/// How far a group is in a partition: as somebody was told, and as was taken since.
fn offset(known: &GhostOffset) -> String {
    let told = known.told.map_or("nothing".to_owned(), |told| format!("at {}", told.offset));
    not_durable(known).map_or(told.clone(), |(count, last)| {
        let last = last.map_or("a deletion".to_owned(), |offset| offset.to_string());
        let many = if count > 1 { format!("{count}, the last ") } else { String::new() };
        format!("{told} (taken since: {many}{last})")
    })
}

/// How much was taken of which nobody was told, and the last of it; `None` where that changes nothing.
fn not_durable(known: &GhostOffset) -> Option<(usize, Option<Offset>)> {
    let untold = known.untold();
    let last = untold.last()?;
    (last.offset != known.told.map(|told| told.offset)).then_some((untold.len(), last.offset))
}

// ── A member ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A client that reads in a group.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// Its name, as `billing/0`.
    pub client: &'a str,
    /// Its group.
    pub group: &'a str,
    /// Whether its process runs.
    pub runs: bool,
}

/// What a client knows of its group, and its coordinator of it.
#[must_use]
pub fn member(ghost: &Ghost, history: &History, reader: Reader<'_>) -> Vec<String> {
    let group = ShortName::of(reader.group);
    let newest = coordinators_of(ghost, group).max_by_key(|(_, term, _)| term.leader_epoch);
    let clients = clients(history);
    let mut out = vec![String::new()];
    out.push(row(
        "group",
        match newest {
            Some((node, term, _)) => format!(
                "{group}, coordinated by {} in epoch {}",
                broker(ghost, node),
                term.leader_epoch
            ),
            None => format!("{group}, of which no coordinator has spoken"),
        },
    ));
    let membership = history.memberships.get(reader.client);
    let known = newest.and_then(|(.., coordinator)| coordinator.groups.get(&group));
    out.extend(under("  believes", believes(ghost, known, membership, reader.runs)));
    if let (Some((_, term, coordinator)), Some(known)) = (newest, known) {
        let look = Look { ghost, clients: &clients, term, coordinator };
        let seen = membership.and_then(|of| of.seen).map(|(member, ..)| member);
        out.extend(under("  listed as", listed_as(&look, group, known, seen)));
    }
    out.extend(of_its_partitions(ghost, group, membership));
    let mut commits = history.commits.iter().rev();
    let last = commits.find(|commit| &*commit.client == reader.client);
    out.extend(asked(ghost, last));
    out
}

fn coordinators_of(
    ghost: &Ghost,
    group: ShortName,
) -> impl Iterator<Item = (NodeId, CoordinatorTerm, &GhostCoordinator)> {
    let all = ghost.groups().coordinators.iter();
    let of = all.filter(move |(_, known)| known.groups.contains_key(&group));
    of.map(|((node, term), known)| (*node, *term, known))
}

fn broker(ghost: &Ghost, node: NodeId) -> String {
    ghost.broker_of(node).map_or("somebody".to_owned(), |id| format!("broker {id}"))
}

/// A member by its own word.
fn believes(
    ghost: &Ghost,
    known: Option<&GhostGroup>,
    membership: Option<&Membership>,
    runs: bool,
) -> Vec<String> {
    let Some(membership) = membership else {
        return vec!["nothing: it has not begun to read".to_owned()];
    };
    let word = if known.is_some_and(|known| known.is_consumer) { "epoch" } else { "generation" };
    let seen = membership.seen.map_or(format!("it has seen no {word} since its start"), |seen| {
        let (member, generation, at) = seen;
        format!("it is {member}, in {word} {generation} since {}", ghost.clock(at))
    });
    let mut out = if runs {
        vec![seen]
    } else {
        vec!["nothing: its process has ended; before that:".to_owned(), more(seen)]
    };
    let has = membership.partitions.iter().map(ToString::to_string);
    if membership.partitions.is_empty() {
        out.push(more("it has no partitions"));
    } else {
        out.extend(listed("it has:", has));
    }
    out
}

/// A member by its coordinator's word.
fn listed_as(
    look: &Look<'_>,
    group: ShortName,
    known: &GhostGroup,
    member: Option<ShortName>,
) -> Vec<String> {
    let Some(member) = member else { return vec!["not known: it knows no name of its own".into()] };
    if let Some(of) = known.consumers.members.get(&member) {
        return look.consumer(group, member, of);
    }
    if known.members.contains_key(&member) {
        return look.classic(group, known, member);
    }
    vec![format!("nobody: {member} is no member there")]
}

/// What the group has committed of the partitions that a member has.
fn of_its_partitions(
    ghost: &Ghost,
    group: ShortName,
    membership: Option<&Membership>,
) -> Vec<String> {
    let Some(membership) = membership.filter(|of| !of.partitions.is_empty()) else {
        return vec![row("  committed", "nothing of its own: it has no partitions")];
    };
    let words = |partition: &TopicPartition| {
        let name = partition.to_string();
        let mut offsets = ghost.groups().offsets.iter();
        let known = offsets.find(|((of, id), _)| *of == group && ghost.name(*id) == name);
        known.map_or(format!("{name} nothing"), |(_, known)| format!("{name} {}", offset(known)))
    };
    let mut out = vec![row("  committed", "by the group, of what it has:")];
    out.extend(listed(" ", membership.partitions.iter().map(words)));
    out
}

/// The last commit that a member asked for.
fn asked(ghost: &Ghost, last: Option<&Commit>) -> Vec<String> {
    let Some(last) = last else {
        let words = "for no commit, as far as it says (those of enable.auto.commit it does not)";
        return vec![row("  asked", words)];
    };
    let at = |at: Option<SimTime>| at.map_or("?".to_owned(), |at| ghost.clock(at));
    let outcome = match &last.outcome {
        CommitOutcome::Pending => "no answer yet".to_owned(),
        CommitOutcome::Stored => format!("told at {} that it is stored", at(last.done_at)),
        CommitOutcome::Failed { reason, .. } => {
            format!("failed at {}: {reason}", at(last.done_at))
        }
    };
    let since = ghost.clock(last.asked_at);
    let mut out = vec![row("  asked", format!("for a commit at {since}, {outcome}"))];
    out.extend(listed(" ", last.offsets.iter().map(|(of, offset)| format!("{of} at {offset}"))));
    out
}

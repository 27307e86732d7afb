//! What steps ask of the controller: moved replicas, elections, properties, a broker less.

use std::collections::BTreeMap;

use super::admin::{Answer, ConfigOf, Request};
use super::client::partition;
use super::faults::{Doing, SHUTDOWN_PATIENCE, Undo};
use super::node::Member;
use super::reset::Reset;
use crate::event::Who;
use crate::scenario::plan::ResetWay;
use crate::scenario::target::PartitionName;

impl Doing<'_> {
    /// Moves replicas to the brokers that the step names, or away from those that it names.
    pub(super) async fn reassign(
        &self,
        partition: Option<&PartitionName>,
        replicas: &[u32],
        cancel: bool,
    ) -> Result<Option<Undo>, String> {
        let asked =
            partition.cloned().map_or_else(|| self.stage.partition_names(), |one| vec![one]);
        let moves: BTreeMap<PartitionName, Option<Vec<u32>>> = if cancel {
            asked.into_iter().map(|partition| (partition, None)).collect()
        } else if replicas.is_empty() {
            let away: Vec<u32> = self.who().iter().filter_map(broker_of).collect();
            let placed = asked.into_iter().map(|partition| {
                let replicas = self.stage.assignment(&partition);
                (partition, replicas)
            });
            let moved = move_away(placed.collect(), &away, &self.stage.broker_ids())?;
            moved.into_iter().map(|(partition, replicas)| (partition, Some(replicas))).collect()
        } else {
            asked.into_iter().map(|partition| (partition, Some(replicas.to_vec()))).collect()
        };
        if moves.is_empty() {
            return Err("there is nothing to move".into());
        }
        let words: Vec<String> = moves.iter().map(words_of_move).collect();
        self.stage.administer(Request::Reassign(moves.clone())).await?;
        self.tell("fault.started", &words.join(", "));
        for (partition, replicas) in moves {
            if let Some(replicas) = replicas {
                self.stage.assign(partition, replicas);
            }
        }
        Ok(None)
    }

    /// Gives a topic more partitions.
    pub(super) async fn add_partitions(
        &self,
        topic: &str,
        total: u32,
    ) -> Result<Option<Undo>, String> {
        self.stage.administer(Request::AddPartitions { topic: topic.into(), total }).await?;
        self.stage.grow(topic, total);
        self.tell("fault.started", &format!("{topic} has {total}"));
        Ok(None)
    }

    /// Removes what is old in a partition.
    pub(super) async fn delete_records(
        &self,
        partition: &PartitionName,
        before: Option<u64>,
    ) -> Result<Option<Undo>, String> {
        let request = Request::DeleteRecords { partition: partition.clone(), before };
        self.stage.administer(request).await?;
        let to = before.map_or_else(|| "its end".into(), |offset| format!("offset {offset}"));
        self.tell("fault.started", &format!("{partition} up to {to}"));
        Ok(None)
    }

    /// Sets how far a group has read. A refusal is told, and the step is done.
    pub(super) async fn reset_offsets(
        &self,
        group: &str,
        way: &ResetWay,
    ) -> Result<Option<Undo>, String> {
        let topics = self.stage.plan.groups().remove(group).unwrap_or_default();
        let of = |topic: &str| {
            let count = self.stage.partitions_of(topic);
            let of = |index| partition(topic, index);
            (0..count).map(of).collect::<Vec<_>>()
        };
        let partitions = match &way.from_file {
            Some(places) => places.keys().map(|at| partition(&at.topic, at.index)).collect(),
            None => topics.into_iter().flat_map(of).collect(),
        };
        let reset = Reset { group: group.to_owned(), partitions, way: way.clone() };
        match self.stage.administer(Request::Reset(reset)).await? {
            Answer::Done(words) => self.tell("fault.started", &format!("{group}: {words}")),
            Answer::Refused { error, reason } => {
                let note = format!("reset-offsets {group}: {reason}");
                self.stage.record_refused(error, note);
            }
        }
        Ok(None)
    }

    /// Lets the controller elect leaders.
    pub(super) async fn elect(
        &self,
        partition: Option<&PartitionName>,
        is_preferred: bool,
    ) -> Result<Option<Undo>, String> {
        let partitions =
            partition.cloned().map_or_else(|| self.stage.partition_names(), |one| vec![one]);
        self.stage.administer(Request::Elect { partitions, is_preferred }).await?;
        let words = partition.map_or_else(|| "everywhere".into(), ToString::to_string);
        self.tell("fault.started", &words);
        Ok(None)
    }

    /// Changes properties of a topic, or of the step's target.
    pub(super) async fn set_config(
        &self,
        topic: Option<&str>,
        config: &BTreeMap<String, String>,
    ) -> Result<Option<Undo>, String> {
        let of = match topic {
            Some(topic) => ConfigOf::Topic(topic.into()),
            None => ConfigOf::Brokers(self.who().iter().filter_map(broker_of).collect()),
        };
        self.stage.administer(Request::SetConfig { of, config: config.clone() }).await?;
        let set: Vec<String> =
            config.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let words =
            topic.map_or_else(|| set.join(", "), |topic| format!("{topic}: {}", set.join(", ")));
        self.tell("fault.started", &words);
        Ok(None)
    }

    /// Stops brokers in good order and unregisters them.
    pub(super) async fn remove_broker(&self) -> Result<Option<Undo>, String> {
        self.each_must_run(true)?;
        self.tell("fault.started", "");
        for who in self.who() {
            self.stage.forget(who);
            if let Some(node) = self.stage.node(who)
                && !self.stage.cluster.shutdown(node, SHUTDOWN_PATIENCE).await
            {
                return Err(format!("{who} is still running after 90 s"));
            }
            if let Some(id) = broker_of(who) {
                self.stage.administer(Request::Unregister(id)).await?;
            }
        }
        self.stage.check_disks();
        Ok(None)
    }
}

impl Doing<'_> {
    /// Unregisters brokers that go on running: each learns it from the answer to its next heartbeat, and registers anew.
    pub(super) async fn unregister_broker(&self) -> Result<Option<Undo>, String> {
        self.each_must_run(true)?;
        for who in self.who() {
            if let Some(id) = broker_of(who) {
                self.stage.administer(Request::Unregister(id)).await?;
            }
        }
        self.tell("fault.started", "");
        Ok(None)
    }
}

fn broker_of(who: &Who) -> Option<u32> {
    match Member::of(who)? {
        Member::Broker(id) => Some(id),
        Member::Controller(_) => None,
    }
}

fn words_of_move((partition, replicas): (&PartitionName, &Option<Vec<u32>>)) -> String {
    match replicas {
        Some(replicas) => {
            let ids: Vec<String> = replicas.iter().map(ToString::to_string).collect();
            format!("{partition} to {}", ids.join(" "))
        }
        None => format!("{partition} not at all"),
    }
}

/// The replicas of the partitions that lie on brokers of `away`, with each of these replaced by the broker of `live` that holds
/// the fewest replicas and none of the partition.
///
/// Errors: a partition for which there is no such broker.
fn move_away(
    placed: BTreeMap<PartitionName, Vec<u32>>,
    away: &[u32],
    live: &[u32],
) -> Result<BTreeMap<PartitionName, Vec<u32>>, String> {
    let mut load: BTreeMap<u32, usize> =
        live.iter().filter(|id| !away.contains(id)).map(|id| (*id, 0)).collect();
    for id in placed.values().flatten() {
        if let Some(count) = load.get_mut(id) {
            *count += 1;
        }
    }
    let mut moved = BTreeMap::new();
    for (partition, mut replicas) in placed {
        if !replicas.iter().any(|id| away.contains(id)) {
            continue;
        }
        for at in 0..replicas.len() {
            if !away.contains(&replicas[at]) {
                continue;
            }
            let free = load.iter().filter(|(id, _)| !replicas.contains(id));
            let to = free.min_by_key(|(id, count)| (**count, **id)).map(|(id, _)| *id);
            let to = to.ok_or_else(|| format!("no broker is left to take {partition}"))?;
            replicas[at] = to;
            *load.entry(to).or_default() += 1;
        }
        moved.insert(partition, replicas);
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(index: u32) -> PartitionName {
        PartitionName { topic: "orders".into(), index }
    }

    #[test]
    fn replicas_move_to_who_holds_the_fewest_and_keep_their_place() {
        let placed: BTreeMap<_, _> = [
            (partition(0), vec![4, 1, 2]),
            (partition(1), vec![1, 4, 2]),
            (partition(2), vec![1, 2, 5]),
        ]
        .into();
        let moved = move_away(placed.clone(), &[4], &[1, 2, 3, 4, 5]).unwrap();
        let expected: BTreeMap<_, _> =
            [(partition(0), vec![3, 1, 2]), (partition(1), vec![1, 3, 2])].into();
        assert_eq!(moved, expected);
        assert!(move_away(placed, &[3, 4, 5], &[1, 2, 3, 4, 5]).is_err());
    }
}

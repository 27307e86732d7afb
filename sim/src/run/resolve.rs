//! Who a target means at the moment a step fires.

use std::collections::BTreeMap;

use ottla::types::{BrokerSet, TopicIdPartition};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::groups::{self, OFFSETS_TOPIC};
use super::node::Member;
use super::stage::Stage;
use crate::event::Who;
use crate::scenario::draw::rng_of;
use crate::scenario::target::{Group, PartitionName, Target};

impl Stage {
    /// Who a target means now, in the order of their names. What the seed draws is drawn by the target's place in the file.
    ///
    /// Errors: why it means nobody.
    pub(super) fn resolve(&self, target: &Target, pointer: &str) -> Result<Vec<Who>, String> {
        self.resolve_by(target, &mut rng_of(self.world().seed(), pointer))
    }

    /// [`Stage::resolve`] with draws of the caller's.
    ///
    /// Errors: why it means nobody.
    pub(super) fn resolve_by(&self, target: &Target, rng: &mut StdRng) -> Result<Vec<Who>, String> {
        let found = match target {
            Target::Broker(id) => vec![Who::Broker(*id)],
            Target::ControllerNumber(number) => self.voter(*number).into_iter().collect(),
            Target::All(group) => self.group(*group),
            Target::Random(group) => {
                let group = self.group(*group);
                let at = rng.random_range(0..group.len().max(1));
                group.get(at).cloned().into_iter().collect()
            }
            Target::Minority(group) => {
                let mut group = self.group(*group);
                group.shuffle(rng);
                group.truncate(group.len().saturating_sub(1) / 2);
                group.sort();
                group
            }
            Target::Controller => {
                let controller = self.ears.views().controller().cloned();
                vec![controller.ok_or("no node is the active controller")?]
            }
            Target::Coordinator(group) => vec![self.leader(&self.offsets_partition(group)?)?],
            Target::Leader(partition) => vec![self.leader(partition)?],
            Target::Follower(partition, number) => {
                let followers = self.followers(partition)?;
                let at = (*number as usize).saturating_sub(1);
                followers.get(at).cloned().into_iter().collect()
            }
            Target::Followers(partition) => self.followers(partition)?,
            Target::Replicas(partition) => self.replicas(partition)?,
            Target::Isr(partition) => who_of(&self.isr(partition)?),
            Target::Osr(partition) => {
                let isr = who_of(&self.isr(partition)?);
                self.replicas(partition)?.into_iter().filter(|who| !isr.contains(who)).collect()
            }
            Target::Preferred(partition) => {
                self.replicas(partition)?.first().cloned().into_iter().collect()
            }
            Target::Client { workload, index } => {
                vec![Who::Client { workload: workload.as_str().into(), index: *index }]
            }
            Target::Clients { workload } => self.clients_of(|name| name == workload),
            Target::AllClients => self.clients_of(|_| true),
            Target::Saved(name) => {
                self.saved(name).ok_or_else(|| format!("no step has saved `{name}` yet"))?
            }
        };
        match found.iter().find(|who| self.node(who).is_none()) {
            Some(nobody) => Err(format!("{nobody} is not there")),
            None if found.is_empty() => Err(format!("{target} means nobody now")),
            None => Ok(found),
        }
    }

    /// Everybody of a group who belongs to the cluster now.
    pub(super) fn group(&self, group: Group) -> Vec<Who> {
        let voters = Member::voters(&self.plan);
        let is_of = |member: &Member| match group {
            Group::Brokers => matches!(member, Member::Broker(_)),
            Group::Controllers => voters.contains(member),
            Group::Nodes => true,
        };
        self.present().into_iter().filter(is_of).map(Member::who).collect()
    }

    fn voter(&self, number: u32) -> Option<Who> {
        let index = number.checked_sub(1)? as usize;
        Member::voters(&self.plan).get(index).map(|member| member.who())
    }

    fn leader(&self, partition: &PartitionName) -> Result<Who, String> {
        let id = self.partition_id(partition);
        let id = id.ok_or_else(|| format!("there is no topic {}", partition.topic))?;
        let leader = self.ears.views().partition(id).and_then(|view| view.leader);
        let leader = leader.ok_or_else(|| format!("{partition} has no leader"))?;
        Ok(Member::of_id(leader.value().unsigned_abs()).who())
    }

    /// The partition of the offsets topic that a group belongs to.
    fn offsets_partition(&self, group: &str) -> Result<PartitionName, String> {
        let partitions = self.offsets_partitions();
        let index = groups::hash_of(group).checked_rem(partitions);
        let index = index.ok_or_else(|| format!("there is no topic {OFFSETS_TOPIC}"))?;
        Ok(PartitionName { topic: OFFSETS_TOPIC.into(), index })
    }

    fn followers(&self, partition: &PartitionName) -> Result<Vec<Who>, String> {
        let leader = self.leader(partition).ok();
        let replicas = self.replicas(partition)?.into_iter();
        Ok(replicas.filter(|who| Some(who) != leader.as_ref()).collect())
    }

    /// The replicas of a partition, the preferred leader first.
    fn replicas(&self, partition: &PartitionName) -> Result<Vec<Who>, String> {
        let asked = self.assignment(partition);
        let id = self.partition_id(partition);
        let id = id.ok_or_else(|| format!("there is no topic {}", partition.topic))?;
        let known = self.ears.views().partition(id).map(|view| view.replicas);
        let known: Vec<u32> = known.iter().flat_map(ids_of).collect();
        if known.is_empty() {
            // Nobody has said anything yet: it is as it was asked for.
            return Ok(asked.into_iter().map(Who::Broker).collect());
        }
        let (mut replicas, others): (Vec<u32>, Vec<u32>) = (
            asked.iter().copied().filter(|id| known.contains(id)).collect(),
            known.iter().copied().filter(|id| !asked.contains(id)).collect(),
        );
        replicas.extend(others);
        Ok(replicas.into_iter().map(Who::Broker).collect())
    }

    fn isr(&self, partition: &PartitionName) -> Result<BrokerSet, String> {
        let id = self.partition_id(partition);
        let id = id.ok_or_else(|| format!("there is no topic {}", partition.topic))?;
        let isr = self.ears.views().partition(id).map(|view| view.isr);
        isr.ok_or_else(|| format!("nobody has said who is in sync of {partition}"))
    }

    /// The partition that a file names.
    pub(super) fn partition_id(&self, partition: &PartitionName) -> Option<TopicIdPartition> {
        let topic_id = self.topic_id(&partition.topic)?;
        let index = super::client::partition(&partition.topic, partition.index).partition;
        Some(TopicIdPartition { topic_id, partition: index })
    }

    /// Every partition of every topic.
    pub(super) fn partition_names(&self) -> Vec<PartitionName> {
        let topics = self.plan.topics.iter();
        let of = |(name, partitions): (&String, u32)| -> Vec<PartitionName> {
            (0..partitions).map(|index| PartitionName { topic: name.clone(), index }).collect()
        };
        topics.flat_map(|(name, _)| of((name, self.partitions_of(name)))).collect()
    }

    /// Who is to lead each partition when all is well.
    pub(super) fn preferred_leaders(&self) -> BTreeMap<PartitionName, Who> {
        let names = self.partition_names().into_iter();
        let first = |name: &PartitionName| self.replicas(name).ok()?.into_iter().next();
        names.filter_map(|name| Some((name.clone(), first(&name)?))).collect()
    }
}

fn ids_of(set: &BrokerSet) -> Vec<u32> {
    set.iter().map(|id| id.value().unsigned_abs()).collect()
}

fn who_of(set: &BrokerSet) -> Vec<Who> {
    ids_of(set).into_iter().map(|id| Member::of_id(id).who()).collect()
}

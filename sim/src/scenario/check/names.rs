//! Names: nodes, clients, partitions and saved targets that exist.

use super::Check;
use crate::scenario::error::suggest;
use crate::scenario::plan::Action;
use crate::scenario::target::{Group, PartitionName, Target};

impl Check<'_> {
    pub(super) fn target(&mut self, at: &str, target: &Target, step: Option<usize>) {
        match target {
            Target::Broker(id) => {
                let brokers = self.plan.brokers_ever();
                if !(1..=brokers).contains(id) {
                    self.refuse(
                        at,
                        format!("there is no broker {id}"),
                        Some(if brokers == 1 {
                            "the only one is 1".into()
                        } else {
                            format!("ids are 1 to {brokers}")
                        }),
                    );
                }
            }
            Target::ControllerNumber(number) => {
                let voters = self.plan.cluster.voters();
                if !(1..=voters).contains(number) {
                    let help = format!("the quorum has {voters}, from 1");
                    self.refuse(at, format!("there is no voter {number}"), Some(help));
                }
            }
            Target::Leader(partition)
            | Target::Followers(partition)
            | Target::Replicas(partition)
            | Target::Isr(partition)
            | Target::Osr(partition)
            | Target::Preferred(partition) => self.partition(at, partition),
            Target::Follower(partition, number) => {
                self.partition(at, partition);
                let copies = self.plan.topics.get(&partition.topic).map_or(u32::MAX, |topic| {
                    let listed = topic.assignment.first().map(Vec::len);
                    let copies = self.plan.replication_factor(topic).into();
                    listed.and_then(|count| u32::try_from(count).ok()).unwrap_or(copies)
                });
                if *number >= copies {
                    let what = format!("{copies} copies have no follower {number}");
                    self.refuse(at, what, None);
                }
            }
            Target::Minority(group) => {
                let cluster = &self.plan.cluster;
                let of = match group {
                    Group::Brokers => cluster.brokers,
                    Group::Controllers => cluster.voters(),
                    Group::Nodes => cluster.brokers + cluster.controllers_apart(),
                };
                if of < 3 {
                    self.refuse(at, format!("of {of} {group} nobody is a minority"), None);
                }
            }
            Target::Client { workload, index } => {
                self.workload(at, workload);
                let started = self.clients_of(workload);
                if self.plan.workloads.contains_key(workload) && *index >= started {
                    let what = format!("there is no client `{workload}/{index}`");
                    self.refuse(at, what, Some(format!("`{workload}` has {started}, from 0")));
                }
            }
            Target::Clients { workload } => self.workload(at, workload),
            Target::Saved(name) => self.saved(at, name, step),
            Target::Coordinator(group) => self.group(at, group),
            Target::All(_) | Target::Controller | Target::Random(_) | Target::AllClients => {}
        }
    }

    fn saved(&mut self, at: &str, name: &str, step: Option<usize>) {
        let others =
            self.plan.timeline.iter().enumerate().filter(|(index, _)| Some(*index) != step);
        let names: Vec<&str> = others.filter_map(|(_, step)| step.save_as.as_deref()).collect();
        if !names.contains(&name) {
            let help =
                suggest(name, names).map(|help| help.replace('`', "").replace("mean ", "mean $"));
            self.refuse(at, format!("no other step saves its target as `{name}`"), help);
        }
    }

    pub(super) fn one_node(&mut self, at: &str, target: &Target) {
        match target {
            Target::Broker(_) | Target::ControllerNumber(_) | Target::Client { .. } => {
                self.target(at, target, None);
            }
            Target::All(_)
            | Target::Controller
            | Target::Coordinator(_)
            | Target::Leader(_)
            | Target::Follower(..)
            | Target::Followers(_)
            | Target::Replicas(_)
            | Target::Isr(_)
            | Target::Osr(_)
            | Target::Preferred(_)
            | Target::Random(_)
            | Target::Minority(_)
            | Target::Clients { .. }
            | Target::AllClients
            | Target::Saved(_) => self.refuse(
                at,
                format!("`{target}` does not name one node: write `brokers(1)` or `writer/0`"),
                None,
            ),
        }
    }

    fn clients_of(&self, workload: &str) -> u32 {
        let added = self.plan.timeline.iter().filter(|step| {
            matches!(&step.action, Action::AddClient { workload: added } if added == workload)
        });
        let added = u32::try_from(added.count()).unwrap_or(u32::MAX);
        self.plan.workloads.get(workload).map_or(0, |plan| plan.clients.saturating_add(added))
    }

    pub(super) fn workload(&mut self, at: &str, name: &str) {
        if !self.plan.workloads.contains_key(name) {
            let help = suggest(name, self.plan.workloads.keys().map(String::as_str));
            self.refuse(at, format!("there is no workload `{name}`"), help);
        }
    }

    pub(super) fn group(&mut self, at: &str, name: &str) {
        let groups = self.plan.groups();
        if !groups.contains_key(name) {
            let help = suggest(name, groups.keys().copied());
            self.refuse(at, format!("there is no consumer group `{name}`"), help);
        }
    }

    pub(super) fn partition(&mut self, at: &str, partition: &PartitionName) {
        match self.plan.topics.get(&partition.topic) {
            None => {
                let help = suggest(&partition.topic, self.plan.topics.keys().map(String::as_str));
                self.refuse(at, format!("there is no topic `{}`", partition.topic), help);
            }
            Some(_) if partition.index >= self.plan.partitions_ever(&partition.topic) => {
                let partitions = self.plan.partitions_ever(&partition.topic);
                let help = format!("`{}` has {partitions}, from 0", partition.topic);
                self.refuse(at, format!("there is no partition `{partition}`"), Some(help));
            }
            Some(_) => {}
        }
    }
}

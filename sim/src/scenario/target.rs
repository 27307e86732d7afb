//! Who a step is done to, in words: resolved to nodes or clients when the step fires.

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::error::suggest;

/// A partition as files write it: `orders-0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionName {
    /// The topic's name.
    pub topic: String,
    /// Which partition of it.
    pub index: u32,
}

impl PartitionName {
    /// Reads `topic-index`; the topic may hold dashes itself.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, index) = text.rsplit_once('-')?;
        let index = index.parse().ok()?;
        (!topic.is_empty()).then(|| Self { topic: topic.into(), index })
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

impl<'de> Deserialize<'de> for PartitionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a partition"))
    }
}

/// The forms of targets, for messages and `explain`.
pub const FORMS: &[(&str, &str)] = &[
    ("brokers(1)", "The broker with this id. Ids count from 1."),
    ("brokers(*)", "Every broker."),
    ("controllers(1)", "The voter of the metadata quorum with this number, from 1."),
    ("controllers(*)", "Every voter of the metadata quorum."),
    ("nodes(*)", "Every broker and every voter."),
    ("controller(active)", "The node that is the active controller when the step fires."),
    (
        "coordinator(group:readers)",
        "The broker that coordinates this consumer group when the step fires.",
    ),
    ("leader(orders-0)", "The broker that leads this partition when the step fires."),
    (
        "follower(orders-0, 1)",
        "A follower of this partition, in the order of the replicas, from 1; a dead one is one too.",
    ),
    ("followers(orders-0)", "All replicas of this partition but its leader."),
    ("replicas(orders-0)", "All replicas of this partition."),
    ("isr(orders-0)", "The members of this partition's ISR, as the controller last committed it."),
    ("osr(orders-0)", "The replicas of this partition that are not in its ISR."),
    ("preferred(orders-0)", "The first replica of this partition."),
    ("random(brokers)", "A broker that the seed draws; or one of `controllers` or `nodes`."),
    (
        "minority(brokers)",
        "Fewer than half of the brokers, or of `controllers` or `nodes`, that the seed draws; as many as can be.",
    ),
    ("writer/0", "A client of the workload `writer`. Clients count from 0."),
    ("writer/*", "Every client of the workload `writer`."),
    ("clients(*)", "Every client of every workload."),
    ("$victim", "What an earlier step resolved to and kept with `save-as = \"victim\"`."),
    ("$event", "Whom the event of this step's `when` happened to."),
];

/// A group of nodes that some are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The brokers.
    Brokers,
    /// The voters of the metadata quorum.
    Controllers,
    /// Both.
    Nodes,
}

impl Group {
    /// All, with the words that files have for them.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Brokers, "brokers"), (Self::Controllers, "controllers"), (Self::Nodes, "nodes")];

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, word)| *word == text).map(|(group, _)| *group)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(group, _)| group == self);
        f.write_str(word.expect("every group has a word").1)
    }
}

/// Who a step is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The broker with this id.
    Broker(u32),
    /// The voter with this number.
    ControllerNumber(u32),
    /// Everybody of a group.
    All(Group),
    /// The active controller.
    Controller,
    /// The coordinator of a consumer group.
    Coordinator(String),
    /// The leader of a partition.
    Leader(PartitionName),
    /// A follower of a partition, from 1.
    Follower(PartitionName, u32),
    /// The followers of a partition.
    Followers(PartitionName),
    /// The replicas of a partition.
    Replicas(PartitionName),
    /// The ISR of a partition.
    Isr(PartitionName),
    /// The replicas of a partition that are not in its ISR.
    Osr(PartitionName),
    /// The first replica of a partition.
    Preferred(PartitionName),
    /// One of a group that the seed draws.
    Random(Group),
    /// Fewer than half of a group, that the seed draws.
    Minority(Group),
    /// One client of a workload.
    Client {
        /// The workload.
        workload: String,
        /// Which of its clients.
        index: u32,
    },
    /// All clients of a workload.
    Clients {
        /// The workload.
        workload: String,
    },
    /// All clients.
    AllClients,
    /// What an earlier step kept under this name.
    Saved(String),
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoTarget {
    /// What is wrong.
    pub what: String,
    /// What would have been right.
    pub help: Option<String>,
}

impl Target {
    /// Reads one of [`FORMS`].
    pub fn parse(text: &str) -> Result<Self, NoTarget> {
        let refuse = |what: String, help: Option<&str>| {
            Err(NoTarget { what, help: help.map(str::to_string) })
        };
        if let Some(name) = text.strip_prefix('$').filter(|name| !name.is_empty()) {
            return Ok(Self::Saved(name.into()));
        }
        if let Some((workload, client)) = text.split_once('/') {
            if client == "*" {
                return Ok(Self::Clients { workload: workload.into() });
            }
            return match client.parse() {
                Ok(index) => Ok(Self::Client { workload: workload.into(), index }),
                Err(_) => refuse(
                    format!("`{client}` is not the number of a client"),
                    Some("write `writer/0` or `writer/*`"),
                ),
            };
        }
        let Some((word, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('('))
        else {
            let known = FORMS.iter().map(|(form, _)| *form);
            let help = suggest(text, known.clone())
                .unwrap_or_else(|| format!("known are {}", known.collect::<Vec<_>>().join(", ")));
            return refuse(format!("`{text}` is not a target"), Some(&help));
        };
        Self::parse_call(text, word, inner)
    }

    fn parse_call(text: &str, word: &str, inner: &str) -> Result<Self, NoTarget> {
        let refuse = |what: String, help: Option<String>| Err(NoTarget { what, help });
        let partition = || {
            PartitionName::parse(inner).ok_or_else(|| NoTarget {
                what: format!("`{inner}` is not a partition"),
                help: Some("write the topic and the index: `orders-0`".into()),
            })
        };
        let number = || {
            inner.parse().map_err(|_| NoTarget {
                what: format!("`{inner}` is not the number of a voter"),
                help: Some("write `controllers(1)` or `controllers(*)`".into()),
            })
        };
        let group = || {
            Group::parse(inner).ok_or_else(|| NoTarget {
                what: format!("`{text}` is not a target"),
                help: Some(format!(
                    "write `{word}(brokers)`, `{word}(controllers)` or `{word}(nodes)`"
                )),
            })
        };
        match word {
            "brokers" if inner == "*" => Ok(Self::All(Group::Brokers)),
            "brokers" => match inner.parse() {
                Ok(id) => Ok(Self::Broker(id)),
                Err(_) => refuse(
                    format!("`{inner}` is not the id of a broker"),
                    Some("write `brokers(1)` or `brokers(*)`".into()),
                ),
            },
            "controllers" if inner == "*" => Ok(Self::All(Group::Controllers)),
            "controllers" => number().map(Self::ControllerNumber),
            "nodes" if inner == "*" => Ok(Self::All(Group::Nodes)),
            "clients" if inner == "*" => Ok(Self::AllClients),
            "controller" if inner == "active" => Ok(Self::Controller),
            "controller" => refuse(
                format!("`{text}` is not a target"),
                Some("write `controller(active)`".into()),
            ),
            "nodes" | "clients" => {
                refuse(format!("`{text}` is not a target"), Some(format!("write `{word}(*)`")))
            }
            "coordinator" => match inner.strip_prefix("group:").filter(|group| !group.is_empty()) {
                Some(group) => Ok(Self::Coordinator(group.into())),
                None => refuse(
                    format!("`{text}` is not a target"),
                    Some("write `coordinator(group:readers)`".into()),
                ),
            },
            "leader" => partition().map(Self::Leader),
            "follower" => match parse_follower(inner) {
                Some((partition, number)) => Ok(Self::Follower(partition, number)),
                None => refuse(
                    format!("`{inner}` is not a follower"),
                    Some("write the partition and the number: `follower(orders-0, 1)`".into()),
                ),
            },
            "followers" => partition().map(Self::Followers),
            "replicas" => partition().map(Self::Replicas),
            "isr" => partition().map(Self::Isr),
            "osr" => partition().map(Self::Osr),
            "preferred" => partition().map(Self::Preferred),
            "random" => group().map(Self::Random),
            "minority" => group().map(Self::Minority),
            _ => refuse(format!("`{word}` is not a kind of target"), suggest(word, KINDS)),
        }
    }

    /// The partition that it is about.
    #[must_use]
    pub fn partition(&self) -> Option<&PartitionName> {
        match self {
            Self::Leader(partition)
            | Self::Follower(partition, _)
            | Self::Followers(partition)
            | Self::Replicas(partition)
            | Self::Isr(partition)
            | Self::Osr(partition)
            | Self::Preferred(partition) => Some(partition),
            Self::Broker(_)
            | Self::ControllerNumber(_)
            | Self::All(_)
            | Self::Controller
            | Self::Coordinator(_)
            | Self::Random(_)
            | Self::Minority(_)
            | Self::Client { .. }
            | Self::Clients { .. }
            | Self::AllClients
            | Self::Saved(_) => None,
        }
    }

    /// Whether it can only ever be clients.
    #[must_use]
    pub fn is_client(&self) -> bool {
        matches!(self, Self::Client { .. } | Self::Clients { .. } | Self::AllClients)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(id) => write!(f, "brokers({id})"),
            Self::ControllerNumber(number) => write!(f, "controllers({number})"),
            Self::All(group) => write!(f, "{group}(*)"),
            Self::Controller => f.write_str("controller(active)"),
            Self::Coordinator(group) => write!(f, "coordinator(group:{group})"),
            Self::Leader(partition) => write!(f, "leader({partition})"),
            Self::Follower(partition, number) => write!(f, "follower({partition}, {number})"),
            Self::Followers(partition) => write!(f, "followers({partition})"),
            Self::Replicas(partition) => write!(f, "replicas({partition})"),
            Self::Isr(partition) => write!(f, "isr({partition})"),
            Self::Osr(partition) => write!(f, "osr({partition})"),
            Self::Preferred(partition) => write!(f, "preferred({partition})"),
            Self::Random(group) => write!(f, "random({group})"),
            Self::Minority(group) => write!(f, "minority({group})"),
            Self::Client { workload, index } => write!(f, "{workload}/{index}"),
            Self::Clients { workload } => write!(f, "{workload}/*"),
            Self::AllClients => f.write_str("clients(*)"),
            Self::Saved(name) => write!(f, "${name}"),
        }
    }
}

/// The words before the parenthesis.
pub const KINDS: [&str; 15] = [
    "brokers",
    "clients",
    "controller",
    "controllers",
    "coordinator",
    "follower",
    "followers",
    "isr",
    "leader",
    "minority",
    "nodes",
    "osr",
    "preferred",
    "random",
    "replicas",
];

/// `orders-0, 1`.
fn parse_follower(inner: &str) -> Option<(PartitionName, u32)> {
    let (partition, number) = inner.rsplit_once(',')?;
    let number = number.trim().parse().ok().filter(|number| *number > 0)?;
    Some((PartitionName::parse(partition.trim())?, number))
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|refusal| serde::de::Error::custom(refusal.what))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(input: &[&str], expected: Expect) {
        let show = |text: &&str| match Target::parse(text) {
            Ok(target) => {
                assert_eq!(target.to_string(), *text, "a target prints as it is written");
                format!("{target:?}\n")
            }
            Err(NoTarget { what, help }) => format!("{what}: {}\n", help.unwrap_or_default()),
        };
        expected.assert_eq(&input.iter().map(show).collect::<String>());
    }

    #[test]
    fn every_form_reads_and_prints() {
        for (form, _) in FORMS {
            assert_eq!(Target::parse(form).unwrap().to_string(), *form);
        }
        check(
            &["leader(my-topic-12)"],
            expect![[r#"
            Leader(PartitionName { topic: "my-topic", index: 12 })
        "#]],
        );
    }

    #[test]
    fn other_texts_are_refused_with_what_would_be_right() {
        check(
            &[
                "leder(orders-0)",
                "leader(orders)",
                "brokers(x)",
                "broker",
                "writer/x",
                "controller(1)",
                "coordinator(readers)",
                "",
            ],
            expect![[r#"
                `leder` is not a kind of target: did you mean `leader`?
                `orders` is not a partition: write the topic and the index: `orders-0`
                `x` is not the id of a broker: write `brokers(1)` or `brokers(*)`
                `broker` is not a target: did you mean `brokers(*)`?
                `x` is not the number of a client: write `writer/0` or `writer/*`
                `controller(1)` is not a target: write `controller(active)`
                `coordinator(readers)` is not a target: write `coordinator(group:readers)`
                `` is not a target: known are brokers(1), brokers(*), controllers(1), controllers(*), nodes(*), controller(active), coordinator(group:readers), leader(orders-0), follower(orders-0, 1), followers(orders-0), replicas(orders-0), isr(orders-0), osr(orders-0), preferred(orders-0), random(brokers), minority(brokers), writer/0, writer/*, clients(*), $victim, $event
            "#]],
        );
    }
}

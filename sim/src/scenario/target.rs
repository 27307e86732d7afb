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
    ("controller(active)", "The node that is the active controller when the step fires."),
    ("leader(orders-0)", "The broker that leads this partition when the step fires."),
    ("preferred(orders-0)", "The first replica of this partition."),
    ("random(brokers)", "A broker that the seed draws."),
    ("writer/0", "A client of the workload `writer`. Clients count from 0."),
    ("writer/*", "Every client of the workload `writer`."),
    ("$victim", "What an earlier step resolved to and kept with `save-as = \"victim\"`."),
];

/// Who a step is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The broker with this id.
    Broker(u32),
    /// Every broker.
    Brokers,
    /// The active controller.
    Controller,
    /// The leader of a partition.
    Leader(PartitionName),
    /// The first replica of a partition.
    Preferred(PartitionName),
    /// A broker that the seed draws.
    RandomBroker,
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
        match word {
            "brokers" if inner == "*" => Ok(Self::Brokers),
            "brokers" => match inner.parse() {
                Ok(id) => Ok(Self::Broker(id)),
                Err(_) => refuse(
                    format!("`{inner}` is not the id of a broker"),
                    Some("write `brokers(1)` or `brokers(*)`".into()),
                ),
            },
            "controller" if inner == "active" => Ok(Self::Controller),
            "controller" => refuse(
                format!("`{text}` is not a target"),
                Some("write `controller(active)`".into()),
            ),
            "leader" => partition().map(Self::Leader),
            "preferred" => partition().map(Self::Preferred),
            "random" if inner == "brokers" => Ok(Self::RandomBroker),
            "random" => {
                refuse(format!("`{text}` is not a target"), Some("write `random(brokers)`".into()))
            }
            _ => refuse(
                format!("`{word}` is not a kind of target"),
                suggest(word, ["brokers", "controller", "leader", "preferred", "random"]),
            ),
        }
    }

    /// Whether it can only ever be clients.
    #[must_use]
    pub fn is_client(&self) -> bool {
        matches!(self, Self::Client { .. } | Self::Clients { .. })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(id) => write!(f, "brokers({id})"),
            Self::Brokers => f.write_str("brokers(*)"),
            Self::Controller => f.write_str("controller(active)"),
            Self::Leader(partition) => write!(f, "leader({partition})"),
            Self::Preferred(partition) => write!(f, "preferred({partition})"),
            Self::RandomBroker => f.write_str("random(brokers)"),
            Self::Client { workload, index } => write!(f, "{workload}/{index}"),
            Self::Clients { workload } => write!(f, "{workload}/*"),
            Self::Saved(name) => write!(f, "${name}"),
        }
    }
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
                "",
            ],
            expect![[r#"
                `leder` is not a kind of target: did you mean `leader`?
                `orders` is not a partition: write the topic and the index: `orders-0`
                `x` is not the id of a broker: write `brokers(1)` or `brokers(*)`
                `broker` is not a target: did you mean `brokers(*)`?
                `x` is not the number of a client: write `writer/0` or `writer/*`
                `controller(1)` is not a target: write `controller(active)`
                `` is not a target: known are brokers(1), brokers(*), controller(active), leader(orders-0), preferred(orders-0), random(brokers), writer/0, writer/*, $victim
            "#]],
        );
    }
}

//! Clients' properties, in Kafka's names: typed once, unknown names refused with the nearest known one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::rpc::network_client::NetworkClientConfig;
use crate::rpc::{Backoff, Endpoint};

/// A property that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such property.
    #[error("unknown property {name}{}", nearest.as_deref().map(|n| format!(": did you mean {n}?")).unwrap_or_default())]
    Unknown {
        /// What was written.
        name: String,
        /// The known name that is written most like it.
        nearest: Option<String>,
    },
    /// A property that Kafka had once.
    #[error("{name} is gone from Kafka's clients: use {instead}")]
    Removed {
        /// What was written.
        name: String,
        /// What does its work today.
        instead: &'static str,
    },
    /// Kafka knows the property, this client does not serve it yet.
    #[error("{name} is not served by this client yet")]
    NotServed {
        /// What was written.
        name: String,
    },
    /// The value is not one that the property takes.
    #[error("{name}={value}: {expected}{}", nearest.as_deref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    Value {
        /// The property.
        name: String,
        /// What was written.
        value: String,
        /// What it takes.
        expected: String,
        /// The known word that is written most like it, for properties that take words.
        nearest: Option<String>,
    },
    /// A property without default is missing.
    #[error("{name} must be set")]
    Missing {
        /// The property.
        name: String,
    },
    /// Two properties exclude each other.
    #[error("{0}")]
    Combination(String),
}

/// How many edits may lie between a written word and the known one that is proposed for it.
const EDITS_MAX: usize = 4;

/// The word of `known` that is written most like `word`, if any is near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= EDITS_MAX.min(candidate.len() / 2))
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// The names a kind of client knows.
pub(crate) struct Names {
    /// Read by the client.
    pub(crate) served: &'static [&'static str],
    /// Accepted without effect: they concern something this client does not have, and harm nobody.
    pub(crate) ignored: &'static [&'static str],
    /// Kafka knows them; accepting them would promise what is not there.
    pub(crate) not_served: &'static [&'static str],
    /// Kafka knew them, with what replaces them.
    pub(crate) removed: &'static [(&'static str, &'static str)],
}

/// Reads typed values out of properties whose names were checked.
pub(crate) struct Reader<'a> {
    properties: &'a BTreeMap<String, String>,
}

impl<'a> Reader<'a> {
    /// Errors: the first name in alphabetical order that `names` does not allow.
    pub(crate) fn new(
        properties: &'a BTreeMap<String, String>,
        names: &Names,
    ) -> Result<Self, ConfigError> {
        for name in properties.keys() {
            let word = name.as_str();
            if names.served.contains(&word) || names.ignored.contains(&word) {
                continue;
            }
            if names.not_served.contains(&word) {
                return Err(ConfigError::NotServed { name: name.clone() });
            }
            if let Some((_, instead)) = names.removed.iter().find(|(old, _)| *old == word) {
                return Err(ConfigError::Removed { name: name.clone(), instead });
            }
            let nearest = nearest(word, names.served.iter().copied());
            return Err(ConfigError::Unknown { name: name.clone(), nearest });
        }
        Ok(Self { properties })
    }

    /// Whether the user wrote it.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }

    /// What the user wrote.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.properties.get(name).map(|value| value.trim())
    }

    /// A whole number in `range`.
    pub(crate) fn number(
        &self,
        name: &str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(text) = self.text(name) else { return Ok(default) };
        match text.parse::<u64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            Ok(_) | Err(_) => Err(ConfigError::Value {
                name: name.to_owned(),
                value: text.to_owned(),
                expected: format!("a whole number in {}..={}", range.start(), range.end()),
                nearest: None,
            }),
        }
    }

    /// A number of bytes or things, up to Kafka's `int`.
    pub(crate) fn size(&self, name: &str, default: usize) -> Result<usize, ConfigError> {
        let number = self.number(name, default as u64, 0..=I32_MAX)?;
        Ok(usize::try_from(number).expect("at most 2^31 − 1"))
    }

    /// A span in milliseconds, up to Kafka's `int`.
    pub(crate) fn millis(&self, name: &str, default: u64) -> Result<Duration, ConfigError> {
        self.number(name, default, 0..=I32_MAX).map(Duration::from_millis)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        self.word(name, default, &[("true", true), ("false", false)])
    }

    /// One of some words.
    pub(crate) fn word<T: Copy>(
        &self,
        name: &str,
        default: T,
        words: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let lower = text.to_ascii_lowercase();
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == lower) {
            return Ok(*value);
        }
        let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Err(ConfigError::Value {
            name: name.to_owned(),
            value: text.to_owned(),
            expected: format!("one of {}", list.join(", ")),
            nearest: nearest(&lower, list),
        })
    }
}

const I32_MAX: u64 = i32::MAX as u64;

/// What every kind of client needs to know to reach a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonConfig {
    /// `bootstrap.servers`: where to ask first.
    pub bootstrap_servers: Vec<Endpoint>,
    /// `client.id`: how the broker's logs and quotas call this client.
    pub client_id: String,
    /// `request.timeout.ms` (30 s): a request unanswered this long breaks its connection.
    pub request_timeout: Duration,
    /// `retry.backoff.ms` (100): the pause before the first retry.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms` (1 s): the pause doubles up to this (KIP-580).
    pub retry_backoff_max: Duration,
    /// `reconnect.backoff.ms` (50): the pause before the first reconnect to a node.
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms` (1 s): the pause doubles up to this.
    pub reconnect_backoff_max: Duration,
    /// `socket.connection.setup.timeout.ms` (10 s): how long connecting may take.
    pub connection_setup_timeout: Duration,
    /// `metadata.max.age.ms` (5 min): what is known of the cluster is asked for anew after this.
    pub metadata_age_max: Duration,
}

/// Names of [`CommonConfig`], to be listed by each kind of client.
macro_rules! common_names {
    ($($more:literal),* $(,)?) => {
        &[
            "bootstrap.servers", "client.id", "request.timeout.ms", "retry.backoff.ms",
            "retry.backoff.max.ms", "reconnect.backoff.ms", "reconnect.backoff.max.ms",
            "socket.connection.setup.timeout.ms", "metadata.max.age.ms", $($more),*
        ]
    };
}
pub(crate) use common_names;

impl CommonConfig {
    /// The pauses between attempts of a request.
    pub(crate) fn retry_backoff(&self) -> Backoff {
        Backoff { first: self.retry_backoff, max: self.retry_backoff_max }
    }

    /// What each connection needs to know.
    pub(crate) fn network(&self) -> NetworkClientConfig {
        let reconnect = Backoff { first: self.reconnect_backoff, max: self.reconnect_backoff_max };
        NetworkClientConfig { reconnect, setup_timeout: self.connection_setup_timeout }
    }

    /// Reads the common properties. Defaults: Kafka's `CommonClientConfigs`.
    pub(crate) fn read(reader: &Reader<'_>, default_client_id: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            bootstrap_servers: bootstrap_servers(reader)?,
            client_id: reader.text("client.id").unwrap_or(default_client_id).to_owned(),
            request_timeout: reader.millis("request.timeout.ms", 30_000)?,
            retry_backoff: reader.millis("retry.backoff.ms", 100)?,
            retry_backoff_max: reader.millis("retry.backoff.max.ms", 1_000)?,
            reconnect_backoff: reader.millis("reconnect.backoff.ms", 50)?,
            reconnect_backoff_max: reader.millis("reconnect.backoff.max.ms", 1_000)?,
            connection_setup_timeout: reader
                .millis("socket.connection.setup.timeout.ms", 10_000)?,
            metadata_age_max: reader.millis("metadata.max.age.ms", 300_000)?,
        })
    }
}

fn bootstrap_servers(reader: &Reader<'_>) -> Result<Vec<Endpoint>, ConfigError> {
    let name = "bootstrap.servers";
    let text = reader.text(name).ok_or_else(|| ConfigError::Missing { name: name.to_owned() })?;
    let bad = |value: &str| ConfigError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        expected: "host:port, several separated by commas".to_owned(),
        nearest: None,
    };
    let servers = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| Endpoint::parse(part).ok_or_else(|| bad(part)))
        .collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() { Err(bad(text)) } else { Ok(servers) }
}

/// A property map out of pairs, for callers that write them down in code.
pub(crate) fn property_map<K: Into<String>, V: Into<String>>(
    pairs: impl IntoIterator<Item = (K, V)>,
) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

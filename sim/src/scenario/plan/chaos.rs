//! A storm: faults at random times, on random nodes.

use serde::Deserialize;

use super::{Action, TimeDraw, When};
use crate::scenario::duration::Span;

/// What targets of a fault with `when` call the node of the event: `$event`.
pub const EVENT: &str = "event";

/// A storm.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChaosPlan {
    /// When it begins.
    #[serde(default)]
    pub from: Span,
    /// When it ends; when everything heals, where nobody says.
    pub until: Option<Span>,
    /// Whether each seed draws its own subset of the faults and their rates.
    #[serde(default)]
    pub swarm: bool,
    /// What it leaves whole.
    #[serde(default)]
    pub keep: Keep,
    /// Its faults.
    pub faults: Vec<ChaosFault>,
}

/// What a storm leaves whole: a fault that would break it is passed over.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Keep {
    /// How many brokers may be dead, paused or cut off at once.
    pub brokers_down_at_most: Option<u32>,
    /// Whether a majority of the voters stays alive and together.
    pub controller_majority: bool,
    /// Whether the faults stay such that no acknowledged record may be lost.
    pub last_copy_safe: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self { brokers_down_at_most: None, controller_majority: false, last_copy_safe: true }
    }
}

/// A fault of a storm.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChaosFault {
    /// The time from one to the next; with `when` the time before the next event counts.
    pub every: TimeDraw,
    /// The event that it waits for each time.
    pub when: Option<When>,
    /// How long after the event it comes.
    pub delay: Option<TimeDraw>,
    /// Whether it comes; where nobody says it does, or in a swarm the seed draws that.
    pub comes: Option<bool>,
    /// What its times are, in percent of `every`; where nobody says all of it, or in a swarm what the seed draws.
    pub pace: Option<u64>,
    /// How long each lasts; of those that end a process, how long it is dead.
    #[serde(rename = "for")]
    pub lasts: Option<TimeDraw>,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

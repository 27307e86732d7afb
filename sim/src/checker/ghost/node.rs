//! What is known of one node: whether it runs, how it stopped, and what its disk was made to do.

use std::collections::BTreeMap;

use ottla::types::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, TopicIdPartition, Uuid,
};

use crate::checker::Stop;
use crate::world::SimTime;

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostNode {
    /// Whether it runs.
    pub is_running: bool,
    /// How often it was started.
    pub boots: u32,
    /// Which of its starts each incarnation is that it named.
    pub incarnations: BTreeMap<Uuid, u32>,
    /// Until when it last stood still; the world's time.
    pub resumed_at: Option<SimTime>,
    /// Whether it stands still.
    pub is_paused: bool,
    /// How it stopped last.
    pub last_stop: Option<Stop>,
    /// When it stopped last.
    pub stopped_at: Option<SimTime>,
    /// The entries of `log.dirs` on which a write or a sync failed in this run of the node.
    pub failed_dirs: Vec<u32>,
    /// Those that it took offline since it lacked the space to open them: nothing in them is gone, and they stay so until it starts anew.
    pub unopened_dirs: Vec<u32>,
    /// Whether it said, in this run, that it has started: its logs are open.
    pub has_opened: bool,
    /// Whether it was refused space before it said so.
    pub lacked_space_to_open: bool,
    /// Whether it was asked to stop in good order, in this run of the node.
    pub is_stopping: bool,
    /// Whether nearly nothing fits on its disk.
    pub is_full: bool,
    /// How many faults wait for its next write, and for its next sync.
    pub armed_writes: u32,
    /// See there.
    pub armed_syncs: u32,
    /// Whether it was refused space since it was asked to stop: it may have been unable to say that it stopped in good order, and then
    /// it did not.
    pub lacked_space: bool,
    /// Whether bytes of its files were changed by a fault.
    pub has_rot: bool,
    /// Whether a write or a sync of its disk was ever meant to fail.
    pub has_bad_disk: bool,
    /// Whether it stopped in good order and has opened no log of a topic since: all that it has is durable.
    pub is_clean: bool,
    /// The last of its starts that ended so that what it holds is in U: a partition that is made before the controller hears of it begins
    /// with that.
    pub dirty_end: Option<DirtyEnd>,
    /// Since its start: the newest version of each partition that it told of.
    pub told: BTreeMap<TopicIdPartition, (PartitionEpoch, LeaderEpoch)>,
    /// Since its start: the newest registration of each broker that it told of.
    pub told_brokers: BTreeMap<BrokerId, BrokerEpoch>,
    /// Since its start: the end of the metadata that it published.
    pub applied: Option<Offset>,
}

impl GhostNode {
    /// Whether it stands still since a stop in good order. Where a log directory had failed before, no stop is in good order: that
    /// directory cannot be left so. Where there was no space nobody knows.
    #[must_use]
    pub fn is_well_stopped(&self) -> bool {
        self.has_stopped_itself() && !self.lacked_space
    }

    /// Whether it stands still since a stop that may have been in good order, or not, for want of space (group-swarm, seed 1394).
    pub(super) fn may_be_well_stopped(&self) -> bool {
        self.has_stopped_itself() && self.lacked_space
    }

    fn has_stopped_itself(&self) -> bool {
        !self.is_running && self.last_stop == Some(Stop::Shutdown) && self.has_all_dirs()
    }

    /// Whether it runs and does not stand still.
    #[must_use]
    pub fn works(&self) -> bool {
        self.is_running && !self.is_paused
    }

    /// Whether it works, with all of its log directories.
    #[must_use]
    pub fn works_whole(&self) -> bool {
        self.works() && self.has_all_dirs()
    }

    /// Whether none of its log directories is offline.
    #[must_use]
    pub fn has_all_dirs(&self) -> bool {
        self.failed_dirs.is_empty() && self.unopened_dirs.is_empty()
    }

    /// Whether it is about to stop and may be unable to do so in good order, or stops at its next write or sync.
    #[must_use]
    pub fn may_stop_dirty(&self) -> bool {
        let lacks_space = self.is_stopping && (self.is_full || self.lacked_space);
        self.is_running && (lacks_space || self.armed_writes > 0 || self.armed_syncs > 0)
    }
}

/// A start of a node that has ended so that its copies are in U.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirtyEnd {
    /// Which.
    pub boot: u32,
    /// Whether that is sure: see [`super::Dirty::ends`].
    pub is_sure: bool,
}

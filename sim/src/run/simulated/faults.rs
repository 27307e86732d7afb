//! Faults of the simulated world: power, network, disks, clocks.

use std::path::Path;

use ottla::protocol::ApiKey;
use rand::RngExt;
use serde_json::Value;

use super::draws::{distribution, files_matching, latency, ordinary_link, per_million};
use crate::event::Who;
use crate::run::faults::{Doing, Undo, words_of};
use crate::run::node::log_dir_name;
use crate::scenario::draw::rng_of;
use crate::scenario::plan::{Action, Cut, DiskOperation, Frames, PowerLoss, SignedSpan, TimeDraw};
use crate::world::disk::{DiskError, Operation, PowerLossMode};
use crate::world::net::{self, FrameAction, FrameFault, LinkConfig};
use crate::world::{NodeId, ways};

impl Doing<'_> {
    /// Does what is done to the world around nodes.
    ///
    /// Errors: why it cannot be done now.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has split the actions")]
    pub(in crate::run) fn act_on_world(&self) -> Result<Option<Undo>, String> {
        match &self.step.action {
            Action::PowerLoss { mode, .. } => self.power_loss(*mode),
            Action::Partition { cut } => self.partition(cut),
            Action::Heal { between } => self.heal(between.is_some()),
            Action::SlowLink { latency, bandwidth_bytes_per_s, .. } => {
                self.slow_link(latency.as_ref(), *bandwidth_bytes_per_s)
            }
            Action::Loss { chance, .. } => self.loss(*chance),
            Action::Reset { .. } => self.reset(),
            Action::DropRequest { frames } => {
                self.to_frames(frames, net::Direction::Request, FrameAction::Drop)
            }
            Action::DropResponse { frames } => {
                self.to_frames(frames, net::Direction::Response, FrameAction::Drop)
            }
            Action::DelayRequest { frames, by } => {
                let delay = FrameAction::Delay(distribution(by));
                self.to_frames(frames, net::Direction::Request, delay)
            }
            Action::DelayResponse { frames, by } => {
                let delay = FrameAction::Delay(distribution(by));
                self.to_frames(frames, net::Direction::Response, delay)
            }
            Action::DuplicateRequest { frames } => {
                self.to_frames(frames, net::Direction::Request, FrameAction::Duplicate)
            }
            Action::DiskSlow { read, write, sync, .. } => {
                self.disk_slow([read.as_ref(), write.as_ref(), sync.as_ref()])
            }
            Action::DiskFull { free_bytes, .. } => self.disk_full(*free_bytes),
            Action::DiskError { log_dir, operation, chance, count, .. } => {
                self.disk_error(*log_dir, *operation, *chance, *count)
            }
            Action::Corrupt { log_dir, file, bits, .. } => self.corrupt(*log_dir, file, *bits),
            Action::ClockJump { by, .. } => self.clock_jump(*by),
            Action::ClockDrift { ppm, .. } => self.clock_drift(*ppm),
            _ => unreachable!("the caller does what is done to nodes"),
        }
    }

    fn power_loss(&self, mode: Option<PowerLoss>) -> Result<Option<Undo>, String> {
        let mode = power_loss_mode(mode.unwrap_or(self.stage.plan.disk.on_power_loss));
        self.tell("fault.started", mode.name());
        for node in self.nodes(0) {
            self.stage.cluster.power_loss(node, mode);
        }
        self.stage.check_disks();
        Ok(None)
    }

    fn clock_jump(&self, by: SignedSpan) -> Result<Option<Undo>, String> {
        self.tell("fault.started", &by.to_string());
        let millis = i64::try_from(by.span.nanos() / 1_000_000).unwrap_or(i64::MAX);
        for node in self.nodes(0) {
            let clock = &self.stage.world().machine(node).clock;
            clock.jump(if by.is_negative { -millis } else { millis });
        }
        Ok(None)
    }

    fn clock_drift(&self, ppm: i64) -> Result<Option<Undo>, String> {
        self.tell("fault.started", &format!("{ppm} ppm"));
        let nodes = self.nodes(0);
        for node in &nodes {
            self.stage.world().machine(*node).clock.drift(ppm * 1_000);
        }
        Ok(Some(Box::new(move |stage| {
            for node in nodes {
                stage.world().machine(node).clock.drift(0);
            }
        })))
    }

    // ── Network ────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn partition(&self, cut: &Cut) -> Result<Option<Undo>, String> {
        self.tell("fault.started", &words_of(cut));
        let ways = self.ways_of(cut);
        if ways.is_empty() {
            return Err("nobody is on the other side".into());
        }
        let cut = self.stage.world().network().cut(ways);
        Ok(Some(Box::new(move |stage| {
            stage.world().network().heal(cut);
        })))
    }

    fn heal(&self, has_sides: bool) -> Result<Option<Undo>, String> {
        self.tell("fault.ended", "");
        let network = self.stage.world().network();
        if !has_sides {
            network.lift_all();
            return Ok(None);
        }
        for (from, to) in ways(&self.nodes(0), &self.nodes(1), true) {
            network.heal_way(from, to);
            network.set_link(from, to, None);
        }
        Ok(None)
    }

    fn slow_link(
        &self,
        latency: Option<&TimeDraw>,
        bandwidth: Option<u64>,
    ) -> Result<Option<Undo>, String> {
        let ordinary = ordinary_link(&self.stage.plan);
        let config = LinkConfig {
            latency: latency.map_or(ordinary.latency, distribution),
            bandwidth: bandwidth.or(ordinary.bandwidth),
            loss: ordinary.loss,
        };
        self.tell("fault.started", "");
        Ok(self.set_links(self.nodes(0), self.nodes(1), &config))
    }

    fn loss(&self, chance: f64) -> Result<Option<Undo>, String> {
        let config = LinkConfig { loss: per_million(chance), ..ordinary_link(&self.stage.plan) };
        self.tell("fault.started", &format!("chance {chance}"));
        Ok(self.set_links(self.nodes(0), self.nodes(1), &config))
    }

    fn reset(&self) -> Result<Option<Undo>, String> {
        let network = self.stage.world().network();
        let pairs = ways(&self.nodes(0), &self.nodes(1), false).into_iter();
        let count: usize = pairs.map(|(one, other)| network.reset(one, other)).sum();
        if count == 0 {
            return Err("there is no connection between them".into());
        }
        self.tell("fault.started", &format!("{count} connections"));
        Ok(None)
    }

    fn set_links(&self, one: Vec<NodeId>, other: Vec<NodeId>, config: &LinkConfig) -> Option<Undo> {
        let network = self.stage.world().network();
        for (from, to) in ways(&one, &other, true) {
            network.set_link(from, to, Some(config.clone()));
        }
        Some(Box::new(move |stage| {
            for (from, to) in ways(&one, &other, true) {
                stage.world().network().set_link(from, to, None);
            }
        }))
    }

    fn to_frames(
        &self,
        frames: &Frames,
        direction: net::Direction,
        action: FrameAction,
    ) -> Result<Option<Undo>, String> {
        let api = ApiKey::ALL.iter().find(|api| api.name() == frames.api);
        let (mut from, mut to) = (self.nodes(0), self.nodes(1));
        // Sides are named in any order: whichever is the client sends the requests.
        let is_client = |side: usize| {
            self.subjects
                .get(side)
                .is_some_and(|(_, who)| who.iter().all(|who| matches!(who, Who::Client { .. })))
        };
        let requests_flow_forward = is_client(0) || !is_client(1);
        if requests_flow_forward != (direction == net::Direction::Request) {
            std::mem::swap(&mut from, &mut to);
        }
        let count = frames.count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let fault = FrameFault {
            direction,
            api_key: api.map(|api| api.key()),
            from,
            to,
            action,
            chance: per_million(frames.chance),
            count,
        };
        let times =
            frames.count.map_or("every one".to_string(), |count| format!("at most {count}"));
        self.tell("fault.started", &format!("{}, {times}, chance {}", frames.api, frames.chance));
        let id = self.stage.world().network().add_frame_fault(fault);
        Ok(Some(Box::new(move |stage| stage.world().network().lift_frame_fault(id))))
    }

    // ── Disks ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn disk_slow(
        &self,
        [read, write, sync]: [Option<&TimeDraw>; 3],
    ) -> Result<Option<Undo>, String> {
        let mut slow = latency(&self.stage.plan.disk);
        for (draw, slot) in
            [(read, &mut slow.read), (write, &mut slow.write), (sync, &mut slow.sync)]
        {
            if let Some(draw) = draw {
                *slot = distribution(draw);
            }
        }
        self.tell("fault.started", "");
        let nodes = self.nodes(0);
        for node in &nodes {
            self.stage.world().machine(*node).disk.set_latency(slow.clone());
        }
        Ok(Some(Box::new(move |stage| {
            for node in nodes {
                stage.world().machine(node).disk.set_latency(latency(&stage.plan.disk));
            }
        })))
    }

    fn disk_full(&self, free_bytes: u64) -> Result<Option<Undo>, String> {
        self.tell("fault.started", &format!("{free_bytes} bytes free"));
        let nodes = self.nodes(0);
        for node in &nodes {
            let disk = &self.stage.world().machine(*node).disk;
            disk.set_capacity(Some(disk.used() + free_bytes));
            self.stage.ears.oracle.filled(self.stage.world().now(), *node, true);
        }
        Ok(Some(Box::new(move |stage| {
            for node in nodes {
                stage.world().machine(node).disk.set_capacity(stage.plan.disk.capacity_bytes);
                stage.ears.oracle.filled(stage.world().now(), node, false);
            }
        })))
    }

    fn disk_error(
        &self,
        log_dir: Option<u32>,
        operation: DiskOperation,
        chance: f64,
        count: Option<u64>,
    ) -> Result<Option<Undo>, String> {
        let operations = match operation {
            DiskOperation::Read => vec![Operation::Read],
            DiskOperation::Write => vec![Operation::Write],
            DiskOperation::Sync => vec![Operation::Sync],
        };
        let path = log_dir.map_or("/*".to_string(), |index| format!("{}/*", path_of(index)));
        let error = DiskError {
            chance: per_million(chance),
            count: count.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
            ..DiskError::always(&operations, &path)
        };
        // Which directory holds what is learnt before it fails.
        self.stage.check_disks();
        self.tell("fault.started", &format!("{} below {path}", operation.name()));
        let faults: Vec<_> = self
            .nodes(0)
            .into_iter()
            .map(|node| (node, self.stage.world().machine(node).disk.fail(error.clone())))
            .collect();
        let of_syncs = operation == DiskOperation::Sync;
        let is_armed = of_syncs || operation == DiskOperation::Write;
        for (node, _) in faults.iter().filter(|_| is_armed) {
            self.stage.ears.oracle.armed(self.stage.world().now(), *node, of_syncs, true);
        }
        Ok(Some(Box::new(move |stage| {
            for (node, fault) in faults {
                stage.world().machine(node).disk.lift(fault);
                if is_armed {
                    stage.ears.oracle.armed(stage.world().now(), node, of_syncs, false);
                }
            }
        })))
    }

    fn corrupt(
        &self,
        log_dir: Option<u32>,
        pattern: &str,
        bits: u32,
    ) -> Result<Option<Undo>, String> {
        let all = (0..self.stage.plan.cluster.log_dirs).map(path_of);
        let dirs: Vec<String> = log_dir.map_or_else(|| all.collect(), |index| vec![path_of(index)]);
        let world = self.stage.world();
        for (who, node) in self.who().iter().zip(self.nodes(0)) {
            let files = files_matching(world, node, &dirs, pattern);
            if files.is_empty() {
                return Err(format!("no file of {who} with anything in it matches `{pattern}`"));
            }
            let at = rng_of(self.stage.world().seed(), self.pointer).random_range(0..files.len());
            let path = &files[at];
            let below = (0..).zip(&dirs).find_map(|(index, dir)| {
                Some((
                    log_dir.unwrap_or(index),
                    path.strip_prefix(dir.as_str())?.strip_prefix('/')?,
                ))
            });
            if let Some((index, file)) = below {
                self.note_drawn("file", Value::from(file));
                self.note_drawn("log-dir", Value::from(index));
            }
            self.stage.ears.oracle.rotted(world.now(), node);
            let rotten = world.machine(node).disk.rot(Path::new(path), 0..u64::MAX, bits);
            let rotten = rotten.map_err(|error| format!("{path}: {error}"))?;
            self.stage.ears.oracle.learn(world, node);
            self.tell("fault.started", &format!("{path} at {rotten:?}"));
        }
        Ok(None)
    }
}

fn power_loss_mode(mode: PowerLoss) -> PowerLossMode {
    match mode {
        PowerLoss::KeepAll => PowerLossMode::KeepAll,
        PowerLoss::LoseUnsynced => PowerLossMode::LoseUnsynced,
        PowerLoss::LoseRandomUnsynced => PowerLossMode::LoseRandomUnsynced,
        PowerLoss::TornLastWrite => PowerLossMode::TornLastWrite,
    }
}

/// A log directory on a simulated disk.
fn path_of(index: u32) -> String {
    format!("/{}", log_dir_name(index))
}

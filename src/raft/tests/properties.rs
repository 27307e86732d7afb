//! Whatever is delivered, lost, sent twice, cut off or restarted: what Raft promises holds, and when all is well again there is
//! a leader, and all have the same.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::world::World;
use crate::raft::*;

/// A cluster that is maltreated by a seed.
struct Storm {
    world: World,
    rng: StdRng,
    cut: BTreeSet<BrokerId>,
}

impl Storm {
    fn new(seed: u64, voters: &[i32], observers: &[i32]) -> Self {
        let mut world = World::new(voters, observers, seed);
        for id in voters.iter().chain(observers) {
            world.start(BrokerId::new(*id));
        }
        Self { world, rng: StdRng::seed_from_u64(seed), cut: BTreeSet::new() }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.rng.random_range(0..of.len())])
    }

    fn step(&mut self) {
        match self.rng.random_range(0..1_000) {
            0..600 => self.message(),
            600..800 => self.time(),
            800..890 => {
                if let Some(leader) = self.pick(&self.world.active_leaders()) {
                    let records = self.rng.random_range(1..4);
                    self.world.append(leader, records);
                }
            }
            890..910 => {
                if let Some(id) = self.pick(&self.world.running()) {
                    let kept = self.rng.random_range(0..3);
                    self.world.crash(id, kept);
                }
            }
            // In the middle of what an event brings.
            910..920 => self.world.crash_after = Some(self.rng.random_range(0..6)),
            920..950 => self.start_one(),
            950..970 => {
                let all: Vec<BrokerId> = self.world.nodes.keys().copied().collect();
                let id = self.pick(&all).unwrap();
                if !self.cut.remove(&id) {
                    self.cut.insert(id);
                }
            }
            970..985 => {
                if let Some(id) = self.pick(&self.world.running()) {
                    self.world.snapshot(id);
                }
            }
            985..990 => {
                let all: Vec<BrokerId> = self.world.nodes.keys().copied().collect();
                let id = self.pick(&all).unwrap();
                let node = self.world.nodes.get_mut(&id).unwrap();
                node.has_space = !node.has_space;
            }
            990..995 => {
                if let Some(id) = self.pick(&self.world.running()) {
                    self.world.handle(id, Event::Resign);
                }
            }
            _ => self.leap(),
        }
        self.world.oracle.logs_match(&self.world.nodes);
    }

    fn start_one(&mut self) {
        let is_down = |id: &BrokerId| self.world.raft(*id).is_none();
        let down: Vec<BrokerId> = self.world.nodes.keys().copied().filter(is_down).collect();
        if let Some(id) = self.pick(&down) {
            self.world.start(id);
        }
    }

    /// Any message that is on its way arrives, is lost, or arrives twice.
    fn message(&mut self) {
        if self.world.network.is_empty() {
            return self.time();
        }
        // Mostly the oldest, or nothing would ever come to an end.
        let length = self.world.network.len();
        let index =
            if self.rng.random_range(0..3) == 0 { self.rng.random_range(0..length) } else { 0 };
        let envelope = self.world.network.remove(index).unwrap();
        let is_cut = self.cut.contains(&envelope.from) != self.cut.contains(&envelope.to);
        match self.rng.random_range(0..100) {
            _ if is_cut => self.world.lose(envelope),
            0..4 => self.world.lose(envelope),
            4..8 => {
                self.world.network.push_back(envelope.clone());
                self.world.deliver(envelope);
            }
            _ => self.world.deliver(envelope),
        }
    }

    /// The next deadline comes.
    fn time(&mut self) {
        let Some((at, id)) = self.world.next_deadline() else { return };
        self.world.now.monotonic = self.world.now.monotonic.max(at);
        self.world.handle(id, Event::Tick);
    }

    /// Everybody sleeps for a while.
    fn leap(&mut self) {
        let millis = self.rng.random_range(1..5_000);
        self.world.now.monotonic = self.world.now.monotonic + Duration::from_millis(millis);
    }

    fn heal(&mut self) {
        self.cut.clear();
        self.world.crash_after = None;
        for id in self.world.nodes.keys().copied().collect::<Vec<_>>() {
            self.world.nodes.get_mut(&id).unwrap().has_space = true;
            if self.world.raft(id).is_none() {
                self.world.start(id);
            }
        }
    }

    /// Lets `span` go by in good order.
    fn run(&mut self, span: Duration) {
        let end = self.world.now.monotonic + span;
        for _ in 0..100_000 {
            if let Some(envelope) = self.world.network.pop_front() {
                self.world.deliver(envelope);
                continue;
            }
            let Some((at, id)) = self.world.next_deadline().filter(|(at, _)| *at <= end) else {
                self.world.now.monotonic = end;
                return;
            };
            self.world.now.monotonic = self.world.now.monotonic.max(at);
            self.world.handle(id, Event::Tick);
        }
        panic!("it never comes to rest");
    }

    /// When nothing goes wrong any more, there is a leader, and what it writes is committed everywhere.
    fn must_recover(&mut self) {
        self.heal();
        self.run(Duration::from_secs(30));
        let leaders = self.world.active_leaders();
        assert_eq!(leaders.len(), 1, "there is one active leader after the healing");
        self.world.append(leaders[0], 1);
        self.run(Duration::from_secs(5));
        assert_eq!(self.world.active_leaders(), leaders, "and it stays");
        let end = self.world.nodes[&leaders[0]].disk.end();
        for (id, node) in &self.world.nodes {
            assert_eq!(node.disk.end(), end, "{id} has everything");
            let raft = node.raft.as_ref().unwrap();
            assert_eq!(raft.high_watermark(), Some(end), "{id} knows that it is committed");
        }
        assert_eq!(self.world.oracle.committed_end(), end);
        self.world.oracle.logs_match(&self.world.nodes);
    }
}

fn storm(seed: u64, steps: usize, voters: &[i32], observers: &[i32]) {
    let mut storm = Storm::new(seed, voters, observers);
    for _ in 0..steps {
        storm.step();
        storm.world.told.clear();
    }
    storm.must_recover();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn three_voters_and_an_observer_keep_what_raft_promises(seed: u64, steps in 50..800_usize) {
        storm(seed, steps, &[1, 2, 3], &[4]);
    }

    #[test]
    fn five_voters_keep_what_raft_promises(seed: u64, steps in 50..800_usize) {
        storm(seed, steps, &[1, 2, 3, 4, 5], &[]);
    }

    #[test]
    fn two_voters_keep_what_raft_promises(seed: u64, steps in 50..400_usize) {
        storm(seed, steps, &[1, 2], &[3]);
    }
}

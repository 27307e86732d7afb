//! A cluster of three brokers, each a voter, told step by step. Broker `n` is node `n` and registers under the epoch `10 × n + boot`.

use ottla::types::{BrokerEpoch, BrokerId, PartitionEpoch, QuorumRole, Uuid};

use super::*;
use crate::checker::{Stop, TopicFacts, liveness, waiting};

pub(super) const NONE: [&str; 0] = [];

fn broker(id: i32) -> BrokerId {
    BrokerId::new(id)
}

pub(super) fn set(ids: &[i32]) -> BrokerSet {
    ids.iter().map(|id| broker(*id)).collect()
}

fn offset(value: i64) -> Offset {
    Offset::new(value)
}

fn term(value: i32) -> LeaderEpoch {
    LeaderEpoch::new(value)
}

/// How a broker names one of its starts.
pub(super) fn incarnation(id: i32, boot: i32) -> Uuid {
    Uuid::from_bytes(
        [id, boot].map(|part| u8::try_from(part).unwrap()).repeat(8).try_into().unwrap(),
    )
}

/// A version of the partition's state; made by [`version`] and changed by its fields.
#[derive(Clone, Copy)]
pub(super) struct Version {
    pub(super) number: i32,
    pub(super) leader: Option<i32>,
    pub(super) epoch: i32,
    pub(super) replicas: &'static [i32],
    pub(super) adding: &'static [i32],
    pub(super) removing: &'static [i32],
    pub(super) isr: &'static [i32],
    pub(super) elr: &'static [i32],
    pub(super) last_known: Option<i32>,
    pub(super) is_recovering: bool,
}

/// Version `number`: led by `leader` in `epoch`, with this ISR.
pub(super) fn version(number: i32, leader: i32, epoch: i32, isr: &'static [i32]) -> Version {
    Version {
        number,
        leader: Some(leader),
        epoch,
        replicas: &[1, 2, 3],
        adding: &[],
        removing: &[],
        isr,
        elr: &[],
        last_known: None,
        is_recovering: false,
    }
}

/// A run that is told.
pub(super) struct Run {
    pub(super) checkers: Checkers,
    now: u64,
    boots: [i32; 4],
}

impl Run {
    /// Three brokers run and are registered; nothing else has happened.
    pub(super) fn bare() -> Self {
        let mut run = Run { checkers: Checkers::new(), now: 0, boots: [0; 4] };
        for id in 1..=3 {
            run.checkers.name_node(NodeId(u32::try_from(id).unwrap()), broker(id));
        }
        run.checkers.name_voters([NodeId(1), NodeId(2), NodeId(3)]);
        for id in 1..=3 {
            run.start(id).registered(id, false);
        }
        run
    }

    /// Broker 1 leads in term 0, the others follow, and two records are committed and acknowledged; two members are required.
    pub(super) fn settled() -> Self {
        let mut run = Self::bare();
        let facts = TopicFacts { min_isr: 2, ..TopicFacts::default() };
        run.checkers.describe_topic(partition().topic_id, facts);
        run.change(version(0, 1, 0, &[1, 2, 3]));
        run.leads(1, 0, 0, &[1, 2, 3]).follows(2, 1, 0).follows(3, 1, 0);
        run.commit(1, 0, 0, 2, &[1, 2, 3]);
        run
    }

    /// A batch goes all the way: written, replicated, fetched past, committed, acknowledged.
    pub(super) fn commit(
        &mut self,
        leader: i32,
        epoch: i32,
        base: i64,
        end: i64,
        isr: &'static [i32],
    ) -> &mut Self {
        self.append(leader, epoch, base, end);
        for member in isr.iter().copied().filter(|member| *member != leader) {
            self.copy(member, epoch, epoch, base, end).fetch(leader, member, epoch, end);
        }
        self.watermark(leader, epoch, base, end, isr, isr).ack(leader, epoch, base, end)
    }

    pub(super) fn tell(&mut self, node: i32, event: Event) -> &mut Self {
        self.now += 1_000_000;
        let (at, node) = (SimTime(self.now), NodeId(u32::try_from(node).unwrap()));
        self.checkers.on_event(&Occurrence { at, node, event });
        self
    }

    pub(super) fn say(&mut self, node: i32, observation: Observation) -> &mut Self {
        self.tell(node, Event::Observed(observation))
    }

    pub(super) fn now(&self) -> SimTime {
        SimTime(self.now)
    }

    pub(super) fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += seconds * 1_000_000_000;
        self
    }

    pub(super) fn start(&mut self, node: i32) -> &mut Self {
        self.boots[usize::try_from(node).unwrap()] += 1;
        self.tell(node, Event::Started);
        let incarnation_id = incarnation(node, self.boots[usize::try_from(node).unwrap()]);
        self.say(node, Observation::IncarnationBegun { broker: broker(node), incarnation_id })
    }

    pub(super) fn stop(&mut self, node: i32, stop: Stop) -> &mut Self {
        self.tell(node, Event::Stopped(stop))
    }

    pub(super) fn broker_epoch(&self, id: i32) -> BrokerEpoch {
        BrokerEpoch::new(i64::from(10 * id + self.boots[usize::try_from(id).unwrap()]))
    }

    /// The running incarnation of a broker is registered.
    pub(super) fn registered(&mut self, id: i32, is_fenced: bool) -> &mut Self {
        self.registered_as(id, self.boots[usize::try_from(id).unwrap()], is_fenced)
    }

    /// An incarnation of a broker is registered, whether it still runs or not.
    pub(super) fn registered_as(&mut self, id: i32, boot: i32, is_fenced: bool) -> &mut Self {
        let broker_epoch = BrokerEpoch::new(i64::from(10 * id + boot));
        let end_offset = offset(i64::try_from(self.now).unwrap());
        let observation = Observation::RegistrationChanged {
            end_offset,
            broker: broker(id),
            broker_epoch,
            incarnation_id: incarnation(id, boot),
            is_fenced,
            in_controlled_shutdown: false,
        };
        self.say(1, observation)
    }

    /// Broker 1's image holds this version.
    pub(super) fn change(&mut self, version: Version) -> &mut Self {
        self.change_at(1, version)
    }

    pub(super) fn change_at(&mut self, node: i32, version: Version) -> &mut Self {
        self.say(node, changed(version))
    }

    pub(super) fn leads(
        &mut self,
        node: i32,
        epoch: i32,
        start: i64,
        isr: &'static [i32],
    ) -> &mut Self {
        let observation = Observation::BecameLeader {
            partition: partition(),
            leader_epoch: term(epoch),
            partition_epoch: PartitionEpoch::new(epoch),
            start_offset: offset(start),
            isr: set(isr),
            min_isr: 2,
        };
        self.say(node, observation)
    }

    /// It follows in a new term, with nothing taken that is not written.
    pub(super) fn follows(&mut self, node: i32, leader: i32, epoch: i32) -> &mut Self {
        self.follows_with(node, leader, epoch, 0)
    }

    /// The same with a log that ends at `taken`.
    pub(super) fn follows_with(
        &mut self,
        node: i32,
        leader: i32,
        epoch: i32,
        taken: i64,
    ) -> &mut Self {
        let observation = Observation::BecameFollower {
            partition: partition(),
            leader: Some(broker(leader)),
            leader_epoch: term(epoch),
            partition_epoch: PartitionEpoch::new(epoch),
            log_end_offset: offset(taken),
        };
        self.say(node, observation)
    }

    pub(super) fn append(&mut self, node: i32, epoch: i32, base: i64, end: i64) -> &mut Self {
        let observation = Observation::ProduceAppended {
            partition: partition(),
            leader_epoch: term(epoch),
            base_offset: offset(base),
            end_offset: offset(end),
            producer: None,
            crc: crc(epoch, base),
        };
        self.say(node, observation)
    }

    /// A follower in `own` term writes a batch of `epoch`.
    pub(super) fn copy(
        &mut self,
        node: i32,
        own: i32,
        epoch: i32,
        base: i64,
        end: i64,
    ) -> &mut Self {
        let observation = Observation::FollowerAppended {
            partition: partition(),
            current_leader_epoch: term(own),
            leader_epoch: term(epoch),
            base_offset: offset(base),
            end_offset: offset(end),
            producer: None,
            crc: crc(epoch, base),
        };
        self.say(node, observation)
    }

    pub(super) fn fetch(&mut self, leader: i32, replica: i32, epoch: i32, from: i64) -> &mut Self {
        let observation = Observation::FollowerFetched {
            partition: partition(),
            leader_epoch: term(epoch),
            replica: broker(replica),
            broker_epoch: Some(self.broker_epoch(replica)),
            current_leader_epoch: Some(term(epoch)),
            fetch_offset: offset(from),
        };
        self.say(leader, observation)
    }

    pub(super) fn watermark(
        &mut self,
        leader: i32,
        epoch: i32,
        from: i64,
        to: i64,
        isr: &'static [i32],
        maximal: &'static [i32],
    ) -> &mut Self {
        let observation = Observation::HighWatermarkAdvanced {
            partition: partition(),
            from: offset(from),
            to: offset(to),
            is_leader: true,
            leader_epoch: Some(term(epoch)),
            isr: set(isr),
            maximal_isr: set(maximal),
        };
        self.say(leader, observation)
    }

    pub(super) fn follower_watermark(&mut self, node: i32, from: i64, to: i64) -> &mut Self {
        let observation = Observation::HighWatermarkAdvanced {
            partition: partition(),
            from: offset(from),
            to: offset(to),
            is_leader: false,
            leader_epoch: Some(term(0)),
            isr: BrokerSet::EMPTY,
            maximal_isr: BrokerSet::EMPTY,
        };
        self.say(node, observation)
    }

    pub(super) fn ack(&mut self, leader: i32, epoch: i32, base: i64, end: i64) -> &mut Self {
        let observation = Observation::ProduceAcked {
            partition: partition(),
            leader_epoch: term(epoch),
            base_offset: offset(base),
            end_offset: offset(end),
            acks: Acks::All,
        };
        self.say(leader, observation)
    }

    pub(super) fn propose(&mut self, leader: i32, epoch: i32, isr: &'static [i32]) -> &mut Self {
        let known = self.checkers.ghost().partition(partition());
        let observation = Observation::IsrProposed {
            partition: partition(),
            leader_epoch: term(epoch),
            partition_epoch: known.and_then(|of| of.partition_epoch()).expect("a version"),
            isr: set(isr),
        };
        self.say(leader, observation)
    }

    /// The leader takes over the ISR of a version.
    pub(super) fn takes_over(
        &mut self,
        leader: i32,
        epoch: i32,
        version: i32,
        isr: &'static [i32],
    ) -> &mut Self {
        let observation = Observation::IsrCommitted {
            partition: partition(),
            leader_epoch: term(epoch),
            partition_epoch: PartitionEpoch::new(version),
            isr: set(isr),
        };
        self.say(leader, observation)
    }

    pub(super) fn serve(&mut self, node: i32, from: i64, to: i64) -> &mut Self {
        let observation = Observation::FetchServed {
            partition: partition(),
            fetch_offset: offset(from),
            end_offset: offset(to),
            high_watermark: offset(to),
        };
        self.say(node, observation)
    }

    pub(super) fn truncate(&mut self, node: i32, from: i64, to: i64) -> &mut Self {
        let observation = Observation::LogTruncated {
            partition: partition(),
            from: offset(from),
            to: offset(to),
        };
        self.say(node, observation)
    }

    pub(super) fn opens(&mut self, node: i32, end: i64) -> &mut Self {
        self.tell(node, recovered(end))
    }

    pub(super) fn flush(&mut self, node: i32, end: i64) -> &mut Self {
        self.tell(node, flushed(end))
    }

    pub(super) fn barrier(&mut self) -> &mut Self {
        let at = SimTime(self.now);
        self.checkers.at_cluster_barrier(at);
        self
    }

    // ── The quorum ─────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn role(
        &mut self,
        node: i32,
        role: QuorumRole,
        epoch: i32,
        leader: Option<i32>,
    ) -> &mut Self {
        let observation = Observation::QuorumRoleChanged {
            node: broker(node),
            epoch: term(epoch),
            role,
            leader: leader.map(broker),
        };
        self.say(node, observation)
    }

    pub(super) fn vote(&mut self, voter: i32, epoch: i32, candidate: i32) -> &mut Self {
        let (voter_id, candidate) = (broker(voter), broker(candidate));
        let epoch = term(epoch);
        let is_pre_vote = false;
        self.say(voter, Observation::VoteGranted { voter: voter_id, epoch, candidate, is_pre_vote })
    }

    /// A metadata batch of one record is written, and is durable.
    pub(super) fn metadata(&mut self, node: i32, epoch: i32, base: i64) -> &mut Self {
        self.metadata_written(node, epoch, base).metadata_synced(node, base + 1)
    }

    pub(super) fn metadata_written(&mut self, node: i32, epoch: i32, base: i64) -> &mut Self {
        let observation = Observation::MetadataAppended {
            epoch: term(epoch),
            base_offset: offset(base),
            end_offset: offset(base + 1),
            crc: crc(epoch, base),
        };
        self.say(node, observation)
    }

    pub(super) fn metadata_synced(&mut self, node: i32, end: i64) -> &mut Self {
        let partition = crate::checker::ghost::log::METADATA;
        self.say(node, Observation::LogFlushed { partition, end_offset: offset(end) })
    }

    pub(super) fn committed(&mut self, node: i32, epoch: i32, to: i64) -> &mut Self {
        let observation = Observation::QuorumHighWatermark {
            node: broker(node),
            epoch: term(epoch),
            high_watermark: offset(to),
        };
        self.say(node, observation)
    }

    pub(super) fn active(&mut self, node: i32, epoch: i32) -> &mut Self {
        let (broker, epoch) = (broker(node), term(epoch));
        self.say(node, Observation::ControllerElected { broker, epoch })
    }

    // ── Questions ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The names of the checks that have fired, each once.
    pub(super) fn fired(&self) -> Vec<&'static str> {
        let mut names = names(self.checkers.violations());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What has not come about.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let missing = liveness::missing(self.checkers.ghost(), SimTime(self.now));
        missing.iter().map(|missing| missing.check).collect()
    }

    /// What waits for what.
    pub(super) fn waiting(&self) -> Vec<String> {
        waiting::waiting(self.checkers.ghost())
    }
}

/// A batch's content is a function of its place.
fn crc(epoch: i32, base: i64) -> u32 {
    u32::try_from(i64::from(epoch) * 1_000 + base).unwrap()
}

pub(super) fn changed(version: Version) -> Observation {
    Observation::PartitionChanged {
        partition: partition(),
        partition_epoch: PartitionEpoch::new(version.number),
        leader: version.leader.map(broker),
        leader_epoch: term(version.epoch),
        replicas: set(version.replicas),
        adding: set(version.adding),
        removing: set(version.removing),
        isr: set(version.isr),
        elr: set(version.elr),
        last_known_leader: version.last_known.map(broker),
        is_recovering: version.is_recovering,
        is_unclean: false,
    }
}

#[test]
fn a_cluster_in_order_fires_nothing() {
    let mut run = Run::settled();
    run.serve(1, 0, 2).barrier();
    // Broker 3 falls behind, is left out, comes back; then broker 2 takes over.
    run.append(1, 0, 2, 4).copy(2, 0, 0, 2, 4).fetch(1, 2, 0, 4);
    run.propose(1, 0, &[1, 2]).change(version(1, 1, 0, &[1, 2])).takes_over(1, 0, 1, &[1, 2]);
    run.watermark(1, 0, 2, 4, &[1, 2], &[1, 2]).ack(1, 0, 2, 4).follower_watermark(2, 0, 4);
    run.copy(3, 0, 0, 2, 4).fetch(1, 3, 0, 4).propose(1, 0, &[1, 2, 3]);
    run.change(version(2, 1, 0, &[1, 2, 3])).takes_over(1, 0, 2, &[1, 2, 3]).barrier();
    run.append(1, 0, 4, 5).stop(1, Stop::Kill);
    run.change_at(2, version(3, 2, 1, &[2, 3])).leads(2, 1, 4, &[2, 3]).follows(3, 2, 1);
    run.commit(2, 1, 4, 6, &[2, 3]).serve(2, 0, 6).barrier();
    // Broker 1 returns with a record that nobody has, and gives it up.
    run.start(1).opens(1, 5).registered(1, false).follows(1, 2, 1).truncate(1, 5, 4);
    run.copy(1, 1, 1, 4, 6).fetch(2, 1, 1, 6).propose(2, 1, &[1, 2, 3]);
    run.change_at(2, version(4, 2, 1, &[1, 2, 3])).takes_over(2, 1, 4, &[1, 2, 3]).barrier();
    assert_eq!(run.fired(), NONE);
    assert_eq!(run.missing(), NONE);
}

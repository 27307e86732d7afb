//! Carries the in-sync replicas that leaders propose to the controller, as a machine.
//!
//! One AlterPartition request is in flight, with all that was proposed by then; what comes meanwhile goes with the next. A
//! request that the controller does not take as a whole is asked again after a pause, for ever: only an answer of its own ends
//! a proposal. Whoever proposed drops answers that are not to its newest proposal.
//!
//! Kafka: `AlterPartitionManager`, KIP-497; broker epochs in the ISR: KIP-903.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::LeaderRecoveryState;
use crate::protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use crate::protocol::messages::alter_partition_response::PartitionData as Answered;
use crate::protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use crate::types::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, PartitionEpoch, TopicIdPartition,
};

/// The pause after a request that the controller did not take (Kafka: `DefaultAlterPartitionManager.sendRequest`).
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What a leader proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its term.
    pub leader_epoch: LeaderEpoch,
    /// The partition's state that it changes.
    pub partition_epoch: PartitionEpoch,
    /// The new in-sync replicas, each with the incarnation that was seen to be in sync, where one was.
    pub isr: Vec<(BrokerId, Option<BrokerEpoch>)>,
    /// The leader was elected without having all that was committed, and does not know yet what is lost.
    pub is_recovering: bool,
}

/// What the controller committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The partition's state.
    pub partition_epoch: PartitionEpoch,
    /// See [`Proposal::is_recovering`].
    pub is_recovering: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A leader proposes. An older proposal is void; one of an older term or state than another is void itself.
    Proposed(TopicIdPartition, Proposal),
    /// [`Effect::Ask`] was answered, or was not.
    Answered(Result<AlterPartitionResponse, ErrorCode>),
    /// The time named by [`AlterPartition::deadline`] has come.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the controller, as the present incarnation of this broker; [`Event::Answered`] follows.
    Ask(AlterPartitionRequest),
    /// Tell the leader of a partition what became of its proposal.
    Tell(TopicIdPartition, Proposal, Result<Committed, ErrorCode>),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct AlterPartition {
    broker: BrokerId,
    /// Proposals that have no answer.
    pending: BTreeMap<TopicIdPartition, Proposal>,
    /// The proposals in flight.
    in_flight: Option<BTreeMap<TopicIdPartition, Proposal>>,
    not_before: Monotonic,
}

impl AlterPartition {
    /// Nothing proposed yet, at `broker`.
    #[must_use]
    pub const fn new(broker: BrokerId) -> Self {
        Self { broker, pending: BTreeMap::new(), in_flight: None, not_before: Monotonic::ZERO }
    }

    /// Takes an event; pushes what is to be done.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        let now = now.monotonic;
        match event {
            Event::Proposed(partition, proposal) => self.on_proposed(partition, proposal),
            Event::Answered(answer) => self.on_answered(now, answer, out),
            Event::Tick => {}
        }
        if self.in_flight.is_none() && !self.pending.is_empty() && now >= self.not_before {
            self.in_flight = Some(self.pending.clone());
            out.push(Effect::Ask(self.request()));
        }
    }

    fn on_proposed(&mut self, partition: TopicIdPartition, proposal: Proposal) {
        let version = |of: &Proposal| (of.leader_epoch, of.partition_epoch);
        let pending = self.pending.get(&partition);
        if pending.is_none_or(|pending| version(pending) <= version(&proposal)) {
            self.pending.insert(partition, proposal);
        }
    }

    /// When to send [`Event::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        (self.in_flight.is_none() && !self.pending.is_empty()).then_some(self.not_before)
    }

    fn request(&self) -> AlterPartitionRequest {
        let mut topics: Vec<TopicData> = Vec::new();
        for (id, proposal) in &self.pending {
            let state = |(broker_id, epoch): &(BrokerId, Option<BrokerEpoch>)| BrokerState {
                broker_id: *broker_id,
                broker_epoch: *epoch,
            };
            let partition = PartitionData {
                partition_index: id.partition,
                leader_epoch: proposal.leader_epoch,
                new_isr_with_epochs: proposal.isr.iter().map(state).collect(),
                leader_recovery_state: recovery_state(proposal.is_recovering),
                partition_epoch: proposal.partition_epoch.value(),
                ..PartitionData::default()
            };
            match topics.last_mut().filter(|topic| topic.topic_id == id.topic_id) {
                Some(topic) => topic.partitions.push(partition),
                None => {
                    topics.push(TopicData { topic_id: id.topic_id, partitions: vec![partition] })
                }
            }
        }
        AlterPartitionRequest { broker_id: self.broker, broker_epoch: None, topics }
    }

    fn on_answered(
        &mut self,
        now: Monotonic,
        answer: Result<AlterPartitionResponse, ErrorCode>,
        out: &mut Vec<Effect>,
    ) {
        let sent = self.in_flight.take().expect("a request is answered once");
        let topics = match answer {
            Ok(response) if response.error_code.is_none() => response.topics,
            Ok(_) | Err(_) => {
                crate::mark!("the controller does not take proposed in-sync replicas now");
                self.not_before = now + RETRY_PAUSE;
                return;
            }
        };
        for topic in topics {
            for answered in topic.partitions {
                let (topic_id, partition) = (topic.topic_id, answered.partition_index);
                let partition = TopicIdPartition { topic_id, partition };
                let is_newest = |sent: &Proposal| self.pending.get(&partition) == Some(sent);
                if !sent.get(&partition).is_some_and(is_newest) {
                    crate::mark!("a proposal of in-sync replicas was replaced while it was asked");
                    continue;
                }
                let proposal = self.pending.remove(&partition).expect("just compared");
                out.push(Effect::Tell(partition, proposal, committed(answered)));
            }
        }
        if sent.iter().any(|(partition, sent)| self.pending.get(partition) == Some(sent)) {
            // The controller left some out: they are asked again, but not in a circle.
            self.not_before = now + RETRY_PAUSE;
        }
    }
}

fn committed(answered: Answered) -> Result<Committed, ErrorCode> {
    if !answered.error_code.is_none() {
        return Err(answered.error_code);
    }
    let partition_epoch = PartitionEpoch::from_wire(answered.partition_epoch);
    let (Some(leader_epoch), Some(partition_epoch)) = (answered.leader_epoch, partition_epoch)
    else {
        return Err(ErrorCode::UnknownServerError);
    };
    Ok(Committed {
        isr: answered.isr,
        leader_epoch,
        partition_epoch,
        is_recovering: answered.leader_recovery_state == LeaderRecoveryState::Recovering,
    })
}

const fn recovery_state(is_recovering: bool) -> LeaderRecoveryState {
    if is_recovering { LeaderRecoveryState::Recovering } else { LeaderRecoveryState::Recovered }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::alter_partition_response::TopicData as AnsweredTopic;
    use crate::types::{PartitionIndex, Uuid};

    fn id(partition: i32) -> TopicIdPartition {
        TopicIdPartition {
            topic_id: Uuid::from_bytes([1; 16]),
            partition: PartitionIndex::new(partition),
        }
    }

    fn proposal(partition_epoch: i32) -> Proposal {
        Proposal {
            leader_epoch: LeaderEpoch::new(3),
            partition_epoch: PartitionEpoch::new(partition_epoch),
            isr: vec![(BrokerId::new(1), Some(BrokerEpoch::new(7)))],
            is_recovering: false,
        }
    }

    fn at(millis: u64) -> Now {
        Now { monotonic: Monotonic::from_nanos(millis * 1_000_000), ..Now::default() }
    }

    fn answer(partitions: &[(i32, ErrorCode)]) -> Event {
        let partitions = partitions.iter().map(|(partition, error_code)| Answered {
            partition_index: PartitionIndex::new(*partition),
            error_code: *error_code,
            leader_epoch: Some(LeaderEpoch::new(3)),
            isr: vec![BrokerId::new(1)],
            partition_epoch: 6,
            ..Answered::default()
        });
        let topic = AnsweredTopic { topic_id: id(0).topic_id, partitions: partitions.collect() };
        Event::Answered(Ok(AlterPartitionResponse { topics: vec![topic], ..Default::default() }))
    }

    fn handle(machine: &mut AlterPartition, millis: u64, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        machine.handle(at(millis), event, &mut out);
        out
    }

    fn asked(effects: &[Effect]) -> Vec<i32> {
        let mut asked = Vec::new();
        for effect in effects {
            if let Effect::Ask(request) = effect {
                let all = request.topics.iter().flat_map(|topic| &topic.partitions);
                asked.extend(all.map(|partition| partition.partition_index.value()));
            }
        }
        asked
    }

    #[test]
    fn what_comes_while_a_request_is_in_flight_goes_with_the_next() {
        let mut machine = AlterPartition::new(BrokerId::new(1));
        assert_eq!(asked(&handle(&mut machine, 0, Event::Proposed(id(0), proposal(5)))), [0]);
        assert_eq!(handle(&mut machine, 0, Event::Proposed(id(1), proposal(5))), []);
        assert_eq!(handle(&mut machine, 0, Event::Proposed(id(2), proposal(5))), []);
        let done = handle(&mut machine, 9, answer(&[(0, ErrorCode::None)]));
        assert!(matches!(&done[0], Effect::Tell(told, _, Ok(_)) if *told == id(0)));
        assert_eq!(asked(&done), [1, 2]);
        let error = ErrorCode::InvalidUpdateVersion;
        let done = handle(&mut machine, 9, answer(&[(1, ErrorCode::None), (2, error)]));
        assert!(matches!(&done[1], Effect::Tell(_, _, Err(ErrorCode::InvalidUpdateVersion))));
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn a_request_that_is_not_taken_is_asked_again_after_a_pause() {
        let mut machine = AlterPartition::new(BrokerId::new(1));
        handle(&mut machine, 0, Event::Proposed(id(0), proposal(5)));
        let refused = Event::Answered(Err(ErrorCode::NotController));
        assert_eq!(handle(&mut machine, 10, refused), []);
        assert_eq!(machine.deadline(), Some(at(60).monotonic));
        assert_eq!(asked(&handle(&mut machine, 60, Event::Tick)), [0]);
        // Left out of the answer.
        assert_eq!(handle(&mut machine, 70, answer(&[])), []);
        assert_eq!(asked(&handle(&mut machine, 120, Event::Tick)), [0]);
    }

    #[test]
    fn an_answer_to_a_replaced_proposal_is_dropped() {
        let mut machine = AlterPartition::new(BrokerId::new(1));
        handle(&mut machine, 0, Event::Proposed(id(0), proposal(5)));
        handle(&mut machine, 0, Event::Proposed(id(0), proposal(6)));
        assert_eq!(asked(&handle(&mut machine, 1, answer(&[(0, ErrorCode::None)]))), [0]);
        // An older one changes nothing.
        assert_eq!(handle(&mut machine, 1, Event::Proposed(id(0), proposal(5))), []);
        assert_eq!(handle(&mut machine, 2, answer(&[(0, ErrorCode::None)])).len(), 1);
        assert_eq!(machine.deadline(), None);
    }
}

//! A client of a scenario: a node of its own that runs a workload's work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ottla::runtime::watch;
use ottla::types::{PartitionIndex, TopicPartition};

use super::here::{Places, places};
use super::node::Member;
use crate::cluster::{NodeFactory, factory};
use crate::history::{FINAL_READER, SharedHistory};
use crate::scenario::Plan;
use crate::scenario::check::parse_assign;
use crate::scenario::draw::rng_of;
use crate::scenario::plan::{StartFrom, WorkloadKind, WorkloadPlan};
use crate::workload::{Client, ConsumerWork, FinalRead, ProducerWork};
use crate::world::{NodeContext, ProcessEnd, World};

/// Where clients find brokers first.
pub(super) fn bootstrap(plan: &Plan, places: &Places) -> String {
    let brokers = (1..=plan.cluster.brokers).map(Member::Broker);
    brokers.map(|broker| places.reached(broker)).collect::<Vec<_>>().join(",")
}

/// What every client of a run shares.
pub(super) struct Shared {
    pub(super) world: Arc<World>,
    pub(super) plan: Arc<Plan>,
    pub(super) history: SharedHistory,
}

impl Shared {
    fn client(
        &self,
        name: &str,
        incarnation: u32,
        context: &NodeContext,
        stop: &watch::Receiver<bool>,
    ) -> Client {
        let world = Arc::clone(&self.world);
        Client {
            name: name.into(),
            incarnation,
            env: context.env.clone(),
            now: Arc::new(move || world.now()),
            history: self.history.clone(),
            bootstrap: bootstrap(&self.plan, &places(&self.world)),
            properties: Default::default(),
            stop: stop.clone(),
        }
    }
}

/// Makes the process of a workload's client at each start; it ends when `stop` turns true and all is sent.
pub(super) fn workload_client(
    shared: &Arc<Shared>,
    workload: &str,
    index: u32,
    stop: watch::Receiver<bool>,
) -> NodeFactory {
    let shared = Arc::clone(shared);
    let name = format!("{workload}/{index}");
    let work = shared.plan.workloads.get(workload).expect("the scenario was checked").clone();
    let pointer = format!("/workloads/{workload}/value-bytes#{index}");
    let starts = AtomicU32::new(0);
    factory(move |context| {
        let incarnation = starts.fetch_add(1, Ordering::Relaxed) + 1;
        let mut client = shared.client(&name, incarnation, &context, &stop);
        client.properties = work.config.0.clone();
        let (shared, work, pointer) = (Arc::clone(&shared), work.clone(), pointer.clone());
        async move {
            // The context holds the node's right to be asked to stop: a client is asked through `stop`.
            let _context = context;
            run(&shared, client, work, &pointer).await;
            ProcessEnd::Clean
        }
    })
}

async fn run(shared: &Shared, client: Client, work: WorkloadPlan, pointer: &str) {
    let WorkloadPlan { topic, kind, .. } = work;
    match kind {
        WorkloadKind::Producer { rate_per_s, value_bytes, keys, records } => {
            let (world, pointer) = (Arc::clone(&shared.world), pointer.to_string());
            let mut seed = world.seed();
            let mut rng = rng_of(seed, &pointer);
            let value_bytes = Box::new(move || {
                if world.seed() != seed {
                    seed = world.seed();
                    rng = rng_of(seed, &pointer);
                }
                usize::try_from(value_bytes.0.sample(&mut rng)).unwrap_or(usize::MAX)
            });
            ProducerWork { topic, rate_per_s, keys, records, value_bytes }.run(client).await;
        }
        WorkloadKind::Consumer { assign, from } => {
            let count = shared.plan.topics.get(&topic).map_or(0, |topic| topic.partitions);
            let assigned = parse_assign(&assign, count).expect("the scenario was checked");
            let partitions = assigned.into_iter().map(|index| partition(&topic, index)).collect();
            let from_earliest = from == StartFrom::Earliest;
            ConsumerWork { partitions, from_earliest }.run(client).await;
        }
    }
}

/// Makes the process of the last reader: it reads every partition of every topic and ends.
pub(super) fn final_reader(shared: &Arc<Shared>, stop: watch::Receiver<bool>) -> NodeFactory {
    let shared = Arc::clone(shared);
    factory(move |context| {
        let client = shared.client(FINAL_READER, 1, &context, &stop);
        let topics = shared.plan.topics.iter();
        let partitions = topics
            .flat_map(|(name, topic)| (0..topic.partitions).map(|index| partition(name, index)))
            .collect();
        async move {
            let _context = context;
            FinalRead { partitions }.run(client).await;
            ProcessEnd::Clean
        }
    })
}

/// A partition of a scenario's topic.
pub(super) fn partition(topic: &str, index: u32) -> TopicPartition {
    let index = i32::try_from(index).expect("the scenario was checked");
    TopicPartition { topic: topic.into(), partition: PartitionIndex::new(index) }
}

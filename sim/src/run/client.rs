//! A client of a scenario: a node of its own that runs a workload's work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::runtime::watch;
use ottla::types::{PartitionIndex, TopicPartition};

use super::here::{Places, places};
use super::node::Member;
use crate::cluster::{NodeFactory, factory};
use crate::event::{Event, Recorder, Who};
use crate::history::{FINAL_READER, SharedHistory};
use crate::scenario::Plan;
use crate::scenario::check::parse_assign;
use crate::scenario::draw::{Draw, rng_of};
use crate::scenario::plan::{TimeDraw, WorkloadKind, WorkloadPlan};
use crate::workload::{Client, ConsumerWork, FinalRead, MemberWork, ProducerWork, Tell};
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
    pub(super) recorder: Arc<Recorder>,
    /// How many partitions topics have that steps gave more.
    pub(super) grown: Mutex<BTreeMap<String, u32>>,
}

impl Shared {
    /// How many partitions a topic of the file has now.
    pub(super) fn partitions_of(&self, topic: &str) -> u32 {
        let grown = self.grown.lock().expect("held for moments").get(topic).copied();
        grown.or_else(|| Some(self.plan.topics.get(topic)?.partitions)).unwrap_or(0)
    }

    /// Every partition that some topics have now.
    fn all_of<'a>(&self, topics: impl IntoIterator<Item = &'a str>) -> Vec<TopicPartition> {
        let of = |topic: &'a str| {
            let count = self.partitions_of(topic);
            (0..count).map(move |index| partition(topic, index))
        };
        topics.into_iter().flat_map(of).collect()
    }

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
            tell: self.teller(name),
            history: self.history.clone(),
            bootstrap: bootstrap(&self.plan, &places(&self.world)),
            properties: Default::default(),
            stop: stop.clone(),
        }
    }

    /// Tells the story of a client while it happens.
    fn teller(&self, name: &str) -> Tell {
        let (workload, index) = name.rsplit_once('/').unwrap_or((name, "0"));
        let who = Who::Client { workload: workload.into(), index: index.parse().unwrap_or(0) };
        let (world, recorder) = (Arc::clone(&self.world), Arc::clone(&self.recorder));
        Arc::new(move |kind, with| {
            let at = recorder.time(world.now().nanos());
            recorder.record(with(Event::new(at, who.clone(), kind)));
        })
    }
}

/// A client's place in the file.
#[derive(Clone)]
struct Place {
    workload: String,
    index: u32,
}

impl Place {
    /// Where a key of its workload is drawn for this client alone.
    fn of(&self, key: &str) -> String {
        let Self { workload, index } = self;
        format!("/workloads/{workload}/{key}#{index}")
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
    let place = Place { workload: workload.to_owned(), index };
    let work = shared.plan.workloads.get(workload).expect("the scenario was checked").clone();
    let starts = AtomicU32::new(0);
    factory(move |context| {
        let incarnation = starts.fetch_add(1, Ordering::Relaxed) + 1;
        let mut client = shared.client(&name, incarnation, &context, &stop);
        client.properties = work.config.0.clone();
        let (shared, work, place) = (Arc::clone(&shared), work.clone(), place.clone());
        async move {
            // The context holds the node's right to be asked to stop: a client is asked through `stop`.
            let _context = context;
            run(&shared, client, work, &place).await;
            ProcessEnd::Clean
        }
    })
}

async fn run(shared: &Shared, client: Client, work: WorkloadPlan, place: &Place) {
    let topics: Vec<String> = work.topics().map(str::to_owned).collect();
    let WorkloadPlan { topic, kind, .. } = work;
    match kind {
        WorkloadKind::Producer { rate_per_s, value_bytes, keys, records } => {
            let mut sample = sampler(shared, value_bytes.0, place.of("value-bytes"));
            let value_bytes = Box::new(move || usize::try_from(sample()).unwrap_or(usize::MAX));
            ProducerWork { topic, rate_per_s, keys, records, value_bytes }.run(client).await;
        }
        WorkloadKind::Consumer {
            group: Some(group),
            from,
            poll_timeout,
            static_members,
            commit,
            processing,
            pause_at,
            ..
        } => {
            let work = MemberWork {
                group: group.into(),
                topics,
                from,
                poll_timeout: poll_timeout.as_duration(),
                is_static: static_members,
                commit: commit.unwrap_or_default(),
                processing: processing_time(shared, processing, place),
                pause_at: pause_at.map(|records| usize::try_from(records).unwrap_or(usize::MAX)),
            };
            work.run(client).await;
        }
        WorkloadKind::Consumer { group: None, assign, from, poll_timeout, seek_every, .. } => {
            let count = shared.plan.topics.get(&topic).map_or(0, |topic| topic.partitions);
            let assign = assign.as_deref().unwrap_or("*");
            let assigned = parse_assign(assign, count).expect("the scenario was checked");
            let partitions = assigned.into_iter().map(|index| partition(&topic, index)).collect();
            let poll_timeout = poll_timeout.as_duration();
            let seek_every = seek_every.map(|TimeDraw(draw)| {
                let mut sample = sampler(shared, draw, place.of("seek-every"));
                Box::new(move || Duration::from_nanos(sample()))
                    as Box<dyn FnMut() -> Duration + Send>
            });
            ConsumerWork { partitions, from, poll_timeout, seek_every }.run(client).await;
        }
    }
}

/// Draws numbers for a place in the file, also where the seed changes on the way.
fn sampler(shared: &Shared, draw: Draw, pointer: String) -> impl FnMut() -> u64 + Send + 'static {
    let world = Arc::clone(&shared.world);
    let mut seed = world.seed();
    let mut rng = rng_of(seed, &pointer);
    move || {
        if world.seed() != seed {
            seed = world.seed();
            rng = rng_of(seed, &pointer);
        }
        draw.sample(&mut rng)
    }
}

fn processing_time(
    shared: &Shared,
    processing: Option<TimeDraw>,
    place: &Place,
) -> Box<dyn FnMut() -> Duration + Send> {
    let Some(TimeDraw(draw)) = processing else { return Box::new(|| Duration::ZERO) };
    let mut sample = sampler(shared, draw, place.of("processing"));
    Box::new(move || Duration::from_nanos(sample()))
}

/// Makes the process of the last reader: it reads every partition of every topic, asks what groups have committed, and ends.
pub(super) fn final_reader(shared: &Arc<Shared>, stop: watch::Receiver<bool>) -> NodeFactory {
    let shared = Arc::clone(shared);
    factory(move |context| {
        let client = shared.client(FINAL_READER, 1, &context, &stop);
        let partitions = shared.all_of(shared.plan.topics.keys().map(String::as_str));
        let groups = shared.plan.groups().into_iter();
        let groups = groups.map(|(group, topics)| (group.into(), shared.all_of(topics))).collect();
        async move {
            let _context = context;
            FinalRead { partitions, groups }.run(client).await;
            ProcessEnd::Clean
        }
    })
}

/// A partition of a scenario's topic.
pub(super) fn partition(topic: &str, index: u32) -> TopicPartition {
    let index = i32::try_from(index).expect("the scenario was checked");
    TopicPartition { topic: topic.into(), partition: PartitionIndex::new(index) }
}

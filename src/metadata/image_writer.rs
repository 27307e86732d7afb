//! An image as records: what a snapshot holds. Folding them gives the image again. And its digest, by which nodes are held to know
//! the same.
//!
//! Kafka: `MetadataImage.write`.

use std::hash::{Hash as _, Hasher};

use super::image::{MetadataImage, PartitionImage, TopicImage};
use super::records::{
    BrokerIncarnation, Config, FeatureLevel, Partition, ProducerIds, Record, RegisterBroker, Topic,
};
use super::{BrokerRegistration, METADATA_VERSION};
use crate::types::{BrokerEpoch, BrokerId, PartitionIndex, ProducerId};

impl MetadataImage {
    /// The fewest records that add up to this image: `metadata.version` first, because it says how to read the rest.
    #[must_use]
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut features: Vec<_> = self.features().iter().collect();
        features.sort_by_key(|(name, _)| name.as_str() != METADATA_VERSION);
        records.extend(features.into_iter().map(|(name, level)| {
            Record::FeatureLevel(FeatureLevel { name: name.clone(), level: *level })
        }));
        records.extend(self.brokers().map(|broker| register_broker(broker)));
        for topic in self.topics_by_id() {
            push_topic(topic, &mut records);
        }
        for (resource, configs) in self.all_configs() {
            records.extend(configs.iter().map(|(name, value)| {
                let (name, value) = (name.clone(), Some(value.clone()));
                Record::Config(Config { resource: resource.clone(), name, value })
            }));
        }
        if self.next_producer_id() > ProducerId::new(0) {
            records.push(Record::ProducerIds(ProducerIds {
                // Nobody reads who asked last.
                broker: BrokerId::new(0),
                broker_epoch: BrokerEpoch::new(0),
                next_producer_id: self.next_producer_id(),
            }));
        }
        records
    }

    /// A number that two images share only where they say the same: of everything in them, at the same offset.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Digest(0xcbf2_9ce4_8422_2325);
        self.hash(&mut digest);
        digest.finish()
    }
}

/// FNV-1a of 64 bits: the same in every build, which the standard library's hashers do not promise.
struct Digest(u64);

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn register_broker(broker: &BrokerRegistration) -> Record {
    Record::RegisterBroker(RegisterBroker {
        broker: broker.broker,
        incarnation_id: broker.incarnation_id,
        broker_epoch: broker.broker_epoch,
        endpoints: broker.endpoints.clone(),
        features: broker.features.clone(),
        rack: broker.rack.clone(),
        fenced: broker.fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        log_dirs: broker.log_dirs.clone(),
    })
}

fn push_topic(topic: &TopicImage, records: &mut Vec<Record>) {
    let (name, topic_id) = (topic.name.clone(), topic.topic_id);
    records.push(Record::Topic(Topic { name, topic_id }));
    let partitions = topic.partitions.iter();
    records.extend(partitions.map(|(index, image)| partition(topic, *index, image)));
}

fn partition(topic: &TopicImage, index: PartitionIndex, image: &PartitionImage) -> Record {
    Record::Partition(Partition {
        topic_id: topic.topic_id,
        partition: index,
        replicas: image.replicas.clone(),
        isr: image.isr.clone(),
        removing_replicas: image.removing_replicas.clone(),
        adding_replicas: image.adding_replicas.clone(),
        leader: image.leader,
        leader_recovery_state: image.leader_recovery_state,
        leader_epoch: image.leader_epoch,
        partition_epoch: image.partition_epoch,
        directories: image.directories.clone(),
        eligible_leader_replicas: image.eligible_leader_replicas.clone(),
        last_known_elr: image.last_known_elr.clone(),
    })
}

impl BrokerRegistration {
    /// Its present incarnation.
    #[must_use]
    pub fn incarnation(&self) -> BrokerIncarnation {
        BrokerIncarnation { broker: self.broker, broker_epoch: self.broker_epoch }
    }
}

//! The bytes of the metadata log's records: between [`Record`] and the generated structs.
//!
//! We write the versions that belong to [`super::METADATA_VERSION_DEFAULT`] and read every version we know. What we do not keep (a
//! broker that migrates from ZooKeeper, cordoned directories) is refused, not dropped: a cluster that uses it would be misread.

use bytes::Bytes;

use super::records::{
    BrokerIncarnation, BrokerRegistrationChange, Config, Endpoint, FeatureLevel, FeatureRange,
    Partition, PartitionChange, ProducerIds, Record, RegisterBroker, RemoveTopic, Topic,
};
use super::{ConfigResource, ResourceType};
use crate::protocol::metadata_records::{
    AbortTransactionRecord, BeginTransactionRecord, BrokerRegistrationChangeRecord, ConfigRecord,
    EndTransactionRecord, FeatureLevelRecord, FenceBrokerRecord, MetadataRecord, NoOpRecord,
    PartitionChangeRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord,
    RemoveTopicRecord, TopicRecord, UnfenceBrokerRecord, UnregisterBrokerRecord,
    register_broker_record,
};
use crate::protocol::wire::{DecodeError, EncodeError};
use crate::protocol::{ControlledShutdownChange, FencingChange};
use crate::types::{BrokerEpoch, PartitionEpoch};

/// Why the bytes of a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They are not a record of a type and version that we know.
    #[error("not a metadata record: {0}")]
    Decode(#[from] DecodeError),
    /// They say something that we do not keep.
    #[error("a metadata record that is not supported: {0}")]
    Unsupported(&'static str),
}

impl Record {
    /// The bytes of a record's value in the metadata log (Kafka: `MetadataRecordSerde`).
    ///
    /// Errors: a text is too long for the format.
    pub fn to_bytes(&self) -> Result<Bytes, EncodeError> {
        let (record, version) = self.to_wire();
        record.to_bytes(version)
    }

    /// Reads a record's value in the metadata log. Takes bytes of unknown origin.
    ///
    /// Errors: a type, version or content that we do not know.
    pub fn from_bytes(value: Bytes) -> Result<Self, RecordError> {
        let (record, _) = MetadataRecord::from_bytes(value)?;
        Self::from_wire(record)
    }

    fn to_wire(&self) -> (MetadataRecord, i16) {
        match self {
            Self::RegisterBroker(record) => {
                (MetadataRecord::RegisterBroker(register_broker_to_wire(record)), 3)
            }
            Self::UnregisterBroker(BrokerIncarnation { broker, broker_epoch }) => {
                let (broker_id, broker_epoch) = (*broker, *broker_epoch);
                let record = UnregisterBrokerRecord { broker_id, broker_epoch };
                (MetadataRecord::UnregisterBroker(record), 0)
            }
            Self::Topic(Topic { name, topic_id }) => {
                let record = TopicRecord { name: name.as_ref().to_owned(), topic_id: *topic_id };
                (MetadataRecord::Topic(record), 0)
            }
            Self::Partition(record) => (MetadataRecord::Partition(partition_to_wire(record)), 2),
            Self::PartitionChange(record) => {
                (MetadataRecord::PartitionChange(partition_change_to_wire(record)), 2)
            }
            Self::Config(Config { resource, name, value }) => {
                let record = ConfigRecord {
                    resource_type: resource.resource_type.code(),
                    resource_name: resource.name.as_ref().to_owned(),
                    name: name.clone(),
                    value: value.clone(),
                };
                (MetadataRecord::Config(record), 0)
            }
            Self::FenceBroker(BrokerIncarnation { broker, broker_epoch }) => {
                let record = FenceBrokerRecord { id: *broker, epoch: *broker_epoch };
                (MetadataRecord::FenceBroker(record), 0)
            }
            Self::UnfenceBroker(BrokerIncarnation { broker, broker_epoch }) => {
                let record = UnfenceBrokerRecord { id: *broker, epoch: *broker_epoch };
                (MetadataRecord::UnfenceBroker(record), 0)
            }
            Self::RemoveTopic(RemoveTopic { topic_id }) => {
                (MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: *topic_id }), 0)
            }
            Self::FeatureLevel(FeatureLevel { name, level }) => {
                let record = FeatureLevelRecord { name: name.clone(), feature_level: *level };
                (MetadataRecord::FeatureLevel(record), 0)
            }
            Self::ProducerIds(record) => {
                let record = ProducerIdsRecord {
                    broker_id: record.broker,
                    broker_epoch: Some(record.broker_epoch),
                    next_producer_id: record.next_producer_id,
                };
                (MetadataRecord::ProducerIds(record), 0)
            }
            Self::BrokerRegistrationChange(record) => {
                let record = registration_change_to_wire(record);
                (MetadataRecord::BrokerRegistrationChange(record), 2)
            }
            Self::NoOp => (MetadataRecord::NoOp(NoOpRecord {}), 0),
            Self::BeginTransaction(name) => {
                let record = BeginTransactionRecord { name: name.clone() };
                (MetadataRecord::BeginTransaction(record), 0)
            }
            Self::EndTransaction => (MetadataRecord::EndTransaction(EndTransactionRecord {}), 0),
            Self::AbortTransaction(reason) => {
                let record = AbortTransactionRecord { reason: reason.clone() };
                (MetadataRecord::AbortTransaction(record), 0)
            }
        }
    }

    fn from_wire(record: MetadataRecord) -> Result<Self, RecordError> {
        Ok(match record {
            MetadataRecord::RegisterBroker(record) => {
                Self::RegisterBroker(register_broker_from_wire(record)?)
            }
            MetadataRecord::UnregisterBroker(record) => Self::UnregisterBroker(BrokerIncarnation {
                broker: record.broker_id,
                broker_epoch: record.broker_epoch,
            }),
            MetadataRecord::Topic(record) => {
                Self::Topic(Topic { name: record.name.into(), topic_id: record.topic_id })
            }
            MetadataRecord::Partition(record) => Self::Partition(partition_from_wire(record)?),
            MetadataRecord::PartitionChange(record) => {
                Self::PartitionChange(partition_change_from_wire(record))
            }
            MetadataRecord::Config(record) => {
                let resource_type = ResourceType::from_wire(record.resource_type)
                    .ok_or(RecordError::Unsupported("a config of neither a topic nor a broker"))?;
                let resource = ConfigResource { resource_type, name: record.resource_name.into() };
                Self::Config(Config { resource, name: record.name, value: record.value })
            }
            MetadataRecord::FenceBroker(record) => Self::FenceBroker(BrokerIncarnation {
                broker: record.id,
                broker_epoch: record.epoch,
            }),
            MetadataRecord::UnfenceBroker(record) => Self::UnfenceBroker(BrokerIncarnation {
                broker: record.id,
                broker_epoch: record.epoch,
            }),
            MetadataRecord::RemoveTopic(record) => {
                Self::RemoveTopic(RemoveTopic { topic_id: record.topic_id })
            }
            MetadataRecord::FeatureLevel(record) => {
                Self::FeatureLevel(FeatureLevel { name: record.name, level: record.feature_level })
            }
            MetadataRecord::ProducerIds(record) => Self::ProducerIds(ProducerIds {
                broker: record.broker_id,
                broker_epoch: record.broker_epoch.unwrap_or(BrokerEpoch::new(0)),
                next_producer_id: record.next_producer_id,
            }),
            MetadataRecord::BrokerRegistrationChange(record) => {
                Self::BrokerRegistrationChange(registration_change_from_wire(record)?)
            }
            MetadataRecord::NoOp(NoOpRecord {}) => Self::NoOp,
            MetadataRecord::BeginTransaction(record) => Self::BeginTransaction(record.name),
            MetadataRecord::EndTransaction(EndTransactionRecord {}) => Self::EndTransaction,
            MetadataRecord::AbortTransaction(record) => Self::AbortTransaction(record.reason),
        })
    }
}

fn register_broker_to_wire(record: &RegisterBroker) -> RegisterBrokerRecord {
    let endpoints =
        record.endpoints.iter().map(|endpoint| register_broker_record::BrokerEndpoint {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        });
    let features = record.features.iter().map(|feature| register_broker_record::BrokerFeature {
        name: feature.name.clone(),
        min_supported_version: feature.level_min,
        max_supported_version: feature.level_max,
    });
    RegisterBrokerRecord {
        broker_id: record.broker,
        is_migrating_zk_broker: false,
        incarnation_id: record.incarnation_id,
        broker_epoch: record.broker_epoch,
        endpoints: endpoints.collect(),
        features: features.collect(),
        rack: record.rack.clone(),
        fenced: record.fenced,
        in_controlled_shutdown: record.in_controlled_shutdown,
        log_dirs: record.log_dirs.clone(),
        cordoned_log_dirs: None,
    }
}

fn register_broker_from_wire(record: RegisterBrokerRecord) -> Result<RegisterBroker, RecordError> {
    if record.is_migrating_zk_broker {
        return Err(RecordError::Unsupported("a broker that migrates from ZooKeeper"));
    }
    if record.cordoned_log_dirs.is_some_and(|dirs| !dirs.is_empty()) {
        return Err(RecordError::Unsupported("cordoned log directories"));
    }
    let endpoints = record.endpoints.into_iter().map(|endpoint| Endpoint {
        name: endpoint.name,
        host: endpoint.host,
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    });
    let features = record.features.into_iter().map(|feature| FeatureRange {
        name: feature.name,
        level_min: feature.min_supported_version,
        level_max: feature.max_supported_version,
    });
    Ok(RegisterBroker {
        broker: record.broker_id,
        incarnation_id: record.incarnation_id,
        broker_epoch: record.broker_epoch,
        endpoints: endpoints.collect(),
        features: features.collect(),
        rack: record.rack,
        fenced: record.fenced,
        in_controlled_shutdown: record.in_controlled_shutdown,
        log_dirs: record.log_dirs,
    })
}

/// An empty list of an optional field is written as none: it says the same in fewer bytes.
fn non_empty<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn partition_to_wire(record: &Partition) -> PartitionRecord {
    PartitionRecord {
        partition_id: record.partition,
        topic_id: record.topic_id,
        replicas: record.replicas.clone(),
        isr: record.isr.clone(),
        removing_replicas: record.removing_replicas.clone(),
        adding_replicas: record.adding_replicas.clone(),
        leader: record.leader,
        leader_recovery_state: record.leader_recovery_state,
        leader_epoch: record.leader_epoch,
        partition_epoch: record.partition_epoch.value(),
        directories: record.directories.clone(),
        eligible_leader_replicas: non_empty(&record.eligible_leader_replicas),
        last_known_elr: non_empty(&record.last_known_elr),
    }
}

fn partition_from_wire(record: PartitionRecord) -> Result<Partition, RecordError> {
    let partition_epoch = PartitionEpoch::from_wire(record.partition_epoch)
        .ok_or(RecordError::Unsupported("a partition without a partition epoch"))?;
    Ok(Partition {
        topic_id: record.topic_id,
        partition: record.partition_id,
        replicas: record.replicas,
        isr: record.isr,
        removing_replicas: record.removing_replicas,
        adding_replicas: record.adding_replicas,
        leader: record.leader,
        leader_recovery_state: record.leader_recovery_state,
        leader_epoch: record.leader_epoch,
        partition_epoch,
        directories: record.directories,
        eligible_leader_replicas: record.eligible_leader_replicas.unwrap_or_default(),
        last_known_elr: record.last_known_elr.unwrap_or_default(),
    })
}

fn partition_change_to_wire(record: &PartitionChange) -> PartitionChangeRecord {
    PartitionChangeRecord {
        partition_id: record.partition,
        topic_id: record.topic_id,
        isr: record.isr.clone(),
        leader: record.leader,
        replicas: record.replicas.clone(),
        removing_replicas: record.removing_replicas.clone(),
        adding_replicas: record.adding_replicas.clone(),
        leader_recovery_state: record.leader_recovery_state,
        directories: record.directories.clone(),
        eligible_leader_replicas: record.eligible_leader_replicas.clone(),
        last_known_elr: record.last_known_elr.clone(),
    }
}

fn partition_change_from_wire(record: PartitionChangeRecord) -> PartitionChange {
    PartitionChange {
        topic_id: record.topic_id,
        partition: record.partition_id,
        isr: record.isr,
        leader: record.leader,
        replicas: record.replicas,
        removing_replicas: record.removing_replicas,
        adding_replicas: record.adding_replicas,
        leader_recovery_state: record.leader_recovery_state,
        directories: record.directories,
        eligible_leader_replicas: record.eligible_leader_replicas,
        last_known_elr: record.last_known_elr,
    }
}

fn registration_change_to_wire(
    record: &BrokerRegistrationChange,
) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord {
        broker_id: record.broker,
        broker_epoch: record.broker_epoch,
        fenced: match record.fenced {
            None => FencingChange::None,
            Some(true) => FencingChange::Fence,
            Some(false) => FencingChange::Unfence,
        },
        in_controlled_shutdown: if record.in_controlled_shutdown {
            ControlledShutdownChange::InControlledShutdown
        } else {
            ControlledShutdownChange::None
        },
        log_dirs: record.log_dirs.clone().unwrap_or_default(),
        cordoned_log_dirs: None,
    }
}

fn registration_change_from_wire(
    record: BrokerRegistrationChangeRecord,
) -> Result<BrokerRegistrationChange, RecordError> {
    if record.cordoned_log_dirs.is_some_and(|dirs| !dirs.is_empty()) {
        return Err(RecordError::Unsupported("cordoned log directories"));
    }
    Ok(BrokerRegistrationChange {
        broker: record.broker_id,
        broker_epoch: record.broker_epoch,
        fenced: match record.fenced {
            FencingChange::None => None,
            FencingChange::Fence => Some(true),
            FencingChange::Unfence => Some(false),
        },
        in_controlled_shutdown: match record.in_controlled_shutdown {
            ControlledShutdownChange::None => false,
            ControlledShutdownChange::InControlledShutdown => true,
        },
        // No list and an empty one are the same on the wire: a broker without a working directory has ended.
        log_dirs: (!record.log_dirs.is_empty()).then_some(record.log_dirs),
    })
}

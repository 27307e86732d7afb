//! Producer ids are handed to brokers by the block, so that a broker needs the controller only once in a thousand.
//!
//! A block is gone when its record is replayed, used or not: an id is never given out twice.
//!
//! Kafka: `ProducerIdControlManager`.

use super::Controller;
use super::request::{ApiError, ProducerIdBlock};
use crate::metadata::Record;
use crate::metadata::records::ProducerIds;
use crate::types::{BrokerEpoch, BrokerId, ErrorCode, ProducerId};

/// How many ids a block has (Kafka: `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_ID_BLOCK_SIZE: u32 = 1000;

impl Controller {
    pub(super) fn allocate_producer_ids(
        &self,
        broker: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> (Vec<Record>, Result<ProducerIdBlock, ApiError>) {
        if let Err(error) = self.check_broker_epoch(broker, broker_epoch) {
            return (Vec::new(), Err(error));
        }
        let first = self.image().next_producer_id();
        let Some(next) = first.value().checked_add(i64::from(PRODUCER_ID_BLOCK_SIZE)) else {
            let error =
                ApiError::new(ErrorCode::UnknownServerError, "all producer ids are used up");
            return (Vec::new(), Err(error));
        };
        let record = ProducerIds { broker, broker_epoch, next_producer_id: ProducerId::new(next) };
        let block = ProducerIdBlock { first, count: PRODUCER_ID_BLOCK_SIZE };
        (vec![Record::ProducerIds(record)], Ok(block))
    }
}

//! FindCoordinator: who leads the partition of `__consumer_offsets` that a group belongs to. The first one who asks has the topic created.
//!
//! Kafka: `KafkaApis.handleFindCoordinatorRequest`.

use super::Call;
use crate::coordinator::group::{OFFSETS_TOPIC, partition_of};
use crate::metadata::MetadataImage;
use crate::protocol::messages::find_coordinator_response::Coordinator;
use crate::protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::types::{BrokerId, ErrorCode};

/// Several keys are asked for at once from this version on (KIP-699).
const VERSION_OF_BATCHES: i16 = 4;
/// Kafka: `FindCoordinatorRequest.CoordinatorType`.
const KEY_TYPE_GROUP: i8 = 0;
/// The same.
const KEY_TYPE_TRANSACTION: i8 = 1;

/// Where a coordinator is.
struct Found {
    node_id: BrokerId,
    host: String,
    port: i32,
}

/// Why nobody is named.
type Refusal = (ErrorCode, &'static str);

pub(super) async fn handle(
    call: &Call<'_>,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let image = call.broker.image();
    if call.version() < VERSION_OF_BATCHES {
        let one = coordinator(String::new(), find(call, &image, request.key_type, &request.key));
        return FindCoordinatorResponse {
            error_code: one.error_code,
            error_message: one.error_message,
            node_id: one.node_id,
            host: one.host,
            port: one.port,
            ..Default::default()
        };
    }
    let keys = request.coordinator_keys.into_iter();
    let coordinators = keys.map(|key| {
        let found = find(call, &image, request.key_type, &key);
        coordinator(key, found)
    });
    FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() }
}

fn coordinator(key: String, found: Result<Found, Refusal>) -> Coordinator {
    match found {
        Ok(Found { node_id, host, port }) => Coordinator {
            key,
            node_id: Some(node_id),
            host,
            port,
            error_code: ErrorCode::None,
            error_message: None,
        },
        Err((error_code, message)) => Coordinator {
            key,
            node_id: None,
            host: String::new(),
            port: -1,
            error_code,
            error_message: Some(message.to_owned()),
        },
    }
}

fn find(call: &Call<'_>, image: &MetadataImage, key_type: i8, key: &str) -> Result<Found, Refusal> {
    match key_type {
        KEY_TYPE_GROUP => find_group(call, image, key),
        // An error that ends a producer: others it would ride out for ever.
        KEY_TYPE_TRANSACTION => Err((
            ErrorCode::TransactionalIdAuthorizationFailed,
            "Transactions are not supported by this broker yet.",
        )),
        _ => Err((ErrorCode::InvalidRequest, "This broker has no coordinators of this type.")),
    }
}

fn find_group(call: &Call<'_>, image: &MetadataImage, group: &str) -> Result<Found, Refusal> {
    let unavailable = |why| (ErrorCode::CoordinatorNotAvailable, why);
    let Some(topic) = image.topic(OFFSETS_TOPIC) else {
        call.broker.auto_create_topics(vec![OFFSETS_TOPIC.to_owned()]);
        let why = "The topic __consumer_offsets is not there yet. It needs as many brokers as \
                   offsets.topic.replication.factor says.";
        return Err(unavailable(why));
    };
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    if partitions == 0 {
        return Err(unavailable("The topic __consumer_offsets has no partitions."));
    }
    let partition = topic.partitions.get(&partition_of(group, partitions));
    let leader = partition
        .and_then(|partition| image.broker(partition.leader?))
        .filter(|broker| !broker.fenced)
        .and_then(|broker| Some((broker.broker, broker.endpoint(call.source.listener)?)));
    match leader {
        Some((node_id, endpoint)) => {
            Ok(Found { node_id, host: endpoint.host.clone(), port: endpoint.port.into() })
        }
        None => Err(unavailable("The group's partition of __consumer_offsets has no leader.")),
    }
}

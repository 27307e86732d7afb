//! Who is let into a cluster, and what the controller listener answers whom.

use std::sync::Arc;

use ottla::protocol::ApiKey;
use ottla::protocol::messages::{
    AllocateProducerIdsRequest, ApiVersionsRequest, BrokerHeartbeatRequest, EnvelopeRequest,
    InitProducerIdRequest,
};
use ottla::server::{FormatOptions, format};
use ottla::types::{BrokerEpoch, BrokerId, ErrorCode, ProducerId, Uuid};

use crate::setup::{Cluster, start};
use crate::support::{Heard, Server, env, run};

const COMBINED: &str = "broker,controller";

/// The words of a start that fails.
fn refusal(started: Result<Server, ottla::server::StartError>) -> String {
    match started {
        Ok(_) => panic!("the node starts"),
        Err(error) => {
            let text = error.to_string();
            assert_eq!(text.lines().count(), 4, "{text}");
            text
        }
    }
}

#[test]
fn members_of_a_cluster_are_formatted_with_its_id() {
    let cluster = Cluster::new(&[COMBINED, COMBINED]);
    let env = env(Arc::new(Heard::default()));
    let formatted = run(format(&cluster.config(1, &[]), FormatOptions::default(), &env));
    let error = formatted.unwrap_err().to_string();
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains("the cluster's id is not given"), "{error}");
    assert!(!cluster.dir(1).exists(), "nothing is written where the id is missing");

    let options =
        FormatOptions { cluster_id: crate::setup::cluster_id(), ..FormatOptions::default() };
    let one = run(format(&cluster.config(1, &[]), options.clone(), &env)).unwrap();
    let two = run(format(&cluster.config(2, &[]), options, &env)).unwrap();
    assert_eq!(one.cluster_id, two.cluster_id);
    let directory = |id| {
        let meta = std::fs::read_to_string(cluster.dir(id).join("meta.properties")).unwrap();
        meta.lines().find(|line| line.starts_with("directory.id=")).unwrap().to_owned()
    };
    assert_ne!(directory(1), directory(2));
}

#[test]
fn a_broker_of_another_cluster_or_with_a_number_in_use_is_refused() {
    let mut cluster = Cluster::new(&["controller", "broker"]);
    cluster.start_nodes(&[1]);
    let impatient = [("initial.broker.registration.timeout.ms", "3000")];

    let other = tempfile::tempdir().unwrap();
    let config = cluster.config_in(2, other.path(), &impatient);
    let options = FormatOptions {
        cluster_id: Uuid::parse("AAAAAAAAAAAAAAAAAAAAAw"),
        ..FormatOptions::default()
    };
    let error = refusal(Server::start_as(config, options, |env| env));
    assert!(error.contains("the broker cannot enter the cluster"), "{error}");

    cluster.start_nodes(&[2]);
    let twin = tempfile::tempdir().unwrap();
    let error = refusal(start(cluster.config_in(2, twin.path(), &impatient)));
    assert!(error.contains("DUPLICATE_BROKER_REGISTRATION"), "{error}");
}

#[test]
fn a_broker_that_finds_no_controller_says_whom_it_waited_for() {
    let cluster = Cluster::new(&["controller", "broker"]);
    let impatient = [("initial.broker.registration.timeout.ms", "500")];
    let error = refusal(start(cluster.config(2, &impatient)));
    assert!(error.contains("registration with the controllers 1@127.0.0.1:"), "{error}");
    assert!(error.contains("start a majority of the controllers"), "{error}");
}

#[test]
fn the_controller_listener_serves_its_own_apis() {
    let cluster = Cluster::start(&[COMBINED]);
    let mut client = cluster.connect_to_controller(1);
    let request = ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1.0".to_owned(),
    };
    let served: Vec<i16> = client.ask(4, &request).api_keys.iter().map(|one| one.api_key).collect();
    let has = |api: ApiKey| served.contains(&api.key());
    assert!(has(ApiKey::Vote) && has(ApiKey::Fetch) && has(ApiKey::Envelope));
    assert!(!has(ApiKey::Produce) && !has(ApiKey::Metadata));
    let mut sorted = served.clone();
    sorted.sort_unstable();
    assert_eq!(served, sorted);

    let stale = BrokerHeartbeatRequest {
        broker_id: BrokerId::new(1),
        broker_epoch: Some(BrokerEpoch::new(1_000_000)),
        ..Default::default()
    };
    assert_eq!(client.ask(1, &stale).error_code, ErrorCode::StaleBrokerEpoch);
    let ids = AllocateProducerIdsRequest { broker_id: BrokerId::new(1), broker_epoch: None };
    assert_eq!(client.ask(0, &ids).error_code, ErrorCode::StaleBrokerEpoch);

    // What is no administrative request does not come in an envelope.
    let mut inner = vec![0; 8];
    inner[..2].copy_from_slice(&ApiKey::BrokerHeartbeat.key().to_be_bytes());
    inner.extend([0xff, 0xff, 0]);
    let envelope = EnvelopeRequest { request_data: inner.into(), ..Default::default() };
    assert_eq!(client.ask(0, &envelope).error_code, ErrorCode::InvalidRequest);
    let envelope = EnvelopeRequest::default();
    assert_eq!(client.ask(0, &envelope).error_code, ErrorCode::InvalidRequest);
}

#[test]
fn producer_ids_of_all_brokers_differ() {
    let cluster = Cluster::start(&[COMBINED, COMBINED, COMBINED]);
    let mut seen: Vec<ProducerId> = Vec::new();
    for _ in 0..2 {
        for id in 1..=3 {
            let mut client = cluster.connect(id);
            let answer = client.ask(4, &InitProducerIdRequest::default());
            assert_eq!(answer.error_code, ErrorCode::None);
            seen.push(answer.producer_id.unwrap());
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 6);
}

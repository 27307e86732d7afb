//! A group whose coordinator goes: another node takes over, with all that was committed.

use ottla::protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla::protocol::messages::{FindCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest};
use ottla::types::{ErrorCode, Offset, PartitionIndex};

use crate::setup::{Cluster, create_copies, eventually};
use crate::support::Client;

const GROUP: &str = "g";

/// The group's coordinator, as `client` is told.
pub(crate) fn coordinator(client: &mut Client) -> Option<i32> {
    let request = FindCoordinatorRequest { key: GROUP.to_owned(), ..Default::default() };
    client.ask(1, &request).node_id.map(|node| node.value())
}

/// Whoever else runs.
fn another(cluster: &Cluster, id: i32) -> i32 {
    *cluster.running.keys().find(|one| **one != id).unwrap()
}

/// Asks the coordinator, whoever it is at the moment, until it answers.
fn ask<T>(
    cluster: &Cluster,
    gone: i32,
    question: impl Fn(&mut Client) -> Result<T, ErrorCode>,
) -> (i32, T) {
    let asked = another(cluster, gone);
    eventually("the group has a coordinator", || {
        let node = coordinator(&mut cluster.connect(asked))?;
        if !cluster.running.contains_key(&node) {
            return None;
        }
        match question(&mut cluster.connect(node)) {
            Ok(answer) => Some((node, answer)),
            Err(
                ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::CoordinatorLoadInProgress,
            ) => None,
            Err(error) => panic!("{error}"),
        }
    })
}

fn commit(offset: i64) -> impl Fn(&mut Client) -> Result<(), ErrorCode> {
    move |client| {
        let partition = OffsetCommitRequestPartition {
            partition_index: PartitionIndex::new(0),
            committed_offset: Offset::from_wire(offset),
            committed_metadata: Some(String::new()),
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: "orders".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: GROUP.to_owned(),
            topics: vec![topic],
            ..Default::default()
        };
        let error = client.ask(8, &request).topics[0].partitions[0].error_code;
        if error.is_none() { Ok(()) } else { Err(error) }
    }
}

fn committed(client: &mut Client) -> Result<Option<i64>, ErrorCode> {
    let request =
        OffsetFetchRequest { group_id: GROUP.to_owned(), topics: None, ..Default::default() };
    let answer = client.ask(7, &request);
    if !answer.error_code.is_none() {
        return Err(answer.error_code);
    }
    let partition = answer.topics.first().map(|topic| &topic.partitions[0]);
    Ok(partition.and_then(|one| one.committed_offset).map(Offset::value))
}

#[test]
fn what_a_group_committed_outlives_its_coordinators() {
    let mut cluster = Cluster::start(&["broker,controller"; 3]);
    assert_eq!(create_copies(&mut cluster.connect(1), "orders", 3), ErrorCode::None);
    let (first, ()) = ask(&cluster, 0, commit(5));
    // Whoever is not the coordinator says so.
    let other = another(&cluster, first);
    assert_eq!(commit(6)(&mut cluster.connect(other)), Err(ErrorCode::NotCoordinator));
    cluster.stop(first);
    let (second, offset) = ask(&cluster, first, committed);
    assert_eq!(offset, Some(5));
    assert_ne!(second, first);
    ask(&cluster, first, commit(7));
    cluster.start_nodes(&[first]);
    // The third node must have it all before the second may die: the group would be without its log otherwise.
    eventually("all replicas are in sync", || {
        let topics = crate::setup::metadata(&mut cluster.connect(second)).topics;
        let mut partitions = topics.iter().flat_map(|topic| &topic.partitions);
        partitions.all(|one| one.isr_nodes.len() == 3).then_some(())
    });
    cluster.kill(second);
    let (_, offset) = ask(&cluster, second, committed);
    assert_eq!(offset, Some(7));
    cluster.stop_all();
}

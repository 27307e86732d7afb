//! Who was away for long is sent a snapshot of the metadata instead of its log.

use ottla::types::ErrorCode;

use crate::setup::{Cluster, create, eventually, start, view};

const COMBINED: &str = "broker,controller";
/// A snapshot after every few topics.
const SMALL: [(&str, &str); 1] = [("metadata.log.max.record.bytes.between.snapshots", "1500")];

fn start_small(cluster: &mut Cluster, ids: &[i32]) {
    let starts = ids.iter().map(|id| {
        let config = cluster.config(*id, &SMALL);
        (*id, std::thread::spawn(move || start(config)))
    });
    for (id, start) in starts.collect::<Vec<_>>() {
        let server = start.join().unwrap().unwrap_or_else(|error| panic!("{error}"));
        cluster.running.insert(id, server);
    }
}

/// The end offsets of a node's snapshots.
fn snapshots(cluster: &Cluster, id: i32) -> Vec<u64> {
    let names = std::fs::read_dir(cluster.dir(id).join("__cluster_metadata-0")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let end = |name: String| name.strip_suffix(".checkpoint")?.get(..20)?.parse().ok();
    let mut ends: Vec<u64> = names.filter_map(end).collect();
    ends.sort_unstable();
    ends
}

#[test]
fn who_was_away_for_long_or_lost_its_disk_is_sent_a_snapshot() {
    let mut cluster = Cluster::new(&[COMBINED, COMBINED, COMBINED]);
    start_small(&mut cluster, &[1, 2, 3]);
    assert_eq!(create(&mut cluster.connect(1), "first"), ErrorCode::None);
    cluster.stop(3);
    let mut client = cluster.connect(1);
    for index in 0..40 {
        assert_eq!(create(&mut client, &format!("topic-{index}")), ErrorCode::None);
    }
    eventually("the log was trimmed", || (snapshots(&cluster, 1)[0] > 100).then_some(()));
    // Behind where the others' logs begin.
    start_small(&mut cluster, &[3]);
    let sees_all = |cluster: &Cluster, topics: usize| {
        let mut client = cluster.connect(3);
        eventually("it knows all topics", || (view(&mut client).1.len() == topics).then_some(()));
    };
    sees_all(&cluster, 41);
    let first = *snapshots(&cluster, 3).first().unwrap();
    assert!(first > 100, "its log goes on from the snapshot that it was sent, not from {first}");

    // Without anything: any directory may be that of a voter which the configuration names.
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.dir(3)).unwrap();
    start_small(&mut cluster, &[3]);
    sees_all(&cluster, 41);
    // The two that have nothing to wait for go on, with the one that came back.
    cluster.stop(1);
    let mut client = cluster.connect(3);
    eventually("two decide", || create(&mut client, "last").is_none().then_some(()));
    sees_all(&cluster, 42);
}

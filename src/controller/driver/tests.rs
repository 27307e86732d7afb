//! The driver over a disk in memory: what is committed survives, replies wait for it, and a failing disk ends it.

use std::future::Future;
use std::path::{Path, PathBuf};

use super::*;
use crate::controller::ControllerConfig;
use crate::controller::request::{
    BrokerHeartbeatRequest, CreateTopicsRequest, RegisterBrokerRequest, TopicSelector,
};
use crate::controller::request::{NewTopic, NewTopicPlacement};
use crate::metadata::group_config::GroupConfigRanges;
use crate::metadata::records::{Endpoint, FeatureRange};
use crate::metadata::{FEATURES, METADATA_VERSION};
use crate::raft::driver::METADATA_PARTITION_DIR;
use crate::raft::{SnapshotId, Voter};
use crate::runtime::Disk;
use crate::storage::test_disk::{Faults, TestDisk, TestWorld, run, test_env};
use crate::types::{BrokerEpoch, BrokerId, LeaderEpoch, Timestamp, Uuid};

const LOG_DIR: &str = "/data";
const DIRECTORY: Uuid = Uuid::from_bytes([0xd1; 16]);

fn options() -> ControllerOptions {
    ControllerOptions {
        config: ControllerConfig {
            node: BrokerId::new(1),
            cluster_id: "test-cluster".to_owned(),
            broker_session_timeout: Duration::from_secs(9),
            partitions_default: 1,
            replication_factor_default: 1,
            min_insync_replicas_default: 1,
            unclean_leader_election_default: false,
            leader_balance: None,
            group_configs: GroupConfigRanges::default(),
            config_list_default: |_, _| None,
            config_validator: |_, _, _| Ok(()),
        },
        metadata_log_dir: PathBuf::from(LOG_DIR),
        directory_id: DIRECTORY,
        segment_bytes: 1 << 20,
        bytes_between_snapshots: 1 << 20,
        quorum: QuorumOptions::alone(BrokerId::new(1)),
    }
}

/// Runs a controller on `disk` while `story` asks it.
fn with_controller<T, F: Future<Output = T>>(
    disk: &TestDisk,
    options: ControllerOptions,
    story: impl FnOnce(ControllerHandle) -> F,
) -> (T, Arc<TestWorld>) {
    let (env, world) = test_env(disk);
    let told = run(async {
        let (handle, running) = ControllerHandle::open(options, &env).await.unwrap();
        let mut running = Box::pin(running);
        let mut story = Box::pin(story(handle));
        let mut has_ended = false;
        std::future::poll_fn(move |cx| {
            if !has_ended && running.as_mut().poll(cx).is_ready() {
                has_ended = true;
            }
            story.as_mut().poll(cx)
        })
        .await
    });
    (told, world)
}

fn new_disk() -> TestDisk {
    let disk = TestDisk::new();
    let voter = Voter::new(BrokerId::new(1), DIRECTORY);
    let records = bootstrap_records(&[]).unwrap();
    run(async {
        disk.create_dir_all(Path::new(LOG_DIR)).await.unwrap();
        let time = Timestamp::from_millis(1);
        format_metadata(&disk, Path::new(LOG_DIR), Some(voter), &records, time).await.unwrap();
    });
    disk
}

async fn join(handle: &ControllerHandle, incarnation: u8) -> BrokerEpoch {
    let feature = |feature: &crate::metadata::Feature| FeatureRange {
        name: feature.name.to_owned(),
        level_min: feature.level_min,
        level_max: feature.level_max,
    };
    let request = RegisterBrokerRequest {
        broker: BrokerId::new(1),
        cluster_id: "test-cluster".to_owned(),
        incarnation_id: Uuid::from_bytes([incarnation; 16]),
        endpoints: vec![Endpoint {
            name: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
            security_protocol: 0,
        }],
        features: FEATURES.iter().map(feature).collect(),
        rack: Some("r".to_owned()),
        log_dirs: vec![DIRECTORY],
        previous_broker_epoch: None,
    };
    let broker_epoch = handle.register_broker(request).await.unwrap();
    let answer = handle.broker_heartbeat(BrokerHeartbeatRequest {
        broker: BrokerId::new(1),
        broker_epoch,
        metadata_end_offset: handle.image().end_offset,
        want_fence: false,
        want_shutdown: false,
        offline_log_dirs: vec![],
    });
    assert!(!answer.await.unwrap().is_fenced);
    broker_epoch
}

async fn create(handle: &ControllerHandle, name: &str) -> Result<(), ApiError> {
    let placement = NewTopicPlacement::Automatic { partitions: Some(2), replication_factor: None };
    let configs = vec![("retention.ms".to_owned(), Some("1000".to_owned()))];
    let topic = NewTopic { name: name.to_owned(), placement, configs };
    let request = CreateTopicsRequest { topics: vec![topic], validate_only: false };
    let mut results = handle.create_topics(request).await?;
    results.remove(0).result.map(|_| ())
}

/// The image without what the next start adds: its epoch and end.
fn content(image: &MetadataImage) -> MetadataImage {
    let mut image = image.clone();
    (image.end_offset, image.epoch) = (Offset::ZERO, LeaderEpoch::new(0));
    image
}

#[test]
fn a_new_cluster_begins_with_the_records_of_its_format() {
    let disk = new_disk();
    let (image, world) = with_controller(&disk, options(), |handle| async move { handle.image() });
    assert_eq!(image.feature_level(METADATA_VERSION), 27);
    // The leader's own record stands at 0.
    assert_eq!(image.end_offset, Offset::new(4));
    let epoch = LeaderEpoch::new(1);
    let observed = world.observed();
    let elected = Observation::ControllerElected { broker: BrokerId::new(1), epoch };
    let committed = Observation::MetadataCommitted { end_offset: Offset::new(4) };
    let position = |what| observed.iter().position(|seen| *seen == what).unwrap();
    assert!(position(elected) < position(committed));
    let files = disk.files_in(&Path::new(LOG_DIR).join(METADATA_PARTITION_DIR));
    let state = String::from_utf8(files["quorum-state"].clone()).unwrap();
    assert!(state.starts_with(r#"{"leaderId":1,"leaderEpoch":1,"votedId":1,"#), "{state}");
}

#[test]
fn what_was_answered_is_there_after_every_end_and_the_image_is_the_same() {
    for end in ["shutdown", "kill", "power loss"] {
        let disk = new_disk();
        let story = |handle: ControllerHandle| async move {
            let broker_epoch = join(&handle, 1).await;
            create(&handle, "a").await.unwrap();
            create(&handle, "b").await.unwrap();
            let deleted = handle.delete_topics(vec![TopicSelector::Name("b".to_owned())]).await;
            deleted.unwrap().remove(0).result.unwrap();
            let ids = handle.allocate_producer_ids(BrokerId::new(1), broker_epoch).await.unwrap();
            assert_eq!((ids.first.value(), ids.count), (0, 1000));
            let image = handle.image();
            assert!(image.topic("a").is_some() && image.topic("b").is_none());
            if end == "shutdown" {
                handle.shutdown().await;
            }
            image
        };
        let (before, _) = with_controller(&disk, options(), story);
        match end {
            "kill" => disk.kill(),
            "power loss" => disk.power_loss(0),
            _ => {}
        }
        let story = |handle: ControllerHandle| async move { handle.image() };
        let (after, _) = with_controller(&disk, options(), story);
        assert_eq!(content(&after), content(&before), "after {end}");
        assert_eq!(after.end_offset, before.end_offset + 1, "after {end}");
        assert_eq!(after.epoch, before.epoch.next(), "after {end}");
    }
}

#[test]
fn replies_wait_for_the_sync_and_share_it() {
    let disk = new_disk();
    let (_, _) = with_controller(&disk, options(), |handle| {
        let disk = disk.clone();
        async move {
            join(&handle, 1).await;
            let syncs = disk.operations().syncs;
            disk.set_faults(Faults { hold_syncs: true, ..Faults::default() });
            let names: Vec<String> = (0..20).map(|index| format!("t{index}")).collect();
            let mut asked: Vec<_> =
                names.iter().map(|name| Box::pin(create(&handle, name))).collect();
            let mut polls = 0;
            std::future::poll_fn(|cx| {
                for ask in &mut asked {
                    assert!(ask.as_mut().poll(cx).is_pending(), "answered before it was durable");
                }
                assert!(handle.image().topic("t0").is_none(), "published before it was durable");
                polls += 1;
                if polls < 20 {
                    cx.waker().wake_by_ref();
                    return std::task::Poll::Pending;
                }
                std::task::Poll::Ready(())
            })
            .await;
            disk.set_faults(Faults::default());
            disk.release_syncs();
            for ask in asked {
                ask.await.unwrap();
            }
            assert!(disk.operations().syncs - syncs <= 2, "each request had its own sync");
        }
    });
}

#[test]
fn a_failed_sync_ends_the_controller_and_nothing_more_is_answered() {
    let disk = new_disk();
    with_controller(&disk, options(), |handle| {
        let disk = disk.clone();
        async move {
            join(&handle, 1).await;
            disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
            let refused = create(&handle, "t").await.unwrap_err();
            assert_eq!(refused.error, ErrorCode::NotController);
            let error = handle.failed().await;
            assert!(matches!(*error, ControllerError::Raft(_)), "{error}");
            disk.set_faults(Faults::default());
            assert!(create(&handle, "u").await.is_err());
            assert!(handle.image().topic("t").is_none());
        }
    });
}

#[test]
fn a_full_disk_refuses_and_serves_again_when_there_is_space() {
    let disk = new_disk();
    with_controller(&disk, options(), |handle| {
        let disk = disk.clone();
        async move {
            join(&handle, 1).await;
            disk.set_faults(Faults { space_left: Some(0), ..Faults::default() });
            let refused = create(&handle, "t").await.unwrap_err();
            assert_eq!(refused.error, ErrorCode::KafkaStorageError);
            disk.set_faults(Faults::default());
            create(&handle, "t").await.unwrap();
            assert!(handle.image().topic("t").is_some());
        }
    });
    let (image, _) = with_controller(&disk, options(), |handle| async move { handle.image() });
    assert!(image.topic("t").is_some());
}

#[test]
fn a_snapshot_and_the_log_behind_it_give_the_same_image() {
    let options = ControllerOptions { bytes_between_snapshots: 2_000, ..options() };
    let disk = new_disk();
    let story = |handle: ControllerHandle| async move {
        join(&handle, 1).await;
        for index in 0..33 {
            create(&handle, &format!("t{index}")).await.unwrap();
        }
        handle.image()
    };
    let (before, _) = with_controller(&disk, options.clone(), story);
    let files = disk.files_in(&Path::new(LOG_DIR).join(METADATA_PARTITION_DIR));
    let snapshots: Vec<SnapshotId> =
        files.keys().filter_map(|name| SnapshotId::parse(name)).collect();
    // The last one, and the one with which the log begins.
    assert_eq!(snapshots.len(), 2, "{:?}", files.keys());
    let covered = snapshots[1].end_offset;
    assert!(
        covered > Offset::new(20) && covered < before.end_offset,
        "{covered} of {}",
        before.end_offset
    );
    disk.power_loss(0);
    let (after, _) = with_controller(&disk, options, |handle| async move { handle.image() });
    assert_eq!(content(&after), content(&before));
}

#[test]
fn damage_is_told_and_not_guessed_around() {
    let dir = Path::new(LOG_DIR).join(METADATA_PARTITION_DIR);
    let start = |disk: &TestDisk| {
        let (env, _) = test_env(disk);
        run(async { ControllerHandle::open(options(), &env).await.map(|_| ()) })
    };
    let disk = new_disk();
    disk.edit(&Path::new(LOG_DIR).join(BOOTSTRAP_CHECKPOINT), |bytes| bytes[70] ^= 1);
    assert!(matches!(start(&disk), Err(ControllerError::Bootstrap { .. })));

    let disk = new_disk();
    start(&disk).unwrap();
    disk.edit(&dir.join("quorum-state"), |bytes| bytes.truncate(10));
    let error = start(&disk).unwrap_err();
    assert!(error.to_string().contains("quorum-state: not a quorum state"), "{error}");
}

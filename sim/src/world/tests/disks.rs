//! Every fault of a disk, through the product's own traits.

use std::io::ErrorKind;
use std::path::Path;

use ottla::runtime::{Disk, File, OpenMode, sync};

use super::super::disk::{DiskError, Operation};
use super::*;

const PATH: &str = "/data/0.log";

async fn file_of(disk: &Arc<dyn Disk>) -> Arc<dyn File> {
    disk.create_dir_all(Path::new("/data")).await.unwrap();
    let file = disk.open(Path::new(PATH), OpenMode::Create).await.unwrap();
    disk.sync_dir(Path::new("/data")).await.unwrap();
    disk.sync_dir(Path::new("/")).await.unwrap();
    file
}

async fn content_after(world: &Arc<World>, node: NodeId) -> Vec<u8> {
    let disk = boot(world, node).disk;
    let file = disk.open(Path::new(PATH), OpenMode::Read).await.unwrap();
    file.read_at(0, 1 << 20).await.unwrap().to_vec()
}

/// Swarm-disk, seed 83.
#[test]
fn what_is_durable_under_a_name_is_the_file_before_until_a_rename_is_durable() {
    world(0, |world| async move {
        let a = world.add_node("a");
        let disk = boot(&world, a).disk;
        let before = file_of(&disk).await;
        before.write_at(0, vec![vec![1; 10].into()]).await.unwrap();
        sync(before.as_ref()).await.unwrap();
        let temporary = Path::new("/data/0.log.tmp");
        let next = disk.open(temporary, OpenMode::Create).await.unwrap();
        next.write_at(0, vec![vec![2; 20].into()]).await.unwrap();
        sync(next.as_ref()).await.unwrap();
        disk.rename(temporary, Path::new(PATH)).await.unwrap();
        let durable = || {
            let disk = &world.machine(a).disk;
            let look = disk.look(Path::new(PATH)).unwrap();
            (disk.durable_from(Path::new(PATH), 0).unwrap().to_vec(), look.durable_below)
        };
        assert_eq!(durable(), (vec![1; 10], 0));
        disk.sync_dir(Path::new("/data")).await.unwrap();
        assert_eq!(durable(), (vec![2; 20], 20));
        world.power_loss(a, PowerLossMode::LoseUnsynced);
        assert_eq!(content_after(&world, a).await, vec![2; 20]);
    });
}

#[test]
fn every_power_loss_mode_does_what_it_says() {
    for (mode, name) in PowerLossMode::ALL {
        assert_eq!(PowerLossMode::parse(name), Some(mode));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..30 {
            let (left, loss) = world(seed, move |world| async move {
                let a = world.add_node("a");
                let file = file_of(&boot(&world, a).disk).await;
                file.write_at(0, vec![vec![1; 1_000].into()]).await.unwrap();
                sync(file.as_ref()).await.unwrap();
                file.write_at(1_000, vec![vec![2; 20_000].into()]).await.unwrap();
                let loss = world.power_loss(a, mode);
                (content_after(&world, a).await, loss)
            });
            assert!(left.starts_with(&[1; 1_000]), "what was synced is there");
            let kept = left[1_000..].iter().filter(|byte| **byte == 2).count();
            assert_eq!(loss.bytes_lost, 20_000 - kept as u64);
            match mode {
                PowerLossMode::KeepAll => assert_eq!((kept, loss.files_torn), (20_000, 0)),
                PowerLossMode::LoseUnsynced => assert_eq!((left.len(), kept), (1_000, 0)),
                PowerLossMode::LoseRandomUnsynced => {}
                PowerLossMode::TornLastWrite => {
                    assert!(kept < 20_000 && loss.files_torn == 1);
                    assert_eq!(loss.files, [PATH]);
                }
            }
            seen.insert(kept);
        }
        let draws =
            matches!(mode, PowerLossMode::LoseRandomUnsynced | PowerLossMode::TornLastWrite);
        assert_eq!(seen.len() > 3, draws, "{name}: {seen:?}");
    }
}

#[test]
fn a_sync_under_way_when_the_power_goes_never_ends() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let latency = DiskLatency { sync: Distribution::Fixed(ms(10)), ..DiskLatency::default() };
        world.machine(a).disk.set_latency(latency);
        let file = file_of(&boot(&world, a).disk).await;
        file.write_at(0, vec!["x".into()]).await.unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        file.start_sync(Box::new(move |result| hears.lock().unwrap().push(result.is_ok())));
        world.sleep(ms(5)).await;
        world.power_loss(a, PowerLossMode::LoseUnsynced);
        assert_eq!(content_after(&world, a).await, b"");
        world.sleep(ms(50)).await;
        assert!(told.lock().unwrap().is_empty());
        assert_eq!(Arc::strong_count(&told), 1, "and its callback is dropped");
    });
}

#[test]
fn a_kill_during_a_sync_does_not_stop_the_kernel() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let latency = DiskLatency { sync: Distribution::Fixed(ms(10)), ..DiskLatency::default() };
        world.machine(a).disk.set_latency(latency);
        let file = file_of(&boot(&world, a).disk).await;
        file.write_at(0, vec!["kept".into()]).await.unwrap();
        file.start_sync(Box::new(|_| unreachable!("its process is dead")));
        world.kill(a);
        world.sleep(ms(50)).await;
        assert_eq!(world.machine(a).disk.view(Path::new(PATH)).unwrap().durable, "kept");
    });
}

#[test]
fn syncs_of_a_file_wait_for_each_other_and_merge() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let env = boot(&world, a);
        let file = file_of(&env.disk).await;
        let latency = DiskLatency { sync: Distribution::Fixed(ms(10)), ..DiskLatency::default() };
        world.machine(a).disk.set_latency(latency);
        let ended = Arc::new(Mutex::new(Vec::new()));
        for number in 0..4 {
            file.write_at(number, vec!["x".into()]).await.unwrap();
            let (ended, clock) = (Arc::clone(&ended), Arc::clone(&env.clock));
            file.start_sync(Box::new(move |result| {
                result.unwrap();
                ended.lock().unwrap().push((number, clock.now().monotonic.nanos() / 1_000_000));
            }));
        }
        world.sleep(ms(100)).await;
        assert_eq!(*ended.lock().unwrap(), [(0, 10), (1, 20), (2, 20), (3, 20)]);
    });
}

#[test]
fn errors_meet_what_they_name_as_often_as_they_say_and_can_be_lifted() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let disk = Arc::clone(&world.machine(a).disk);
        let env = boot(&world, a);
        let file = file_of(&env.disk).await;
        let other = env.disk.open(Path::new("/data/0.index"), OpenMode::Create).await.unwrap();
        let write = |file: &Arc<dyn File>| file.write_at(0, vec!["x".into()]);
        let fault = disk.fail(DiskError::always(&[Operation::Write], "*.log"));
        assert!(write(&file).await.is_err() && write(&other).await.is_ok());
        disk.lift(fault);
        assert!(write(&file).await.is_ok());
        disk.fail(DiskError::times(&[Operation::Read], "*", 1));
        assert!(file.read_at(0, 1).await.is_err() && file.read_at(0, 1).await.is_ok());
        let names = [Operation::Name, Operation::Open, Operation::SyncDir];
        disk.fail(DiskError {
            error: ErrorKind::PermissionDenied,
            ..DiskError::always(&names, "/data*")
        });
        let path = Path::new(PATH);
        assert!(env.disk.open(path, OpenMode::Read).await.is_err());
        assert!(env.disk.remove_file(path).await.is_err());
        let error = env.disk.sync_dir(Path::new("/data")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        disk.lift_all();
        env.disk.remove_file(path).await.unwrap();
        assert_eq!(disk.faults_taken(), 5);
    });
}

#[test]
fn a_failed_sync_says_so_and_what_was_dirty_is_gone_after_power_loss_whatever_comes_later() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let file = file_of(&boot(&world, a).disk).await;
        file.write_at(0, vec![vec![1; 4096].into()]).await.unwrap();
        world.machine(a).disk.fail(DiskError::times(&[Operation::Sync], PATH, 1));
        assert!(sync(file.as_ref()).await.is_err());
        file.write_at(4096, vec![vec![2; 4096].into()]).await.unwrap();
        sync(file.as_ref()).await.expect("the second sync covers only what was dirtied since");
        world.power_loss(a, PowerLossMode::KeepAll);
        let left = content_after(&world, a).await;
        assert!(left[..4096].iter().all(|b| *b == 0) && left[4096..].iter().all(|b| *b == 2));
    });
}

#[test]
fn a_full_disk_takes_a_part_and_says_so_until_it_is_lifted() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let disk = Arc::clone(&world.machine(a).disk);
        let env = boot(&world, a);
        let file = file_of(&env.disk).await;
        disk.set_capacity(Some(10));
        let error = file.write_at(0, vec!["0123456".into(), "789abc".into()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(file.read_at(0, 100).await.unwrap(), "0123456789", "as the kernel does");
        file.write_at(0, vec!["XX".into()]).await.expect("overwriting needs no space");
        disk.set_capacity(None);
        disk.set_full(true);
        assert!(file.write_at(10, vec!["a".into()]).await.is_err());
        assert!(env.disk.open(Path::new("/new"), OpenMode::Create).await.is_err());
        disk.lift_all();
        file.write_at(10, vec!["a".into()]).await.unwrap();
        assert_eq!(disk.used(), 11);
    });
}

#[test]
fn latency_and_stalls_delay_the_answer_and_not_the_effect() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let disk = Arc::clone(&world.machine(a).disk);
        let file = file_of(&boot(&world, a).disk).await;
        let start = world.now();
        file.write_at(0, vec!["at once".into()]).await.unwrap();
        assert!(
            world.now().since(start) < Duration::from_micros(1),
            "a page-cache write takes no time"
        );
        disk.set_latency(DiskLatency {
            write: Distribution::Fixed(ms(3)),
            ..DiskLatency::default()
        });
        let answer = file.write_at(0, vec!["AT".into()]);
        assert_eq!(file.read_at(0, 7).await.unwrap(), "AT once");
        answer.await.unwrap();
        assert_eq!(world.now().since(start).as_millis(), 3);
        world.stall_disk(a, ms(100));
        sync(file.as_ref()).await.unwrap();
        assert_eq!(world.now().since(start).as_millis(), 103);
    });
}

#[test]
fn rot_and_misdirected_writes_are_read_and_can_be_lifted() {
    for seed in 0..20 {
        world(seed, |world| async move {
            let a = world.add_node("a");
            let disk = Arc::clone(&world.machine(a).disk);
            let file = file_of(&boot(&world, a).disk).await;
            let pristine = vec![b'.'; 1_000];
            file.write_at(0, vec![pristine.clone().into()]).await.unwrap();
            let rotten = disk.rot(Path::new(PATH), 100..200, 3).unwrap();
            let read = file.read_at(0, 1_000).await.unwrap();
            let changed = (0u64..).zip(&read).filter(|(_, byte)| **byte != b'.');
            let changed: Vec<u64> = changed.map(|(position, _)| position).collect();
            assert!(!changed.is_empty() && changed.iter().all(|n| rotten.contains(n)));
            assert!(disk.lift_rot(Path::new(PATH)).unwrap());
            disk.misdirect("*.log", 1);
            file.write_at(400, vec!["gone astray".into()]).await.unwrap();
            let read = file.read_at(0, 1_000).await.unwrap();
            assert_ne!(&read[400..411], b"gone astray");
            disk.lift_all();
            let read = file.read_at(0, 1_000).await.unwrap();
            assert_eq!(&read[400..411], b"gone astray");
            let absurd = file.write_at(u64::MAX - 1, vec!["x".into()]).await.unwrap_err();
            assert_eq!(absurd.kind(), ErrorKind::FileTooLarge);
            assert!(disk.rot(Path::new("/none"), 0..1, 1).is_err());
            assert!(disk.rot(Path::new(PATH), 5_000..6_000, 1).is_err());
        });
    }
}

#[test]
fn a_wiped_disk_is_empty_under_the_same_id() {
    world(1, |world| async move {
        let a = world.add_node("a");
        file_of(&boot(&world, a).disk).await;
        world.kill(a);
        world.wipe(a);
        let disk = boot(&world, a).disk;
        assert!(disk.read_dir(Path::new("/")).await.unwrap().is_empty());
    });
}

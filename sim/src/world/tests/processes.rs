//! Starts, ends, pauses and panics.

use ottla::runtime::{OpenMode, clock, sync};
use ottla::types::{BrokerId, ErrorCode};
use std::path::Path;

use super::*;

fn stopping(broker: i32) -> Observation {
    Observation::NodeStopping { broker: BrokerId::new(broker) }
}

fn hear<T, F>(main: impl FnOnce(Arc<World>) -> F + Send + 'static) -> (Finished<T>, Arc<Ear>)
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let ear = Arc::new(Ear::default());
    let options = WorldOptions::new(1).sink(Arc::clone(&ear) as Arc<dyn EventSink>);
    let finished = run(options, main).unwrap_or_else(|failed| panic!("{failed}"));
    (finished, ear)
}

#[test]
fn observations_carry_time_node_and_boot_and_end_with_the_process() {
    let (_, ear) = hear(|world| async move {
        let node = world.add_node("a");
        let old = boot(&world, node);
        world.sleep(ms(5)).await;
        old.observe(stopping(1));
        world.kill(node);
        old.observe(stopping(2));
        boot(&world, node).observe(stopping(3));
        old.observe(stopping(4));
    });
    let heard = ear.observations.lock().unwrap();
    let at = heard[0].0;
    let heard: Vec<_> = heard.iter().map(|h| (h.1, h.2, h.3)).collect();
    assert_eq!(heard, [(NodeId(0), Boot(1), stopping(1)), (NodeId(0), Boot(2), stopping(3))]);
    assert!(at >= SimTime(5_000_000));
}

#[test]
fn a_panic_of_a_node_is_an_event_and_ends_that_node_alone() {
    let (finished, ear) = hear(|world| async move {
        let (a, b) = (world.add_node("a"), world.add_node("b"));
        let witness = boot(&world, b);
        let process = world.start(a, |context| async move {
            context.env.observe(stopping(1));
            clock::sleep(context.env.clock.as_ref(), ms(1)).await;
            let odd = Vec::<u8>::new();
            assert!(!odd.is_empty(), "the invariant that broke");
            ProcessEnd::Clean
        });
        process.ended().await;
        witness.observe(stopping(2));
        world.machine(a).process().is_none()
    });
    assert!(finished.value);
    let events = ear.events.lock().unwrap();
    let is_panic = |event: &&WorldEvent| matches!(event, WorldEvent::Panicked { .. });
    let Some(WorldEvent::Panicked { node, message, .. }) = events.iter().find(is_panic) else {
        panic!("it is told")
    };
    assert_eq!(*node, NodeId(0));
    assert!(message.contains("the invariant that broke") && message.contains("processes.rs"));
    assert_eq!(ear.observations.lock().unwrap().len(), 2);
}

#[test]
fn a_panic_in_any_task_and_in_a_sync_callback_ends_the_node() {
    for case in 0..2 {
        let (_, ear) = hear(move |world| async move {
            let a = world.add_node("a");
            let process = world.start(a, move |context| async move {
                if case == 0 {
                    ottla::runtime::task::spawn(async { panic!("in a task") });
                } else {
                    let file =
                        context.env.disk.open(Path::new("/f"), OpenMode::Create).await.unwrap();
                    file.start_sync(Box::new(|_| panic!("in a callback")));
                }
                std::future::pending().await
            });
            process.ended().await;
            // It can be started again, and lives on though madsim "restarts" what panicked within 10 s.
            let process = world.start(a, |_| std::future::pending());
            world.sleep(Duration::from_secs(20)).await;
            assert!(process.is_alive());
        });
        let events = ear.events.lock().unwrap();
        let count = events.iter().filter(|e| matches!(e, WorldEvent::Panicked { .. })).count();
        assert_eq!(count, 1, "{events:?}");
    }
}

#[test]
fn a_panic_of_the_testbed_is_an_error_with_its_words() {
    let failed = run(WorldOptions::new(9), |_| async {
        if true {
            panic!("a bug of the testbed");
        }
    });
    let failed = failed.expect_err("it panicked");
    assert!(failed.to_string().contains("seed 9: a bug of the testbed"), "{failed}");
}

#[test]
fn waiting_for_ever_is_an_error_and_not_a_hang() {
    let failed = run(WorldOptions::new(1), |_| std::future::pending::<()>());
    assert!(failed.expect_err("nothing will ever happen").message.contains("block forever"));
}

#[test]
fn a_node_ends_by_itself_or_when_asked_and_says_how() {
    let (_, ear) = hear(|world| async move {
        let a = world.add_node("a");
        let failing =
            world.start(a, |_| async { ProcessEnd::Failed("every log directory".into()) });
        failing.ended().await;
        boot(&world, a);
        assert!(world.ask_shutdown(a));
        world.machine(a).process().expect("still running").ended().await;
        assert!(!world.ask_shutdown(a) && !world.kill(a) && !world.pause(a) && !world.resume(a));
    });
    let events = ear.events.lock().unwrap();
    let mut ends = Vec::new();
    for event in events.iter() {
        if let WorldEvent::Ended { end, .. } = event {
            ends.push(end.clone());
        }
    }
    assert_eq!(ends, [ProcessEnd::Failed("every log directory".into()), ProcessEnd::Clean]);
}

#[test]
fn a_paused_node_does_nothing_and_its_timers_fire_late() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let (sender, mut beats) = tokio::sync::mpsc::unbounded_channel();
        world.start(a, move |context| async move {
            loop {
                clock::sleep(context.env.clock.as_ref(), ms(10)).await;
                let _ = sender.send(context.env.clock.now().monotonic);
            }
        });
        world.sleep(ms(25)).await;
        world.pause(a);
        world.sleep(ms(1_000)).await;
        assert_eq!(std::iter::from_fn(|| beats.try_recv().ok()).count(), 2);
        world.resume(a);
        world.sleep(ms(1)).await;
        let late = beats.try_recv().expect("the timer that was due fires at once").nanos();
        assert!(late >= 1_025_000_000, "{late}");
        world.kill(a);
    });
}

#[test]
fn killing_a_paused_node_drops_its_tasks_and_what_they_hold() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let held = Arc::new(());
        let copy = Arc::clone(&held);
        world.start(a, move |context| async move {
            let _copy = copy;
            loop {
                clock::sleep(context.env.clock.as_ref(), ms(1)).await;
            }
        });
        world.sleep(ms(5)).await;
        world.pause(a);
        world.sleep(ms(50)).await;
        world.kill(a);
        world.sleep(ms(1)).await;
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn handles_of_an_older_boot_are_dead() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let old = boot(&world, a);
        let file = old.disk.open(Path::new("/f"), OpenMode::Create).await.unwrap();
        let lock = old.disk.lock(Path::new("/.lock")).await.unwrap();
        let mut listener = old.net.listen(at(a, 9092)).await.unwrap();
        world.kill(a);
        let new = boot(&world, a);
        assert!(file.write_at(0, vec!["late".into()]).await.is_err());
        assert!(file.read_at(0, 1).await.is_err() && file.length().await.is_err());
        assert!(sync(file.as_ref()).await.is_err());
        assert!(listener.accept().await.is_err());
        assert!(old.net.connect(at(a, 9092)).await.is_err());
        assert!(old.net.listen(at(a, 1)).await.is_err());
        assert!(old.disk.remove_file(Path::new("/f")).await.is_err());
        let _taken = new.disk.lock(Path::new("/.lock")).await.expect("the kernel gave it back");
        new.net.listen(at(a, 9092)).await.expect("so it did with the port");
        drop((lock, listener, file));
        assert!(new.disk.lock(Path::new("/.lock")).await.is_err(), "an old guard frees nothing");
    });
}

#[test]
fn seeds_of_a_node_differ_at_each_boot_and_repeat_in_each_run() {
    let seeds = || {
        world(3, |world| async move {
            let (a, first, _, other) = two(&world);
            world.kill(a);
            [first.seed, boot(&world, a).seed, other.seed]
        })
    };
    let once = seeds();
    assert_eq!(once, seeds());
    assert!(once[0] != once[1] && once[0] != once[2] && once[1] != once[2]);
}

#[test]
fn cores_run_tasks_on_the_node_they_belong_to() {
    world(1, |world| async move {
        let a = world.add_node("a");
        let env = boot(&world, a);
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let clock = Arc::clone(&env.clock);
        env.cores.spawn_on_next(Box::new(move || {
            Box::pin(async move {
                while sender.send(()).is_ok() {
                    clock::sleep(clock.as_ref(), ms(1)).await;
                }
            })
        }));
        receiver.recv().await.expect("it runs");
        world.kill(a);
        world.sleep(ms(1)).await;
        while receiver.try_recv().is_ok() {}
        assert!(receiver.recv().await.is_none(), "and ends with its node");
    });
}

/// A run that is the same but for what `odd` puts into one record.
fn recorded(odd: impl Fn() -> u64 + Send + 'static) -> crate::trace::TraceResult {
    let finished = run(WorldOptions::new(5).recording(), move |world| async move {
        let (_, a, _, _) = two(&world);
        for step in 0..10u64 {
            let file = a.disk.open(Path::new("/f"), OpenMode::Create).await.unwrap();
            let content = if step == 7 { odd() } else { step };
            file.write_at(step * 8, vec![content.to_be_bytes().to_vec().into()]).await.unwrap();
            world.sleep(ms(1)).await;
        }
        a.observe(Observation::ConnectionRefused { error: ErrorCode::None });
    });
    finished.unwrap_or_else(|failed| panic!("{failed}")).trace
}

#[test]
fn determinism_holds_and_one_read_of_a_real_clock_is_named() {
    let same = || recorded(|| 7);
    assert_eq!(same().compare(&same()), Ok(()));
    // A raw system call: madsim's interposition does not see it, and madsim's own check compares random draws only.
    let real_clock = || {
        recorded(|| {
            let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
            let random = std::fs::read("/proc/sys/kernel/random/uuid").unwrap_or_default();
            stat.bytes().chain(random).fold(0, |sum, byte| mix(sum ^ u64::from(byte)))
        })
    };
    let difference = real_clock().compare(&real_clock()).expect_err("it must be seen");
    let words = difference.to_string();
    assert!(words.contains("write /f at 56"), "{words}");
}

#[test]
fn determinism_of_observations_counts_each_field() {
    let hash = |offset: i64| {
        let finished = run(WorldOptions::new(5), move |world| async move {
            let (_, a, _, _) = two(&world);
            let end_offset = ottla::types::Offset::new(offset);
            a.observe(Observation::MetadataCommitted { end_offset });
        });
        finished.unwrap_or_else(|failed| panic!("{failed}")).trace
    };
    assert_eq!(hash(1).compare(&hash(1)), Ok(()));
    assert!(hash(1).compare(&hash(2)).is_err());
}

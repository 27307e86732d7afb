//! A world that has ended leaves nothing in memory.

use ottla::runtime::{OpenMode, clock};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Half a megabyte on disk, connections in every state, timers, a paused node, a panic.
async fn busy(world: Arc<World>) {
    let (a, env, b, client) = two(&world);
    let file = env.disk.open(Path::new("/f"), OpenMode::Create).await.unwrap();
    file.write_at(0, vec![vec![1u8; 500_000].into()]).await.unwrap();
    let c = world.add_node("c");
    world.start(c, move |context| async move {
        let _file = file;
        let mut listener = context.env.net.listen(at(c, 9092)).await.unwrap();
        let mut streams = Vec::new();
        loop {
            streams.push(listener.accept().await.unwrap().into_stream().unwrap());
        }
    });
    for _ in 0..3 {
        let net = Arc::clone(&client.net);
        let clock = Arc::clone(&client.clock);
        world.machine(b).process().expect("running").spawn(async move {
            let mut stream = net.connect(at(c, 9092)).await.unwrap();
            loop {
                let _ = stream.write_all(&[0; 10_000]).await;
                clock::sleep(clock.as_ref(), ms(1)).await;
                let wait = stream.read_u8();
                let now = clock.now().monotonic;
                let _ = clock::timeout_at(clock.as_ref(), now + ms(1), wait).await;
            }
        });
    }
    let d = world.add_node("d");
    world.start(d, |_| async { panic!("on purpose") });
    let cut = world.network().cut(crate::world::ways(&[b], &[c], true));
    world.sleep(ms(50)).await;
    world.network().heal(cut);
    world.pause(c);
    world.sleep(ms(300)).await;
    world.kill(a);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

#[test]
#[cfg(target_os = "linux")]
fn memory_is_flat_over_500_worlds() {
    for seed in 0..100 {
        world(seed, busy);
    }
    let before = resident_kib();
    for seed in 100..600 {
        world(seed, busy);
    }
    let grown = resident_kib().saturating_sub(before);
    // Each world holds more than 500 KiB: one that leaked whole would add 250 MB here. Other tests run beside this one.
    assert!(grown < 20_000, "500 worlds left {grown} KiB");
}

#[test]
fn a_world_is_dropped_when_its_run_ends() {
    let weak = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&weak);
    world(1, move |world| async move {
        *kept.lock().unwrap() = Some(Arc::downgrade(&world));
        busy(world).await;
    });
    let weak = weak.lock().unwrap().take().expect("it ran");
    assert!(weak.upgrade().is_none(), "somebody holds the world: {}", weak.strong_count());
}

//! The real world, held to the same suite as the simulated one (`sim/src/world/conformance.rs`).
#![cfg(not(madsim))]

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla::runtime::conformance::{DiskEnds, NetEnds, all_disk_cases, all_net_cases};
use ottla::runtime::{Env, Observer, OpenMode, clock, real_env, signal};
use ottla::types::Observation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct NoObserver;

impl Observer for NoObserver {
    fn observe(&self, _: Observation) {}
}

fn env() -> Env {
    real_env(Arc::new(NoObserver), 2).expect("the real world can be reached")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the real world can be reached")
        .block_on(future)
}

#[test]
fn real_files_behave_as_the_suite_says() {
    let directory = tempfile::tempdir().unwrap();
    let ends = DiskEnds { disk: env().disk, root: directory.path().to_owned() };
    run(all_disk_cases(ends, |claim| println!("{claim}")));
}

#[test]
fn real_sockets_behave_as_the_suite_says() {
    let env = env();
    let (_full, silent) = silent_address();
    let ends = NetEnds {
        server: Arc::clone(&env.net),
        client: env.net,
        listen_on: SocketAddr::from(([127, 0, 0, 1], 0)),
        silent,
        clock: env.clock,
    };
    run(all_net_cases(ends, |claim| println!("{claim}")));
}

/// A listener whose queue is full drops requests to connect: silence without leaving the machine. Hold the first value.
fn silent_address() -> ((TcpListener, Vec<TcpStream>), SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback works");
    rustix::net::listen(&listener, 0).expect("loopback works");
    let address = listener.local_addr().expect("loopback works");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue never fills");
    }
    ((listener, waiting), address)
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_device_says_no_space() {
    run(async {
        let disk = env().disk;
        let full = disk.open(Path::new("/dev/full"), OpenMode::ReadWrite).await.unwrap();
        let error = full.write_at(0, vec![Bytes::from_static(b"x")]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    });
}

#[test]
fn a_relative_path_without_a_directory_is_in_the_working_directory() {
    run(async {
        let missing = PathBuf::from("no-such-file-in-the-working-directory");
        let error = env().disk.remove_file(&missing).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    });
}

#[test]
fn cores_run_tasks_in_turn_on_threads_of_their_own() {
    run(async {
        let env = env();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..4 {
            let sender = sender.clone();
            env.cores.spawn_on_next(Box::new(move || {
                let thread = std::thread::current().name().map(str::to_owned);
                Box::pin(async move { sender.send(thread.unwrap()).unwrap() })
            }));
        }
        let mut threads = Vec::new();
        for _ in 0..4 {
            threads.push(receiver.recv().await.unwrap());
        }
        threads.sort();
        assert_eq!(threads, ["core-0", "core-0", "core-1", "core-1"]);
    });
}

#[test]
fn what_a_core_serves_ends_with_the_last_clone_of_the_environment() {
    run(async {
        let env = env();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        env.cores.spawn_on_next(Box::new(move || {
            Box::pin(async move {
                let _held = sender;
                std::future::pending().await
            })
        }));
        drop(env);
        receiver.await.expect_err("the task was dropped, not ended");
    });
}

#[test]
fn a_panicking_task_leaves_its_core_to_the_others() {
    run(async {
        let env = real_env(Arc::new(NoObserver), 1).unwrap();
        env.cores.spawn_on_next(Box::new(|| panic!("this panic belongs to the test")));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        env.cores
            .spawn_on_next(Box::new(move || Box::pin(async move { sender.send(()).unwrap() })));
        receiver.await.unwrap();
    });
}

#[test]
fn a_dead_connection_reads_what_came_before_and_then_stays_dead() {
    run(async {
        let net = env().net;
        let mut listener = net.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let mut client = TcpStream::connect(listener.local_address()).unwrap();
        let mut server = listener.accept().await.unwrap().into_stream().unwrap();
        assert!(server.is_write_vectored());
        client.write_all(b"last words").unwrap();
        // Unread bytes make the kernel reset at the close.
        server.write_all(b"unread").await.unwrap();
        client.peek(&mut [0; 6]).unwrap();
        drop(client);
        while server.write(b"anybody there?").await.is_ok() {
            tokio::task::yield_now().await;
        }
        let mut heard = [0; 10];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"last words");
        for _ in 0..2 {
            let error = server.read(&mut heard).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let error = server.write(b"?").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn both_signals_are_heard_and_a_second_one_too() {
    run(async {
        let mut stop = signal::Stop::new().unwrap();
        let me = rustix::process::getpid();
        for (signal, name) in [
            (rustix::process::Signal::TERM, "SIGTERM"),
            (rustix::process::Signal::INT, "SIGINT"),
            (rustix::process::Signal::INT, "SIGINT"),
        ] {
            rustix::process::kill_process(me, signal).unwrap();
            assert_eq!(stop.wait().await, name);
        }
    });
}

#[test]
fn environments_draw_different_seeds() {
    assert_ne!(env().seed, env().seed);
}

#[test]
fn a_timer_waits_for_the_later_of_two_deadlines_and_never_fires_early() {
    run(async {
        let clock = env().clock;
        let start = clock.now().monotonic;
        let mut timer = clock.timer();
        let (soon, later) = (start + Duration::from_millis(5), start + Duration::from_millis(20));
        std::future::poll_fn(|cx| {
            let _ = timer.poll_at(soon, cx);
            std::task::Poll::Ready(())
        })
        .await;
        clock::wait_until(timer.as_mut(), Some(later)).await;
        assert!(clock.now().monotonic >= later);
    });
}

//! Every fault of the network, through the product's own traits.

use std::io::ErrorKind;

use ottla::runtime::{Listener, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::net::{Direction, FrameAction, FrameFault};
use super::super::ways;
use super::*;

struct Line {
    a: NodeId,
    b: NodeId,
    listener: Box<dyn Listener>,
    /// The end on `a`, which connected.
    client: Box<dyn Stream>,
    /// The end on `b`.
    server: Box<dyn Stream>,
    a_env: Env,
    b_env: Env,
}

async fn line(world: &Arc<World>) -> Line {
    let (a, a_env, b, b_env) = two(world);
    let mut listener = b_env.net.listen(at(b, 9092)).await.unwrap();
    let (client, server) = tokio::join!(a_env.net.connect(at(b, 9092)), listener.accept());
    let (client, server) = (client.unwrap(), server.unwrap().into_stream().unwrap());
    Line { a, b, listener, client, server, a_env, b_env }
}

async fn within<T>(world: &World, span: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = world.sleep(span) => None,
    }
}

async fn kind_of_read(stream: &mut Box<dyn Stream>) -> Result<usize, ErrorKind> {
    stream.read(&mut [0; 64]).await.map_err(|error| error.kind())
}

#[test]
fn a_cut_is_silence_and_what_was_written_arrives_after_the_heal() {
    for seed in 0..20 {
        world(seed, |world| async move {
            let mut line = line(&world).await;
            let cut = world.network().cut(ways(&[line.a], &[line.b], true));
            line.client.write_all(b"patience").await.unwrap();
            let silent =
                within(&world, Duration::from_secs(30), kind_of_read(&mut line.server)).await;
            assert!(silent.is_none());
            assert!(world.network().heal(cut) && !world.network().heal(cut));
            let healed = world.now();
            assert_eq!(kind_of_read(&mut line.server).await, Ok(8));
            let waited = world.now().since(healed);
            assert!(waited <= Duration::from_secs(6), "the next retransmission: {waited:?}");
        });
    }
}

#[test]
fn a_one_way_cut_lets_the_other_way_pass_and_starves_the_sender_of_acknowledgements() {
    world(1, |world| async move {
        let mut line = line(&world).await;
        let cut = world.network().cut(ways(&[line.b], &[line.a], false));
        assert!(world.network().is_cut(line.b, line.a) && !world.network().is_cut(line.a, line.b));
        line.client.write_all(b"heard").await.unwrap();
        assert_eq!(kind_of_read(&mut line.server).await, Ok(5));
        line.server.write_all(b"not heard").await.unwrap();
        assert!(within(&world, ms(5_000), kind_of_read(&mut line.client)).await.is_none());
        // The reader drains everything, yet without acknowledgements the send buffer stays full.
        let mut sink = vec![0; 1 << 20];
        let flood = async {
            loop {
                line.client.write_all(&[0; 4096]).await.unwrap();
            }
        };
        let drain = async {
            loop {
                assert!(line.server.read(&mut sink).await.unwrap() > 0);
            }
        };
        let both = async { tokio::join!(flood, drain) };
        assert!(within(&world, ms(1_000), both).await.is_none());
        assert!(within(&world, ms(1_000), line.client.write(b"x")).await.is_none());
        world.network().heal(cut);
        assert!(within(&world, ms(10_000), line.client.write(b"x")).await.is_some());
    });
}

#[test]
fn a_connection_into_a_partition_times_out_and_one_after_a_short_one_opens_late() {
    world(1, |world| async move {
        let line = line(&world).await;
        let cut = world.network().cut(ways(&[line.a], &[line.b], true));
        let start = world.now();
        let error = line.a_env.net.connect(at(line.b, 9092)).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(world.now().since(start).as_secs(), 127);
        let connect = line.a_env.net.connect(at(line.b, 9092));
        let heal = async {
            world.sleep(ms(1_500)).await;
            world.network().heal(cut);
        };
        let start = world.now();
        let (connected, ()) = tokio::join!(connect, heal);
        connected.unwrap();
        assert!((2_900..3_200).contains(&world.now().since(start).as_millis()), "at the third SYN");
    });
}

#[test]
fn a_kill_resets_peers_and_then_refuses() {
    world(1, |world| async move {
        let mut line = line(&world).await;
        line.server.write_all(b"last words").await.unwrap();
        world.sleep(ms(5)).await;
        world.kill(line.b);
        world.sleep(ms(5)).await;
        assert!(kind_of_read(&mut line.client).await.is_ok(), "what had arrived is read first");
        while kind_of_read(&mut line.client).await.is_ok() {}
        assert_eq!(kind_of_read(&mut line.client).await, Err(ErrorKind::ConnectionReset));
        assert!(line.client.write(b"x").await.is_err());
        let error = line.a_env.net.connect(at(line.b, 9092)).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_power_loss_is_silence_and_after_the_reboot_a_touch_is_answered_with_rst() {
    world(1, |world| async move {
        let mut line = line(&world).await;
        world.power_loss(line.b, PowerLossMode::KeepAll);
        line.client.write_all(b"anybody?").await.unwrap();
        assert!(
            within(&world, Duration::from_secs(20), kind_of_read(&mut line.client)).await.is_none()
        );
        let connect = line.a_env.net.connect(at(line.b, 9092));
        assert!(within(&world, Duration::from_secs(20), connect).await.is_none(), "not refused");
        boot(&world, line.b);
        let read = within(&world, Duration::from_secs(10), kind_of_read(&mut line.client)).await;
        assert_eq!(read, Some(Err(ErrorKind::ConnectionReset)), "by the retransmission");
    });
}

#[test]
fn an_untouched_connection_of_a_dead_machine_stays_half_open_over_its_reboot() {
    world(1, |world| async move {
        let mut line = line(&world).await;
        world.power_loss(line.b, PowerLossMode::KeepAll);
        boot(&world, line.b);
        let read = within(&world, Duration::from_secs(3_600), kind_of_read(&mut line.client)).await;
        assert!(read.is_none(), "nobody tells it");
        line.client.write_all(b"touch").await.unwrap();
        assert_eq!(kind_of_read(&mut line.client).await, Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_reset_that_a_cut_swallows_leaves_the_peer_half_open() {
    world(1, |world| async move {
        let mut line = line(&world).await;
        let cut = world.network().cut(ways(&[line.a], &[line.b], true));
        world.kill(line.b);
        world.sleep(ms(100)).await;
        world.network().heal(cut);
        assert!(within(&world, ms(10_000), kind_of_read(&mut line.client)).await.is_none());
        line.client.write_all(b"touch").await.unwrap();
        assert_eq!(kind_of_read(&mut line.client).await, Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_sender_gives_up_after_its_patience() {
    world(1, |world| async move {
        let give_up = Duration::from_secs(60);
        world.network().set_tcp(TcpConfig { give_up, ..TcpConfig::default() });
        let mut line = line(&world).await;
        world.network().cut(ways(&[line.a], &[line.b], true));
        line.client.write_all(b"x").await.unwrap();
        let start = world.now();
        assert_eq!(kind_of_read(&mut line.client).await, Err(ErrorKind::ConnectionReset));
        assert_eq!(world.now().since(start).as_secs(), 60);
    });
}

#[test]
fn a_paused_process_has_a_kernel_that_accepts_and_buffers() {
    world(1, |world| async move {
        let mut line = line(&world).await;
        world.pause(line.b);
        let mut early = line.a_env.net.connect(at(line.b, 9092)).await.expect("the kernel accepts");
        early.write_all(b"buffered").await.unwrap();
        let flood = async {
            let mut written = 0;
            while within(&world, ms(100), line.client.write_all(&[0; 1024])).await.is_some() {
                written += 1024;
            }
            written
        };
        let written = flood.await;
        assert!((200_000..300_000).contains(&written), "two buffers: {written}");
        world.resume(line.b);
        let mut accepted = line.listener.accept().await.unwrap().into_stream().unwrap();
        let mut bytes = [0; 8];
        accepted.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"buffered");
        drop(line.b_env);
    });
}

#[test]
fn a_node_that_ends_in_order_closes_with_fin() {
    world(1, |world| async move {
        let mut line = line(&world).await;
        line.server.write_all(b"bye").await.unwrap();
        world.ask_shutdown(line.b);
        let mut all = Vec::new();
        line.client.read_to_end(&mut all).await.expect("an end, no reset");
        assert_eq!(all, b"bye");
    });
}

#[test]
fn connections_can_be_reset_from_outside() {
    world(1, |world| async move {
        let mut line = line(&world).await;
        assert_eq!(world.network().reset(line.a, line.b), 1);
        assert_eq!(kind_of_read(&mut line.client).await, Err(ErrorKind::ConnectionReset));
        assert_eq!(kind_of_read(&mut line.server).await, Err(ErrorKind::ConnectionReset));
        drop((line.client, line.server));
        assert_eq!(world.network().connections(), 0);
    });
}

/// How long 100 KB take from `a` to `b`, in microseconds.
fn transfer_micros(seed: u64, link: LinkConfig) -> u64 {
    world(seed, move |world| async move {
        world.network().set_ordinary_link(link);
        let mut line = line(&world).await;
        let start = world.now();
        let send = async { line.client.write_all(&[7; 100_000]).await.unwrap() };
        let mut received = vec![0; 100_000];
        let receive = line.server.read_exact(&mut received);
        let (_, read) = tokio::join!(send, receive);
        read.unwrap();
        assert!(received.iter().all(|byte| *byte == 7), "nothing is ever missing");
        u64::try_from(world.now().since(start).as_micros()).unwrap()
    })
}

#[test]
fn latency_bandwidth_and_loss_are_felt_as_time() {
    let latency = Distribution::Fixed(ms(10));
    let quiet = LinkConfig { latency, bandwidth: None, loss: 0 };
    assert_eq!(transfer_micros(1, quiet.clone()) / 1_000, 10);
    let narrow = LinkConfig { bandwidth: Some(1_000_000), ..quiet.clone() };
    let narrow = transfer_micros(1, narrow);
    assert!((110_000..115_000).contains(&narrow), "100 KB at 1 MB/s: {narrow}");
    let lossy = LinkConfig { loss: 500_000, ..quiet };
    let slow = (0..20).map(|seed| transfer_micros(seed, lossy.clone())).filter(|t| *t > 200_000);
    assert!(slow.count() > 5, "a lost segment comes with its retransmission");
}

#[test]
fn a_link_of_its_own_concerns_one_direction_of_two_nodes() {
    world(1, |world| async move {
        let mut line = line(&world).await;
        let latency = Distribution::Fixed(ms(500));
        let slow = LinkConfig { latency, ..LinkConfig::default() };
        world.network().set_link(line.a, line.b, Some(slow));
        let start = world.now();
        line.client.write_all(b"slow").await.unwrap();
        kind_of_read(&mut line.server).await.unwrap();
        assert_eq!(world.now().since(start).as_millis(), 500);
        line.server.write_all(b"fast").await.unwrap();
        kind_of_read(&mut line.client).await.unwrap();
        assert!(world.now().since(start).as_millis() < 502);
        world.network().lift_all();
        line.client.write_all(b"ordinary").await.unwrap();
        kind_of_read(&mut line.server).await.unwrap();
        assert!(world.now().since(start).as_millis() < 504);
    });
}

#[test]
fn loopback_takes_microseconds() {
    world(1, |world| async move {
        let (_, _, b, env) = two(&world);
        let mut listener = env.net.listen("127.0.0.1:9092".parse().unwrap()).await.unwrap();
        let start = world.now();
        let connect = env.net.connect("127.0.0.1:9092".parse().unwrap());
        let (client, server) = tokio::join!(connect, listener.accept());
        let mut server = server.unwrap().into_stream().unwrap();
        client.unwrap().write_all(b"x").await.unwrap();
        kind_of_read(&mut server).await.unwrap();
        assert!(world.now().since(start) < Duration::from_micros(100));
        let error = env.net.connect(at(b, 9092)).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "bound to loopback only");
    });
}

#[test]
fn a_full_backlog_answers_nobody() {
    world(1, |world| async move {
        world.network().set_tcp(TcpConfig { backlog: 1, ..TcpConfig::default() });
        let line = line(&world).await;
        let _first = line.a_env.net.connect(at(line.b, 9092)).await.unwrap();
        let second = line.a_env.net.connect(at(line.b, 9092));
        assert!(within(&world, Duration::from_secs(20), second).await.is_none());
    });
}

fn frame(api_key: i16, correlation_id: i32) -> Vec<u8> {
    let mut frame = 10i32.to_be_bytes().to_vec();
    frame.extend(api_key.to_be_bytes());
    frame.extend([0, 1]);
    frame.extend(correlation_id.to_be_bytes());
    frame.extend(b"ab");
    frame
}

#[test]
fn frames_are_dropped_delayed_and_duplicated_by_api_on_a_live_connection() {
    let ear = Arc::new(Ear::default());
    let options = WorldOptions::new(1).sink(Arc::clone(&ear) as Arc<dyn EventSink>);
    let finished = run(options, |world| async move {
        world.network().set_tcp(TcpConfig { partial: 300_000, ..TcpConfig::default() });
        let mut line = line(&world).await;
        let fault = |api_key, action| FrameFault {
            direction: Direction::Request,
            api_key: Some(api_key),
            from: vec![line.a],
            to: vec![],
            action,
            chance: 1_000_000,
            count: Some(1),
        };
        let network = world.network();
        network.add_frame_fault(fault(0, FrameAction::Drop));
        network.add_frame_fault(fault(1, FrameAction::Duplicate));
        let delay = Distribution::Fixed(ms(700));
        network.add_frame_fault(fault(2, FrameAction::Delay(delay)));
        let start = world.now();
        for (api_key, id) in [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5)] {
            line.client.write_all(&frame(api_key, id)).await.unwrap();
        }
        let expected = [frame(0, 2), frame(1, 3), frame(1, 3), frame(1, 4)].concat();
        let mut received = vec![0; expected.len()];
        line.server.read_exact(&mut received).await.unwrap();
        assert!(received == expected && world.now().since(start) < ms(10));
        line.server.read_exact(&mut received[..14]).await.unwrap();
        assert!(received[..14] == frame(2, 5) && world.now().since(start) >= ms(700));
        assert_eq!(network.frames_hit(), 3);
    });
    assert_eq!(finished.unwrap_or_else(|failed| panic!("{failed}")).frames, 5);
    let told = ear.events.lock().unwrap();
    assert_eq!(told.iter().filter(|event| matches!(event, WorldEvent::Fault { .. })).count(), 3);
}

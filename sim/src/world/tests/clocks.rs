//! Skew, drift, jumps, and timers.

use ottla::runtime::clock;

use super::*;

#[test]
fn a_jump_moves_the_wall_and_not_the_monotonic_clock() {
    world(1, |world| async move {
        let (a, env, _, other) = two(&world);
        let before = env.clock.now();
        world.machine(a).clock.jump(-3_600_000);
        let after = env.clock.now();
        assert_eq!(after.monotonic, before.monotonic);
        assert_eq!(after.wall.millis(), before.wall.millis() - 3_600_000);
        assert_eq!(other.clock.now().wall, before.wall, "only that node's");
        world.machine(a).clock.correct_wall();
        assert_eq!(env.clock.now().wall, before.wall);
    });
}

#[test]
fn drift_bends_both_clocks_and_every_timer_also_one_that_waits() {
    world(1, |world| async move {
        let (a, env, _, other) = two(&world);
        let start = world.now();
        let waits = async {
            clock::sleep(env.clock.as_ref(), ms(1_000)).await;
            world.now().since(start).as_millis()
        };
        let bends = async {
            world.sleep(ms(500)).await;
            // From here on its second lasts two thirds of one.
            world.machine(a).clock.drift(500_000_000);
        };
        let (lasted, ()) = tokio::join!(waits, bends);
        assert_eq!(lasted, 500 + 333);
        let (bent, straight) = (env.clock.now(), other.clock.now());
        assert!(bent.monotonic - straight.monotonic >= ms(166));
        assert!(bent.wall.millis() - straight.wall.millis() >= 166);
        world.machine(a).clock.drift(0);
        world.machine(a).clock.correct_wall();
        assert!((env.clock.now().wall.millis() - other.clock.now().wall.millis()).abs() <= 1);
    });
}

#[test]
fn timers_are_exact_to_the_microsecond_and_the_latest_deadline_counts() {
    world(1, |world| async move {
        let (_, env, _, _) = two(&world);
        for micros in [1, 10, 250, 999, 1_001] {
            let start = env.clock.now().monotonic;
            clock::sleep(env.clock.as_ref(), Duration::from_micros(micros)).await;
            let waited = env.clock.now().monotonic - start;
            let late = waited - Duration::from_micros(micros);
            assert!(late < Duration::from_micros(3), "{micros} µs took {waited:?}");
        }
        let start = env.clock.now().monotonic;
        let mut timer = env.clock.timer();
        for deadline in [5, 50, 2] {
            let poll = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(timer.poll_at(start + ms(deadline), cx).is_ready())
            });
            assert!(!poll.await);
        }
        clock::wait_until(timer.as_mut(), Some(start + ms(20))).await;
        assert_eq!((env.clock.now().monotonic - start).as_millis(), 20);
        let never = clock::wait_until(timer.as_mut(), None);
        let now = env.clock.now().monotonic;
        assert!(clock::timeout_at(env.clock.as_ref(), now + ms(100), never).await.is_none());
    });
}

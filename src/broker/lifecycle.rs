//! Registration, heartbeats, the fence, and the controlled shutdown.
//!
//! ```text
//!           registered          caught up and unfenced         shutdown wanted           controller agrees, or patience ends
//! starting ───────────▶ recovery ────────────────────▶ running ───────────────▶ shutting down ───────────────▶ ended
//!    ▲  │ refused: again after a back-off                 │
//!    └──┘                                    STALE_BROKER_EPOCH ▶ registers anew
//! ```
//!
//! One request is under way at a time. A heartbeat that is not answered is repeated after the interval; the session at the
//! controller is longer than several of them.
//!
//! Kafka: `BrokerLifecycleManager`.

use std::time::Duration;

use crate::mark;
use crate::types::{BrokerEpoch, ErrorCode, Monotonic, Now, Offset};

/// The values that it goes by.
#[derive(Clone, Copy, Debug)]
pub struct LifecycleConfig {
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// How long to try to register (`initial.broker.registration.timeout.ms`).
    pub registration_timeout: Duration,
    /// How long the controller may leave a broker without an answer that wants to leave, before the broker just ends
    /// (`broker.session.timeout.ms`: by then it is fenced).
    pub shutdown_timeout: Duration,
}

/// How long to wait before a refused or lost registration is repeated. Kafka: `ExponentialBackoff(100, 2, …)`.
const REGISTRATION_BACKOFF_MIN: Duration = Duration::from_millis(100);
const REGISTRATION_BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Where the broker stands (Kafka: `BrokerState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not registered yet.
    Starting,
    /// Registered; waits to be unfenced.
    Recovery,
    /// Unfenced at least once: serves.
    Running,
    /// On its way out.
    ShuttingDown,
    /// Over.
    Ended,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node is up.
    Start,
    /// The time named by [`Lifecycle::deadline`] has come.
    Tick,
    /// The controller registered the broker, or did not (an error too where no answer came).
    Registered(Result<BrokerEpoch, ErrorCode>),
    /// The controller answered a heartbeat, or did not.
    HeartbeatAnswered(Result<HeartbeatAnswer, ErrorCode>),
    /// The broker has applied all metadata below this offset. Exclusive.
    MetadataApplied(Offset),
    /// The broker shall end.
    ShutdownWanted,
}

/// What the controller said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The broker may not lead.
    pub is_fenced: bool,
    /// The broker may end.
    pub should_shut_down: bool,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask to be registered; answer with [`Event::Registered`].
    Register,
    /// Send a heartbeat; answer with [`Event::HeartbeatAnswered`].
    Heartbeat {
        /// As which incarnation.
        broker_epoch: BrokerEpoch,
        /// How far the metadata is applied. Exclusive.
        metadata_end_offset: Offset,
        /// Whether to ask for the way out.
        want_shutdown: bool,
    },
    /// The broker is registered, with this epoch.
    Joined(BrokerEpoch),
    /// The broker is unfenced for the first time: it is ready.
    Ready,
    /// The broker may end now. `clean`: the controller agreed.
    End {
        /// Whether leadership was handed over.
        clean: bool,
    },
    /// The broker cannot enter the cluster: the node must end.
    Fail(ErrorCode),
}

/// A broker's life.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    config: LifecycleConfig,
    state: State,
    broker_epoch: Option<BrokerEpoch>,
    metadata_end_offset: Offset,
    /// What the last heartbeat said of it.
    sent_end_offset: Offset,
    /// Whether a request is under way.
    is_asking: bool,
    /// When to ask next, unless a request is under way.
    next_request: Monotonic,
    backoff: Duration,
    /// When to give up what the state waits for.
    patience_ends: Monotonic,
    /// Why the broker was not registered, the last time it was told.
    refusal: Option<ErrorCode>,
}

impl Lifecycle {
    /// A broker that has not begun.
    #[must_use]
    pub fn new(config: LifecycleConfig) -> Self {
        Self {
            config,
            state: State::Starting,
            broker_epoch: None,
            metadata_end_offset: Offset::ZERO,
            sent_end_offset: Offset::ZERO,
            is_asking: false,
            next_request: Monotonic::FAR_FUTURE,
            backoff: REGISTRATION_BACKOFF_MIN,
            patience_ends: Monotonic::FAR_FUTURE,
            refusal: None,
        }
    }

    /// Where the broker stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Its epoch, once it is registered.
    #[must_use]
    pub fn broker_epoch(&self) -> Option<BrokerEpoch> {
        self.broker_epoch
    }

    /// When to send [`Event::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        let request = if self.is_asking { Monotonic::FAR_FUTURE } else { self.next_request };
        let deadline = request.min(self.patience_ends);
        (self.state != State::Ended && deadline != Monotonic::FAR_FUTURE).then_some(deadline)
    }

    /// Takes an event, and says what is to be done about it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ottla::broker::{Effect, Event, Lifecycle, LifecycleConfig};
    /// use ottla::types::Now;
    ///
    /// let second = Duration::from_secs(1);
    /// let mut lifecycle = Lifecycle::new(LifecycleConfig {
    ///     heartbeat_interval: 2 * second,
    ///     registration_timeout: 60 * second,
    ///     shutdown_timeout: 60 * second,
    /// });
    /// let mut out = Vec::new();
    /// lifecycle.handle(Now::default(), Event::Start, &mut out);
    /// assert_eq!(out, [Effect::Register]);
    /// ```
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        if self.state == State::Ended {
            return;
        }
        let now = now.monotonic;
        match event {
            Event::Start => {
                self.patience_ends = now + self.config.registration_timeout;
                self.ask(out);
            }
            Event::Tick => self.on_tick(now, out),
            Event::Registered(Ok(broker_epoch)) => self.on_registered(broker_epoch, out),
            Event::Registered(Err(error)) => self.on_registration_refused(now, error, out),
            Event::HeartbeatAnswered(Ok(answer)) => self.on_heartbeat(now, answer, out),
            Event::HeartbeatAnswered(Err(error)) => self.on_heartbeat_refused(now, error, out),
            Event::MetadataApplied(end) => self.on_metadata_applied(end, out),
            Event::ShutdownWanted => self.on_shutdown_wanted(now, out),
        }
    }

    fn ask(&mut self, out: &mut Vec<Effect>) {
        self.is_asking = true;
        self.sent_end_offset = self.metadata_end_offset;
        out.push(match self.broker_epoch {
            None => Effect::Register,
            Some(broker_epoch) => Effect::Heartbeat {
                broker_epoch,
                metadata_end_offset: self.metadata_end_offset,
                want_shutdown: self.state == State::ShuttingDown,
            },
        });
    }

    fn on_tick(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        if now >= self.patience_ends {
            match self.state {
                State::ShuttingDown => self.end(false, out),
                State::Starting => {
                    let error = self.refusal.unwrap_or(ErrorCode::RequestTimedOut);
                    self.fail(error, out);
                }
                State::Recovery | State::Running | State::Ended => {
                    self.patience_ends = Monotonic::FAR_FUTURE;
                }
            }
        } else if !self.is_asking && now >= self.next_request {
            self.ask(out);
        }
    }

    fn on_registered(&mut self, broker_epoch: BrokerEpoch, out: &mut Vec<Effect>) {
        self.is_asking = false;
        self.backoff = REGISTRATION_BACKOFF_MIN;
        self.broker_epoch = Some(broker_epoch);
        out.push(Effect::Joined(broker_epoch));
        if self.state == State::Starting {
            self.state = State::Recovery;
            self.patience_ends = Monotonic::FAR_FUTURE;
        }
        self.ask(out);
    }

    fn on_registration_refused(&mut self, now: Monotonic, error: ErrorCode, out: &mut Vec<Effect>) {
        self.is_asking = false;
        let hopeless = [
            ErrorCode::InconsistentClusterId,
            ErrorCode::InvalidRegistration,
            ErrorCode::UnsupportedVersion,
        ];
        if hopeless.contains(&error) || now >= self.patience_ends {
            self.fail(error, out);
            return;
        }
        mark!("a broker's registration is repeated");
        self.refusal = Some(error);
        self.next_request = now + self.backoff;
        self.backoff = (self.backoff * 2).min(REGISTRATION_BACKOFF_MAX);
    }

    fn on_heartbeat(&mut self, now: Monotonic, answer: HeartbeatAnswer, out: &mut Vec<Effect>) {
        self.is_asking = false;
        self.next_request = now + self.config.heartbeat_interval;
        match self.state {
            State::Recovery if !answer.is_fenced => {
                self.state = State::Running;
                out.push(Effect::Ready);
            }
            // The metadata caught up while the heartbeat was under way: no need to wait for the interval.
            State::Recovery if self.metadata_end_offset > self.sent_end_offset => self.ask(out),
            State::ShuttingDown if answer.should_shut_down => self.end(true, out),
            // The controller moves leaders away, or waits for our own next heartbeat: ask again soon.
            State::ShuttingDown => {
                self.next_request = now + REGISTRATION_BACKOFF_MIN;
                self.patience_ends = now + self.config.shutdown_timeout;
            }
            State::Starting | State::Recovery | State::Running | State::Ended => {}
        }
    }

    fn on_heartbeat_refused(&mut self, now: Monotonic, error: ErrorCode, out: &mut Vec<Effect>) {
        self.is_asking = false;
        if error == ErrorCode::StaleBrokerEpoch {
            if self.state == State::ShuttingDown {
                mark!("a broker whose epoch is stale has nothing to hand over");
                self.end(false, out);
                return;
            }
            mark!("a broker whose epoch is stale registers anew");
            self.broker_epoch = None;
            self.ask(out);
            return;
        }
        self.next_request = now + self.config.heartbeat_interval;
    }

    /// Until it is unfenced, a broker does not wait for the interval: what the controller waits for may have just come.
    fn on_metadata_applied(&mut self, end: Offset, out: &mut Vec<Effect>) {
        let covers_registration = |end: Offset, epoch: BrokerEpoch| end.value() > epoch.value();
        let before = self.metadata_end_offset;
        self.metadata_end_offset = end.max(before);
        let Some(epoch) = self.broker_epoch else { return };
        let just_caught_up = covers_registration(end, epoch) && !covers_registration(before, epoch);
        if self.state == State::Recovery && just_caught_up && !self.is_asking {
            self.ask(out);
        }
    }

    fn on_shutdown_wanted(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        match self.state {
            State::Starting => self.end(false, out),
            State::Recovery | State::Running => {
                self.state = State::ShuttingDown;
                self.patience_ends = now + self.config.shutdown_timeout;
                self.next_request = now;
                if !self.is_asking {
                    self.ask(out);
                }
            }
            State::ShuttingDown | State::Ended => {}
        }
    }

    fn end(&mut self, clean: bool, out: &mut Vec<Effect>) {
        self.state = State::Ended;
        out.push(Effect::End { clean });
    }

    fn fail(&mut self, error: ErrorCode, out: &mut Vec<Effect>) {
        self.state = State::Ended;
        out.push(Effect::Fail(error));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::types::Timestamp;

    const CONFIG: LifecycleConfig = LifecycleConfig {
        heartbeat_interval: Duration::from_secs(2),
        registration_timeout: Duration::from_secs(60),
        shutdown_timeout: Duration::from_secs(30),
    };

    /// Plays events at times in milliseconds; one line for each, with the effects and the next deadline.
    #[track_caller]
    fn check(events: Vec<(u64, Event)>, expected: &Expect) {
        let mut lifecycle = Lifecycle::new(CONFIG);
        let mut text = String::new();
        for (millis, event) in events {
            let monotonic = Monotonic::from_nanos(millis * 1_000_000);
            let mut out = Vec::new();
            let line = format!("{millis} {event:?}");
            lifecycle.handle(Now { monotonic, wall: Timestamp::default() }, event, &mut out);
            let deadline = lifecycle.deadline().map(|at| at.nanos() / 1_000_000);
            text += &format!("{line}\n  {:?} {deadline:?}\n", lifecycle.state());
            for effect in out {
                text += &format!("  {effect:?}\n");
            }
        }
        expected.assert_eq(&text);
    }

    fn answer(is_fenced: bool, should_shut_down: bool) -> Event {
        Event::HeartbeatAnswered(Ok(HeartbeatAnswer { is_fenced, should_shut_down }))
    }

    #[test]
    fn a_broker_joins_is_unfenced_once_caught_up_and_leaves() {
        let events = vec![
            (0, Event::Start),
            (1, Event::Registered(Ok(BrokerEpoch::new(7)))),
            (2, Event::MetadataApplied(Offset::new(8))),
            (3, answer(true, false)),
            (4, answer(false, false)),
            (2004, Event::Tick),
            (2005, Event::ShutdownWanted),
            (2006, answer(false, false)),
            (2007, answer(false, false)),
            (2107, Event::Tick),
            (2108, answer(true, true)),
        ];
        check(
            events,
            &expect![[r#"
                0 Start
                  Starting Some(60000)
                  Register
                1 Registered(Ok(BrokerEpoch(7)))
                  Recovery None
                  Joined(BrokerEpoch(7))
                  Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(0), want_shutdown: false }
                2 MetadataApplied(Offset(8))
                  Recovery None
                3 HeartbeatAnswered(Ok(HeartbeatAnswer { is_fenced: true, should_shut_down: false }))
                  Recovery None
                  Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(8), want_shutdown: false }
                4 HeartbeatAnswered(Ok(HeartbeatAnswer { is_fenced: false, should_shut_down: false }))
                  Running Some(2004)
                  Ready
                2004 Tick
                  Running None
                  Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(8), want_shutdown: false }
                2005 ShutdownWanted
                  ShuttingDown Some(32005)
                2006 HeartbeatAnswered(Ok(HeartbeatAnswer { is_fenced: false, should_shut_down: false }))
                  ShuttingDown Some(2106)
                2007 HeartbeatAnswered(Ok(HeartbeatAnswer { is_fenced: false, should_shut_down: false }))
                  ShuttingDown Some(2107)
                2107 Tick
                  ShuttingDown Some(32007)
                  Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(8), want_shutdown: true }
                2108 HeartbeatAnswered(Ok(HeartbeatAnswer { is_fenced: true, should_shut_down: true }))
                  Ended None
                  End { clean: true }
            "#]],
        );
    }

    #[test]
    fn a_refused_registration_is_repeated_and_a_hopeless_one_is_not() {
        let refused = Event::Registered(Err(ErrorCode::DuplicateBrokerRegistration));
        let events = vec![
            (0, Event::Start),
            (1, refused.clone()),
            (101, Event::Tick),
            (102, refused),
            (302, Event::Tick),
            (303, Event::Registered(Err(ErrorCode::InconsistentClusterId))),
        ];
        check(
            events,
            &expect![[r#"
            0 Start
              Starting Some(60000)
              Register
            1 Registered(Err(DuplicateBrokerRegistration))
              Starting Some(101)
            101 Tick
              Starting Some(60000)
              Register
            102 Registered(Err(DuplicateBrokerRegistration))
              Starting Some(302)
            302 Tick
              Starting Some(60000)
              Register
            303 Registered(Err(InconsistentClusterId))
              Ended None
              Fail(InconsistentClusterId)
        "#]],
        );
    }

    #[test]
    fn a_broker_that_leaves_is_patient_as_long_as_it_is_answered() {
        let events = vec![
            (0, Event::Start),
            (1, Event::Registered(Ok(BrokerEpoch::new(7)))),
            (2, answer(false, false)),
            (1000, Event::ShutdownWanted),
            (20_000, answer(true, false)),
            (20_100, Event::Tick),
            (49_000, Event::HeartbeatAnswered(Err(ErrorCode::RequestTimedOut))),
            (50_000, Event::Tick),
        ];
        check(
            events,
            &expect![[r#"
            0 Start
              Starting Some(60000)
              Register
            1 Registered(Ok(BrokerEpoch(7)))
              Recovery None
              Joined(BrokerEpoch(7))
              Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(0), want_shutdown: false }
            2 HeartbeatAnswered(Ok(HeartbeatAnswer { is_fenced: false, should_shut_down: false }))
              Running Some(2002)
              Ready
            1000 ShutdownWanted
              ShuttingDown Some(31000)
              Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(0), want_shutdown: true }
            20000 HeartbeatAnswered(Ok(HeartbeatAnswer { is_fenced: true, should_shut_down: false }))
              ShuttingDown Some(20100)
            20100 Tick
              ShuttingDown Some(50000)
              Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(0), want_shutdown: true }
            49000 HeartbeatAnswered(Err(RequestTimedOut))
              ShuttingDown Some(50000)
            50000 Tick
              Ended None
              End { clean: false }
        "#]],
        );
    }

    #[test]
    fn a_broker_that_leaves_and_is_not_known_any_more_just_ends() {
        let events = vec![
            (0, Event::Start),
            (1, Event::Registered(Ok(BrokerEpoch::new(7)))),
            (2, answer(false, false)),
            (1000, Event::ShutdownWanted),
            (1001, Event::HeartbeatAnswered(Err(ErrorCode::StaleBrokerEpoch))),
        ];
        check(
            events,
            &expect![[r#"
            0 Start
              Starting Some(60000)
              Register
            1 Registered(Ok(BrokerEpoch(7)))
              Recovery None
              Joined(BrokerEpoch(7))
              Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(0), want_shutdown: false }
            2 HeartbeatAnswered(Ok(HeartbeatAnswer { is_fenced: false, should_shut_down: false }))
              Running Some(2002)
              Ready
            1000 ShutdownWanted
              ShuttingDown Some(31000)
              Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(0), want_shutdown: true }
            1001 HeartbeatAnswered(Err(StaleBrokerEpoch))
              Ended None
              End { clean: false }
        "#]],
        );
    }

    #[test]
    fn a_broker_that_is_never_registered_fails_with_what_it_was_told() {
        let refused = Event::Registered(Err(ErrorCode::DuplicateBrokerRegistration));
        let events =
            vec![(0, Event::Start), (1, refused), (101, Event::Tick), (60_000, Event::Tick)];
        check(
            events,
            &expect![[r#"
            0 Start
              Starting Some(60000)
              Register
            1 Registered(Err(DuplicateBrokerRegistration))
              Starting Some(101)
            101 Tick
              Starting Some(60000)
              Register
            60000 Tick
              Ended None
              Fail(DuplicateBrokerRegistration)
        "#]],
        );
    }

    #[test]
    fn a_stale_epoch_makes_the_broker_register_anew() {
        let events = vec![
            (0, Event::Start),
            (1, Event::Registered(Ok(BrokerEpoch::new(7)))),
            (2, Event::HeartbeatAnswered(Err(ErrorCode::StaleBrokerEpoch))),
            (3, Event::Registered(Ok(BrokerEpoch::new(9)))),
        ];
        check(
            events,
            &expect![[r#"
            0 Start
              Starting Some(60000)
              Register
            1 Registered(Ok(BrokerEpoch(7)))
              Recovery None
              Joined(BrokerEpoch(7))
              Heartbeat { broker_epoch: BrokerEpoch(7), metadata_end_offset: Offset(0), want_shutdown: false }
            2 HeartbeatAnswered(Err(StaleBrokerEpoch))
              Recovery None
              Register
            3 Registered(Ok(BrokerEpoch(9)))
              Recovery None
              Joined(BrokerEpoch(9))
              Heartbeat { broker_epoch: BrokerEpoch(9), metadata_end_offset: Offset(0), want_shutdown: false }
        "#]],
        );
    }
}

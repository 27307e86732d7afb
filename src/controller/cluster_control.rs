//! Which brokers there are, and which of them live.
//!
//! A broker registers, fenced; its heartbeats unfence it once its metadata covers its own registration; silence for a session
//! fences it. Fencing takes it out of the in-sync replicas and leadership; unfencing elects it where nobody leads.
//!
//! ```text
//! (none) ──register──▶ fenced ──heartbeat, caught up──▶ unfenced ──want_shutdown, leads──▶ in controlled shutdown
//!                        ▲ ◀──────silence, want_fence──────┘ │                                     │
//!                        └◀──────────────── want_shutdown, leads nothing: may end ◀────────────────┘
//! ```
//!
//! Kafka: `ClusterControlManager`, `BrokerHeartbeatManager`, `ReplicationControlManager.processBrokerHeartbeat`.

use super::Controller;
use super::request::{
    ApiError, BrokerHeartbeatRequest, BrokerHeartbeatResponse, RegisterBrokerRequest,
};
use crate::mark;
use crate::metadata::records::{BrokerIncarnation, BrokerRegistrationChange, RegisterBroker};
use crate::metadata::{BrokerRegistration, Record};
use crate::types::{BrokerEpoch, BrokerId, ErrorCode, Monotonic, Now, Offset, Uuid};

/// What this controller knows of a broker's life. Dies with the leadership.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// When the broker was heard from last, or when this controller took over.
    last_contact: Monotonic,
    /// Whether this controller has heard from it at all.
    heard: bool,
    /// The end of the metadata that it has applied. Exclusive.
    metadata_end_offset: Offset,
    /// Where the records of its controlled shutdown end: it may go when the others have applied them.
    shutdown_end_offset: Option<Offset>,
}

impl Controller {
    /// Every registered broker gets a full session at takeover: this controller cannot know when it was heard from last.
    pub(super) fn grant_sessions(&mut self, now: Now) {
        let session = Session {
            last_contact: now.monotonic,
            heard: false,
            metadata_end_offset: Offset::ZERO,
            shutdown_end_offset: None,
        };
        let brokers: Vec<BrokerId> = self.image().brokers().map(|broker| broker.broker).collect();
        self.sessions = brokers.into_iter().map(|broker| (broker, session)).collect();
    }

    pub(super) fn register_broker(
        &mut self,
        now: Now,
        next_offset: Offset,
        request: RegisterBrokerRequest,
    ) -> (Vec<Record>, Result<BrokerEpoch, ApiError>) {
        if let Err(error) = self.check_registration(now, &request) {
            return (Vec::new(), Err(error));
        }
        let broker = request.broker;
        let existing = self.image().broker(broker).cloned();
        let amended =
            existing.as_ref().filter(|existing| existing.incarnation_id == request.incarnation_id);
        let mut records = Vec::new();
        if amended.is_none() {
            self.retire_incarnation(
                existing.as_deref(),
                request.previous_broker_epoch,
                &mut records,
            );
        }
        if existing.is_none() && self.image().brokers().len() > 0 && self.is_elr_enabled() {
            self.write_down_min_isr(&mut records);
        }
        // The epoch is the offset of this very record, so it rises with each incarnation and needs no counter.
        let own_offset = next_offset + records.len() as u64;
        let broker_epoch = match amended {
            Some(existing) => existing.broker_epoch,
            None => BrokerEpoch::new(own_offset.value()),
        };
        records.push(Record::RegisterBroker(RegisterBroker {
            broker,
            incarnation_id: request.incarnation_id,
            broker_epoch,
            endpoints: request.endpoints,
            features: request.features,
            rack: request.rack,
            fenced: amended.is_none_or(|existing| existing.fenced),
            in_controlled_shutdown: amended.is_some_and(|existing| existing.in_controlled_shutdown),
            log_dirs: request.log_dirs,
        }));
        let session = Session {
            last_contact: now.monotonic,
            heard: true,
            metadata_end_offset: Offset::ZERO,
            shutdown_end_offset: None,
        };
        self.sessions.insert(broker, session);
        (records, Ok(broker_epoch))
    }

    fn check_registration(
        &self,
        now: Now,
        request: &RegisterBrokerRequest,
    ) -> Result<(), ApiError> {
        let broker = request.broker;
        if request.cluster_id != self.config.cluster_id {
            let message = format!(
                "the broker was formatted for cluster '{}', this is cluster '{}'",
                request.cluster_id, self.config.cluster_id
            );
            return Err(ApiError::new(ErrorCode::InconsistentClusterId, message));
        }
        if let Some(existing) = self.image().broker(broker)
            && existing.incarnation_id != request.incarnation_id
            && self.has_valid_session(now, existing)
        {
            mark!("a second live broker with the same id is refused");
            let message = format!("another broker with id {broker} is alive");
            return Err(ApiError::new(ErrorCode::DuplicateBrokerRegistration, message));
        }
        self.check_log_dirs(broker, &request.log_dirs)?;
        self.check_features(&request.features)
    }

    fn check_log_dirs(&self, broker: BrokerId, log_dirs: &[Uuid]) -> Result<(), ApiError> {
        let refuse = |message: String| Err(ApiError::new(ErrorCode::InvalidRegistration, message));
        if log_dirs.is_empty() {
            return refuse("the broker has no working log directory".to_owned());
        }
        for (index, id) in log_dirs.iter().enumerate() {
            if id.is_reserved_directory() {
                return refuse(format!("directory id {id} is reserved"));
            }
            if log_dirs[..index].contains(id) {
                return refuse(format!("directory id {id} stands twice"));
            }
            let others = self.image().brokers().filter(|other| other.broker != broker);
            if let Some(other) = others.into_iter().find(|other| other.log_dirs.contains(id)) {
                return refuse(format!("directory {id} belongs to broker {}", other.broker));
            }
        }
        Ok(())
    }

    /// Whether the registered incarnation of a broker must be taken to be alive.
    ///
    /// Kafka gives every unfenced broker a valid session when a controller takes over, so a node that is broker and controller
    /// in one and is restarted refuses itself for a whole session. A broker of our own id that *we* never heard from lived in a
    /// process that is gone: this one has taken its place.
    fn has_valid_session(&self, now: Now, existing: &BrokerRegistration) -> bool {
        let Some(session) = self.sessions.get(&existing.broker) else { return false };
        if existing.fenced || (existing.broker == self.config.node && !session.heard) {
            return false;
        }
        now.monotonic <= session.last_contact + self.config.broker_session_timeout
    }

    /// The end of a broker's last incarnation: it leads nothing, and after a crash it is neither in sync nor eligible.
    fn retire_incarnation(
        &self,
        existing: Option<&BrokerRegistration>,
        previous_broker_epoch: Option<BrokerEpoch>,
        records: &mut Vec<Record>,
    ) {
        let Some(existing) = existing else { return };
        let broker = existing.broker;
        if previous_broker_epoch == Some(existing.broker_epoch) {
            self.remove_from_isr(broker, records);
        } else {
            mark!("a broker returns after an unclean stop");
            self.remove_crashed(broker, records);
        }
    }

    /// Errors: `STALE_BROKER_EPOCH`, where the broker is not registered or with another epoch (Kafka: `checkBrokerEpoch`).
    pub(super) fn check_broker_epoch(
        &self,
        broker: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> Result<&BrokerRegistration, ApiError> {
        let Some(registration) = self.image().broker(broker) else {
            let message = format!("broker {broker} is not registered");
            return Err(ApiError::new(ErrorCode::StaleBrokerEpoch, message));
        };
        if registration.broker_epoch != broker_epoch {
            mark!("a request of an older broker epoch is refused");
            let message = format!(
                "broker {broker} spoke with epoch {broker_epoch}, its epoch is {}",
                registration.broker_epoch
            );
            return Err(ApiError::new(ErrorCode::StaleBrokerEpoch, message));
        }
        Ok(registration)
    }

    pub(super) fn broker_heartbeat(
        &mut self,
        now: Now,
        next_offset: Offset,
        request: &BrokerHeartbeatRequest,
    ) -> (Vec<Record>, Result<BrokerHeartbeatResponse, ApiError>) {
        let broker = request.broker;
        let registration = match self.check_broker_epoch(broker, request.broker_epoch) {
            Ok(registration) => registration.clone(),
            Err(error) => return (Vec::new(), Err(error)),
        };
        // The epoch is the offset of the registration.
        let registered_at = Offset::new(registration.broker_epoch.value());
        let is_caught_up = request.metadata_end_offset > registered_at;
        // There are no records for a broker without directories; it stops, and until then it is of no use.
        let has_directory =
            registration.log_dirs.iter().any(|id| !request.offline_log_dirs.contains(id));
        let wish =
            Wish { fence: request.want_fence || !has_directory, shutdown: request.want_shutdown };
        let next = self.next_state(&registration, wish, is_caught_up);
        let mut records = Vec::new();
        match next {
            NextState::Unchanged { .. } => {}
            NextState::Fenced { .. } if !has_directory => {
                self.remove_crashed(broker, &mut records);
                records.push(registration_change(&registration, Some(true), false));
            }
            NextState::Fenced { .. } => self.fence(&registration, &mut records),
            NextState::Unfenced => self.unfence(&registration, &mut records),
            NextState::ControlledShutdown => self.begin_shutdown(&registration, &mut records),
        }
        if records.is_empty() && has_directory {
            // In another heartbeat otherwise: two changes of one partition must not be worked out from one state.
            self.drop_directories(&registration, &request.offline_log_dirs, &mut records);
        }
        let session = self.sessions.entry(broker).or_insert(Session {
            last_contact: now.monotonic,
            heard: true,
            metadata_end_offset: Offset::ZERO,
            shutdown_end_offset: None,
        });
        session.last_contact = now.monotonic;
        session.heard = true;
        session.metadata_end_offset = request.metadata_end_offset;
        if next == NextState::ControlledShutdown {
            session.shutdown_end_offset = Some(next_offset + records.len() as u64);
        }
        let response = BrokerHeartbeatResponse {
            is_caught_up,
            is_fenced: match next {
                NextState::Unchanged { .. } => registration.fenced,
                NextState::Fenced { .. } => true,
                NextState::Unfenced | NextState::ControlledShutdown => false,
            },
            should_shut_down: match next {
                NextState::Unchanged { may_end } | NextState::Fenced { may_end } => may_end,
                NextState::Unfenced | NextState::ControlledShutdown => false,
            },
        };
        (records, Ok(response))
    }

    /// Kafka: `BrokerHeartbeatManager.calculateNextBrokerState`.
    fn next_state(
        &self,
        registration: &BrokerRegistration,
        wish: Wish,
        is_caught_up: bool,
    ) -> NextState {
        let leads = || self.index.leads_something(registration.broker);
        if registration.fenced {
            if wish.shutdown {
                return NextState::Unchanged { may_end: true };
            }
            // There is no way back from a controlled shutdown within an incarnation.
            let may_return = !wish.fence && !registration.in_controlled_shutdown;
            let unfence = may_return && is_caught_up;
            return if unfence { NextState::Unfenced } else { NextState::STAYS };
        }
        if registration.in_controlled_shutdown {
            let may_go = !leads() && self.others_have_applied_shutdown(registration.broker);
            return if may_go { NextState::Fenced { may_end: true } } else { NextState::STAYS };
        }
        match (wish.fence, wish.shutdown) {
            (true, may_end) => NextState::Fenced { may_end },
            (false, true) if leads() => NextState::ControlledShutdown,
            (false, true) => NextState::Fenced { may_end: true },
            (false, false) => NextState::STAYS,
        }
    }

    /// Whether every broker that stays knows that `broker` leads nothing any more.
    fn others_have_applied_shutdown(&self, broker: BrokerId) -> bool {
        let end = self.sessions.get(&broker).and_then(|session| session.shutdown_end_offset);
        let Some(end) = end else { return true };
        let mut others = self.image().brokers().filter(|other| other.is_active());
        others.all(|other| {
            let session = self.sessions.get(&other.broker);
            session.is_some_and(|session| session.metadata_end_offset >= end)
        })
    }

    fn fence(&self, registration: &BrokerRegistration, records: &mut Vec<Record>) {
        self.remove_from_isr(registration.broker, records);
        records.push(registration_change(registration, Some(true), false));
    }

    fn unfence(&self, registration: &BrokerRegistration, records: &mut Vec<Record>) {
        records.push(registration_change(registration, Some(false), false));
        self.elect_where_leaderless(registration.broker, records);
    }

    fn begin_shutdown(&self, registration: &BrokerRegistration, records: &mut Vec<Record>) {
        records.push(registration_change(registration, None, true));
        self.remove_from_isr(registration.broker, records);
    }

    pub(super) fn unregister_broker(
        &mut self,
        broker: BrokerId,
    ) -> (Vec<Record>, Result<(), ApiError>) {
        let Some(registration) = self.image().broker(broker).cloned() else {
            let message = format!("broker {broker} is not registered");
            return (Vec::new(), Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, message)));
        };
        let mut records = Vec::new();
        // Nothing will tell whether it stops cleanly.
        self.remove_crashed(broker, &mut records);
        let incarnation = BrokerIncarnation { broker, broker_epoch: registration.broker_epoch };
        records.push(Record::UnregisterBroker(incarnation));
        self.sessions.remove(&broker);
        (records, Ok(()))
    }

    /// When the first session of an unfenced broker ends.
    pub(super) fn next_session_end(&self) -> Option<Monotonic> {
        let timeout = self.config.broker_session_timeout;
        let unfenced = self.image().brokers().filter(|broker| !broker.fenced);
        let sessions = unfenced.filter_map(|broker| self.sessions.get(&broker.broker));
        // One nanosecond later than the session's last moment, which still counts.
        let ends = sessions
            .map(|session| session.last_contact + timeout + std::time::Duration::from_nanos(1));
        ends.min()
    }

    /// Fences the unfenced broker whose session ended first, if any has.
    pub(super) fn fence_one_stale_broker(&mut self, now: Now) -> Vec<Record> {
        let mut records = Vec::new();
        let timeout = self.config.broker_session_timeout;
        let unfenced = self.image().brokers().filter(|broker| !broker.fenced);
        let stale = unfenced
            .filter_map(|broker| Some((self.sessions.get(&broker.broker)?.last_contact, broker)))
            .filter(|(last_contact, _)| *last_contact + timeout < now.monotonic)
            .min_by_key(|(last_contact, broker)| (*last_contact, broker.broker))
            .map(|(_, broker)| broker.clone());
        if let Some(broker) = stale {
            mark!("a silent broker is fenced");
            self.fence(&broker, &mut records);
        }
        records
    }
}

/// What a broker wants to be.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// Fenced.
    fence: bool,
    /// Gone.
    shutdown: bool,
}

/// What a heartbeat brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextState {
    /// Nothing; a fenced broker that wants to may end.
    Unchanged { may_end: bool },
    /// It is fenced.
    Fenced { may_end: bool },
    /// It is unfenced.
    Unfenced,
    /// It gives up its leaderships, then ends.
    ControlledShutdown,
}

impl NextState {
    const STAYS: NextState = NextState::Unchanged { may_end: false };
}

fn registration_change(
    registration: &BrokerRegistration,
    fenced: Option<bool>,
    in_controlled_shutdown: bool,
) -> Record {
    Record::BrokerRegistrationChange(BrokerRegistrationChange {
        broker: registration.broker,
        broker_epoch: registration.broker_epoch,
        fenced,
        in_controlled_shutdown,
        log_dirs: None,
    })
}

//! A membership of either protocol, as the configuration says.

use std::sync::Arc;

use rand::rngs::StdRng;

use super::{ClassicProtocol, ConsumerProtocol, Effect, Event, Membership, MembershipConfig};
use crate::types::{GenerationId, GroupProtocol, Monotonic, Now};

/// See the module.
#[derive(Debug)]
pub(in crate::client::consumer) struct AnyMembership(Either);

#[derive(Debug)]
enum Either {
    Classic(Box<Membership<ClassicProtocol>>),
    Consumer(Box<Membership<ConsumerProtocol>>),
}

impl AnyMembership {
    pub(in crate::client::consumer) fn new(config: MembershipConfig, rng: StdRng) -> Self {
        Self(match config.protocol {
            GroupProtocol::Classic => {
                Either::Classic(Box::new(Membership::<ClassicProtocol>::new(config, rng)))
            }
            GroupProtocol::Consumer => {
                Either::Consumer(Box::new(Membership::<ConsumerProtocol>::new(config, rng)))
            }
        })
    }

    /// The member's id and generation or member epoch, as far as it has them (Kafka: `ConsumerGroupMetadata`).
    pub(in crate::client::consumer) fn identity(
        &self,
    ) -> (Option<&Arc<str>>, Option<GenerationId>) {
        match &self.0 {
            Either::Classic(membership) => membership.identity(),
            Either::Consumer(membership) => membership.identity(),
        }
    }

    /// Takes an event in; what is to be done goes to the end of `out`, to be done in order.
    pub(in crate::client::consumer) fn handle(
        &mut self,
        now: Now,
        event: Event,
        out: &mut Vec<Effect>,
    ) {
        match &mut self.0 {
            Either::Classic(membership) => membership.handle(now, event, out),
            Either::Consumer(membership) => membership.handle(now, event, out),
        }
    }

    /// When [`Event::Tick`] is due at the latest.
    pub(in crate::client::consumer) fn deadline(&self) -> Option<Monotonic> {
        match &self.0 {
            Either::Classic(membership) => membership.deadline(),
            Either::Consumer(membership) => membership.deadline(),
        }
    }

    /// Whether it has all it is to have, as far as it knows.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        match &self.0 {
            Either::Classic(membership) => membership.is_at_rest(),
            Either::Consumer(membership) => membership.is_at_rest(),
        }
    }

    #[cfg(test)]
    pub(super) fn is_closing(&self) -> bool {
        match &self.0 {
            Either::Classic(membership) => membership.closing.is_some(),
            Either::Consumer(membership) => membership.closing.is_some(),
        }
    }
}

//! R29: a request under an old broker epoch changes nothing: the registration of a broker never goes back to an earlier incarnation. And
//! a broker may lead only once it has the metadata that registers it.

use ottla::types::{BrokerEpoch, BrokerId, Observation, Offset};

use crate::checker::{Event, Ghost, Occurrence, Violation, found, told};

/// It goes back, in the metadata of one node or from one version to a later one; or a broker is unfenced too early.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::RegistrationChanged {
        end_offset,
        broker,
        broker_epoch,
        is_fenced,
        ..
    }) = occurrence.event
    else {
        return;
    };
    let by_node =
        ghost.node(occurrence.node).and_then(|node| node.told_brokers.get(&broker)).copied();
    let known = ghost.registration(broker).filter(|known| known.at < end_offset);
    let known = known.map(|known| known.broker_epoch).max(by_node);
    if let Some(known) = known.filter(|known| *known > broker_epoch) {
        let what = format!("broker {broker} is registered under an earlier incarnation again");
        let fact = format!("broker epoch {broker_epoch} after {known}");
        out.push(found("R29", ghost, occurrence, None, what, vec![fact]));
    }
    if !is_fenced {
        is_ready(ghost, occurrence, (broker, broker_epoch), out);
    }
}

/// Kafka: `BrokerHeartbeatManager.calculateNextBrokerState`, which wants metadata up to the record of the registration; its offset is
/// the broker epoch.
fn is_ready(
    ghost: &Ghost,
    occurrence: &Occurrence,
    (broker, broker_epoch): (BrokerId, BrokerEpoch),
    out: &mut Vec<Violation>,
) {
    let Some(registration) = ghost.registration(broker) else { return };
    let is_first = registration.is_fenced && registration.broker_epoch == broker_epoch;
    // A later process of this broker says nothing of the one that was unfenced.
    let node = ghost.node_of(broker).and_then(|node| ghost.node(node));
    let Some(node) = node.filter(|node| is_first && node.boots == registration.boot) else {
        return;
    };
    let has_it = node.applied.is_some_and(|end| Offset::value(end) > broker_epoch.value());
    // Where no node tells what it applies, nothing is known of this one.
    if has_it || !ghost.tells_metadata() {
        return;
    }
    let what = format!("broker {broker} is unfenced before it has the metadata that registers it");
    let fact = format!(
        "it is registered by the record at {broker_epoch}; it has the metadata below {}",
        told(node.applied, "0")
    );
    out.push(found("R29", ghost, occurrence, None, what, vec![fact]));
}

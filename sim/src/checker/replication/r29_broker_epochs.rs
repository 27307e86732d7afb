//! R29: a request under an old broker epoch changes nothing: the registration of a broker never goes back to an earlier incarnation.

use ottla::types::Observation;

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// It does, in the metadata of one node or from one version to a later one.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::RegistrationChanged {
        end_offset, broker, broker_epoch, ..
    }) = occurrence.event
    else {
        return;
    };
    let told = ghost.node(occurrence.node).and_then(|node| node.told_brokers.get(&broker)).copied();
    let known = ghost.registration(broker).filter(|known| known.at < end_offset);
    let known = known.map(|known| known.broker_epoch).max(told);
    if let Some(known) = known.filter(|known| *known > broker_epoch) {
        let what = format!("broker {broker} is registered under an earlier incarnation again");
        let fact = format!("broker epoch {broker_epoch} after {known}");
        out.push(found("R29", ghost, occurrence, None, what, vec![fact]));
    }
}

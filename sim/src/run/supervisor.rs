//! What starts a node again that ended by itself, once everything is healed: a broker that could not enter the cluster for
//! `initial.broker.registration.timeout.ms` gives up, as Kafka's does, and counts on systemd or Kubernetes. And after a storm, who
//! stops a node that runs on with a failed log directory, for it to find a healthy disk at its next start.

use std::sync::Arc;
use std::time::Duration;

use super::node::Member;
use super::stage::Stage;
use crate::world::Process;

/// How long it waits before it starts a node again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Watches a node whose `process` runs; for as long as the node belongs to the cluster, or until the task is aborted.
pub(super) async fn supervise(stage: Arc<Stage>, member: Member, mut process: Arc<Process>) {
    loop {
        process.ended().await;
        stage.world().sleep(RESTART_AFTER).await;
        if !stage.present().contains(&member) {
            return;
        }
        process = stage.running_or_started(member, "it had ended by itself");
    }
}

/// Stops a node in good order, as an operator does who has replaced the disk of a failed log directory, or made room on it: [`supervise`]
/// starts it again.
pub(super) async fn replace_disk(stage: Arc<Stage>, member: Member) {
    let what = "a log directory is offline, and its disk is in order again";
    stage.record(member.who(), "fault.started", format!("shutdown: {what}"));
    stage.shut_down(member).await;
}

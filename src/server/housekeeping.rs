//! What a node does from time to time: syncs that are due by age, a look at followers that lag, checkpoints, retention,
//! forgetting idle producers.
//!
//! One task and one timer for all of it.

use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::replica_manager::{Applied, ReplicaManager};
use crate::runtime::Env;
use crate::runtime::clock::wait_until;
use crate::types::Monotonic;

/// Logs that could not be made are tried again after so long.
const RETRY_SPAN: Duration = Duration::from_secs(5);

/// Something that is due again and again.
struct Every {
    span: Duration,
    due: Monotonic,
}

impl Every {
    fn new(now: Monotonic, span: Duration) -> Self {
        // Never twice in one moment, whatever is configured.
        let span = span.max(Duration::from_millis(1));
        Self { span, due: now + span }
    }

    /// Whether it is due; then it is due again a span from now.
    fn is_due(&mut self, now: Monotonic) -> bool {
        let is_due = self.due <= now;
        if is_due {
            self.due = now + self.span;
        }
        is_due
    }
}

/// Runs until it is aborted.
pub(super) async fn run(replicas: Arc<ReplicaManager>, config: Config, env: Env) {
    let mut timer = env.clock.timer();
    let mut applied = replicas.subscribe();
    let start = env.clock.now().monotonic;
    let mut high_watermarks = Every::new(start, config.high_watermark_checkpoint_interval);
    let mut recovery_points = Every::new(start, config.recovery_point_checkpoint_interval);
    let mut log_starts = Every::new(start, config.log_start_checkpoint_interval);
    let mut retention = Every::new(start, config.retention_check_interval);
    let mut producers = Every::new(start, config.producer_expiration_check_interval);
    let mut retries = Every::new(start, RETRY_SPAN);
    loop {
        let now = env.clock.now().monotonic;
        let tick = next_tick(now, &applied.borrow_and_update());
        let next =
            [&high_watermarks, &recovery_points, &log_starts, &retention, &producers, &retries]
                .into_iter()
                .map(|every| every.due)
                .fold(tick, Monotonic::min);
        tokio::select! {
            biased;
            () = wait_until(timer.as_mut(), Some(next)) => {}
            changed = applied.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
        }
        let now = env.clock.now().monotonic;
        let current = replicas.applied();
        tick_due(now, &current, producers.is_due(now));
        if high_watermarks.is_due(now) {
            replicas.logs().checkpoint_high_watermarks();
        }
        // Both are written together.
        if recovery_points.is_due(now) | log_starts.is_due(now) {
            replicas.logs().checkpoint_recovery_points();
        }
        if retention.is_due(now) {
            retain(&current).await;
        }
        if retries.is_due(now) && replicas.is_any_missing() {
            replicas.retry().await;
        }
    }
}

/// When to look for syncs that are due by age (`flush.ms`), and for followers that lag (every half of
/// `replica.lag.time.max.ms`, from the leader's term on).
///
/// A batch appended after this look is due its topic's interval later at the earliest: so none is overslept.
fn next_tick(now: Monotonic, applied: &Applied) -> Monotonic {
    let mut next = Monotonic::FAR_FUTURE;
    for handle in applied.hosted.values() {
        next = next.min(handle.deadline().unwrap_or(Monotonic::FAR_FUTURE));
        if let Some(interval) = handle.log_config().flush_interval {
            next = next.min(now + interval.max(Duration::from_millis(1)));
        }
    }
    next
}

fn tick_due(now: Monotonic, applied: &Applied, all: bool) {
    for handle in applied.hosted.values() {
        if all || handle.deadline().is_some_and(|deadline| deadline <= now) {
            handle.tick();
        }
    }
}

async fn retain(applied: &Applied) {
    for handle in applied.hosted.values() {
        if let Err(error) = handle.retain().await {
            tracing::warn!(partition = %handle.partition(), %error, "retention failed");
        }
    }
}

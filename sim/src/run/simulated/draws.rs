//! What a plan says, in the world's words: draws, links, disks, files.

use std::path::Path;
use std::time::Duration;

use crate::scenario::Plan;
use crate::scenario::draw::Draw;
use crate::scenario::plan::{DiskPlan, TimeDraw};
use crate::world::disk::DiskLatency;
use crate::world::net::LinkConfig;
use crate::world::{Distribution, NodeId, World};

/// A draw of durations as the world draws them.
pub(super) fn distribution(draw: &TimeDraw) -> Distribution {
    let nanos = Duration::from_nanos;
    match &draw.0 {
        Draw::Fixed(value) => Distribution::Fixed(nanos(*value)),
        Draw::Uniform { low, high } => {
            Distribution::Uniform { low: nanos(*low), high: nanos(*high) }
        }
        Draw::LogNormal { p50, p99 } => Distribution::lognormal(nanos(*p50), nanos(*p99)),
        Draw::OneOf(values) => Distribution::OneOf(values.clone().into()),
    }
}

/// A chance in a million.
pub(super) fn per_million(chance: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the scenario was checked: 0 to 1"
    )]
    let parts = (chance * 1e6).round() as u32;
    parts
}

/// How the disks are when nothing is broken.
pub(super) fn latency(disk: &DiskPlan) -> DiskLatency {
    DiskLatency {
        read: distribution(&disk.read),
        write: distribution(&disk.write),
        sync: distribution(&disk.sync),
        name: Distribution::ZERO,
    }
}

/// How links are when nothing is broken.
pub(super) fn ordinary_link(plan: &Plan) -> LinkConfig {
    LinkConfig {
        latency: distribution(&plan.network.latency),
        bandwidth: Some(plan.network.bandwidth_bytes_per_s),
        loss: per_million(plan.network.loss),
    }
}

/// The files of a broker that a pattern means, sorted.
pub(super) fn files_matching(
    world: &World,
    node: NodeId,
    dirs: &[String],
    pattern: &str,
) -> Vec<String> {
    let disk = &world.machine(node).disk;
    let files = disk.files().into_iter().filter(|path| {
        let below = dirs.iter().find_map(|dir| path.strip_prefix(dir.as_str())?.strip_prefix('/'));
        below.is_some_and(|below| matches(pattern, below))
    });
    files
        .filter(|path| disk.view(Path::new(path)).is_ok_and(|view| !view.content.is_empty()))
        .collect()
}

/// Whether `text` is what `pattern` says; `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last)
}

//! `ottla cluster`: the brokers, the metadata quorum, and taking out a broker that is gone for good.

use comfy_table::{Table, presets};
use ottla::client::{Admin, ClusterDescription, QuorumDescription, QuorumReplica};
use ottla::runtime::Env;
use ottla::types::{BrokerId, Timestamp};
use serde_json::{Value, json};

use super::args::{ClusterCommand, Format, Global};
use super::client::{admin, block_on, within};
use super::failure::{Exit, Failure};
use super::topic::print_all;

/// Runs one of them.
pub(crate) fn run(global: &Global, command: ClusterCommand) -> Result<(), Failure> {
    block_on(|env| async move {
        let admin = admin(global, env.clone())?;
        match command {
            ClusterCommand::Info => info(global, &env, &admin).await,
            ClusterCommand::Quorum => quorum(global, &env, &admin).await,
            ClusterCommand::Unregister { broker } => unregister(global, &env, &admin, broker).await,
        }
    })
}

async fn info(global: &Global, env: &Env, admin: &Admin) -> Result<(), Failure> {
    let what = "cannot describe the cluster";
    let cluster = within(global, env, what, admin.describe_cluster()).await?;
    print_all(&match global.format {
        Format::Text => info_text(&cluster),
        Format::Json | Format::Jsonl => format!("{}\n", info_json(&cluster)),
    })
}

fn info_text(cluster: &ClusterDescription) -> String {
    let mut rows = Table::new();
    rows.load_style(presets::NOTHING);
    rows.set_header(["BROKER", "ADDRESS", "RACK"]);
    for node in &cluster.nodes {
        let rack = node.rack.as_deref().unwrap_or("-");
        rows.add_row([
            node.id.to_string(),
            format!("{}:{}", node.host, node.port),
            rack.to_owned(),
        ]);
    }
    let brokers = cluster.nodes.len();
    format!("cluster {}  brokers {brokers}\n{}", cluster.cluster_id, lines(&rows))
}

fn info_json(cluster: &ClusterDescription) -> Value {
    let nodes = cluster.nodes.iter().map(|node| {
        json!({ "id": node.id.value(), "host": node.host, "port": node.port, "rack": node.rack })
    });
    json!({
        "schema": "cluster.info/1",
        "cluster_id": cluster.cluster_id,
        "brokers": nodes.collect::<Vec<Value>>(),
    })
}

async fn quorum(global: &Global, env: &Env, admin: &Admin) -> Result<(), Failure> {
    let what = "cannot describe the metadata quorum";
    let quorum = within(global, env, what, admin.describe_quorum()).await?;
    let now = env.clock.now().wall;
    print_all(&match global.format {
        Format::Text => quorum_text(&quorum, now),
        Format::Json | Format::Jsonl => format!("{}\n", quorum_json(&quorum)),
    })
}

/// What the quorum's leader says, as `kafka-metadata-quorum describe` has it in two calls.
fn quorum_text(quorum: &QuorumDescription, now: Timestamp) -> String {
    let shown = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let end = |replica: &QuorumReplica| replica.log_end_offset.map(|offset| offset.value());
    let leader = quorum.leader.map(|leader| i64::from(leader.value()));
    let leader_end = quorum.voters.iter().find(|one| Some(one.id) == quorum.leader).and_then(end);
    let mut rows = Table::new();
    rows.load_style(presets::NOTHING);
    rows.set_header(["NODE", "ROLE", "END", "LAG", "CAUGHT UP"]);
    let voters = quorum
        .voters
        .iter()
        .map(|one| (one, if Some(one.id) == quorum.leader { "leader" } else { "voter" }));
    for (one, role) in voters.chain(quorum.observers.iter().map(|one| (one, "observer"))) {
        let lag = leader_end.zip(end(one)).map(|(leader, own)| (leader - own).max(0));
        let caught_up = one.last_caught_up.map_or_else(
            || "never".to_owned(),
            |at| format!("{:.1} s ago", seconds(now.millis() - at.millis())),
        );
        rows.add_row([one.id.to_string(), role.to_owned(), shown(end(one)), shown(lag), caught_up]);
    }
    format!(
        "leader {}  epoch {}  high watermark {}  voters {}\n{}",
        shown(leader),
        shown(quorum.leader_epoch.map(|epoch| i64::from(epoch.value()))),
        shown(quorum.high_watermark.map(|offset| offset.value())),
        quorum.voters.len(),
        lines(&rows)
    )
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn seconds(millis: i64) -> f64 {
    millis.max(0) as f64 / 1000.0
}

fn quorum_json(quorum: &QuorumDescription) -> Value {
    let replica = |one: &QuorumReplica| {
        json!({
            "id": one.id.value(),
            "log_end_offset": one.log_end_offset.map(|offset| offset.value()),
            "last_fetch": one.last_fetch.map(|at| at.millis()),
            "last_caught_up": one.last_caught_up.map(|at| at.millis()),
        })
    };
    json!({
        "schema": "cluster.quorum/1",
        "leader": quorum.leader.map(|leader| leader.value()),
        "leader_epoch": quorum.leader_epoch.map(|epoch| epoch.value()),
        "high_watermark": quorum.high_watermark.map(|offset| offset.value()),
        "voters": quorum.voters.iter().map(replica).collect::<Vec<Value>>(),
        "observers": quorum.observers.iter().map(replica).collect::<Vec<Value>>(),
    })
}

async fn unregister(global: &Global, env: &Env, admin: &Admin, broker: i32) -> Result<(), Failure> {
    let id = BrokerId::from_wire(broker)
        .ok_or_else(|| Failure::new(Exit::Usage, "a broker's id is not negative"))?;
    let what = format!("cannot take broker {id} out of the cluster");
    within(global, env, &what, admin.unregister_broker(id)).await?;
    if global.quiet {
        return Ok(());
    }
    print_all(&format!("Broker {id} is no longer registered.\n"))
}

fn lines(table: &Table) -> String {
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use ottla::types::{LeaderEpoch, Offset, Uuid};

    use super::*;

    #[test]
    fn the_quorum_shows_who_lags() {
        let replica = |id, end, caught_up: Option<i64>| QuorumReplica {
            id: BrokerId::new(id),
            directory_id: Uuid::ZERO,
            log_end_offset: Some(Offset::new(end)),
            last_fetch: None,
            last_caught_up: caught_up.map(Timestamp::from_millis),
        };
        let quorum = QuorumDescription {
            leader: Some(BrokerId::new(2)),
            leader_epoch: Some(LeaderEpoch::new(4)),
            high_watermark: Some(Offset::new(90)),
            voters: vec![replica(1, 80, Some(9_500)), replica(2, 100, Some(10_000))],
            observers: vec![replica(3, 100, None)],
        };
        let text = quorum_text(&quorum, Timestamp::from_millis(10_000));
        let expected = "leader 2  epoch 4  high watermark 90  voters 2\n \
            NODE  ROLE      END  LAG  CAUGHT UP\n \
            1     voter     80   20   0.5 s ago\n \
            2     leader    100  0    0.0 s ago\n \
            3     observer  100  0    never\n";
        assert_eq!(text, expected);
    }
}

//! `ottla topic describe`: who holds each partition, how far its log reaches, and how many losses the topic outlives.

use std::sync::Arc;
use std::time::Duration;

use comfy_table::{Table, presets};
use ottla::client::{Admin, ConfigEntry, ListedOffset, PartitionDescription, TopicDescription};
use ottla::protocol::OffsetSpec;
use ottla::runtime::{Env, clock};
use ottla::types::{BrokerId, TopicPartition};
use serde_json::{Value, json};

use super::print_all;
use crate::real_main::args::{Format, Global};
use crate::real_main::client::{self, admin_within, within};
use crate::real_main::failure::Failure;

/// DescribeConfigs' number for "set on the topic" (Kafka: `ConfigSource.DYNAMIC_TOPIC_CONFIG`).
const TOPIC_CONFIG: i8 = 1;

/// How long a leader may take to say how far its log reaches: one that is away is not waited for.
const OFFSETS_WITHIN: Duration = Duration::from_secs(3);

/// How often `--watch` prints.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// A topic with its configuration.
struct Described {
    topic: TopicDescription,
    configs: Vec<ConfigEntry>,
}

/// A partition with what its leader says of its log.
struct PartitionRow {
    index: usize,
    start: Option<ListedOffset>,
    end: Option<ListedOffset>,
}

pub(super) async fn run(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topics: &[String],
    kafka: bool,
    watch: bool,
) -> Result<(), Failure> {
    loop {
        let text = describe(global, env, admin, topics, kafka).await?;
        if !watch {
            return print_all(&text);
        }
        // Clears the terminal and goes to its first line.
        print_all(&format!("\x1b[2J\x1b[H{text}"))?;
        clock::sleep(env.clock.as_ref(), WATCH_EVERY).await;
    }
}

async fn describe(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topics: &[String],
    kafka: bool,
) -> Result<String, Failure> {
    let all;
    let names: Vec<&str> = if topics.is_empty() {
        all = within(global, env, "cannot list the topics", admin.list_topics()).await?;
        all.iter().map(String::as_str).collect()
    } else {
        topics.iter().map(String::as_str).collect()
    };
    let described = client::describe(global, env, admin, &names).await?;
    let mut text = String::new();
    for topic in described {
        let what = "cannot read the topic's configuration";
        let configs = within(global, env, what, admin.describe_topic_configs(&topic.name)).await?;
        let described = Described { topic, configs };
        if kafka {
            text.push_str(&described.kafka_layout());
            continue;
        }
        let rows = offsets(global, env, &described.topic).await?;
        text.push_str(&match global.format {
            Format::Text => described.text_layout(&rows),
            Format::Json | Format::Jsonl => format!("{}\n", described.json_layout(&rows)),
        });
    }
    Ok(text)
}

/// Asks the leaders how far their logs reach; `None` where there is no leader, or it does not answer.
async fn offsets(
    global: &Global,
    env: &Env,
    topic: &TopicDescription,
) -> Result<Vec<PartitionRow>, Failure> {
    let admin = admin_within(global, env.clone(), OFFSETS_WITHIN)?;
    let name: Arc<str> = topic.name.as_str().into();
    let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
    let questions: Vec<_> = led
        .flat_map(|partition| {
            let at = TopicPartition { topic: Arc::clone(&name), partition: partition.partition };
            [(at.clone(), OffsetSpec::Earliest), (at, OffsetSpec::Latest)]
        })
        .collect();
    let mut answers = admin.list_offsets(&questions).await.into_iter().map(Result::ok);
    let rows = topic.partitions.iter().enumerate().map(|(index, partition)| {
        let mut next = || partition.leader.and_then(|_| answers.next().flatten());
        PartitionRow { index, start: next(), end: next() }
    });
    Ok(rows.collect())
}

impl Described {
    fn config(&self, name: &str) -> Option<&str> {
        self.configs.iter().find(|entry| entry.name == name)?.value.as_deref()
    }

    /// What is set on the topic itself.
    fn changed(&self) -> Vec<(&str, &str)> {
        let own = self.configs.iter().filter(|entry| entry.source == TOPIC_CONFIG);
        own.map(|entry| (entry.name.as_str(), entry.value.as_deref().unwrap_or_default())).collect()
    }

    /// How many replicas the partitions have, the fewest and the most: a partition that was moved may have another number.
    fn replication_factors(&self) -> (usize, usize) {
        let counts = || self.topic.partitions.iter().map(|partition| partition.replicas.len());
        (counts().min().unwrap_or(0), counts().max().unwrap_or(0))
    }

    /// Of the partition with the fewest replicas.
    fn tolerance(&self) -> Tolerance {
        let (replicas, _) = self.replication_factors();
        Tolerance { replicas, min_in_sync: self.min_in_sync(replicas) }
    }

    /// `min.insync.replicas` as it works: never more than there are replicas (KIP-966).
    fn min_in_sync(&self, replicas: usize) -> usize {
        let configured = self.config("min.insync.replicas").and_then(|value| value.parse().ok());
        configured.unwrap_or(1).clamp(1, replicas.max(1))
    }

    fn is_unclean_allowed(&self) -> bool {
        self.config("unclean.leader.election.enable") == Some("true")
    }

    fn text_layout(&self, rows: &[PartitionRow]) -> String {
        let id = self.topic.topic_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let replicas = match self.replication_factors() {
            (fewest, most) if fewest == most => most.to_string(),
            (fewest, most) => format!("{fewest} to {most}"),
        };
        let tolerance = self.tolerance();
        let mut text = format!(
            "{}  id {id}  partitions {}  replicas {replicas}  min.insync {}   survives: {tolerance}",
            self.topic.name,
            self.topic.partitions.len(),
            tolerance.min_in_sync,
        );
        for (name, value) in self.changed() {
            text.push_str(&format!("  {name}={value}"));
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "PART", "LEADER", "EPOCH", "REPLICAS", "ISR", "ELR", "OFFLINE", "START", "END", "STATE",
        ]);
        for row in rows {
            let partition = &self.topic.partitions[row.index];
            let elr = partition.eligible_leader_replicas.as_deref();
            table.add_row([
                partition.partition.to_string(),
                partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
                partition.leader_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()),
                join(&partition.replicas),
                join(&partition.in_sync_replicas),
                elr.map_or_else(|| "?".to_owned(), join),
                join(&partition.offline_replicas),
                offset_text(row.start),
                offset_text(row.end),
                self.state(partition),
            ]);
        }
        let lines = table.to_string();
        let lines: Vec<&str> = lines.lines().map(str::trim_end).collect();
        format!("{text}\n{}\n", lines.join("\n"))
    }

    fn state(&self, partition: &PartitionDescription) -> String {
        let (replicas, in_sync) = (partition.replicas.len(), partition.in_sync_replicas.len());
        if partition.leader.is_none() {
            return self.why_offline(partition);
        }
        if in_sync < self.min_in_sync(replicas) {
            return "UNDER MIN ISR: acks=all refused (NOT_ENOUGH_REPLICAS)".to_owned();
        }
        if in_sync < replicas {
            return format!("under-replicated ({} missing)", replicas - in_sync);
        }
        let preferred = partition.replicas.first();
        if partition.leader.as_ref() == preferred {
            "ok".to_owned()
        } else {
            "ok, not led by the preferred".to_owned()
        }
    }

    /// Whoever may lead next: those in sync, then those eligible, then the last one known (KIP-966).
    fn why_offline(&self, partition: &PartitionDescription) -> String {
        let none = Vec::new();
        let sets = [
            &partition.in_sync_replicas,
            partition.eligible_leader_replicas.as_ref().unwrap_or(&none),
            partition.last_known_leader_replicas.as_ref().unwrap_or(&none),
        ];
        let unclean = if self.is_unclean_allowed() { "on" } else { "off" };
        match sets.into_iter().find(|set| !set.is_empty()) {
            Some(set) => {
                format!("OFFLINE: waiting for {} (unclean election is {unclean})", join(set))
            }
            None => format!("OFFLINE (unclean election is {unclean})"),
        }
    }

    fn json_layout(&self, rows: &[PartitionRow]) -> Value {
        let partitions: Vec<Value> = rows
            .iter()
            .map(|row| {
                let partition = &self.topic.partitions[row.index];
                let number = |listed: Option<ListedOffset>| {
                    listed.and_then(|listed| listed.offset).map(|offset| offset.value().to_string())
                };
                json!({
                    "partition": partition.partition.value(),
                    "leader": partition.leader.map(|leader| leader.value()),
                    "leader_epoch": partition.leader_epoch.map(|epoch| epoch.value()),
                    "replicas": ids(&partition.replicas),
                    "in_sync_replicas": ids(&partition.in_sync_replicas),
                    "eligible_leader_replicas": partition.eligible_leader_replicas.as_deref().map(ids),
                    "last_known_leader_replicas": partition.last_known_leader_replicas.as_deref().map(ids),
                    "offline_replicas": ids(&partition.offline_replicas),
                    "log_start_offset": number(row.start),
                    "end_offset": number(row.end),
                })
            })
            .collect();
        let configs: serde_json::Map<String, Value> =
            self.changed().iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let tolerance = self.tolerance();
        json!({
            "schema": "topic.describe/1",
            "topic": self.topic.name,
            "topic_id": self.topic.topic_id.map(|id| id.to_string()),
            "configs": configs,
            "survives_lost_copies": tolerance.copies_lost(),
            "survives_brokers_down_for_writes": tolerance.brokers_down(),
            "partitions": partitions,
        })
    }

    /// Kafka's own layout (Kafka: `TopicCommand.TopicDescription.printDescription`).
    fn kafka_layout(&self) -> String {
        let id = self.topic.topic_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let configs: Vec<String> =
            self.changed().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut text = format!(
            "Topic: {}\tTopicId: {id}\tPartitionCount: {}\tReplicationFactor: {}\tConfigs: {}\n",
            self.topic.name,
            self.topic.partitions.len(),
            self.topic.partitions.first().map_or(0, |partition| partition.replicas.len()),
            configs.join(",")
        );
        let list = |brokers: &[BrokerId]| {
            brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        for partition in &self.topic.partitions {
            let told = |brokers: &Option<Vec<BrokerId>>| {
                brokers.as_deref().map_or_else(|| "N/A".to_owned(), list)
            };
            text.push_str(&format!(
                "\tTopic: {}\tPartition: {}\tLeader: {}\tReplicas: {}\tIsr: {}\tElr: {}\tLastKnownElr: {}\n",
                self.topic.name,
                partition.partition,
                partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
                list(&partition.replicas),
                list(&partition.in_sync_replicas),
                told(&partition.eligible_leader_replicas),
                told(&partition.last_known_leader_replicas),
            ));
        }
        text
    }
}

/// How many losses a topic outlives. Two different numbers: what is acknowledged to `acks=all` stands on `min.insync.replicas`
/// copies, and as many replicas are needed to write.
#[derive(Clone, Copy, Debug)]
struct Tolerance {
    replicas: usize,
    min_in_sync: usize,
}

impl Tolerance {
    fn copies_lost(self) -> usize {
        self.min_in_sync.saturating_sub(1)
    }

    fn brokers_down(self) -> usize {
        self.replicas.saturating_sub(self.min_in_sync)
    }
}

impl std::fmt::Display for Tolerance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (copies, brokers) = (self.copies_lost(), self.brokers_down());
        let copy = if copies == 1 { "copy" } else { "copies" };
        let broker = if brokers == 1 { "broker" } else { "brokers" };
        write!(f, "{copies} lost {copy} without data loss, {brokers} {broker} down for writes")
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.value()).collect()
}

fn join(brokers: &[BrokerId]) -> String {
    if brokers.is_empty() {
        return "-".to_owned();
    }
    brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn offset_text(offset: Option<ListedOffset>) -> String {
    offset
        .and_then(|listed| listed.offset)
        .map_or_else(|| "?".to_owned(), |offset| offset.to_string())
}

#[cfg(test)]
mod tests {
    use ottla::types::{LeaderEpoch, PartitionIndex};

    use super::*;

    fn brokers(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId::new).collect()
    }

    fn partition(
        leader: Option<i32>,
        isr: &[i32],
        elr: &[i32],
        last: &[i32],
    ) -> PartitionDescription {
        PartitionDescription {
            partition: PartitionIndex::new(0),
            leader: leader.map(BrokerId::new),
            leader_epoch: Some(LeaderEpoch::new(7)),
            replicas: brokers(&[1, 2, 3]),
            in_sync_replicas: brokers(isr),
            offline_replicas: brokers(&[1]),
            eligible_leader_replicas: Some(brokers(elr)),
            last_known_leader_replicas: Some(brokers(last)),
        }
    }

    fn described(min_in_sync: &str, partitions: Vec<PartitionDescription>) -> Described {
        let entry = |name: &str, value: &str, source| ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            source,
            read_only: false,
            is_sensitive: false,
        };
        Described {
            topic: TopicDescription {
                name: "orders".to_owned(),
                topic_id: None,
                is_internal: false,
                partitions,
            },
            configs: vec![
                entry("min.insync.replicas", min_in_sync, 1),
                entry("segment.bytes", "9", 5),
            ],
        }
    }

    #[track_caller]
    fn check_state(partition: PartitionDescription, expected: &str) {
        let described = described("2", vec![partition]);
        assert_eq!(described.state(&described.topic.partitions[0]), expected);
    }

    #[test]
    fn the_state_says_what_is_wrong_and_who_is_waited_for() {
        check_state(partition(Some(1), &[1, 2, 3], &[], &[]), "ok");
        check_state(partition(Some(2), &[1, 2, 3], &[], &[]), "ok, not led by the preferred");
        check_state(partition(Some(2), &[2, 3], &[], &[]), "under-replicated (1 missing)");
        let refused = "UNDER MIN ISR: acks=all refused (NOT_ENOUGH_REPLICAS)";
        check_state(partition(Some(3), &[3], &[2], &[]), refused);
        let off = "OFFLINE: waiting for 3 (unclean election is off)";
        check_state(partition(None, &[], &[3], &[]), off);
        check_state(partition(None, &[], &[], &[3]), off);
    }

    #[test]
    fn both_tolerances_are_told_and_min_insync_never_exceeds_the_replicas() {
        let text =
            |min| described(min, vec![partition(Some(1), &[1, 2, 3], &[], &[])]).text_layout(&[]);
        let first = |text: String| text.lines().next().unwrap().to_owned();
        assert_eq!(
            first(text("2")),
            "orders  id -  partitions 1  replicas 3  min.insync 2   \
             survives: 1 lost copy without data loss, 1 broker down for writes  min.insync.replicas=2"
        );
        assert!(
            first(text("9")).contains(
                "min.insync 3   survives: 2 lost copies without data loss, 0 brokers down"
            )
        );
        assert!(
            first(text("1")).contains("survives: 0 lost copies without data loss, 2 brokers down")
        );
    }

    #[test]
    fn kafkas_layout_has_the_eligible_leader_replicas() {
        let text = described("2", vec![partition(None, &[], &[3], &[2])]).kafka_layout();
        assert_eq!(
            text,
            "Topic: orders\tTopicId: -\tPartitionCount: 1\tReplicationFactor: 3\tConfigs: min.insync.replicas=2\n\
             \tTopic: orders\tPartition: 0\tLeader: none\tReplicas: 1,2,3\tIsr: \tElr: 3\tLastKnownElr: 2\n"
        );
    }
}

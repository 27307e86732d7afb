//! A tour of the client library, against a cluster: `cargo run --example tour -- 127.0.0.1:9092`.
//!
//! Each step is a style that `docs/clients.md` explains. The cluster needs nothing but a broker that creates topics for groups, for
//! instance `ottla dev`.

#[cfg(madsim)]
fn main() {}

#[cfg(not(madsim))]
fn main() -> tour::Result<()> {
    let broker = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(tour::run(&broker))
}

#[cfg(not(madsim))]
pub(crate) mod tour {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use ottla::client::{
        Admin, AdminConfig, ClientError, CloseOptions, Consumer, ConsumerConfig, NewTopic,
        OffsetAndMetadata, Offsets, Producer, ProducerConfig, ProducerRecord, RebalanceListener,
    };
    use ottla::runtime::{Env, Observer, real_env};
    use ottla::types::{ErrorCode, Observation, Offset, PartitionIndex, TopicPartition};

    pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

    const TOPIC: &str = "tour";
    const A_WHILE: Duration = Duration::from_millis(200);
    /// Records of each way of sending.
    const RECORDS: i32 = 10;

    /// Nobody here cares for what clients say of themselves.
    struct Deaf;

    impl Observer for Deaf {
        fn observe(&self, _: Observation) {}
    }

    pub(crate) async fn run(broker: &str) -> Result<()> {
        let env = real_env(Arc::new(Deaf), 1)?;
        let cluster = Cluster { broker: broker.to_owned(), env };
        cluster.create_topic().await?;
        cluster.send().await?;
        let group = format!("tour-{}", std::process::id());
        cluster.read_all(&group).await?;
        cluster.share_the_work(&group).await?;
        cluster.commit_in_each_way(&group).await?;
        cluster.go_anywhere().await?;
        cluster.follow_a_pattern(&group).await
    }

    struct Cluster {
        broker: String,
        env: Env,
    }

    fn partition(index: i32) -> TopicPartition {
        TopicPartition { topic: TOPIC.into(), partition: PartitionIndex::new(index) }
    }

    impl Cluster {
        fn consumer(&self, more: &[(&str, &str)]) -> Result<Consumer> {
            let common =
                [("bootstrap.servers", self.broker.as_str()), ("auto.offset.reset", "earliest")];
            let config = ConsumerConfig::new(common.iter().chain(more).copied())?;
            Ok(Consumer::new(config, self.env.clone()))
        }

        async fn create_topic(&self) -> Result<()> {
            let config = AdminConfig::new([("bootstrap.servers", self.broker.as_str())])?;
            let admin = Admin::new(config, self.env.clone());
            let topic = NewTopic::new(TOPIC).partitions(3);
            match admin.create_topics(&[topic]).await?.remove(0) {
                Err(ClientError::Answer { error: ErrorCode::TopicAlreadyExists, .. }) => Ok(()),
                other => other.map(|_| ()).map_err(Into::into),
            }
        }

        /// Awaited, many at a time, with a callback, and without looking back.
        async fn send(&self) -> Result<()> {
            let config = ProducerConfig::new([("bootstrap.servers", self.broker.as_str())])?;
            let producer = Producer::new(config, self.env.clone());
            for number in 0..RECORDS {
                let record = ProducerRecord::new(TOPIC, format!("awaited {number}")).key("a");
                let metadata = producer.send(record).await?.await?;
                println!("stored in {} at {:?}", metadata.partition, metadata.offset);
            }
            let mut deliveries = Vec::new();
            for number in 0..RECORDS {
                let record = ProducerRecord::new(TOPIC, format!("together {number}"));
                deliveries.push(producer.send(record).await?);
            }
            for delivery in deliveries {
                delivery.await?;
            }
            for number in 0..RECORDS {
                let record = ProducerRecord::new(TOPIC, format!("called back {number}"));
                let done = move |result| match result {
                    Ok(_) => println!("stored {number}"),
                    Err(error) => eprintln!("not stored {number}: {error}"),
                };
                producer.send_with(record, done).await?;
                drop(producer.send(ProducerRecord::new(TOPIC, "forgotten")).await?);
            }
            producer.close(Duration::from_secs(30)).await;
            Ok(())
        }

        /// One member alone, which commits by itself.
        async fn read_all(&self, group: &str) -> Result<()> {
            let mut consumer = self.consumer(&[("group.id", group)])?;
            consumer.subscribe([TOPIC])?;
            let (mut count, ends) =
                (0, consumer.end_offsets(&(0..3).map(partition).collect::<Vec<_>>()).await?);
            while consumer.assignment().is_empty() || !has_read(&consumer, &ends) {
                count += consumer.poll(A_WHILE).await?.len();
            }
            println!("read {count} records up to {ends:?}");
            consumer.close().await;
            Ok(())
        }

        /// Two members, and a listener that tells of each rebalance.
        async fn share_the_work(&self, group: &str) -> Result<()> {
            let strategy = ("partition.assignment.strategy", "cooperative-sticky");
            let settings = [("group.id", group), strategy];
            let (mut first, mut second) = (self.consumer(&settings)?, self.consumer(&settings)?);
            first.subscribe_with([TOPIC], Tells("first"))?;
            second.subscribe_with([TOPIC], Tells("second"))?;
            while first.assignment().is_empty() || second.assignment().is_empty() {
                first.poll(A_WHILE).await?;
                second.poll(A_WHILE).await?;
            }
            first.close().await;
            // A process that is restarted at once need not leave.
            second.close_with(CloseOptions { leave: Some(false), ..Default::default() }).await;
            Ok(())
        }

        async fn commit_in_each_way(&self, group: &str) -> Result<()> {
            let group = format!("{group}-commits");
            let settings = [("group.id", group.as_str()), ("enable.auto.commit", "false")];
            let mut consumer = self.consumer(&settings)?;
            consumer.assign(vec![partition(0)]);
            let records = consumer.poll(A_WHILE).await?;
            // What was handed out: now, or on the way.
            consumer.commit().await?;
            let positions = consumer.positions();
            consumer.commit_async(positions, |result| println!("committed: {result:?}"))?;
            // One record's worth, with a note.
            if let Some(record) = records.first() {
                let metadata = "as of the tour".to_owned();
                let offset = record.offset + 1;
                let done = OffsetAndMetadata { metadata, ..OffsetAndMetadata::new(offset) };
                consumer.commit_offsets([(record.topic_partition(), done)].into()).await?;
            }
            println!("the group is at {:?}", consumer.committed(&[partition(0)]).await?);
            consumer.close().await;
            Ok(())
        }

        /// Without a group: any partition, from anywhere.
        async fn go_anywhere(&self) -> Result<()> {
            let mut consumer = self.consumer(&[])?;
            let all: Vec<TopicPartition> = (0..3).map(partition).collect();
            consumer.assign(all.clone());
            consumer.seek_to_end(&[])?;
            println!("partition 0 ends at {}", consumer.position(&partition(0)).await?);
            consumer.seek(&partition(0), Offset::ZERO)?;
            consumer.pause(&all[1..])?;
            println!("{} records of partition 0", consumer.poll(A_WHILE).await?.len());
            consumer.resume(&all[1..])?;
            let wakeup = consumer.wakeup();
            wakeup.wakeup();
            consumer.seek_to_end(&[])?;
            assert_eq!(consumer.poll(Duration::from_secs(60)).await, Err(ClientError::WokenUp));
            consumer.close().await;
            Ok(())
        }

        async fn follow_a_pattern(&self, group: &str) -> Result<()> {
            let group = format!("{group}-pattern");
            let mut consumer = self.consumer(&[("group.id", &group)])?;
            consumer.subscribe_pattern("to.*")?;
            while consumer.assignment().is_empty() {
                consumer.poll(A_WHILE).await?;
            }
            println!("{:?}", consumer.assignment());
            consumer.close().await;
            Ok(())
        }
    }

    fn has_read(consumer: &Consumer, ends: &BTreeMap<TopicPartition, Offset>) -> bool {
        let positions = consumer.positions();
        ends.iter().all(|(partition, end)| {
            positions.get(partition).is_some_and(|position| position.offset >= *end)
        })
    }

    /// Tells of each rebalance.
    struct Tells(&'static str);

    impl RebalanceListener for Tells {
        fn on_partitions_revoked(&mut self, gone: &[TopicPartition], _: &Offsets) -> Offsets {
            println!("{} gives up {gone:?}", self.0);
            Offsets::new()
        }

        fn on_partitions_assigned(
            &mut self,
            new: &[TopicPartition],
        ) -> BTreeMap<TopicPartition, Offset> {
            println!("{} gets {new:?}", self.0);
            BTreeMap::new()
        }

        fn on_partitions_lost(&mut self, gone: &[TopicPartition]) {
            println!("{} lost {gone:?}", self.0);
        }
    }
}

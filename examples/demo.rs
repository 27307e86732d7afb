//! One to a hundred: `cargo run --example demo -- 127.0.0.1:9092`, with how many and every how many milliseconds behind it (100, 3000).
//!
//! A producer counts, and two members of a group add up what comes, each number once: whoever takes over from another may be given a
//! number again (at least once), so each keeps in mind what it has seen beside the sum. On the way: a partitioner and an interceptor of one's
//! own, static members of the consumer protocol that subscribe by an expression, commits without waiting and one at the end, and offsets by
//! time and outside of Kafka. `examples/tour.rs` has the rest.

#[cfg(madsim)]
fn main() {}

#[cfg(not(madsim))]
fn main() -> demo::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let broker = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let count = arguments.next().map_or(Ok(100), |count| count.parse())?;
    let every = arguments.next().map_or(Ok(3000), |every| every.parse())?;
    let pace = std::time::Duration::from_millis(every);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(demo::run(&broker, count, pace))
}

#[cfg(not(madsim))]
pub(crate) mod demo {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;
    use std::time::Duration;

    use ottla::client::{
        Acknowledgement, Admin, AdminConfig, ClientError, Consumer, ConsumerConfig, ConsumerRecord,
        InterceptorError, NewTopic, Producer, ProducerConfig, ProducerHooks, ProducerInterceptor,
        ProducerRecord, RebalanceListener,
    };
    use ottla::runtime::{Env, Observer, real_env};
    use ottla::types::{Observation, Offset, PartitionIndex, Timestamp, TopicPartition};

    pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

    const PARTITIONS: u32 = 2;
    const A_WHILE: Duration = Duration::from_millis(100);

    /// Nobody here cares for what clients say of themselves.
    struct Deaf;

    impl Observer for Deaf {
        fn observe(&self, _: Observation) {}
    }

    /// Counts to `count`, and has two members add it up.
    pub(crate) async fn run(broker: &str, count: u64, pace: Duration) -> Result<()> {
        let demo = Demo {
            broker: broker.to_owned(),
            env: real_env(Arc::new(Deaf), 1)?,
            topic: format!("numbers-{}", std::process::id()),
        };
        demo.create_topic().await?;
        let (sent, added) = tokio::join!(demo.count_to(count, pace), demo.add_up(count));
        sent?;
        let sum = added?;
        println!("the sum is {sum}");
        assert_eq!(sum, count * (count + 1) / 2);
        demo.read_from_a_moment_on().await?;
        demo.keep_the_place_elsewhere(count).await
    }

    struct Demo {
        broker: String,
        env: Env,
        topic: String,
    }

    impl Demo {
        async fn create_topic(&self) -> Result<()> {
            let config = AdminConfig::new([("bootstrap.servers", self.broker.as_str())])?;
            let admin = Admin::new(config, self.env.clone());
            let topic = NewTopic::new(self.topic.as_str()).partitions(PARTITIONS);
            admin.create_topics(&[topic]).await?.remove(0)?;
            Ok(())
        }

        /// Odd numbers go to one partition, even ones to the other.
        #[expect(
            clippy::disallowed_methods,
            reason = "an application stands outside the node's world"
        )]
        async fn count_to(&self, count: u64, pace: Duration) -> Result<()> {
            let config = ProducerConfig::new([("bootstrap.servers", self.broker.as_str())])?;
            let hooks =
                ProducerHooks::default().interceptor(Tells).choose_partition(|record, _| {
                    let number = record.value.as_deref().and_then(number_in).unwrap_or_default();
                    PartitionIndex::new(if number % 2 == 0 { 0 } else { 1 })
                });
            let producer = Producer::with_hooks(config, self.env.clone(), hooks);
            for number in 1..=count {
                let record = ProducerRecord::new(self.topic.as_str(), number.to_string());
                producer.send(record).await?.await?;
                tokio::time::sleep(pace).await;
            }
            producer.close(Duration::from_secs(30)).await;
            Ok(())
        }

        fn consumer(&self, more: &[(&str, &str)]) -> Result<Consumer> {
            let common = [("bootstrap.servers", self.broker.as_str())];
            let config = ConsumerConfig::new(common.iter().chain(more).copied())?;
            Ok(Consumer::new(config, self.env.clone()))
        }

        /// A member of the consumer protocol (KIP-848) that keeps its partitions over a restart, for it has a name of its own.
        fn member(&self, name: &str) -> Result<Consumer> {
            let mut member = self.consumer(&[
                ("group.id", &self.topic),
                ("group.protocol", "consumer"),
                ("group.instance.id", name),
                ("enable.auto.commit", "false"),
                ("auto.offset.reset", "earliest"),
            ])?;
            let expression = format!("{}|{}-more", self.topic, self.topic);
            member.subscribe_regex_with(&expression, Share(name.to_owned()))?;
            Ok(member)
        }

        async fn add_up(&self, count: u64) -> Result<u64> {
            let mut members = [self.member("odd")?, self.member("even")?];
            // Where the sum is kept there is kept what it is made of: a number that comes again counts for nothing.
            let (mut sum, mut seen) = (0, BTreeSet::new());
            while (seen.len() as u64) < count {
                for member in &mut members {
                    let records = member.poll(A_WHILE).await?;
                    for number in records.iter().filter_map(number_of) {
                        if seen.insert(number) {
                            sum += number;
                        }
                    }
                    if !records.is_empty() {
                        // Without waiting: if this one fails the next one, or the last one, makes up for it.
                        let positions = member.positions();
                        member.commit_async(positions, |result| {
                            if let Err(error) = result {
                                eprintln!("not committed yet: {error}");
                            }
                        })?;
                    }
                }
            }
            for mut member in members {
                member.commit().await?;
                member.close().await;
            }
            Ok(sum)
        }

        fn partitions(&self) -> Vec<TopicPartition> {
            let all = [0, 1].map(PartitionIndex::new);
            let of = |partition| TopicPartition { topic: self.topic.as_str().into(), partition };
            all.into_iter().map(of).collect()
        }

        /// Without a group, from the first record that is not older than an hour.
        async fn read_from_a_moment_on(&self) -> Result<()> {
            let mut consumer = self.consumer(&[])?;
            consumer.assign(self.partitions());
            let an_hour_ago = self.env.clock.now().wall.millis() - 3_600_000;
            let times =
                self.partitions().into_iter().map(|one| (one, Timestamp::from_millis(an_hour_ago)));
            for (partition, found) in consumer.offsets_for_times(&times.collect()).await? {
                println!("{partition}: offset {} is of {:?}", found.offset, found.timestamp);
                consumer.seek(&partition, found.offset)?;
            }
            println!("{} records since then", consumer.poll(A_WHILE).await?.len());
            consumer.close().await;
            Ok(())
        }

        /// The place beside the result, in a store of the application's: both change in one step, so each number counts once, also where
        /// nothing is kept in mind.
        async fn keep_the_place_elsewhere(&self, count: u64) -> Result<()> {
            let mut store: (u64, BTreeMap<TopicPartition, Offset>) = Default::default();
            let mut consumer = self.consumer(&[("auto.offset.reset", "none")])?;
            consumer.assign(self.partitions());
            // With `none` nobody guesses where to begin.
            let lost = consumer.poll(A_WHILE).await;
            assert!(matches!(lost, Err(ClientError::OffsetOutOfRange { .. })), "{lost:?}");
            for partition in self.partitions() {
                let place = store.1.get(&partition).copied().unwrap_or(Offset::ZERO);
                consumer.seek(&partition, place)?;
            }
            while store.0 < count * (count + 1) / 2 {
                for record in consumer.poll(A_WHILE).await? {
                    store.0 += number_of(&record).unwrap_or_default();
                    store.1.insert(record.topic_partition(), record.offset + 1);
                }
            }
            println!("the store has {store:?}");
            consumer.close().await;
            Ok(())
        }
    }

    fn number_in(value: &[u8]) -> Option<u64> {
        std::str::from_utf8(value).ok()?.parse().ok()
    }

    fn number_of(record: &ConsumerRecord) -> Option<u64> {
        number_in(record.value.as_deref()?)
    }

    /// Tells what becomes of each record.
    struct Tells;

    impl ProducerInterceptor for Tells {
        fn on_acknowledgement(
            &self,
            outcome: Acknowledgement<'_>,
        ) -> std::result::Result<(), InterceptorError> {
            match outcome {
                Acknowledgement::Stored(stored) => println!("stored at {:?}", stored.offset),
                Acknowledgement::Failed(error) => eprintln!("not stored: {error}"),
                Acknowledgement::Refused { topic, error } => eprintln!("{topic}: {error}"),
            }
            Ok(())
        }
    }

    /// Tells which partitions a member has.
    struct Share(String);

    impl RebalanceListener for Share {
        fn on_partitions_assigned(
            &mut self,
            new: &[TopicPartition],
        ) -> BTreeMap<TopicPartition, Offset> {
            println!("{} gets {new:?}", self.0);
            BTreeMap::new() // or where it shall begin, where offsets are kept elsewhere
        }
    }
}

//! What applications put into the library's clients: interceptors, callbacks, partitioners; and records that are looked for by time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ottla::client::{
    Acknowledgement, ClientError, ConsumerInterceptor, ConsumerRecord, InterceptorError, Offsets,
    Producer, ProducerConfig, ProducerHooks, ProducerInterceptor, ProducerRecord,
};
use ottla::types::{ErrorCode, Offset, PartitionIndex, Timestamp, TopicPartition};

use crate::members::on_a_node;
use crate::members_support::{Member, PATIENCE, TOPIC, all_orders, offsets, orders, until};
use crate::support::{Heard, env};

fn producer(bootstrap: &str, hooks: ProducerHooks) -> Producer {
    let config = ProducerConfig::new([("bootstrap.servers", bootstrap)]).unwrap();
    Producer::with_hooks(config, env(Arc::new(Heard::default())), hooks)
}

/// Notes what it sees, and fails at the word "fail".
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8(value.unwrap_or_default().to_vec()).unwrap()
}

impl ProducerInterceptor for Notes {
    fn on_send(&self, record: &ProducerRecord) -> Result<Option<ProducerRecord>, InterceptorError> {
        let value = text(record.value.as_deref());
        self.note(format!("send {value}"));
        if value == "fail" {
            return Err(InterceptorError("told to".to_owned()));
        }
        let value = Some(format!("{value}!").into());
        Ok(Some(ProducerRecord { value, ..record.clone() }))
    }

    fn on_acknowledgement(&self, outcome: Acknowledgement<'_>) -> Result<(), InterceptorError> {
        self.note(match outcome {
            Acknowledgement::Stored(metadata) => format!("stored {:?}", metadata.offset.unwrap()),
            Acknowledgement::Failed(error) => format!("failed {error}"),
            Acknowledgement::Refused { topic, error } => format!("refused {topic}: {error}"),
        });
        Err(InterceptorError("never content".to_owned()))
    }
}

impl ConsumerInterceptor for Notes {
    fn on_consume(
        &mut self,
        records: &[ConsumerRecord],
    ) -> Result<Option<Vec<ConsumerRecord>>, InterceptorError> {
        let kept = records.iter().filter(|record| text(record.value.as_deref()) != "fail");
        Ok(Some(kept.cloned().collect()))
    }

    fn on_commit(&mut self, committed: &Offsets) -> Result<(), InterceptorError> {
        self.note(format!("committed {:?}", offsets(committed)));
        Err(InterceptorError("never content".to_owned()))
    }
}

#[test]
fn interceptors_see_all_and_stop_nothing() {
    on_a_node(&[], async |bootstrap| {
        let notes = Notes::default();
        let hooks = ProducerHooks::default().interceptor(notes.clone()).interceptor(Adds);
        let producer = producer(&bootstrap, hooks);
        let record =
            |value: &str| ProducerRecord::new(TOPIC, value).partition(PartitionIndex::new(0));
        let called = notes.clone();
        let done = move |result: Result<_, _>| called.note(format!("callback {}", result.is_ok()));
        producer.send_with(record("one"), done).await.unwrap();
        producer.flush().await;
        assert_eq!(notes.take(), ["send one", "stored Offset(10)", "callback true"]);
        producer.send(record("fail")).await.unwrap().await.unwrap();
        assert_eq!(notes.take(), ["send fail", "stored Offset(11)"]);
        let refused = producer.send(record("two").partition(PartitionIndex::new(4))).await;
        assert_eq!(refused.unwrap_err().to_string(), "partition 4 of topic orders is outside 0..4");
        assert_eq!(
            notes.take(),
            ["send two", "refused orders: partition 4 of topic orders is outside 0..4"]
        );
        producer.close(PATIENCE).await;

        let mut member = Member::new(&bootstrap, &[]);
        member.consumer = member.consumer.with_interceptor(notes.clone());
        member.consumer.assign(vec![orders(0)]);
        until(&mut [&mut member], |members| members[0].values.len() == 11).await;
        assert_eq!(member.values[10], "one! and all");
        // What was hidden was read nevertheless.
        assert_eq!(member.consumer.position(&orders(0)).await.unwrap(), Offset::new(12));
        member.consumer.commit().await.unwrap();
        assert_eq!(notes.take(), ["committed [12]"]);
        member.consumer.close().await;
    });
}

/// Adds to what others left of a value.
struct Adds;

impl ProducerInterceptor for Adds {
    fn on_send(&self, record: &ProducerRecord) -> Result<Option<ProducerRecord>, InterceptorError> {
        let value = text(record.value.as_deref());
        if value == "fail" {
            return Ok(None);
        }
        let value = Some(format!("{value} and all").into());
        Ok(Some(ProducerRecord { value, ..record.clone() }))
    }
}

#[test]
fn callbacks_come_in_the_order_of_the_sends_and_once() {
    on_a_node(&[], async |bootstrap| {
        let producer = producer(&bootstrap, ProducerHooks::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        for number in 0..500_i64 {
            let seen = seen.clone();
            let record = ProducerRecord::new(TOPIC, number).partition(PartitionIndex::new(1));
            let done = move |result: Result<ottla::client::RecordMetadata, _>| {
                seen.lock().unwrap().push(result.unwrap().offset.unwrap().value());
            };
            assert_eq!(producer.send_with(record, done).await.unwrap(), orders(1));
        }
        producer.close(PATIENCE).await;
        assert_eq!(*seen.lock().unwrap(), (10..510).collect::<Vec<_>>());
        // Nothing is taken over any more, and nobody is called.
        let refused = producer.send_with(ProducerRecord::new(TOPIC, "late"), |_| panic!()).await;
        assert_eq!(refused, Err(ClientError::Closed));
    });
}

#[test]
fn the_application_chooses_partitions_within_bounds() {
    on_a_node(&[], async |bootstrap| {
        let hooks = ProducerHooks::default().choose_partition(|record, partitions| {
            assert_eq!(partitions, 4);
            let wanted = text(record.key.as_deref()).parse().unwrap();
            PartitionIndex::new(wanted)
        });
        let producer = producer(&bootstrap, hooks);
        for wanted in [3, 0, 2] {
            let record = ProducerRecord::new(TOPIC, "v").key(wanted.to_string());
            let delivery = producer.send(record).await.unwrap();
            assert_eq!(*delivery.partition(), orders(wanted));
            delivery.await.unwrap();
        }
        let refused = producer.send(ProducerRecord::new(TOPIC, "v").key("4")).await.map(|_| ());
        let (topic, partitions) = (TOPIC.to_owned(), 4);
        let expected = ClientError::InvalidPartition { topic, partition: 4, partitions };
        assert_eq!(refused, Err(expected));
        // A partition that the record names is not asked about.
        let record = ProducerRecord::new(TOPIC, "v").key("9").partition(PartitionIndex::new(1));
        assert_eq!(*producer.send(record).await.unwrap().partition(), orders(1));
        producer.close(PATIENCE).await;
    });
}

#[test]
fn records_are_found_by_time_and_read_from_there() {
    on_a_node(&[], async |bootstrap| {
        let producer = producer(&bootstrap, ProducerHooks::default());
        // Later than what is there: 10 records in each partition.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let later = i64::try_from(now.as_millis()).unwrap() + 600_000;
        for (step, value) in [(0, "at"), (5, "behind")] {
            let record = ProducerRecord::new(TOPIC, value)
                .partition(PartitionIndex::new(2))
                .timestamp(Timestamp::from_millis(later + step));
            producer.send(record).await.unwrap().await.unwrap();
        }
        producer.close(PATIENCE).await;
        let mut member = Member::new(&bootstrap, &[("default.api.timeout.ms", "3000")]);
        let consumer = &mut member.consumer;
        let at = |millis| -> BTreeMap<TopicPartition, Timestamp> {
            all_orders().into_iter().map(|one| (one, Timestamp::from_millis(millis))).collect()
        };
        let found = consumer.offsets_for_times(&at(later + 1)).await.unwrap();
        assert_eq!(found.keys().cloned().collect::<Vec<_>>(), [orders(2)]);
        let found = found[&orders(2)];
        assert_eq!(found.offset, Offset::new(11));
        assert_eq!(found.timestamp, Some(Timestamp::from_millis(later + 5)));
        let starts = consumer.offsets_for_times(&at(0)).await.unwrap();
        assert!(starts.values().all(|found| found.offset == Offset::ZERO));
        assert_eq!(starts.len(), 4);
        assert_eq!(consumer.offsets_for_times(&BTreeMap::new()).await.unwrap(), BTreeMap::new());
        let ends = consumer.end_offsets(&all_orders()).await.unwrap();
        let ends: Vec<i64> = ends.values().map(|offset| offset.value()).collect();
        assert_eq!(ends, [10, 10, 12, 10]);
        let starts = consumer.beginning_offsets(&all_orders()).await.unwrap();
        assert!(starts.values().all(|offset| *offset == Offset::ZERO) && starts.len() == 4);
        let refused = consumer.offsets_for_times(&at(-1)).await;
        let Err(ClientError::Answer { error: ErrorCode::InvalidRequest, .. }) = refused else {
            panic!("{refused:?}")
        };
        // Nobody leads it, and nobody will.
        let absent = orders(9);
        let refused = consumer.end_offsets(&[absent]).await;
        let Err(ClientError::TimedOut { after, .. }) = &refused else { panic!("{refused:?}") };
        assert_eq!(*after, Duration::from_millis(3_000));
        // It is fine afterwards, and reads from there.
        consumer.assign(vec![orders(2)]);
        consumer.seek(&orders(2), found.offset).unwrap();
        until(&mut [&mut member], |members| members[0].values == ["behind"]).await;
        member.consumer.close().await;
    });
}

#[test]
fn the_tour_of_the_library_comes_to_its_end() {
    on_a_node(&[], async |bootstrap| crate::tour_example::tour::run(&bootstrap).await.unwrap());
}

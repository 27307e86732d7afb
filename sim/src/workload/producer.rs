//! A client that sends records at a steady rate.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla::client::{
    ClientError, Delivery, Producer, ProducerConfig, ProducerRecord, SendCause, SendError, SendFate,
};
use ottla::runtime::{clock, task, watch};
use ottla::types::Acks;
use rand::RngExt;

use super::{CLOSE_WITHIN, Client, code_of};
use crate::history::{Outcome, Sent, encode_value};

/// What a producer client is to do.
pub struct ProducerWork {
    /// Where it sends.
    pub topic: String,
    /// Records a second.
    pub rate_per_s: u64,
    /// How many different keys; 0 for none.
    pub keys: u64,
    /// Stops after this many records.
    pub records: Option<u64>,
    /// Draws the size of a value, in bytes.
    pub value_bytes: Box<dyn FnMut() -> usize + Send>,
}

impl ProducerWork {
    /// Sends until it has sent all it is to send or is asked to stop; then waits for the outcomes.
    pub async fn run(mut self, mut client: Client) {
        let config = ProducerConfig::from_properties(&client.all_properties(&[]))
            .expect("the scenario was checked");
        let promise = Promise {
            acks: config.acks(),
            is_idempotent: config.enable_idempotence(),
            is_ordered: config.enable_idempotence()
                || client
                    .properties
                    .get("max.in.flight.requests.per.connection")
                    .is_some_and(|max| max == "1"),
        };
        let producer = Producer::new(config, client.env.clone());
        let mut rng = client.env.rng("keys");
        let interval = Duration::from_nanos(1_000_000_000 / self.rate_per_s.max(1));
        let mut timer = client.env.clock.timer();
        let mut next = client.env.clock.now().monotonic + interval;
        let mut sent = 0;
        // Records whose outcome is not written down yet.
        let open = Arc::new(watch::Sender::new(0));
        while self.records.is_none_or(|records| sent < records) {
            let stopped = tokio::select! {
                biased;
                () = client.asked_to_stop() => true,
                () = clock::wait_until(timer.as_mut(), Some(next)) => false,
            };
            if stopped {
                break;
            }
            let key = (self.keys > 0)
                .then(|| u32::try_from(rng.random_range(0..self.keys)).unwrap_or(u32::MAX));
            self.send_one(&client, &producer, promise, key, &open).await;
            sent += 1;
            // A send that blocked does not make the client catch up in a burst.
            next = (next + interval).max(client.env.clock.now().monotonic);
        }
        producer.close(CLOSE_WITHIN).await;
        // The process ends with this future: what was told must have been written down.
        let mut none_open = open.subscribe();
        let _ = none_open.wait_for(|open| *open == 0).await;
    }

    async fn send_one(
        &mut self,
        client: &Client,
        producer: &Producer,
        promise: Promise,
        key: Option<u32>,
        open: &Arc<watch::Sender<usize>>,
    ) {
        let length = (self.value_bytes)();
        let id = client.history.begin(|id| Sent {
            id,
            client: Arc::clone(&client.name),
            incarnation: client.incarnation,
            partition: None,
            key,
            acks: promise.acks,
            is_idempotent: promise.is_idempotent,
            is_ordered: promise.is_ordered,
            sent_at: (client.now)(),
            done_at: None,
            outcome: Outcome::Pending,
        });
        let mut record = ProducerRecord::new(self.topic.as_str(), encode_value(id, key, length));
        record.key = key.map(|key| Bytes::from(format!("key-{key}")));
        match producer.send(record).await {
            Ok(delivery) => {
                let client = client.clone();
                let open = Arc::clone(open);
                open.send_modify(|open| *open += 1);
                task::spawn(async move {
                    note(&client, id, delivery).await;
                    open.send_modify(|open| *open -= 1);
                });
            }
            Err(error) => {
                client.note_failure(code_of(&error), error.to_string());
                client.history.end(id, (client.now)(), None, refused(&error));
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Promise {
    acks: Acks,
    is_idempotent: bool,
    is_ordered: bool,
}

/// A record that `send` did not take over was not sent.
fn refused(error: &ClientError) -> Outcome {
    Outcome::Failed { error: code_of(error), reason: error.to_string() }
}

async fn note(client: &Client, id: crate::history::SendId, delivery: Delivery) {
    match delivery.await {
        Ok(metadata) => {
            let outcome = Outcome::Acked { offset: metadata.offset };
            client.history.end(id, (client.now)(), Some(metadata.topic_partition()), outcome);
        }
        Err(error) => {
            let partition = Some(error.partition.clone());
            client.history.end(id, (client.now)(), partition, outcome_of(&error));
        }
    }
}

fn outcome_of(failed: &SendError) -> Outcome {
    let error =
        if let SendCause::Answer { error, .. } = &failed.cause { Some(*error) } else { None };
    let reason = failed.cause.to_string();
    match failed.fate {
        SendFate::Failed => Outcome::Failed { error, reason },
        SendFate::Unknown => Outcome::Unknown { error, reason },
    }
}

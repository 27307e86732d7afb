//! What an application puts between itself and a client: to count, to trace, to add or hide something (Kafka: KIP-42).
//!
//! Interceptors are called one after the other in the order in which they were given, each with what the one before it made of it. What
//! one cannot do is logged and has no effect: the next one gets what it would have got without it, and the client goes on.

use crate::client::consumer::{ConsumerRecord, Offsets};
use crate::client::error::{ClientError, SendError};
use crate::client::producer::{ProducerRecord, RecordMetadata};

/// Why an interceptor did not do what it is there for. It is logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InterceptorError(pub String);

/// Sees what a producer is given, and what becomes of it (Kafka: `ProducerInterceptor`).
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use ottla::client::{Acknowledgement, InterceptorError, ProducerInterceptor, ProducerRecord};
///
/// /// Says where a record comes from, and counts those that were stored.
/// #[derive(Default)]
/// struct Origin(AtomicU64);
///
/// impl ProducerInterceptor for Origin {
///     fn on_send(&self, record: &ProducerRecord) -> Result<Option<ProducerRecord>, InterceptorError> {
///         Ok(Some(record.clone().header("origin", "billing")))
///     }
///
///     fn on_acknowledgement(&self, outcome: Acknowledgement<'_>) -> Result<(), InterceptorError> {
///         if let Acknowledgement::Stored(_) = outcome {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait ProducerInterceptor: Send + Sync {
    /// A record is handed to `send`, within that call: before its partition is chosen. Returns what is to be sent instead, or `None` for
    /// what is there.
    ///
    /// Errors: it is sent as it is.
    fn on_send(&self, record: &ProducerRecord) -> Result<Option<ProducerRecord>, InterceptorError> {
        let _ = record;
        Ok(None)
    }

    /// It is decided what became of a record, before its sender hears of it. Runs in the producer's task where it was taken over: must be
    /// quick, or others wait.
    fn on_acknowledgement(&self, outcome: Acknowledgement<'_>) -> Result<(), InterceptorError> {
        let _ = outcome;
        Ok(())
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug)]
pub enum Acknowledgement<'a> {
    /// It is stored, as far as `acks` asks for.
    Stored(&'a RecordMetadata),
    /// It was taken over, and its delivery failed.
    Failed(&'a SendError),
    /// `send` refused it.
    Refused {
        /// The topic it was to go to.
        topic: &'a str,
        /// Why.
        error: &'a ClientError,
    },
}

/// Sees what a consumer hands out, and what was committed (Kafka: `ConsumerInterceptor`).
pub trait ConsumerInterceptor: Send {
    /// These are handed out by a `poll` that has some. Returns what is to be handed out instead, or `None` for what is there. The consumer
    /// goes on behind what was fetched, whatever is left out.
    ///
    /// Errors: they are handed out as they are.
    fn on_consume(
        &mut self,
        records: &[ConsumerRecord],
    ) -> Result<Option<Vec<ConsumerRecord>>, InterceptorError> {
        let _ = records;
        Ok(None)
    }

    /// These are committed: by the owner, by `enable.auto.commit`, or for partitions that are given up. Before the owner's callback.
    fn on_commit(&mut self, offsets: &Offsets) -> Result<(), InterceptorError> {
        let _ = offsets;
        Ok(())
    }
}

/// Whether it worked; what did not is logged.
fn worked<T>(what: &'static str, result: Result<T, InterceptorError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            crate::mark!("an interceptor fails");
            tracing::warn!(%error, what, "an interceptor failed");
            None
        }
    }
}

/// The interceptors of a producer.
#[derive(Default)]
pub(super) struct ProducerInterceptors(pub(super) Vec<Box<dyn ProducerInterceptor>>);

impl ProducerInterceptors {
    pub(super) fn on_send(&self, mut record: ProducerRecord) -> ProducerRecord {
        for interceptor in &self.0 {
            if let Some(Some(instead)) = worked("on_send", interceptor.on_send(&record)) {
                record = instead;
            }
        }
        record
    }

    pub(super) fn on_acknowledgement(&self, outcome: Acknowledgement<'_>) {
        for interceptor in &self.0 {
            worked("on_acknowledgement", interceptor.on_acknowledgement(outcome));
        }
    }
}

/// The interceptors of a consumer.
#[derive(Default)]
pub(super) struct ConsumerInterceptors(pub(super) Vec<Box<dyn ConsumerInterceptor>>);

impl ConsumerInterceptors {
    pub(super) fn on_consume(&mut self, mut records: Vec<ConsumerRecord>) -> Vec<ConsumerRecord> {
        for interceptor in &mut self.0 {
            if let Some(Some(instead)) = worked("on_consume", interceptor.on_consume(&records)) {
                records = instead;
            }
        }
        records
    }

    pub(super) fn on_commit(&mut self, offsets: &Offsets) {
        for interceptor in &mut self.0 {
            worked("on_commit", interceptor.on_commit(offsets));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Adds(&'static str);

    impl ProducerInterceptor for Adds {
        fn on_send(
            &self,
            record: &ProducerRecord,
        ) -> Result<Option<ProducerRecord>, InterceptorError> {
            Ok(Some(record.clone().header(self.0, "")))
        }
    }

    struct Fails;

    impl ProducerInterceptor for Fails {
        fn on_send(&self, _: &ProducerRecord) -> Result<Option<ProducerRecord>, InterceptorError> {
            Err(InterceptorError("out of order".to_owned()))
        }
    }

    impl ConsumerInterceptor for Fails {
        fn on_consume(
            &mut self,
            _: &[ConsumerRecord],
        ) -> Result<Option<Vec<ConsumerRecord>>, InterceptorError> {
            Err(InterceptorError("out of order".to_owned()))
        }
    }

    struct Hides;

    impl ConsumerInterceptor for Hides {
        fn on_consume(
            &mut self,
            records: &[ConsumerRecord],
        ) -> Result<Option<Vec<ConsumerRecord>>, InterceptorError> {
            Ok(Some(records[1..].to_vec()))
        }
    }

    #[test]
    fn each_gets_what_the_one_before_made_and_one_that_fails_changes_nothing() {
        let chain =
            ProducerInterceptors(vec![Box::new(Adds("a")), Box::new(Fails), Box::new(Adds("b"))]);
        let sent = chain.on_send(ProducerRecord::new("t", "v"));
        let names: Vec<&str> = sent.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let record = ConsumerRecord {
            topic: "t".into(),
            partition: crate::types::PartitionIndex::new(0),
            offset: crate::types::Offset::ZERO,
            timestamp: crate::types::Timestamp::from_millis(0),
            key: None,
            value: None,
            headers: Vec::new(),
            leader_epoch: None,
        };
        let mut chain =
            ConsumerInterceptors(vec![Box::new(Hides), Box::new(Fails), Box::new(Hides)]);
        assert_eq!(chain.on_consume(vec![record; 3]).len(), 1);
    }
}

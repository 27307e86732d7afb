//! A partition against a model, through crashes, full disks and producers that send twice.

use proptest::prelude::*;

use super::*;
use crate::protocol::record_batch::BatchProducer;
use crate::types::{ProducerEpoch, ProducerId, Sequence};

/// What happens to a partition.
#[derive(Clone, Debug)]
enum Step {
    /// A producer sends its next batch.
    Send {
        producer: usize,
        bytes: usize,
    },
    /// A producer sends one of its last batches again.
    Again {
        producer: usize,
        back: usize,
    },
    /// A producer leaves out a sequence.
    Gap {
        producer: usize,
    },
    /// The disk has this much space left; then as much as before.
    Full {
        space: u64,
        appends: u32,
    },
    /// So many percent of what is there are deleted.
    Delete {
        percent: u64,
    },
    /// The directory's worker runs, and the checkpoint files are written.
    Work,
    CleanRestart,
    Kill,
    PowerLoss {
        kept: usize,
    },
}

/// `deletes`: how many there are for ten batches that are sent.
fn steps(deletes: u32) -> impl Strategy<Value = Vec<Step>> {
    let producer = || 0usize..3;
    let step = prop_oneof![
        10 => (producer(), 1usize..700).prop_map(|(producer, bytes)| Step::Send { producer, bytes }),
        3 => (producer(), 0usize..7).prop_map(|(producer, back)| Step::Again { producer, back }),
        1 => producer().prop_map(|producer| Step::Gap { producer }),
        1 => (0u64..3_000, 1u32..6).prop_map(|(space, appends)| Step::Full { space, appends }),
        deletes => (1u64..=100).prop_map(|percent| Step::Delete { percent }),
        2 => Just(Step::Work),
        1 => Just(Step::CleanRestart),
        1 => Just(Step::Kill),
        1 => (0usize..2_000).prop_map(|kept| Step::PowerLoss { kept }),
    ];
    prop::collection::vec(step, 1..80)
}

/// A batch that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    producer: usize,
    sequence: i32,
    offset: i64,
}

struct Model {
    broker: Option<Broker>,
    /// In the log, one record each.
    sent: Vec<Sent>,
    /// What the checkpoint files say.
    persisted: Checkpoints,
    /// Nothing acknowledged may be lost, whatever crashes.
    each_flushed: bool,
    /// From here on the broker remembers more than the last batch of each producer.
    remembered_from: usize,
}

impl Model {
    fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    fn next_sequence(&self, producer: usize) -> i32 {
        let mut last = self.sent.iter().rev().filter(|sent| sent.producer == producer);
        last.next().map_or(0, |sent| sent.sequence + 1)
    }

    fn append(
        &self,
        producer: usize,
        sequence: i32,
        bytes: usize,
    ) -> Result<AppendAnswer, ErrorCode> {
        let stamp = BatchProducer {
            id: ProducerId::new(i64::try_from(producer).unwrap()),
            epoch: ProducerEpoch::new(0),
            base_sequence: Some(Sequence::new(sequence)),
        };
        let mut builder = BatchBuilder::new(Compression::NONE);
        builder.set_producer(stamp);
        builder.append(Timestamp::from_millis(1), None, Some(&vec![1; bytes]), &[]);
        let records = Records::from(builder.build());
        run(self.broker().handle.append(&records, Acks::All)).map_err(|error| error.code)
    }

    fn send(&mut self, producer: usize, bytes: usize) -> Result<(), ErrorCode> {
        let sequence = self.next_sequence(producer);
        let answer = self.append(producer, sequence, bytes)?;
        let offset = answer.base_offset.value();
        assert_eq!(offset, i64::try_from(self.sent.len()).unwrap(), "no gap, nothing twice");
        self.sent.push(Sent { producer, sequence, offset });
        Ok(())
    }

    fn again(&self, producer: usize, back: usize) {
        let of = self.sent.iter().enumerate().rev().filter(|(_, sent)| sent.producer == producer);
        let Some((at, sent)) = of.clone().nth(back) else { return };
        let newer = of.take_while(|(index, _)| *index > at).count();
        let remembered = newer < 5 && (newer == 0 || at >= self.remembered_from);
        match self.append(producer, sent.sequence, 1) {
            Ok(answer) => assert_eq!(answer.base_offset.value(), sent.offset, "{sent:?}"),
            Err(error) => {
                assert_eq!(error, ErrorCode::OutOfOrderSequenceNumber);
                assert!(!remembered, "{sent:?} was forgotten");
            }
        }
    }

    fn restart(&mut self, known: Checkpoints) {
        self.broker = Some(self.broker.take().unwrap().restart(known));
        self.remembered_from = self.sent.len();
    }

    fn check(&self) {
        let broker = self.broker();
        let found: Vec<i64> = broker.contents().iter().map(|batch| batch.0).collect();
        let start = broker.handle.log_start_offset().value();
        let kept = self.sent.iter().map(|sent| sent.offset).filter(|offset| *offset >= start);
        assert_eq!(found, kept.collect::<Vec<i64>>());
        let end = i64::try_from(self.sent.len()).unwrap();
        assert_eq!(broker.handle.high_watermark().value(), end);
        assert_eq!(broker.handle.log_end_offset().value(), end);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { producer, bytes } => self.send(producer, bytes).unwrap(),
            Step::Again { producer, back } => self.again(producer, back),
            Step::Gap { producer } => {
                let next = self.next_sequence(producer);
                if next > 0 {
                    let error = self.append(producer, next + 1, 1).unwrap_err();
                    assert_eq!(error, ErrorCode::OutOfOrderSequenceNumber);
                }
            }
            Step::Full { space, appends } => {
                let full = Faults { space_left: Some(space), ..Faults::default() };
                self.broker().disk.set_faults(full);
                for producer in 0..appends {
                    if let Err(error) = self.send(producer as usize % 3, 600) {
                        assert_eq!(error, ErrorCode::KafkaStorageError);
                    }
                }
                self.broker().work();
                self.broker().disk.set_faults(Faults::default());
                assert!(!self.broker().dir.is_offline());
            }
            Step::Delete { percent } => {
                let handle = &self.broker().handle;
                let (start, end) = (handle.log_start_offset(), handle.log_end_offset());
                let to = start + (end - start) * percent / 100;
                handle.delete_records(Some(to)).unwrap();
            }
            Step::Work => {
                self.broker().work();
                self.persisted = self.broker().checkpoints();
            }
            Step::CleanRestart => {
                run(self.broker().handle.flush()).unwrap();
                self.broker().work();
                run(self.broker().handle.close()).unwrap();
                let known = Checkpoints { clean: true, ..self.broker().checkpoints() };
                self.persisted = Checkpoints { clean: false, ..known };
                let read = self.broker().disk.operations().log_bytes_read;
                self.restart(known);
                assert_eq!(self.broker().disk.operations().log_bytes_read, read, "a scan");
            }
            Step::Kill => {
                self.broker().disk.kill();
                self.restart(self.persisted);
            }
            Step::PowerLoss { kept } => {
                self.broker().disk.power_loss(kept);
                self.restart(self.persisted);
                let end = self.broker().handle.log_end_offset().value();
                let found = usize::try_from(end).unwrap();
                if self.each_flushed {
                    assert_eq!(found, self.sent.len(), "lost what was durable");
                }
                let point = usize::try_from(self.persisted.recovery_point.value()).unwrap();
                assert!(found >= point, "lost what was below the recovery point");
                self.sent.truncate(found);
                self.remembered_from = found;
            }
        }
        self.check();
    }
}

fn check_steps(steps: &[Step], each_flushed: bool, tail: usize) {
    let flush = if each_flushed { "1" } else { "9223372036854775807" };
    let settings = [
        ("internal.segment.bytes", "2000"),
        ("index.interval.bytes", "200"),
        ("flush.messages", flush),
    ];
    let broker = start(&TestDisk::new(), &config(&settings), tail, Checkpoints::default());
    let mut model = Model {
        broker: Some(broker),
        sent: Vec::new(),
        persisted: Checkpoints::default(),
        each_flushed,
        remembered_from: 0,
    };
    for step in steps {
        model.step(step);
    }
}

proptest! {
    #[test]
    fn flushed_each_time_nothing_acknowledged_is_ever_lost(steps in steps(0)) {
        check_steps(&steps, true, MIB);
    }

    /// Swarm-disk, seed 988: a producer's last batch was deleted before a snapshot stood for it, and after a loss of power its repetition was
    /// taken for new.
    #[test]
    fn whose_records_are_deleted_is_remembered(steps in steps(4)) {
        check_steps(&steps, true, MIB);
    }

    #[test]
    fn otherwise_a_power_loss_leaves_a_prefix(steps in steps(0)) {
        check_steps(&steps, false, 1_000);
    }
}

/// The recovery point is written later than the snapshot that it is to be of.
#[test]
fn what_recovery_takes_stays_until_a_file_says_more() {
    let steps = [
        Step::Send { producer: 0, bytes: 59 },
        Step::Send { producer: 0, bytes: 120 },
        Step::Send { producer: 2, bytes: 273 },
        Step::Send { producer: 0, bytes: 600 },
        Step::Send { producer: 0, bytes: 309 },
        Step::Send { producer: 0, bytes: 221 },
        Step::Send { producer: 0, bytes: 225 },
        Step::CleanRestart,
        Step::Send { producer: 0, bytes: 675 },
        Step::Delete { percent: 63 },
        Step::Full { space: 772, appends: 1 },
        Step::Kill,
        Step::Gap { producer: 2 },
    ];
    check_steps(&steps, true, MIB);
}

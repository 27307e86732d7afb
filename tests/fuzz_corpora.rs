//! The fuzz targets over their corpora, as ordinary tests: what was once found stays fixed.
//!
//! `UPDATE=1` writes the seeds anew (`seed-*`); what a fuzzer found has other names and is left alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(unreachable_pub, reason = "the file is a library of its own")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla::log::{LeaderEpochCache, ProducerState};
use ottla::protocol::ApiKey;
use ottla::protocol::compression::{Codec, Compression};
use ottla::protocol::coordinator_records::group_metadata_value::MemberMetadata;
use ottla::protocol::coordinator_records::{
    CoordinatorRecord, GroupMetadataKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue,
};
use ottla::protocol::metadata_records::{MetadataRecord, TopicRecord};
use ottla::protocol::record_batch::{
    BatchBuilder, BatchProducer, ControlRecordType, RawBatch, RecordHeader,
};
use ottla::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = root().join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn no_target_panics_on_its_corpus() {
    if std::env::var_os("UPDATE").is_some() {
        write_seeds();
    }
    for (target, run) in targets::TARGETS {
        let files = corpus(target);
        assert!(!files.is_empty(), "{target} has no corpus");
        for file in files {
            println!("{}", file.display());
            run(&fs::read(&file).unwrap());
        }
    }
}

/// What is done to a seed: a byte set, a part repeated elsewhere, or the end cut off.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Repeat(Index, Index),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    // Bytes at the edges of lengths, counts and varints are worth more than others.
    let byte = prop_oneof![any::<u8>(), Just(0), Just(1), Just(0x7f), Just(0x80), Just(0xff)];
    prop_oneof![
        6 => (any::<Index>(), byte).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Damage::Repeat(from, to)),
        1 => any::<Index>().prop_map(Damage::Cut),
    ]
}

fn damaged(mut bytes: Vec<u8>, faults: &[Damage]) -> Vec<u8> {
    for fault in faults {
        if bytes.is_empty() {
            break;
        }
        let size = bytes.len();
        match fault {
            Damage::Set(at, byte) => bytes[at.index(size)] = *byte,
            Damage::Repeat(from, to) => {
                let part = bytes[from.index(size)..].to_vec();
                let to = to.index(size);
                bytes.splice(to..to, part);
            }
            Damage::Cut(at) => bytes.truncate(at.index(size)),
        }
    }
    bytes
}

proptest! {
    /// A little of what a fuzzer does, on stable: `PROPTEST_CASES=100000` for more of it.
    #[test]
    fn no_target_panics_on_damaged_seeds(
        target in any::<Index>(), seed in any::<Index>(), faults in vec(damage(), 1..6),
    ) {
        let (name, run) = target.get(targets::TARGETS);
        run(&damaged(fs::read(seed.get(&corpus(name))).unwrap(), &faults));
    }
}

#[test]
fn every_target_has_a_corpus_and_a_program_of_its_own() {
    let names: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    for (folder, extension) in [("fuzz/corpus", ""), ("fuzz/fuzz_targets", ".rs")] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        let mut found: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        let mut expected: Vec<String> =
            names.iter().map(|name| format!("{name}{extension}")).collect();
        expected.sort();
        assert_eq!(found, expected, "{folder}");
    }
}

#[test]
fn every_request_of_the_table_is_fuzzed() {
    let mut table: Vec<String> = Vec::new();
    for entry in fs::read_dir(root().join("src/protocol/schema")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("request "));
        table.extend(names.map(|line| format!("{}Request", line.split(' ').next().unwrap())));
    }
    table.sort();
    assert_eq!(targets::REQUESTS, table);
}

/// The seeds of a target: name and bytes.
type Seeds = Vec<(String, Vec<u8>)>;

fn write_seeds() {
    let all: [(&str, Seeds); 8] = [
        ("frame", frame_seeds()),
        ("request", request_seeds()),
        ("response", response_seeds()),
        ("metadata_record", metadata_record_seeds()),
        ("coordinator_record", coordinator_record_seeds()),
        ("record_batch", record_batch_seeds()),
        ("recovery", recovery_seeds()),
        ("log_files", log_file_seeds()),
    ];
    for (target, seeds) in all {
        let folder = root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        for old in corpus(target) {
            if old.file_name().unwrap().to_str().unwrap().starts_with("seed-") {
                fs::remove_file(old).unwrap();
            }
        }
        for (name, bytes) in seeds {
            fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
        }
    }
}

/// Frames of another implementation, with their length, the fullest of the oldest and newest version of each API.
fn foreign_frames(kind: &str) -> Vec<(ApiKey, i16, Vec<u8>)> {
    let text = fs::read_to_string(root().join("tests/corpus/kafka_python.frames")).unwrap();
    let mut found: Vec<(ApiKey, i16, Vec<u8>)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [name, this_kind, version, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        if this_kind != kind {
            continue;
        }
        let api = ApiKey::ALL.iter().copied().find(|api| api.name() == name).unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes = (0..hex.len()).step_by(2).map(byte).collect();
        found.push((api, version.parse().unwrap(), bytes));
    }
    found.sort_by_key(|(api, version, bytes)| (*api, *version, std::cmp::Reverse(bytes.len())));
    found.dedup_by_key(|(api, version, _)| (*api, *version));
    let versions = |api| found.iter().filter(move |frame| frame.0 == api).map(|frame| frame.1);
    let kept = |frame: &&(ApiKey, i16, Vec<u8>)| {
        Some(frame.1) == versions(frame.0).min() || Some(frame.1) == versions(frame.0).max()
    };
    found.iter().filter(kept).cloned().collect()
}

fn frame_seeds() -> Seeds {
    let requests = foreign_frames("request");
    let two = [&requests[0].2[..], &requests[1].2[..]].concat();
    let cut = two[..two.len() - 3].to_vec();
    vec![
        ("two-requests".into(), two),
        ("second-cut-off".into(), cut),
        ("empty-frame".into(), vec![0; 4]),
        ("negative-length".into(), vec![0xff, 0xff, 0xff, 0xff, 0]),
        ("http".into(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("tls-hello".into(), vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
    ]
}

fn request_seeds() -> Seeds {
    let named = |(api, version, bytes): (ApiKey, i16, Vec<u8>)| {
        (format!("{api}-{version}"), bytes[4..].to_vec())
    };
    foreign_frames("request").into_iter().map(named).collect()
}

fn response_seeds() -> Seeds {
    let named = |(api, version, bytes): (ApiKey, i16, Vec<u8>)| {
        let head = [api.key().to_be_bytes(), version.to_be_bytes()].concat();
        (format!("{api}-{version}"), [&head[..], &bytes[4..]].concat())
    };
    foreign_frames("response").into_iter().map(named).collect()
}

/// An offset, a group with a member, and a tombstone.
fn coordinator_record_seeds() -> Seeds {
    let offset = CoordinatorRecord::OffsetCommit(
        OffsetCommitKey { group: "g".into(), topic: "orders".into(), ..Default::default() },
        Some(OffsetCommitValue { offset: Offset::from_wire(5), ..Default::default() }),
    );
    let key = GroupMetadataKey { group: "g".into() };
    let member = MemberMetadata { member_id: "m".into(), ..Default::default() };
    let value = GroupMetadataValue { members: vec![member], ..Default::default() };
    let group = CoordinatorRecord::GroupMetadata(key.clone(), Some(value));
    let tombstone = CoordinatorRecord::GroupMetadata(key, None);
    let bytes = |record: &CoordinatorRecord| {
        let (key, value) = (record.key_bytes().unwrap(), record.value_bytes().unwrap());
        let mut bytes = vec![u8::try_from(key.len()).unwrap()];
        bytes.extend_from_slice(&key);
        bytes.push(u8::from(value.is_some()));
        bytes.extend(value.into_iter().flatten());
        bytes
    };
    vec![
        ("offset".into(), bytes(&offset)),
        ("group".into(), bytes(&group)),
        ("tombstone".into(), bytes(&tombstone)),
    ]
}

fn metadata_record_seeds() -> Seeds {
    let topic = TopicRecord { name: "orders".into(), ..Default::default() };
    let bytes = MetadataRecord::from(topic).to_bytes(0).unwrap();
    vec![("topic".into(), bytes.to_vec()), ("unknown-type".into(), vec![1, 0xff, 1, 0])]
}

/// A batch of three records at `offset`.
fn batch(codec: Codec, offset: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression { codec, level: None })
        .with_base_offset(Offset::new(offset))
        .with_leader_epoch(LeaderEpoch::new(1));
    builder.set_producer(BatchProducer {
        id: ProducerId::new(9),
        epoch: ProducerEpoch::new(0),
        base_sequence: Some(Sequence::new(5)),
    });
    let header = |value: Option<&'static [u8]>| RecordHeader {
        key: "header".into(),
        value: value.map(Bytes::from_static),
    };
    let headers = [header(Some(b"value")), header(None)];
    builder.append(Timestamp::from_millis(1_000), Some(b"key"), Some(b"value"), &headers);
    builder.append(Timestamp::from_millis(999), None, Some(&[b'x'; 100]), &[]);
    builder.append(Timestamp::from_millis(1_001), Some(b"key"), None, &[]);
    builder.build()
}

fn control_batch(offset: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::NONE).with_base_offset(Offset::new(offset));
    builder.set_producer(BatchProducer {
        id: ProducerId::new(9),
        epoch: ProducerEpoch::new(0),
        base_sequence: None,
    });
    builder.append_control(Timestamp::from_millis(1_000), ControlRecordType::Commit, &[0; 6]);
    builder.build()
}

fn record_batch_seeds() -> Seeds {
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let mut seeds: Seeds = codecs
        .into_iter()
        .map(|codec| (codec.name().to_owned(), batch(codec, 0).to_vec()))
        .collect();
    let mut bomb = BatchBuilder::new(Compression { codec: Codec::Zstd, level: None });
    bomb.append(Timestamp::from_millis(1), None, Some(&vec![0; 4 << 20]), &[]);
    let two = [batch(Codec::None, 0), batch(Codec::Lz4, 3)].concat();
    seeds.push(("two-batches".into(), two));
    seeds.push(("control".into(), control_batch(0).to_vec()));
    seeds.push(("zstd-bomb".into(), bomb.build().to_vec()));
    seeds
}

fn recovery_seeds() -> Seeds {
    let whole = [batch(Codec::None, 0), control_batch(3), batch(Codec::Snappy, 10)].concat();
    let torn = whole[..whole.len() - 7].to_vec();
    let zeros = [&whole[..], &[0; 100]].concat();
    let mut rotten = whole.clone();
    rotten[70] ^= 1;
    vec![
        ("whole".into(), whole),
        ("torn".into(), torn),
        ("zeros-at-the-end".into(), zeros),
        ("rotten".into(), rotten),
    ]
}

fn log_file_seeds() -> Seeds {
    let offsets = [0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 2, 0];
    let times = [0, 0, 0, 0, 0, 0, 3, 232, 0, 0, 0, 5];
    let mut producers = ProducerState::default();
    for raw in [batch(Codec::None, 0), batch(Codec::None, 3)] {
        producers.on_batch(&RawBatch::parse(&raw).unwrap().header, None);
    }
    let mut epochs = LeaderEpochCache::default();
    epochs.assign(LeaderEpoch::new(1), Offset::new(0));
    epochs.assign(LeaderEpoch::new(4), Offset::new(17));
    vec![
        ("index".into(), offsets.to_vec()),
        ("timeindex".into(), times.to_vec()),
        ("snapshot".into(), producers.encode_snapshot()),
        ("leader-epoch-checkpoint".into(), epochs.encode().into_bytes()),
    ]
}

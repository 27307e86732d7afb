//! The wire codec against itself, against another codec, and against hostile bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod against_kafka_protocol;
mod corpus;
mod hostile;
mod round_trip;
mod sample;
mod schema_table;

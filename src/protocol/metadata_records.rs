//! The records of the metadata log, and the bodies of the control records of log and snapshots (KIP-500, KIP-630),
//! generated from the same table as the messages.

use bytes::Bytes;

use super::wire::{DecodeError, DecodeProblem, EncodeError, Reader, Writer};

pub use generated::*;

/// The only form of the frame around a metadata record (Kafka: `AbstractApiMessageSerde`).
const FRAME_VERSION: u32 = 1;

impl MetadataRecord {
    /// The bytes of a record's value in the metadata log: frame version, type, version, record.
    ///
    /// Errors: the version cannot carry what the record says.
    pub fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut out = Writer::new();
        out.unsigned_varint(FRAME_VERSION);
        out.unsigned_varint(u32::from(self.key().unsigned_abs()));
        out.unsigned_varint(u32::from(version.unsigned_abs()));
        self.encode(version, &mut out)?;
        let mut slices = out.finish();
        let bytes = slices.pop().expect("three varints were written");
        assert!(slices.is_empty(), "metadata records hold no record batches");
        Ok(bytes)
    }

    /// Reads a record's value in the metadata log, and the version it was written in.
    ///
    /// Errors: another frame version, a type or version that we do not know, bytes after the record.
    pub fn from_bytes(value: Bytes) -> Result<(Self, i16), DecodeError> {
        let mut input = Reader::new(value);
        input.at("MetadataRecord.frame_version");
        let frame_version = input.unsigned_varint()?;
        if frame_version != FRAME_VERSION {
            return Err(input.error(DecodeProblem::Value(i64::from(frame_version))));
        }
        input.at("MetadataRecord.type");
        let key = input.unsigned_varint()?;
        input.at("MetadataRecord.version");
        let version = input.unsigned_varint()?;
        let version = i16::try_from(version)
            .map_err(|_| input.error(DecodeProblem::Value(i64::from(version))))?;
        let key =
            i16::try_from(key).map_err(|_| input.error(DecodeProblem::Key(i64::from(key))))?;
        let record = Self::decode(key, version, &mut input)?;
        input.finish()?;
        Ok((record, version))
    }
}

#[allow(
    unused_imports,
    unused_variables,
    clippy::all,
    clippy::wildcard_enum_match_arm,
    reason = "generated: it is the generator that is read"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/metadata_records.rs"));
}

//! The requests and responses, generated from the table (`schema/*.schema`) by `build.rs`.
//!
//! Names are Kafka's: `FetchRequest` here, the structs within it in [`fetch_request`]. A field that a version lacks is
//! read as its default; writing another value than the default into such a version is an error, except where Kafka calls
//! the field ignorable.

use super::api_key::{ApiKey, VersionRange};
use super::wire::{DecodeError, EncodeError, Reader, Writer};
use crate::types::ErrorCode;

/// A request, a response or a record: something with versions that goes over the wire.
pub trait Message: Clone + std::fmt::Debug + Default + PartialEq + Sized {
    /// Kafka's name, as in `FetchRequest`.
    const NAME: &'static str;
    /// The versions that we read and write.
    const VERSIONS: VersionRange;
    /// The first version with compact lengths and tagged fields (KIP-482).
    const FLEXIBLE_FROM: Option<i16>;

    /// Writes the message.
    ///
    /// Errors: the version is not among [`Self::VERSIONS`], or cannot carry what the message says. What was written by
    /// then is of no use.
    fn encode(&self, version: i16, out: &mut Writer) -> Result<(), EncodeError>;

    /// Reads the message. What follows it is left in `input`.
    fn decode(version: i16, input: &mut Reader) -> Result<Self, DecodeError>;

    /// Whether a response says `code` anywhere: of the whole request, or of one part of it (Kafka: `errorCounts`).
    fn has_error(&self, code: ErrorCode) -> bool {
        let _ = code;
        false
    }
}

/// A message that is answered.
pub trait Request: Message {
    /// Which API it asks.
    const API: ApiKey;
    /// The answer, in the same version.
    type Response: Message;
}

pub use generated::*;

#[allow(
    unused_imports,
    unused_variables,
    clippy::all,
    clippy::wildcard_enum_match_arm,
    reason = "generated: it is the generator that is read"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

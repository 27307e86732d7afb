//! Values of ours that travel as numbers: here the wire's sentinels end.

use super::wire::{DecodeError, Reader, Writer};
use crate::types::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch,
    ProducerId, Timestamp,
};

/// An integer of the wire.
pub trait Number: Copy + Into<i64> {
    /// Reads it.
    fn read(input: &mut Reader) -> Result<Self, DecodeError>;
    /// Writes it.
    fn write(self, out: &mut Writer);
}

/// A value that travels as a number.
pub trait Value: Copy {
    /// The number's type.
    type Raw: Number;
    /// The value that `raw` stands for, if any.
    fn from_wire(raw: Self::Raw) -> Option<Self>;
    /// The number that stands for the value.
    fn to_wire(self) -> Self::Raw;
}

macro_rules! number {
    ($($raw:ty: $method:ident;)*) => {$(
        impl Number for $raw {
            fn read(input: &mut Reader) -> Result<Self, DecodeError> {
                input.$method()
            }
            fn write(self, out: &mut Writer) {
                out.$method(self);
            }
        }
    )*};
}

number! { i8: int8; i16: int16; i32: int32; i64: int64; }

macro_rules! identifier {
    ($($name:ident: $raw:ty;)*) => {$(
        impl Value for $name {
            type Raw = $raw;
            fn from_wire(raw: $raw) -> Option<Self> {
                $name::from_wire(raw)
            }
            fn to_wire(self) -> $raw {
                self.value()
            }
        }
    )*};
}

identifier! {
    BrokerEpoch: i64;
    BrokerId: i32;
    LeaderEpoch: i32;
    Offset: i64;
    PartitionIndex: i32;
    ProducerEpoch: i16;
    ProducerId: i64;
}

impl Value for ErrorCode {
    type Raw = i16;
    fn from_wire(raw: i16) -> Option<Self> {
        Some(ErrorCode::from_wire(raw))
    }
    fn to_wire(self) -> i16 {
        self.code()
    }
}

impl Value for Timestamp {
    type Raw = i64;
    fn from_wire(raw: i64) -> Option<Self> {
        Some(Timestamp::from_millis(raw))
    }
    fn to_wire(self) -> i64 {
        self.millis()
    }
}

/// Declares an enum whose variants are numbers.
macro_rules! enumeration {
    ($(#[$doc:meta])* $name:ident: $raw:ty { $($(#[$variant_doc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl Value for $name {
            type Raw = $raw;
            fn from_wire(raw: $raw) -> Option<Self> {
                match raw { $($value => Some(Self::$variant),)* _ => None }
            }
            fn to_wire(self) -> $raw {
                match self { $(Self::$variant => $value,)* }
            }
        }
    };
}

enumeration! {
    /// Which records of open transactions a reader sees (KIP-98).
    IsolationLevel: i8 {
        /// All records below the high watermark.
        #[default]
        ReadUncommitted = 0,
        /// Records below the last stable offset, with the list of aborted transactions.
        ReadCommitted = 1,
    }
}

enumeration! {
    /// Whether a partition's leader was elected from outside the in-sync replicas and may have lost records (KIP-704).
    LeaderRecoveryState: i8 {
        /// It was in sync, or has recovered since.
        #[default]
        Recovered = 0,
        /// It has yet to recover.
        Recovering = 1,
    }
}

enumeration! {
    /// What a registration change does to a broker's fence (Kafka: `BrokerRegistrationFencingChange`).
    FencingChange: i8 {
        /// The broker may lead again.
        Unfence = -1,
        /// Nothing.
        #[default]
        None = 0,
        /// The broker may lead no longer.
        Fence = 1,
    }
}

enumeration! {
    /// What a registration change says of a broker's shutdown (Kafka: `BrokerRegistrationInControlledShutdownChange`).
    ControlledShutdownChange: i8 {
        /// Nothing.
        #[default]
        None = 0,
        /// The broker is shutting down in good order.
        InControlledShutdown = 1,
    }
}

/// What a partition change does to the leader (Kafka: `PartitionChangeRecord.leader`, where −2 is no change and −1 no
/// leader).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderChange {
    /// The leader stays, and so does its epoch.
    #[default]
    Unchanged,
    /// Nobody leads.
    NoLeader,
    /// This broker leads, from a new epoch on, also where it was the leader before.
    Leader(BrokerId),
}

impl Value for LeaderChange {
    type Raw = i32;
    fn from_wire(raw: i32) -> Option<Self> {
        match raw {
            -2 => Some(Self::Unchanged),
            -1 => Some(Self::NoLeader),
            _ => BrokerId::from_wire(raw).map(Self::Leader),
        }
    }
    fn to_wire(self) -> i32 {
        match self {
            Self::Unchanged => -2,
            Self::NoLeader => -1,
            Self::Leader(broker) => broker.value(),
        }
    }
}

/// Which offset of a partition is asked for (Kafka: `ListOffsetsRequest`, `OffsetSpec`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The end of what the reader may see.
    #[default]
    Latest,
    /// The start of the log.
    Earliest,
    /// The first record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The start of the log on the leader's own disk (KIP-405).
    EarliestLocal,
    /// The end of what was moved to tiered storage (KIP-1005).
    LatestTiered,
    /// The start of what is to be moved to tiered storage (KIP-1023).
    EarliestPendingUpload,
    /// The first record whose timestamp is not smaller than this.
    Timestamp(Timestamp),
}

impl Value for OffsetSpec {
    type Raw = i64;
    fn from_wire(raw: i64) -> Option<Self> {
        Some(match raw {
            -1 => Self::Latest,
            -2 => Self::Earliest,
            -3 => Self::MaxTimestamp,
            -4 => Self::EarliestLocal,
            -5 => Self::LatestTiered,
            -6 => Self::EarliestPendingUpload,
            millis => Self::Timestamp(Timestamp::from_millis(millis)),
        })
    }
    fn to_wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::EarliestLocal => -4,
            Self::LatestTiered => -5,
            Self::EarliestPendingUpload => -6,
            Self::Timestamp(timestamp) => timestamp.millis(),
        }
    }
}

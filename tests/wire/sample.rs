//! Values of every message, drawn from bytes that proptest chooses and shrinks: no bytes, default values.

use bytes::Bytes;
use ottla::protocol::messages::{Message, Request};
use ottla::protocol::wire::Reader;
use ottla::protocol::{
    ControlledShutdownChange, FencingChange, IsolationLevel, LeaderChange, LeaderRecoveryState,
    Number, OffsetSpec, Records, Value,
};
use ottla::types::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch,
    ProducerId, Timestamp, Uuid,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Something of which samples can be drawn.
pub(crate) trait Sample: Sized {
    /// A value whose fields are set only where `version` has them.
    fn sample(version: i16, source: &mut Source) -> Self;
}

/// Something whose size in memory is known.
pub(crate) trait HeapBytes {
    /// The bytes it holds on the heap, without slices of the frame.
    fn heap_bytes(&self) -> usize;
}

/// Is shown every message.
pub(crate) trait Visitor {
    fn visit<M: Message + Sample + HeapBytes>(&mut self);
}

/// Is shown every request.
pub(crate) trait RequestVisitor {
    fn visit<R: Request>(&mut self);
}

/// Shows every message of the table to `visitor`.
pub(crate) fn walk_messages(visitor: &mut impl Visitor) {
    generated::for_each_message(visitor);
}

/// Shows every request of the table to `visitor`.
pub(crate) fn walk_requests(visitor: &mut impl RequestVisitor) {
    generated::for_each_request(visitor);
}

/// The structs that stand in lists: name, fewest bytes on the wire, bytes in memory.
pub(crate) fn list_elements() -> &'static [(&'static str, usize, usize)] {
    generated::ELEMENTS
}

/// Bytes to draw a message from, few or enough for many fields.
pub(crate) fn source_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..1000)]
}

/// Bytes to draw from; zeros after their end.
pub(crate) struct Source {
    bytes: std::vec::IntoIter<u8>,
}

impl Source {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_iter() }
    }

    fn byte(&mut self) -> u8 {
        self.bytes.next().unwrap_or(0)
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    /// Up to three elements.
    pub(crate) fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % 4).map(|_| element(self)).collect()
    }

    pub(crate) fn string(&mut self) -> String {
        const LETTERS: [&str; 8] = ["a", "Z", ".", "_", "\0", "ö", "漢", "🦦"];
        let length = match self.byte() {
            255 => 200,
            byte => byte % 6,
        };
        (0..length).map(|_| LETTERS[usize::from(self.byte() % 8)]).collect()
    }

    pub(crate) fn bytes(&mut self) -> Bytes {
        let length = self.byte();
        (0..length).map(|_| self.byte()).collect()
    }

    /// Eight bytes of a number: a small one, an extreme one or any.
    fn number_bytes(&mut self) -> [u8; 8] {
        match self.byte() % 5 {
            0 => [0; 8],
            1 => [0, 0, 0, 0, 0, 0, 0, self.byte()],
            2 => [255; 8],
            3 => std::array::from_fn(|_| self.byte()),
            _ => [127, 255, 255, 255, 255, 255, 255, 255],
        }
    }

    pub(crate) fn number<T: FromBytes>(&mut self) -> T {
        T::from_bytes(self)
    }

    fn raw<T: Number>(&mut self) -> T {
        let bytes = self.number_bytes();
        let from_the_end = Bytes::copy_from_slice(&bytes[8 - size_of::<T>()..]);
        T::read(&mut Reader::new(from_the_end)).unwrap()
    }

    pub(crate) fn typed<T: Value + Default>(&mut self) -> T {
        T::from_wire(self.raw()).unwrap_or_default()
    }

    pub(crate) fn optional<T: Value>(&mut self) -> Option<T> {
        let raw: T::Raw = self.raw();
        if raw.into() < 0 { None } else { T::from_wire(raw) }
    }
}

/// A plain number of the table.
pub(crate) trait FromBytes {
    fn from_bytes(source: &mut Source) -> Self;
}

macro_rules! plain_numbers {
    ($($number:ty)*) => {$(
        impl FromBytes for $number {
            fn from_bytes(source: &mut Source) -> Self {
                let bytes = source.number_bytes();
                Self::from_be_bytes(*bytes.last_chunk().unwrap())
            }
        }
    )*};
}

plain_numbers! { i8 i16 u16 i32 i64 }

impl FromBytes for Uuid {
    fn from_bytes(source: &mut Source) -> Self {
        let halves = [source.number_bytes(), source.number_bytes()].concat();
        Uuid::from_bytes(*halves.first_chunk().unwrap())
    }
}

macro_rules! nothing_on_the_heap {
    ($($ty:ty)*) => {$(impl HeapBytes for $ty { fn heap_bytes(&self) -> usize { 0 } })*};
}

nothing_on_the_heap! {
    bool i8 i16 u16 i32 i64 Bytes Uuid BrokerEpoch BrokerId ErrorCode LeaderEpoch Offset PartitionIndex
    ProducerEpoch ProducerId Timestamp ControlledShutdownChange FencingChange IsolationLevel
    LeaderChange LeaderRecoveryState OffsetSpec
}

impl HeapBytes for String {
    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

impl HeapBytes for Records {
    fn heap_bytes(&self) -> usize {
        size_of_val(self.slices())
    }
}

impl<T: HeapBytes> HeapBytes for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, HeapBytes::heap_bytes)
    }
}

impl<T: HeapBytes> HeapBytes for Vec<T> {
    fn heap_bytes(&self) -> usize {
        let own = self.capacity() * size_of::<T>();
        own + self.iter().map(HeapBytes::heap_bytes).sum::<usize>()
    }
}

#[allow(unused_variables, clippy::all, reason = "generated: it is the generator that is read")]
mod generated {
    use super::{HeapBytes, Offset, RequestVisitor, Sample, Source, Value, Visitor};

    include!(concat!(env!("OUT_DIR"), "/samples.rs"));
}

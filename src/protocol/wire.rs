//! Reading and writing what Kafka's protocol is made of: numbers, varints, texts, lists, tagged fields.
//!
//! [`Reader`] takes bytes of unknown origin: it never panics, never recurses, and checks every length and count against
//! what is left before anything is reserved. [`Writer`] collects slices: small fields are written together into one
//! buffer, record bytes are put between as they are. Which fields a message has is not known here; that is generated
//! from the table (`schema/*.schema`).

use bytes::{BufMut, Bytes};

use super::records::Records;
use super::value::{Number, Value};
use crate::types::Uuid;

/// The longest text, in bytes, even where its length is a varint (Kafka: `MessageDataGenerator`, "invalid length").
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Why bytes are not what they should be. Kafka closes the connection on each of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {position}: {problem}")]
pub struct DecodeError {
    /// The field that was being read, as `FetchRequest.max_bytes`.
    pub field: &'static str,
    /// Where in the frame the problem was found, in bytes.
    pub position: usize,
    /// What is wrong.
    pub problem: DecodeProblem,
}

/// What is wrong with bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeProblem {
    /// The frame ends within a field.
    #[error("needs {needed} bytes, {left} are left")]
    Short {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A length or count is negative where null is not allowed, or beyond what is left of the frame.
    #[error("length {length} cannot be, {left} bytes are left")]
    Length {
        /// The length or count as it was sent.
        length: i64,
        /// Bytes that are left.
        left: usize,
    },
    /// A varint is longer than its type.
    #[error("a varint that does not end")]
    Varint,
    /// A text is not UTF-8.
    #[error("a text that is not UTF-8")]
    NotUtf8,
    /// A number is not one of those the field may have.
    #[error("{0} is none of its values")]
    Value(i64),
    /// Tags must rise from one tagged field to the next.
    #[error("tag {0} is out of order")]
    TagOrder(u32),
    /// A tagged field has more bytes than its type.
    #[error("tag {0} has bytes left over")]
    TagSize(u32),
    /// We do not speak this version.
    #[error("version {0} is not known")]
    Version(i16),
    /// No API or record type has this number.
    #[error("key {0} is not known")]
    Key(i64),
    /// The message ends before the frame does.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

/// Why a value cannot be written in a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct EncodeError {
    /// The field, as `FetchRequest.cluster_id`, or the message.
    pub field: &'static str,
    /// What is wrong.
    pub problem: EncodeProblem,
}

/// What is wrong with a value that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeProblem {
    /// The field is set, must not be ignored, and the version has no place for it (Kafka:
    /// `UnsupportedVersionException`).
    #[error("version {0} cannot carry this")]
    Unsupported(i16),
    /// The version does not allow null here.
    #[error("must not be null in version {0}")]
    Null(i16),
    /// The text or list is longer than its length field can say.
    #[error("{0} is too long")]
    TooLong(usize),
    /// We do not speak this version.
    #[error("version {0} is not known")]
    Version(i16),
}

/// Reads a frame from front to end.
#[derive(Clone, Debug)]
pub struct Reader {
    frame: Bytes,
    position: usize,
    /// Where reading must stop: the end of the frame, or of the tagged field that is being read.
    end: usize,
    field: &'static str,
    unknown_tags: u32,
}

impl Reader {
    /// Reads `frame`, which must not contain the 4 bytes of its length.
    #[must_use]
    pub fn new(frame: Bytes) -> Self {
        let end = frame.len();
        Self { frame, position: 0, end, field: "frame", unknown_tags: 0 }
    }

    /// How many bytes were read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// How many tagged fields were skipped because no version that we know has them.
    #[must_use]
    pub fn unknown_tags(&self) -> u32 {
        self.unknown_tags
    }

    /// Names the field that is read next, for errors.
    pub fn at(&mut self, field: &'static str) {
        self.field = field;
    }

    /// The error that the field being read has this problem.
    #[must_use]
    pub fn error(&self, problem: DecodeProblem) -> DecodeError {
        DecodeError { field: self.field, position: self.position, problem }
    }

    /// Ends reading.
    ///
    /// Errors: bytes are left. Stricter than Kafka, which ignores them after a request: they show that the sender
    /// meant another version.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(DecodeProblem::Trailing(left))),
        }
    }

    /// The next `count` bytes, as a slice of the frame.
    pub fn slice(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        let start = self.advance(count)?;
        Ok(self.frame.slice(start..self.position))
    }

    /// Steps over `count` bytes and returns where they start.
    fn advance(&mut self, count: usize) -> Result<usize, DecodeError> {
        if count > self.remaining() {
            let left = self.remaining();
            return Err(self.error(DecodeProblem::Short { needed: count, left }));
        }
        let start = self.position;
        self.position += count;
        Ok(start)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let start = self.advance(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.frame[start..self.position]);
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let start = self.advance(1)?;
        Ok(self.frame[start])
    }

    /// One byte; any but 0 is true, as in Kafka.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.byte()? != 0)
    }

    /// One byte, signed.
    pub fn int8(&mut self) -> Result<i8, DecodeError> {
        self.array_of().map(i8::from_be_bytes)
    }

    /// Two bytes, big-endian.
    pub fn int16(&mut self) -> Result<i16, DecodeError> {
        self.array_of().map(i16::from_be_bytes)
    }

    /// Two bytes, big-endian, unsigned.
    pub fn uint16(&mut self) -> Result<u16, DecodeError> {
        self.array_of().map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    pub fn int32(&mut self) -> Result<i32, DecodeError> {
        self.array_of().map(i32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    pub fn int64(&mut self) -> Result<i64, DecodeError> {
        self.array_of().map(i64::from_be_bytes)
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.array_of().map(Uuid::from_bytes)
    }

    /// Up to five bytes of seven bits, lowest first.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let value = self.base_128(5)?;
        u32::try_from(value).map_err(|_| self.error(DecodeProblem::Varint))
    }

    /// A zigzag varint of up to five bytes.
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        let raw = self.unsigned_varint()?;
        Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    /// A zigzag varint of up to ten bytes.
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let raw = self.base_128(10)?;
        Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    /// Seven bits a byte, lowest first, in at most `bytes_max` bytes.
    fn base_128(&mut self, bytes_max: u32) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for index in 0..bytes_max {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shift = index * 7;
            if (bits << shift) >> shift != bits {
                return Err(self.error(DecodeProblem::Varint));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeProblem::Varint))
    }

    /// A number that is a value of ours.
    pub fn typed<T: Value>(&mut self) -> Result<T, DecodeError> {
        let raw = T::Raw::read(self)?;
        T::from_wire(raw).ok_or_else(|| self.error(DecodeProblem::Value(raw.into())))
    }

    /// A number that is a value of ours, or negative for none.
    pub fn optional<T: Value>(&mut self) -> Result<Option<T>, DecodeError> {
        let raw = T::Raw::read(self)?;
        if raw.into() < 0 {
            return Ok(None);
        }
        match T::from_wire(raw) {
            Some(value) => Ok(Some(value)),
            None => Err(self.error(DecodeProblem::Value(raw.into()))),
        }
    }

    /// Whether a nullable struct follows.
    pub fn present(&mut self) -> Result<bool, DecodeError> {
        Ok(self.int8()? >= 0)
    }

    /// A text's length: 2 bytes, or a varint where `flexible`. `None` is null.
    fn string_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let length = if flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else {
            i64::from(self.int16()?)
        };
        match self.length_within(length, 1)? {
            Some(length) if length > STRING_BYTES_MAX => Err(self.bad_length(length)),
            length => Ok(length),
        }
    }

    /// A list's or byte string's length: 4 bytes, or a varint where `flexible`. `None` is null.
    ///
    /// Errors: `length` elements of at least `element_size_min` bytes cannot be in what is left.
    fn length(
        &mut self,
        flexible: bool,
        element_size_min: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let length = if flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else {
            i64::from(self.int32()?)
        };
        self.length_within(length, element_size_min)
    }

    fn length_within(
        &self,
        length: i64,
        element_size_min: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let left = self.remaining();
        if length == -1 {
            return Ok(None);
        }
        match usize::try_from(length) {
            Ok(count) if count <= left / element_size_min.max(1) => Ok(Some(count)),
            _ => Err(self.error(DecodeProblem::Length { length, left })),
        }
    }

    fn bad_length(&self, length: usize) -> DecodeError {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        self.error(DecodeProblem::Length { length, left: self.remaining() })
    }

    fn not_null<T>(&self, value: Option<T>) -> Result<T, DecodeError> {
        let left = self.remaining();
        value.ok_or_else(|| self.error(DecodeProblem::Length { length: -1, left }))
    }

    /// A text.
    pub fn string(&mut self, flexible: bool) -> Result<String, DecodeError> {
        let text = self.nullable_string(flexible)?;
        self.not_null(text)
    }

    /// A text or null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.string_length(flexible)? else {
            return Ok(None);
        };
        let start = self.advance(length)?;
        match str::from_utf8(&self.frame[start..self.position]) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(self.error(DecodeProblem::NotUtf8)),
        }
    }

    /// Bytes, as a slice of the frame.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        let bytes = self.nullable_bytes(flexible)?;
        self.not_null(bytes)
    }

    /// Bytes, as a slice of the frame, or null.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length(flexible, 1)? {
            Some(length) => self.slice(length).map(Some),
            None => Ok(None),
        }
    }

    /// Record batches, as a slice of the frame.
    pub fn records(&mut self, flexible: bool) -> Result<Records, DecodeError> {
        self.bytes(flexible).map(Records::from)
    }

    /// Record batches, as a slice of the frame, or null.
    pub fn nullable_records(&mut self, flexible: bool) -> Result<Option<Records>, DecodeError> {
        Ok(self.nullable_bytes(flexible)?.map(Records::from))
    }

    /// A list, each element of which takes at least `element_size_min` bytes.
    pub fn list<T>(
        &mut self,
        flexible: bool,
        element_size_min: usize,
        element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let list = self.nullable_list(flexible, element_size_min, element)?;
        self.not_null(list)
    }

    /// A list or null, each element of which takes at least `element_size_min` bytes.
    pub fn nullable_list<T>(
        &mut self,
        flexible: bool,
        element_size_min: usize,
        mut element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.length(flexible, element_size_min)? else {
            return Ok(None);
        };
        // A count may lie: what is reserved at once is never more than what is left of the frame. The rest grows with
        // elements that were really read.
        let mut list = Vec::with_capacity(count.min(self.remaining() / size_of::<T>().max(1)));
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(Some(list))
    }

    /// The tagged fields at the end of a struct. `field` reads the one with the given tag and returns true, or returns
    /// false for a tag it does not know, which is skipped and counted.
    ///
    /// Errors: tags that do not rise, or a known field that ends before its size (KIP-482).
    pub fn tagged_fields(
        &mut self,
        mut field: impl FnMut(&mut Reader, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        let mut next_tag = 0u64;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            if u64::from(tag) < next_tag {
                return Err(self.error(DecodeProblem::TagOrder(tag)));
            }
            next_tag = u64::from(tag) + 1;
            let size = i64::from(self.unsigned_varint()?);
            let size = self.length_within(size, 1)?.unwrap_or(0);
            let outer_end = self.end;
            self.end = self.position + size;
            if !field(self, tag)? {
                self.position = self.end;
                self.unknown_tags = self.unknown_tags.saturating_add(1);
            }
            if self.position != self.end {
                return Err(self.error(DecodeProblem::TagSize(tag)));
            }
            self.end = outer_end;
        }
        Ok(())
    }

    /// Tagged fields of which none is known.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(false))
    }
}

/// The length in front of a frame.
const LENGTH_BYTES: usize = 4;

/// What is set aside for a frame at once: most need no more.
const FRAME_BYTES: usize = 512;

/// Writes a frame as a list of slices.
#[derive(Debug, Default)]
pub struct Writer {
    done: Vec<Bytes>,
    done_bytes: usize,
    buffer: Vec<u8>,
    field: &'static str,
}

impl Writer {
    /// An empty frame.
    #[must_use]
    pub fn new() -> Self {
        Self { field: "frame", ..Self::default() }
    }

    /// An empty frame with room for its length, which [`Writer::finish_frame`] fills in.
    #[must_use]
    pub(super) fn frame() -> Self {
        let mut buffer = Vec::with_capacity(FRAME_BYTES);
        buffer.extend_from_slice(&[0; LENGTH_BYTES]);
        Self { field: "frame", buffer, ..Self::default() }
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.done_bytes + self.buffer.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written, as slices in order; none is empty.
    #[must_use]
    pub fn finish(mut self) -> Vec<Bytes> {
        self.close_buffer();
        self.done
    }

    /// What was written since [`Writer::frame`], the frame's length in front: in the first slice, so that a small frame is one
    /// piece.
    ///
    /// Errors: the frame is 2³¹ bytes or longer.
    pub(super) fn finish_frame(mut self) -> Result<Vec<Bytes>, EncodeError> {
        let bytes = self.len() - LENGTH_BYTES;
        let too_long = EncodeError { field: "frame", problem: EncodeProblem::TooLong(bytes) };
        let length = i32::try_from(bytes).map_err(|_| too_long)?.to_be_bytes();
        match self.done.first_mut() {
            None => self.buffer[..LENGTH_BYTES].copy_from_slice(&length),
            Some(first) => {
                let mut again = first.to_vec();
                again[..LENGTH_BYTES].copy_from_slice(&length);
                *first = again.into();
            }
        }
        Ok(self.finish())
    }

    /// Names the field that is written next, for errors.
    pub fn at(&mut self, field: &'static str) {
        self.field = field;
    }

    /// The error that the field being written has this problem.
    #[must_use]
    pub fn error(&self, problem: EncodeProblem) -> EncodeError {
        EncodeError { field: self.field, problem }
    }

    fn close_buffer(&mut self) {
        if !self.buffer.is_empty() {
            let bytes = Bytes::from(std::mem::take(&mut self.buffer));
            self.done_bytes += bytes.len();
            self.done.push(bytes);
        }
    }

    /// Puts `bytes` as a slice of its own, without a copy.
    pub fn slice(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.close_buffer();
            self.done_bytes += bytes.len();
            self.done.push(bytes);
        }
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    /// One byte, signed.
    pub fn int8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    /// Two bytes, big-endian.
    pub fn int16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    /// Two bytes, big-endian, unsigned.
    pub fn uint16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    /// Four bytes, big-endian.
    pub fn int32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    /// Eight bytes, big-endian.
    pub fn int64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.buffer.put_slice(value.as_bytes());
    }

    /// Up to five bytes of seven bits, lowest first.
    pub fn unsigned_varint(&mut self, value: u32) {
        self.base_128(u64::from(value));
    }

    /// A zigzag varint of up to five bytes.
    pub fn varint(&mut self, value: i32) {
        self.base_128(u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()));
    }

    /// A zigzag varint of up to ten bytes.
    pub fn varlong(&mut self, value: i64) {
        self.base_128(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn base_128(&mut self, mut value: u64) {
        while value >= 0x80 {
            let [lowest, ..] = value.to_le_bytes();
            self.buffer.put_u8(lowest | 0x80);
            value >>= 7;
        }
        let [last, ..] = value.to_le_bytes();
        self.buffer.put_u8(last);
    }

    /// A value of ours, as its number.
    pub fn typed<T: Value>(&mut self, value: T) {
        value.to_wire().write(self);
    }

    /// A value of ours, or `none`.
    pub fn optional<T: Value>(&mut self, value: Option<T>, none: T::Raw) {
        value.map_or(none, T::to_wire).write(self);
    }

    /// Whether a nullable struct follows.
    pub fn present(&mut self, present: bool) {
        self.int8(if present { 1 } else { -1 });
    }

    /// A text. Errors: it is longer than [`STRING_BYTES_MAX`].
    pub fn string(&mut self, value: &str, flexible: bool) -> Result<(), EncodeError> {
        let length = i16::try_from(value.len())
            .map_err(|_| self.error(EncodeProblem::TooLong(value.len())))?;
        if flexible {
            self.unsigned_varint(u32::from(length.unsigned_abs()) + 1);
        } else {
            self.int16(length);
        }
        self.buffer.put_slice(value.as_bytes());
        Ok(())
    }

    /// A text or null.
    pub fn nullable_string(
        &mut self,
        value: Option<&str>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.string(value, flexible)?,
            None if flexible => self.unsigned_varint(0),
            None => self.int16(-1),
        }
        Ok(())
    }

    /// The length of a list or byte string. Errors: 2³¹ − 1 or more.
    pub fn length(&mut self, length: usize, flexible: bool) -> Result<(), EncodeError> {
        let value = i32::try_from(length)
            .ok()
            .filter(|value| *value < i32::MAX)
            .ok_or_else(|| self.error(EncodeProblem::TooLong(length)))?;
        if flexible {
            self.unsigned_varint(value.cast_unsigned() + 1);
        } else {
            self.int32(value);
        }
        Ok(())
    }

    /// The length that means null.
    pub fn null(&mut self, flexible: bool) {
        if flexible {
            self.unsigned_varint(0);
        } else {
            self.int32(-1);
        }
    }

    /// Bytes, copied.
    pub fn bytes(&mut self, value: &[u8], flexible: bool) -> Result<(), EncodeError> {
        self.length(value.len(), flexible)?;
        self.buffer.put_slice(value);
        Ok(())
    }

    /// Record batches, each slice as it is.
    pub fn records(&mut self, value: &Records, flexible: bool) -> Result<(), EncodeError> {
        self.length(value.len(), flexible)?;
        for slice in value.slices() {
            self.slice(slice.clone());
        }
        Ok(())
    }

    /// A tagged field: its tag, its size, and what `content` writes.
    pub fn tagged_field(
        &mut self,
        tag: u32,
        content: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut inner = Writer { field: self.field, ..Writer::default() };
        content(&mut inner)?;
        let size = u32::try_from(inner.len())
            .map_err(|_| self.error(EncodeProblem::TooLong(inner.len())))?;
        self.unsigned_varint(tag);
        self.unsigned_varint(size);
        for slice in &inner.done {
            self.slice(slice.clone());
        }
        self.buffer.put_slice(&inner.buffer);
        Ok(())
    }
}

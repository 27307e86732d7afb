//! The oracle's own reader of `__consumer_offsets`: written from the format alone, it shares nothing with the product but the bytes.
//!
//! What a log of records adds up to: the offsets, and the groups of both protocols. Compressed batches are not read.

use std::collections::BTreeMap;

use ottla::types::{GenerationId, ShortName};

use super::consumers_log::ConsumersFold;
use crate::checker::ghost::groups::LoadedGroup;

/// Bytes of a batch in front of its records.
const HEADER: usize = 61;

/// Whose offset: group, topic and partition.
pub(super) type OffsetKey = (String, String, i32);
/// An offset, and the topic's id, where that was written.
pub(super) type OffsetValue = (i64, Option<[u8; 16]>);

/// What the records of a log add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fold {
    /// Offsets.
    pub(super) offsets: BTreeMap<OffsetKey, OffsetValue>,
    /// Groups of the classic protocol, as of their last generation.
    pub(super) groups: BTreeMap<ShortName, LoadedGroup>,
    /// Groups of the consumer protocol.
    pub(super) consumers: BTreeMap<String, ConsumersFold>,
}

/// What cannot be read; says what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

impl Fold {
    /// Adds a batch, as it lies in the file.
    ///
    /// Errors: it is compressed, or is not one.
    pub(super) fn add(&mut self, batch: &[u8]) -> Result<(), Unreadable> {
        let header = batch.get(..HEADER).ok_or(Unreadable("a batch without a header"))?;
        let attributes = i16::from_be_bytes([header[21], header[22]]);
        if attributes & 7 != 0 {
            return Err(Unreadable("a compressed batch"));
        }
        let count = u32::from_be_bytes([header[57], header[58], header[59], header[60]]);
        let mut records = Input(&batch[HEADER..]);
        for _ in 0..count {
            let length = records.varint()?;
            let mut record = Input(records.take(length)?);
            record.take(1)?;
            record.varlong()?;
            record.varlong()?;
            let key = record.field()?.ok_or(Unreadable("a record without a key"))?;
            let value = record.field()?;
            self.add_record(key, value)?;
        }
        Ok(())
    }

    fn add_record(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Unreadable> {
        let mut key = Input(key);
        let kind = key.i16()?;
        match kind {
            0 | 1 => {
                let of = (key.string()?, key.string()?, key.i32()?);
                match value {
                    Some(value) => _ = self.offsets.insert(of, offset_value(value)?),
                    None => _ = self.offsets.remove(&of),
                }
            }
            2 => {
                let group = ShortName::of(&key.string()?);
                match value {
                    Some(value) => _ = self.groups.insert(group, classic_group(value)?),
                    None => _ = self.groups.remove(&group),
                }
            }
            kind if ConsumersFold::is_of_one(kind) => {
                let group = key.string()?;
                let known = self.consumers.entry(group.clone()).or_default();
                known.add(kind, &mut key, value)?;
                if *known == ConsumersFold::default() {
                    self.consumers.remove(&group);
                }
            }
            // Share groups and streams groups: nobody here has any.
            _ => {}
        }
        Ok(())
    }
}

/// Since version 4 a topic's id stands behind the rest, as a tagged field.
fn offset_value(value: &[u8]) -> Result<OffsetValue, Unreadable> {
    let mut value = Input(value);
    let version = value.i16()?;
    let offset = i64::from_be_bytes(value.array()?);
    if version < 4 {
        return Ok((offset, None));
    }
    // The leader epoch; the metadata, a compact text; the time.
    value.take(4)?;
    let length = value.unsigned()?;
    value.take(length.saturating_sub(1))?;
    value.take(8)?;
    let mut id = None;
    value.tagged(|tag, mut field| {
        if tag == 0 {
            id = Some(field.array()?).filter(|id| *id != [0; 16]);
        }
        Ok(())
    })?;
    Ok((offset, id))
}

fn classic_group(value: &[u8]) -> Result<LoadedGroup, Unreadable> {
    let mut value = Input(value);
    let version = value.i16()?;
    if version > 3 {
        return Err(Unreadable("a version that nobody writes"));
    }
    value.string()?;
    let generation = GenerationId::from_wire(value.i32()?).unwrap_or_default();
    // The assignor, the leader, and the time of the last step.
    value.nullable_string()?;
    value.nullable_string()?;
    value.take(if version >= 2 { 8 } else { 0 })?;
    let mut members = BTreeMap::new();
    for _ in 0..value.length()? {
        let member = ShortName::of(&value.string()?);
        if version >= 3 {
            value.nullable_string()?;
        }
        // Its client and host; how long a generation and a session last; what it reads.
        value.string()?;
        value.string()?;
        value.take(if version >= 1 { 8 } else { 4 })?;
        let subscription = value.length()?;
        value.take(subscription)?;
        let given = value.length()?;
        members.insert(member, fnv_1a(value.take(given)?));
    }
    Ok(LoadedGroup { generation, members })
}

/// What members were given is told by this hash of it (Fowler, Noll, Vo).
fn fnv_1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Bytes that are read from the front.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (head, rest) =
            self.0.split_at_checked(length).ok_or(Unreadable("a record that is cut off"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Unreadable> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Unreadable> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// A text with its length in two bytes.
    pub(super) fn string(&mut self) -> Result<String, Unreadable> {
        self.nullable_string()?.ok_or(Unreadable("a name that is none"))
    }

    fn nullable_string(&mut self) -> Result<Option<String>, Unreadable> {
        let length = usize::try_from(self.i16()?).ok();
        length.map(|length| self.text(length)).transpose()
    }

    /// A text that may be missing, in the compact form: a varint that is one more than its length.
    pub(super) fn compact_nullable_string(&mut self) -> Result<Option<String>, Unreadable> {
        let length = self.unsigned()?.checked_sub(1);
        length.map(|length| self.text(length)).transpose()
    }

    fn text(&mut self, length: usize) -> Result<String, Unreadable> {
        let text = std::str::from_utf8(self.take(length)?);
        text.map(str::to_owned).map_err(|_| Unreadable("a name that is no text"))
    }

    /// How many bytes or parts follow, in four bytes.
    fn length(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(self.i32()?).map_err(|_| Unreadable("a list that is missing"))
    }

    /// How many there are, in the compact form; none where the list is missing.
    pub(super) fn compact_count(&mut self) -> Result<usize, Unreadable> {
        Ok(self.unsigned()?.saturating_sub(1))
    }

    /// The tagged fields behind the others.
    pub(super) fn tagged(
        &mut self,
        mut each: impl FnMut(usize, Input<'a>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        for _ in 0..self.unsigned()? {
            let tag = self.unsigned()?;
            let length = self.unsigned()?;
            each(tag, Input(self.take(length)?))?;
        }
        Ok(())
    }

    /// Seven bits a byte, the lowest first.
    fn bits(&mut self) -> Result<u64, Unreadable> {
        let mut out = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(out);
            }
        }
        Err(Unreadable("a number without end"))
    }

    fn unsigned(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(self.bits()?).map_err(|_| Unreadable("a number that is too large"))
    }

    /// Signs alternate.
    fn varlong(&mut self) -> Result<i64, Unreadable> {
        let bits = self.bits()?;
        Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }

    fn varint(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(self.varlong()?).map_err(|_| Unreadable("a length that is none"))
    }

    /// A key or a value.
    fn field(&mut self) -> Result<Option<&'a [u8]>, Unreadable> {
        match usize::try_from(self.varlong()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }
}

//! The oracle's own reader of `__consumer_offsets`: written from the format alone, it shares nothing with the product but the bytes.
//!
//! What a log of records adds up to: the offsets and the groups of the classic protocol. Compressed batches are not read.

use std::collections::BTreeMap;

use bytes::Bytes;

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
    /// Generations of groups.
    pub(super) groups: BTreeMap<String, i32>,
}

/// What cannot be read; says what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

impl Fold {
    /// Adds a batch, as it lies in the file.
    ///
    /// Errors: it is compressed, or is not one.
    pub(super) fn add(&mut self, batch: &Bytes) -> Result<(), Unreadable> {
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
        match key.i16()? {
            0 | 1 => {
                let of = (key.string()?, key.string()?, key.i32()?);
                match value {
                    Some(value) => _ = self.offsets.insert(of, offset_value(value)?),
                    None => _ = self.offsets.remove(&of),
                }
            }
            2 => {
                let group = key.string()?;
                match value {
                    Some(value) => _ = self.groups.insert(group, generation(value)?),
                    None => _ = self.groups.remove(&group),
                }
            }
            // Groups of the consumer protocol.
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
    for _ in 0..value.unsigned()? {
        let tag = value.unsigned()?;
        let length = value.unsigned()?;
        let mut field = Input(value.take(length)?);
        if tag == 0 {
            id = Some(field.array()?).filter(|id| *id != [0; 16]);
        }
    }
    Ok((offset, id))
}

fn generation(value: &[u8]) -> Result<i32, Unreadable> {
    let mut value = Input(value);
    if value.i16()? > 3 {
        return Err(Unreadable("a version that nobody writes"));
    }
    value.string()?;
    value.i32()
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (head, rest) =
            self.0.split_at_checked(length).ok_or(Unreadable("a record that is cut off"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn i16(&mut self) -> Result<i16, Unreadable> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, Unreadable> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// A text with its length in two bytes.
    fn string(&mut self) -> Result<String, Unreadable> {
        let length = usize::try_from(self.i16()?).map_err(|_| Unreadable("a name that is none"))?;
        let text = std::str::from_utf8(self.take(length)?);
        text.map(str::to_owned).map_err(|_| Unreadable("a name that is no text"))
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

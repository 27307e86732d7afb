//! Zigzag varints, the numbers inside a record.
//!
//! Kafka: `ByteUtils.readVarint`, `readVarlong`, `sizeOfVarint`.

use super::RecordFault;

/// A varint of 32 bits has at most this many bytes.
const VARINT_BYTES_MAX: u32 = 5;
/// A varlong of 64 bits has at most this many bytes.
const VARLONG_BYTES_MAX: u32 = 10;

/// Reads one unsigned LEB128 number of at most `bytes_max` bytes off the front of `input`.
fn read_unsigned(input: &mut &[u8], bytes_max: u32) -> Result<u64, RecordFault> {
    // Nearly all are one byte long, and every record that a broker takes has six of them or more.
    if let [byte @ 0..0x80, rest @ ..] = *input {
        *input = rest;
        return Ok(u64::from(*byte));
    }
    let mut value = 0u64;
    for index in 0..bytes_max {
        let (byte, rest) = input.split_first().ok_or(RecordFault::Truncated)?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(RecordFault::VarintTooLong)
}

/// Reads a varint; bits beyond the 32nd are dropped, as Kafka drops them.
pub(super) fn read_varint(input: &mut &[u8]) -> Result<i32, RecordFault> {
    let raw = read_unsigned(input, VARINT_BYTES_MAX)?;
    let raw = u32::try_from(raw & u64::from(u32::MAX)).expect("masked to 32 bits");
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Reads a varlong.
pub(super) fn read_varlong(input: &mut &[u8]) -> Result<i64, RecordFault> {
    let raw = read_unsigned(input, VARLONG_BYTES_MAX)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Appends a varlong. A varint of the same value has the same bytes.
pub(super) fn write_varlong(value: i64, out: &mut Vec<u8>) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

/// How many bytes [`write_varlong`] appends.
pub(super) const fn varlong_size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varlongs_read_back_and_their_size_is_known(value: i64) {
            let mut out = Vec::new();
            write_varlong(value, &mut out);
            prop_assert_eq!(out.len(), varlong_size(value));
            let mut input = out.as_slice();
            prop_assert_eq!(read_varlong(&mut input), Ok(value));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn varints_read_back(value: i32) {
            let mut out = Vec::new();
            write_varlong(i64::from(value), &mut out);
            prop_assert_eq!(read_varint(&mut out.as_slice()), Ok(value));
        }
    }

    #[test]
    fn endless_and_cut_varints_are_faults() {
        assert_eq!(read_varint(&mut [0x80; 5].as_slice()), Err(RecordFault::VarintTooLong));
        assert_eq!(read_varlong(&mut [0x80; 10].as_slice()), Err(RecordFault::VarintTooLong));
        assert_eq!(read_varint(&mut [0x80; 4].as_slice()), Err(RecordFault::Truncated));
        assert_eq!(varlong_size(0), 1);
        assert_eq!(varlong_size(i64::MIN), 10);
    }
}

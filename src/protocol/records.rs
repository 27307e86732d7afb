//! Record bytes on their way between socket and file.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// Record batches as a list of slices, in order. Never copied on the way from a frame to a file, or back.
///
/// What the bytes say is not looked at here: see `record_batch`.
#[derive(Clone, Default)]
pub struct Records {
    slices: Vec<Bytes>,
    len: usize,
}

impl Records {
    /// No records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a slice.
    pub fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.len += slice.len();
            self.slices.push(slice);
        }
    }

    /// The slices in order; none is empty.
    #[must_use]
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// The slices in order; none is empty.
    #[must_use]
    pub fn into_slices(self) -> Vec<Bytes> {
        self.slices
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes in one piece: without a copy where there is one slice.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self.slices.as_slice() {
            [] => Bytes::new(),
            [slice] => slice.clone(),
            slices => {
                let mut joined = BytesMut::with_capacity(self.len);
                for slice in slices {
                    joined.extend_from_slice(slice);
                }
                joined.freeze()
            }
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        let mut records = Self::new();
        records.push(bytes);
        records
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(slices: I) -> Self {
        let mut records = Self::new();
        for slice in slices {
            records.push(slice);
        }
        records
    }
}

impl Extend<Bytes> for Records {
    fn extend<I: IntoIterator<Item = Bytes>>(&mut self, slices: I) {
        for slice in slices {
            self.push(slice);
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes)", self.len)
    }
}

/// Equal bytes, however they are sliced.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |records: &Self| records.slices.clone().into_iter().flatten();
        self.len == other.len && bytes(self).eq(bytes(other))
    }
}

impl Eq for Records {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_equal_however_they_are_sliced() {
        let whole = Records::from(Bytes::from_static(b"abcdef"));
        let parts: Records =
            [&b"ab"[..], b"", b"cdef"].into_iter().map(Bytes::from_static).collect();
        assert_eq!(whole, parts);
        assert_eq!(parts.slices().len(), 2);
        assert_eq!(parts.to_bytes(), "abcdef");
        assert_ne!(whole, Records::from(Bytes::from_static(b"abcdeg")));
    }
}

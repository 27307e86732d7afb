//! A name, inline: what an observation says of a group or a member.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name of any length without heap, for observations: its beginning, and a hash of the whole, by which two names that begin alike
/// are told apart.
///
/// Two are equal where the names are, but for one in 2³² of those that begin alike and are longer than [`ShortName::CAPACITY`] bytes.
/// Nothing is decided by it: shapes keep their names whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShortName {
    /// UTF-8, filled up with zeros.
    text: [u8; Self::CAPACITY],
    len: u8,
    /// FNV-1a of the whole name, where that is longer; else 0.
    hash: u32,
}

impl ShortName {
    /// How many bytes of the name it holds.
    pub const CAPACITY: usize = 19;

    /// The name `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let end = name.floor_char_boundary(Self::CAPACITY);
        let mut text = [0; Self::CAPACITY];
        text[..end].copy_from_slice(&name.as_bytes()[..end]);
        let hash = if end < name.len() { fnv_1a(name.as_bytes()).max(1) } else { 0 };
        Self { text, len: u8::try_from(end).expect("at most the capacity"), hash }
    }

    /// Whether it is the whole name that is shown.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.hash == 0
    }

    fn shown(&self) -> &str {
        let text = self.text.get(..usize::from(self.len)).unwrap_or(&self.text);
        // What came from elsewhere as JSON may be anything.
        std::str::from_utf8(text).unwrap_or("?")
    }
}

/// A hash that tells apart what people and clients name; not for secrets (Fowler, Noll, Vo).
#[must_use]
pub(crate) fn fnv_1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())?;
        if self.is_whole() { Ok(()) } else { write!(f, "…{:08x}", self.hash) }
    }
}

impl fmt::Debug for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_fits_is_shown_as_it_is_and_a_longer_one_by_its_beginning() {
        for name in ["", "audit", "exactly-19-letters!"] {
            assert_eq!(ShortName::of(name).to_string(), name);
            assert!(ShortName::of(name).is_whole());
        }
        let member = ShortName::of("reader/0-1b2c3d4e-5f6a-4b7c-8d9e-000000000000");
        assert_eq!(member.to_string(), "reader/0-1b2c3d4e-5…959041d4");
        // Cut between letters, not between bytes.
        assert_eq!(ShortName::of(&"ü".repeat(10)).shown(), "ü".repeat(9));
    }

    #[test]
    fn names_that_begin_alike_are_told_apart() {
        let member = |last: u32| ShortName::of(&format!("reader/0-1b2c3d4e-5f6a-4b7c-{last}"));
        assert_ne!(member(1), member(2));
        assert_eq!(member(1), member(1));
        assert_ne!(ShortName::of("a"), ShortName::of("a\0"));
    }
}

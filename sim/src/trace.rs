//! The running hash of everything that happened: equal seeds, equal hash.
//!
//! It covers every observation, disk operation and network segment, contents included, with virtual time and node. A
//! recording beside it names the first event that differs between two runs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::world::{NodeId, SimTime};

/// A hash of a whole run. Prints as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceHash(u128);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What kind of thing an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A shape spoke of itself.
    Observation,
    /// A file or directory was changed or read.
    Disk,
    /// Bytes, an opening or an end of a connection arrived.
    Network,
    /// The testbed did something: a start, a fault, a panic.
    World,
}

/// One thing that happened, where a recording was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: SimTime,
    /// To whom.
    pub node: NodeId,
    /// What kind of thing.
    pub kind: Kind,
    /// In words, without the content's bytes.
    pub text: String,
    /// The running hash after it: differs from the first difference on, also where only contents differ.
    pub hash: TraceHash,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}: {} (hash {})", self.at, self.node, self.kind, self.text, self.hash)
    }
}

/// The trace of a finished run.
#[derive(Clone, Debug)]
pub struct TraceResult {
    /// The hash over all entries.
    pub hash: TraceHash,
    /// How many entries there were.
    pub entries: u64,
    /// The entries themselves, where a recording was asked for.
    pub recording: Option<Vec<Entry>>,
}

/// Why two traces do not prove the same run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceDifference {
    /// One of them covers nothing: that two empty traces agree says nothing.
    #[error("a trace is empty: nothing was compared")]
    Empty,
    /// They differ, and one of them has no recording.
    #[error("the hashes differ: {left} and {right}")]
    Hash {
        /// The first run's.
        left: TraceHash,
        /// The second run's.
        right: TraceHash,
    },
    /// They differ, from this entry on.
    #[error("entry {index} is the first that differs:\n  {left}\n  {right}")]
    Entry {
        /// Its number, from 0.
        index: usize,
        /// What the first run did there, or that it had ended.
        left: String,
        /// What the second run did there, or that it had ended.
        right: String,
    },
}

impl TraceResult {
    /// Holds two runs of one seed against each other.
    ///
    /// Errors: they differ, or one is empty.
    pub fn compare(&self, other: &TraceResult) -> Result<(), TraceDifference> {
        if self.entries == 0 || other.entries == 0 {
            return Err(TraceDifference::Empty);
        }
        if self.hash == other.hash && self.entries == other.entries {
            return Ok(());
        }
        let (Some(left), Some(right)) = (&self.recording, &other.recording) else {
            return Err(TraceDifference::Hash { left: self.hash, right: other.hash });
        };
        let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
        let text = |entries: &[Entry]| {
            entries.get(same).map_or_else(|| "(ended before)".to_owned(), Entry::to_string)
        };
        Err(TraceDifference::Entry { index: same, left: text(left), right: text(right) })
    }
}

/// The trace of a run under way.
#[derive(Debug)]
pub struct Trace(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mixer,
    entries: u64,
    recording: Option<Vec<Entry>>,
}

impl Trace {
    /// An empty trace; `recording` keeps the entries too.
    #[must_use]
    pub fn new(recording: bool) -> Self {
        let recording = recording.then(Vec::new);
        Self(Mutex::new(Inner { state: Mixer::default(), entries: 0, recording }))
    }

    /// Adds what `hashed` is to the hash; `text` is called only for a recording.
    pub fn add(
        &self,
        at: SimTime,
        node: NodeId,
        kind: Kind,
        hashed: impl FnOnce(&mut Mixer),
        text: impl FnOnce() -> String,
    ) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.state.word(at.nanos());
        inner.state.word((u64::from(node.0) << 8) | kind as u64);
        hashed(&mut inner.state);
        inner.entries += 1;
        if inner.recording.is_some() {
            let hash = inner.state.finished();
            let entry = Entry { at, node, kind, text: text(), hash };
            inner.recording.as_mut().expect("looked at above").push(entry);
        }
    }

    /// The hash so far, and the recording if there is one (it is taken out).
    #[must_use]
    pub fn result(&self) -> TraceResult {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        TraceResult {
            hash: inner.state.finished(),
            entries: inner.entries,
            recording: inner.recording.take(),
        }
    }
}

/// The state of the hash: 128 bits in two lanes, a multiplication a lane for each 8 bytes. Each step is a bijection of the
/// state, so nothing once mixed in can be lost. Not a defence against anybody: a fingerprint.
#[derive(Clone, Debug)]
pub struct Mixer {
    left: u64,
    right: u64,
}

impl Default for Mixer {
    fn default() -> Self {
        // The first digits of pi (Blowfish's first constants): nothing up the sleeve.
        Self { left: 0x243f_6a88_85a3_08d3, right: 0x1319_8a2e_0370_7344 }
    }
}

impl Mixer {
    /// Mixes in 64 bits.
    pub fn word(&mut self, word: u64) {
        self.left =
            (self.left ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ self.right;
        self.right = self
            .right
            .wrapping_add(word.rotate_left(17))
            .wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
            .rotate_left(29)
            .wrapping_add(self.left);
    }

    /// Mixes in bytes, and how many there are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.word(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0u8; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    /// Mixes in any plain value by its `Hash`.
    pub fn value(&mut self, value: &impl Hash) {
        value.hash(self);
    }

    fn finished(&self) -> TraceHash {
        use crate::world::mix;
        let (left, right) = (mix(self.left), mix(self.right ^ self.left.rotate_left(23)));
        TraceHash((u128::from(left) << 64) | u128::from(right))
    }
}

// The same on every machine: integers are widened to 64 bits, whatever their order of bytes.
impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.left ^ self.right
    }

    fn write(&mut self, bytes: &[u8]) {
        self.bytes(bytes);
    }

    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.word(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(content: &[&[u8]]) -> TraceResult {
        let trace = Trace::new(true);
        for (index, bytes) in content.iter().enumerate() {
            let at = SimTime(index as u64);
            trace.add(at, NodeId(1), Kind::Disk, |m| m.bytes(bytes), || format!("write {index}"));
        }
        trace.result()
    }

    #[test]
    fn one_bit_of_content_is_named_as_the_first_difference() {
        let left = hash_of(&[b"same", b"record", b"end"]);
        let right = hash_of(&[b"same", b"recore", b"end"]);
        let Err(TraceDifference::Entry { index, .. }) = left.compare(&right) else {
            panic!("a difference in the content alone was not seen")
        };
        assert_eq!(index, 1);
        assert_eq!(left.compare(&hash_of(&[b"same", b"record", b"end"])), Ok(()));
    }

    #[test]
    fn one_that_ended_early_differs() {
        let difference = hash_of(&[b"a", b"b"]).compare(&hash_of(&[b"a"])).expect_err("differ");
        assert!(difference.to_string().contains("(ended before)"), "{difference}");
    }

    #[test]
    fn empty_traces_prove_nothing() {
        assert_eq!(hash_of(&[]).compare(&hash_of(&[])), Err(TraceDifference::Empty));
    }

    #[test]
    fn bounds_of_pieces_and_zeros_count() {
        let all = [
            hash_of(&[b"ab", b"c"]),
            hash_of(&[b"a", b"bc"]),
            hash_of(&[b"abc"]),
            hash_of(&[b"abc\0"]),
            hash_of(&[b"abc\0\0"]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|other| other.hash != one.hash));
        }
    }
}

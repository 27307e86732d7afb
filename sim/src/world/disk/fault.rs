//! Faults of a disk: slow, full, failing, rotten. Each can be lifted.

use std::io;

use super::super::{Distribution, Draw, SimTime};

/// What is asked of a disk, as far as faults tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Bytes of a file are read.
    Read,
    /// Bytes of a file are written, or its length is set.
    Write,
    /// A file is synced.
    Sync,
    /// A directory is synced.
    SyncDir,
    /// A file is opened or made.
    Open,
    /// A name is made, changed, removed or listed.
    Name,
}

/// How long a disk takes. Zero everywhere unless a scenario says otherwise: a page-cache access then is ready at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLatency {
    /// For a read.
    pub read: Distribution,
    /// For a write.
    pub write: Distribution,
    /// For a sync of a file or a directory.
    pub sync: Distribution,
    /// For everything else: open, rename, remove, list.
    pub name: Distribution,
}

impl Default for DiskLatency {
    fn default() -> Self {
        let zero = Distribution::ZERO;
        Self { read: zero.clone(), write: zero.clone(), sync: zero.clone(), name: zero }
    }
}

impl DiskLatency {
    fn of(&self, operation: Operation) -> &Distribution {
        match operation {
            Operation::Read => &self.read,
            Operation::Write => &self.write,
            Operation::Sync | Operation::SyncDir => &self.sync,
            Operation::Open | Operation::Name => &self.name,
        }
    }
}

/// Operations that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// Which operations.
    pub operations: Vec<Operation>,
    /// On which paths: `*` stands for anything, `/` included.
    pub path: String,
    /// With which error.
    pub error: io::ErrorKind,
    /// How many times, after which the fault is over; `None` for until it is lifted.
    pub count: Option<u32>,
    /// With which chance each time, in a million.
    pub chance: u32,
}

impl DiskError {
    /// Every one of `operations` on `path` fails with an input/output error until it is lifted.
    #[must_use]
    pub fn always(operations: &[Operation], path: &str) -> Self {
        let path = path.to_owned();
        let error = io::ErrorKind::Other;
        Self { operations: operations.to_vec(), path, error, count: None, chance: 1_000_000 }
    }

    /// The same, but only the next `count` times.
    #[must_use]
    pub fn times(operations: &[Operation], path: &str, count: u32) -> Self {
        Self { count: Some(count), ..Self::always(operations, path) }
    }
}

/// Names a fault, for lifting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskFaultId(pub(super) u64);

/// The faults of one disk.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) latency: DiskLatency,
    /// Nothing is finished before this moment.
    pub(super) stalled_until: SimTime,
    /// How many bytes fit.
    pub(super) capacity: Option<u64>,
    /// As if nothing fitted any more.
    pub(super) full: bool,
    errors: Vec<(DiskFaultId, DiskError)>,
    misdirected: Vec<(DiskFaultId, String, u32)>,
    next_id: u64,
    /// How often a fault took effect.
    taken: u64,
    /// In words, those that were not told yet.
    untold: Vec<String>,
}

impl Faults {
    /// Notes that a fault met an operation.
    pub(super) fn took_effect(&mut self, what: String) {
        self.taken += 1;
        self.untold.push(what);
    }

    /// How often one did.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// What was noted since the last call.
    pub(super) fn take_untold(&mut self) -> Vec<String> {
        std::mem::take(&mut self.untold)
    }

    fn new_id(&mut self) -> DiskFaultId {
        self.next_id += 1;
        DiskFaultId(self.next_id)
    }

    pub(super) fn add_error(&mut self, error: DiskError) -> DiskFaultId {
        let id = self.new_id();
        self.errors.push((id, error));
        id
    }

    pub(super) fn add_misdirected(&mut self, path: &str, count: u32) -> DiskFaultId {
        let id = self.new_id();
        self.misdirected.push((id, path.to_owned(), count));
        id
    }

    pub(super) fn lift(&mut self, id: DiskFaultId) {
        self.errors.retain(|(known, _)| *known != id);
        self.misdirected.retain(|(known, ..)| *known != id);
    }

    /// Everything but the latency that the scenario gave as the ordinary one.
    pub(super) fn lift_all(&mut self) {
        self.errors.clear();
        self.misdirected.clear();
        self.stalled_until = SimTime(0);
        self.full = false;
    }

    /// The error that this operation meets.
    pub(super) fn error(
        &mut self,
        operation: Operation,
        path: &str,
        draw: &mut Draw,
    ) -> Option<io::Error> {
        let hit = self.errors.iter_mut().find(|(_, fault)| {
            fault.operations.contains(&operation)
                && fault.count != Some(0)
                && matches(&fault.path, path)
                && draw.chance(fault.chance)
        });
        let (_, fault) = hit?;
        fault.count = fault.count.map(|count| count - 1);
        let error = fault.error;
        self.took_effect(format!("disk-error {operation:?} {path}"));
        Some(io::Error::new(error, format!("injected: {operation:?} of {path}")))
    }

    /// Whether this write goes astray.
    pub(super) fn misdirects(&mut self, path: &str) -> bool {
        let hit = self
            .misdirected
            .iter_mut()
            .find(|(_, pattern, count)| *count > 0 && matches(pattern, path));
        let Some((_, _, count)) = hit else { return false };
        *count -= 1;
        self.took_effect(format!("misdirected {path}"));
        true
    }

    /// When an operation that begins now is finished; `None` where it takes no time.
    pub(super) fn finished_at(
        &self,
        now: SimTime,
        operation: Operation,
        draw: &mut Draw,
    ) -> Option<SimTime> {
        let latency = self.latency.of(operation);
        let takes = if latency.is_zero() { 0 } else { latency.draw(draw) };
        let end = SimTime(now.nanos() + takes).max(self.stalled_until);
        (end > now).then_some(end)
    }
}

/// Whether `text` is what `pattern` says; `*` stands for any text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().expect("split yields one part at least");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_people_expect() {
        let yes = [
            ("*", ""),
            ("a", "a"),
            ("*.log", "/d/0.log"),
            ("/d/*.log", "/d/0.log"),
            ("*t-0*", "/t-0/x"),
            ("a*b*c", "abbc"),
        ];
        let no = [("a", "ab"), ("*.log", "/d/0.index"), ("a*a", "a"), ("", "x")];
        assert!(yes.iter().all(|(pattern, text)| matches(pattern, text)));
        assert!(no.iter().all(|(pattern, text)| !matches(pattern, text)));
    }

    #[test]
    fn a_counted_error_is_over_after_its_count() {
        let mut faults = Faults::default();
        faults.add_error(DiskError::times(&[Operation::Sync], "*.log", 2));
        let mut draw = Draw::new(1, "test");
        let mut fails = |path| faults.error(Operation::Sync, path, &mut draw).is_some();
        assert_eq!(
            [fails("a.log"), fails("a.index"), fails("a.log"), fails("a.log")],
            [true, false, true, false]
        );
    }
}

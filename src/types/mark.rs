//! Marks: "this rare but legal branch was reached", a bit set of the running thread.
//!
//! Always compiled in; the testbed reads the set at the end of a seed (one seed, one thread), the real build never does.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// More marks than this in one thread are a bug of the caller: names are constants.
pub const MARKS_MAX: usize = 4096;

thread_local! {
    static REACHED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// Notes that the branch called `name` was reached. Use the macro [`crate::mark!`].
pub fn mark_reached(name: &'static str) {
    REACHED.with_borrow_mut(|reached| {
        if !reached.contains(name) {
            assert!(reached.len() < MARKS_MAX, "mark names are constants");
            reached.insert(name);
        }
    });
}

/// The marks this thread reached since [`marks_clear`].
#[must_use]
pub fn marks_reached() -> BTreeSet<&'static str> {
    REACHED.with_borrow(Clone::clone)
}

/// Forgets this thread's marks.
pub fn marks_clear() {
    REACHED.with_borrow_mut(BTreeSet::clear);
}

/// Notes that a rare but legal branch was reached, so that a scenario can prove it went there.
#[macro_export]
macro_rules! mark {
    ($name:literal) => {
        $crate::types::mark_reached($name)
    };
}

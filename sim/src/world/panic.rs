//! Panics inside the world are evidence, not the end of the testbed.
//!
//! madsim ends the node of a task that panicked (`restart_on_panic`; each of our boots is a madsim node of its own, so that
//! the late restart finds nothing to start). The message is kept by a panic hook of the thread that runs the world.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::Once;

thread_local! {
    /// `Some` on a thread that runs a world: what panicked and was not yet noticed.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Keeps this thread's panics from now on. The hook is the process's one, set once; other threads get the hook before it.
pub(crate) fn keep_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !keep(info) {
                before(info);
            }
        }));
    });
    PANICS.with_borrow_mut(|panics| *panics = Some(Vec::new()));
}

/// Whether it was kept. A backtrace, if one is asked for (`RUST_BACKTRACE`), goes to standard error: the message is part of
/// the trace, and must be the same on every machine.
fn keep(info: &PanicHookInfo<'_>) -> bool {
    let payload = info.payload();
    let words = payload.downcast_ref::<&str>().copied();
    let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = words.unwrap_or("(a panic without words)");
    let place = info.location().map_or_else(String::new, |place| {
        format!(" at {}:{}", portable(place.file()), place.line())
    });
    let message = format!("{message}{place}");
    PANICS
        .try_with(|panics| {
            let Ok(mut panics) = panics.try_borrow_mut() else { return false };
            let Some(panics) = panics.as_mut() else { return false };
            let trace = Backtrace::capture();
            if trace.status() == BacktraceStatus::Captured {
                eprintln!("{message}\n{trace}");
            }
            panics.push(message);
            true
        })
        .unwrap_or(false)
}

/// The path of a source file without what is particular to this machine: where its registry of crates lies.
fn portable(file: &str) -> &str {
    let Some((_, inside)) = file.split_once("/registry/src/") else { return file };
    inside.split_once('/').map_or(inside, |(_, file)| file)
}

/// The panics of this thread since the last call, oldest first.
pub(crate) fn take_panics() -> Vec<String> {
    PANICS.with_borrow_mut(|panics| panics.as_mut().map(std::mem::take).unwrap_or_default())
}

/// Whether there are any.
pub(crate) fn any_panics() -> bool {
    PANICS.with_borrow(|panics| panics.as_ref().is_some_and(|panics| !panics.is_empty()))
}

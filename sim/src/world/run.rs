//! One seed, one fresh thread, one world; and its end without a trace in memory.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use madsim::runtime::Runtime;

use super::{EventSink, Events, NoSink, SimTime, World, panic};
use crate::trace::TraceResult;

/// What a world is made from.
#[derive(Clone)]
pub struct WorldOptions {
    /// Everything random comes from it.
    pub seed: u64,
    /// Whether to keep the trace's entries, to name the first that differs.
    pub recording: bool,
    /// Who hears what happens.
    pub sink: Arc<dyn EventSink>,
}

impl WorldOptions {
    /// A world of `seed` that nobody listens to.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, recording: false, sink: Arc::new(NoSink) }
    }

    /// Keeps the trace's entries too.
    #[must_use]
    pub fn recording(mut self) -> Self {
        self.recording = true;
        self
    }

    /// Tells `sink` what happens.
    #[must_use]
    pub fn sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sink = sink;
        self
    }
}

impl fmt::Debug for WorldOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorldOptions").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// A world that has ended.
#[derive(Clone, Debug)]
pub struct Finished<T> {
    /// What the main future returned.
    pub value: T,
    /// The trace.
    pub trace: TraceResult,
    /// How long it lasted, in its own time.
    pub lasted: SimTime,
    /// How many frames of Kafka's protocol began to travel.
    pub frames: u64,
}

/// The testbed itself panicked: in the main future, or in the world's own task.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the testbed panicked under seed {seed}: {message}")]
pub struct WorldFailed {
    /// The seed.
    pub seed: u64,
    /// What was said, and where.
    pub message: String,
}

/// Runs `main` in a new world on a new thread, ends everything in it, and returns what it returned.
///
/// A panic of a node is an event, not an error. Errors: the testbed's own code panicked.
pub fn run<T, F>(
    options: WorldOptions,
    main: impl FnOnce(Arc<World>) -> F + Send + 'static,
) -> Result<Finished<T>, WorldFailed>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let seed = options.seed;
    let thread = std::thread::Builder::new().name(format!("seed {seed}"));
    let thread = thread.spawn(move || {
        panic::keep_panics();
        ottla::types::marks_clear();
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(in_world(options, main)));
        let result = std::panic::catch_unwind(run);
        drop(runtime);
        result.map_err(|payload| {
            // What a test's assertion said is kept by the hook; a panic resumed from elsewhere only has its payload.
            let kept = panic::take_panics().join("\nand then: ");
            let words = payload.downcast_ref::<String>().cloned();
            let words = words.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            let message = if kept.is_empty() { words.unwrap_or_default() } else { kept };
            WorldFailed { seed, message }
        })
    });
    thread.expect("a thread can be started").join().expect("its panics are caught")
}

async fn in_world<T, F: Future<Output = T>>(
    options: WorldOptions,
    main: impl FnOnce(Arc<World>) -> F,
) -> Finished<T> {
    let world = World::new(&options);
    let pump = tokio::spawn(Events::run(Arc::clone(&world)));
    let value = main(Arc::clone(&world)).await;
    let (lasted, trace) = (world.now(), world.trace.result());
    let frames = world.net.frames();
    world.end_all().await;
    // The world's task and stored wakers keep the world alive: without this, 32 MB a seed leaked (measured).
    pump.abort();
    world.events.close();
    world.net.clear();
    for machine in world.machines() {
        machine.disk.wipe();
    }
    madsim::time::sleep(Duration::from_millis(1)).await;
    Finished { value, trace, lasted, frames }
}

//! A client: a thread with a runtime of its own, so that nothing of it is left where it is killed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use ottla::runtime::{BoxFuture, Env, real_env_at, watch};

use super::{Deaf, Machine, NodeContext, Process, ProcessEnd, World, WorldEvent};

/// Starts it; it ends by itself, or when `kills` turns true.
#[expect(clippy::disallowed_methods, reason = "a client is a thread of the testbed's own")]
pub(super) fn start(
    world: &Arc<World>,
    machine: &Arc<Machine>,
    process: &Arc<Process>,
    kills: watch::Receiver<bool>,
    main: impl FnOnce(NodeContext) -> BoxFuture<'static, ProcessEnd> + Send + 'static,
) -> JoinHandle<()> {
    // Not the world itself: its end waits for this thread.
    let (weak, machine, process) =
        (Arc::downgrade(world), Arc::clone(machine), Arc::clone(process));
    let seed = world.seed_of(machine.node, process.boot);
    let address = machine.address;
    std::thread::spawn(move || {
        let lived = catch_unwind(AssertUnwindSafe(|| live(address, seed, kills, main)));
        let Some(world) = weak.upgrade() else { return };
        let node = machine.node;
        let event = match lived {
            Ok(Ok(Some(end))) => WorldEvent::Ended { node, end },
            // Whoever killed it has told.
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                WorldEvent::Ended { node, end: ProcessEnd::Failed(error.to_string()) }
            }
            Err(payload) => {
                let words = payload.downcast_ref::<String>().cloned();
                let words =
                    words.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
                WorldEvent::Panicked { node, message: words.unwrap_or_default() }
            }
        };
        world.bury(&machine, &process, &event);
    })
}

/// Errors: no runtime can be made.
fn live(
    address: std::net::IpAddr,
    seed: u64,
    mut kills: watch::Receiver<bool>,
    main: impl FnOnce(NodeContext) -> BoxFuture<'static, ProcessEnd>,
) -> std::io::Result<Option<ProcessEnd>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let env = Env { seed, ..real_env_at(Some(address), Arc::new(Deaf), 1)? };
    Ok(runtime.block_on(async {
        tokio::select! {
            biased;
            _ = kills.wait_for(|kill| *kill) => None,
            end = main(NodeContext { env }) => Some(end),
        }
    }))
}

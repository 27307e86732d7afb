//! A whole broker whose segments are thrown away: what it costs beside the write.

use std::path::Path;
use std::sync::Arc;

use ottla::runtime::real_env;
use ottla::server::{FormatOptions, Node, format};

use super::disk::{BenchDisk, Segments};
use super::partition::{Deaf, config};

/// Serves on loopback until the process is ended. Prints the port.
pub(crate) fn run(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let mut env = real_env(Arc::new(Deaf), 1).expect("there is a world");
        let real = env.disk.clone();
        env.disk = Arc::new(BenchDisk { real, segments: Segments::Discarded });
        let config = config(dir);
        format(&config, FormatOptions::default(), &env).await.expect("it can be formatted");
        let node = Node::start(config, env).await.expect("it can start");
        println!("{}", node.listeners()[0].1);
        node.ended().await;
    });
}

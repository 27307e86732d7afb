//! What keeps a node from starting, and in which words.

use ottla::server::{FormatOptions, Node, format};
use ottla::types::Uuid;
use std::sync::Arc;

use crate::support::{Heard, Server, config, env, run};

/// The words of a start that fails, with the directory replaced by `DIR`.
fn start_error(dir: &std::path::Path, more: &[(&str, &str)]) -> String {
    let env = env(Arc::new(Heard::default()));
    let error = run(Node::start(config(dir, more), env)).map(|_| ()).unwrap_err();
    error.to_string().replace(&dir.display().to_string(), "DIR")
}

#[test]
fn an_unformatted_directory_says_what_to_type() {
    let dir = tempfile::tempdir().unwrap();
    let error = start_error(dir.path(), &[]);
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains("ottla format -c server.properties"), "{error}");
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let env = env(Arc::new(Heard::default()));
    run(format(&config(dir.path(), &[]), FormatOptions::default(), &env)).unwrap();
    let other = [("node.id", "2"), ("controller.quorum.voters", "2@127.0.0.1:9093")];
    let error = start_error(dir.path(), &other);
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains("it belongs to node 1, this is node 2"), "{error}");
}

#[test]
fn directories_of_two_clusters_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["a", "b"] {
        let env = env(Arc::new(Heard::default()));
        run(format(&config(&path(name), &[]), FormatOptions::default(), &env)).unwrap();
    }
    let both = format!("{},{}", path("a").display(), path("b").display());
    let error = start_error(dir.path(), &[("log.dirs", &both)]);
    assert!(error.contains("it belongs to cluster"), "{error}");
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let error = start_error(dir.path(), &[]);
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains("another process holds its lock"), "{error}");
    server.stop();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let env = env(Arc::new(Heard::default()));
    run(format(&config(dir.path(), &[]), FormatOptions::default(), &env)).unwrap();
    let listeners = format!("PLAINTEXT://{address},CONTROLLER://127.0.0.1:0");
    let error = start_error(dir.path(), &[("listeners", &listeners)]);
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains(&format!("PLAINTEXT://{address}")), "{error}");
}

#[test]
fn formatting_twice_is_refused_or_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let env = env(Arc::new(Heard::default()));
    let config = config(dir.path(), &[]);
    let cluster_id = Uuid::parse("4L6g3nShT-eMCtK--X86sw");
    let first = FormatOptions { cluster_id, ..FormatOptions::default() };
    let formatted = run(format(&config, first.clone(), &env)).unwrap();
    assert_eq!(formatted.cluster_id, "4L6g3nShT-eMCtK--X86sw");
    assert_eq!(formatted.formatted, [dir.path()]);

    let error = run(format(&config, first.clone(), &env)).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains("it belongs to cluster 4L6g3nShT-eMCtK--X86sw, node 1"), "{error}");

    let again = FormatOptions { ignore_formatted: true, ..FormatOptions::default() };
    let formatted = run(format(&config, again, &env)).unwrap();
    assert_eq!(formatted.cluster_id, "4L6g3nShT-eMCtK--X86sw");
    assert_eq!(formatted.skipped, [dir.path()]);

    let other = FormatOptions {
        cluster_id: Uuid::parse("AAAAAAAAAAAAAAAAAAAAAQ"),
        ignore_formatted: true,
        ..FormatOptions::default()
    };
    let error = run(format(&config, other, &env)).unwrap_err().to_string();
    assert!(error.contains("it belongs to cluster"), "{error}");
}

//! The tree keeps its shape: who may import whom, where the simulated build may be named, what the shipped binary contains.
#![cfg(not(madsim))]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each directory of `src/` and the directories it may import, beside itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("protocol", &["types"]),
    ("log", &["types", "protocol"]),
    ("metadata", &["types", "protocol"]),
    ("raft", &["types", "protocol", "log"]),
    ("replica", &["types", "protocol", "log"]),
    ("controller", &["types", "protocol", "metadata"]),
    ("broker", &["types", "protocol", "metadata"]),
    ("coordinator", &["types", "protocol"]),
    ("client", &["types", "protocol", "rpc"]),
    ("rpc", &["types", "protocol"]),
    ("runtime", &["types"]),
    ("storage", &["types", "protocol", "log", "runtime"]),
    (
        "server",
        &[
            "types",
            "protocol",
            "log",
            "metadata",
            "raft",
            "replica",
            "controller",
            "coordinator",
            "broker",
            "client",
            "rpc",
            "runtime",
            "storage",
        ],
    ),
];

/// What a `driver.rs` (or a file below a `driver/`) may import beyond its directory's list.
const DRIVERS_MAY_IMPORT: &[&str] = &["runtime", "storage", "rpc"];
/// Drivers that use another driver.
const DRIVERS_OF_DRIVERS: &[(&str, &str)] = &[("controller", "raft")];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the tree") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code of a file without comments and without its unit tests, which may reach further. A file of its own for them
/// (`tests.rs`, `ledger_tests.rs`) has no other code.
fn code(path: &Path) -> String {
    if path.to_string_lossy().ends_with("tests.rs") {
        return String::new();
    }
    let text = fs::read_to_string(path).expect("a source file");
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        found.push(name);
        if let Some(list) = rest.strip_prefix('{') {
            let list = &list[..list.find('}').unwrap_or(list.len())];
            found.extend(
                list.split(',').map(|part| part.trim().split("::").next().unwrap_or("").to_owned()),
            );
        }
    }
    found
}

fn is_driver(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with("/driver.rs") || text.contains("/driver/")
}

#[test]
fn each_directory_imports_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut broken = Vec::new();
    for path in sources(&root().join("src")) {
        let inside = path.strip_prefix(root().join("src")).unwrap().to_path_buf();
        let directory =
            inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        if inside.components().count() == 1 || directory == "real_main" {
            continue; // lib.rs, main.rs, and the command line, which is a crate of its own over the library
        }
        let allowed = table
            .get(directory.as_str())
            .unwrap_or_else(|| panic!("src/{directory} is not in the table"));
        for import in imports(&code(&path)) {
            let known = table.contains_key(import.as_str());
            let by_driver = is_driver(&path)
                && (DRIVERS_MAY_IMPORT.contains(&import.as_str())
                    || DRIVERS_OF_DRIVERS.contains(&(directory.as_str(), import.as_str())));
            if known && import != directory && !allowed.contains(&import.as_str()) && !by_driver {
                broken.push(format!("src/{} imports {import}", inside.display()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "against the import table of ARCHITECTURE.md:\n{}",
        broken.join("\n")
    );
}

#[test]
fn the_simulated_build_is_named_in_three_files_of_the_product() {
    let naming: Vec<String> = sources(&root().join("src"))
        .into_iter()
        .filter(|path| code(path).contains("madsim"))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    assert_eq!(naming, ["src/main.rs", "src/runtime/mod.rs", "src/types/mod.rs"]);
}

#[test]
fn only_the_runtime_storage_server_and_drivers_wait() {
    let mut waiting = Vec::new();
    for path in sources(&root().join("src")) {
        let inside = path.strip_prefix(root().join("src")).unwrap().to_path_buf();
        let directory =
            inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let may = inside.components().count() == 1
            || matches!(directory.as_str(), "runtime" | "storage" | "server" | "real_main")
            || is_driver(&path);
        let code = code(&path);
        if !may
            && (code.contains("async fn") || code.contains(".await") || code.contains("tokio::"))
        {
            waiting.push(inside.display().to_string());
        }
    }
    assert!(waiting.is_empty(), "these files must be pure: {waiting:?}");
}

#[test]
fn every_select_is_biased() {
    let mut random = Vec::new();
    for folder in ["src", "sim/src"] {
        for path in sources(&root().join(folder)) {
            let code = code(&path);
            for (at, _) in code.match_indices("select! {") {
                if !code[at + "select! {".len()..].trim_start().starts_with("biased;") {
                    random.push(path.display().to_string());
                }
            }
        }
    }
    assert!(random.is_empty(), "an unbiased select draws from a global counter: {random:?}");
}

#[test]
fn the_shipped_binary_contains_no_simulator() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "ottla",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--offline",
        ])
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("tokio v1"), "the tree is the real build's");
    assert!(!tree.contains("madsim"), "the shipped binary would contain a simulator:\n{tree}");
}

#[test]
fn nobody_uses_what_draws_from_a_global_counter() {
    let mut drawing = Vec::new();
    for folder in ["src", "sim/src"] {
        for path in sources(&root().join(folder)) {
            let code = code(&path);
            let imports = code.lines().filter(|line| line.contains("tokio::sync"));
            if imports.into_iter().any(|line| line.contains("watch")) {
                drawing.push(path.display().to_string());
            }
        }
    }
    assert!(
        drawing.is_empty(),
        "tokio's watch wakes in an order that no seed decides: use runtime::watch: {drawing:?}"
    );
}

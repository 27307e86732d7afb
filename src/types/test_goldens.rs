//! Goldens: files that hold commands and what came of them. `UPDATE=1 cargo test` rewrites them; the reviewer reads the diff.

use std::path::Path;

/// Plays the commands of each file in `folder`, which counts from the crate's root, and compares what comes of them with the file.
pub(crate) fn check(folder: &str, play: impl Fn(&str) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let found = play(&expected);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &found).unwrap();
        } else {
            assert_eq!(found, expected, "{} (UPDATE=1 rewrites it)", path.display());
        }
    }
}

//! The copy of the tree with the bugs in it, and its binaries.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Stop;
use crate::mutants::corpus::{Corpus, OVERLAY, OVERLAY_NAMED, OVERLAY_TARGET};
use crate::mutants::weave::Round;

/// Where everything of this command is, from the tree's root.
pub(super) const HOME: &str = "target/mutants";

/// What a result does not depend on: texts for people, and this command itself.
const BESIDE: [&str; 9] = [
    "reports/",
    "docs/",
    "benches/",
    "fuzz/",
    "tests/",
    "sim/mutants/",
    "sim/src/mutants/",
    "sim/src/cli/",
    "sim/src/report/",
];
/// What a result does depend on.
const CODE: [&str; 6] = ["src/", "sim/src/", "scenarios/", "build", "Cargo.", ".cargo/"];

/// The tree that is copied.
pub(super) struct Tree {
    root: PathBuf,
    /// All files that belong to it, from its root, sorted.
    files: Vec<String>,
}

fn wrong(path: &Path) -> impl Fn(io::Error) -> Stop + use<'_> {
    |error| Stop::bad_input(format!("{}: {error}", path.display()))
}

impl Tree {
    /// The files of the working tree at `root`: those that git has or would take.
    ///
    /// Errors: git is not there, or this is no work tree.
    pub(super) fn find(root: &Path) -> Result<Self, Stop> {
        let mut git = Command::new("git");
        git.current_dir(root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let output = git.output().map_err(|error| Stop::bad_input(format!("git: {error}")))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Stop::bad_input(format!("git ls-files in {}: {why}", root.display())));
        }
        let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let names = names.map(|name| String::from_utf8_lossy(name).into_owned());
        // What was deleted is listed until that is committed.
        let mut files: Vec<String> = names.filter(|name| root.join(name).is_file()).collect();
        files.sort();
        files.dedup();
        Ok(Self { root: root.to_owned(), files })
    }

    /// What results depend on: code and scenarios.
    pub(super) fn key(&self) -> Result<u64, Stop> {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        for name in &self.files {
            let counts = CODE.iter().any(|start| name.starts_with(start))
                && !BESIDE.iter().any(|start| name.starts_with(start));
            if counts {
                let path = self.root.join(name);
                let bytes = std::fs::read(&path).map_err(wrong(&path))?;
                digest.update(name.as_bytes());
                digest.update(&(bytes.len() as u64).to_le_bytes());
                digest.update(&bytes);
            }
        }
        Ok(digest.finalize())
    }

    /// Makes the copy what the tree is, with the patches of `round` in it. Files that are as they should be are not touched, so
    /// that cargo builds only what changed.
    pub(super) fn copy(&self, corpus: &Corpus, round: &Round) -> Result<PathBuf, Stop> {
        let copy = self.root.join(HOME).join("tree");
        let patched: BTreeSet<&str> = round.paths().collect();
        let mut wanted = BTreeSet::from([OVERLAY_TARGET.0.to_owned()]);
        for name in self.files.iter().filter(|name| !name.starts_with("reports/")) {
            let path = self.root.join(name);
            let mut bytes = match corpus.files.get(name).filter(|_| patched.contains(&**name)) {
                Some(text) => round.text_of(name, text).into_bytes(),
                None => std::fs::read(&path).map_err(wrong(&path))?,
            };
            if name == OVERLAY_TARGET.1 {
                bytes.extend_from_slice(OVERLAY_NAMED.as_bytes());
            }
            write_if_other(&copy.join(name), &bytes)?;
            wanted.insert(name.clone());
        }
        let overlay = self.root.join(OVERLAY);
        let bytes = std::fs::read(&overlay).map_err(wrong(&overlay))?;
        write_if_other(&copy.join(OVERLAY_TARGET.0), &bytes)?;
        remove_others(&copy, &copy, &wanted)?;
        Ok(copy)
    }
}

fn write_if_other(path: &Path, bytes: &[u8]) -> Result<(), Stop> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(wrong(parent))?;
    }
    std::fs::write(path, bytes).map_err(wrong(path))
}

/// Removes files that are no longer in the tree.
fn remove_others(root: &Path, directory: &Path, wanted: &BTreeSet<String>) -> Result<(), Stop> {
    for entry in std::fs::read_dir(directory).map_err(wrong(directory))? {
        let path = entry.map_err(wrong(directory))?.path();
        if path.is_dir() {
            remove_others(root, &path, wanted)?;
            continue;
        }
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if !wanted.contains(&name) {
            std::fs::remove_file(&path).map_err(wrong(&path))?;
        }
    }
    Ok(())
}

/// Builds the copy; the binary of its own name, which the next round does not replace.
///
/// Errors: the compiler's, with the patches whose lines they are about.
pub(super) fn build(
    copy: &Path,
    corpus: &Corpus,
    round: &Round,
    number: usize,
) -> Result<PathBuf, Stop> {
    let home = std::path::absolute(copy.with_file_name("")).map_err(Stop::bad_input)?;
    let log = home.join(format!("build-{number}.log"));
    eprintln!(
        "building {} mutants as one (round {number}; log: {})",
        round.mutants.len(),
        log.display()
    );
    let errors = std::fs::File::create(&log).map_err(wrong(&log))?;
    let status = cargo(copy, &home).stderr(errors).status();
    let status = status.map_err(|error| Stop::bad_input(format!("cargo: {error}")))?;
    if !status.success() {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        return Err(Stop::bad_input(explain(&text, corpus, round)));
    }
    let binary = home.join(format!("sim-{number}"));
    let built = home.join("target/sim/sim");
    std::fs::copy(&built, &binary).map_err(wrong(&built))?;
    Ok(binary)
}

/// What builds the copy. `home` is absolute: cargo runs in the copy, where a relative one would be a directory of the copy, which goes
/// with the next, and with it everything that was built.
fn cargo(copy: &Path, home: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // As the alias `sim` of `.cargo/config.toml`.
    command.args(["build", "--profile", "sim", "--package", "sim", "--config"]);
    command.arg("target.'cfg(all())'.rustflags=['--cfg','madsim']");
    assert!(home.is_absolute(), "cargo runs elsewhere");
    command.current_dir(copy).env("CARGO_TARGET_DIR", home.join("target"));
    // What cargo set for this process is not for another package.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// The first lines of what the compiler says, and whose lines they are.
fn explain(log: &str, corpus: &Corpus, round: &Round) -> String {
    let from_first = log.find("\nerror").map_or(log, |at| &log[at + 1..]);
    let shown: Vec<&str> = from_first.lines().take(40).collect();
    let places = from_first.lines().filter_map(|line| line.trim().strip_prefix("--> "));
    let owners: BTreeSet<&str> = places
        .filter_map(|place| {
            let mut parts = place.split(':');
            let (path, number) = (parts.next()?, parts.next()?.parse().ok()?);
            round.owner_of_line(path, corpus.files.get(path)?, number)
        })
        .collect();
    let whose = match owners.is_empty() {
        true => "no line of a patch is near".to_owned(),
        false => {
            let names = owners.into_iter().map(|name| format!("sim/mutants/{name}.patch"));
            format!("near lines of {}", names.collect::<Vec<_>>().join(", "))
        }
    };
    format!("the tree with all patches does not build ({whose}):\n{}", shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_as_it_should_be_is_not_touched_and_what_is_too_much_goes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b.rs");
        write_if_other(&path, b"one").unwrap();
        let before = path.metadata().unwrap().modified().unwrap();
        write_if_other(&path, b"one").unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), before);
        write_if_other(&root.path().join("a/c.rs"), b"two").unwrap();
        remove_others(root.path(), root.path(), &BTreeSet::from(["a/b.rs".to_owned()])).unwrap();
        assert!(path.is_file() && !root.path().join("a/c.rs").exists());
    }

    #[test]
    fn what_is_built_lies_beside_the_copy_and_not_in_it() {
        let home = std::path::absolute(Path::new("./target/mutants/tree").with_file_name(""));
        let command = cargo(Path::new("./target/mutants/tree"), &home.unwrap());
        let target = command.get_envs().find(|(name, _)| *name == "CARGO_TARGET_DIR");
        let target = PathBuf::from(target.unwrap().1.unwrap());
        let beside = std::env::current_dir().unwrap().join("target/mutants/target");
        assert_eq!(target, beside);
    }

    #[test]
    fn a_compiler_s_error_without_a_patch_near_is_shown_as_it_is() {
        let log = "   Compiling ottla\nerror[E0425]: no\n --> src/a.rs:3:1\n";
        let corpus = Corpus { mutants: Vec::new(), rounds: Vec::new(), files: Default::default() };
        let text = explain(log, &corpus, &Round::default());
        assert_eq!(
            text,
            "the tree with all patches does not build (no line of a patch is near):\nerror[E0425]: no\n --> src/a.rs:3:1"
        );
    }
}

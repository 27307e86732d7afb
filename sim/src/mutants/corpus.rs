//! The patches of `sim/mutants/`, and the tree that they are about.

use std::path::{Path, PathBuf};

use super::patch::Mutant;
use super::weave::{Files, Round, weave};

/// Where the patches are, from the tree's root.
pub const DIRECTORY: &str = "sim/mutants";

/// What the copy of the tree has besides: the source of `planted`.
pub const OVERLAY: &str = "sim/mutants/planted.overlay";

/// Where the overlay stands in the copy, and the file that names it.
pub const OVERLAY_TARGET: (&str, &str) = ("src/types/planted.rs", "src/types/mod.rs");

/// What is put at the end of the file that names the overlay.
pub const OVERLAY_NAMED: &str = "\nmod planted;\npub use planted::planted;\n";

/// The corpus, held against the tree.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// By name.
    pub mutants: Vec<Mutant>,
    /// The trees that they need.
    pub rounds: Vec<Round>,
    /// The files that they change, as they are in the tree.
    pub files: Files,
}

impl Corpus {
    /// Reads all patches below `root`, and holds them against the tree there.
    ///
    /// Errors: everything that is wrong with any of them, a line each.
    pub fn load(root: &Path) -> Result<Self, String> {
        let mut errors = Vec::new();
        let mut mutants = Vec::new();
        for path in patches(&root.join(DIRECTORY))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let shown = format!("{DIRECTORY}/{name}");
            match read(&path)
                .and_then(|text| Mutant::parse(&shown, &text).map_err(|error| error.to_string()))
            {
                Ok(mutant) => mutants.push(mutant),
                Err(error) => errors.push(error),
            }
        }
        mutants.sort_by_key(|mutant| place(&mutant.name));
        for mutant in &mutants {
            let named = mutant.scenario.iter().chain(&mutant.storm);
            for scenario in named.filter(|path| !root.join(path).is_file()) {
                let name = &mutant.name;
                errors.push(format!("{DIRECTORY}/{name}.patch: there is no scenario {scenario}"));
            }
        }
        let mut files = Files::new();
        for path in mutants.iter().flat_map(|mutant| &mutant.files).map(|file| &file.path) {
            if !is_source(path) {
                errors.push(format!("{path}: patches change Rust files below src/, and no others"));
            } else if let Ok(text) = read(&root.join(path)) {
                files.insert(path.clone(), text);
            }
        }
        let rounds = match weave(&mutants, &files) {
            Ok(rounds) => rounds,
            Err(wrong) => {
                errors.extend(wrong.iter().map(ToString::to_string));
                Vec::new()
            }
        };
        if errors.is_empty() { Ok(Self { mutants, rounds, files }) } else { Err(errors.join("\n")) }
    }

    /// The mutant with this name.
    #[must_use]
    pub fn mutant(&self, name: &str) -> Option<&Mutant> {
        self.mutants.iter().find(|mutant| mutant.name == name)
    }
}

/// `A2` stands before `A10`.
fn place(name: &str) -> (String, u32, String) {
    let row = name.split('-').next().unwrap_or(name);
    let letters: String = row.chars().take_while(char::is_ascii_alphabetic).collect();
    let number = row[letters.len()..].parse().unwrap_or(0);
    (letters, number, name.to_owned())
}

fn is_source(path: &str) -> bool {
    path.starts_with("src/") && path.ends_with(".rs") && !path.split('/').any(|part| part == "..")
}

fn patches(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", directory.display());
    let entries = std::fs::read_dir(directory).map_err(wrong)?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(format!("{}: no patch (*.patch) in it", directory.display()));
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::patch::tests::text;
    use super::*;

    const GOOD: &str = "@@ -1,1 +1,2 @@\n one\n+@P\n";

    fn load(patches: &[(&str, String)]) -> Result<Corpus, String> {
        let root = tempfile::tempdir().unwrap();
        for directory in ["src", DIRECTORY] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        std::fs::write(root.path().join("src/a.rs"), "one\ntwo\n").unwrap();
        for (name, text) in patches {
            let path = root.path().join(DIRECTORY).join(format!("{name}.patch"));
            std::fs::write(path, text).unwrap();
        }
        Corpus::load(root.path())
    }

    #[test]
    fn the_corpus_is_in_the_order_of_its_rows() {
        let patch = |name| (name, text(name, GOOD));
        let corpus = load(&[patch("A10-x"), patch("B1-x"), patch("A2-x")]).unwrap();
        let names: Vec<&str> = corpus.mutants.iter().map(|mutant| mutant.name.as_str()).collect();
        assert_eq!(names, ["A2-x", "A10-x", "B1-x"]);
        assert_eq!(corpus.rounds.len(), 1);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let errors = load(&[
            ("A1-x", text("A1-x", GOOD).replace("one", "once")),
            ("A2-x", text("A2-x", GOOD).replace("src/a.rs", "tests/a.rs")),
            ("A3-x", text("A3-x", GOOD).replace("Class: core", "Scenario: s.toml\nClass: core")),
            ("A4-x", "nothing".into()),
        ]);
        let errors = errors.unwrap_err();
        let starts = [
            "sim/mutants/A4-x.patch:0: it has no line",
            "sim/mutants/A3-x.patch: there is no scenario s.toml",
            "tests/a.rs: patches change Rust files below src/",
            "sim/mutants/A1-x.patch does not apply: src/a.rs: the 1 lines of hunk 1",
            "sim/mutants/A2-x.patch does not apply: tests/a.rs: there is no such file",
        ];
        let lines: Vec<&str> = errors.lines().collect();
        assert_eq!(lines.len(), starts.len(), "{errors}");
        for (line, start) in lines.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
    }

    #[test]
    fn the_corpus_of_this_tree_applies() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let corpus = Corpus::load(&root).unwrap();
        assert!(corpus.mutants.len() >= 60, "{} mutants", corpus.mutants.len());
    }

    #[test]
    fn every_regression_names_the_one_bug_that_it_was_shrunk_from() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let patches = patches(&root.join(DIRECTORY)).unwrap();
        let names = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut count = 0;
        for entry in std::fs::read_dir(root.join("scenarios/regressions")).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            // `sim/mutants/C36-*.patch`, in the comment above the claim.
            let head = text.split("claim =").next().unwrap().replace("\n# ", " ");
            let (_, rest) = head.split_once("sim/mutants/").expect("which bug is it?");
            let start = rest.split('*').next().unwrap();
            let found = patches.iter().filter(|patch| names(patch).starts_with(start)).count();
            assert_eq!(found, 1, "{}: {start}", path.display());
            count += 1;
        }
        assert!(count >= 10, "{count}");
    }
}

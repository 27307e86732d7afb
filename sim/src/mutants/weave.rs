//! Many patches in one tree: each is held against the tree as it is, and its changes are woven together with those of the others.
//!
//! Unlike patches that are applied one after another, two of them may touch neighbouring lines, or wrap the same line: only the
//! lines that a patch takes away or puts in count, not those around them. Where two take away the same line they *conflict*, and the
//! second goes to another round: another tree, another build.

use std::collections::BTreeMap;

use super::patch::{FilePatch, Hunk, Line, Mutant};

/// The texts of files, by path from the tree's root.
pub type Files = BTreeMap<String, String>;

/// Some lines of a file that are replaced: `start..start + removed`, by `added`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    start: usize,
    removed: usize,
    added: Vec<String>,
}

impl Edit {
    const fn end(&self) -> usize {
        self.start + self.removed
    }

    /// Whether both cannot be: they take away the same line, or one puts lines between those that the other takes away.
    fn conflicts_with(&self, other: &Self) -> bool {
        let inside = |at: usize, of: &Self| of.start < at && at < of.end();
        match (self.removed, other.removed) {
            (0, 0) => false,
            (0, _) => inside(self.start, other),
            (_, 0) => inside(other.start, self),
            (_, _) => self.start < other.end() && other.start < self.end(),
        }
    }
}

/// A tree with some patches in it.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// The names of the mutants in it, in the order of the corpus.
    pub mutants: Vec<String>,
    edits: BTreeMap<String, Vec<(String, Edit)>>,
}

/// A patch that does not apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sim/mutants/{mutant}.patch does not apply: {path}: {what}")]
pub struct WeaveError {
    /// The patch.
    pub mutant: String,
    /// The file that it is about.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

/// Puts the patches into as few trees as a greedy look finds. `files` holds every file that a patch is about.
///
/// Errors: all patches that do not apply to the tree.
pub fn weave(mutants: &[Mutant], files: &Files) -> Result<Vec<Round>, Vec<WeaveError>> {
    let mut rounds: Vec<Round> = Vec::new();
    let mut errors = Vec::new();
    for mutant in mutants {
        match edits_of(mutant, files) {
            Ok(edits) => match rounds.iter_mut().find(|round| round.has_room_for(&edits)) {
                Some(round) => round.add(&mutant.name, edits),
                None => {
                    let mut round = Round::default();
                    round.add(&mutant.name, edits);
                    rounds.push(round);
                }
            },
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(rounds) } else { Err(errors) }
}

fn edits_of(mutant: &Mutant, files: &Files) -> Result<Vec<(String, Edit)>, WeaveError> {
    let mut edits = Vec::new();
    for file in &mutant.files {
        let wrong = |what: String| WeaveError {
            mutant: mutant.name.clone(),
            path: file.path.clone(),
            what,
        };
        let text = files.get(&file.path);
        let text = text.ok_or_else(|| wrong("there is no such file any more".into()))?;
        let found = edits_of_file(file, text).map_err(wrong)?;
        edits.extend(found.into_iter().map(|edit| (file.path.clone(), edit)));
    }
    Ok(edits)
}

fn edits_of_file(file: &FilePatch, text: &str) -> Result<Vec<Edit>, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut edits = Vec::new();
    let mut from = 0;
    for (number, hunk) in (1..).zip(&file.hunks) {
        let old: Vec<&str> = hunk.lines.iter().filter_map(Line::before).collect();
        let at = find(&lines, &old, hunk.start, from).ok_or_else(|| {
            let first = old.iter().find(|line| !line.trim().is_empty()).copied().unwrap_or("");
            format!(
                "the {} lines of hunk {number} (once from line {} on: `{}` …) do not stand there: bring the patch up to date",
                old.len(),
                hunk.start + 1,
                first.trim()
            )
        })?;
        from = at + old.len();
        edits.extend(edits_of_hunk(hunk, at));
    }
    Ok(edits)
}

/// Where `old` stands in `lines`, from line `from` on: the place nearest to `hint`.
fn find(lines: &[&str], old: &[&str], hint: usize, from: usize) -> Option<usize> {
    let last = lines.len().checked_sub(old.len())?;
    let places = (from..=last).filter(|at| lines[*at..*at + old.len()] == *old);
    places.min_by_key(|at| at.abs_diff(hint))
}

fn edits_of_hunk(hunk: &Hunk, at: usize) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut next = at;
    let mut is_open = false;
    for line in &hunk.lines {
        match line {
            Line::Same(_) => {
                is_open = false;
                next += 1;
                continue;
            }
            Line::Old(_) | Line::New(_) if !is_open => {
                edits.push(Edit { start: next, removed: 0, added: Vec::new() });
                is_open = true;
            }
            Line::Old(_) | Line::New(_) => {}
        }
        let edit = edits.last_mut().expect("just made");
        match line {
            Line::New(text) => edit.added.push(text.clone()),
            Line::Old(_) | Line::Same(_) => {
                edit.removed += 1;
                next += 1;
            }
        }
    }
    edits
}

impl Line {
    fn before(&self) -> Option<&str> {
        match self {
            Self::Same(text) | Self::Old(text) => Some(text),
            Self::New(_) => None,
        }
    }
}

impl Round {
    fn has_room_for(&self, edits: &[(String, Edit)]) -> bool {
        edits.iter().all(|(path, edit)| {
            let there = self.edits.get(path).into_iter().flatten();
            there.into_iter().all(|(_, other)| !edit.conflicts_with(other))
        })
    }

    fn add(&mut self, name: &str, edits: Vec<(String, Edit)>) {
        self.mutants.push(name.to_owned());
        for (path, edit) in edits {
            self.edits.entry(path).or_default().push((name.to_owned(), edit));
        }
    }

    /// The files that it changes.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.edits.keys().map(String::as_str)
    }

    /// A file with the patches in it, and whose line each is (`None`: the tree's own).
    fn lines<'a>(&'a self, path: &str, text: &'a str) -> Vec<(&'a str, Option<&'a str>)> {
        let mut edits: Vec<&(String, Edit)> = self.edits.get(path).into_iter().flatten().collect();
        // What is put before a line comes before what takes it away; otherwise in the order of the corpus.
        edits.sort_by_key(|(_, edit)| (edit.start, edit.removed > 0));
        let mut out = Vec::new();
        let mut next = 0;
        let lines: Vec<&str> = text.lines().collect();
        for (name, edit) in edits {
            out.extend(lines[next..edit.start].iter().map(|line| (*line, None)));
            out.extend(edit.added.iter().map(|line| (line.as_str(), Some(name.as_str()))));
            next = edit.end();
        }
        out.extend(lines[next..].iter().map(|line| (*line, None)));
        out
    }

    /// The text of the file `path`, which is `text` in the tree.
    #[must_use]
    pub fn text_of(&self, path: &str, text: &str) -> String {
        self.lines(path, text).into_iter().map(|(line, _)| format!("{line}\n")).collect()
    }

    /// Whose change stands nearest to line `number` (from 1) of a file with the patches in it, within three lines.
    #[must_use]
    pub fn owner_of_line<'a>(
        &'a self,
        path: &str,
        text: &'a str,
        number: usize,
    ) -> Option<&'a str> {
        let lines = self.lines(path, text);
        let near = lines
            .iter()
            .enumerate()
            .filter_map(|(index, (_, owner))| Some(((index + 1).abs_diff(number), (*owner)?)));
        near.filter(|(distance, _)| *distance <= 3).min_by_key(|(d, _)| *d).map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::patch::tests::text;
    use super::*;

    const FILE: &str = "one\ntwo\nthree\nfour\nfive\n";

    fn mutant(name: &str, hunk: &str) -> Mutant {
        Mutant::parse(&format!("{name}.patch"), &text(name, hunk)).unwrap()
    }

    fn files() -> Files {
        Files::from([("src/a.rs".to_owned(), FILE.to_owned())])
    }

    fn rounds(mutants: &[Mutant]) -> Vec<Vec<String>> {
        weave(mutants, &files()).unwrap().into_iter().map(|round| round.mutants).collect()
    }

    const WRAP: &str = "@@ -2,3 +2,5 @@\n two\n+if !@P {\n three\n+}\n four\n";
    const OTHER: &str = "@@ -3,1 +3,1 @@\n-three\n+three if @P\n";

    #[test]
    fn patches_wrap_the_same_line_and_stand_beside_each_other() {
        let mutants = [mutant("A", WRAP), mutant("B", WRAP), mutant("C", OTHER)];
        let woven = weave(&mutants, &files()).unwrap();
        assert_eq!(woven.len(), 1);
        let text = woven[0].text_of("src/a.rs", FILE).replace("crate::types::planted", "");
        assert_eq!(
            text,
            "one\ntwo\nif !(\"A\") {\nif !(\"B\") {\nthree if (\"C\")\n}\n}\nfour\nfive\n"
        );
        assert_eq!(woven[0].owner_of_line("src/a.rs", FILE, 4), Some("B"));
        assert_eq!(woven[0].owner_of_line("src/a.rs", FILE, 40), None);
    }

    #[test]
    fn patches_that_take_away_the_same_line_go_to_different_rounds() {
        let mutants = [mutant("A", OTHER), mutant("B", OTHER), mutant("C", WRAP)];
        assert_eq!(rounds(&mutants), [vec!["A".to_owned(), "C".to_owned()], vec!["B".to_owned()]]);
    }

    #[test]
    fn lines_between_those_that_another_takes_away_conflict() {
        let both = "@@ -2,2 +2,1 @@\n-two\n-three\n+@P\n";
        let between = "@@ -2,2 +2,3 @@\n two\n+@P\n three\n";
        assert_eq!(rounds(&[mutant("A", both), mutant("B", between)]).len(), 2);
        let before = "@@ -1,2 +1,3 @@\n one\n+@P\n two\n";
        assert_eq!(rounds(&[mutant("A", both), mutant("B", before)]).len(), 1);
    }

    #[test]
    fn a_hunk_is_found_where_it_moved_to() {
        let moved = "@@ -40,1 +40,2 @@\n four\n+@P\n";
        assert_eq!(rounds(&[mutant("A", moved)]).len(), 1);
    }

    #[test]
    fn a_patch_that_does_not_apply_is_named() {
        let stale = mutant("A", "@@ -2,2 +2,3 @@\n two\n+@P\n six\n");
        let mut other = mutant("B", OTHER);
        other.files[0].path = "src/gone.rs".into();
        let errors = weave(&[stale, other, mutant("C", OTHER)], &files()).unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "sim/mutants/A.patch does not apply: src/a.rs: the 2 lines of hunk 1 (once from line 2 on: `two` …) do not stand there: bring the patch up to date",
                "sim/mutants/B.patch does not apply: src/gone.rs: there is no such file any more",
            ]
        );
    }
}

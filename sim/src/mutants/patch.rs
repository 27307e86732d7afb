//! One patch: a few words about the bug, and a unified diff that plants it.

use std::collections::BTreeSet;

/// What asks in patched code whether a bug is planted.
const SWITCH: &str = "crate::types::planted(";

/// How much a mutant counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// One of the bugs that the testbed was designed against.
    Core,
    /// Any other.
    Extended,
}

impl Class {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Extended => "extended",
        }
    }
}

/// A planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// What the environment variable says: the name of its file, without `.patch`.
    pub name: String,
    /// Its row in the design's list of bugs (`A1`), or the row that it is a relative of.
    pub row: String,
    /// What is wrong, as a sentence.
    pub title: String,
    /// How much it counts.
    pub class: Class,
    /// Which checks should find it.
    pub expect: String,
    /// A scenario that aims at it: a path from the tree's root.
    pub scenario: Option<String>,
    /// The storms that reach what it changes: a path from the tree's root; `None`: those of the cluster.
    pub storm: Option<String>,
    /// Why it survives, where that is known.
    pub survives: Option<String>,
    /// What it changes, file by file.
    pub files: Vec<FilePatch>,
    /// Its diff as it stands, for keys: words about it do not void what was found.
    pub diff: String,
}

/// What a patch does to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePatch {
    /// From the tree's root.
    pub path: String,
    /// From top to bottom.
    pub hunks: Vec<Hunk>,
}

/// Some lines of a file, with what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Where the first line stood when the patch was made, from 0.
    pub start: usize,
    /// The lines, from top to bottom.
    pub lines: Vec<Line>,
}

/// A line of a hunk, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// It is there, and stays.
    Same(String),
    /// It is there, and goes.
    Old(String),
    /// It comes.
    New(String),
}

/// A patch that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}: {what}")]
pub struct PatchError {
    /// The patch.
    pub path: String,
    /// From 1; 0 where it is about the whole.
    pub line: usize,
    /// What is wrong, and what should be.
    pub what: String,
}

impl Mutant {
    /// Reads a patch.
    ///
    /// Errors: a key that is missing, unknown or there twice, a diff that is none, a bug that nothing switches or that is switched by
    /// another name.
    pub fn parse(path: &str, text: &str) -> Result<Self, PatchError> {
        let wrong = |line: usize, what: String| PatchError { path: path.to_owned(), line, what };
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.strip_suffix(".patch").unwrap_or(file).to_owned();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(wrong(0, format!("`{name}` should be letters, digits and dashes")));
        }
        let lines: Vec<&str> = text.lines().collect();
        let begin = lines.iter().position(|line| line.starts_with("diff --git "));
        let begin = begin.ok_or_else(|| wrong(0, "it has no line `diff --git …`".into()))?;
        let header = Header::parse(&lines[..begin]).map_err(|(line, what)| wrong(line, what))?;
        let files = parse_diff(&lines, begin).map_err(|(line, what)| wrong(line, what))?;
        let mutant = Self {
            name,
            row: header.row,
            title: header.title,
            class: header.class,
            expect: header.expect,
            scenario: header.scenario,
            storm: header.storm,
            survives: header.survives,
            files,
            diff: lines[begin..].join("\n"),
        };
        mutant.check_switch().map_err(|what| wrong(0, what))?;
        Ok(mutant)
    }

    /// What it switches by, as it stands in code.
    fn switch(&self) -> String {
        format!("{SWITCH}\"{}\")", self.name)
    }

    fn check_switch(&self) -> Result<(), String> {
        let hunks = self.files.iter().flat_map(|file| &file.hunks);
        let added = hunks.flat_map(|hunk| &hunk.lines).filter_map(|line| match line {
            Line::New(text) => Some(text),
            Line::Same(_) | Line::Old(_) => None,
        });
        let (own, mut is_switched) = (self.switch(), false);
        for text in added {
            let (all, ours) = (text.matches(SWITCH).count(), text.matches(&own).count());
            if all > ours {
                return Err(format!("`{}` asks for another bug than `{}`", text.trim(), self.name));
            }
            is_switched |= ours > 0;
        }
        if is_switched {
            Ok(())
        } else {
            Err(format!("it changes nothing: no line that it adds asks `{own}`"))
        }
    }
}

struct Header {
    row: String,
    title: String,
    class: Class,
    expect: String,
    scenario: Option<String>,
    storm: Option<String>,
    survives: Option<String>,
}

impl Header {
    const KEYS: [&str; 7] = ["Row", "Name", "Class", "Expect", "Scenario", "Storm", "Survives"];

    fn parse(lines: &[&str]) -> Result<Self, (usize, String)> {
        let mut values: [Option<String>; 7] = Default::default();
        for (number, line) in (1..).zip(lines) {
            if line.trim().is_empty() {
                continue;
            }
            let known = || format!("expected `KEY: value` with a key of {}", Self::KEYS.join(", "));
            let (key, value) = line.split_once(": ").ok_or_else(|| (number, known()))?;
            let index = Self::KEYS.iter().position(|known| *known == key);
            let index = index.ok_or_else(|| (number, known()))?;
            if values[index].replace(value.trim().to_owned()).is_some() {
                return Err((number, format!("`{key}` stands twice")));
            }
        }
        let [row, title, class, expect, scenario, storm, survives] = values;
        let need = |value: Option<String>, key: &str| {
            value.filter(|value| !value.is_empty()).ok_or((0, format!("`{key}: …` is missing")))
        };
        let class = match need(class, "Class")?.as_str() {
            "core" => Class::Core,
            "extended" => Class::Extended,
            other => return Err((0, format!("`Class: {other}` should be core or extended"))),
        };
        let (row, title) = (need(row, "Row")?, need(title, "Name")?);
        let expect = need(expect, "Expect")?;
        Ok(Self { row, title, class, expect, scenario, storm, survives })
    }
}

/// The diff that begins with line number `begin`, from 0.
fn parse_diff(lines: &[&str], begin: usize) -> Result<Vec<FilePatch>, (usize, String)> {
    let mut files: Vec<FilePatch> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut at = begin;
    while at < lines.len() {
        let (number, line) = (at + 1, lines[at]);
        at += 1;
        if let Some(path) = line.strip_prefix("+++ ") {
            let path = path.strip_prefix("b/").ok_or((number, "expected `+++ b/PATH`".into()))?;
            if !seen.insert(path) {
                return Err((number, format!("{path} is patched twice")));
            }
            files.push(FilePatch { path: path.to_owned(), hunks: Vec::new() });
        } else if line.starts_with("@@ ") {
            let file = files.last_mut().ok_or((number, "a hunk of no file".into()))?;
            let (hunk, end) = parse_hunk(lines, at - 1)?;
            file.hunks.push(hunk);
            at = end;
        } else if !["diff --git ", "--- a/", "index "].iter().any(|word| line.starts_with(word)) {
            return Err((number, format!("`{line}` is no line of a diff that changes files")));
        }
    }
    match files.iter().find(|file| file.hunks.is_empty()) {
        Some(file) => Err((0, format!("it changes nothing in {}", file.path))),
        None => Ok(files),
    }
}

/// A hunk whose `@@` line has number `at`, from 0; where it ends.
fn parse_hunk(lines: &[&str], at: usize) -> Result<(Hunk, usize), (usize, String)> {
    let shape = || (at + 1, "expected `@@ -START,LINES +START,LINES @@`".to_owned());
    let mut words = lines[at].split(' ').skip(1);
    let range = |word: Option<&str>, sign: char| {
        let word = word?.strip_prefix(sign)?;
        let (start, count) = word.split_once(',').unwrap_or((word, "1"));
        Some((start.parse::<usize>().ok()?, count.parse::<usize>().ok()?))
    };
    let (start, mut old) = range(words.next(), '-').ok_or_else(shape)?;
    let (_, mut new) = range(words.next(), '+').ok_or_else(shape)?;
    // With no old line, diff says after which line it is.
    let start = if old == 0 { start } else { start.checked_sub(1).ok_or_else(shape)? };
    let mut hunk = Hunk { start, lines: Vec::new() };
    let mut next = at + 1;
    while old > 0 || new > 0 {
        let short = || (at + 1, "the hunk has fewer lines than it says".to_owned());
        let line = lines.get(next).ok_or_else(short)?;
        next += 1;
        // Editors take the only space of an empty line away.
        let sign = line.chars().next().unwrap_or(' ');
        let text = line.get(1..).unwrap_or("").to_owned();
        let (takes_old, takes_new, parsed) = match sign {
            ' ' => (1, 1, Line::Same(text)),
            '-' => (1, 0, Line::Old(text)),
            '+' => (0, 1, Line::New(text)),
            _ => return Err((next, format!("`{line}` is no line of a hunk"))),
        };
        old = old.checked_sub(takes_old).ok_or_else(short)?;
        new = new.checked_sub(takes_new).ok_or_else(short)?;
        hunk.lines.push(parsed);
    }
    Ok((hunk, next))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A patch of `src/a.rs`, whose only hunk is `hunk`.
    pub(crate) fn text(name: &str, hunk: &str) -> String {
        let hunk = hunk.replace("@P", &format!("{SWITCH}\"{name}\")"));
        format!(
            "Row: A1\nName: it is wrong\nClass: core\nExpect: R1\n\n\
             diff --git a/src/a.rs b/src/a.rs\n--- a/src/a.rs\n+++ b/src/a.rs\n{hunk}"
        )
    }

    const HUNK: &str = "@@ -2,2 +2,3 @@ fn a\n two\n+if @P { wrong(); }\n three\n";

    #[track_caller]
    fn error(text: &str) -> String {
        Mutant::parse("sim/mutants/A1-x.patch", text).unwrap_err().to_string()
    }

    #[test]
    fn a_patch_has_a_header_and_a_diff() {
        let text = text("A1-x", HUNK).replace("\n\n", "\nScenario: scenarios/s.toml\n\n");
        let mutant = Mutant::parse("sim/mutants/A1-x.patch", &text).unwrap();
        assert_eq!((mutant.name.as_str(), mutant.row.as_str()), ("A1-x", "A1"));
        assert_eq!(mutant.scenario.as_deref(), Some("scenarios/s.toml"));
        assert_eq!((mutant.class, mutant.survives), (Class::Core, None));
        assert_eq!(mutant.files[0].path, "src/a.rs");
        assert_eq!((mutant.files[0].hunks[0].start, mutant.files[0].hunks[0].lines.len()), (1, 3));
    }

    #[test]
    fn words_about_a_bug_are_not_the_bug() {
        let parse = |text: &str| Mutant::parse("sim/mutants/A1-x.patch", text).unwrap().diff;
        let said = text("A1-x", HUNK).replace("\n\n", "\nSurvives: nobody can tell\n\n");
        let other = text("A1-x", &HUNK.replace("wrong()", "very_wrong()"));
        let diff = parse(&text("A1-x", HUNK));
        assert!(diff == parse(&said) && diff != parse(&other), "{diff}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let good = text("A1-x", HUNK);
        let keys = "Row, Name, Class, Expect, Scenario, Storm, Survives";
        let cases = [
            (
                good.replace("Row: A1", "Line: A1"),
                format!("1: expected `KEY: value` with a key of {keys}"),
            ),
            (good.replace("Row: A1\n", ""), "0: `Row: …` is missing".into()),
            (good.replace("Expect: R1", "Row: A2"), "4: `Row` stands twice".into()),
            (
                good.replace("Class: core", "Class: big"),
                "0: `Class: big` should be core or extended".into(),
            ),
            (
                good.replace("@@ -2,2 +2,3", "@@ -2,9 +2,9"),
                "9: the hunk has fewer lines than it says".into(),
            ),
            (good.replace("diff --git", "diff"), "0: it has no line `diff --git …`".into()),
            (good.replace("+++ b/", "+++ c/"), "8: expected `+++ b/PATH`".into()),
            (
                good.replace("planted(\"A1-x\")", "planted(\"B1\")"),
                "0: `if crate::types::planted(\"B1\") { wrong(); }` asks for another bug than `A1-x`"
                    .into(),
            ),
            (
                good.replace("crate::types::planted(\"A1-x\")", "true"),
                "0: it changes nothing: no line that it adds asks `crate::types::planted(\"A1-x\")`"
                    .into(),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(error(&text), format!("sim/mutants/A1-x.patch:{expected}"));
        }
    }

    #[test]
    fn a_name_is_plain() {
        let error = Mutant::parse("sim/mutants/a b.patch", &text("a b", HUNK)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sim/mutants/a b.patch:0: `a b` should be letters, digits and dashes"
        );
    }
}

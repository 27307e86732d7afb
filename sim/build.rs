//! Lists what the product's source can reach: its `mark!`s, and the error codes that nodes answer with. What an exploration
//! never reached is known only against the whole list, and a second list by hand would be stale.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

const SOURCE: &str = "../src";

/// What no simulated run goes through, or what only declares the words.
const WITHOUT: &[&str] = &["runtime/real", "real_main", "types/mark.rs", "types/error_code.rs"];

/// Whose error codes are answers of nodes. Clients and decoders name many more that they only know of.
const ANSWERING: &[&str] =
    &["broker", "controller", "coordinator", "log", "raft", "replica", "server", "storage"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCE}");
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={SOURCE}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> io::Result<()> {
    let root = Path::new(SOURCE);
    let (mut marks, mut codes, mut bugs) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for path in files(root)? {
        let below = path.strip_prefix(root).expect("found below it");
        if WITHOUT.iter().any(|without| below.starts_with(without)) {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let code = without_tests(&text);
        marks.extend(texts_behind("mark!(", code));
        bugs.extend(texts_behind("types::planted(", code));
        if ANSWERING.iter().any(|answering| below.starts_with(answering)) {
            codes.extend(error_codes_of(code));
        }
    }
    let list = |texts: &BTreeSet<String>| -> String {
        texts.iter().map(|text| format!("    {text:?},\n")).collect()
    };
    let (marks, bugs) = (list(&marks), list(&bugs));
    let codes: String =
        codes.iter().map(|code| format!("    ottla::types::ErrorCode::{code},\n")).collect();
    let text = format!(
        "/// Every `mark!` of the product.\npub(super) const MARKS: &[&str] = &[\n{marks}];\n\n\
         /// Every error code that a node's code names.\n\
         pub(super) const ERROR_CODES: &[ottla::types::ErrorCode] = &[\n{codes}];\n"
    );
    let plantable = format!(
        "/// The bugs that can be planted in this build.\npub(super) const PLANTABLE: &[&str] = &[\n{bugs}];\n"
    );
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let out = Path::new(&out);
    fs::write(out.join("reachable.rs"), text)?;
    fs::write(out.join("plantable.rs"), plantable)
}

/// A file's code in front of its tests, which stand at its foot.
fn without_tests(text: &str) -> &str {
    let foot = ["#[cfg(test)]\nmod ", "#[cfg(test)]\npub(crate) mod "];
    let ends = foot.iter().filter_map(|foot| text.find(foot));
    &text[..ends.min().unwrap_or(text.len())]
}

/// The texts that stand behind these words: `mark!("…")`.
fn texts_behind<'a>(words: &'a str, code: &'a str) -> impl Iterator<Item = String> + 'a {
    code.split(words).skip(1).filter_map(|rest| {
        let (name, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(name.to_owned())
    })
}

/// `ErrorCode::Variant`; not `ErrorCode::ALL`, and not the code of no error.
fn error_codes_of(code: &str) -> impl Iterator<Item = String> + '_ {
    code.split("ErrorCode::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = &rest[..end];
        let is_variant = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.contains(|c: char| c.is_ascii_lowercase());
        (is_variant && name != "None").then(|| name.to_owned())
    })
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            let is_tests = path.file_name().is_some_and(|name| name == "tests");
            if !is_tests {
                found.extend(files(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

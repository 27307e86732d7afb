//! `cargo sim explain NAME`: what a word of scenarios, reports or answers means.

use ottla::types::ErrorCode;

use super::{Stop, print};
use crate::scenario::error::suggest;
use crate::scenario::schema::{Field, Inside, Shape, Word};
use crate::scenario::{target, words};

/// Explains a word, or lists all of them.
pub(super) fn explain(name: Option<&str>) -> Result<u8, Stop> {
    let Some(name) = name else {
        print(&all());
        return Ok(0);
    };
    let found = meanings(name);
    if found.is_empty() {
        let help = suggest(name, known())
            .unwrap_or_else(|| "`cargo sim explain` lists all of them".to_string());
        return Err(Stop::bad_input(format!("`{name}` is not a word of the testbed: {help}")));
    }
    print(&found.concat());
    Ok(0)
}

/// Everything that a word means: some are an action and an event's filter at once.
fn meanings(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lists = [
        ("action", words::ACTIONS),
        ("expectation", words::EXPECTATIONS),
        ("workload", words::WORKLOADS),
    ];
    for (kind, list) in lists {
        found
            .extend(list.iter().filter(|word| word.name == name).map(|word| word_text(kind, word)));
    }
    for event in words::EVENTS.iter().filter(|event| event.name == name) {
        found.push(format!("{name} (event)\n  {}\n", event.doc));
    }
    for (check, doc) in words::INVARIANTS.iter().filter(|(check, _)| *check == name) {
        let code: String =
            words::upheld(check).iter().map(|place| format!("    {place}\n")).collect();
        let upheld = if code.is_empty() { "" } else { "  Upheld in:\n" };
        found.push(format!("{check} (invariant)\n  {doc}\n{upheld}{code}"));
    }
    for (form, doc) in target::FORMS
        .iter()
        .filter(|(form, _)| *form == name || form.starts_with(&format!("{name}(")))
    {
        found.push(format!("{form} (target)\n  {doc}\n"));
    }
    found.extend(error_code(name));
    if let Shape::Table(fields) = words::SCENARIO {
        let keys = fields.iter().filter(|field| field.name == name);
        found.extend(keys.map(|field| {
            format!("{name} (key of a scenario)\n  {}\n{}", field.doc, inside(&field.shape))
        }));
    }
    if found.is_empty() { inner(name) } else { found }
}

/// What keys inside of tables mean, and the words that are their values; the same in several tables stands once.
fn inner(name: &str) -> Vec<String> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    each_inner(&mut |place, field| {
        let (what, keys) = if field.name == name {
            (format!("key of {place}"), inside(&field.shape))
        } else if let Shape::Word { of, .. } = field.shape
            && of().contains(&name)
        {
            (format!("word for `{}` of {place}", field.name), String::new())
        } else {
            return;
        };
        let meaning = format!("  {}\n{keys}", field.doc);
        match found.iter_mut().find(|(known, _)| *known == meaning) {
            Some((_, places)) => places.push(what),
            None => found.push((meaning, vec![what])),
        }
    });
    found
        .into_iter()
        .map(|(meaning, places)| format!("{name} ({})\n{meaning}", places.join(", ")))
        .collect()
}

/// Shows all keys of the tables inside of a scenario, with what each stands in.
fn each_inner(show: &mut dyn FnMut(&str, &'static Field)) {
    if let Shape::Table(fields) = &words::SCENARIO {
        fields.iter().for_each(|field| walk(field.name, &field.shape, show));
    }
}

fn walk(place: &str, shape: &'static Shape, show: &mut dyn FnMut(&str, &'static Field)) {
    let mut all = |place: &str, fields: &'static [Field]| {
        for field in fields {
            show(place, field);
            walk(field.name, &field.shape, show);
        }
    };
    match shape.inside() {
        Some(Inside::Table(fields)) => all(place, fields),
        Some(Inside::Tagged(tagged)) => {
            all(place, tagged.common);
            tagged.words.iter().for_each(|word| all(word.name, word.fields));
        }
        None => {}
    }
}

fn word_text(kind: &str, word: &Word) -> String {
    format!("{} ({kind})\n  {}\n{}", word.name, word.doc, keys(word.fields))
}

fn keys(fields: &[Field]) -> String {
    let line = |field: &Field| {
        let need = if field.required { " (required)" } else { "" };
        format!("    {}{need}: {}\n", field.name, field.doc)
    };
    fields.iter().map(line).collect()
}

fn inside(shape: &Shape) -> String {
    match shape.inside() {
        Some(Inside::Table(fields)) => keys(fields),
        Some(Inside::Tagged(tagged)) => {
            let names: Vec<&str> = tagged.words.iter().map(|word| word.name).collect();
            format!(
                "    {} (required): one of {}\n{}",
                tagged.key,
                names.join(", "),
                keys(tagged.common)
            )
        }
        None => String::new(),
    }
}

fn error_code(name: &str) -> Option<String> {
    let code = ErrorCode::ALL
        .iter()
        .find(|code| code.name() == name || code.code().to_string() == name)?;
    let again = if code.is_retriable() {
        "A client may send the same request again and hope for another answer."
    } else {
        "The same request would get the same answer again."
    };
    Some(format!("{} (error code {})\n  {again}\n", code.name(), code.code()))
}

fn known() -> Vec<&'static str> {
    let mut names: Vec<&str> = [words::ACTIONS, words::EXPECTATIONS, words::WORKLOADS]
        .iter()
        .flat_map(|list| list.iter().map(|word| word.name))
        .collect();
    names.extend(words::event_names());
    names.extend(words::invariants());
    names.extend(words::error_names());
    names.extend(target::FORMS.iter().map(|(form, _)| *form));
    names.extend(target::KINDS);
    each_inner(&mut |_, field| names.push(field.name));
    names
}

fn all() -> String {
    let section = |title: &str, names: Vec<(&str, &str)>| {
        let width = names.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let lines: String =
            names.iter().map(|(name, doc)| format!("  {name:<width$}  {doc}\n")).collect();
        format!("{title}\n{lines}\n")
    };
    let of =
        |list: &'static [Word]| list.iter().map(|word| (word.name, word.doc)).collect::<Vec<_>>();
    [
        section("Actions (do)", of(words::ACTIONS)),
        section("Targets", target::FORMS.to_vec()),
        section("Workloads (kind)", of(words::WORKLOADS)),
        section("Expectations (that)", of(words::EXPECTATIONS)),
        section("Events", words::EVENTS.iter().map(|event| (event.name, event.doc)).collect()),
        section("Invariants", words::INVARIANTS.to_vec()),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_word_is_explained() {
        for name in known() {
            assert!(!meanings(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn an_invariant_is_explained_with_the_code_that_upholds_it() {
        expect_test::expect![[r#"
            Q11 (invariant)
              A node that led the quorum in an epoch does not lead in it again after a restart.
              Upheld in:
                src/raft/election.rs (on_start)
        "#]]
        .assert_eq(&meanings("Q11").concat());
    }

    #[test]
    fn what_stands_inside_of_tables_is_explained() {
        for name in
            ["keep", "swarm", "every", "pace", "comes", "bites", "with-results", "value-bytes"]
        {
            assert!(!meanings(name).is_empty(), "{name}");
        }
        expect_test::expect![[r#"
            pace (key of faults)
              What its times are, in percent of `every`: more is rarer. Default 100, or in a `swarm` what the seed draws.
        "#]]
        .assert_eq(&meanings("pace").concat());
    }

    #[test]
    fn an_action_is_explained_with_its_keys() {
        expect_test::expect![[r#"
            corrupt (action)
              Flips bits in a file, as a rotting disk does: unseen until it is read.
                target (required): Which nodes.
                log-dir: Only this entry of `log.dirs`, from 0. Default: all.
                file (required): The file below the log directory; `*` stands for any text: `orders-0/*.log`.
                bits: How many bits. Default 1.
        "#]]
        .assert_eq(&meanings("corrupt").concat());
    }
}

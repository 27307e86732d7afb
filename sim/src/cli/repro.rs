//! What `repro.json` says: the file of a kept run, read and made a scenario again.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Stop, files};
use crate::report::json::{REPORT_SCHEMA, REPRO_SCHEMA};
use crate::scenario::{NO_VARIANT, Scenario};

/// What a repro file says.
pub(super) struct Repro {
    /// The file itself, for messages.
    pub(super) file: String,
    /// The scenario's name.
    pub(super) scenario: String,
    /// The path of its file then.
    pub(super) path: String,
    pub(super) variant: Option<String>,
    pub(super) seed: u64,
    /// The scenario, as its variant has it.
    pub(super) resolved: Value,
    /// Every fault that fired, as a fixed step.
    pub(super) fired: Vec<Value>,
    /// The checks that failed, and the expectations that were missed.
    pub(super) failed: Vec<String>,
    pub(super) trace: String,
    pub(super) commit: String,
}

impl Repro {
    /// Reads a repro file, or the one beside a report.
    ///
    /// Errors: what is not as it should be, and where.
    pub(super) fn read(file: &Path) -> Result<Self, Stop> {
        let value = read_json(file)?;
        let schema = value.get("schema").and_then(Value::as_str).unwrap_or_default();
        match schema {
            REPORT_SCHEMA => Self::of(&file.with_file_name("repro.json")),
            REPRO_SCHEMA => Self::of(file),
            other => Err(of_another_schema(file, other)),
        }
    }

    fn of(file: &Path) -> Result<Self, Stop> {
        let value = read_json(file)?;
        let missing = |key: &str| {
            Stop::bad_input(format!("{}: `{key}` is missing or of another type", file.display()))
        };
        let text = |key: &str| {
            value.get(key).and_then(Value::as_str).map(str::to_string).ok_or_else(|| missing(key))
        };
        let list = |key: &str| {
            value.get(key).and_then(Value::as_array).cloned().ok_or_else(|| missing(key))
        };
        let schema = text("schema")?;
        if schema != REPRO_SCHEMA {
            return Err(of_another_schema(file, &schema));
        }
        let variant = match value.get("variant") {
            None | Some(Value::Null) => None,
            Some(_) => Some(text("variant")?),
        };
        let resolved = value.get("resolved").filter(|value| value.is_object());
        let failed = list("failed")?;
        let failed: Option<Vec<String>> =
            failed.iter().map(|name| name.as_str().map(str::to_string)).collect();
        Ok(Self {
            file: file.display().to_string(),
            scenario: text("scenario")?,
            path: text("path")?,
            seed: text("seed")?.parse().map_err(|_| missing("seed"))?,
            resolved: of_variant(
                resolved.ok_or_else(|| missing("resolved"))?.clone(),
                variant.as_deref(),
            ),
            variant,
            fired: list("fired")?,
            failed: failed.ok_or_else(|| missing("failed"))?,
            trace: text("trace")?,
            commit: text("commit")?,
        })
    }

    /// The scenario with the faults that fired as its steps, in place of what drew them.
    pub(super) fn fixed(&self) -> Value {
        let mut fixed = self.resolved.clone();
        if let Some(table) = fixed.as_object_mut() {
            table.shift_remove("chaos");
            table.insert("timeline".into(), Value::Array(self.fired.clone()));
        }
        fixed
    }

    /// Makes a scenario of values.
    ///
    /// Errors: what this build cannot run of it.
    pub(super) fn load(&self, values: &Value) -> Result<Arc<Scenario>, Stop> {
        let name = format!("{}.resolved.json", self.path);
        let mut scenario = Scenario::load(&name, &values.to_string(), &[]).map_err(|problems| {
            Stop::bad_input(format!(
                "{}: kept at commit {}, and not a scenario that this build can run:\n{problems}",
                self.file, self.commit
            ))
        })?;
        scenario.path.clone_from(&self.path);
        scenario.name.clone_from(&self.scenario);
        Ok(Arc::new(scenario))
    }
}

fn of_another_schema(file: &Path, schema: &str) -> Stop {
    let shown = file.display();
    let text = if schema.is_empty() {
        format!(
            "{shown}: no repro file: it has no `schema`. Failing runs leave one: `cargo sim run` names it"
        )
    } else {
        format!(
            "{shown}: its schema is `{schema}`, and this build reads `{REPRO_SCHEMA}` (and the `{REPORT_SCHEMA}` beside one): replay it with the commit that wrote it, or run the seed again"
        )
    };
    Stop::bad_input(text)
}

fn read_json(file: &Path) -> Result<Value, Stop> {
    let text = files::read(file).map_err(Stop::bad_input)?;
    serde_json::from_str(&text)
        .map_err(|error| Stop::bad_input(format!("{}: not JSON: {error}", file.display())))
}

/// A scenario's resolved values without its variants: the expectations of others are gone, and its own are everybody's.
pub(super) fn of_variant(mut resolved: Value, variant: Option<&str>) -> Value {
    let own = variant.unwrap_or(NO_VARIANT);
    if let Some(all) = resolved.get_mut("expect").and_then(Value::as_array_mut) {
        all.retain(|one| one.get("variant").and_then(Value::as_str).is_none_or(|of| of == own));
        for one in all {
            crate::shrink::edit::remove(one, "variant");
        }
    }
    resolved
}

//! `ottla format`: prepares the log directories of a node that has none yet.

use super::Config;
use crate::runtime::Env;
use crate::types::Uuid;

/// What to format as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormatOptions {
    /// The cluster's id; a random one where `None`.
    pub cluster_id: Option<Uuid>,
    /// Leave directories alone that are formatted already (`-g`).
    pub ignore_formatted: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    /// The cluster's id.
    pub cluster_id: Uuid,
}

/// Why a directory could not be formatted: four lines.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub String);

/// Formats the log directories of `config` that are not formatted yet.
pub async fn format(
    _config: &Config,
    _options: FormatOptions,
    _env: &Env,
) -> Result<Formatted, FormatError> {
    Err(FormatError("format is not there yet".to_owned()))
}

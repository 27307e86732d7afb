//! Generates the protocol's messages from `src/protocol/schema/*.schema` into `OUT_DIR`.

#[path = "build/codegen.rs"]
mod codegen;
#[path = "build/samples.rs"]
mod samples;
#[path = "build/schema.rs"]
mod schema;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

const TABLE: &str = "src/protocol/schema";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed={TABLE}");
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("cargo::error={problem}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Result<(), String> {
    let mut messages = Vec::new();
    for path in table_files().map_err(|error| format!("{TABLE}: {error}"))? {
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        messages.extend(schema::parse(&name, &text).map_err(|error| error.to_string())?);
    }
    let out_dir = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let write = |name: &str, code: String| {
        let path = Path::new(&out_dir).join(name);
        fs::write(&path, code).map_err(|error| format!("{}: {error}", path.display()))
    };
    write("messages.rs", codegen::messages(&messages))?;
    write("metadata_records.rs", codegen::records(&messages))?;
    write("coordinator_records.rs", codegen::coordinator_records(&messages))?;
    write("samples.rs", samples::samples(&messages))
}

/// The files of the table, sorted, so that the generated code is the same everywhere.
fn table_files() -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(TABLE)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "schema") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

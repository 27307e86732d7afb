//! `ottla version`.

use super::args::Format;

/// Prints the version; verbose, each API with the versions served.
pub(crate) fn run(format: Format, verbose: bool) {
    let apis = if verbose { ottla::server::apis_served() } else { Vec::new() };
    match format {
        Format::Text => {
            println!("ottla {}", env!("CARGO_PKG_VERSION"));
            for (name, key, range) in apis {
                println!("  {name:<24} {key:>3}  {}..={}", range.start(), range.end());
            }
        }
        Format::Json | Format::Jsonl => {
            let apis: Vec<_> = apis
                .into_iter()
                .map(|(name, key, range)| serde_json::json!({ "api": name, "key": key, "min": range.start(), "max": range.end() }))
                .collect();
            println!(
                "{}",
                serde_json::json!({ "schema": "version/1", "version": env!("CARGO_PKG_VERSION"), "apis": apis })
            );
        }
    }
}

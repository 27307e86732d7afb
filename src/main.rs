//! The `ottla` binary: see `real_main`. The simulated build has no binary of its own; its command line is `cargo sim`.

#[cfg(not(madsim))]
mod real_main;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    real_main::main()
}

#[cfg(madsim)]
fn main() {
    eprintln!("this build of ottla runs in the simulated world only: use `cargo sim`");
}

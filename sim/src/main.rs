//! The testbed's command line.

#[cfg(not(madsim))]
fn main() {
    eprintln!("run it as `cargo sim`, with RUSTFLAGS unset");
    std::process::exit(2);
}

#[cfg(madsim)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    sim::cli::main().into()
}

//! Micro-benchmarks of what touches no file: `cargo bench --bench micro`.
//!
//! What touches files is measured against the kernel's own calls: `benches/io_ratios`.

#[cfg(not(madsim))]
mod assignors;
#[cfg(not(madsim))]
mod batch;
#[cfg(not(madsim))]
mod codec;
#[cfg(not(madsim))]
mod consumer_groups;
#[cfg(not(madsim))]
mod groups;

fn main() {
    #[cfg(not(madsim))]
    divan::main();
}

//! The real world: tokio's sockets, the kernel's files and clocks. Compiled only in the real build.

pub mod file_disk;
pub mod signal;
pub mod tcp;

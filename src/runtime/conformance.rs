//! One suite over `Disk` and `Net`, run against the simulated and the real implementation.

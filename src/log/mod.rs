//! Layer 2: one partition's log, without files; pure.

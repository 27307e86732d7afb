//! Layer 4: a partition's log on a disk.

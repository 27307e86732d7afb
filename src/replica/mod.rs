//! Layer 3: a partition's replica, as a machine.

//! Layer 3: the quorum, as a machine.

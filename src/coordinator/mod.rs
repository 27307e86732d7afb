//! Layer 3: coordinators, each a ledger per partition of an internal topic: of groups in `__consumer_offsets`.

pub mod group;

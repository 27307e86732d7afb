//! Layer 3: the cluster's metadata, as a ledger.

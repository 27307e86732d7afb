//! Layer 5: assembly of a node; no decisions.

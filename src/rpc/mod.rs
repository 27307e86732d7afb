//! Layer 2: asking another node.

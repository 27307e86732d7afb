//! Layer 2: the cluster as data; pure.

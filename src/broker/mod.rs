//! Layer 3: a broker's life in the cluster, as a machine.

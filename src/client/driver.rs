//! Connections to the nodes of a cluster.

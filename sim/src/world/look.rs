//! What is known of a file without reading it.

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Names the file among all that the node ever had, whatever its path is.
    pub file: u64,
    /// The first byte that may read otherwise than when the file was looked at before; `None` where none does.
    pub changed_from: Option<usize>,
    /// Below it every byte is durable as it is read.
    pub durable_below: usize,
}

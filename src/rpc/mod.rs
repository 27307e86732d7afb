//! Layer 2: asking another node. One connection each: `network_client.rs` decides (when to connect, which version, whose
//! answer this is, what has timed out), `driver.rs` holds the socket.
//!
//! Requests are pipelined; a broker answers in the order in which it was asked. What to ask whom, and whether to ask again,
//! is the caller's: a [`driver::Channel`] tells for each request whether it may have been carried out.

mod backoff;
pub mod driver;
mod endpoint;
pub mod network_client;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use endpoint::Endpoint;

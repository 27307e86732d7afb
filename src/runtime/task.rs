//! Tasks. The one place that starts them.

use std::future::Future;

/// A running task. Dropping it lets the task go on.
#[derive(Debug)]
pub struct Task<T>(tokio::task::JoinHandle<T>);

impl<T> Task<T> {
    /// Ends the task at its next wait.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Waits for its end; `None` where it was aborted.
    ///
    /// Panics where the task panicked.
    pub async fn join(self) -> Option<T> {
        match self.0.await {
            Ok(value) => Some(value),
            Err(error) if error.is_panic() => panic!("a task of this node panicked: {error}"),
            Err(_) => None,
        }
    }
}

/// Starts a task on the core (in a simulation: the node) that calls.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the wrapper that the ban points to, which in the simulated build has another name"
)]
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    Task(tokio::spawn(future))
}

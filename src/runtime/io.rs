//! The result of a file operation: there at once, or later.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::BoxFuture;

/// What a file operation returns. `Ready` means done at the call: real page-cache calls neither allocate nor yield, and
/// simulated ones may wait. Await it, or look at which it is.
#[must_use = "an operation whose result nobody looks at may have failed"]
pub enum Io<T> {
    /// Done.
    Ready(io::Result<T>),
    /// Under way; goes on even if the future is dropped.
    Pending(BoxFuture<'static, io::Result<T>>),
}

impl<T> Io<T> {
    /// Done, and well.
    pub fn ok(value: T) -> Self {
        Self::Ready(Ok(value))
    }

    /// Done, and failed.
    pub fn failed(error: impl Into<io::Error>) -> Self {
        Self::Ready(Err(error.into()))
    }
}

impl<T: Unpin + Send + 'static> Future for Io<T> {
    type Output = io::Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.get_mut() {
            Self::Ready(result) => {
                let taken =
                    std::mem::replace(result, Err(io::Error::other("polled after its end")));
                Poll::Ready(taken)
            }
            Self::Pending(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for Io<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Io::Ready",
            Self::Pending(_) => "Io::Pending",
        })
    }
}

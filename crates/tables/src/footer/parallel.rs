//! Many footers at one time: a bounded number of requests on their way, decoded on all processors.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt, stream};
use tokio::task::JoinHandle;

/// Footers of one table that are on their way at the same time.
const FOOTERS_IN_FLIGHT: usize = 64;

/// Runs `read` for every item, at most [`FOOTERS_IN_FLIGHT`] at a time, each in a task of its own; what comes out is in the
/// items' order. Dropping the stream stops what is on its way.
pub(crate) fn side_by_side<T, F>(items: impl IntoIterator<Item = T>, read: impl Fn(T) -> F) -> impl Stream<Item = F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    stream::iter(items).map(move |item| Task(tokio::spawn(read(item)))).buffered(FOOTERS_IN_FLIGHT)
}

/// A task that ends with its handle, and passes its panic on.
struct Task<T>(JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll(context) {
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            Poll::Ready(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, and nobody will look again.
                Err(_) => Poll::Pending,
            },
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn all_are_read_in_their_order_and_few_at_a_time() {
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let read = |number: usize| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Later ones end first.
                for _ in 0..(1000 - number) % 7 {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                number
            }
        };
        let found: Vec<usize> = side_by_side(0..1000, read).collect().await;
        assert_eq!(found, (0..1000).collect::<Vec<_>>());
        assert!((2..=FOOTERS_IN_FLIGHT).contains(&most.load(Ordering::SeqCst)));
    }
}

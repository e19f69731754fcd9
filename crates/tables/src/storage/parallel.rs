//! Many small reads at one time: a bounded number of requests on their way, decoded on all processors.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll};

use futures::executor::block_on;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Reads that are on their way at the same time.
const READS_IN_FLIGHT: usize = 64;
/// What one thread reads from the local disk, one after the other.
const READS_A_THREAD: usize = 256;
/// Threads that read from the local disk at the same time: more than processors, for disks that are slow.
const THREADS_IN_FLIGHT: usize = 8;

/// Runs `read` for every item as it comes, at most [`READS_IN_FLIGHT`] at a time; what comes out is in the items'
/// order. Dropping the stream stops what is on its way.
///
/// With `on_disk` the reads ask the local disk alone. There a read is shorter than the way to another thread and back, which object_store takes for each inside of a
/// runtime: there a thread outside of it reads many.
pub fn side_by_side<'a, T, F>(
    on_disk: bool,
    items: impl Stream<Item = T> + Send + 'a,
    read: impl Fn(T) -> F + Send + 'a,
) -> BoxStream<'a, F::Output>
where
    F: Future<Output: Send> + Send + 'static,
    T: Send + 'a,
{
    let reads = items.map(read);
    if on_disk {
        let threads = reads.chunks(READS_A_THREAD).map(in_a_thread).buffered(THREADS_IN_FLIGHT);
        return threads.flat_map(stream::iter).boxed();
    }
    reads.map(|read| Task(tokio::spawn(read))).buffered(READS_IN_FLIGHT).boxed()
}

/// Runs futures that wait for nothing but the disk in a thread of the [`POOL`], which ends early when nobody waits for it any
/// more.
async fn in_a_thread<F: Future<Output: Send> + Send + 'static>(reads: Vec<F>) -> Vec<F::Output> {
    let (sender, receiver) = oneshot::channel();
    let job = move || {
        let run = || reads.into_iter().take_while(|_| !sender.is_closed()).map(block_on).collect::<Vec<_>>();
        let found = catch_unwind(AssertUnwindSafe(run));
        // Nobody may be waiting any more.
        let _ = sender.send(found);
    };
    // The pool's threads never end, so that there always is one to take it.
    let _ = POOL.send(Box::new(job));
    match receiver.await {
        Ok(Ok(found)) => found,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => unreachable!("a job sends what it found, or its panic"),
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads outside of the runtime. They stay: an allocator gives a thread's memory back when it ends, which takes longer than a
/// thread's reads.
static POOL: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..THREADS_IN_FLIGHT {
        let jobs = Arc::clone(&jobs);
        std::thread::spawn(move || {
            // The lock is held while it waits for a job, not while it runs one; a job's panic is its sender's.
            let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            while let Ok(job) = next() {
                job();
            }
        });
    }
    sender
});

/// A task that ends with its handle, and passes its panic on.
struct Task<T>(JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll(context) {
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            Poll::Ready(Err(error)) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn on_disk_all_are_read_in_their_order_and_a_panic_is_passed_on() {
        let count = 3 * READS_A_THREAD + 1;
        let outside = |number: usize| async move {
            assert!(tokio::runtime::Handle::try_current().is_err(), "object_store would go to yet another thread");
            number
        };
        let found: Vec<usize> = side_by_side(true, stream::iter(0..count), outside).collect().await;
        assert_eq!(found, (0..count).collect::<Vec<_>>());

        let fails = |number: usize| async move { assert_eq!(number, 0, "a read that fails") };
        let panics = side_by_side(true, stream::iter([1]), fails).collect::<Vec<()>>();
        assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
        // The thread is there for others.
        let found: Vec<usize> =
            side_by_side(true, stream::iter(0..2 * READS_A_THREAD * THREADS_IN_FLIGHT), outside).collect().await;
        assert_eq!(found.len(), 2 * READS_A_THREAD * THREADS_IN_FLIGHT);
    }

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
        let found: Vec<usize> = side_by_side(false, stream::iter(0..1000), read).collect().await;
        assert_eq!(found, (0..1000).collect::<Vec<_>>());
        assert!((2..=READS_IN_FLIGHT).contains(&most.load(Ordering::SeqCst)));
    }
}

//! A limit on bytes per second that concurrent units share: a token bucket on the journal's [`Clock`].
//!
//! [`Throttle::take`] books bytes and then waits until the bucket has paid for them, so that a large request is neither
//! refused nor let pass for free. The rate may change while others wait, and the whole may be closed for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use lakeshift_journal::Clock;

/// Amounts are counted in bytes times this, so that a rate times nanoseconds is exact.
const PER_BYTE: u128 = 1_000_000_000;
/// Unused allowance that is saved up, in nanoseconds of the rate.
const BURST_NANOS: u128 = 1_000_000_000;
/// Waiting for less is not worth a timer.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// A waiter looks at the rate again at least this often.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// A shared limit; clones share it.
#[derive(Debug, Clone)]
pub struct Throttle {
    clock: Arc<dyn Clock>,
    bucket: Arc<Mutex<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    /// `None` is unlimited.
    bytes_per_second: Option<u64>,
    /// While closed nothing passes, and nothing is saved up.
    closed: bool,
    /// What the rate has allowed since the beginning; at most a burst ahead of `booked`.
    allowed: u128,
    /// What was asked for since the beginning.
    booked: u128,
    /// When `allowed` was brought up to date, on the clock's monotonic time.
    updated: Duration,
}

impl Bucket {
    fn refresh(&mut self, now: Duration) {
        let nanos = now.saturating_sub(self.updated).as_nanos();
        self.updated = now;
        if self.closed {
            return;
        }
        self.allowed = match self.bytes_per_second {
            Some(rate) => (self.allowed + nanos * u128::from(rate)).min(self.booked + BURST_NANOS * u128::from(rate)),
            None => self.booked,
        };
    }

    /// How long until everything up to `mark` is allowed at the present rate.
    fn wait(&self, mark: u128) -> Duration {
        match self.bytes_per_second {
            _ if self.closed => Duration::MAX,
            Some(rate) if self.allowed < mark => {
                let nanos = (mark - self.allowed).div_ceil(u128::from(rate.max(1)));
                u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
            }
            _ => Duration::ZERO,
        }
    }
}

impl Throttle {
    /// A limit of `bytes_per_second`, or none. A burst of one second's bytes is allowed at once.
    pub fn new(clock: Arc<dyn Clock>, bytes_per_second: Option<u64>) -> Self {
        let allowed = bytes_per_second.map_or(0, |rate| BURST_NANOS * u128::from(rate));
        let bucket = Bucket { bytes_per_second, closed: false, allowed, booked: 0, updated: clock.elapsed() };
        Self { clock, bucket: Arc::new(Mutex::new(bucket)) }
    }

    /// Changes the limit, also for those who wait. Zero lets nothing pass; `None` lifts the limit.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {
        let now = self.clock.elapsed();
        let mut bucket = self.lock();
        bucket.refresh(now);
        bucket.bytes_per_second = bytes_per_second;
        bucket.refresh(now);
    }

    /// Lets nothing pass until it is opened again, whatever the rate.
    pub fn set_closed(&self, closed: bool) {
        let now = self.clock.elapsed();
        let mut bucket = self.lock();
        bucket.refresh(now);
        bucket.closed = closed;
        bucket.refresh(now);
    }

    /// The limit.
    pub fn rate(&self) -> Option<u64> {
        self.lock().bytes_per_second
    }

    /// Books `bytes` and waits until the rate allows them, after everything that was booked before.
    pub async fn take(&self, bytes: u64) {
        let mark = {
            let now = self.clock.elapsed();
            let mut bucket = self.lock();
            bucket.refresh(now);
            bucket.booked += u128::from(bytes) * PER_BYTE;
            bucket.booked
        };
        loop {
            let wait = {
                let now = self.clock.elapsed();
                let mut bucket = self.lock();
                bucket.refresh(now);
                bucket.wait(mark)
            };
            if wait.is_zero() {
                return;
            }
            self.clock.sleep(wait.clamp(WAIT_MIN, WAIT_MAX)).await;
        }
    }

    /// The same rows, each batch let pass when the rate allows its share of the source's bytes: `bytes_per_row` is the
    /// files' size by their rows.
    pub fn pace(&self, input: SendableRecordBatchStream, bytes_per_row: f64) -> SendableRecordBatchStream {
        let throttle = self.clone();
        let schema = input.schema();
        let paced = input.then(move |batch| {
            let throttle = throttle.clone();
            async move {
                if let Ok(batch) = &batch {
                    throttle.take(share(batch.num_rows(), bytes_per_row)).await;
                }
                batch
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, paced))
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is about right; it is not negative, and saturates"
)]
fn share(rows: usize, bytes_per_row: f64) -> u64 {
    (rows as f64 * bytes_per_row.max(0.0)) as u64
}

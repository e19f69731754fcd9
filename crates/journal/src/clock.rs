//! The one place that reads the machine's clocks: [`Clock`] and its real implementation [`SystemClock`].
//!
//! Nothing that must be *safe* may depend on a clock; see the crate documentation.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Wall-clock time, monotonic time and waiting.
#[async_trait]
pub trait Clock: Debug + Send + Sync {
    /// The wall-clock time. It may jump in either direction.
    fn now(&self) -> DateTime<Utc>;

    /// Time since this clock was made. It never goes back and does not follow jumps of the wall clock.
    fn elapsed(&self) -> Duration;

    /// Waits for `duration`.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] starts at zero now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that all others take the time from")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that all others take the time from")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that all others wait with")]
    async fn sleep(&self, duration: Duration) {
        match tokio::runtime::Handle::try_current() {
            Ok(_) => tokio::time::sleep(duration).await,
            // A thread that runs one future of its own has nothing else to do.
            Err(_) => std::thread::sleep(duration),
        }
    }
}

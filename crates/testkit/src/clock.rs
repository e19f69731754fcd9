//! [`ManualClock`]: time that moves only when a test says so.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use lakeshift_journal::Clock;
use tokio::sync::Notify;

/// A clock that a test sets and moves. It starts on 2026-01-01 at 00:00 UTC.
#[derive(Debug)]
pub struct ManualClock {
    time: Mutex<Time>,
    moved: Notify,
    sleeping: Sleeping,
}

#[derive(Debug)]
struct Time {
    now: DateTime<Utc>,
    elapsed: Duration,
}

/// What [`Clock::sleep`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "each name is a sentence: sleeping moves time")]
enum Sleeping {
    MovesTime,
    WaitsForTime,
    ShortMovesTime,
}

/// The longest sleep that counts as a wait between retries.
const SHORT: Duration = Duration::from_secs(5);

impl ManualClock {
    /// A clock on which a sleep moves the time at once and returns: for code that waits between retries.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Sleeping::MovesTime)
    }

    /// A clock on which a sleep lasts until [`ManualClock::advance`] has moved the time so far: for background loops.
    #[must_use]
    pub fn waiting() -> Self {
        Self::with(Sleeping::WaitsForTime)
    }

    /// A clock on which short sleeps move the time, and long ones wait for it: retries go on, background loops stand still.
    #[must_use]
    pub fn for_retries() -> Self {
        Self::with(Sleeping::ShortMovesTime)
    }

    fn with(sleeping: Sleeping) -> Self {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_454);
        Self { time: Mutex::new(Time { now, elapsed: Duration::ZERO }), moved: Notify::new(), sleeping }
    }

    /// Lets `duration` pass, on the wall clock and on the monotonic one.
    pub fn advance(&self, duration: Duration) {
        let mut time = self.lock();
        time.now += duration;
        time.elapsed += duration;
        drop(time);
        self.moved.notify_waiters();
    }

    /// Sets the wall clock, in either direction. The monotonic clock stays.
    pub fn jump_to(&self, now: DateTime<Utc>) {
        self.lock().now = now;
    }

    fn lock(&self) -> MutexGuard<'_, Time> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.lock().now
    }

    fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    async fn sleep(&self, duration: Duration) {
        let moves_time = match self.sleeping {
            Sleeping::MovesTime => true,
            Sleeping::WaitsForTime => false,
            Sleeping::ShortMovesTime => duration <= SHORT,
        };
        if moves_time {
            self.advance(duration);
            return tokio::task::yield_now().await;
        }
        let until = self.elapsed() + duration;
        loop {
            let moved = self.moved.notified();
            let mut moved = std::pin::pin!(moved);
            // Registered before the time is read, so that no advance in between is missed.
            moved.as_mut().enable();
            if self.elapsed() >= until {
                return;
            }
            moved.await;
        }
    }
}

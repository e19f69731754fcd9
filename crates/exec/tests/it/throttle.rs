//! The shared limit on bytes per second, on a manual clock.

use std::sync::Arc;
use std::time::Duration;

use lakeshift_exec::throttle::Throttle;
use lakeshift_journal::Clock;
use lakeshift_testkit::ManualClock;

/// A clock whose sleeps move it, and a throttle on it.
fn throttle(rate: Option<u64>) -> (Arc<ManualClock>, Throttle) {
    let clock = Arc::new(ManualClock::new());
    (Arc::clone(&clock), Throttle::new(clock, rate))
}

fn seconds(clock: &ManualClock) -> f64 {
    clock.elapsed().as_secs_f64()
}

#[tokio::test]
async fn bytes_beyond_one_seconds_burst_take_their_time() {
    let (clock, throttle) = throttle(Some(1000));
    throttle.take(1000).await;
    assert!(seconds(&clock) < 0.01);
    throttle.take(500).await;
    throttle.take(5000).await;
    assert!((seconds(&clock) - 5.5).abs() < 0.05, "{}", seconds(&clock));
}

#[tokio::test]
async fn idle_time_saves_no_more_than_the_burst() {
    let (clock, throttle) = throttle(Some(1000));
    clock.advance(Duration::from_secs(3600));
    throttle.take(3000).await;
    assert!((seconds(&clock) - 3602.0).abs() < 0.05, "{}", seconds(&clock));
}

#[tokio::test]
async fn no_limit_does_not_wait_and_a_limit_may_come_and_go() {
    let (clock, throttle) = throttle(None);
    throttle.take(u64::MAX).await;
    assert!(seconds(&clock) < 0.01);
    throttle.set_rate(Some(100));
    assert_eq!(throttle.rate(), Some(100));
    throttle.take(300).await;
    let slow = seconds(&clock);
    assert!((2.0..3.1).contains(&slow), "{slow}");
    throttle.set_rate(None);
    throttle.take(1_000_000).await;
    assert!(seconds(&clock) < slow + 0.01);
}

#[tokio::test]
async fn those_who_share_the_limit_get_it_together_and_a_new_rate_reaches_who_waits() {
    let clock = Arc::new(ManualClock::waiting());
    let throttle = Throttle::new(Arc::clone(&clock) as Arc<dyn Clock>, Some(100));
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let throttle = throttle.clone();
            tokio::spawn(async move { throttle.take(100).await })
        })
        .collect();
    let done = || tasks.iter().filter(|task| task.is_finished()).count();
    settle().await;
    assert_eq!(done(), 1);
    clock.advance(Duration::from_millis(1010));
    settle().await;
    assert_eq!(done(), 2);
    throttle.set_rate(Some(1_000_000));
    clock.advance(Duration::from_millis(1001));
    settle().await;
    assert_eq!(done(), 3);
}

/// Lets every task run until it waits for the clock.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_closed_throttle_lets_nothing_pass_without_a_limit_or_with_one_and_saves_nothing_up() {
    for rate in [None, Some(1000)] {
        let clock = Arc::new(ManualClock::waiting());
        let throttle = Throttle::new(Arc::clone(&clock) as Arc<dyn Clock>, rate);
        throttle.take(1000).await;
        throttle.set_closed(true);
        let waiting = tokio::spawn({
            let throttle = throttle.clone();
            async move { throttle.take(500).await }
        });
        for _ in 0..100 {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished(), "{rate:?}");
        throttle.set_closed(false);
        for _ in 0..5 {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        waiting.await.unwrap();
    }
}

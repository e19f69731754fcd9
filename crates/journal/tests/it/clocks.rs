//! Clocks that jump cost liveness, never safety.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use lakeshift_journal::{Acquire, Append, Clock, Epoch, Lease, Sequence, Standing};
use lakeshift_testkit::ManualClock;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use rstest::rstest;

use crate::support::{Process, TTL, append};

fn granted(outcome: Acquire) -> Lease {
    match outcome {
        Acquire::Granted(lease) => lease,
        held @ Acquire::Held { .. } => panic!("not granted: {held:?}"),
    }
}

/// Two processes, each with its own clock, on one store.
fn two_processes() -> (Process, Process) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let process = |name| Process::new(name, store.clone(), &Arc::new(ManualClock::new()));
    (process("a"), process("b"))
}

/// The contender's clock is days ahead: it wrongly takes over a live holder, which is then fenced.
#[tokio::test]
async fn a_live_holder_taken_over_by_mistake_is_fenced() {
    let (a, b) = two_processes();
    b.clock.jump_to(b.clock.now() + TimeDelta::days(3));
    let first = granted(a.leases().acquire().await.unwrap());
    let mut stale = a.open().await.unwrap();
    assert_eq!(append(&mut stale, first.epoch().0, "one").await, Append::Appended(Sequence(1)));

    let second = granted(b.leases().acquire().await.unwrap());
    let mut journal = b.open().await.unwrap();
    assert_eq!(append(&mut journal, second.epoch().0, "lease taken").await, Append::Appended(Sequence(2)));

    assert_eq!(append(&mut stale, first.epoch().0, "two").await, Append::Fenced { current: Epoch(2) });
    assert_eq!(first.renew().await.unwrap(), Standing::Lost { current: Epoch(2) });
    assert_eq!(b.open().await.unwrap().last_sequence(), Sequence(2));
}

/// The holder's clock jumps while it works; its own writes go on, and its time stamps may run backwards.
#[rstest]
#[case::back(TimeDelta::days(-400))]
#[case::forward(TimeDelta::days(400))]
#[tokio::test]
async fn a_holder_whose_clock_jumps_keeps_its_lease_and_journal(#[case] jump: TimeDelta) {
    let (a, _) = two_processes();
    let lease = granted(a.leases().acquire().await.unwrap());
    let mut journal = a.open().await.unwrap();
    assert_eq!(append(&mut journal, 1, "one").await, Append::Appended(Sequence(1)));
    a.clock.jump_to(a.clock.now() + jump);
    assert_eq!(lease.renew().await.unwrap(), Standing::Held);
    assert_eq!(append(&mut journal, 1, "two").await, Append::Appended(Sequence(2)));
    assert_eq!(a.open().await.unwrap().last_sequence(), Sequence(2));
}

/// A holder from the far future died: a contender that keeps asking gets the lease after one time to live.
#[tokio::test]
async fn a_dead_holder_from_the_future_does_not_block_for_good() {
    let (a, b) = two_processes();
    a.clock.jump_to(a.clock.now() + TimeDelta::days(3650));
    let lease = granted(a.leases().acquire().await.unwrap());
    assert_eq!(lease.renew().await.unwrap(), Standing::Held);
    drop(lease);

    let contender = b.leases();
    for _ in 0..2 {
        let Acquire::Held { expires_in, .. } = contender.acquire().await.unwrap() else { panic!("taken too early") };
        assert!(expires_in <= TTL, "a heartbeat from the future counts as one of now, not more: {expires_in:?}");
        b.clock.advance(TTL / 2);
    }
    assert_eq!(granted(contender.acquire().await.unwrap()).epoch(), Epoch(2));
}

/// As above, but the holder is alive and renews: the contender sees new heartbeats and keeps off.
#[tokio::test]
async fn a_live_holder_from_the_future_is_left_alone() {
    let (a, b) = two_processes();
    a.clock.jump_to(a.clock.now() + TimeDelta::days(3650));
    let lease = granted(a.leases().acquire().await.unwrap());
    let contender = b.leases();
    for _ in 0..12 {
        assert_eq!(lease.renew().await.unwrap(), Standing::Held);
        assert!(matches!(contender.acquire().await.unwrap(), Acquire::Held { .. }));
        a.clock.advance(TTL / 3);
        b.clock.advance(TTL / 3);
    }
}

/// The folder of the leases was lost: the next epoch is still above every one in the journal.
#[tokio::test]
async fn epochs_rise_above_the_journal_when_the_leases_are_lost() {
    let (a, _) = two_processes();
    let mut journal = a.open().await.unwrap();
    assert_eq!(append(&mut journal, 7, "one").await, Append::Appended(Sequence(1)));
    let lease = granted(a.leases().acquire_above(journal.last_epoch()).await.unwrap());
    assert_eq!(lease.epoch(), Epoch(8));
    let Acquire::Held { epoch, .. } = a.leases().acquire_above(Epoch(7)).await.unwrap() else { panic!("granted twice") };
    assert_eq!(epoch, Epoch(8));
}

#[tokio::test]
async fn a_waiting_clock_wakes_sleepers_only_when_time_has_come() {
    let clock = Arc::new(ManualClock::waiting());
    let sleeper = tokio::spawn({
        let clock = clock.clone();
        async move { clock.sleep(Duration::from_secs(10)).await }
    });
    tokio::task::yield_now().await; // the sleeper begins to sleep
    clock.advance(Duration::from_secs(9));
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(!sleeper.is_finished());
    clock.advance(Duration::from_secs(1));
    sleeper.await.unwrap();
}

//! A session (acquire, open, append, renew, append, release) is killed before and after each of its store operations,
//! and once loses each response. A later process then finishes the work, and the journal is as if nothing had happened.

use std::sync::Arc;

use lakeshift_journal::{Acquire, Append, Journal, Lease, Standing};
use lakeshift_testkit::{FaultPlan, FaultStore, ManualClock};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::support::{Process, TTL};

type Failure = Box<dyn std::error::Error>;

const WORK: [&str; 3] = ["one", "two", "three"];

/// Does what is not yet done, each piece once, and is safe to run again.
async fn session(process: &Process) -> Result<(), Failure> {
    let mut journal = process.open().await?;
    let Acquire::Granted(lease) = process.leases().acquire_above(journal.last_epoch()).await? else {
        return Err("held by another".into());
    };
    append(&mut journal, &lease, "lease taken").await?;
    for work in WORK {
        if journal.entries().iter().any(|entry| entry.event == work) {
            continue;
        }
        append(&mut journal, &lease, work).await?;
        if lease.renew().await? != Standing::Held {
            return Err("lost the lease".into());
        }
    }
    lease.release().await?;
    Ok(())
}

async fn append(journal: &mut Journal<String>, lease: &Lease, event: &str) -> Result<(), Failure> {
    match journal.append(lease.epoch(), &event.to_owned()).await? {
        Append::Appended(_) => Ok(()),
        refused => Err(format!("{refused:?}").into()),
    }
}

/// Runs a session under `plan`, then one without faults, and checks the journal and the leases.
async fn crash_and_resume(plan: FaultPlan) -> (Arc<FaultStore>, bool) {
    let (inner, clock): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), Arc::new(ManualClock::new()));
    let faulty = Arc::new(FaultStore::new(inner.clone(), plan));
    let finished = session(&Process::new("first", faulty.clone(), &clock)).await.is_ok();
    clock.advance(TTL);

    let second = Process::new("second", inner, &clock);
    session(&second).await.unwrap_or_else(|error| panic!("could not resume after {plan:?}: {error}"));
    let journal = second.open().await.unwrap();
    let work: Vec<_> =
        journal.entries().iter().map(|entry| entry.event.as_str()).filter(|event| *event != "lease taken").collect();
    assert_eq!(work, WORK, "after {plan:?}");
    let status = second.leases().status().await.unwrap().unwrap();
    assert_eq!((status.holder.as_str(), status.released), ("second", true), "after {plan:?}");
    assert!(journal.last_epoch() <= status.epoch, "after {plan:?}");
    (faulty, finished)
}

#[tokio::test]
async fn a_session_killed_at_any_store_operation_is_resumed_to_the_same_journal() {
    let (counting, finished) = crash_and_resume(FaultPlan::None).await;
    assert!(finished);
    let operations = counting.operations();
    let mut points = 0;
    for number in 1..=operations {
        for plan in [FaultPlan::CrashBefore(number), FaultPlan::CrashAfter(number)] {
            let (faulty, finished) = crash_and_resume(plan).await;
            assert!(faulty.has_struck(), "{plan:?} was never reached");
            assert!(!finished, "{plan:?} was not noticed");
            points += 1;
        }
        for plan in [FaultPlan::LostResponse(number), FaultPlan::FailOnce(number)] {
            let (faulty, finished) = crash_and_resume(plan).await;
            assert!(faulty.has_struck(), "{plan:?} was never reached");
            assert!(finished, "one transient fault must not end a session: {plan:?}");
            points += 1;
        }
    }
    println!("{operations} store operations, {points} fault points");
    assert_eq!(operations, 14, "the session costs another number of operations than it did");
}

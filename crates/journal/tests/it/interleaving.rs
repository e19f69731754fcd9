//! Two writers under every kind of schedule: no two of them ever extend the journal at the same position, and a fenced
//! one writes nothing more. Each store operation is a scheduling point; the schedule and the faults are random, and a
//! failing one is shrunk and printed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::task::noop_waker;
use lakeshift_journal::{Append, Epoch, Sequence};
use lakeshift_testkit::{Counted, FaultPlan, FaultStore, ManualClock};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use proptest::prelude::*;

use crate::support::Process;

const EVENTS: usize = 4;

/// What one writer believes that it appended.
type Claims = Vec<(Sequence, String)>;

/// Appends its events one by one, deciding again after a conflict, until it is done or fenced.
async fn writer(process: Process, epoch: Epoch) -> Claims {
    let mut claims = Vec::new();
    let mut journal = process.open().await.expect("open");
    for number in 0..EVENTS {
        let event = format!("{} {number}", process.name);
        loop {
            match journal.append(epoch, &event).await.expect("append") {
                Append::Appended(sequence) => break claims.push((sequence, event)),
                Append::Conflict { .. } => {}
                Append::Fenced { current } => {
                    assert!(current > epoch);
                    return claims;
                }
            }
        }
    }
    claims
}

/// Polls two futures in the order of `schedule`, then in turn, until both are done.
fn run<'a>(schedule: &[bool], tasks: [Pin<Box<dyn Future<Output = Claims> + 'a>>; 2]) -> [Claims; 2] {
    let mut tasks = tasks;
    let mut done: [Option<Claims>; 2] = [None, None];
    let waker = noop_waker();
    let rest = [false, true].into_iter().cycle().take(100_000);
    for second in schedule.iter().copied().chain(rest) {
        let index = usize::from(second);
        if done[index].is_none()
            && let Poll::Ready(claims) = tasks[index].as_mut().poll(&mut Context::from_waker(&waker))
        {
            done[index] = Some(claims);
        }
        if let [Some(_), Some(_)] = &done {
            break;
        }
    }
    done.map(|claims| claims.expect("a writer did not finish"))
}

fn fault() -> impl Strategy<Value = FaultPlan> {
    prop_oneof![Just(FaultPlan::None), (1..8u64).prop_map(FaultPlan::LostResponse), (1..8u64).prop_map(FaultPlan::FailOnce),]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_writers_never_extend_the_same_position(
        schedule in prop::collection::vec(any::<bool>(), 0..200),
        faults in [fault(), fault()],
        epochs in prop_oneof![Just([1, 1]), Just([1, 2]), Just([2, 1])],
    ) {
        let (inner, clock): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), Arc::new(ManualClock::new()));
        let process = |name, plan| {
            let store = FaultStore::new(inner.clone(), plan).with_counted(Counted::Mutations);
            Process::new(name, Arc::new(store), &clock)
        };
        let first = Box::pin(writer(process("first", faults[0]), Epoch(epochs[0])));
        let second = Box::pin(writer(process("second", faults[1]), Epoch(epochs[1])));
        let claims = run(&schedule, [first, second]);

        let reader = Process::new("reader", inner.clone(), &clock);
        let journal = futures::executor::block_on(reader.open()).expect("the chain holds");
        let mut claimed: Claims = claims.concat();
        claimed.sort();
        let held: Claims = journal.entries().iter().map(|entry| (entry.sequence, entry.event.clone())).collect();
        prop_assert_eq!(claimed, held, "what the writers believe is what the journal holds, each position once");
        prop_assert!(journal.entries().is_sorted_by_key(|entry| entry.epoch));
        for (writer, epoch) in claims.iter().zip(epochs) {
            let is_highest = epochs.iter().all(|other| *other <= epoch);
            prop_assert!(!is_highest || writer.len() == EVENTS, "the present holder finished its work");
        }
    }
}

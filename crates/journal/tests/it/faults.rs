//! Single faults at the store: a lost response is not written twice, a failed request is tried again.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use lakeshift_journal::{Acquire, Append, Epoch, JournalError, LogError, Sequence};
use lakeshift_testkit::{Counted, FaultPlan, FaultStore, ManualClock, OperationKind};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{CopyOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RenameOptions};
use rstest::rstest;

use crate::support::{Process, append, events};

fn process_with(plan: FaultPlan) -> (Process, Arc<FaultStore>, Process) {
    let (inner, clock): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), Arc::new(ManualClock::new()));
    let faulty = Arc::new(FaultStore::new(inner.clone(), plan).with_counted(Counted::Mutations));
    (Process::new("a", faulty.clone(), &clock), faulty, Process::new("b", inner, &clock))
}

#[rstest]
#[case::lost_response(FaultPlan::LostResponse(1))]
#[case::failed_request(FaultPlan::FailOnce(1))]
#[tokio::test]
async fn an_append_survives_a_fault_of_its_put_and_is_written_once(#[case] plan: FaultPlan) {
    let (process, faulty, reader) = process_with(plan);
    let mut journal = process.open().await.unwrap();
    assert_eq!(append(&mut journal, 1, "one").await, Append::Appended(Sequence(1)));
    assert!(faulty.has_struck());
    assert_eq!(append(&mut journal, 1, "two").await, Append::Appended(Sequence(2)));
    assert_eq!(events(&reader.open().await.unwrap()), ["one", "two"]);
}

/// The response is lost, and the read-back meets another's entry: the event was not written.
#[tokio::test]
async fn a_lost_response_on_a_taken_number_is_a_conflict() {
    let (process, faulty, other) = process_with(FaultPlan::LostResponse(1));
    let mut journal = process.open().await.unwrap();
    assert_eq!(append(&mut other.open().await.unwrap(), 1, "theirs").await, Append::Appended(Sequence(1)));
    assert_eq!(append(&mut journal, 1, "ours").await, Append::Conflict { last: Sequence(1) });
    assert!(faulty.has_struck());
    assert_eq!(events(&journal), ["theirs"], "the other's entry was read");
    assert_eq!(append(&mut journal, 1, "ours").await, Append::Appended(Sequence(2)));
}

/// Two processes append the same event: that is two events, told apart by their nonces.
#[tokio::test]
async fn an_equal_event_of_another_writer_is_not_taken_for_ones_own() {
    let (process, _, _) = process_with(FaultPlan::None);
    let twin = Process { rng: Arc::new(lakeshift_testkit::SeededRng::new(99)), ..process.clone() };
    let (mut first, mut second) = (process.open().await.unwrap(), twin.open().await.unwrap());
    assert_eq!(append(&mut first, 1, "same").await, Append::Appended(Sequence(1)));
    assert_eq!(append(&mut second, 1, "same").await, Append::Conflict { last: Sequence(1) });
}

#[tokio::test]
async fn an_append_into_a_dead_store_says_that_its_outcome_is_unknown() {
    let (process, _, reader) = process_with(FaultPlan::CrashAfter(1));
    let mut journal = process.open().await.unwrap();
    let error = journal.append(Epoch(1), &"one".to_owned()).await.unwrap_err();
    assert!(matches!(error, JournalError::Log(LogError::OutcomeUnknown { .. })), "{error}");
    assert!(error.to_string().contains("m/journal/00000000000000000001.json"), "{error}");
    assert_eq!(events(&reader.open().await.unwrap()), ["one"]);
}

#[rstest]
#[case::lost_response(FaultPlan::LostResponse(1))]
#[case::failed_request(FaultPlan::FailOnce(1))]
#[tokio::test]
async fn an_acquisition_survives_a_fault_of_its_put(#[case] plan: FaultPlan) {
    let (process, faulty, other) = process_with(plan);
    let Acquire::Granted(lease) = process.leases().acquire().await.unwrap() else { panic!("not granted") };
    assert!(faulty.has_struck());
    assert_eq!(lease.epoch(), Epoch(1));
    assert!(matches!(other.leases().acquire().await.unwrap(), Acquire::Held { epoch: Epoch(1), .. }));
}

/// The wrapper counts every method of the trait, the provided ones too.
#[tokio::test]
async fn every_operation_is_counted_once() {
    let store = FaultStore::new(Arc::new(InMemory::new()), FaultPlan::None);
    let (a, b, c) = (Path::from("a"), Path::from("b"), Path::from("c"));
    store.put_opts(&a, "text".into(), PutOptions::from(PutMode::Create)).await.unwrap();
    store.head(&a).await.unwrap();
    store.get_range(&a, 0..2).await.unwrap();
    store.get_ranges(&a, &[0..1, 2..3]).await.unwrap();
    store.copy_opts(&a, &b, CopyOptions::default()).await.unwrap();
    store.rename_opts(&b, &c, RenameOptions::default()).await.unwrap();
    store.list(None).try_collect::<Vec<_>>().await.unwrap();
    store.list_with_offset(None, &a).try_collect::<Vec<_>>().await.unwrap();
    store.list_with_delimiter(None).await.unwrap();
    let mut upload = store.put_multipart(&b).await.unwrap();
    upload.put_part("part".into()).await.unwrap();
    upload.complete().await.unwrap();
    store.put_multipart(&b).await.unwrap().abort().await.unwrap();
    store.delete_stream(futures::stream::iter([Ok(a), Ok(b)]).boxed()).try_collect::<Vec<_>>().await.unwrap();

    use OperationKind::*;
    let kinds: Vec<_> = store.history().iter().map(|operation| operation.kind).collect();
    let expected = [
        Put,
        Head,
        Get,
        Get,
        Copy,
        Copy,
        Delete,
        List,
        List,
        List,
        MultipartBegin,
        MultipartPart,
        MultipartComplete,
        MultipartBegin,
        MultipartAbort,
        Delete,
        Delete,
    ];
    assert_eq!(kinds, expected);
    assert_eq!((store.operations(), store.mutations()), (17, 11));
}

#[rstest]
#[case::crash_before(FaultPlan::CrashBefore(2), [true, false, false], [true, false, false])]
#[case::crash_after(FaultPlan::CrashAfter(2), [true, false, false], [true, true, false])]
#[case::lost_response(FaultPlan::LostResponse(2), [true, false, true], [true, true, true])]
#[case::fail_once(FaultPlan::FailOnce(2), [true, false, true], [true, false, true])]
#[tokio::test]
async fn a_plan_strikes_as_it_says(#[case] plan: FaultPlan, #[case] succeeds: [bool; 3], #[case] takes_effect: [bool; 3]) {
    let inner = Arc::new(InMemory::new());
    let store = FaultStore::new(inner.clone(), plan);
    for (number, (succeeds, takes_effect)) in succeeds.into_iter().zip(takes_effect).enumerate() {
        let path = Path::from(format!("object{number}"));
        assert_eq!(store.put(&path, "x".into()).await.is_ok(), succeeds, "put {number} under {plan:?}");
        assert_eq!(inner.head(&path).await.is_ok(), takes_effect, "effect {number} under {plan:?}");
    }
}

//! A damaged journal is refused with the name of the damaged object, and nothing is changed.

use std::sync::Arc;

use lakeshift_journal::{Append, Epoch, JournalError, LogError, OBJECT_BYTES_MAX, Position, Sequence};
use lakeshift_testkit::ManualClock;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use rstest::rstest;

use crate::support::{Process, append, entry_path};

/// A journal of four entries, under epochs 1, 1, 2, 2.
async fn journal_of_four() -> Process {
    let process = Process::new("a", Arc::new(InMemory::new()), &Arc::new(ManualClock::new()));
    let mut journal = process.open().await.unwrap();
    for (number, epoch) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
        assert_eq!(append(&mut journal, epoch, &format!("event {number}")).await, Append::Appended(Sequence(number)));
    }
    process
}

async fn text(process: &Process, number: u64) -> String {
    let bytes = process.store.get(&entry_path(number)).await.unwrap().bytes().await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn damage(process: &Process, number: u64, from: &str, to: &str) {
    let before = text(process, number).await;
    let after = before.replace(from, to);
    assert_ne!(before, after, "nothing was damaged");
    process.store.put(&entry_path(number), after.into()).await.unwrap();
}

async fn refusal(process: &Process) -> JournalError {
    let error = process.open().await.unwrap_err();
    assert!(error.to_string().contains("m/journal/0000000000000000000"), "names no object: {error}");
    error
}

#[tokio::test]
async fn an_undamaged_journal_opens() {
    assert_eq!(journal_of_four().await.open().await.unwrap().last_sequence(), Sequence(4));
}

#[tokio::test]
async fn an_entry_is_compact_json_with_its_fields_in_order() {
    let process = journal_of_four().await;
    let first = text(&process, 1).await;
    let genesis = "a41e1a512004f023dae79f29d60622ebf9dcba1d61521a98486f69a2776a81aa";
    let start = format!(r#"{{"format_version":1,"sequence":1,"previous":"{genesis}","epoch":1,"#);
    assert!(first.starts_with(&start), "{first}");
    assert!(first.contains(r#""at":"2026-01-01T00:00:00Z","writer":"a","nonce":""#), "{first}");
    assert!(first.ends_with(r#","event":"event 1"}"#), "{first}");
}

#[rstest]
#[case::event("event 2", "event X")]
#[case::writer(r#""writer":"a""#, r#""writer":"b""#)]
#[case::whitespace(r#","epoch""#, r#", "epoch""#)]
#[tokio::test]
async fn an_altered_entry_breaks_the_chain(#[case] from: &str, #[case] to: &str) {
    let process = journal_of_four().await;
    damage(&process, 2, from, to).await;
    let JournalError::BrokenChain { path, previous, sequence } = refusal(&process).await else {
        panic!("not a broken chain")
    };
    assert_eq!((path, previous, sequence), (entry_path(3), entry_path(2), Sequence(3)));
}

#[tokio::test]
async fn a_first_entry_that_is_none_breaks_the_chain() {
    let process = journal_of_four().await;
    let third = text(&process, 3).await.replace(r#""sequence":3"#, r#""sequence":1"#);
    process.store.put(&entry_path(1), third.into()).await.unwrap();
    assert!(matches!(refusal(&process).await, JournalError::BrokenChain { path, .. } if path == entry_path(1)));
}

#[tokio::test]
async fn a_missing_entry_is_named() {
    let process = journal_of_four().await;
    process.store.delete(&entry_path(2)).await.unwrap();
    let JournalError::Missing { path, last, .. } = refusal(&process).await else { panic!("not missing") };
    assert_eq!((path, last), (entry_path(2), Sequence(4)));
}

#[tokio::test]
async fn an_entry_gone_from_the_end_is_noticed_by_who_has_read_it() {
    let process = journal_of_four().await;
    let mut journal = process.open().await.unwrap();
    process.store.delete(&entry_path(4)).await.unwrap();
    let error = journal.refresh().await.unwrap_err();
    assert!(matches!(error, JournalError::Truncated { path, .. } if path == entry_path(4)));
}

#[tokio::test]
async fn an_entry_copied_to_another_number_is_named() {
    let process = journal_of_four().await;
    process.store.copy(&entry_path(4), &entry_path(5)).await.unwrap();
    let JournalError::WrongSequence { path, expected, found } = refusal(&process).await else { panic!("accepted") };
    assert_eq!((path, expected, found), (entry_path(5), Sequence(5), Sequence(4)));
}

#[tokio::test]
async fn a_lower_epoch_after_a_higher_one_is_named() {
    let process = journal_of_four().await;
    damage(&process, 4, r#""epoch":2"#, r#""epoch":1"#).await;
    let JournalError::EpochWentBack { path, found, before } = refusal(&process).await else { panic!("accepted") };
    assert_eq!((path, found, before), (entry_path(4), Epoch(1), Epoch(2)));
}

#[rstest]
#[case::empty("")]
#[case::truncated(r#"{"format_version":1,"seq"#)]
#[case::binary("\u{0}\u{1}\u{2}")]
#[case::deep(&"[".repeat(100_000))]
#[case::other_json(r#"{"hello":"world"}"#)]
#[case::missing_fields(r#"{"format_version":1,"sequence":4}"#)]
#[tokio::test]
async fn garbage_is_named(#[case] content: &str) {
    let process = journal_of_four().await;
    process.store.put(&entry_path(4), content.to_owned().into()).await.unwrap();
    assert!(matches!(refusal(&process).await, JournalError::Garbled { path, .. } if path == entry_path(4)));
}

#[tokio::test]
async fn an_unknown_field_is_refused() {
    let process = journal_of_four().await;
    damage(&process, 4, r#""epoch":2"#, r#""epoch":2,"extra":0"#).await;
    assert!(matches!(refusal(&process).await, JournalError::Garbled { path, .. } if path == entry_path(4)));
}

#[tokio::test]
async fn an_unknown_format_version_asks_for_a_newer_program() {
    let process = journal_of_four().await;
    let future = r#"{"format_version":2,"whatever":"it holds"}"#;
    process.store.put(&entry_path(4), future.into()).await.unwrap();
    let error = refusal(&process).await;
    assert!(matches!(&error, JournalError::UnknownFormat { found: 2, supported: 1, .. }), "{error}");
}

#[tokio::test]
async fn an_unknown_event_asks_for_a_newer_program() {
    let process = journal_of_four().await;
    damage(&process, 4, r#""event":"event 4""#, r#""event":{"new":"kind"}"#).await;
    assert!(matches!(refusal(&process).await, JournalError::UnknownEvent { path, .. } if path == entry_path(4)));
}

#[tokio::test]
async fn an_oversized_object_is_not_read() {
    let process = journal_of_four().await;
    let large = vec![b' '; usize::try_from(OBJECT_BYTES_MAX).unwrap() + 1];
    process.store.put(&entry_path(4), large.into()).await.unwrap();
    let error = refusal(&process).await;
    assert!(matches!(error, JournalError::Log(LogError::TooLarge { path, .. }) if path == entry_path(4)));
}

#[tokio::test]
async fn an_oversized_event_is_refused_before_it_is_written() {
    let process = journal_of_four().await;
    let mut journal = process.open().await.unwrap();
    let event = "x".repeat(usize::try_from(OBJECT_BYTES_MAX).unwrap());
    let error = journal.append(Epoch(2), &event).await.unwrap_err();
    assert!(matches!(error, JournalError::Log(LogError::TooLarge { .. })));
    assert_eq!(process.open().await.unwrap().last_sequence(), Sequence(4));
}

#[tokio::test]
async fn an_event_that_does_not_read_back_is_refused_before_it_is_written() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let process = Process::new("a", store.clone(), &Arc::new(ManualClock::new()));
    let mut journal = lakeshift_journal::Journal::<f64>::open(lakeshift_journal::JournalConfig {
        store,
        prefix: "m/journal".into(),
        clock: process.clock.clone(),
        rng: process.rng.clone(),
        writer: "a".into(),
    })
    .await
    .unwrap();
    let error = journal.append(Epoch(1), &f64::NAN).await.unwrap_err();
    assert!(matches!(error, JournalError::Encode { .. }), "{error}");
    assert_eq!(process.open().await.unwrap().last_sequence(), Sequence(0));
}

#[tokio::test]
async fn a_journal_opened_at_a_position_has_what_came_after_and_goes_on_from_there() {
    let process = journal_of_four().await;
    let whole = process.open().await.unwrap();
    let two = &whole.entries()[1];
    let position = Position { sequence: two.sequence, epoch: two.epoch, digest: two.digest };
    let mut journal = process.open_after(position).await.unwrap();
    assert_eq!(journal.entries(), &whole.entries()[2..]);
    assert_eq!((journal.last_epoch(), journal.position()), (Epoch(2), whole.position()));
    assert_eq!(append(&mut journal, 2, "event 5").await, Append::Appended(Sequence(5)));

    let mut at_end = process.open_after(journal.position().unwrap()).await.unwrap();
    assert_eq!((at_end.entries().len(), at_end.last_sequence(), at_end.last_epoch()), (0, Sequence(5), Epoch(2)));
    assert_eq!(append(&mut at_end, 1, "too late").await, Append::Fenced { current: Epoch(2) });
    assert_eq!(append(&mut at_end, 3, "event 6").await, Append::Appended(Sequence(6)));
    assert_eq!(process.open().await.unwrap().last_sequence(), Sequence(6));
}

#[tokio::test]
async fn a_position_in_another_journal_or_past_the_end_is_refused() {
    let process = journal_of_four().await;
    let last = process.open().await.unwrap().position().unwrap();
    let past = Position { sequence: Sequence(5), ..last };
    assert!(matches!(process.open_after(past).await, Err(JournalError::Truncated { sequence: Sequence(5), .. })));
    damage(&process, 4, "event 4", "event X").await;
    assert!(matches!(process.open_after(last).await, Err(JournalError::BrokenChain { sequence: Sequence(4), .. })));
}

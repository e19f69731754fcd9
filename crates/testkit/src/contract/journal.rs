//! The suite of the journal.

use std::sync::Arc;

use futures::future::join_all;
use lakeshift_journal::{Append, Epoch, Journal, Sequence};
use object_store::ObjectStore;
use object_store::path::Path;

use super::{RACERS, World};

/// Appends are durable, ordered, made by one writer each, and fenced.
pub async fn journal_contract(store: Arc<dyn ObjectStore>, prefix: Path) {
    reopens_as_written(World::new(&store, &prefix, "reopen")).await;
    one_racer_extends(World::new(&store, &prefix, "race")).await;
    fences_a_woken_writer(World::new(&store, &prefix, "fence")).await;
}

async fn open(world: &World, writer: &str) -> Journal<String> {
    Journal::open(world.journal(writer)).await.expect("open")
}

async fn append(journal: &mut Journal<String>, epoch: u64, event: &str) -> Append {
    journal.append(Epoch(epoch), &event.to_owned()).await.expect("append")
}

async fn reopens_as_written(world: World) {
    let mut journal = open(&world, "a").await;
    assert!(journal.entries().is_empty(), "an absent journal is empty");
    for number in 1..=40 {
        let appended = append(&mut journal, 1, &format!("event {number}")).await;
        assert_eq!(appended, Append::Appended(Sequence(number)));
    }
    let reopened = open(&world, "b").await;
    assert_eq!(reopened.entries(), journal.entries());
    assert_eq!(reopened.entries()[39].event, "event 40");
}

async fn one_racer_extends(world: World) {
    let mut journals = Vec::new();
    for racer in 0..RACERS {
        journals.push(open(&world, &format!("racer {racer}")).await);
    }
    let racers = journals
        .into_iter()
        .enumerate()
        .map(|(racer, mut journal)| tokio::spawn(async move { append(&mut journal, 1, &format!("racer {racer}")).await }));
    let outcomes: Vec<_> = join_all(racers).await.into_iter().map(|joined| joined.expect("a racer")).collect();
    let appended = outcomes.iter().filter(|outcome| **outcome == Append::Appended(Sequence(1))).count();
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Append::Conflict { .. })).count();
    assert_eq!((appended, refused), (1, RACERS - 1), "exactly one extends: {outcomes:?}");
    assert_eq!(open(&world, "reader").await.entries().len(), 1);
}

async fn fences_a_woken_writer(world: World) {
    let mut sleeper = open(&world, "sleeper").await;
    assert_eq!(append(&mut sleeper, 1, "work").await, Append::Appended(Sequence(1)));
    let mut successor = open(&world, "successor").await;
    assert_eq!(append(&mut successor, 2, "lease taken").await, Append::Appended(Sequence(2)));

    let fenced = Append::Fenced { current: Epoch(2) };
    assert_eq!(append(&mut sleeper, 1, "stale work").await, fenced);
    assert_eq!(append(&mut sleeper, 1, "stale work").await, fenced, "and stays fenced");
    let mut late = open(&world, "late").await;
    assert_eq!(append(&mut late, 1, "stale work").await, fenced, "also when it reopens first");
    assert_eq!(open(&world, "reader").await.entries().len(), 2, "nothing of it was written");
}

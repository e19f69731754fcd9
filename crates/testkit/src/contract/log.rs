//! The suite of the numbered log: what everything else rests on.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use lakeshift_journal::{Create, NumberedLog};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{RACERS, World};

/// Numbers are created once, by exactly one of several racers, and are listed and read back as written.
pub async fn log_contract(store: Arc<dyn ObjectStore>, prefix: Path) {
    creates_once(World::new(&store, &prefix, "once")).await;
    one_racer_wins_each_number(World::new(&store, &prefix, "race")).await;
    finds_the_last_number(World::new(&store, &prefix, "last")).await;
}

impl World {
    fn log(&self) -> NumberedLog {
        NumberedLog::new(self.store.clone(), self.prefix.clone(), self.clock.clone())
    }
}

async fn creates_once(world: World) {
    let log = world.log();
    assert_eq!(log.last().await.expect("list"), None, "an absent log is empty");
    assert_eq!(log.read(1).await.expect("read"), None);
    assert_eq!(log.create(1, "first".into()).await.expect("create"), Create::Created);
    assert_eq!(log.create(1, "second".into()).await.expect("create"), Create::Taken);
    assert_eq!(log.create(1, "first".into()).await.expect("create"), Create::Created, "its own object is no conflict");
    assert_eq!(log.read(1).await.expect("read"), Some(Bytes::from("first")));
}

async fn one_racer_wins_each_number(world: World) {
    for number in 1..=2 {
        let racers = (0..RACERS).map(|racer| {
            let log = world.log();
            tokio::spawn(async move {
                let content = format!("{number} by {racer}");
                (log.create(number, content.clone().into()).await.expect("create"), content)
            })
        });
        let outcomes: Vec<_> = join_all(racers).await.into_iter().map(|joined| joined.expect("a racer")).collect();
        let winners: Vec<_> = outcomes.iter().filter(|(outcome, _)| *outcome == Create::Created).collect();
        assert_eq!(winners.len(), 1, "of {RACERS} racers for one number exactly one wins: {outcomes:?}");
        let stored = world.log().read(number).await.expect("read");
        assert_eq!(stored, Some(Bytes::from(winners[0].1.clone())), "the object is the winner's");
    }
}

async fn finds_the_last_number(world: World) {
    let log = world.log();
    for number in [1, 2, 9, 10, 11, 100] {
        assert_eq!(log.create(number, format!("{number}").into()).await.expect("create"), Create::Created);
    }
    for foreign in ["00000000000000000200.heartbeat", "200.json", "notes.json", "x/00000000000000000300.json"] {
        let path = Path::from(format!("{}/{foreign}", world.prefix));
        world.store.put(&path, "not of the log".into()).await.expect("put");
    }
    assert_eq!(log.last().await.expect("list"), Some(100));
    assert_eq!(log.last_after(99).await.expect("list"), Some(100));
    assert_eq!(log.last_after(100).await.expect("list"), None);
    let read: Vec<_> = log.read_range(9..=12).boxed().try_collect().await.expect("read");
    let expected = [(9, Some("9".into())), (10, Some("10".into())), (11, Some("11".into())), (12, None)];
    assert_eq!(read, expected, "in order, with the absent number in its place");
}

//! The suite of the leases.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lakeshift_journal::{Acquire, Clock, Epoch, Lease, LeaseManager, Previous, Standing};
use object_store::ObjectStore;
use object_store::path::Path;

use super::{RACERS, TTL, World};

/// One contender holds the lease; the others learn who; it passes on when released or expired, and epochs rise.
pub async fn lease_contract(store: Arc<dyn ObjectStore>, prefix: Path) {
    names_the_holder(World::new(&store, &prefix, "held")).await;
    passes_on_when_released(World::new(&store, &prefix, "release")).await;
    is_taken_over_when_expired(World::new(&store, &prefix, "expire")).await;
    one_racer_is_granted(World::new(&store, &prefix, "race")).await;
}

fn manager(world: &World, holder: &str) -> LeaseManager {
    LeaseManager::new(world.lease(holder))
}

async fn granted(world: &World, holder: &str) -> Lease {
    match manager(world, holder).acquire().await.expect("acquire") {
        Acquire::Granted(lease) => lease,
        held @ Acquire::Held { .. } => panic!("{holder} was not granted the lease: {held:?}"),
    }
}

async fn assert_held(world: &World, by: &str, expected_epoch: Epoch, expires: Duration) {
    match manager(world, "other").acquire().await.expect("acquire") {
        Acquire::Held { holder, epoch, expires_in, .. } => {
            assert_eq!((holder.as_str(), epoch, expires_in), (by, expected_epoch, expires));
        }
        Acquire::Granted(lease) => panic!("granted to another while {by} holds it: {lease:?}"),
    }
}

async fn names_the_holder(world: World) {
    assert_eq!(manager(&world, "a").status().await.expect("status"), None);
    let since = world.clock.now();
    let lease = granted(&world, "a").await;
    assert_eq!((lease.epoch(), lease.previous()), (Epoch(1), None));
    world.clock.advance(TTL / 3);
    assert_held(&world, "a", Epoch(1), TTL - TTL / 3).await;
    assert_eq!(lease.renew().await.expect("renew"), Standing::Held);
    assert_held(&world, "a", Epoch(1), TTL).await;

    let status = manager(&world, "reader").status().await.expect("status").expect("a lease");
    assert_eq!((status.holder.as_str(), status.since, status.is_held()), ("a", since, true));
    assert_eq!(status.last_heartbeat, since + TTL / 3);
}

async fn passes_on_when_released(world: World) {
    let first = granted(&world, "a").await;
    first.release().await.expect("release");
    assert_eq!(first.renew().await.expect("renew"), Standing::Released, "a late renewal does not undo the release");
    assert!(!manager(&world, "reader").status().await.expect("status").expect("a lease").is_held());

    let second = granted(&world, "b").await;
    let previous = Previous { holder: "a".into(), epoch: Epoch(1), released: true };
    assert_eq!((second.epoch(), second.previous()), (Epoch(2), Some(&previous)));
}

async fn is_taken_over_when_expired(world: World) {
    let sleeper = granted(&world, "sleeper").await;
    world.clock.advance(TTL - Duration::from_millis(1));
    assert_held(&world, "sleeper", Epoch(1), Duration::from_millis(1)).await;
    world.clock.advance(Duration::from_millis(1));

    let successor = granted(&world, "successor").await;
    let previous = Previous { holder: "sleeper".into(), epoch: Epoch(1), released: false };
    assert_eq!((successor.epoch(), successor.previous()), (Epoch(2), Some(&previous)));
    let lost = Standing::Lost { current: Epoch(2) };
    assert_eq!(sleeper.check().await.expect("check"), lost);
    assert_eq!(sleeper.renew().await.expect("renew"), lost, "waking up does not win it back");
    assert_eq!(successor.check().await.expect("check"), Standing::Held);
    sleeper.release().await.expect("release");
    assert_held(&world, "successor", Epoch(2), TTL).await;
}

/// First for a lease that never was, then for one that expired.
async fn one_racer_is_granted(world: World) {
    for epoch in [Epoch(1), Epoch(2)] {
        let racers = (0..RACERS).map(|racer| {
            let manager = manager(&world, &format!("racer {racer}"));
            tokio::spawn(async move { manager.acquire().await.expect("acquire") })
        });
        let outcomes: Vec<_> = join_all(racers).await.into_iter().map(|joined| joined.expect("a racer")).collect();
        let granted: Vec<_> = outcomes.iter().filter(|outcome| matches!(outcome, Acquire::Granted(_))).collect();
        assert_eq!(granted.len(), 1, "of {RACERS} racers exactly one is granted: {outcomes:?}");
        let status = manager(&world, "reader").status().await.expect("status").expect("a lease");
        assert_eq!(status.epoch, epoch);
        world.clock.advance(TTL);
    }
}

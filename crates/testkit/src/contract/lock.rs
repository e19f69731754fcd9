//! The suite of the lock services.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use lakeshift_journal::{Epoch, Grant, HeldLock, LeaseError, LockService, Standing};

use super::RACERS;

/// Looks in a row before a suite gives up waiting for what a service does by itself.
const LOOKS_MAX: u32 = 200;

/// A process that asks for locks, with a way to the service of its own.
pub struct LockProcess {
    /// What it asks.
    pub service: Arc<dyn LockService>,
    /// Breaks its way to the service, with `true`, and mends it.
    pub sever: Box<dyn Fn(bool) + Send + Sync>,
    /// Whether an answer was lost on that way.
    pub has_lost: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for LockProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockProcess").field("service", &self.service).finish_non_exhaustive()
    }
}

/// What the suite needs around a service.
#[async_trait]
pub trait LockWorld: Send + Sync {
    /// A process that calls itself `holder`.
    async fn join(&self, holder: &str) -> LockProcess;

    /// A process whose first request that takes a lock reaches the service, and never hears the answer.
    async fn join_unheard(&self) -> LockProcess;

    /// Lets more time pass than a lock lives that nobody renews.
    async fn outlive(&self);

    /// Lets a little time pass.
    async fn wait(&self);

    /// The service stops.
    async fn stop(&self);

    /// It goes on with what it had.
    async fn start(&self);
}

/// One process holds a lock; the others learn who; it passes on when it is released or its holder is silent; epochs rise through
/// all of it, whatever is lost or restarted.
pub async fn lock_contract(world: &dyn LockWorld) {
    names_its_holder_until_it_is_released(world).await;
    rises_above_the_floor(world).await;
    passes_on_when_its_holder_is_silent(world).await;
    stays_its_holders_while_nobody_takes_it(world).await;
    is_granted_to_one_of_many(world).await;
    is_granted_or_refused_when_the_answer_is_lost(world).await;
    ends_when_its_process_does(world).await;
    outlasts_its_service(world).await;
}

/// The next lock under this name, once the service gives it.
async fn granted(world: &dyn LockWorld, process: &LockProcess, name: &str) -> Box<dyn HeldLock> {
    let mut last = String::new();
    for _ in 0..LOOKS_MAX {
        match process.service.acquire(name, Epoch(0)).await {
            Ok(Grant::Granted(lock)) => return lock,
            other => last = format!("{other:?}"),
        }
        world.wait().await;
    }
    panic!("{name} is not granted: {last}");
}

async fn assert_held(process: &LockProcess, name: &str, by: &str) {
    match process.service.acquire(name, Epoch(0)).await.expect("acquire") {
        Grant::Held { holder, expires_in } => {
            assert_eq!(holder, by);
            assert!(!expires_in.is_zero(), "{name} is held, and for no time");
        }
        Grant::Granted(lock) => panic!("granted while {by} holds it: {lock:?}"),
    }
}

/// What a renewal comes to, once the service answers.
async fn renewed(world: &dyn LockWorld, lock: &dyn HeldLock) -> Standing {
    let mut last = String::new();
    for _ in 0..LOOKS_MAX {
        match lock.renew().await {
            Ok(standing) => return standing,
            Err(error) => last = error.to_string(),
        }
        world.wait().await;
    }
    panic!("no renewal is answered: {last}");
}

async fn names_its_holder_until_it_is_released(world: &dyn LockWorld) {
    let (one, other) = (world.join("one").await, world.join("other").await);
    let first = granted(world, &one, "released").await;
    assert_held(&other, "released", "one").await;
    assert_held(&one, "released", "one").await;
    assert_eq!(first.renew().await.expect("renew"), Standing::Held);
    assert_held(&other, "released", "one").await;
    let beside = granted(world, &other, "another name").await;

    first.release().await.expect("release");
    assert_eq!(first.renew().await.expect("renew"), Standing::Released, "a late renewal does not undo a release");
    first.release().await.expect("a second release is none");
    let Ok(Grant::Granted(second)) = other.service.acquire("released", Epoch(0)).await else {
        panic!("a released lock is free at once");
    };
    assert!(second.epoch() > first.epoch());
    assert_eq!(beside.renew().await.expect("renew"), Standing::Held, "names do not touch each other");
}

async fn rises_above_the_floor(world: &dyn LockWorld) {
    let process = world.join("one").await;
    let mut last = Epoch(0);
    for floor in [Epoch(41), Epoch(7), Epoch(0)] {
        let Grant::Granted(lock) = process.service.acquire("floor", floor).await.expect("acquire") else {
            panic!("a free lock was not granted");
        };
        assert!(lock.epoch() > floor && lock.epoch() > last, "{:?} after {last:?}, above {floor:?}", lock.epoch());
        last = lock.epoch();
        lock.release().await.expect("release");
    }
}

async fn passes_on_when_its_holder_is_silent(world: &dyn LockWorld) {
    let (sleeper, successor) = (world.join("sleeper").await, world.join("successor").await);
    let lost = granted(world, &sleeper, "silent").await;
    (sleeper.sever)(true);
    world.outlive().await;
    let taken = granted(world, &successor, "silent").await;
    assert!(taken.epoch() > lost.epoch());

    (sleeper.sever)(false);
    let standing = renewed(world, lost.as_ref()).await;
    assert_eq!(standing, Standing::Lost { current: taken.epoch() }, "waking up does not win it back");
    lost.release().await.expect("release");
    assert_held(&sleeper, "silent", "successor").await;
    assert_eq!(taken.renew().await.expect("renew"), Standing::Held, "a late release frees nothing of another's");
}

async fn stays_its_holders_while_nobody_takes_it(world: &dyn LockWorld) {
    let (sleeper, other) = (world.join("sleeper").await, world.join("other").await);
    let lock = granted(world, &sleeper, "unwanted").await;
    let epoch = lock.epoch();
    (sleeper.sever)(true);
    world.outlive().await;
    (sleeper.sever)(false);
    assert_eq!((renewed(world, lock.as_ref()).await, lock.epoch()), (Standing::Held, epoch));
    assert_held(&other, "unwanted", "sleeper").await;
    lock.release().await.expect("release");
    assert!(granted(world, &other, "unwanted").await.epoch() > epoch);
}

/// First for a lock that never was, then for one that was let go.
async fn is_granted_to_one_of_many(world: &dyn LockWorld) {
    let mut last = Epoch(0);
    for _ in 0..2 {
        let mut racers = Vec::new();
        for racer in 0..RACERS {
            racers.push((format!("racer {racer}"), world.join(&format!("racer {racer}")).await));
        }
        let asked = racers.iter().map(|(_, racer)| racer.service.acquire("race", Epoch(0)));
        let outcomes: Vec<Grant> = join_all(asked).await.into_iter().map(|outcome| outcome.expect("acquire")).collect();
        let (mut locks, mut held_by) = (Vec::new(), Vec::new());
        for (outcome, (name, _)) in outcomes.into_iter().zip(&racers) {
            match outcome {
                Grant::Granted(lock) => locks.push((name.clone(), lock)),
                Grant::Held { holder, .. } => held_by.push(holder),
            }
        }
        assert_eq!((locks.len(), held_by.len()), (1, RACERS - 1), "of {RACERS} racers exactly one is granted");
        let (winner, lock) = locks.remove(0);
        assert!(held_by.iter().all(|holder| *holder == winner), "{winner} holds it, and others were told {held_by:?}");
        assert!(lock.epoch() > last);
        last = lock.epoch();
        lock.release().await.expect("release");
    }
}

async fn is_granted_or_refused_when_the_answer_is_lost(world: &dyn LockWorld) {
    let (other, unheard) = (world.join("other").await, world.join_unheard().await);
    let before = granted(world, &other, "lost").await;
    before.release().await.expect("release");
    let outcome: Result<Grant, LeaseError> = unheard.service.acquire("lost", Epoch(0)).await;
    assert!((unheard.has_lost)(), "no answer was lost");
    let after = match outcome {
        Ok(Grant::Granted(lock)) => {
            assert!(lock.epoch() > before.epoch());
            assert!(matches!(other.service.acquire("lost", Epoch(0)).await, Ok(Grant::Held { .. })));
            assert_eq!(renewed(world, lock.as_ref()).await, Standing::Held);
            lock.release().await.expect("release");
            let after = granted(world, &other, "lost").await;
            assert!(after.epoch() > lock.epoch());
            after
        }
        Ok(Grant::Held { holder, .. }) => panic!("it is told that {holder} has what it has itself"),
        Err(_) => {
            drop(unheard);
            world.outlive().await;
            granted(world, &other, "lost").await
        }
    };
    assert!(after.epoch().0 > before.epoch().0 + 1, "the request that took effect has an epoch of its own");
}

async fn ends_when_its_process_does(world: &dyn LockWorld) {
    let process = world.join("one").await;
    let lock = granted(world, &process, "dropped").await;
    let epoch = lock.epoch();
    drop((lock, process));
    world.outlive().await;
    let again = world.join("one").await;
    assert!(granted(world, &again, "dropped").await.epoch() > epoch, "epochs rise when a process is started again");
}

async fn outlasts_its_service(world: &dyn LockWorld) {
    let (one, other) = (world.join("one").await, world.join("other").await);
    let lock = granted(world, &one, "restarted").await;
    world.stop().await;
    assert!(lock.renew().await.is_err(), "a service that is down renews nothing");
    assert!(other.service.acquire("restarted", Epoch(0)).await.is_err(), "a service that is down grants nothing");
    world.start().await;
    assert_eq!(renewed(world, lock.as_ref()).await, Standing::Held);
    let mut told = None;
    for _ in 0..LOOKS_MAX {
        match other.service.acquire("restarted", Epoch(0)).await {
            Ok(Grant::Held { holder, .. }) => told = Some(holder),
            Ok(Grant::Granted(second)) => panic!("granted while it is held: {second:?}"),
            Err(_) => world.wait().await,
        }
        if told.is_some() {
            break;
        }
    }
    assert_eq!(told.as_deref(), Some("one"));
    lock.release().await.expect("release");
    assert!(granted(world, &other, "restarted").await.epoch() > lock.epoch(), "epochs rise over a restart");
}

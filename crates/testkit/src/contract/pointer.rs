//! What must hold of everything that readers are moved by.

use std::sync::Arc;

use async_trait::async_trait;
use lakeshift_core::migration::Side;
use lakeshift_core::pointer::ReaderPointer;
use lakeshift_core::table::TableError;

use crate::CutProxy;

/// What becomes of a move when others have changed what readers get, or have taken it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It is refused, and readers get what others have left them.
    Refused,
    /// Readers are brought to the side that was asked for: nothing of others' is lost by it.
    Restored,
}

/// A pointer to the old table, in a service of its own, and what becomes of it by others.
#[async_trait]
pub trait PointerWorld: Send + Sync {
    /// The pointer, opened anew, as another process would.
    fn pointer(&self) -> Arc<dyn ReaderPointer>;

    /// What a reader gets, asked by other means than the pointer's; `None` for neither table, and for nothing.
    async fn seen(&self) -> Option<Side>;

    /// The same pointer, in a service that is not there or refuses everything; `None` where there is no service that could be
    /// away.
    fn unreachable(&self) -> Option<Arc<dyn ReaderPointer>>;

    /// The pointer for a move to `side` that is made, and whose answer is lost; `None` where the answer cannot be lost.
    async fn deaf(&self, side: Side) -> Option<Arc<dyn ReaderPointer>>;

    /// The pointer for a move to `side` in the middle of which somebody else moves readers to neither table; `None` where
    /// nobody can come between.
    async fn raced(&self, side: Side) -> Option<Arc<dyn ReaderPointer>>;

    /// Somebody else changes what a moved pointer's readers get.
    async fn meddle(&self);

    /// What a move after that comes to.
    fn over_meddled(&self) -> Over {
        Over::Refused
    }

    /// Somebody takes away what readers ask for.
    async fn remove(&self);

    /// What a move after that comes to.
    fn over_removed(&self) -> Over {
        Over::Refused
    }
}

/// A pointer whose service answers through a proxy, which must lose an answer of its next move.
#[derive(Debug)]
pub struct BehindProxy {
    pointer: Arc<dyn ReaderPointer>,
    proxy: CutProxy,
}

impl BehindProxy {
    /// A pointer that asks through that proxy.
    #[must_use]
    pub fn new(pointer: Arc<dyn ReaderPointer>, proxy: CutProxy) -> Self {
        Self { pointer, proxy }
    }
}

#[async_trait]
impl ReaderPointer for BehindProxy {
    fn name(&self) -> String {
        self.pointer.name()
    }

    async fn named(&self) -> Result<Side, TableError> {
        self.pointer.named().await
    }

    async fn point(&self, side: Side) -> Result<(), TableError> {
        let result = self.pointer.point(side).await;
        assert!(self.proxy.has_struck(), "no answer was lost: this tests nothing");
        result
    }

    async fn rehearse(&self, side: Side) -> Result<(), TableError> {
        self.pointer.rehearse(side).await
    }
}

/// Forward and back and where it is, each repeated; two at once, to one side and to both; the answer lost; rehearsed; the
/// service away; somebody else at it; gone.
///
/// # Panics
/// On the first breach.
pub async fn pointer_contract(world: &dyn PointerWorld) {
    moves(world).await;
    crosses(world).await;
    loses_answers(world).await;
    if let Some(away) = world.unreachable() {
        assert!(away.named().await.is_err(), "a service that is not there names nothing");
        for side in [Side::Old, Side::New] {
            assert!(away.point(side).await.is_err() && away.rehearse(Side::New).await.is_err(), "and moves nothing");
        }
    }
    is(world, Side::New).await;
    world.meddle().await;
    assert!(world.pointer().named().await.is_err(), "what others have changed is told");
    over(world, Side::Old, world.over_meddled()).await;
    world.remove().await;
    assert!(world.pointer().named().await.is_err(), "what is gone names nothing");
    for side in [Side::New, Side::Old] {
        over(world, side, world.over_removed()).await;
    }
}

/// Somebody else moves readers while the pointer does: it does not say that they are where it was asked to bring them, and does
/// not take them from where somebody else has put them. For a world of its own, which is not used afterwards; whether there
/// was such a move.
///
/// # Panics
/// On the first breach.
pub async fn pointer_race_contract(world: &dyn PointerWorld) -> bool {
    is(world, Side::Old).await;
    let Some(raced) = world.raced(Side::New).await else { return false };
    let before = world.seen().await;
    assert!(raced.point(Side::New).await.is_err(), "somebody else's move is no success of one's own");
    let seen = world.seen().await;
    assert_ne!(seen, Some(Side::New), "readers are not on the table that nobody was told of");
    if let Ok(named) = world.pointer().named().await {
        assert_eq!((Some(named), seen), (before, before), "what is told is what readers get");
    }
    true
}

/// Ends on the new table.
async fn moves(world: &dyn PointerWorld) {
    is(world, Side::Old).await;
    world.pointer().point(Side::Old).await.expect("it is there already");
    for side in [Side::New, Side::Old, Side::New] {
        let before = world.seen().await.expect("one of the tables");
        world.pointer().rehearse(side).await.expect("a rehearsal");
        is(world, before).await;
        for _ in 0..2 {
            world.pointer().point(side).await.expect("a move, and its repetition");
            is(world, side).await;
        }
    }
    let [one, other] = [world.pointer(), world.pointer()];
    let (one, other) = tokio::join!(one.point(Side::Old), other.point(Side::Old));
    // Whoever comes second may be told so; readers are there by the first.
    one.or(other).expect("one of two that do the same");
    is(world, Side::Old).await;
    world.pointer().point(Side::New).await.expect("a move");
}

/// Two at once to both sides: one wins, and readers get what it says. Ends on the new table.
async fn crosses(world: &dyn PointerWorld) {
    let [one, other] = [world.pointer(), world.pointer()];
    let (forward, back) = tokio::join!(one.point(Side::New), other.point(Side::Old));
    let named = world.pointer().named().await.expect("where it is");
    is(world, named).await;
    match (forward, back) {
        (Err(_), Ok(())) => assert_eq!(named, Side::Old, "the one that went"),
        (Ok(()), Err(_)) => assert_eq!(named, Side::New, "the one that went"),
        (forward, back) => forward.and(back).expect("one of two at once"),
    }
    world.pointer().point(Side::New).await.expect("a move");
    is(world, Side::New).await;
}

/// Whatever a move says whose answer was lost, the next look tells, and a repetition ends it. Ends on the new table.
async fn loses_answers(world: &dyn PointerWorld) {
    for side in [Side::Old, Side::New] {
        let Some(deaf) = world.deaf(side).await else { return };
        let told = deaf.point(side).await;
        let seen = world.seen().await;
        assert!(told.is_err() || seen == Some(side), "a success is one");
        if let Ok(named) = world.pointer().named().await {
            assert_eq!(Some(named), seen, "where it is, after a lost answer");
        }
        world.pointer().point(side).await.expect("a repetition");
        is(world, side).await;
    }
}

/// A move after others have done something.
async fn over(world: &dyn PointerWorld, side: Side, over: Over) {
    let (before, moved) = (world.seen().await, world.pointer().point(side).await);
    match over {
        Over::Refused => {
            assert!(moved.is_err(), "what others have done stops a move");
            assert_eq!(world.seen().await, before, "which leaves readers where they are");
        }
        Over::Restored => {
            moved.expect("a move over what others have done");
            is(world, side).await;
        }
    }
}

async fn is(world: &dyn PointerWorld, side: Side) {
    assert_eq!(world.pointer().named().await.expect("where it is"), side, "what it says");
    assert_eq!(world.seen().await, Some(side), "what a reader gets");
}

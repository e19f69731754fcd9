//! What must hold of everything that readers are moved by.

use std::sync::Arc;

use async_trait::async_trait;
use lakeshift_core::migration::Side;
use lakeshift_core::pointer::ReaderPointer;

/// A pointer to the old table, in a service of its own, and what becomes of it by others.
#[async_trait]
pub trait PointerWorld: Send + Sync {
    /// The pointer, opened anew, as another process would.
    fn pointer(&self) -> Arc<dyn ReaderPointer>;

    /// What a reader gets, asked by other means than the pointer's.
    async fn seen(&self) -> Side;

    /// The same pointer, in a service that is not there; `None` where there is no service that could be away.
    fn unreachable(&self) -> Option<Arc<dyn ReaderPointer>>;

    /// Somebody else changes what a moved pointer's readers get.
    async fn meddle(&self);

    /// Somebody takes away what readers ask for.
    async fn remove(&self);
}

/// Forward and back and where it is, each repeated; two at once; rehearsed; the service away; somebody else at it; gone.
///
/// # Panics
/// On the first breach.
pub async fn pointer_contract(world: &dyn PointerWorld) {
    moves(world).await;
    if let Some(away) = world.unreachable() {
        assert!(away.named().await.is_err(), "a service that is not there names nothing");
        for side in [Side::Old, Side::New] {
            assert!(away.point(side).await.is_err() && away.rehearse(Side::New).await.is_err(), "and moves nothing");
        }
    }
    is(world, Side::New).await;
    world.meddle().await;
    let seen = world.seen().await;
    assert!(world.pointer().named().await.is_err(), "what others have changed is told");
    assert!(world.pointer().point(Side::Old).await.is_err(), "and stops the way back");
    assert_eq!(world.seen().await, seen, "which leaves it as they have it");
    world.remove().await;
    assert!(world.pointer().named().await.is_err(), "what is gone names nothing");
    for side in [Side::New, Side::Old] {
        assert!(world.pointer().point(side).await.is_err(), "and is not made");
    }
}

/// Ends on the new table.
async fn moves(world: &dyn PointerWorld) {
    is(world, Side::Old).await;
    world.pointer().point(Side::Old).await.expect("it is there already");
    for side in [Side::New, Side::Old, Side::New] {
        let before = world.seen().await;
        world.pointer().rehearse(side).await.expect("a rehearsal");
        is(world, before).await;
        for _ in 0..2 {
            world.pointer().point(side).await.expect("a move, and its repetition");
            is(world, side).await;
        }
    }
    let [one, other] = [world.pointer(), world.pointer()];
    let (one, other) = tokio::join!(one.point(Side::Old), other.point(Side::Old));
    one.and(other).expect("two that do the same");
    is(world, Side::Old).await;
    world.pointer().point(Side::New).await.expect("a move");
}

async fn is(world: &dyn PointerWorld, side: Side) {
    assert_eq!(world.pointer().named().await.expect("where it is"), side, "what it says");
    assert_eq!(world.seen().await, side, "what a reader gets");
}

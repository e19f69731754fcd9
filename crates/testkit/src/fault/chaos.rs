//! [`Chaos`]: what a process meets between itself and its store on a bad day, drawn from a seed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lakeshift_journal::Clock;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::plan::{Fate, LOST, UNAVAILABLE};
use crate::ManualClock;

/// Times that other tasks may run before an operation, and after it, at most.
const YIELDS_MAX: u32 = 6;

/// Of a thousand operations, those that the store refuses for the moment.
const REFUSED_PER_MILLE: u32 = 4;

/// Those whose response is lost.
const LOST_PER_MILLE: u32 = 4;

/// Those at which the process stands still for longer than any lease lasts.
const STALLS_PER_MILLE: u32 = 3;

/// How long that is.
const STALL: Duration = Duration::from_secs(200);

/// One process's bad day: delays, refusals, lost responses, and long stops in which it does nothing at all, also not renew
/// its lease, and after which it goes on as if nothing had been.
#[derive(Debug)]
pub struct Chaos {
    state: Mutex<State>,
    clock: Arc<ManualClock>,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    stalled_until: Duration,
}

impl Chaos {
    /// The day of `seed`. Somebody else has to let the time of `clock` pass, or a stalled process never wakes.
    #[must_use]
    pub fn new(seed: u64, clock: Arc<ManualClock>) -> Self {
        let state = State { rng: StdRng::seed_from_u64(seed), stalled_until: Duration::ZERO };
        Self { state: Mutex::new(state), clock }
    }

    /// What becomes of the next operation, once it is its turn.
    pub(super) async fn fate(&self) -> Fate {
        let (yields, drawn) = {
            let mut state = self.lock();
            if state.rng.random_range(0..1000) < STALLS_PER_MILLE {
                state.stalled_until = self.clock.elapsed() + STALL;
            }
            (state.rng.random_range(0..=YIELDS_MAX), state.rng.random_range(0..1000))
        };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        while self.clock.elapsed() < self.lock().stalled_until {
            tokio::task::yield_now().await;
        }
        match drawn {
            drawn if drawn < REFUSED_PER_MILLE => Fate::FailsWithoutEffect(UNAVAILABLE),
            drawn if drawn < REFUSED_PER_MILLE + LOST_PER_MILLE => Fate::FailsAfterEffect(LOST),
            _ => Fate::Works,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Which operation fails and how, the numbering, and the history.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use lakeshift_journal::{Clock, SystemClock};
use object_store::path::Path;
use object_store::{Error, Result};

use super::chaos::Chaos;

/// The fault to inject; the number is that of an operation, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPlan {
    /// Only count.
    None,
    /// The process dies before the operation: it has no effect, and it and all later ones fail.
    CrashBefore(u64),
    /// The process dies after the operation: it takes effect, and it and all later ones report failure.
    CrashAfter(u64),
    /// The operation takes effect and reports a transient error; all later ones work.
    LostResponse(u64),
    /// The operation has no effect and reports a transient error; all later ones work.
    FailOnce(u64),
}

impl FaultPlan {
    /// Every way in which one of the operations of `history` can fail: each with its response lost, and a crash before and
    /// after each.
    ///
    /// A crash at an operation that only reads is left out: what the dead process leaves is what it leaves by a crash after
    /// the last operation before it that writes.
    #[must_use]
    pub fn every(history: &[Operation]) -> Vec<Self> {
        let faults = history.iter().flat_map(|operation| {
            let crashes = [Self::CrashBefore, Self::CrashAfter].map(|crash| crash(operation.number));
            let crashes = crashes.into_iter().filter(|_| operation.kind.is_mutation());
            crashes.chain([Self::LostResponse(operation.number)])
        });
        faults.collect()
    }

    /// The number of the operation that fails.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::CrashBefore(number) | Self::CrashAfter(number) | Self::LostResponse(number) | Self::FailOnce(number) => {
                Some(number)
            }
        }
    }

    /// As this plan, where the first `operations` are not counted: for a scenario that begins after them.
    ///
    /// # Panics
    ///
    /// If the operation that fails is one of them.
    #[must_use]
    pub fn after(self, operations: u64) -> Self {
        assert!(self.number().is_none_or(|number| number > operations), "{self:?} is one of the first {operations}");
        let left = |number: u64| number - operations;
        match self {
            Self::None => Self::None,
            Self::CrashBefore(number) => Self::CrashBefore(left(number)),
            Self::CrashAfter(number) => Self::CrashAfter(left(number)),
            Self::LostResponse(number) => Self::LostResponse(left(number)),
            Self::FailOnce(number) => Self::FailOnce(left(number)),
        }
    }
}

/// Which operations a plan's number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Every one.
    All,
    /// Those that change the store: steadier where reads run in parallel.
    Mutations,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the method of the store that it names")]
pub enum OperationKind {
    Get,
    Head,
    List,
    Put,
    MultipartBegin,
    MultipartPart,
    MultipartComplete,
    MultipartAbort,
    Delete,
    Copy,
}

impl OperationKind {
    /// Whether it changes the store.
    #[must_use]
    pub fn is_mutation(self) -> bool {
        !matches!(self, Self::Get | Self::Head | Self::List)
    }
}

/// An operation that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its number among all operations, from 1.
    pub number: u64,
    /// What it does.
    pub kind: OperationKind,
    /// To which object, or under which prefix.
    pub path: Path,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?} {}", self.number, self.kind, self.path)
    }
}

/// Asked before each operation; gives the reason for which it is refused.
pub type Gate = Arc<dyn Fn(OperationKind, &Path) -> BoxFuture<'static, Option<&'static str>> + Send + Sync>;

/// What becomes of operations.
#[derive(Clone)]
pub(super) struct Settings {
    pub plan: FaultPlan,
    pub counted: Counted,
    pub latency: Duration,
    pub chaos: Option<Arc<Chaos>>,
    pub gate: Option<Gate>,
    pub creates_only: bool,
}

impl Settings {
    pub fn new(plan: FaultPlan) -> Self {
        let (counted, latency) = (Counted::All, Duration::ZERO);
        Self { plan, counted, latency, chaos: None, gate: None, creates_only: true }
    }
}

/// Shared by a store and its uploads and streams.
pub(super) struct Shared {
    pub settings: Settings,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.settings.plan).finish()
    }
}

#[derive(Debug, Default)]
struct State {
    history: Vec<Operation>,
    mutations: u64,
    struck: bool,
    dead: bool,
}

/// What happens to one operation.
pub(super) enum Fate {
    Works,
    FailsWithoutEffect(&'static str),
    FailsAfterEffect(&'static str),
}

const CRASHED: &str = "injected: the process has crashed";
pub(super) const UNAVAILABLE: &str = "injected: 503, the service is unavailable";
pub(super) const LOST: &str = "injected: the response was lost";
const FAILED: &str = "injected: the request failed";

impl Shared {
    pub fn new(settings: Settings) -> Self {
        Self { settings, state: Mutex::default() }
    }

    /// Numbers `operation` when first polled, and carries it out or not as the plan says.
    pub async fn run<T>(&self, kind: OperationKind, path: &Path, operation: impl Future<Output = Result<T>>) -> Result<T> {
        // Every operation is a point where a scheduler may let another task run first.
        tokio::task::yield_now().await;
        let Settings { chaos, gate, latency, .. } = &self.settings;
        let mut fate = match (self.begin(kind, path), chaos) {
            (Fate::Works, Some(chaos)) => chaos.fate().await,
            (planned, _) => planned,
        };
        if let (Fate::Works, Some(gate)) = (&fate, gate) {
            fate = gate(kind, path).await.map_or(Fate::Works, Fate::FailsWithoutEffect);
        }
        if !latency.is_zero() {
            SystemClock::new().sleep(*latency).await;
        }
        match fate {
            Fate::Works => operation.await,
            Fate::FailsWithoutEffect(reason) => Err(injected(reason)),
            Fate::FailsAfterEffect(reason) => {
                // Nobody hears what came of it.
                drop(operation.await);
                Err(injected(reason))
            }
        }
    }

    fn begin(&self, kind: OperationKind, path: &Path) -> Fate {
        let mut state = self.lock();
        if state.dead {
            return Fate::FailsWithoutEffect(CRASHED);
        }
        let number = state.history.len() as u64 + 1;
        state.history.push(Operation { number, kind, path: path.clone() });
        state.mutations += u64::from(kind.is_mutation());
        let number = match self.settings.counted {
            Counted::All => number,
            Counted::Mutations if kind.is_mutation() => state.mutations,
            Counted::Mutations => return Fate::Works,
        };
        let (fate, dies) = match self.settings.plan {
            plan if plan.number() != Some(number) => return Fate::Works,
            FaultPlan::None => return Fate::Works,
            FaultPlan::CrashBefore(_) => (Fate::FailsWithoutEffect(CRASHED), true),
            FaultPlan::CrashAfter(_) => (Fate::FailsAfterEffect(CRASHED), true),
            FaultPlan::LostResponse(_) => (Fate::FailsAfterEffect(LOST), false),
            FaultPlan::FailOnce(_) => (Fate::FailsWithoutEffect(FAILED), false),
        };
        state.struck = true;
        state.dead = dies;
        fate
    }

    pub fn operations(&self) -> u64 {
        self.lock().history.len() as u64
    }

    pub fn mutations(&self) -> u64 {
        self.lock().mutations
    }

    pub fn history(&self) -> Vec<Operation> {
        self.lock().history.clone()
    }

    pub fn has_struck(&self) -> bool {
        self.lock().struck
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn injected(reason: &'static str) -> Error {
    Error::Generic { store: "FaultStore", source: reason.into() }
}

//! A migration's life: [`Event`]s in the journal, [`State`] as their fold, and [`decide`], which says whether a command
//! may run now. No I/O: the caller brings [`Evidence`].

mod cost;
mod decide;
mod event;
mod gates;
mod history;
mod hook;
mod record;
mod state;
mod summary;
mod transition;

pub use cost::{DayCost, Requests, RoundCost};
pub use decide::{Command, Decision, Evidence, Refusal, decide, may_switch, next_steps};
pub use event::{Event, PointerSwitch, Polled, Reconcile, Settled, Side, ValidationRecord, VerdictName, Work};
pub use gates::{Gate, GateCheck, cutover_gates};
pub use history::{Moment, Timeline};
pub use hook::{HOOK_FORMAT_VERSION, HookMoment, HookPayload, Owed};
pub use record::{FinalRecord, ForcedGate, RECORD_NAME, RecordedTable};
pub use state::{
    Boundary, MirrorPosition, PendingCommit, Phase, ReversePosition, SavedPlan, StageFailure, State, Sunset, UnitSet,
};
pub use transition::Transition;

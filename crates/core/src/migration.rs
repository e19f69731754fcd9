//! A migration's life: [`Event`]s in the journal, [`State`] as their fold, and [`decide`], which says whether a command
//! may run now. No I/O: the caller brings [`Evidence`].

mod decide;
mod event;
mod state;

pub use decide::{Command, Decision, Evidence, Refusal, decide, next_steps};
pub use event::{Event, PointerSwitch, Settled, Side, ValidationRecord, VerdictName, Work};
pub use state::{Boundary, MirrorPosition, PendingCommit, Phase, SavedPlan, State, Sunset, UnitSet};

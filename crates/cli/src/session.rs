//! One migration, opened: its folder under the control root, its journal and, for commands that act, its lease.

use std::future::Future;
use std::time::Duration;

use futures::future::{Either, select};
use lakeshift_core::control::{ControlEntry, ControlError, ControlLog, ControlRequest, Controls};
use lakeshift_core::migration::{Command, Decision, Event, Evidence, FinalRecord, State, decide};
use lakeshift_core::spec::{OnFailure, Place, Spec};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::MigrationId;
use lakeshift_journal::{Acquire, Append, Epoch, Journal, Lease, LeaseManager, LeaseStatus};
use tokio::sync::Mutex;

use crate::context::Context;
use crate::error::Error;
use crate::hooks;
use crate::lease;
use crate::live::{Idle, Live};
use crate::meter::Meter;
use crate::paced::counted;

/// How long a runner may be silent before another may take over.
const LEASE_TTL: Duration = Duration::from_secs(60);

/// How often a runner at work looks for requests of operators.
const CONTROL_INTERVAL: Duration = Duration::from_secs(6);

/// An opened migration.
#[derive(Debug)]
pub struct Session {
    /// The outside.
    pub context: Context,
    /// What is to be done.
    pub spec: Spec,
    /// The control root.
    pub control: Storage,
    /// `<control>/migrations/<name>`.
    pub folder: Storage,
    /// The fold over the journal as last read.
    pub state: State,
    /// Behind a lock, because a runner also records what it honours while work under way looks at the session.
    journal: Mutex<Journal<Event>>,
    /// Journal entries that are folded into `state`.
    folded: usize,
    live: Live,
    lease: Option<Lease>,
}

impl Session {
    /// Opens a migration to look at it; writes nothing.
    ///
    /// # Errors
    /// The control root or the journal cannot be read.
    pub async fn open(context: &Context, spec: Spec) -> Result<Self, Error> {
        let meter = Meter::default();
        let control = counted(&context.open(&spec, Place::Control)?, &meter);
        let folder = control.child("migrations").child(&spec.name.0);
        let journal = context.journal::<Event>(&folder).await?;
        let state = State::fold(journal.entries());
        let live = Live::new(&spec, &state.controls, &context.clock).with_control_meter(meter);
        let folded = journal.entries().len();
        let journal = Mutex::new(journal);
        Ok(Self { context: context.clone(), spec, control, folder, state, journal, folded, live, lease: None })
    }

    /// The migration's name.
    pub fn id(&self) -> &MigrationId {
        &self.spec.name
    }

    /// What is to stay of the migration when it is over now.
    pub async fn final_record(&self) -> FinalRecord {
        let journal = self.journal.lock().await;
        FinalRecord::new(&self.spec, journal.entries(), self.context.clock.now())
    }

    /// Whether anything has happened to the migration.
    pub fn has_begun(&self) -> bool {
        self.folded > 0
    }

    /// What an operator may change while this runner works.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Takes the migration's lease, and fences every earlier holder by an entry of a higher epoch.
    ///
    /// # Errors
    /// [`Error::Held`] when another runner is at it.
    pub async fn lock(&mut self, command: Command) -> Result<(), Error> {
        let hooks = self.spec.hooks.iter().any(|hook| hook.on_failure == OnFailure::Warn);
        match self.leases().acquire_above(self.last_epoch()).await? {
            Acquire::Held { holder, since, expires_in, .. } => Err(Error::Held { holder, since, expires_in }),
            Acquire::Granted(lease) => {
                self.lease = Some(lease);
                self.refresh().await?;
                self.record(Event::LeaseTaken { command: command.name().to_owned(), hooks }).await
            }
        }
    }

    /// Gives the lease back, so that the next command need not wait for its end.
    ///
    /// # Errors
    /// The store fails; the lease then ends by itself.
    pub async fn unlock(&mut self) -> Result<(), Error> {
        match self.lease.take() {
            Some(lease) => Ok(lease.release().await?),
            None => Ok(()),
        }
    }

    /// Who runs this migration, or ran it last.
    ///
    /// # Errors
    /// The store fails.
    pub async fn runner(&self) -> Result<Option<LeaseStatus>, Error> {
        Ok(self.leases().status().await?)
    }

    fn leases(&self) -> LeaseManager {
        self.context.leases(&self.folder, "runner", LEASE_TTL)
    }

    /// The fencing epoch of the lease that this session holds; that of the journal while it holds none.
    pub fn epoch(&self) -> Epoch {
        self.lease.as_ref().map_or(self.last_epoch(), Lease::epoch)
    }

    /// Nobody else has the journal where a session is not shared; and where it is, its lease tells the epoch.
    fn last_epoch(&self) -> Epoch {
        self.journal.try_lock().map_or(Epoch(0), |journal| journal.last_epoch())
    }

    /// Reads what others have appended.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        self.journal.get_mut().refresh().await?;
        self.fold_in();
        // Another runner may have honoured requests since this session was opened.
        self.live.set(self.state.controls.clone());
        Ok(())
    }

    /// Appends an event and folds it in.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another runner has taken over; the event was not written.
    pub async fn record(&mut self, event: Event) -> Result<(), Error> {
        self.append(&event).await?;
        self.fold_in();
        Ok(())
    }

    /// Records what looks that found nothing have cost since this was done last, if there were any.
    ///
    /// # Errors
    /// As [`Session::record`].
    pub async fn record_idle(&mut self) -> Result<(), Error> {
        let idle = self.live.take_idle();
        if idle == Idle::default() {
            return Ok(());
        }
        let Idle { looks, cost } = idle;
        self.record(Event::Looked { looks, cost }).await
    }

    /// Appends an event, to be folded in later.
    async fn append(&self, event: &Event) -> Result<(), Error> {
        let mut journal = self.journal.lock().await;
        let epoch = self.lease.as_ref().map_or(journal.last_epoch(), Lease::epoch);
        match journal.append(epoch, event).await? {
            Append::Appended(_) => Ok(()),
            // Only the holder of the lease appends: whoever did so has taken over.
            Append::Conflict { .. } => Err(Error::Fenced { current: journal.last_epoch() }),
            Append::Fenced { current } => Err(Error::Fenced { current }),
        }
    }

    /// Folds in what has been read or appended since.
    fn fold_in(&mut self) {
        let entries = self.journal.get_mut().entries();
        for entry in &entries[self.folded..] {
            self.state.apply(&entry.event, entry.at);
        }
        self.folded = entries.len();
    }

    /// The requests of operators, as they stand now.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn controls(&self) -> Result<Controls, Error> {
        Ok(self.control_log().current().await?)
    }

    fn control_log(&self) -> ControlLog {
        ControlLog::new(&self.folder, self.context.clock.clone())
    }

    /// Honours and records every request that no runner has honoured.
    ///
    /// # Errors
    /// Requests that cannot be read; [`Error::Fenced`].
    pub async fn honour(&mut self) -> Result<(), Error> {
        self.honour_beside().await?;
        self.fold_in();
        Ok(())
    }

    /// As [`Session::honour`], while work under way looks at the session.
    async fn honour_beside(&self) -> Result<(), Error> {
        for entry in self.control_log().after(self.live.last()).await? {
            let ControlEntry { request, by, reason, .. } = &entry;
            self.context.progress.say(format!("{request}, asked by {by}: {reason}"));
            // What stops rows takes effect before the journal says so, what lets them go after.
            if entry.request == ControlRequest::Pause {
                self.live.apply(&entry);
            }
            self.append(&Event::Controlled(entry.clone())).await?;
            self.live.apply(&entry);
        }
        Ok(())
    }

    /// Waits until nobody wants rows to stand still. The lease stays.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Fenced`]; requests that cannot be read.
    pub async fn wait_while_paused(&mut self) -> Result<(), Error> {
        self.honour().await?;
        if let Some(hold) = self.live.paused() {
            hooks::tell(self).await?;
            self.context.progress.say(format!("paused {hold}; waiting for `lakeshift resume`"));
        }
        let paused = async {
            while self.live.paused().is_some() {
                self.context.clock.sleep(CONTROL_INTERVAL).await;
            }
        };
        self.while_renewing(self.context.stop.or_drop(paused)).await??;
        self.fold_in();
        Ok(())
    }

    /// For commands that look once and do not wait.
    ///
    /// # Errors
    /// [`Error::Paused`].
    pub fn refuse_while_paused(&self) -> Result<(), Error> {
        self.live.paused().map_or(Ok(()), |hold| Err(Error::Paused { hold }))
    }

    /// Runs `work` while renewing the lease and honouring requests of operators.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the lease is lost meanwhile; requests that cannot be understood. `work` is then dropped.
    pub async fn while_renewing<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let Some(lease) = &self.lease else { return Ok(work.await) };
        // On the heap: a phase's work is large, and calls of this nest.
        let mut work = Box::pin(work);
        let mut renewed = self.context.clock.elapsed();
        loop {
            match select(work, self.context.clock.sleep(CONTROL_INTERVAL)).await {
                Either::Left((output, _)) => return Ok(output),
                Either::Right(((), unfinished)) => work = unfinished,
            }
            if self.context.clock.elapsed().saturating_sub(renewed) >= lease.ttl() / 3 {
                renewed = self.context.clock.elapsed();
                lease::renew(lease).await?;
            }
            match Box::pin(self.honour_beside()).await {
                // As with a renewal: the next look may succeed, and the next wave of work begins with one that must.
                Err(Error::Control(error @ ControlError::Log { .. })) => {
                    tracing::warn!(%error, "could not look for requests of operators");
                }
                looked => looked?,
            }
        }
    }

    /// Evidence of the time and the spec.
    pub fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::new(self.context.clock.now(), self.spec.digest());
        evidence.grace = self.spec.sunset.grace.duration();
        evidence.quarantine = self.spec.sunset.quarantine.duration();
        evidence
    }

    /// Asks whether a command may run.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::NotDue`].
    pub fn admit(&self, command: Command, evidence: &Evidence) -> Result<Admission, Error> {
        match decide(&self.state, command, evidence) {
            Decision::Proceed => Ok(Admission::Proceed),
            Decision::AlreadyDone => Ok(Admission::AlreadyDone),
            Decision::NotDue { until } => Err(Error::NotDue { command: command.name(), until }),
            Decision::Refused(refusal) => {
                Err(Error::Refused { command: command.name(), migration: self.id().clone(), refusal })
            }
        }
    }
}

/// Whether there is something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// Yes.
    Proceed,
    /// No; it has been done.
    AlreadyDone,
}

/// The state of the migration in `folder`, and the spec of its last plan; for looking at other migrations.
///
/// # Errors
/// Its journal cannot be read.
pub async fn read_only(context: &Context, folder: &Storage) -> Result<(State, Option<Spec>), Error> {
    let journal = context.journal::<Event>(folder).await?;
    let planned = journal.entries().iter().rev().find_map(|entry| match &entry.event {
        Event::Planned { spec, .. } => Some(spec.clone()),
        _ => None,
    });
    let object = folder.location().to_owned();
    let spec = planned.map(serde_json::from_value).transpose().map_err(|source| Error::Json { object, source })?;
    Ok((State::fold(journal.entries()), spec))
}

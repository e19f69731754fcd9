//! One migration, opened: its folder under the control root, its journal and, for commands that act, its lease.

use std::future::Future;
use std::time::Duration;

use futures::future::{Either, select};
use lakeshift_core::migration::{Command, Decision, Event, Evidence, State, decide};
use lakeshift_core::spec::{Place, Spec};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::MigrationId;
use lakeshift_journal::{
    Acquire, Append, Entry, Epoch, Journal, JournalConfig, Lease, LeaseConfig, LeaseManager, LeaseStatus, Standing,
};

use crate::context::Context;
use crate::error::Error;

/// How long a runner may be silent before another may take over.
const LEASE_TTL: Duration = Duration::from_secs(60);

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
    journal: Journal<Event>,
    lease: Option<Lease>,
}

impl Session {
    /// Opens a migration to look at it; writes nothing.
    ///
    /// # Errors
    /// The control root or the journal cannot be read.
    pub async fn open(context: &Context, spec: Spec) -> Result<Self, Error> {
        let control = context.open(&spec, Place::Control)?;
        let folder = control.child("migrations").child(&spec.name.0);
        let journal = open_journal(context, &folder).await?;
        let state = State::fold(journal.entries());
        Ok(Self { context: context.clone(), spec, control, folder, state, journal, lease: None })
    }

    /// The migration's name.
    pub fn id(&self) -> &MigrationId {
        &self.spec.name
    }

    /// The journal's entries.
    pub fn entries(&self) -> &[Entry<Event>] {
        self.journal.entries()
    }

    /// Takes the migration's lease, and fences every earlier holder by an entry of a higher epoch.
    ///
    /// # Errors
    /// [`Error::Held`] when another runner is at it.
    pub async fn lock(&mut self, command: Command) -> Result<(), Error> {
        match self.leases().acquire_above(self.journal.last_epoch()).await? {
            Acquire::Held { holder, since, expires_in, .. } => Err(Error::Held { holder, since, expires_in }),
            Acquire::Granted(lease) => {
                self.lease = Some(lease);
                self.refresh().await?;
                self.record(Event::LeaseTaken { command: command.name().to_owned() }).await
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
        let folder = self.folder.child("leases").child("runner");
        LeaseManager::new(LeaseConfig {
            store: folder.store().clone(),
            prefix: folder.prefix().clone(),
            clock: self.context.clock.clone(),
            rng: self.context.rng.clone(),
            holder: self.context.holder.clone(),
            ttl: LEASE_TTL,
        })
    }

    /// The fencing epoch of the lease that this session holds; that of the journal while it holds none.
    pub fn epoch(&self) -> Epoch {
        self.lease.as_ref().map_or(self.journal.last_epoch(), Lease::epoch)
    }

    /// Reads what others have appended.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        self.journal.refresh().await?;
        self.state = State::fold(self.journal.entries());
        Ok(())
    }

    /// Appends an event and folds it in.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another runner has taken over; the event was not written.
    pub async fn record(&mut self, event: Event) -> Result<(), Error> {
        match self.journal.append(self.epoch(), &event).await? {
            Append::Appended(_) => {
                if let Some(entry) = self.journal.entries().last() {
                    self.state.apply(&event, entry.at);
                }
                Ok(())
            }
            // Only the holder of the lease appends: whoever did so has taken over.
            Append::Conflict { .. } => Err(Error::Fenced { current: self.journal.last_epoch() }),
            Append::Fenced { current } => Err(Error::Fenced { current }),
        }
    }

    /// Runs `work` while renewing the lease.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the lease is lost meanwhile; `work` is dropped.
    pub async fn while_renewing<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let Some(lease) = &self.lease else { return Ok(work.await) };
        let mut work = std::pin::pin!(work);
        loop {
            let tick = self.context.clock.sleep(lease.ttl() / 3);
            match select(work, tick).await {
                Either::Left((output, _)) => return Ok(output),
                Either::Right(((), unfinished)) => work = unfinished,
            }
            // A failed renewal is no reason to stop: the fence decides at the next write.
            match lease.renew().await {
                Ok(Standing::Held) => {}
                Ok(Standing::Lost { current }) => return Err(Error::Fenced { current }),
                Ok(Standing::Released) => return Err(Error::Fenced { current: lease.epoch() }),
                Err(error) => tracing::warn!(%error, "could not renew the lease"),
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
    let journal = open_journal(context, folder).await?;
    let planned = journal.entries().iter().rev().find_map(|entry| match &entry.event {
        Event::Planned { spec, .. } => Some(spec.clone()),
        _ => None,
    });
    let object = folder.location().to_owned();
    let spec = planned.map(serde_json::from_value).transpose().map_err(|source| Error::Json { object, source })?;
    Ok((State::fold(journal.entries()), spec))
}

async fn open_journal(context: &Context, folder: &Storage) -> Result<Journal<Event>, Error> {
    let folder = folder.child("journal");
    let config = JournalConfig {
        store: folder.store().clone(),
        prefix: folder.prefix().clone(),
        clock: context.clock.clone(),
        rng: context.rng.clone(),
        writer: context.holder.clone(),
    };
    Ok(Journal::open(config).await?)
}

//! [`Ledger`]: the versions of a graph's partitions as a journal, and the lease of whoever runs it.
//!
//! Every change is an entry of the hash-chained, fenced journal under `<control>/graphs/<name>/journal`; [`Versions`] are
//! the fold over it. Partitions stand in it by table name and period as people write them, so that tables may come and go.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use lakeshift_core::equivalence::ValidationKey;
use lakeshift_core::graph::{EntityId, Fingerprint, Graph, History, Key, State, TIMELESS, TableId, Task, Versions};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::CommitNumber;
use lakeshift_journal::{Acquire, Append, Epoch, Journal, Lease, RngExt};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::Error;
use crate::lease;

const LEASE_TTL: Duration = Duration::from_secs(60);

/// The state of one partition as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) table: String,
    /// `None` where the table has no time.
    period: Option<String>,
    entity: Option<String>,
    version: u64,
    read_at: u64,
    logic: String,
    fingerprint: String,
    rows: u64,
    bytes: u64,
    /// Milliseconds that computing it took; of whoever computed it, and nothing that a decision rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
}

impl Stored {
    /// With the time that computing it took.
    pub(super) fn taking(self, took: Duration) -> Self {
        Self { took_ms: u64::try_from(took.as_millis()).ok(), ..self }
    }
}

/// What happened to a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum GraphEvent {
    /// A runner took the lease. The first one draws the key of all fingerprints.
    LeaseTaken { key: Option<ValidationKey> },
    /// Partitions of sources have another content, or some are new.
    SourcesMoved { partitions: Vec<Stored> },
    /// Partitions of one table are about to be replaced by one commit.
    CommitIntended { number: CommitNumber, partitions: Vec<Stored> },
    /// They were, or they were not and will not be.
    CommitSettled { number: CommitNumber, done: bool },
    /// Partitions came out as they were, or have no row and had none: nothing was committed.
    Computed { partitions: Vec<Stored> },
}

/// A commit without an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) number: CommitNumber,
    pub(super) partitions: Vec<Stored>,
}

/// The journal of a graph, folded.
#[derive(Debug)]
pub struct Ledger {
    context: Context,
    folder: Storage,
    graph: Graph,
    journal: Journal<GraphEvent>,
    folded: usize,
    versions: Versions,
    history: History,
    last_run: Vec<(TableId, Key)>,
    took: HashMap<(TableId, Key), Duration>,
    /// A runner took the lease, and nothing was computed since.
    new_run: bool,
    key: Option<ValidationKey>,
    last_number: CommitNumber,
    pub(super) pending: Option<Pending>,
    lease: Option<Lease>,
}

impl Ledger {
    /// Reads the journal; writes nothing.
    ///
    /// # Errors
    /// It cannot be read, or an entry is missing or was altered.
    pub async fn open(context: &Context, graph: &Graph, folder: &Storage) -> Result<Self, Error> {
        let mut ledger = Self {
            context: context.clone(),
            folder: folder.clone(),
            graph: graph.clone(),
            journal: context.journal(folder).await?,
            folded: 0,
            versions: Versions::new(graph),
            history: History::default(),
            last_run: Vec::new(),
            took: HashMap::new(),
            new_run: false,
            key: None,
            last_number: CommitNumber(0),
            pending: None,
            lease: None,
        };
        ledger.fold();
        Ok(ledger)
    }

    /// What every partition was computed from.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// What every partition was, version by version.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What the last run that computed anything computed, in order.
    pub fn last_run(&self) -> &[(TableId, Key)] {
        &self.last_run
    }

    /// How long these partitions take by their last times; those without one as long as their table's others do on average.
    /// `None` where nothing is known of a table.
    pub fn estimate(&self, tasks: &[Task]) -> Option<Duration> {
        let mut means: HashMap<TableId, (Duration, u32)> = HashMap::new();
        for ((table, _), took) in &self.took {
            let (sum, count) = means.entry(*table).or_default();
            (*sum, *count) = (*sum + *took, *count + 1);
        }
        let one = |task: &Task| {
            let known = self.took.get(&(task.table, task.key)).copied();
            known.or_else(|| means.get(&task.table).map(|(sum, count)| *sum / *count))
        };
        tasks.iter().map(one).sum()
    }

    /// The epoch of the lease, or of the journal while there is none.
    pub fn epoch(&self) -> Epoch {
        self.lease.as_ref().map_or(self.journal.last_epoch(), Lease::epoch)
    }

    /// The key of all fingerprints, once a run began.
    pub(super) fn key(&self) -> Option<ValidationKey> {
        self.key
    }

    pub(super) fn next_number(&self) -> CommitNumber {
        CommitNumber(self.last_number.0 + 1)
    }

    /// Takes the lease, and fences every earlier holder.
    ///
    /// # Errors
    /// [`Error::GraphHeld`] when another runner is at it.
    pub async fn lock(&mut self) -> Result<(), Error> {
        let leases = self.context.leases(&self.folder, "runner", LEASE_TTL);
        match leases.acquire_above(self.journal.last_epoch()).await? {
            Acquire::Held { holder, since, expires_in, .. } => {
                Err(Error::GraphHeld { graph: self.graph.name.clone(), holder, since, expires_in })
            }
            Acquire::Granted(lease) => {
                self.lease = Some(lease);
                self.journal.refresh().await?;
                self.fold();
                let key = self.key.is_none().then(|| ValidationKey::new(self.context.rng.nonce128().to_le_bytes()));
                self.record(GraphEvent::LeaseTaken { key }).await
            }
        }
    }

    /// Gives the lease back.
    pub async fn unlock(&mut self) {
        if let Some(lease) = self.lease.take()
            && let Err(error) = lease.release().await
        {
            tracing::warn!(%error, "could not give the graph's lease back; it ends by itself");
        }
    }

    /// Runs `work` while renewing the lease.
    ///
    /// # Errors
    /// [`Error::Fenced`] when it is lost meanwhile; `work` is then dropped.
    pub(super) async fn while_renewing<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let Some(lease) = &self.lease else { return Ok(work.await) };
        lease::while_renewing(&self.context.clock, lease, work).await
    }

    /// Appends an event and folds it in.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another runner has taken over; the event was not written.
    pub(super) async fn record(&mut self, event: GraphEvent) -> Result<(), Error> {
        match self.journal.append(self.epoch(), &event).await? {
            Append::Appended(_) => {
                self.fold();
                Ok(())
            }
            Append::Conflict { .. } => Err(Error::Fenced { current: self.journal.last_epoch() }),
            Append::Fenced { current } => Err(Error::Fenced { current }),
        }
    }

    fn fold(&mut self) {
        let events: Vec<GraphEvent> =
            self.journal.entries()[self.folded..].iter().map(|entry| entry.event.clone()).collect();
        self.folded += events.len();
        for event in events {
            match event {
                GraphEvent::LeaseTaken { key } => {
                    self.key = self.key.or(key);
                    self.new_run = true;
                }
                GraphEvent::SourcesMoved { partitions } => partitions.iter().for_each(|stored| {
                    self.restore(stored);
                }),
                GraphEvent::Computed { partitions } => partitions.iter().for_each(|stored| self.computed(stored)),
                GraphEvent::CommitIntended { number, partitions } => {
                    self.last_number = self.last_number.max(number);
                    self.pending = Some(Pending { number, partitions });
                }
                GraphEvent::CommitSettled { number, done } => {
                    if let Some(pending) = self.pending.take_if(|pending| pending.number == number)
                        && done
                    {
                        pending.partitions.iter().for_each(|stored| self.computed(stored));
                    }
                }
            }
        }
    }

    /// A partition that a run computed.
    fn computed(&mut self, stored: &Stored) {
        let restored = self.restore(stored);
        if let (Some(partition), Some(took)) = (restored, stored.took_ms) {
            self.took.insert(partition, Duration::from_millis(took));
        }
        if std::mem::take(&mut self.new_run) {
            self.last_run.clear();
        }
        self.last_run.extend(restored);
    }

    /// What the graph's file no longer has, or has in another grain, is left out: it is not on record then.
    fn restore(&mut self, stored: &Stored) -> Option<(TableId, Key)> {
        let table = self.graph.table_id(&stored.table)?;
        let period = match (self.graph.table(table).grain(), &stored.period) {
            (Some(grain), Some(period)) => grain.parse(period).ok(),
            (None, None) => Some(TIMELESS),
            _ => None,
        };
        let (period, fingerprint) = (period?, unhex(&stored.fingerprint)?);
        let entity = self.versions.entity(stored.entity.as_deref().unwrap_or_default());
        let Stored { version, read_at, rows, bytes, .. } = *stored;
        let logic = self.versions.logic(&stored.logic);
        let state = State { version, read_at, logic, fingerprint, rows, bytes };
        let key = Key { period, entity };
        self.versions.restore(table, key, state);
        self.history.record(table, key, &state);
        Some((table, key))
    }

    /// A state as the journal has it.
    pub(super) fn stored(&self, table: TableId, period: i32, entity: &str, state: &State, logic: &str) -> Stored {
        let of = self.graph.table(table);
        let State { version, read_at, logic: _, fingerprint, rows, bytes } = *state;
        Stored {
            table: of.name.clone(),
            period: of.grain().map(|grain| grain.format(period)),
            entity: (!entity.is_empty()).then(|| entity.to_owned()),
            version,
            read_at,
            logic: logic.to_owned(),
            fingerprint: fingerprint.0.iter().map(|byte| format!("{byte:02x}")).collect(),
            rows,
            bytes,
            took_ms: None,
        }
    }

    /// The name of an entity, empty for none.
    pub(super) fn entity_name(&self, entity: EntityId) -> &str {
        self.versions.entity_name(entity)
    }
}

/// A digest's bytes.
pub(super) fn unhex(text: &str) -> Option<Fingerprint> {
    let byte = |at: usize| text.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let bytes: Vec<u8> = (0..32).map_while(byte).collect();
    Some(Fingerprint(bytes.try_into().ok()?))
}

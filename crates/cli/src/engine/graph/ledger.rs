//! [`Ledger`]: the versions of a graph's partitions as a journal, and the lease of whoever runs it.
//!
//! Every change is an entry of the hash-chained, fenced journal under `<control>/graphs/<name>/journal`; [`Versions`] are
//! the fold over it, from the newest [`Checkpoint`] on. Partitions stand in it by table name and period as people write
//! them, so that tables may come and go.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::time::Duration;

use lakeshift_core::equivalence::ValidationKey;
use lakeshift_core::graph::{EntityId, Fingerprint, Graph, History, Key, Past, State, TIMELESS, TableId, Task, Versions};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::CommitNumber;
use lakeshift_journal::{Acquire, Append, Epoch, Journal, Lease, RngExt};
use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, Row};
use crate::context::Context;
use crate::error::{Error, with_causes};
use crate::lease;

const LEASE_TTL: Duration = Duration::from_secs(60);
/// Partitions of one entry at most: an entry is an object of limited size.
const ENTRY_PARTITIONS: usize = 10_000;

/// The state of one partition as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) table: String,
    /// `None` where the table has no time.
    pub(super) period: Option<String>,
    pub(super) entity: Option<String>,
    pub(super) version: u64,
    pub(super) read_at: u64,
    pub(super) logic: String,
    pub(super) fingerprint: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Digest of the files that a computed partition has; `None` in a source, and in entries of programs that kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) files: Option<String>,
    /// Milliseconds that computing it took; of whoever computed it, and nothing that a decision rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) took_ms: Option<u64>,
}

impl Stored {
    /// With the time that computing it took.
    pub(super) fn taking(self, took: Duration) -> Self {
        Self { took_ms: u64::try_from(took.as_millis()).ok(), ..self }
    }

    /// With the digest of its files.
    pub(super) fn of_files(self, digest: String) -> Self {
        Self { files: Some(digest), ..self }
    }
}

/// What happened to a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum GraphEvent {
    /// A runner took the lease. The first one draws the key of all fingerprints.
    LeaseTaken { key: Option<ValidationKey> },
    /// Partitions of sources have another content, or some are new; or somebody else wrote to computed ones.
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
    /// Digests of the files of computed partitions.
    files: HashMap<(TableId, Key), String>,
    /// What the graph's file has no place for any more: it may come back.
    aside: Vec<Stored>,
    /// Entries with states since the last checkpoint.
    unwritten: u64,
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
        let checkpoint = Checkpoint::newest(folder).await?;
        let after = checkpoint.as_ref().map(|checkpoint| checkpoint.position);
        let mut ledger = Self {
            context: context.clone(),
            folder: folder.clone(),
            graph: graph.clone(),
            journal: context.journal_after(folder, after).await?,
            folded: 0,
            versions: Versions::new(graph),
            history: History::default(),
            last_run: Vec::new(),
            took: HashMap::new(),
            files: HashMap::new(),
            aside: Vec::new(),
            unwritten: 0,
            new_run: false,
            key: None,
            last_number: CommitNumber(0),
            pending: None,
            lease: None,
        };
        if let Some(checkpoint) = checkpoint {
            ledger.resume(checkpoint);
        }
        ledger.fold();
        Ok(ledger)
    }

    /// Goes on from what the journal came to.
    fn resume(&mut self, checkpoint: Checkpoint) {
        self.key = checkpoint.key;
        self.last_number = checkpoint.last_number;
        let mut ran = BTreeMap::new();
        for row in &checkpoint.rows {
            let Some(partition) = self.restore(&row.stored) else { continue };
            if let Some(took) = row.stored.took_ms {
                self.took.insert(partition, Duration::from_millis(took));
            }
            if let Some(at) = row.ran {
                ran.insert(at, partition);
            }
        }
        self.last_run = ran.into_values().collect();
    }

    /// Writes the versions as they are into a file that any engine reads, if `entries` or more told of states since the last.
    /// Where that fails nothing is lost.
    pub(super) async fn checkpoint(&mut self, entries: u64) {
        let Some(position) = self.journal.position() else { return };
        if self.unwritten < entries.max(1) || self.pending.is_some() {
            return;
        }
        let (key, last_number) = (self.key, self.last_number);
        match (Checkpoint { position, key, last_number, rows: self.rows() }).write(&self.folder).await {
            Ok(()) => self.unwritten = 0,
            Err(error) => {
                tracing::warn!(error = with_causes(&error), "could not write the graph's versions; the journal has them")
            }
        }
    }

    /// Every version of every partition, oldest first.
    fn rows(&self) -> Vec<Row> {
        let ran: HashMap<_, u64> = self.last_run.iter().copied().zip(0..).collect();
        let mut rows = Vec::new();
        for (id, _) in self.graph.ids() {
            for (key, pasts) in self.history.pasts(id) {
                let Some((_, earlier)) = pasts.split_last() else { continue };
                let entity = self.versions.entity_name(key.entity);
                for past in earlier {
                    let Past { version, read_at, logic } = *past;
                    let state = State { version, read_at, logic, fingerprint: Fingerprint([0; 32]), rows: 0, bytes: 0 };
                    let stored = self.stored(id, key.period, entity, &state, self.versions.logic_digest(logic));
                    rows.push(Row { stored, is_latest: false, ran: None });
                }
                let Some(state) = self.versions.get(id, key) else { continue };
                let stored = self.stored(id, key.period, entity, state, self.versions.logic_digest(state.logic));
                let stored = match self.took.get(&(id, key)) {
                    Some(took) => stored.taking(*took),
                    None => stored,
                };
                let stored = Stored { files: self.files_of(id, key).map(str::to_owned), ..stored };
                rows.push(Row { stored, is_latest: true, ran: ran.get(&(id, key)).copied() });
            }
        }
        let partition = |stored: &Stored| (stored.table.clone(), stored.period.clone(), stored.entity.clone());
        let last: HashMap<_, usize> = self.aside.iter().map(partition).zip(0..).collect();
        let aside = self.aside.iter().enumerate().map(|(at, stored)| {
            let is_latest = last.get(&partition(stored)) == Some(&at);
            Row { stored: stored.clone(), is_latest, ran: None }
        });
        rows.extend(aside);
        rows
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

    /// Records what was found of the sources; as many entries as it takes.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub(super) async fn record_sources(&mut self, moved: Vec<Stored>) -> Result<(), Error> {
        for partitions in moved.chunks(ENTRY_PARTITIONS) {
            self.record(GraphEvent::SourcesMoved { partitions: partitions.to_vec() }).await?;
        }
        Ok(())
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
            let tells = match &event {
                GraphEvent::SourcesMoved { .. } | GraphEvent::Computed { .. } => true,
                GraphEvent::CommitSettled { done, .. } => *done,
                GraphEvent::LeaseTaken { .. } | GraphEvent::CommitIntended { .. } => false,
            };
            self.unwritten += u64::from(tells);
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

    /// What the graph's file no longer has, or has in another grain, is put aside: it is not on record then, and its version is not
    /// drawn again.
    fn restore(&mut self, stored: &Stored) -> Option<(TableId, Key)> {
        self.versions.advance(stored.version);
        let placed = self.placed(stored);
        if placed.is_none() {
            self.aside.push(stored.clone());
        }
        placed
    }

    fn placed(&mut self, stored: &Stored) -> Option<(TableId, Key)> {
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
        match &stored.files {
            Some(digest) => self.files.insert((table, key), digest.clone()),
            None => self.files.remove(&(table, key)),
        };
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
            files: None,
            took_ms: None,
        }
    }

    /// The digest of the files that a computed partition had when it was last written or looked at.
    pub(super) fn files_of(&self, table: TableId, key: Key) -> Option<&str> {
        self.files.get(&(table, key)).map(String::as_str)
    }

    /// Whether a commit without an end replaces this partition: what the table has of it is not known yet.
    pub(super) fn is_pending(&self, table: TableId, period: i32, entity: &str) -> bool {
        let of = self.graph.table(table);
        let period = of.grain().map(|grain| grain.format(period));
        self.pending.iter().flat_map(|pending| &pending.partitions).any(|stored| {
            stored.table == of.name && stored.period == period && stored.entity.as_deref().unwrap_or_default() == entity
        })
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

//! The dual writer: rows that a producer hands over are safe under the control root first, then in the table that is written
//! now, and by the mirror in the other one.
//!
//! Producers take a lease of their own, so that they write while a runner moves the history. A producer that is killed leaves
//! an intent with its rows; whoever takes the lease next finishes it. Where its commit may still be on its way, a fence, an
//! empty commit of the new epoch, is made first: after it the lost commit is in the table or never will be. A replacement of
//! files leaves no rows: what the fence does not find in the table is withdrawn.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use lakeshift_core::migration::Side;
use lakeshift_core::plan::data_file_stem;
use lakeshift_core::projection::is_castable;
use lakeshift_core::schema::TableSchema;
use lakeshift_core::spec::{Spec, TargetColumn};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{
    CommitNumber, CommitOutcome, CommitRequest, FileEntry, Format, MigrationId, NewFile, Snapshot, TableError, TableFormat,
    TableVersion, UnitId,
};
use lakeshift_core::writes::{Intent, StreamBackfill, StreamCommit, WriteEvent, WriteId, Writes, writer_of, written_side};
use lakeshift_journal::{Acquire, Append, Clock, Journal, Lease, RngExt};
use lakeshift_tables::hive::HiveTable;
use object_store::{ObjectStoreExt, WriteMultipart};

use super::rows::{RewriteTask, Rows};
use super::tables::Tables;
use crate::error::Error;
use crate::lease;
use crate::session::Session;

/// How long a producer may be silent before another may finish its write.
const LEASE_TTL: Duration = Duration::from_secs(60);

/// Pause between two attempts to take the lease.
const RETRY: Duration = Duration::from_millis(500);

/// What stands before a write's number in the names of its files.
pub const LETTER: char = 'w';

/// Bytes of a file that are read at a time.
const CHUNK_BYTES: usize = 8 << 20;

/// The producers' journal, as far as it was read. Who writes again and again keeps it between two writes, and need not read it from its
/// beginning.
#[derive(Debug)]
pub struct WriteLog {
    journal: Journal<WriteEvent>,
    writes: Writes,
    folded: usize,
}

impl WriteLog {
    /// Reads the journal; writes nothing.
    ///
    /// # Errors
    /// It cannot be read, or an entry is missing or was altered.
    pub async fn open(session: &Session) -> Result<Self, Error> {
        let journal = session.context.journal_at::<WriteEvent>(&session.folder.child("writes")).await?;
        let mut log = Self { journal, writes: Writes::default(), folded: 0 };
        log.fold();
        Ok(log)
    }

    /// Reads what others have written since.
    ///
    /// # Errors
    /// As [`WriteLog::open`].
    pub async fn refresh(&mut self) -> Result<(), Error> {
        self.journal.refresh().await?;
        self.fold();
        Ok(())
    }

    /// What it says.
    pub fn writes(&self) -> &Writes {
        &self.writes
    }

    /// Writes that were begun of a stream's commits after `commit`: their numbers and tables.
    pub fn begun_after<'a>(
        &'a self,
        stream: &'a MigrationId,
        commit: CommitNumber,
    ) -> impl Iterator<Item = (u64, Side)> + 'a {
        self.journal.entries().iter().filter_map(move |entry| match &entry.event {
            WriteEvent::Intended(Intent { number, side, stream: Some(of), .. })
                if of.stream == *stream && of.number > commit =>
            {
                Some((*number, *side))
            }
            _ => None,
        })
    }

    fn fold(&mut self) {
        let entries = self.journal.entries();
        for entry in &entries[self.folded..] {
            self.writes.apply(&entry.event, entry.at);
        }
        self.folded = entries.len();
    }
}

/// The lease of a migration's producers, held.
#[derive(Debug)]
pub struct Producer {
    log: WriteLog,
    lease: Lease,
    folder: Storage,
    clock: Arc<dyn Clock>,
}

/// What a producer hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rowset {
    /// A Parquet file on this machine.
    File(PathBuf),
    /// A Parquet file in memory.
    Bytes(bytes::Bytes),
}

/// A write that is in the table that is written now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its number.
    pub number: u64,
    /// Its rows.
    pub rows: u64,
    /// The table.
    pub side: Side,
    /// That table's version with the write, or a later one.
    pub version: TableVersion,
    /// Whether an earlier attempt had made it.
    pub before: bool,
}

/// Whether anybody has written by the dual writer.
///
/// # Errors
/// The control root cannot be read.
pub async fn is_used(session: &Session) -> Result<bool, Error> {
    let folder = session.folder.child("writes");
    let mut objects = folder.store().list(Some(folder.prefix()));
    let failed = |source| Error::Store { action: "list", object: folder.location().to_owned(), source };
    Ok(objects.try_next().await.map_err(failed)?.is_some())
}

/// Takes the lease within `wait`: from here on no other producer writes. What another one has left is not looked at yet
/// ([`Producer::settle`]).
///
/// # Errors
/// [`Error::Producing`] when another one is at it for so long; every error of a journal.
pub async fn hold(session: &Session, purpose: &str, wait: Duration) -> Result<Producer, Error> {
    hold_again(session, &mut None, purpose, wait).await
}

/// As [`hold`], with the journal that was kept from the time before; [`Producer::release`] gives it back.
///
/// # Errors
/// As [`hold`].
pub async fn hold_again(
    session: &Session,
    kept: &mut Option<WriteLog>,
    purpose: &str,
    wait: Duration,
) -> Result<Producer, Error> {
    let mut log = match kept.take() {
        Some(log) => log,
        None => WriteLog::open(session).await?,
    };
    let lease = match acquire(session, &log.journal, wait).await {
        Ok(lease) => lease,
        Err(error) => {
            *kept = Some(log);
            return Err(error);
        }
    };
    log.refresh().await?;
    let clock = session.context.clock.clone();
    let mut producer = Producer { log, lease, folder: session.folder.clone(), clock };
    producer.record(WriteEvent::Taken { purpose: purpose.to_owned() }).await?;
    Ok(producer)
}

async fn acquire(session: &Session, journal: &Journal<WriteEvent>, wait: Duration) -> Result<Lease, Error> {
    let context = &session.context;
    let manager = context.leases(&session.folder, "writer", LEASE_TTL);
    let until = context.clock.elapsed() + wait;
    loop {
        match manager.acquire_above(journal.last_epoch()).await? {
            Acquire::Granted(lease) => return Ok(lease),
            Acquire::Held { holder, since, .. } if context.clock.elapsed() >= until => {
                return Err(Error::Producing { holder, since });
            }
            Acquire::Held { .. } => context.stop.or_drop(context.clock.sleep(RETRY)).await?,
        }
    }
}

impl Producer {
    /// What has been written so far.
    pub fn writes(&self) -> &Writes {
        self.log.writes()
    }

    /// The producers' journal.
    pub fn log(&self) -> &WriteLog {
        &self.log
    }

    /// Finishes the write that another producer has left; a replacement that is not in the table is withdrawn. `session` as it is
    /// now that this one holds the lease.
    ///
    /// # Errors
    /// Every error of a write.
    pub async fn settle(&mut self, session: &Session, tables: &Tables) -> Result<(), Error> {
        if self.writes().pending.is_none() {
            return Ok(());
        }
        tracing::info!("settling a write that another producer has left");
        self.fence(session, tables).await?;
        match &self.writes().pending {
            Some(Intent { number, replaces: Some(_), .. }) => {
                let number = *number;
                self.record(WriteEvent::Withdrawn { number }).await
            }
            _ => self.finish(session, tables).await.map(drop),
        }
    }

    /// Gives the lease back, which ends by itself where the store fails.
    pub async fn release(self) -> WriteLog {
        if let Err(error) = self.lease.release().await {
            tracing::warn!(%error, "could not give the producers' lease back; it ends by itself");
        }
        self.log
    }

    /// Writes rows to the table that is written now. What is known by `id` is not written twice.
    ///
    /// # Errors
    /// Rows that do not fit the table, with nothing written; [`Error::Conflict`] and what a commit may come to, with the rows
    /// safe: the next write, or the same one again, finishes it.
    pub async fn write(
        &mut self,
        session: &Session,
        tables: &Tables,
        rowsets: &[Rowset],
        id: Option<&WriteId>,
    ) -> Result<Written, Error> {
        let side = written_side(&session.state);
        let table = table(tables, side);
        if let Some(number) = id.and_then(|id| self.writes().made(id)) {
            let version = table.snapshot(None).await?.version;
            return Ok(Written { number, rows: 0, side, version, before: true });
        }
        writable(session, tables, side)?;
        let number = self.writes().last + 1;
        let staged = format!("written/{number:020}-{:016x}", session.context.rng.nonce());
        let place = self.folder.child(&staged);
        let stage = stage(&place, rowsets);
        self.while_renewing(stage).await??;
        // What does not fit the table is refused before the write is promised.
        let rows = match fitting(session, table, &place, rowsets.len()).await {
            Ok(rows) => rows,
            Err(refusal) => {
                self.clean(&staged).await;
                return Err(refusal);
            }
        };
        let (batch, stream) = match id.cloned() {
            None => (None, None),
            Some(WriteId::Batch(batch)) => (Some(batch), None),
            Some(WriteId::Stream(commit)) => (None, Some(commit)),
        };
        let (files, copy) = (rowsets.len() as u64, staged.clone());
        let intent = Intent { number, batch, stream, replaces: None, side, staged, files, rows };
        match self.record(WriteEvent::Intended(intent)).await {
            Ok(()) => {}
            Err(fenced @ Error::Fenced { .. }) => {
                self.clean(&copy).await;
                return Err(fenced);
            }
            Err(error) => return Err(error),
        }
        let version = self.finish(session, tables).await?;
        Ok(Written { number, rows, side, version, before: false })
    }

    /// Replaces files of the table that is written now by others, which are written and which nothing refers to yet, in one commit.
    /// `add` and `remove` as in [`CommitRequest`].
    ///
    /// # Errors
    /// [`Error::Conflict`] and [`Error::Fenced`], with nothing replaced now or later. After any other error the files may be
    /// replaced: whoever takes the lease next finds out ([`Producer::settle`]).
    pub async fn replace(
        &mut self,
        session: &Session,
        tables: &Tables,
        backfill: &StreamBackfill,
        (add, remove): (Vec<NewFile>, Vec<String>),
    ) -> Result<TableVersion, Error> {
        let side = written_side(&session.state);
        writable(session, tables, side)?;
        let (number, rows) = (self.writes().last + 1, add.iter().map(|file| file.rows).sum());
        let replaces = Some(backfill.clone());
        let intent = Intent { number, batch: None, stream: None, replaces, side, staged: String::new(), files: 0, rows };
        self.record(WriteEvent::Intended(intent.clone())).await?;
        let request = CommitRequest { remove, ..self.request(session, &intent, add) };
        match done(table(tables, side).commit(&request).await?) {
            Ok(version) => match self.record(WriteEvent::Committed { number, side, version: version.clone() }).await {
                // Whoever has the lease now finds it in the table.
                Ok(()) | Err(Error::Fenced { .. }) => Ok(version),
                Err(error) => Err(error),
            },
            Err(conflict @ Error::Conflict { .. }) => {
                self.record(WriteEvent::Withdrawn { number }).await?;
                Err(conflict)
            }
            Err(error) => Err(error),
        }
    }

    /// After this the pending write's lost commit is in its table, or never will be.
    async fn fence(&mut self, session: &Session, tables: &Tables) -> Result<(), Error> {
        let Some(intent) = self.writes().pending.clone() else { return Ok(()) };
        let (table, writer) = (table(tables, intent.side), writer_of(session.id()));
        let version = done(table.commit(&self.request(session, &intent, Vec::new())).await?)?;
        let there = table.marks(&writer).await?.number.is_some_and(|number| number.0 >= intent.number);
        if there {
            let (number, side) = (intent.number, intent.side);
            self.record(WriteEvent::Committed { number, side, version }).await?;
            if intent.replaces.is_none() {
                self.clean(&intent.staged).await;
            }
        }
        Ok(())
    }

    /// Commits the pending write to the table that is written now.
    async fn finish(&mut self, session: &Session, tables: &Tables) -> Result<TableVersion, Error> {
        let side = written_side(&session.state);
        let table = table(tables, side);
        let Some(intent) = self.writes().pending.clone() else { return Ok(table.snapshot(None).await?.version) };
        writable(session, tables, side)?;
        let place = self.folder.child(&intent.staged);
        let work = data_files(session, tables, side, &place, (&intent, self.lease.epoch()));
        let add = self.while_renewing(work).await??;
        let version = done(table.commit(&self.request(session, &intent, add)).await?)?;
        self.record(WriteEvent::Committed { number: intent.number, side, version: version.clone() }).await?;
        self.clean(&intent.staged).await;
        Ok(version)
    }

    /// A write's commit; without files it is a fence.
    fn request(&self, session: &Session, intent: &Intent, add: Vec<NewFile>) -> CommitRequest {
        let stream = intent.stream.iter().filter(|_| !add.is_empty());
        let positions = stream.flat_map(|StreamCommit { stream, positions, .. }| {
            positions.iter().map(move |(name, next)| (format!("{stream}/{name}"), *next))
        });
        let positions = positions.collect();
        CommitRequest {
            add,
            positions,
            ..CommitRequest::fence(writer_of(session.id()), CommitNumber(intent.number), self.lease.epoch())
        }
    }

    async fn record(&mut self, event: WriteEvent) -> Result<(), Error> {
        let log = &mut self.log;
        match log.journal.append(self.lease.epoch(), &event).await? {
            Append::Appended(_) => {
                log.fold();
                Ok(())
            }
            Append::Conflict { .. } => Err(Error::Fenced { current: log.journal.last_epoch() }),
            Append::Fenced { current } => Err(Error::Fenced { current }),
        }
    }

    /// Drops the copy of rows that are in a table, or do not fit it.
    async fn clean(&self, staged: &str) {
        let place = self.folder.child(staged);
        let store = place.store();
        let objects = store.list(Some(place.prefix())).map_ok(|object| object.location).boxed();
        let deleted: Result<Vec<_>, _> = store.delete_stream(objects).try_collect().await;
        if let Err(error) = deleted {
            tracing::warn!(%error, folder = place.location(), "could not delete the copy of a write's rows");
        }
    }

    /// Runs `work`, and keeps the lease meanwhile.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the lease is lost; `work` is then dropped.
    pub async fn while_renewing<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        lease::while_renewing(&self.clock, &self.lease, work).await
    }
}

/// The start of the names of the data files of a write, whoever made them.
pub fn file_stem(session: &Session, number: u64) -> String {
    format!("ls.{}.{}.", session.id(), unit(number))
}

fn unit(number: u64) -> UnitId {
    UnitId(format!("{LETTER}{number:08}"))
}

/// The table of a side.
pub fn table(tables: &Tables, side: Side) -> &dyn TableFormat {
    match side {
        Side::Old => tables.source.as_ref(),
        Side::New => tables.target.as_ref(),
    }
}

/// Refuses a table that Lakeshift only reads.
///
/// # Errors
/// [`Error::NotWritable`].
pub fn writable(session: &Session, tables: &Tables, side: Side) -> Result<(), Error> {
    let source = &session.spec.source;
    let reason = match side {
        Side::Old if source.format == Format::Hudi => "Hudi tables are only read",
        Side::Old if source.reference.is_some() => "source.ref names a branch or tag, which is only read",
        _ => return Ok(()),
    };
    Err(Error::NotWritable { location: table(tables, side).location().to_owned(), reason: reason.to_owned() })
}

fn done(outcome: CommitOutcome) -> Result<TableVersion, Error> {
    match outcome {
        CommitOutcome::Committed(version) | CommitOutcome::AlreadyCommitted(version) => Ok(version),
        CommitOutcome::Conflict { reason } => Err(Error::Conflict { reason }),
        CommitOutcome::Fenced { current } => Err(Error::Fenced { current }),
    }
}

/// Copies what was handed over below the control root.
async fn stage(place: &Storage, rowsets: &[Rowset]) -> Result<(), Error> {
    for (index, rowset) in rowsets.iter().enumerate() {
        let name = format!("part-{index:05}.parquet");
        let path = place.resolve(&name)?;
        let failed = |source| Error::Store { action: "write", object: place.url_of(&name), source };
        match rowset {
            Rowset::Bytes(bytes) => drop(place.store().put(&path, bytes.clone().into()).await.map_err(failed)?),
            Rowset::File(file) => copy(place, &path, file).await?,
        }
    }
    Ok(())
}

async fn copy(place: &Storage, path: &object_store::path::Path, file: &Path) -> Result<(), Error> {
    use std::io::Read;
    let unreadable = |source| Error::ReadFile { path: file.display().to_string(), source };
    let failed = |source| Error::Store { action: "write", object: path.to_string(), source };
    let mut input = std::fs::File::open(file).map_err(unreadable)?;
    let mut output = WriteMultipart::new(place.store().put_multipart(path).await.map_err(failed)?);
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = input.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        output.wait_for_capacity(4).await.map_err(failed)?;
        output.put(chunk.into());
    }
    output.finish().await.map_err(failed)?;
    Ok(())
}

/// The staged files as a table of their own, all `expected` of them readable.
async fn staged_files(place: &Storage, expected: usize) -> Result<(Snapshot, Vec<FileEntry>), Error> {
    let input = HiveTable::new(place.clone());
    let inventory = match input.inventory().await {
        Ok(inventory) => inventory,
        Err(TableError::NotFound { .. }) => {
            let reason = "no file of it is a Parquet file with rows".to_owned();
            return Err(Error::NotRows { file: "the write".to_owned(), reason });
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(bad) = inventory.quarantine.first() {
        let (file, reason) = (bad.path.clone(), bad.reason.clone());
        return Err(Error::NotRows { file, reason });
    }
    let snapshot = input.snapshot(None).await?;
    let files: Vec<FileEntry> = input.files(&snapshot).try_collect().await?;
    if files.len() != expected {
        let reason = format!("{} of {expected} file(s) are there", files.len());
        return Err(Error::NotRows { file: place.location().to_owned(), reason });
    }
    Ok((snapshot, files))
}

/// How many staged rows there are; they fit the table.
async fn fitting(session: &Session, table: &dyn TableFormat, place: &Storage, files: usize) -> Result<u64, Error> {
    let (source, files) = staged_files(place, files).await?;
    columns(session, &table.snapshot(None).await?, &source)?;
    Ok(files.iter().filter_map(|file| file.rows).sum())
}

/// The table's columns made from those that were handed over: by name, each one, and no other.
fn columns(session: &Session, into: &Snapshot, given: &Snapshot) -> Result<Vec<TargetColumn>, Error> {
    let mut reasons = Vec::new();
    let mut columns = Vec::with_capacity(into.schema.fields.len());
    for field in &into.schema.fields {
        let mut column = TargetColumn::named(field.name.clone());
        match given.schema.field(&field.name) {
            None => reasons.push(format!("column {} is not there", field.name)),
            Some(found) if lakeshift_core::plan::same_type(&found.data_type, &field.data_type) => {}
            Some(found) if is_castable(&found.data_type, &field.data_type) => {
                column.data_type = Some(field.data_type.clone());
            }
            Some(found) => {
                let (name, from, to) = (&field.name, &found.data_type, &field.data_type);
                reasons.push(format!("column {name} is {from} and the table's is {to}"));
            }
        }
        columns.push(column);
    }
    let unknown = given.schema.fields.iter().filter(|field| into.schema.field(&field.name).is_none());
    reasons.extend(unknown.map(|field| format!("the table has no column {}", field.name)));
    if !reasons.is_empty() {
        return Err(Error::RowsDoNotFit { migration: session.id().clone(), reasons });
    }
    let as_they_are = names(&into.schema).eq(names(&given.schema)) && columns.iter().all(|one| one.data_type.is_none());
    Ok(if as_they_are { Vec::new() } else { columns })
}

fn names(schema: &TableSchema) -> impl Iterator<Item = &str> {
    schema.fields.iter().map(|field| field.name.as_str())
}

/// Writes the staged rows as data files of a side. Nothing refers to them yet.
async fn data_files(
    session: &Session,
    tables: &Tables,
    side: Side,
    place: &Storage,
    (intent, epoch): (&Intent, lakeshift_journal::Epoch),
) -> Result<Vec<NewFile>, Error> {
    let expected = usize::try_from(intent.files).unwrap_or(usize::MAX);
    let (source, files) = staged_files(place, expected).await?;
    let into = table(tables, side).snapshot(None).await?;
    let spec = spec_of(session, side, &into, &source)?;
    let rows = Rows::new(&spec, session.live().clone())?;
    let stem = data_file_stem(session.id(), &unit(intent.number), epoch);
    let task = RewriteTask { source: &source, files, stem, sums: None, at_once: 1 };
    let written = rows.rewrite(&tables.written(side, &writer_of(session.id()), place), &task).await?;
    Ok(written.files)
}

/// The spec of a write: staged files into a side's columns and partitions.
fn spec_of(session: &Session, side: Side, into: &Snapshot, given: &Snapshot) -> Result<Spec, Error> {
    let mut spec = session.spec.clone();
    spec.target.columns = columns(session, into, given)?;
    spec.target.drop = Vec::new();
    (spec.transform, spec.scope) = (None, None);
    spec.target.partitioning.fields.clone_from(&into.partition.fields);
    if side == Side::Old {
        spec.target.format = spec.source.format;
        spec.target.sort = Vec::new();
        spec.target.parquet = Default::default();
    }
    spec.source.format = Format::Hive;
    Ok(spec)
}

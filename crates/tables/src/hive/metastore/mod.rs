//! A table or view of a Hive Metastore as a pointer: [`MetastorePointer`] lets an entry that readers ask for name the old or
//! the new table.
//!
//! The service has no request that changes an entry on a condition. What stands in for it: the Metastore's own exclusive lock
//! on the name, which Iceberg's `HiveCatalog` takes too; under it the entry is read, compared with what was looked at, written
//! and read again. An `ALTER TABLE` of an engine takes no lock. One that falls between the comparison and the write, which are
//! two requests apart, is overwritten without a trace; one that comes after it is seen.
//!
//! A moved entry carries a mark: the migration, the digest of its state before, under which that is kept at the control root
//! ([`kept`]), and the digest of what it was made, so that changes by others are seen by every gate and stop the way back.

mod client;
mod entry;
mod error;
mod kept;
mod location;
mod partitions;
mod rehearsal;
mod value;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lakeshift_core::migration::Side;
use lakeshift_core::pointer::ReaderPointer;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{MigrationId, TableError, TableFormat};
use lakeshift_journal::Clock;

use client::{Client, Name};
use entry::{Entry, Mark, New};
pub use error::MetastoreError;
use kept::Kept;

/// How often an entry that others change meanwhile is looked at anew.
const ATTEMPTS_MAX: usize = 20;
/// How long somebody else's lock is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_secs(1);

/// Which entry, of which Metastore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetastoreEntry {
    /// The Metastore's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The table or view in it.
    pub table: String,
    /// What the view shall select from the new table; `None` for a table.
    pub query: Option<String>,
}

/// An entry, and the tables that it may name.
#[derive(Debug, Clone)]
pub struct MetastorePointer {
    client: Client,
    name: Name,
    query: Option<String>,
    old: Arc<dyn TableFormat>,
    new: Arc<dyn TableFormat>,
    kept: Kept,
    migration: MigrationId,
    clock: Arc<dyn Clock>,
}

impl MetastorePointer {
    /// The entry, which names one of the tables `old` and `new` of `migration`; `kept` is the folder where the states of entries
    /// before they are moved are kept. Does no I/O.
    pub fn new(
        entry: MetastoreEntry,
        [old, new]: [Arc<dyn TableFormat>; 2],
        kept: Storage,
        migration: &MigrationId,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let client = Client::new(&entry.host, entry.port, &format!("lakeshift {migration}"));
        // The service keeps names in small letters.
        let name = Name { database: entry.database.to_lowercase(), table: entry.table.to_lowercase() };
        Self { client, name, query: entry.query, old, new, kept: Kept::new(kept), migration: migration.clone(), clock }
    }

    fn entry_name(&self) -> String {
        format!("{}.{} of {}", self.name.database, self.name.table, self.client.address())
    }

    fn fault(&self, action: &'static str, error: MetastoreError) -> TableError {
        TableError::Store { action, object: self.entry_name(), source: Box::new(error) }
    }

    /// Runs what blocks where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(Client, Name) -> Result<T, MetastoreError> + Send + 'static,
    ) -> Result<T, TableError> {
        let (client, name) = (self.client.clone(), self.name.clone());
        match tokio::task::spawn_blocking(move || work(client, name)).await {
            Ok(result) => result.map_err(|error| self.fault(action, error)),
            Err(error) => Err(TableError::Store { action, object: self.entry_name(), source: Box::new(error) }),
        }
    }

    /// The entry as it is, of the kind that the spec says.
    async fn look(&self) -> Result<Entry, TableError> {
        let missing = MetastoreError::Missing { entry: self.entry_name() };
        let found = self.blocking("look at", |client, name| client.table(&name)).await?;
        let entry = found.and_then(Entry::of).ok_or_else(|| self.fault("look at", missing))?;
        self.check_kind(&entry).map_err(|error| self.fault("look at", error))?;
        Ok(entry)
    }

    fn check_kind(&self, entry: &Entry) -> Result<(), MetastoreError> {
        let is = |name: &str| entry.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let (found, wanted) = match (&self.query, entry.is_view()) {
            (None, true) => ("a view".to_owned(), "`cutover.metastore.table` is for tables: write `view` and `query`"),
            (Some(_), false) => {
                (format!("a {}", entry.table_type()), "`cutover.metastore.view` is for views: write `table`")
            }
            (Some(_), true) if is("presto_view") => {
                ("a view of Trino's own".to_owned(), "its text is not SQL: move its readers by `cutover.command`")
            }
            (None, false) if is("transactional") => {
                ("an ACID table".to_owned(), "its readers cannot be moved: move them by `cutover.command`")
            }
            (None, false) if !matches!(entry.table_type(), "MANAGED_TABLE" | "EXTERNAL_TABLE") => {
                (format!("a {}", entry.table_type()), "only managed and external tables are moved")
            }
            _ => return Ok(()),
        };
        Err(MetastoreError::Unfit { entry: self.entry_name(), found, wanted })
    }

    /// Which table an entry names.
    fn side_of(&self, entry: &Entry) -> Result<Side, MetastoreError> {
        if let Some(mark) = self.mark_of(entry) {
            if entry.changed() {
                return Err(self.changed(&mark));
            }
            return Ok(Side::New);
        }
        if let Some(query) = &self.query {
            // Nobody but the entry says what the old text is.
            return Ok(if entry.query() == Some(query) { Side::New } else { Side::Old });
        }
        let found = entry.location().unwrap_or_default();
        let is = |table: &Arc<dyn TableFormat>| {
            entry.format() == table.format() && location::plain(found) == location::plain_of_url(table.location())
        };
        match () {
            () if is(&self.old) => Ok(Side::Old),
            () if is(&self.new) => Ok(Side::New),
            () => Err(MetastoreError::Neither {
                entry: self.entry_name(),
                found: format!("a {} table at {found}", entry.format()),
                old: format!("the {} table at {}", self.old.format(), self.old.location()),
            }),
        }
    }

    /// The mark of an entry that this migration has moved.
    fn mark_of(&self, entry: &Entry) -> Option<Mark> {
        entry.mark().filter(|mark| mark.migration == self.migration.0)
    }

    fn changed(&self, mark: &Mark) -> MetastoreError {
        MetastoreError::Changed { entry: self.entry_name(), kept: self.kept.place(&mark.before) }
    }

    async fn new_table(&self) -> Result<New, TableError> {
        Ok(match &self.query {
            Some(query) => New::Query(query.clone()),
            None => New::Table {
                format: self.new.format(),
                location: self.new.location().to_owned(),
                metadata_file: self.new.metadata_file().await?,
            },
        })
    }

    /// What the entry shall become; `None` when it is there already. What it was is kept before.
    async fn wanted(&self, entry: &Entry, side: Side) -> Result<Option<Entry>, TableError> {
        let now = self.side_of(entry).map_err(|error| self.fault("move", error))?;
        let mark = self.mark_of(entry);
        match (now, side, mark) {
            (Side::Old, Side::Old, _) | (Side::New, Side::New, None) => Ok(None),
            (Side::Old, Side::New, _) => {
                let new = self.new_table().await?;
                let before = self.kept.keep(&self.entry_name(), entry).await?;
                Ok(Some(entry.moved(&new, &Mark { migration: self.migration.0.clone(), before })))
            }
            // An Iceberg table moves on; its entry is to follow.
            (Side::New, Side::New, Some(_)) => {
                let new = self.new_table().await?;
                Ok(entry.is_behind(&new).then(|| entry.following(&new)))
            }
            (Side::New, Side::Old, Some(mark)) => {
                let state = self.kept.state(&self.entry_name(), &mark.before).await?;
                partitions::register(self, &state).await?;
                Ok(Some(state))
            }
            (Side::New, Side::Old, None) => {
                let (kept, reason) = (self.kept.place(""), "the entry has no mark of this migration".to_owned());
                Err(self.fault("move", MetastoreError::Kept { entry: self.entry_name(), kept, reason }))
            }
        }
    }

    /// One exchange under the entry's lock, for which others are waited; whether the entry was as `expected`.
    async fn exchange(&self, expected: &Entry, wanted: &Entry) -> Result<bool, TableError> {
        let until = self.clock.elapsed() + LOCK_WAIT;
        loop {
            let (before, after, entry) = (expected.clone(), wanted.clone(), self.entry_name());
            let done = self.blocking("move", move |client, name| exchange(&client, &name, &entry, &before, &after)).await?;
            match done {
                Exchange::Done => return Ok(true),
                Exchange::Changed => return Ok(false),
                Exchange::Locked if self.clock.elapsed() < until => self.clock.sleep(LOCK_POLL).await,
                Exchange::Locked => return Err(self.fault("move", MetastoreError::Locked { entry: self.entry_name() })),
            }
        }
    }
}

#[async_trait]
impl ReaderPointer for MetastorePointer {
    fn name(&self) -> String {
        let kind = if self.query.is_some() { "view" } else { "table" };
        format!("the Metastore's {kind} {}.{}", self.name.database, self.name.table)
    }

    async fn named(&self) -> Result<Side, TableError> {
        let entry = self.look().await?;
        self.side_of(&entry).map_err(|error| self.fault("look at", error))
    }

    async fn point(&self, side: Side) -> Result<(), TableError> {
        for _ in 0..ATTEMPTS_MAX {
            let entry = self.look().await?;
            let Some(wanted) = self.wanted(&entry, side).await? else { return Ok(()) };
            match self.exchange(&entry, &wanted).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // The answer may be what was lost.
                Err(error) => {
                    let there = self.look().await.is_ok_and(|entry| entry.has_become(&wanted));
                    return if there { Ok(()) } else { Err(error) };
                }
            }
        }
        Err(self.fault("move", MetastoreError::Busy { entry: self.entry_name(), attempts: ATTEMPTS_MAX }))
    }

    async fn rehearse(&self, side: Side) -> Result<(), TableError> {
        rehearsal::run(self, side).await
    }
}

/// What an exchange came to.
enum Exchange {
    Done,
    /// The entry was other than expected, and is as it was.
    Changed,
    /// Somebody else holds the lock.
    Locked,
}

/// Takes the lock, compares, writes, reads again, and gives the lock back, whatever came of it.
fn exchange(
    client: &Client,
    name: &Name,
    entry: &str,
    expected: &Entry,
    wanted: &Entry,
) -> Result<Exchange, MetastoreError> {
    let Some(lock) = client.lock(name)? else { return Ok(Exchange::Locked) };
    let result = replace(client, name, (entry, lock), expected, wanted);
    if let Err(error) = client.unlock(lock) {
        tracing::warn!(%error, entry, "the entry's lock could not be given back; it ends by itself");
    }
    result
}

fn replace(
    client: &Client,
    name: &Name,
    (entry, lock): (&str, i64),
    expected: &Entry,
    wanted: &Entry,
) -> Result<Exchange, MetastoreError> {
    let missing = || MetastoreError::Missing { entry: entry.to_owned() };
    // A process that slept longer than the lock holds ends here. Asked before the look, so that nothing but the look is between
    // the comparison and the write.
    if !client.holds(lock)? {
        return Ok(Exchange::Locked);
    }
    let now = client.table(name)?.and_then(Entry::of).ok_or_else(missing)?;
    if !now.is_same(expected) {
        return Ok(Exchange::Changed);
    }
    client.alter(name, wanted.clone().into_value())?;
    let after = client.table(name)?.and_then(Entry::of).ok_or_else(missing)?;
    match after.has_become(wanted) {
        true => Ok(Exchange::Done),
        false => Err(MetastoreError::Overwritten { entry: entry.to_owned() }),
    }
}

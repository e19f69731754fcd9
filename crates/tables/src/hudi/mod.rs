//! Apache Hudi: [`HudiTable`], which can only be read; copy-on-write and merge-on-read, table versions 6, 8 and 9.
//!
//! A version is the set of completed instants that it shows. The table's files are the latest slice of each file group:
//! a base file, and in merge-on-read tables the log files that apply to it. A slice with log files stands in the
//! base file's entry ([`lakeshift_core::hudi::LoggedSlice`] in its identity); its rows are merged by the engine, and here
//! nothing is known of rows. Hudi's own columns (`_hoodie_*`) are none of the table's.
//!
//! Written from Hudi's technical specification; the crate `hudi` is not used: it brings a second Arrow and Lance.

mod commit;
mod config;
mod history;
mod listing;
mod load;
mod names;
mod partition;
mod properties;
mod saved;
mod slices;
mod timeline;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{
    Changes, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, DeletedRows, FileEntry, FileFacts, Format, Marks,
    MigrationId, Snapshot, TableError, TableFormat, TableVersion, deletes_in,
};
use object_store::ObjectStoreExt;

use crate::footer::{corrupt, read_footer, unsupported};
use crate::storage::{outside_error, store_error};
use load::{Commits, Loaded};

/// Footers that are read at the same time.
const FOOTERS_IN_FLIGHT: usize = 32;
/// States that are kept in memory: the pinned one, the last one and the current one.
const STATES_KEPT: usize = 3;

/// A Hudi table. Clones share what they have read.
#[derive(Debug, Clone)]
pub struct HudiTable {
    storage: Storage,
    states: Option<Storage>,
    commits: Arc<Commits>,
    known: Arc<Mutex<VecDeque<Arc<Loaded>>>>,
}

impl HudiTable {
    /// The table below `storage`.
    pub fn new(storage: Storage) -> Self {
        Self { storage, states: None, commits: Arc::default(), known: Arc::default() }
    }

    /// Where [`TableFormat::pin`] saves a version's files, as `hudi-<digest>.json`. Without it a version is readable as long
    /// as the timeline has it.
    #[must_use]
    pub fn with_states(mut self, states: Storage) -> Self {
        self.states = Some(states);
        self
    }

    async fn at(&self, version: &TableVersion) -> Result<Arc<Loaded>, TableError> {
        if let Some(found) = self.kept().into_iter().find(|state| state.version == *version) {
            return Ok(found);
        }
        if let Some(states) = &self.states
            && let Some(state) = saved::load(states, self.location(), version).await?
        {
            return Ok(self.keep(state));
        }
        let state = load::load(&self.storage, &self.commits, Some(version)).await?;
        Ok(self.keep(state))
    }

    fn kept(&self) -> Vec<Arc<Loaded>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn keep(&self, state: Loaded) -> Arc<Loaded> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|kept| kept.version != state.version);
        known.truncate(STATES_KEPT - 1);
        known.push_front(Arc::new(state));
        Arc::clone(&known[0])
    }

    /// Of a slice with log files those of its base file, which say little of the slice's rows: the bounds and null counts
    /// are left out, and the rows are the base file's.
    async fn file_facts(&self, file: &FileEntry) -> Result<FileFacts, TableError> {
        let logged = deletes_in(&file.identity).map(|json| parse_slice(file, json)).transpose()?;
        if logged.as_ref().is_some_and(|slice| !slice.based) {
            return Ok(FileFacts::default());
        }
        let path = self.storage.resolve(&file.path).map_err(outside_error)?;
        let mut facts = read_footer(self.storage.store().as_ref(), &path, file.size_bytes).await?.facts();
        if logged.is_some() {
            facts.bounds.clear();
            facts.null_counts.clear();
        }
        Ok(facts)
    }

    fn read_only(&self) -> TableError {
        unsupported(self.storage.location(), "writing to a Hudi table", "name a Delta or Iceberg table as the target")
    }
}

fn parse_slice(file: &FileEntry, json: &str) -> Result<lakeshift_core::hudi::LoggedSlice, TableError> {
    serde_json::from_str(json).map_err(|error| TableError::Corrupt {
        object: file.path.clone(),
        reason: "its log files are not described as they should be".to_owned(),
        source: Some(Box::new(error)),
    })
}

/// The object at `path`, relative to `storage`; `None` when there is none.
async fn read_object(storage: &Storage, path: &str, bytes_max: u64) -> Result<Option<Bytes>, TableError> {
    let object = storage.resolve(path).map_err(outside_error)?;
    let failed = |error| store_error("read", object.as_ref(), error);
    let found = match storage.store().get(&object).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if found.meta.size > bytes_max {
        let reason = format!("it has {} bytes; at most {bytes_max} are read", found.meta.size);
        return Err(corrupt(object.as_ref(), reason));
    }
    found.bytes().await.map(Some).map_err(failed)
}

#[async_trait]
impl TableFormat for HudiTable {
    fn format(&self) -> Format {
        Format::Hudi
    }

    fn location(&self) -> &str {
        self.storage.location()
    }

    async fn snapshot(&self, version: Option<&TableVersion>) -> Result<Snapshot, TableError> {
        let state = match version {
            Some(version) => self.at(version).await?,
            None => self.keep(load::load(&self.storage, &self.commits, None).await?),
        };
        Ok(Snapshot {
            version: state.version.clone(),
            location: self.storage.location().to_owned(),
            schema: state.schema.clone(),
            partition: state.partition.clone(),
            properties: state.properties.clone(),
            defaults: BTreeMap::new(),
        })
    }

    async fn pin(&self, snapshot: &Snapshot) -> Result<(), TableError> {
        match &self.states {
            Some(states) => saved::save(states, self.location(), &*self.at(&snapshot.version).await?).await,
            None => Ok(()),
        }
    }

    fn files<'a>(&'a self, snapshot: &'a Snapshot) -> BoxStream<'a, Result<FileEntry, TableError>> {
        let entries = async {
            let state = self.at(&snapshot.version).await?;
            let count = state.files.len();
            Ok::<_, TableError>(stream::iter((0..count).map(move |index| Ok(state.files[index].clone()))))
        };
        stream::once(entries).try_flatten().boxed()
    }

    async fn changes(&self, from: &Snapshot, to: &Snapshot) -> Result<Changes, TableError> {
        let (from, to) = (self.at(&from.version).await?, self.at(&to.version).await?);
        let changes = crate::changes::difference(from.files.iter().cloned(), to.files.iter().cloned());
        Ok(Changes { commits: to.instants_since(&from), ..changes })
    }

    fn facts<'a>(&'a self, files: Vec<FileEntry>) -> BoxStream<'a, (FileEntry, Result<FileFacts, TableError>)> {
        let read = move |file: FileEntry| async move {
            let facts = self.file_facts(&file).await;
            (file, facts)
        };
        stream::iter(files).map(read).buffered(FOOTERS_IN_FLIGHT).boxed()
    }

    /// None: which rows of a slice stay is found by key, where the slice is read.
    async fn deleted_rows(&self, _file: &FileEntry) -> Result<DeletedRows, TableError> {
        Ok(DeletedRows::default())
    }

    async fn create(&self, _request: &CreateRequest) -> Result<CreateOutcome, TableError> {
        Err(self.read_only())
    }

    async fn commit(&self, _request: &CommitRequest) -> Result<CommitOutcome, TableError> {
        Err(self.read_only())
    }

    async fn marks(&self, _migration: &MigrationId) -> Result<Marks, TableError> {
        Err(self.read_only())
    }
}

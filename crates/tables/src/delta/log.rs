//! The log of a Delta table: [`Log`] loads versions through deltalake and writes new ones create-only.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::errors::DeltaTableError;
use deltalake::kernel::Snapshot as DeltaSnapshot;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Format, TableError};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde_json::Value as Json;

use super::schema::{self, Protocol, Rules};
use super::version_text;
use crate::footer::corrupt;
use crate::storage::{outside_error, store_error};

/// A commit that touches more files than this is followed by a checkpoint at once.
const LARGE_COMMIT_FILES: usize = 50_000;
/// A checkpoint every so many versions, Delta's own default.
const CHECKPOINT_INTERVAL: u64 = 10;

/// A table's log.
#[derive(Debug, Clone)]
pub(super) struct Log {
    storage: Storage,
}

/// One version, without its files.
pub(super) struct Loaded {
    pub(super) version: u64,
    /// The table's own id.
    pub(super) id: String,
    pub(super) schema: TableSchema,
    pub(super) partition: PartitionSpec,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) protocol: Protocol,
    /// The schema as the log has it, with every column's metadata.
    pub(super) schema_string: String,
    /// The whole `metaData` action.
    pub(super) metadata: Json,
    pub(super) snapshot: DeltaSnapshot,
}

impl Loaded {
    /// What the table asks of its writers.
    pub(super) fn rules(&self) -> Rules<'_> {
        Rules { protocol: &self.protocol, properties: &self.properties, schema_string: &self.schema_string }
    }
}

/// What came of writing a version.
#[must_use]
pub(super) enum Written {
    /// The log has our bytes at that version.
    Ours,
    /// Somebody else wrote that version.
    Taken,
}

impl Log {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage }
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// deltalake's view of the same store.
    pub(super) fn store(&self) -> LogStoreRef {
        let root = Arc::clone(self.storage.store());
        let table = Arc::new(PrefixStore::new(Arc::clone(&root), self.storage.prefix().clone()));
        default_logstore(table, root, self.storage.url(), &StorageConfig::default())
    }

    /// The table at a version, or now; every feature it uses is one that Lakeshift can read.
    pub(super) async fn load(&self, version: Option<u64>) -> Result<Loaded, TableError> {
        let store = self.store();
        let snapshot =
            DeltaSnapshot::try_new(store.as_ref(), version).await.map_err(|error| self.load_error(version, error))?;
        let metadata = self.json(serde_json::to_value(snapshot.metadata()))?;
        let protocol: Protocol = self.json(serde_json::to_value(snapshot.protocol()).and_then(serde_json::from_value))?;
        let properties: BTreeMap<String, String> = self.json(serde_json::from_value(metadata["configuration"].clone()))?;
        let mapping = schema::check_readable(self.storage.location(), &protocol, &properties)?;
        let text = metadata["schemaString"].as_str().unwrap_or_default();
        let schema = schema::from_delta(self.storage.location(), text, mapping)?;
        let columns: Vec<String> = self.json(serde_json::from_value(metadata["partitionColumns"].clone()))?;
        if let Some(missing) = columns.iter().find(|column| schema.field(column).is_none()) {
            return Err(corrupt(self.storage.location(), format!("its schema lacks the partition column {missing}")));
        }
        let fields = columns.into_iter().map(|column| PartitionField::new(column, Transform::Identity)).collect();
        Ok(Loaded {
            version: snapshot.version(),
            id: metadata["id"].as_str().unwrap_or_default().to_owned(),
            schema,
            partition: PartitionSpec { fields },
            properties,
            protocol,
            schema_string: text.to_owned(),
            metadata: metadata.clone(),
            snapshot,
        })
    }

    /// As [`Self::load`] of the newest version; `None` where there is no table.
    pub(super) async fn load_if_any(&self) -> Result<Option<Loaded>, TableError> {
        match self.load(None).await {
            Ok(loaded) => Ok(Some(loaded)),
            Err(TableError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The version of each application's newest `txn` at a version of the table.
    pub(super) async fn transactions<const N: usize>(
        &self,
        version: u64,
        applications: [String; N],
    ) -> Result<[Option<i64>; N], TableError> {
        let engine = self.store().engine(None);
        let root = format!("{}/", self.storage.location());
        let read = move || -> Result<[Option<i64>; N], delta_kernel::Error> {
            let snapshot = delta_kernel::Snapshot::builder_for(root).at_version(version).build(engine.as_ref())?;
            let mut found = [None; N];
            for (found, application) in found.iter_mut().zip(&applications) {
                *found = snapshot.get_app_id_version(application, engine.as_ref())?;
            }
            Ok(found)
        };
        let result = tokio::task::spawn_blocking(read).await;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| TableError::Store {
            action: "read the transactions of",
            object: self.storage.location().to_owned(),
            source,
        };
        result.map_err(|error| failed(Box::new(error)))?.map_err(|error| failed(Box::new(error)))
    }

    /// The object of one version.
    fn object(&self, version: u64) -> Result<Path, TableError> {
        self.storage.resolve(&format!("_delta_log/{version:020}.json")).map_err(outside_error)
    }

    /// The bytes of a version's commit; `None` where it is not in the log (any more).
    pub(super) async fn commit_bytes(&self, version: u64) -> Result<Option<Bytes>, TableError> {
        let path = self.object(version)?;
        let failed = |error| store_error("read", path.as_ref(), error);
        match self.storage.store().get(&path).await {
            Ok(found) => found.bytes().await.map(Some).map_err(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Puts a version create-only. Whatever the store answered, what counts is what it holds afterwards: a lost answer,
    /// or a refusal of a request that the client itself repeated, is told from a lost race by reading the version back.
    pub(super) async fn write(&self, version: u64, bytes: Bytes) -> Result<Written, TableError> {
        let path = self.object(version)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let Err(error) = self.storage.store().put_opts(&path, bytes.clone().into(), options).await else {
            return Ok(Written::Ours);
        };
        match self.commit_bytes(version).await? {
            Some(found) if found == bytes => Ok(Written::Ours),
            Some(_) => Ok(Written::Taken),
            None => Err(store_error("write", path.as_ref(), error)),
        }
    }

    /// Writes a checkpoint where one is due. The commit stands without it, so a failure is only logged.
    pub(super) async fn checkpoint_if_due(&self, version: u64, files: usize) {
        if !version.is_multiple_of(CHECKPOINT_INTERVAL) && files < LARGE_COMMIT_FILES {
            return;
        }
        let (engine, root) = (self.store().engine(None), format!("{}/", self.storage.location()));
        let write = move || -> Result<(), delta_kernel::Error> {
            let snapshot = delta_kernel::Snapshot::builder_for(root).at_version(version).build(engine.as_ref())?;
            snapshot.checkpoint(engine.as_ref(), None).map(|_| ())
        };
        // The kernel waits for the store on the thread that calls it.
        let written = tokio::task::spawn_blocking(write).await;
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(table = self.storage.location(), version, %error, "no checkpoint was written; the commit stands");
    }

    fn json<T>(&self, result: serde_json::Result<T>) -> Result<T, TableError> {
        result.map_err(|error| TableError::Corrupt {
            object: self.storage.location().to_owned(),
            reason: "its metadata are not what the Delta protocol says".to_owned(),
            source: Some(Box::new(error)),
        })
    }

    fn load_error(&self, version: Option<u64>, error: DeltaTableError) -> TableError {
        let location = self.storage.location().to_owned();
        // The kernel's texts are the interface here; below the first line it may write a backtrace.
        let text = error.to_string().lines().next().unwrap_or_default().trim().to_owned();
        let unsupported = ["feature", "reader version"].iter().any(|word| text.to_lowercase().contains(word));
        match (error, version) {
            (DeltaTableError::NotATable(_), None) => TableError::NotFound { format: Format::Delta, location },
            // A local folder that is not there yet.
            (_, None) if text.contains("Invalid table location") => TableError::NotFound { format: Format::Delta, location },
            (DeltaTableError::ObjectStore { source }, _) => store_error("read", &location, source),
            _ if unsupported => TableError::Unsupported {
                object: location,
                feature: text,
                advice: "upgrade Lakeshift, or drop the feature from the table".to_owned(),
            },
            (_, Some(version)) => TableError::VersionGone { location, version: version_text(version), reason: text },
            (_, None) => {
                TableError::Corrupt { object: location, reason: format!("its log cannot be replayed: {text}"), source: None }
            }
        }
    }
}

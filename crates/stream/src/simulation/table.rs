//! A table of numbered commits with rows as JSON, which keeps to the contract of [`TableFormat::commit`], and the sink that
//! writes its files.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::plan::data_file_stem;
use lakeshift_core::schema::TableSchema;
use lakeshift_core::table::{
    Changes, CommitNumber, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, FileEntry, FileFacts, Format, Marks,
    MigrationId, NewFile, Snapshot, TableError, TableFormat, TableVersion, UnitId,
};
use lakeshift_core::value::Value;
use lakeshift_journal::{Clock, Create, Epoch, NumberedLog, Rng, RngExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use crate::error::StreamError;
use crate::guard::{Guard, is_on};
use crate::source::Sink;

/// A row: which event, and whose value: 0 is the stream's own, else the lock's whose backfill wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Row {
    pub partition: i32,
    pub offset: i64,
    pub period: i32,
    pub entity: String,
    pub value: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Commit {
    id: String,
    number: Option<u64>,
    epoch: u64,
    add: Vec<(String, i32)>,
    remove: Vec<String>,
    nonce: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct SimTable {
    pub store: Arc<dyn ObjectStore>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
}

/// The state after all commits.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    version: u64,
    pub live: BTreeMap<String, i32>,
    marks: BTreeMap<String, (Option<u64>, u64)>,
}

impl SimTable {
    fn log(&self) -> NumberedLog {
        NumberedLog::new(self.store.clone(), Path::from("table/log"), self.clock.clone())
    }

    pub async fn standing(&self) -> Result<Standing, TableError> {
        let (log, mut standing) = (self.log(), Standing::default());
        let failed = |source| TableError::Store { action: "read", object: "table".into(), source: Box::new(source) };
        let last = log.last().await.map_err(failed)?.unwrap_or(0);
        let mut objects = std::pin::pin!(log.read_range(1..=last));
        while let Some(object) = objects.next().await {
            let (number, bytes) = object.map_err(failed)?;
            let commit: Commit = serde_json::from_slice(&bytes.unwrap()).unwrap();
            standing.live.retain(|path, _| !commit.remove.contains(path));
            standing.live.extend(commit.add);
            let mark = standing.marks.entry(commit.id).or_default();
            *mark = (mark.0.max(commit.number), mark.1.max(commit.epoch));
            standing.version = number;
        }
        Ok(standing)
    }

    pub async fn rows(&self, path: &str) -> Vec<Row> {
        let bytes = self.store.get(&Path::from(format!("table/data/{path}"))).await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// One file a place, as every table that is partitioned by its places has them.
    pub async fn write(&self, rows: Vec<Row>, stem: &str) -> object_store::Result<Vec<NewFile>> {
        let mut by_place: BTreeMap<(i32, String), Vec<Row>> = BTreeMap::new();
        for row in rows {
            by_place.entry((row.period, row.entity.clone())).or_default().push(row);
        }
        let mut files = Vec::new();
        for ((period, entity), rows) in by_place {
            let path = format!("{period}/{entity}/{stem}-{:016x}.json", self.rng.nonce());
            let (count, bytes) = (rows.len() as u64, serde_json::to_vec(&rows).unwrap());
            self.store.put(&Path::from(format!("table/data/{path}")), Bytes::from(bytes).into()).await?;
            let partition = vec![Some(Value::Int(period.into())), Some(Value::String(entity))];
            files.push(NewFile { path, size_bytes: 1, partition, rows: count });
        }
        Ok(files)
    }
}

#[async_trait]
impl TableFormat for SimTable {
    fn format(&self) -> Format {
        Format::Delta
    }

    fn location(&self) -> &str {
        "memory:///table"
    }

    async fn snapshot(&self, _version: Option<&TableVersion>) -> Result<Snapshot, TableError> {
        Ok(Snapshot {
            version: TableVersion(self.standing().await?.version.to_string()),
            location: self.location().to_owned(),
            schema: TableSchema::default(),
            partition: PartitionSpec::default(),
            properties: BTreeMap::new(),
            defaults: BTreeMap::new(),
        })
    }

    async fn pin(&self, _snapshot: &Snapshot) -> Result<(), TableError> {
        Ok(())
    }

    fn files<'a>(&'a self, _snapshot: &'a Snapshot) -> BoxStream<'a, Result<FileEntry, TableError>> {
        stream::empty().boxed()
    }

    async fn changes(&self, _from: &Snapshot, _to: &Snapshot) -> Result<Changes, TableError> {
        Ok(Changes::default())
    }

    fn facts<'a>(&'a self, _files: Vec<FileEntry>) -> BoxStream<'a, (FileEntry, Result<FileFacts, TableError>)> {
        stream::empty().boxed()
    }

    async fn create(&self, _request: &CreateRequest) -> Result<CreateOutcome, TableError> {
        Ok(CreateOutcome::AlreadyCreated(TableVersion("0".into())))
    }

    async fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, TableError> {
        loop {
            let standing = self.standing().await?;
            let (number, epoch) = standing.marks.get(&request.migration.0).copied().unwrap_or_default();
            if epoch > request.epoch.0 && is_on(Guard::Fence) {
                return Ok(CommitOutcome::Fenced { current: Epoch(epoch) });
            }
            let version = |number: u64| TableVersion(number.to_string());
            if !request.is_fence() && number.is_some_and(|number| number >= request.number.0) {
                return Ok(CommitOutcome::AlreadyCommitted(version(standing.version)));
            }
            if let Some(gone) = request.remove.iter().find(|path| !standing.live.contains_key(*path)) {
                return Ok(CommitOutcome::Conflict { reason: format!("{gone} is gone") });
            }
            let period = |file: &NewFile| match file.partition[0] {
                Some(Value::Int(period)) => i32::try_from(period).unwrap(),
                _ => unreachable!(),
            };
            let commit = Commit {
                id: request.migration.0.clone(),
                number: (!request.is_fence()).then_some(request.number.0),
                epoch: request.epoch.0,
                add: request.add.iter().map(|file| (file.path.clone(), period(file))).collect(),
                remove: request.remove.clone(),
                nonce: self.rng.nonce(),
            };
            let next = standing.version + 1;
            let created = self.log().create(next, serde_json::to_vec(&commit).unwrap().into()).await;
            match created {
                Ok(Create::Created) => return Ok(CommitOutcome::Committed(version(next))),
                Ok(Create::Taken) => {}
                Err(source) => {
                    return Err(TableError::Store { action: "commit", object: "table".into(), source: Box::new(source) });
                }
            }
        }
    }

    async fn marks(&self, migration: &MigrationId) -> Result<Marks, TableError> {
        let standing = self.standing().await?;
        let (number, epoch) = standing.marks.get(&migration.0).copied().unwrap_or_default();
        Ok(Marks { number: number.map(CommitNumber), epoch: Some(Epoch(epoch)), foreign: Vec::new() })
    }
}

#[derive(Debug)]
pub(crate) struct SimSink {
    pub table: SimTable,
    pub stream: MigrationId,
}

#[async_trait]
impl Sink for SimSink {
    type Rows = Vec<Row>;

    async fn write(&self, rows: &Vec<Row>, kept: &[u32], unit: &UnitId, epoch: Epoch) -> Result<Vec<NewFile>, StreamError> {
        let rows = kept.iter().map(|row| rows[*row as usize].clone()).collect();
        let stem = data_file_stem(&self.stream, unit, epoch);
        self.table.write(rows, &stem).await.map_err(|source| StreamError::Sink(Box::new(source)))
    }

    async fn discard(&self, files: &[NewFile]) {
        for file in files {
            let _ = self.table.store.delete(&Path::from(format!("table/data/{}", file.path))).await;
        }
    }
}

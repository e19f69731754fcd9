//! A small world: a Hive-style table of flights on some store, a spec, and commands run as the binary runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use lakeshift::args::{Args, Command};
use lakeshift::context::Context;
use lakeshift::error::Error;
use lakeshift::output::Answer;
use lakeshift::progress::Progress;
use lakeshift::stop::Stop;
use lakeshift_core::partition::{PartitionField, Transform};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{
    CommitNumber, CommitOutcome, CommitRequest, FileEntry, MigrationId, NewFile, Snapshot, TableFormat,
};
use lakeshift_core::value::Value;
use lakeshift_journal::{Clock, Epoch};
use lakeshift_tables::delta::DeltaTable;
use lakeshift_tables::iceberg::IcebergTable;
use lakeshift_tables::storage::Stores;
use lakeshift_testkit::{ManualClock, SeededRng};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;

/// The target of a test migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Rewritten into months and buckets.
    Iceberg,
    /// Adopted where it lies.
    DeltaInPlace,
    /// Registered in a table that lies elsewhere.
    IcebergAdopted,
    /// Rewritten elsewhere, unpartitioned days.
    Delta,
    /// Copied undecoded into months.
    IcebergSpliced,
}

/// A text without its ends of lines and its columns.
pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A store with a source table, and a spec on disk.
pub struct World {
    /// The store that everything lies on.
    pub store: Arc<dyn ObjectStore>,
    /// The time.
    pub clock: Arc<ManualClock>,
    /// The root of all locations, such as `memory://` and a bucket's URL.
    pub root: String,
    memory: Option<Arc<InMemory>>,
    folder: tempfile::TempDir,
    seed: AtomicU64,
}

/// The environment of every world's commands; a process has one, so that tests choose names that are theirs.
pub static ENVIRONMENT: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// A variable of [`ENVIRONMENT`].
pub fn environment(name: &str) -> Option<String> {
    ENVIRONMENT.lock().unwrap().get(name).cloned()
}

/// One flight: (minute of the day, origin, delay).
pub type Flight = (i64, &'static str, Option<i64>);

impl World {
    /// A world in memory.
    pub fn in_memory(target: Target) -> Self {
        Self::of_memory(InMemory::new(), "memory:///lake", target)
    }

    fn of_memory(memory: InMemory, root: &str, target: Target) -> Self {
        let memory = Arc::new(memory);
        Self { memory: Some(memory.clone()), ..Self::on(memory, root, target) }
    }

    /// A world below `root` on a store.
    pub fn on(store: Arc<dyn ObjectStore>, root: &str, target: Target) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self {
            store,
            clock: Arc::new(ManualClock::for_retries()),
            root: root.to_owned(),
            memory: None,
            folder,
            seed: AtomicU64::new(1),
        };
        world.write_spec(target, "");
        world
    }

    /// This world as it is now, which must be one in memory: nothing that happens in either reaches the other.
    pub fn copy(&self) -> Self {
        let memory = self.memory.as_ref().expect("a world in memory").fork();
        let copy = Self::of_memory(memory, &self.root, Target::Iceberg);
        std::fs::copy(self.spec(), copy.spec()).unwrap();
        copy.clock.jump_to(self.clock.now());
        // No two processes make the same names.
        copy.seed.store(self.seed.load(Ordering::Relaxed), Ordering::Relaxed);
        copy
    }

    /// Writes the spec; `more` is appended to it.
    pub fn write_spec(&self, target: Target, more: &str) {
        let root = &self.root;
        let target = match target {
            Target::Iceberg => format!(
                "format: iceberg\n  location: {root}/flights_iceberg\n  partitioning: [month(at), 'bucket(2, origin)']"
            ),
            Target::IcebergAdopted => format!("format: iceberg\n  location: {root}/flights_iceberg\n  partitioning: [day]"),
            Target::IcebergSpliced => {
                format!("format: iceberg\n  location: {root}/flights_iceberg\n  partitioning: [month(at)]")
            }
            Target::Delta => format!("format: delta\n  location: {root}/flights_delta\n  partitioning: [origin]"),
            Target::DeltaInPlace => format!("format: delta\n  location: {root}/flights\n  partitioning: [day]"),
        };
        let disposition = if target.contains("flights_") { ", disposition: purge" } else { "" };
        let spec = format!(
            "apiVersion: lakeshift/v1\nname: flights\ncontrol: {root}/control\nsource:\n  format: hive\n  location: \
             {root}/flights\ntarget:\n  {target}\ncutover: {{alias: flights}}\nbackfill: {{concurrency: 1, memory: 64MiB, \
             unit_size: 16MiB, target_file_size: 16MiB}}\nsunset: {{grace: 1h{}{disposition}}}\n{more}",
            if disposition.is_empty() { "" } else { ", quarantine: 1h" },
        );
        std::fs::write(self.spec(), spec).unwrap();
    }

    /// The spec's path.
    pub fn spec(&self) -> PathBuf {
        self.folder.path().join("migration.yaml")
    }

    /// Writes a source file: flights of one day.
    pub async fn put_day(&self, day: u32, file: &str, flights: &[Flight]) {
        let path = self.source_path(day, file);
        self.store.put(&path, day_file(day, flights).into()).await.unwrap();
    }

    /// As [`put_day`](Self::put_day), with the column `origin` under the name `from`.
    pub async fn put_renamed_day(&self, day: u32, file: &str, flights: &[Flight]) {
        let path = self.source_path(day, file);
        self.store.put(&path, renamed_day_file(day, flights).into()).await.unwrap();
    }

    /// As [`put_day`](Self::put_day), with `delay` in 32 bits.
    pub async fn put_narrow_day(&self, day: u32, file: &str, flights: &[Flight]) {
        let path = self.source_path(day, file);
        self.store.put(&path, narrow_day_file(day, flights).into()).await.unwrap();
    }

    /// As [`put_day`](Self::put_day), with a column `gate` more that has one value.
    pub async fn put_wide_day(&self, day: u32, file: &str, flights: &[Flight], gate: &str) {
        let path = self.source_path(day, file);
        self.store.put(&path, wide_day_file(day, flights, gate).into()).await.unwrap();
    }

    /// Writes an object below the root.
    pub async fn put(&self, path: &str, bytes: impl Into<object_store::PutPayload>) {
        self.store.put(&self.path(&format!("{}/{path}", self.root)), bytes.into()).await.unwrap();
    }

    /// Names of the objects in a folder below the root.
    pub async fn list(&self, folder: &str) -> Vec<String> {
        let folder = self.path(&format!("{}/{folder}", self.root));
        let objects: Vec<object_store::ObjectMeta> = self.store.list(Some(&folder)).try_collect().await.unwrap();
        objects.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect()
    }

    /// Deletes an object below the root.
    pub async fn delete(&self, path: &str) {
        self.store.delete(&self.path(&format!("{}/{path}", self.root))).await.unwrap();
    }

    /// What stands at a URL below the root.
    pub async fn get(&self, url: &str) -> bytes::Bytes {
        self.store.get(&self.path(url)).await.unwrap().bytes().await.unwrap()
    }

    /// The JSON that stands at a URL below the root.
    pub async fn json(&self, url: &str) -> serde_json::Value {
        serde_json::from_slice(&self.get(url).await).unwrap()
    }

    fn path(&self, url: &str) -> Path {
        let path = url.split_once("://").unwrap().1;
        // After the bucket, which in memory is empty.
        Path::parse(path.split_once('/').map_or("", |(_, path)| path)).unwrap()
    }

    /// A file beside the spec.
    pub fn write_file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Deletes a source file.
    pub async fn delete_day(&self, day: u32, file: &str) {
        self.store.delete(&self.source_path(day, file)).await.unwrap();
    }

    /// The paths of all objects below a folder of the root.
    pub async fn objects_below(&self, folder: &str) -> Vec<String> {
        let folder = self.path(&format!("{}/{folder}", self.root));
        let objects: Vec<object_store::ObjectMeta> = self.store.list(Some(&folder)).try_collect().await.unwrap();
        objects.into_iter().map(|object| object.location.to_string()).collect()
    }

    /// The new table as somebody else opens it, its place, and the old table's.
    fn open_target(&self, target: Target) -> (Box<dyn TableFormat>, Storage, Storage) {
        let stores = Stores::new().with_store(self.root.clone(), self.store.clone());
        let name = match target {
            Target::Iceberg | Target::IcebergAdopted | Target::IcebergSpliced => "flights_iceberg",
            Target::Delta => "flights_delta",
            Target::DeltaInPlace => "flights",
        };
        let storage = stores.open(&format!("{}/{name}", self.root)).unwrap();
        let source = stores.open(&format!("{}/flights", self.root)).unwrap();
        let table: Box<dyn TableFormat> = match target {
            Target::Iceberg | Target::IcebergAdopted | Target::IcebergSpliced => {
                Box::new(IcebergTable::new(storage.clone()).with_files_in(source.clone()).with_clock(self.clock.clone()))
            }
            _ => Box::new(DeltaTable::new(storage.clone(), self.clock.clone())),
        };
        (table, storage, source)
    }

    /// The paths of the new table's live files.
    pub async fn target_files(&self, target: Target) -> Vec<String> {
        let (table, ..) = self.open_target(target);
        let snapshot = table.snapshot(None).await.unwrap();
        table.files(&snapshot).map_ok(|file| file.path).try_collect().await.unwrap()
    }

    /// A writer of its own commits to the new table: adds one file of flights of one day and one origin, and removes files.
    pub async fn write_new(&self, target: Target, number: u64, day: u32, flights: &[Flight], remove: &[String]) {
        let (table, storage, _) = self.open_target(target);
        let (date, origin) = (Value::Date(11_322 + i32::try_from(day).unwrap()), flights.first().map(|flight| flight.1));
        let partition = |field: &PartitionField| match (field.column.as_str(), field.transform) {
            ("day", _) => Some(date.clone()),
            ("origin", Transform::Identity) => origin.map(|origin| Value::String(origin.to_owned())),
            ("origin", transform) => origin.map(|text| transform.apply(&Value::String(text.to_owned())).unwrap()),
            _ => Some(Value::Int(372)),
        };
        let mut add = Vec::new();
        if !flights.is_empty() {
            let bytes = match target {
                Target::Delta => delta_file(day, flights),
                Target::IcebergAdopted | Target::DeltaInPlace => day_file(day, flights),
                Target::Iceberg | Target::IcebergSpliced => full_file(day, flights),
            };
            let Snapshot { partition: spec, schema, .. } = table.snapshot(None).await.unwrap();
            let bytes = if schema.field("one").is_some() { with_one(bytes.to_vec().into()) } else { bytes };
            let file = NewFile {
                path: format!("theirs-{number}.parquet"),
                size_bytes: bytes.len() as u64,
                partition: spec.fields.iter().map(partition).collect(),
                rows: flights.len() as u64,
            };
            self.store.put(&storage.resolve(&file.path).unwrap(), bytes.into()).await.unwrap();
            add.push(file);
        }
        let request = CommitRequest {
            add,
            remove: remove.to_vec(),
            ..CommitRequest::fence(MigrationId("somebody".to_owned()), CommitNumber(number), Epoch(1))
        };
        let outcome = table.commit(&request).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    }

    /// The type of one of the new table's columns.
    pub async fn target_type(&self, target: Target, column: &str) -> String {
        let (table, ..) = self.open_target(target);
        let schema = table.snapshot(None).await.unwrap().schema;
        schema.field(column).unwrap().data_type.to_string()
    }

    /// The names of the new table's columns.
    pub async fn target_columns(&self, target: Target) -> Vec<String> {
        let (table, ..) = self.open_target(target);
        let schema = table.snapshot(None).await.unwrap().schema;
        schema.fields.into_iter().map(|field| field.name).collect()
    }

    /// Rows of the target's live files as text, sorted: its adapter lists them, the parquet crate alone reads them.
    pub async fn target_rows(&self, target: Target) -> Vec<String> {
        let (table, storage, source) = self.open_target(target);
        let snapshot = table.snapshot(None).await.unwrap();
        let files: Vec<FileEntry> = table.files(&snapshot).try_collect().await.unwrap();
        let mut rows = Vec::new();
        for file in files {
            let place = if file.path.contains("://") { &source } else { &storage };
            let bytes = self.store.get(&place.resolve(&file.path).unwrap()).await.unwrap().bytes().await.unwrap();
            let deleted = match file.has_deletes {
                true => table.deleted_rows(&file).await.unwrap().positions().collect(),
                false => BTreeSet::new(),
            };
            let rows_left = rows_of(bytes).into_iter().zip(0..).filter(|(_, row)| !deleted.contains(row));
            for (row, _) in rows_left {
                let value = || file.partition[0].as_ref().unwrap().to_string();
                rows.push(match target {
                    Target::Iceberg | Target::IcebergSpliced => row,
                    // A file that was written and not adopted has the day itself.
                    Target::IcebergAdopted if row.matches('|').count() == 3 => row,
                    Target::DeltaInPlace | Target::IcebergAdopted => format!("{row}|{}", value()),
                    // The files hold at, delay and day; the origin stands in the log.
                    Target::Delta => {
                        let (at, rest) = row.split_once('|').unwrap();
                        format!("{at}|{}|{rest}", value())
                    }
                });
            }
        }
        rows.sort_unstable();
        rows
    }

    /// Where the alias has pointed, oldest first: formats and locations.
    pub async fn pointers(&self) -> Vec<String> {
        let root = self.source_path(1, "x").as_ref().rsplitn(4, '/').last().unwrap().to_owned();
        let folder = Path::parse(format!("{root}/control/aliases/flights")).unwrap();
        let mut objects: Vec<object_store::ObjectMeta> = self.store.list(Some(&folder)).try_collect().await.unwrap();
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        let mut pointers = Vec::new();
        for object in objects {
            let bytes = self.store.get(&object.location).await.unwrap().bytes().await.unwrap();
            let pointer: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            pointers.push(format!("{} {}", pointer["format"], pointer["location"]));
        }
        pointers
    }

    fn source_path(&self, day: u32, file: &str) -> Path {
        let root = self.root.split_once("://").unwrap().1;
        let path = root.split_once('/').map_or("", |(_, path)| path);
        Path::parse(format!("{path}/flights/day=2001-01-{day:02}/{file}")).unwrap()
    }

    /// Runs one command as a new process would, on `store` in place of the world's own.
    pub async fn run_on(&self, store: Arc<dyn ObjectStore>, command: &[&str]) -> Result<Answer, Error> {
        self.run_in(self.context(store, Stop::never()), command).await
    }

    /// Runs one command on the world's own store, until `stop`.
    pub async fn run_until(&self, stop: Stop, command: &[&str]) -> Result<Answer, Error> {
        self.run_in(self.context(self.store.clone(), stop), command).await
    }

    async fn run_in(&self, context: Context, command: &[&str]) -> Result<Answer, Error> {
        // In a box: a command's future is large, and a test's stack is not the program's.
        Box::pin(lakeshift::commands::run(&context, parse(command, &self.spec()))).await
    }

    /// A new process.
    pub fn context(&self, store: Arc<dyn ObjectStore>, stop: Stop) -> Context {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        Context {
            stores: Stores::new().with_store(self.root.clone(), store),
            clock: self.clock.clone(),
            rng: Arc::new(SeededRng::new(seed)),
            env: environment,
            holder: format!("test@here:{seed}"),
            progress: Progress::Quiet,
            stop,
        }
    }

    /// Runs one command on the world's own store.
    pub async fn run(&self, command: &[&str]) -> Result<Answer, Error> {
        self.run_on(self.store.clone(), command).await
    }

    /// Runs a command that must end with exit code 0.
    pub async fn does(&self, command: &[&str]) -> Answer {
        let answer = self.run(command).await;
        let answer = answer.unwrap_or_else(|error| panic!("{command:?}: {}", lakeshift::error::with_causes(&error)));
        assert_eq!(answer.exit_code, 0, "{command:?}: {}", answer.text);
        answer
    }

    /// Lets time pass.
    pub fn wait(&self, seconds: u64) {
        self.clock.advance(std::time::Duration::from_secs(seconds));
        assert!(self.clock.elapsed().as_secs() >= seconds);
    }

    /// Does `work` while a second passes every few real milliseconds: for work that waits for processes of its own.
    pub async fn while_time_passes<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = Box::pin(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return output,
                () = real_moment() => self.clock.advance(std::time::Duration::from_secs(1)),
            }
        }
    }

    /// Rows of the source's files as text, sorted: read by the parquet crate alone.
    pub async fn source_rows(&self) -> Vec<String> {
        let root = self.source_path(1, "x").as_ref().rsplitn(3, '/').last().unwrap().to_owned();
        let objects: Vec<_> = self.store.list(Some(&Path::parse(&root).unwrap())).try_collect().await.unwrap();
        let mut rows = Vec::new();
        for object in objects {
            let path: &str = object.location.as_ref();
            if !path.contains("/day=") || path.contains("/_lakeshift/") {
                continue;
            }
            let day = path.split("/day=").nth(1).unwrap().split('/').next().unwrap();
            let bytes = self.store.get(&object.location).await.unwrap().bytes().await.unwrap();
            for row in rows_of(bytes) {
                rows.push(format!("{row}|{day}"));
            }
        }
        rows.sort_unstable();
        rows
    }
}

/// A few real milliseconds, in which others go on.
pub async fn real_moment() {
    tokio::process::Command::new("sleep").arg("0.005").status().await.unwrap();
}

fn parse(command: &[&str], spec: &FilePath) -> Command {
    let spec = spec.display().to_string();
    let words = command.iter().map(|word| if *word == "SPEC" { spec.as_str() } else { word });
    <Args as clap::Parser>::try_parse_from(std::iter::once("lakeshift").chain(words)).unwrap().command
}

/// A Parquet file of flights.
pub fn day_file(day: u32, flights: &[Flight]) -> Vec<u8> {
    file_of(day, flights, "origin")
}

/// As [`day_file`], with another name for one column.
pub fn renamed_day_file(day: u32, flights: &[Flight]) -> Vec<u8> {
    file_of(day, flights, "from")
}

/// As [`day_file`], with a column `gate` more that has one value.
pub fn wide_day_file(day: u32, flights: &[Flight], gate: &str) -> Vec<u8> {
    let batch = batch_of(day, flights, "origin");
    let (mut fields, mut columns) = (batch.schema().fields().to_vec(), batch.columns().to_vec());
    fields.push(Arc::new(arrow::datatypes::Field::new("gate", arrow::datatypes::DataType::Utf8, true)));
    columns.push(Arc::new(StringArray::from_iter_values(flights.iter().map(|_| gate))));
    written(&RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).unwrap())
}

/// As [`day_file`], with `delay` in 32 bits.
pub fn narrow_day_file(day: u32, flights: &[Flight]) -> Vec<u8> {
    let batch = batch_of(day, flights, "origin");
    let (mut fields, mut columns) = (batch.schema().fields().to_vec(), batch.columns().to_vec());
    let delays = flights.iter().map(|(.., delay)| delay.map(|delay| i32::try_from(delay).unwrap()));
    fields[2] = Arc::new(arrow::datatypes::Field::new("delay", arrow::datatypes::DataType::Int32, true));
    columns[2] = Arc::new(arrow::array::Int32Array::from_iter(delays));
    written(&RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).unwrap())
}

/// The same file with the column that some specs add.
fn with_one(bytes: bytes::Bytes) -> Vec<u8> {
    let mut reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1024).unwrap();
    let batch = reader.next().unwrap().unwrap();
    let one: ArrayRef = Arc::new(Int64Array::from_value(1, batch.num_rows()));
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let columns = names.zip(batch.columns()).map(|(name, column)| (name, column.clone(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns.chain([("one", one, false)])).unwrap();
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    out
}

/// A data file of [`Target::Delta`], partitioned by origin: as [`day_file`], with the day and without the origin.
pub fn delta_file(day: u32, flights: &[Flight]) -> Vec<u8> {
    written(&with_day(day, &batch_of(day, flights, "origin").project(&[0, 2]).unwrap()))
}

fn with_day(day: u32, batch: &RecordBatch) -> RecordBatch {
    let days = Date32Array::from_value(11_322 + i32::try_from(day).unwrap(), batch.num_rows());
    let (mut fields, mut columns) = (batch.schema().fields().to_vec(), batch.columns().to_vec());
    fields.push(Arc::new(arrow::datatypes::Field::new("day", arrow::datatypes::DataType::Date32, true)));
    columns.push(Arc::new(days));
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).unwrap()
}

/// As [`day_file`], with the day.
pub fn full_file(day: u32, flights: &[Flight]) -> Vec<u8> {
    written(&with_day(day, &batch_of(day, flights, "origin")))
}

fn file_of(day: u32, flights: &[Flight], origin: &str) -> Vec<u8> {
    written(&batch_of(day, flights, origin))
}

fn batch_of(day: u32, flights: &[Flight], origin: &str) -> RecordBatch {
    let midnight = (11_322 + i64::from(day)) * 86_400_000_000;
    let at = TimestampMicrosecondArray::from_iter_values(flights.iter().map(|(minute, ..)| midnight + minute * 60_000_000));
    RecordBatch::try_from_iter_with_nullable([
        ("at", Arc::new(at) as ArrayRef, true),
        (origin, Arc::new(StringArray::from_iter_values(flights.iter().map(|(_, origin, _)| *origin))), true),
        ("delay", Arc::new(Int64Array::from_iter(flights.iter().map(|(.., delay)| *delay))), true),
    ])
    .unwrap()
}

fn written(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// Rows of a Parquet file as text, columns in the order of the file.
pub fn rows_of(bytes: bytes::Bytes) -> Vec<String> {
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1024).unwrap();
    reader.flat_map(|batch| text_rows(&batch.unwrap())).collect()
}

/// Rows as text, columns in their order.
pub fn text_rows(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
    let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

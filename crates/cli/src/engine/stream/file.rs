//! [`StreamFile`]: a `stream.yaml` read, its table, journal and brokers at hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lakeshift_core::plan::same_type;
use lakeshift_core::storage::Storage;
use lakeshift_core::stream::{DeadLetterSpec, DeadLetterTopic, EventFormat, StreamSpec, read_properties};
use lakeshift_core::table::{CreateOutcome, CreateRequest, MigrationId, Snapshot, TableError, TableFormat};
use lakeshift_exec::engine::{Engine, EngineSettings};
use lakeshift_exec::types::arrow_schema;
use lakeshift_journal::{JournalConfig, LeaseConfig};
use lakeshift_stream::decode::{AvroEvents, Decoder, Format};
use lakeshift_stream::kafka::{KafkaConfig, KafkaSource, Properties, TopicLetters};
use lakeshift_stream::{DeadLetters, Ledger, ObjectLetters, Register};

use super::sink::ParquetSink;
use crate::context::Context;
use crate::engine::tables;
use crate::error::Error;

/// How long a process may be silent before another one may go on in its place.
const LEASE_TTL: Duration = Duration::from_secs(60);
/// How long brokers may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream opened.
#[derive(Debug)]
pub struct StreamFile {
    /// The outside.
    pub context: Context,
    /// What the file says.
    pub spec: StreamSpec,
    /// `<control>/streams/<name>`.
    pub folder: Storage,
    pub(super) engine: Engine,
    pub(super) table: Arc<dyn TableFormat>,
    pub(super) storage: Storage,
    path: PathBuf,
}

impl StreamFile {
    /// Reads a stream: a file, or the `stream.yaml` of a folder. Reads no table, asks no broker and writes nothing.
    ///
    /// # Errors
    /// A file that cannot be read or is no stream; a location that no store serves.
    pub fn open(context: &Context, path: &Path) -> Result<Self, Error> {
        let path = if path.is_dir() { path.join("stream.yaml") } else { path.to_owned() };
        let unreadable = |source| Error::ReadSpec { path: path.display().to_string(), source };
        let spec = StreamSpec::from_yaml(&std::fs::read_to_string(&path).map_err(unreadable)?, &path)?;
        let folder = context.stores.open(&spec.control)?.child("streams").child(&spec.stream);
        let storage = context.stores.open(&spec.table.location)?;
        let table = tables::open(spec.table.format, context, storage.clone(), &storage);
        let engine = Engine::builder().with_settings(EngineSettings::default()).build()?;
        Ok(Self { context: context.clone(), spec, folder, engine, table, storage, path })
    }

    /// The name under which the stream commits to its table.
    pub fn id(&self) -> MigrationId {
        MigrationId(format!("stream-{}", self.spec.stream))
    }

    /// The stream's journal, read and verified.
    ///
    /// # Errors
    /// It cannot be read, or an entry is missing or was altered.
    pub async fn register(&self) -> Result<Register, Error> {
        let folder = self.folder.child("journal");
        let config = JournalConfig {
            store: folder.store().clone(),
            prefix: folder.prefix().clone(),
            clock: self.context.clock.clone(),
            rng: self.context.rng.clone(),
            writer: self.context.holder.clone(),
        };
        Ok(Register::open(config).await?)
    }

    /// Leases below the stream's `leases/<name>`.
    pub(super) fn leases(&self, name: &str) -> LeaseConfig {
        let folder = self.folder.child("leases").child(name);
        // A reading that lingers does not renew.
        let lingers = Duration::from_secs(self.spec.commit.every.as_seconds());
        LeaseConfig {
            store: folder.store().clone(),
            prefix: folder.prefix().clone(),
            clock: self.context.clock.clone(),
            rng: self.context.rng.clone(),
            holder: self.context.holder.clone(),
            ttl: LEASE_TTL.max(lingers * 4),
        }
    }

    /// The table's present snapshot; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or does not fit the stream.
    pub async fn snapshot(&self) -> Result<Option<Snapshot>, Error> {
        let snapshot = match self.table.snapshot(None).await {
            Ok(snapshot) => snapshot,
            Err(TableError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.check(&snapshot)?;
        Ok(Some(snapshot))
    }

    /// The table, created where it is not there yet.
    ///
    /// # Errors
    /// As [`StreamFile::snapshot`]; a table that is gone though the stream has written to it.
    pub(super) async fn create(&self, ledger: &Ledger) -> Result<Snapshot, Error> {
        if let Some(snapshot) = self.snapshot().await? {
            return Ok(snapshot);
        }
        let location = self.table.location();
        if ledger.last_number().0 > 0 {
            let problem = format!("there is no table at {location}, and the stream has written to it");
            return Err(refused(problem, "bring it back, or give the stream another name to read the topics anew"));
        }
        let request = CreateRequest {
            migration: self.id(),
            epoch: lakeshift_journal::Epoch(0),
            schema: self.spec.schema(),
            partition: self.spec.partitioning(),
            sort: Vec::new(),
            format_version: None,
            properties: std::collections::BTreeMap::new(),
        };
        if let CreateOutcome::Foreign { found } = self.table.create(&request).await? {
            return Err(Error::ForeignTable { location: location.to_owned(), found });
        }
        let gone = || refused(format!("the table at {location} was created and is gone"), "run this again");
        self.snapshot().await?.ok_or_else(gone)
    }

    /// Whether a table has the stream's columns and is partitioned by those of time and entity.
    fn check(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let location = self.table.location();
        let wanted = self.spec.schema();
        for field in &wanted.fields {
            let problem = match snapshot.schema.field(&field.name) {
                None => format!("the table at {location} has no column {}", field.name),
                Some(found) if !same_type(&found.data_type, &field.data_type) => {
                    let (name, there, said) = (&field.name, &found.data_type, &field.data_type);
                    format!("column {name} of the table at {location} is {there}, and `columns` says {said}")
                }
                Some(found) if field.nullable && !found.nullable => {
                    format!(
                        "column {} of the table at {location} takes no null, and `columns` does not require it",
                        field.name
                    )
                }
                Some(_) => continue,
            };
            return Err(refused(problem, "let `columns` say what the table has; nothing was written"));
        }
        if let Some(more) = snapshot.schema.fields.iter().find(|field| wanted.field(&field.name).is_none()) {
            let problem = format!("the table at {location} has the column {}, which `columns` has not", more.name);
            return Err(refused(problem, "add it to `columns`; nothing was written"));
        }
        if snapshot.partition.fields != self.spec.partitioning().fields {
            let problem = format!("the table at {location} is not partitioned by the columns of `time` and `entity` alone");
            return Err(refused(problem, "name the columns that it is partitioned by, in their order; nothing was written"));
        }
        Ok(())
    }

    /// Writes the table's files.
    pub(super) fn sink(&self, snapshot: Snapshot) -> ParquetSink {
        ParquetSink {
            engine: self.engine.clone(),
            storage: self.storage.clone(),
            format: self.table.format(),
            stream: self.id(),
            schema: snapshot.schema,
            partition: snapshot.partition,
        }
    }

    /// The topics. With no time to `linger` what is there by now is read.
    ///
    /// # Errors
    /// A variable that is not set, a file of properties or a schema that cannot be read or does not fit.
    pub(super) fn source(&self, linger: Duration) -> Result<KafkaSource, Error> {
        let commit = &self.spec.commit;
        Ok(KafkaSource::new(KafkaConfig {
            properties: self.properties()?,
            topics: self.spec.kafka.topics.clone(),
            decoder: self.decoder()?,
            rows_max: usize::try_from(commit.rows).unwrap_or(usize::MAX),
            bytes_max: usize::try_from(commit.bytes.bytes()).unwrap_or(usize::MAX),
            linger,
            patience: PATIENCE,
            stop: self.context.stop.asked(),
            clock: self.context.clock.clone(),
        }))
    }

    /// Reads the events' bytes.
    ///
    /// # Errors
    /// A schema file that cannot be read, or that does not fit the columns.
    pub fn decoder(&self) -> Result<Decoder, Error> {
        let (decode, schema) = (&self.spec.decode, arrow_schema(&self.spec.schema()));
        let schema = schema.map_err(lakeshift_exec::rewrite::RewriteError::from)?;
        let format = match (decode.format, &decode.avro) {
            (EventFormat::Json, _) => Format::Json,
            (EventFormat::Arrow, _) => Format::Arrow,
            (EventFormat::Binary, _) => Format::Binary,
            (EventFormat::Avro, None) => return Err(refused("`decode.avro` is not there", "write avro: {schema: FILE}")),
            (EventFormat::Avro, Some(avro)) => {
                let json = self.beside(&avro.schema)?;
                let events = AvroEvents::new(&json, avro.framing, avro.schema_id, &schema, decode.unknown_fields);
                Format::Avro(Arc::new(events?))
            }
        };
        Ok(Decoder {
            format,
            unknown_fields: decode.unknown_fields,
            schema,
            time: self.spec.time.column.clone(),
            grain: self.spec.time.grain,
            entity: self.spec.entity.as_ref().map(|entity| entity.column.clone()),
        })
    }

    /// Where events go that cannot be read.
    ///
    /// # Errors
    /// As [`StreamFile::source`]; a folder that no store serves.
    pub(super) fn dead_letters(&self) -> Result<Arc<dyn DeadLetters>, Error> {
        let folder = match &self.spec.dead_letters {
            Some(DeadLetterSpec::Topic(DeadLetterTopic { topic })) => {
                let (stream, topic) = (self.spec.stream.clone(), topic.clone());
                return Ok(Arc::new(TopicLetters::new(self.properties()?, stream, topic, PATIENCE)));
            }
            Some(DeadLetterSpec::Folder(location)) => self.context.stores.open(location)?,
            None => self.folder.child("dead-letters"),
        };
        let (store, prefix) = (folder.store().clone(), folder.prefix().clone());
        Ok(Arc::new(ObjectLetters { store, folder: prefix, rng: self.context.rng.clone() }))
    }

    /// How brokers are reached.
    fn properties(&self) -> Result<Properties, Error> {
        let mut by_name = self.spec.kafka.client_properties(self.context.env)?;
        if let Some(file) = &self.spec.kafka.properties_file {
            let read = read_properties(&self.beside(file)?);
            by_name.extend(read.map_err(|reason| Error::Argument { text: file.clone(), reason })?);
        }
        Ok(Properties { group: format!("lakeshift-{}", self.spec.stream), by_name })
    }

    /// The text of a file that the stream's file names.
    fn beside(&self, file: &str) -> Result<String, Error> {
        let path = self.path.parent().unwrap_or(&self.path).join(file);
        std::fs::read_to_string(&path).map_err(|source| Error::ReadSpec { path: path.display().to_string(), source })
    }
}

/// A stream's command is refused; what it was about is as it was.
pub(super) fn refused(problem: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::StreamRefused { problem: problem.into(), hint: hint.into() }
}

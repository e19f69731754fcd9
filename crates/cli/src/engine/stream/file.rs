//! [`StreamFile`]: a `stream.yaml` read, its journal and brokers at hand, and where its rows go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lakeshift_core::storage::Storage;
use lakeshift_core::stream::{DeadLetterSpec, DeadLetterTopic, EventFormat, StreamSpec, read_properties};
use lakeshift_core::table::{MigrationId, TableFormat};
use lakeshift_exec::engine::{Engine, EngineSettings};
use lakeshift_exec::types::arrow_schema;
use lakeshift_journal::{JournalConfig, LeaseConfig};
use lakeshift_stream::decode::{AvroEvents, Decoder, Format};
use lakeshift_stream::kafka::{KafkaConfig, KafkaSource, Properties, TopicLetters};
use lakeshift_stream::{DeadLetters, ObjectLetters, Register};

use super::table_stream::TableStream;
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
    target: Target,
    path: PathBuf,
}

/// Where rows go.
#[derive(Debug)]
enum Target {
    /// To a table, which lies there.
    Table(Arc<dyn TableFormat>, Storage),
    /// To both tables of the migration whose spec this is.
    Migration(PathBuf),
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
        let target = match (&spec.table, &spec.migration) {
            (Some(table), _) => {
                let storage = context.stores.open(&table.location)?;
                Target::Table(tables::open(table.format, context, storage.clone(), &storage), storage)
            }
            (None, Some(migration)) => Target::Migration(path.parent().unwrap_or(&path).join(migration)),
            (None, None) => return Err(refused("the stream's file names no table", "write `table` or `migration`")),
        };
        let engine = Engine::builder().with_settings(EngineSettings::default()).build()?;
        Ok(Self { context: context.clone(), spec, folder, engine, target, path })
    }

    /// The stream with its table; with the path of a migration's spec where it writes that one's two tables.
    pub(super) fn target(&self) -> Result<TableStream<'_>, &Path> {
        match &self.target {
            Target::Table(table, storage) => Ok(TableStream { file: self, table, storage }),
            Target::Migration(spec) => Err(spec),
        }
    }

    /// The name under which the stream commits.
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

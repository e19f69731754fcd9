//! [`StreamSpec`]: what a `stream.yaml` may say: which events become rows of which table.
//!
//! It is read and checked here; who reads the events and who writes the rows is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::graph::{Grain, TimeSpec};
use crate::partition::{PartitionField, PartitionSpec, Transform};
use crate::schema::{DataType, Field, TableSchema};
use crate::spec::{ByteSize, Location, MissingVariable, SPEC_BYTES_MAX, Secret, Span, is_credential, is_name, text};
use crate::table::Format;

/// Longest name of a Kafka topic.
const TOPIC_CHARS_MAX: usize = 249;
/// Rows of one commit at most: they are held in memory.
const ROWS_MAX: u32 = 10_000_000;

/// Kafka properties that exactly-once rests on, or that have a key of their own.
const OWN_PROPERTIES: [&str; 10] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.instance.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "isolation.level",
    "enable.partition.eof",
    "queued.max.messages.kbytes",
];

/// A stream: where its events come from and which table they are written to, or which migration's two tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["table"]}, {"required": ["migration"]}]))]
pub struct StreamSpec {
    /// The stream's name: 1 to 64 letters, digits, `-` and `_`. It commits to the table under it.
    pub stream: String,
    /// The control root, where the stream's journal lies: a path relative to this file, or a URL.
    pub control: String,
    /// The table; or see `migration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<StreamTable>,
    /// In place of a table the migration whose two tables the stream writes, by the dual writer: its YAML file, or the folder that
    /// holds its migration.yaml, relative to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<String>,
    /// Its columns, in order; every event has these.
    pub columns: Vec<StreamColumn>,
    /// The column that tells an event's partition of the table, a date; and how much time backfills lock at a time.
    pub time: TimeSpec,
    /// A second column that the table is partitioned by, so that backfills can lock one of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<StreamEntity>,
    /// Where the events are.
    pub kafka: KafkaSpec,
    /// How an event's bytes are read.
    #[serde(default)]
    pub decode: DecodeSpec,
    /// How large a commit becomes.
    #[serde(default)]
    pub commit: CommitSpec,
    /// When small files of a partition become one; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact: Option<CompactSpec>,
    /// Where events go that cannot be read: a folder for objects, or a topic. A folder below the control root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetterSpec>,
    /// The service that grants backfills their locks; objects below the control root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locks: Option<LocksSpec>,
}

/// Where events go that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "write a folder, or {topic: NAME}")]
pub enum DeadLetterSpec {
    /// A folder for objects: a path relative to this file, or a URL.
    Folder(String),
    /// A topic of the same brokers.
    Topic(DeadLetterTopic),
}

/// A topic for events that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterTopic {
    /// Its name; it is there already, and is none of `kafka.topics`.
    pub topic: String,
}

/// The table that a stream writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamTable {
    /// Its format: `delta` or `iceberg`.
    #[serde(deserialize_with = "text::target_format")]
    #[schemars(schema_with = "text::target_format_schema")]
    pub format: Format,
    /// Where it lies, or is created: a path relative to this file, or a URL.
    pub location: String,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamColumn {
    /// Its name, in events and in the table.
    pub name: String,
    /// Its type. A value that this type does not hold exactly makes an event unreadable; nothing is cut or made null.
    #[serde(rename = "type", with = "text::column_type")]
    #[schemars(schema_with = "text::data_type_schema")]
    pub data_type: DataType,
    /// Whether every event must have a value there.
    #[serde(default)]
    pub required: bool,
}

/// A column of entities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamEntity {
    /// The column, a text.
    pub column: String,
}

/// Topics, and how their brokers are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSpec {
    /// Brokers as `host:port`, separated by commas.
    pub bootstrap: Secret,
    /// The topics; all their partitions are read.
    pub topics: Vec<String>,
    /// librdkafka's properties, such as `security.protocol`. A credential is given as `${NAME}` only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Secret>,
    /// A file of more of them, `key=value` in lines, as secrets are mounted: a path relative to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties_file: Option<String>,
}

/// How an event's bytes are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeSpec {
    /// What they are.
    #[serde(default)]
    pub format: EventFormat,
    /// What becomes of an event that has more than the columns.
    #[serde(default)]
    pub unknown_fields: UnknownFields,
    /// With `format: avro`, how they were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avro: Option<AvroSpec>,
}

/// How Avro events were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AvroSpec {
    /// A file with the schema, a record, that they were written by: a path relative to this file.
    pub schema: String,
    /// What stands before the record's bytes.
    #[serde(default)]
    pub framing: AvroFraming,
    /// With `framing: confluent`, the id that the registry has given to this schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_id: Option<u32>,
}

/// What stands before the bytes of an Avro record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AvroFraming {
    /// Nothing: all events are of the one schema.
    #[default]
    Bare,
    /// Avro's single-object encoding: `C3 01` and the schema's 64-bit fingerprint.
    SingleObject,
    /// A registry's prefix: a zero and the schema's id, four bytes, the most significant first.
    Confluent,
}

/// What an event's bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventFormat {
    /// One JSON object.
    #[default]
    Json,
    /// One Arrow IPC stream of one or more rows, all of one partition of the table.
    Arrow,
    /// One Avro record of the schema that `decode.avro` names.
    Avro,
    /// One row of the columns in Lakeshift's own layout, little-endian; `docs/streams.md` has it byte by byte.
    Binary,
}

/// What becomes of an event with unknown fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    /// It is not written, and goes to the dead letters.
    #[default]
    Refuse,
    /// It is written without them.
    Ignore,
}

/// A lock service: one of these. The names of streams are unique in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct LocksSpec {
    /// etcd, by its endpoints, each `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Vec<String>>,
    /// ZooKeeper, by its servers and a chroot: `host:port,host:port/chroot`. The chroot exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zookeeper: Option<String>,
}

impl LocksSpec {
    fn check(&self) -> Result<(), Finding> {
        let bad = |path: &str, problem: &str, hint| Err((path.to_owned(), problem.to_owned(), hint));
        match (&self.etcd, &self.zookeeper) {
            (Some(_), Some(_)) => bad("locks", "names two services", "keep one of `etcd` and `zookeeper`"),
            (None, None) => bad("locks", "names no service", "write `etcd` or `zookeeper`, or take `locks` out"),
            (Some(endpoints), None) if endpoints.is_empty() || !endpoints.iter().all(|endpoint| is_host_port(endpoint)) => {
                bad("locks.etcd", "is no list of endpoints", "write each as host:port; TLS and credentials are not taken")
            }
            (None, Some(cluster)) => {
                let (servers, chroot) = cluster.split_once('/').map_or((cluster.as_str(), None), |(a, b)| (a, Some(b)));
                let is_path = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
                if servers.split(',').all(is_host_port) && chroot.is_none_or(is_path) {
                    return Ok(());
                }
                let hint = "write host:port,host:port/chroot; TLS and credentials are not taken";
                bad("locks.zookeeper", "is no list of servers with a chroot", hint)
            }
            (Some(_), None) => Ok(()),
        }
    }
}

/// Whether this is `host:port`, the host a name, an IPv4 address or an IPv6 address in brackets.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let in_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(in_host),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A commit is made when the first of these is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CommitSpec {
    /// Events.
    pub rows: u32,
    /// Bytes of events.
    pub bytes: ByteSize,
    /// Time since reading began.
    pub every: Span,
}

impl Default for CommitSpec {
    fn default() -> Self {
        Self { rows: 500_000, bytes: ByteSize::mib(128), every: Span::seconds(10) }
    }
}

/// When small files of a partition become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompactSpec {
    /// How many small files a partition has at least when that is done, 2 or more.
    pub files: u32,
    /// How large a file becomes, about; one of half that size is small.
    #[serde(default = "CompactSpec::file_size")]
    pub file_size: ByteSize,
}

impl CompactSpec {
    fn file_size() -> ByteSize {
        ByteSize::mib(128)
    }
}

/// Why a stream's file cannot be used. Nothing has been done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamSpecError {
    /// Not a stream.
    #[error("{file}: {reason}")]
    Syntax {
        /// The file as it was named.
        file: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A value that does not fit.
    #[error("{file}: {path} {problem}; {hint}")]
    Value {
        /// The file as it was named.
        file: String,
        /// The place in it.
        path: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
}

/// A finding before the file is known: place, problem, hint.
type Finding = (String, String, &'static str);

impl StreamSpec {
    /// Reads and checks a stream, and makes URLs of its locations, relative to the folder of `file`. Nothing is read from disk.
    ///
    /// # Errors
    /// [`StreamSpecError`].
    pub fn from_yaml(text: &str, file: &Path) -> Result<Self, StreamSpecError> {
        let name = file.display().to_string();
        let syntax = |reason| StreamSpecError::Syntax { file: name.clone(), reason };
        if text.len() > SPEC_BYTES_MAX {
            return Err(syntax(format!("the file has {} bytes, and a stream has {SPEC_BYTES_MAX} at most", text.len())));
        }
        let mut spec: Self = serde_yaml::from_str(text).map_err(|error| syntax(error.to_string()))?;
        let value = |(path, problem, hint): Finding| StreamSpecError::Value {
            file: name.clone(),
            path,
            problem,
            hint: hint.to_owned(),
        };
        spec.resolve_locations(file).map_err(value)?;
        spec.check().map_err(value)?;
        Ok(spec)
    }

    fn resolve_locations(&mut self, file: &Path) -> Result<(), Finding> {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let base = file.parent().unwrap_or(&file);
        let table = self.table.as_mut().map(|table| ("table.location", &mut table.location));
        let places = std::iter::once(("control", &mut self.control)).chain(table);
        let dead_letters = match &mut self.dead_letters {
            Some(DeadLetterSpec::Folder(folder)) => Some(("dead_letters", folder)),
            _ => None,
        };
        for (path, text) in places.chain(dead_letters) {
            let bad =
                |error: crate::spec::LocationError| (path.to_owned(), format!("cannot be used: {error}"), error.hint());
            *text = Location::resolved(text, base).map_err(bad)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Finding> {
        let bad = |path: &str, problem: String, hint| Err((path.to_owned(), problem, hint));
        if !is_name(&self.stream) {
            return bad("stream", "is no name".to_owned(), "write 1 to 64 letters, digits, `-` and `_`");
        }
        self.check_target()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = self.columns.iter().find(|column| !names.insert(column.name.to_lowercase())) {
            return bad("columns", format!("names {} twice", twice.name), "names differ in more than case; take one away");
        }
        match self.column(&self.time.column) {
            None => {
                let problem = format!("names {}, which is not among the columns", self.time.column);
                return bad("time.column", problem, "name one of `columns`");
            }
            Some(column) if column.data_type != DataType::Date => {
                let problem = format!("names {}, which is a {}", column.name, column.data_type);
                return bad(
                    "time.column",
                    problem,
                    "name a column of type date; let the producer write the day beside the time",
                );
            }
            Some(_) if self.time.grain == Grain::Hour => {
                return bad("time.grain", "is hour, and the column is a date".to_owned(), "write day or a longer time");
            }
            Some(_) => {}
        }
        if let Some(entity) = &self.entity {
            match self.column(&entity.column) {
                Some(column) if column.data_type == DataType::String => {}
                _ => {
                    let problem = format!("names {}, which is no column of type string", entity.column);
                    return bad("entity.column", problem, "name a text column of `columns`");
                }
            }
        }
        if self.decode.format == EventFormat::Json
            && let Some(bytes) = self.columns.iter().find(|column| column.data_type == DataType::Binary)
        {
            let problem = format!("has {} as binary, which JSON has no form for", bytes.name);
            return bad("columns", problem, "write string, or let events be arrow");
        }
        if !(1..=ROWS_MAX).contains(&self.commit.rows) {
            return bad("commit.rows", format!("is {}", self.commit.rows), "write 1 to 10000000");
        }
        self.locks.as_ref().map_or(Ok(()), LocksSpec::check)?;
        if self.compact.is_some_and(|compact| compact.files < 2) {
            return bad("compact.files", "is less than 2".to_owned(), "write 2 or more, or take `compact` away");
        }
        self.decode.check()?;
        self.kafka.check()?;
        match &self.dead_letters {
            Some(DeadLetterSpec::Topic(DeadLetterTopic { topic })) if !is_topic(topic) => {
                bad("dead_letters.topic", "is no name of a topic".to_owned(), "write letters, digits, `.`, `_` and `-`")
            }
            Some(DeadLetterSpec::Topic(DeadLetterTopic { topic })) if self.kafka.topics.contains(topic) => {
                bad("dead_letters.topic", format!("is {topic}, which is read"), "name a topic that is not in `kafka.topics`")
            }
            _ => Ok(()),
        }
    }

    /// Either a table or a migration, and with a migration nothing that works on one table alone.
    fn check_target(&self) -> Result<(), Finding> {
        let bad = |path: &str, problem: &str, hint| Err((path.to_owned(), problem.to_owned(), hint));
        match (&self.table, &self.migration) {
            (Some(_), None) => Ok(()),
            (Some(_), Some(_)) => bad("migration", "is there beside a table", "keep one of `table` and `migration`"),
            (None, None) => bad("table", "is not there", "write table: {format: …, location: …}, or migration: FOLDER"),
            (None, Some(migration)) if migration.trim().is_empty() || migration.contains("://") => {
                bad("migration", "is no path", "write the folder of a migration.yaml, relative to this file")
            }
            (None, Some(_)) if self.compact.is_some() => bad(
                "compact",
                "is there, and the stream writes both tables of a migration",
                "take it away; compact the two tables with their own tools",
            ),
            (None, Some(_)) => Ok(()),
        }
    }

    /// The column of this exact name.
    fn column(&self, name: &str) -> Option<&StreamColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The table's columns. Those that tell the partition are never null.
    pub fn schema(&self) -> TableSchema {
        let entity = self.entity.as_ref().map(|entity| entity.column.as_str());
        let places = |name: &str| name == self.time.column || Some(name) == entity;
        let field = |column: &StreamColumn| {
            Field::new(column.name.clone(), column.data_type.clone(), !column.required && !places(&column.name))
        };
        TableSchema { fields: self.columns.iter().map(field).collect() }
    }

    /// How the table is partitioned: by the columns of time and entity.
    pub fn partitioning(&self) -> PartitionSpec {
        let columns = std::iter::once(&self.time.column).chain(self.entity.iter().map(|entity| &entity.column));
        PartitionSpec { fields: columns.map(|column| PartitionField::new(column.clone(), Transform::Identity)).collect() }
    }

    /// The JSON Schema of the file, for editors.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

impl DecodeSpec {
    fn check(&self) -> Result<(), Finding> {
        let bad = |path: &str, problem: &str, hint| Err((path.to_owned(), problem.to_owned(), hint));
        let avro = match (&self.avro, self.format) {
            (None, EventFormat::Avro) => return bad("decode.avro", "is not there", "write avro: {schema: FILE}"),
            (Some(_), format) if format != EventFormat::Avro => {
                return bad("decode.avro", "is there, and the format is another", "write format: avro, or take it away");
            }
            (None, _) => return Ok(()),
            (Some(avro), _) => avro,
        };
        match (avro.framing, avro.schema_id) {
            (AvroFraming::Confluent, None) => {
                bad("decode.avro.schema_id", "is not there", "write the id that the registry has given to this schema")
            }
            (AvroFraming::Bare | AvroFraming::SingleObject, Some(_)) => bad(
                "decode.avro.schema_id",
                "is there without a registry's prefix",
                "write framing: confluent, or take it away",
            ),
            _ => Ok(()),
        }
    }
}

fn is_topic(name: &str) -> bool {
    let chars = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=TOPIC_CHARS_MAX).contains(&name.len()) && name.chars().all(chars) && name != "." && name != ".."
}

impl KafkaSpec {
    fn check(&self) -> Result<(), Finding> {
        let bad = |path: &str, problem: String, hint| Err((path.to_owned(), problem, hint));
        let distinct: BTreeSet<_> = self.topics.iter().collect();
        if self.topics.is_empty() || distinct.len() != self.topics.len() || !self.topics.iter().all(|topic| is_topic(topic))
        {
            return bad(
                "kafka.topics",
                "are no names of topics".to_owned(),
                "name one or more, each once; patterns are not taken",
            );
        }
        if !self.bootstrap.is_well_formed() {
            return bad("kafka.bootstrap", "opens a `${` that is no `${NAME}`".to_owned(), "write host:port or ${NAME}");
        }
        for (key, value) in &self.properties {
            let path = format!("kafka.properties.{key}");
            check_property(key).map_err(|(problem, hint)| (path.clone(), problem, hint))?;
            if !value.is_well_formed() {
                return bad(&path, "opens a `${` that is no `${NAME}`".to_owned(), "write ${NAME}");
            }
            if is_secret(key) && !value.is_only_variables("") {
                let hint = "write ${NAME} and set that variable, or put the property into a file that `kafka.properties_file` names";
                return bad(&path, "holds a credential".to_owned(), hint);
            }
        }
        Ok(())
    }

    /// All properties of a client but those that a stream sets itself, with every `${NAME}` replaced by what `env` says. They
    /// hold credentials: hand them to the client and to nothing else.
    ///
    /// # Errors
    /// [`MissingVariable`] for the first variable that `env` does not know.
    pub fn client_properties(
        &self,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>, MissingVariable> {
        let own = self.properties.iter().map(|(key, value)| Ok((key.clone(), value.resolve(key, &env)?)));
        let bootstrap = self.bootstrap.resolve("kafka.bootstrap", &env);
        own.chain([bootstrap.map(|value| ("bootstrap.servers".to_owned(), value))]).collect()
    }
}

/// Reads the text of `kafka.properties_file`: a property a line, `key=value`; empty lines and lines from `#` on mean nothing.
///
/// # Errors
/// What is wrong, without a value, and the line.
pub fn read_properties(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut properties = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("line {number} is no key=value"));
        };
        let key = key.trim();
        check_property(key).map_err(|(problem, hint)| format!("line {number}: {key} {problem}; {hint}"))?;
        properties.insert(key.to_owned(), value.trim().to_owned());
    }
    Ok(properties)
}

fn check_property(key: &str) -> Result<(), (String, &'static str)> {
    match OWN_PROPERTIES.contains(&key) {
        true => Err(("is set by the stream itself".to_owned(), "take it away")),
        false => Ok(()),
    }
}

fn is_secret(property: &str) -> bool {
    // Keys and certificates may stand in a property as text; their locations are no secret.
    let text = property.ends_with(".pem") || property == "sasl.oauthbearer.config";
    text || (is_credential(&property.replace('.', "_")) && !property.ends_with(".location") && !property.ends_with(".url"))
}

#[cfg(test)]
mod tests;

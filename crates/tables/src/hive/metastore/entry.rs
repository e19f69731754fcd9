//! [`Entry`]: an entry of the Metastore, what it names, and what it becomes when it is moved.
//!
//! Columns and partition columns stay as the entry has them: an engine that knows the new format takes them from the table's
//! own metadata, and a Metastore refuses most changes of them.

use std::collections::BTreeMap;

use lakeshift_core::table::Format;
use sha2::{Digest, Sha256};
use thrift::protocol::TType;

use super::client::Name;
use super::location;
use super::value::{Fields, Value};

/// `Table` of the service: owner, last access, storage, partition columns, parameters, texts of a view, type, privileges.
const OWNER: i16 = 3;
const LAST_ACCESS: i16 = 5;
const STORAGE: i16 = 7;
const PARTITION_KEYS: i16 = 8;
const PARAMETERS: i16 = 9;
const VIEW_TEXTS: [i16; 2] = [10, 11];
const TABLE_TYPE: i16 = 12;
const PRIVILEGES: i16 = 13;
/// `StorageDescriptor`: columns, location, formats, buckets, serde, columns that rows are bucketed, sorted and skewed by.
const COLUMNS: i16 = 1;
const LOCATION: i16 = 2;
const FORMATS: [i16; 2] = [3, 4];
const COMPRESSED: i16 = 5;
const BUCKETS: i16 = 6;
const SERDE: i16 = 7;
const BUCKET_COLUMNS: i16 = 8;
const SORT_COLUMNS: i16 = 9;
const SKEWED: i16 = 11;
/// `Partition`: storage and parameters.
const STORAGE_OF_PARTITION: i16 = 6;
const PARAMETERS_OF_PARTITION: i16 = 7;
/// `SerDeInfo`: library and parameters.
const LIBRARY: i16 = 2;
const SERDE_PARAMETERS: i16 = 3;

const PROVIDER: &str = "spark.sql.sources.provider";
const METADATA_FILE: &str = "metadata_location";
const PREVIOUS_METADATA_FILE: &str = "previous_metadata_location";

/// The migration that moved the entry.
pub(super) const MIGRATION: &str = "lakeshift.migration";
/// The digest of the state that it had before, under which that is kept.
pub(super) const BEFORE: &str = "lakeshift.before";
/// The digest of what it was made, so that changes by others are seen.
const LEFT: &str = "lakeshift.entry";

/// Parameters that servers and engines set by themselves: statistics and times.
const BY_THEMSELVES: [&str; 9] = [
    "transient_lastDdlTime",
    "numFiles",
    "numRows",
    "rawDataSize",
    "totalSize",
    "numPartitions",
    "numFilesErasureCoded",
    "COLUMN_STATS_ACCURATE",
    "STATS_GENERATED",
];
const STATISTICS: &str = "spark.sql.statistics.";

/// The new table, as an entry shall name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum New {
    /// A table of a format, with its metadata file where that is named too.
    Table { format: Format, location: String, metadata_file: Option<String> },
    /// What a view selects.
    Query(String),
}

/// The migration and the digest of the state before, written into an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub migration: String,
    pub before: String,
}

/// An entry as a server has answered it, or as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry(Fields);

impl Entry {
    /// The entry that a value is; `None` when it is no struct.
    pub fn of(value: Value) -> Option<Self> {
        match value {
            Value::Struct(fields) => Some(Self(fields)),
            _ => None,
        }
    }

    /// As the service takes it.
    pub fn into_value(self) -> Value {
        Value::Struct(self.0)
    }

    /// The digest of every field.
    pub fn digest(&self) -> thrift::Result<String> {
        Ok(hex(&Sha256::digest(Value::Struct(self.0.clone()).to_bytes()?)))
    }

    /// Whether it is a view.
    pub fn is_view(&self) -> bool {
        self.table_type() == "VIRTUAL_VIEW"
    }

    /// The type, in the service's words.
    pub fn table_type(&self) -> &str {
        self.0.get(&TABLE_TYPE).and_then(Value::as_text).unwrap_or_default()
    }

    /// A parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let Some(Value::Map(_, _, entries)) = self.0.get(&PARAMETERS) else { return None };
        let (_, value) = entries.iter().find(|(key, _)| key.as_text() == Some(name))?;
        value.as_text()
    }

    /// The format of the table that it names.
    pub fn format(&self) -> Format {
        let is = |name: &str, value: &str| self.parameter(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
        let input = self.storage().and_then(|storage| storage.get(&FORMATS[0])?.as_text()).unwrap_or_default();
        match () {
            () if is("table_type", "iceberg") => Format::Iceberg,
            () if is(PROVIDER, "delta") => Format::Delta,
            () if is(PROVIDER, "hudi") || input.contains(".hudi.") => Format::Hudi,
            () => Format::Hive,
        }
    }

    /// Where the table lies that it names: of Spark's own tables the serde says it, and the location is of no meaning.
    pub fn location(&self) -> Option<&str> {
        let storage = self.storage()?;
        let of_spark = self.parameter(PROVIDER).and_then(|_| texts_of(serde(storage)?.get(&SERDE_PARAMETERS)?, "path"));
        of_spark.or_else(|| storage.get(&LOCATION)?.as_text())
    }

    /// The mark of who has moved it.
    pub fn mark(&self) -> Option<Mark> {
        let [migration, before] = [MIGRATION, BEFORE].map(|name| self.parameter(name).map(str::to_owned));
        Some(Mark { migration: migration?, before: before? })
    }

    /// The names of its partition columns.
    pub fn partition_keys(&self) -> Vec<String> {
        let Some(Value::List(_, keys)) = self.0.get(&PARTITION_KEYS) else { return Vec::new() };
        keys.iter().filter_map(|key| key.as_fields()?.get(&1)?.as_text().map(str::to_owned)).collect()
    }

    /// A partition of its table, in a folder below its location; `None` where it has no location.
    pub fn partition(&self, name: &Name, folder: &str, values: &[String]) -> Option<Value> {
        let location = format!("{}/{folder}", self.location()?.trim_end_matches('/'));
        let mut storage = self.storage()?.clone();
        storage.insert(LOCATION, Value::text(&location));
        let values = values.iter().map(|value| Value::text(value)).collect();
        Some(Value::fields([
            (1, Value::List(TType::String, values)),
            (2, Value::text(&name.database)),
            (3, Value::text(&name.table)),
            (STORAGE_OF_PARTITION, Value::Struct(storage)),
            (PARAMETERS_OF_PARTITION, Value::texts([])),
        ]))
    }

    /// What it selects, as a view.
    pub fn query(&self) -> Option<&str> {
        self.0.get(&VIEW_TEXTS[1]).and_then(Value::as_text)
    }

    /// Whether the metadata file that it names is another one than `new` has now.
    pub fn is_behind(&self, new: &New) -> bool {
        let New::Table { metadata_file: Some(file), .. } = new else { return false };
        self.parameter(METADATA_FILE) != Some(file)
    }

    /// The parts that are other than its mark says it was left; empty where it is as it was left, or has no mark.
    pub fn changed(&self) -> bool {
        self.parameter(LEFT).is_some_and(|left| self.essence().is_none_or(|essence| essence != left))
    }

    /// Whether both are one state but for what servers and engines change by themselves.
    pub fn is_same(&self, other: &Self) -> bool {
        let stable = |entry: &Self| {
            let mut fields = entry.0.clone();
            fields.retain(|number, _| ![LAST_ACCESS, PRIVILEGES].contains(number));
            fields.insert(PARAMETERS, texts(&entry.parameters()));
            fields
        };
        stable(self) == stable(other)
    }

    /// Whether the server has taken over what `wanted` says, however it spells locations and what it fills in.
    pub fn has_become(&self, wanted: &Self) -> bool {
        self.essence().is_some() && self.essence() == wanted.essence()
    }

    /// It as the entry of the new table.
    #[must_use]
    pub fn moved(&self, new: &New, mark: &Mark) -> Self {
        let mut entry = self.clone();
        let mut parameters = self.parameters();
        match new {
            New::Query(query) => {
                for number in VIEW_TEXTS {
                    entry.0.insert(number, Value::text(query));
                }
            }
            New::Table { format, location, metadata_file } => {
                let location = location::spelled(location, self.location().unwrap_or_default());
                for name in ["external.table.purge", "storage_handler", "table_type", METADATA_FILE, PREVIOUS_METADATA_FILE]
                {
                    parameters.remove(name);
                }
                parameters
                    .retain(|name, _| !name.starts_with("spark.sql.sources.") && name != "spark.sql.partitionProvider");
                parameters.extend(parameters_of(*format, metadata_file.as_deref()));
                // Whoever drops the entry keeps the files, whatever it was before.
                parameters.insert("EXTERNAL".to_owned(), "TRUE".to_owned());
                entry.0.insert(TABLE_TYPE, Value::text("EXTERNAL_TABLE"));
                let storage = entry.storage().cloned().unwrap_or_default();
                entry.0.insert(STORAGE, Value::Struct(storage_of(storage, *format, &location)));
            }
        }
        parameters.insert(MIGRATION.to_owned(), mark.migration.clone());
        parameters.insert(BEFORE.to_owned(), mark.before.clone());
        entry.left(parameters)
    }

    /// It with the metadata file that the table has now.
    #[must_use]
    pub fn following(&self, new: &New) -> Self {
        let mut parameters = self.parameters();
        if let New::Table { metadata_file: Some(file), .. } = new
            && let Some(previous) = parameters.insert(METADATA_FILE.to_owned(), file.clone())
        {
            parameters.insert(PREVIOUS_METADATA_FILE.to_owned(), previous);
        }
        self.clone().left(parameters)
    }

    /// A copy under another name that nobody's files go with.
    #[must_use]
    pub fn shadow(&self, table: &str) -> Self {
        let mut entry = self.clone();
        entry.0.insert(1, Value::text(table));
        if !self.is_view() {
            let mut parameters = self.parameters();
            parameters.remove("external.table.purge");
            parameters.insert("EXTERNAL".to_owned(), "TRUE".to_owned());
            entry.0.insert(TABLE_TYPE, Value::text("EXTERNAL_TABLE"));
            entry.0.insert(PARAMETERS, texts(&parameters));
        }
        entry
    }

    fn left(mut self, mut parameters: BTreeMap<String, String>) -> Self {
        parameters.remove(LEFT);
        self.0.insert(PARAMETERS, texts(&parameters));
        if let Some(essence) = self.essence() {
            parameters.insert(LEFT.to_owned(), essence);
            self.0.insert(PARAMETERS, texts(&parameters));
        }
        self
    }

    /// The digest of what an entry means to engines, with locations in one spelling.
    fn essence(&self) -> Option<String> {
        let mut fields = Fields::new();
        let mut copy = |numbers: &[i16]| {
            for number in numbers {
                if let Some(value) = self.0.get(number) {
                    fields.insert(*number, value.clone());
                }
            }
        };
        copy(&[OWNER, PARTITION_KEYS, VIEW_TEXTS[0], VIEW_TEXTS[1], TABLE_TYPE]);
        let mut parameters = self.parameters();
        parameters.remove(LEFT);
        fields.insert(PARAMETERS, texts(&parameters));
        if let Some(storage) = self.storage() {
            let mut kept: Fields = storage.clone();
            kept.retain(|number, _| [COLUMNS, FORMATS[0], FORMATS[1]].contains(number));
            if let Some(found) = storage.get(&LOCATION).and_then(Value::as_text) {
                kept.insert(LOCATION, Value::text(&location::plain(found)));
            }
            if let Some(serde) = serde(storage) {
                let mut parameters = text_map(serde.get(&SERDE_PARAMETERS));
                if let Some(path) = parameters.get_mut("path") {
                    *path = location::plain(path);
                }
                let library = serde.get(&LIBRARY).cloned().unwrap_or(Value::text(""));
                kept.insert(SERDE, Value::fields([(LIBRARY, library), (SERDE_PARAMETERS, texts(&parameters))]));
            }
            fields.insert(STORAGE, Value::Struct(kept));
        }
        Value::Struct(fields).to_bytes().ok().map(|bytes| hex(&Sha256::digest(bytes)))
    }

    /// The parameters without those that servers and engines set by themselves.
    fn parameters(&self) -> BTreeMap<String, String> {
        let mut parameters = text_map(self.0.get(&PARAMETERS));
        parameters.retain(|name, _| !BY_THEMSELVES.contains(&name.as_str()) && !name.starts_with(STATISTICS));
        parameters
    }

    fn storage(&self) -> Option<&Fields> {
        self.0.get(&STORAGE).and_then(Value::as_fields)
    }
}

/// What engines tell a table of the format by.
fn parameters_of(format: Format, metadata_file: Option<&str>) -> BTreeMap<String, String> {
    let parameters: Vec<(&str, &str)> = match format {
        Format::Iceberg => vec![
            ("table_type", "ICEBERG"),
            ("storage_handler", "org.apache.iceberg.mr.hive.HiveIcebergStorageHandler"),
            (METADATA_FILE, metadata_file.unwrap_or_default()),
        ],
        // As Spark writes them: the columns are the log's to tell.
        Format::Delta => {
            vec![(PROVIDER, "delta"), ("spark.sql.sources.schema", r#"{"type":"struct","fields":[]}"#)]
        }
        Format::Hive | Format::Hudi => vec![],
    };
    parameters.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Storage of a table of the format. One that does not know the format fails there, and does not read the folder's files as
/// rows that the table may have deleted.
fn storage_of(mut storage: Fields, format: Format, location: &str) -> Fields {
    let [input, output, library] = match format {
        Format::Iceberg => [
            "org.apache.iceberg.mr.hive.HiveIcebergInputFormat",
            "org.apache.iceberg.mr.hive.HiveIcebergOutputFormat",
            "org.apache.iceberg.mr.hive.HiveIcebergSerDe",
        ],
        _ => [
            "org.apache.hadoop.mapred.SequenceFileInputFormat",
            "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
            "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
        ],
    };
    let parameters = match format {
        Format::Delta => Value::texts([("path", location), ("serialization.format", "1")]),
        _ => Value::texts([("serialization.format", "1")]),
    };
    storage.insert(LOCATION, Value::text(location));
    storage.insert(FORMATS[0], Value::text(input));
    storage.insert(FORMATS[1], Value::text(output));
    storage.insert(COMPRESSED, Value::Bool(false));
    storage.insert(BUCKETS, Value::I32(-1));
    storage.insert(SERDE, Value::fields([(LIBRARY, Value::text(library)), (SERDE_PARAMETERS, parameters)]));
    storage.insert(BUCKET_COLUMNS, Value::List(TType::String, Vec::new()));
    storage.insert(SORT_COLUMNS, Value::List(TType::Struct, Vec::new()));
    storage.remove(&SKEWED);
    storage
}

fn serde(storage: &Fields) -> Option<&Fields> {
    storage.get(&SERDE).and_then(Value::as_fields)
}

fn texts(map: &BTreeMap<String, String>) -> Value {
    Value::texts(map.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

fn texts_of<'a>(map: &'a Value, name: &str) -> Option<&'a str> {
    let Value::Map(_, _, entries) = map else { return None };
    entries.iter().find(|(key, _)| key.as_text() == Some(name)).and_then(|(_, value)| value.as_text())
}

fn text_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Map(_, _, entries)) = value else { return BTreeMap::new() };
    let text = |(key, value): &(Value, Value)| Some((key.as_text()?.to_owned(), value.as_text()?.to_owned()));
    entries.iter().filter_map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

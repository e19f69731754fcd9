//! `.hoodie/hoodie.properties`: what kind of table it is, and whether it is one that Lakeshift reads.

use std::collections::BTreeMap;

use lakeshift_core::hudi::{MergeOrder, MergeRule, RecordKey};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Format, TableError};

use super::properties;
use super::timeline::Layout;
use crate::footer::{corrupt, unsupported};

/// The table's own folder.
pub(super) const FOLDER: &str = ".hoodie";
/// The properties' object.
const PROPERTIES: &str = ".hoodie/hoodie.properties";
/// The largest properties that are read, in bytes.
const PROPERTIES_BYTES_MAX: u64 = 16 * 1024 * 1024;

const PAYLOAD_CLASSES: [&str; 2] = ["hoodie.compaction.payload.class", "hoodie.table.legacy.payload.class"];
const STRATEGIES: [&str; 2] = ["hoodie.record.merge.strategy.id", "hoodie.compaction.record.merger.strategy"];
const ORDERINGS: [&str; 2] = ["hoodie.table.ordering.fields", "hoodie.table.precombine.field"];
const LATEST_PAYLOAD: &str = "org.apache.hudi.common.model.OverwriteWithLatestAvroPayload";
const EVENT_TIME_PAYLOAD: &str = "org.apache.hudi.common.model.DefaultHoodieRecordPayload";
const COMMIT_TIME_STRATEGY: &str = "ce9acb64-bde0-424c-9b91-f6ebba25356d";
const EVENT_TIME_STRATEGY: &str = "eeb8d96f-b1e4-49fd-bbf8-28ac514178e5";

/// A table's properties, as far as they decide how it is read.
#[derive(Debug, Clone)]
pub(super) struct TableConfig {
    pub(super) layout: Layout,
    /// Where instants stand, relative to the table.
    pub(super) timeline: String,
    /// Where archived instants stand, from layout 2; relative to the table.
    pub(super) history: String,
    /// The schema that the table was created with, as Avro JSON.
    pub(super) create_schema: Option<String>,
    /// The partition columns that stand in paths only; none where the files have them.
    pub(super) path_columns: Option<PathColumns>,
    /// All of them.
    pub(super) properties: BTreeMap<String, String>,
    location: String,
    version: u32,
}

/// Partition columns whose values stand in paths and not in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathColumns {
    pub(super) names: Vec<String>,
    /// Whether segments are `name=value`.
    pub(super) hive_style: bool,
    /// Whether values are percent-encoded.
    pub(super) encoded: bool,
}

impl TableConfig {
    /// Reads and checks the properties.
    ///
    /// # Errors
    /// [`TableError::NotFound`], [`TableError::Corrupt`], and [`TableError::Unsupported`] with the property's name.
    pub(super) async fn read(storage: &Storage) -> Result<Self, TableError> {
        let location = storage.location();
        let missing = || TableError::NotFound { format: Format::Hudi, location: location.to_owned() };
        let bytes = super::read_object(storage, PROPERTIES, PROPERTIES_BYTES_MAX).await?.ok_or_else(missing)?;
        Self::parse(location, &bytes)
    }

    /// As [`Self::read`], of bytes at hand.
    pub(super) fn parse(location: &str, bytes: &[u8]) -> Result<Self, TableError> {
        let object = format!("{location}/{PROPERTIES}");
        let text = std::str::from_utf8(bytes).map_err(|_| corrupt(&object, "it is not UTF-8".to_owned()))?;
        let properties =
            properties::parse(text).ok_or_else(|| corrupt(&object, "an escape in it is not valid".to_owned()))?;
        check_sum(&object, &properties)?;
        let get = |key: &str| properties.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let number = |key: &str| get(key).and_then(|text| text.parse::<u32>().ok());
        let version = number("hoodie.table.version");
        let layout = match (version, number("hoodie.timeline.layout.version")) {
            (Some(6), None | Some(1)) => Layout::One,
            (Some(8 | 9), Some(2)) => Layout::Two,
            (version, layout) => {
                let told = |number: Option<u32>| number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
                let feature = format!("table version {} with timeline layout {}", told(version), told(layout));
                return Err(unsupported(location, feature, "upgrade the table to version 6, 8 or 9 first"));
            }
        };
        refuse_features(location, &get)?;
        let timeline = match layout {
            Layout::One => FOLDER.to_owned(),
            Layout::Two => format!("{FOLDER}/{}", get("hoodie.timeline.path").unwrap_or("timeline")),
        };
        let history = format!("{timeline}/{}", get("hoodie.timeline.history.path").unwrap_or("history"));
        let path_columns = path_columns(location, &get)?;
        Ok(Self {
            layout,
            timeline,
            history,
            create_schema: get("hoodie.table.create.schema").map(str::to_owned),
            path_columns,
            location: location.to_owned(),
            version: version.unwrap_or_default(),
            properties,
        })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn first<'a>(&'a self, keys: &[&str]) -> Option<&'a str> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// How records of log files become rows.
    ///
    /// # Errors
    /// [`TableError::Unsupported`] for a merger or payload that is not one of Hudi's two orders.
    pub(super) fn merge_rule(&self) -> Result<MergeRule, TableError> {
        let refused = |feature: String| {
            let advice = "run a full compaction, so that no file slice has log files";
            Err(unsupported(&self.location, feature, advice))
        };
        let payload = self.first(&PAYLOAD_CLASSES);
        if let Some(class) = payload.filter(|class| ![LATEST_PAYLOAD, EVENT_TIME_PAYLOAD].contains(class)) {
            return refused(format!("the payload class {class}"));
        }
        if let Some(mode) = self.get("hoodie.table.partial.update.mode").filter(|mode| *mode != "NONE") {
            return refused(format!("the partial update mode {mode}"));
        }
        let ordering = list(self.first(&ORDERINGS).unwrap_or_default());
        let order = match (self.get("hoodie.record.merge.mode"), self.inferred(payload)) {
            (Some("COMMIT_TIME_ORDERING"), _) => MergeOrder::CommitTime,
            (Some("EVENT_TIME_ORDERING"), _) => MergeOrder::EventTime,
            (Some(mode), _) => return refused(format!("the record merge mode {mode}")),
            (None, Inferred::Order(order)) => order,
            (None, Inferred::Strategy(id)) => return refused(format!("the record merge strategy {id}")),
            (None, Inferred::Fields) if ordering.is_empty() => MergeOrder::CommitTime,
            (None, Inferred::Fields) => MergeOrder::EventTime,
        };
        // By event time without an ordering field, every record is ordered alike and the later one stays.
        let order = if ordering.is_empty() { MergeOrder::CommitTime } else { order };
        Ok(MergeRule { order, ordering, key: self.record_key()?, delete_marker: self.delete_marker() })
    }

    /// The order of a table that does not name a merge mode: by strategy from version 8, by payload class before.
    fn inferred(&self, payload: Option<&str>) -> Inferred {
        let of_payload = payload.map(|class| match class {
            LATEST_PAYLOAD if self.version < 8 => Inferred::Order(MergeOrder::CommitTimeDisputed),
            LATEST_PAYLOAD => Inferred::Order(MergeOrder::CommitTime),
            _ => Inferred::Order(MergeOrder::EventTime),
        });
        let of_strategy = self.first(&STRATEGIES).map(|id| match id {
            COMMIT_TIME_STRATEGY => Inferred::Order(MergeOrder::CommitTime),
            EVENT_TIME_STRATEGY => Inferred::Order(MergeOrder::EventTime),
            other => Inferred::Strategy(other.to_owned()),
        });
        let first = if self.version >= 8 { of_strategy.or(of_payload) } else { of_payload.or(of_strategy) };
        first.unwrap_or(Inferred::Fields)
    }

    fn record_key(&self) -> Result<RecordKey, TableError> {
        if self.get("hoodie.populate.meta.fields") != Some("false") {
            return Ok(RecordKey::Meta);
        }
        let mut fields = list(self.get("hoodie.table.recordkey.fields").unwrap_or_default());
        let complex = key_generator(&|key: &str| self.get(key)).starts_with("COMPLEX");
        match (fields.len(), complex) {
            (1, false) => Ok(RecordKey::Column(fields.remove(0))),
            (2.., true) => Ok(RecordKey::Columns(fields)),
            // Releases of Hudi write a complex key of one column in two ways.
            _ => Err(unsupported(
                &self.location,
                "record keys that stand in no column (hoodie.populate.meta.fields=false) and cannot be made up",
                "run a full compaction, so that no file slice has log files",
            )),
        }
    }

    fn delete_marker(&self) -> Option<(String, String)> {
        let get = |key: &str| self.get(&format!("hoodie.record.merge.property.{key}")).or_else(|| self.get(key));
        let pair = (get("hoodie.payload.delete.field")?, get("hoodie.payload.delete.marker")?);
        Some((pair.0.to_owned(), pair.1.to_owned()))
    }
}

enum Inferred {
    Order(MergeOrder),
    Strategy(String),
    /// By whether there are ordering fields.
    Fields,
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The checksum is of the table's name with its database's, which may be empty.
fn check_sum(object: &str, properties: &BTreeMap<String, String>) -> Result<(), TableError> {
    let get = |key: &str| properties.get(key).filter(|value| !value.is_empty());
    let (Some(sum), Some(name)) = (get("hoodie.table.checksum"), get("hoodie.table.name")) else { return Ok(()) };
    let database = get("hoodie.database.name").map(String::as_str).unwrap_or_default();
    let named = format!("{database}.{name}");
    match sum.parse::<u32>() {
        Ok(sum) if sum == crc32fast::hash(named.as_bytes()) => Ok(()),
        _ => Err(corrupt(object, "its checksum is not that of the table's name".to_owned())),
    }
}

fn refuse_features<'a>(location: &str, get: &impl Fn(&str) -> Option<&'a str>) -> Result<(), TableError> {
    if let Some(format) = get("hoodie.table.base.file.format").filter(|format| !format.eq_ignore_ascii_case("parquet")) {
        return Err(unsupported(location, format!("base files of the format {format}"), "rewrite the table with Parquet"));
    }
    if get("hoodie.bootstrap.base.path").is_some() {
        return Err(unsupported(
            location,
            "bootstrapped base files",
            "cluster the table, so that every file has all columns",
        ));
    }
    if let Some(format) = get("hoodie.table.format").filter(|format| *format != "native") {
        return Err(unsupported(location, format!("the table format {format}"), "read it as a table of that format"));
    }
    Ok(())
}

/// The key generator's type, in capitals: `SIMPLE`, `COMPLEX`, `TIMESTAMP`, `NON_PARTITION`, `CUSTOM` …; from version 8
/// it is named by type, before by class.
fn key_generator<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> String {
    let class = get("hoodie.table.keygenerator.class").map(|class| class.rsplit('.').next().unwrap_or_default());
    let name = get("hoodie.table.keygenerator.type").or(class).unwrap_or("SIMPLE").to_ascii_uppercase();
    name.strip_suffix("AVROKEYGENERATOR").or_else(|| name.strip_suffix("KEYGENERATOR")).unwrap_or(&name).to_owned()
}

/// The partition columns that files do not have. Where files have them, they are read from there: a path may be a
/// formatted value, and is one text for null and for an empty text.
fn path_columns<'a>(location: &str, get: &impl Fn(&str) -> Option<&'a str>) -> Result<Option<PathColumns>, TableError> {
    let names = list(get("hoodie.table.partition.fields").unwrap_or_default());
    if names.is_empty() || get("hoodie.datasource.write.drop.partition.columns") != Some("true") {
        return Ok(None);
    }
    let generator = key_generator(get);
    if !matches!(generator.as_str(), "SIMPLE" | "COMPLEX") {
        let feature = format!("partition columns that stand in paths only, written by the key generator {generator}");
        let advice = "write the table with hoodie.datasource.write.drop.partition.columns=false";
        return Err(unsupported(location, feature, advice));
    }
    Ok(Some(PathColumns {
        names,
        hive_style: get("hoodie.datasource.write.hive_style_partitioning") == Some("true"),
        encoded: get("hoodie.datasource.write.partitionpath.urlencode") == Some("true"),
    }))
}

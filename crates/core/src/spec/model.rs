//! The spec's types. Their docstrings are the descriptions in the JSON Schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::columns::{self, TargetColumn};
use super::hooks::HookTransitions;
use super::locations::Location;
use super::metastore::Metastore;
use super::parquet::ParquetOptions;
use super::scope::Scope;
use super::secret::Secret;
use super::sizes::{ByteSize, Span};
use super::sort::SortColumn;
use super::text;
use crate::equivalence::{AcceptRule, FloatZeros, MapOrder};
use crate::partition::PartitionSpec;
use crate::schema::DataType;
use crate::table::{Format, MigrationId};

/// One migration of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Version of this file's format.
    #[serde(rename = "apiVersion")]
    pub api_version: ApiVersion,
    /// The migration's name: 1 to 64 letters, digits, `-` and `_`.
    #[schemars(schema_with = "text::name_schema")]
    pub name: MigrationId,
    /// What the migration is for, in a sentence for reviewers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The control root: where journal, plans, reports and aliases live.
    pub control: Location,
    /// The table as it is.
    pub source: Source,
    /// The table as it shall be.
    pub target: Target,
    /// New logic for the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<SqlTransform>,
    /// Which rows migrate; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How changes of the source reach the target.
    #[serde(default)]
    pub dual_write: DualWrite,
    /// How the rows that stand in the source at the beginning reach the target.
    #[serde(default)]
    pub backfill: Backfill,
    /// How both tables are compared.
    #[serde(default)]
    pub validation: Validation,
    /// What switches when readers move.
    pub cutover: Cutover,
    /// What becomes of the source after the cutover.
    #[serde(default)]
    pub sunset: Sunset,
    /// Who is asked before transitions, and told of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// Options of the object stores of control root, source and target: `endpoint`, `region`, `access_key_id: ${NAME}` …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, Secret>,
}

/// The versions of the file's format that this build reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[serde(rename = "lakeshift/v1")]
    V1,
}

/// The table as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// hive: Parquet files in `column=value` directories; delta; iceberg; hudi.
    pub format: Format,
    /// The table's folder.
    pub location: Location,
    /// Iceberg only: the catalogue that keeps the table; its location there must be `location`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Catalog>,
    /// Hive only: the partition columns with their types, outermost directory first. Without it, types are proven from
    /// the directory names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<HivePartition>,
    /// Hive only: columns that have another name in some files, as `name in the files: name of the column`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Iceberg only: the branch or tag that is the table; the main branch when absent.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Hive only: what INT96 timestamps are, which say neither zone nor unit. Without it such columns are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int96: Option<Int96>,
    /// Options of the source's object store, over those of the top-level `storage`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, Secret>,
}

/// One partition column of a Hive-style table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HivePartition {
    /// The column, as in the directories' names.
    pub name: String,
    /// The type of its values: `string`, `date`, `int32` …
    #[serde(rename = "type", with = "text::data_type")]
    #[schemars(schema_with = "text::data_type_schema")]
    pub data_type: DataType,
}

/// What INT96 timestamps mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Int96 {
    /// Instants, as Spark, Hive and Impala 4 write them: `timestamptz`. Digits below a microsecond, which Spark neither writes
    /// nor reads, are cut.
    Utc,
}

/// The table as it shall be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// delta or iceberg.
    #[serde(deserialize_with = "text::target_format")]
    #[schemars(schema_with = "text::target_format_schema")]
    pub format: Format,
    /// The table's folder.
    pub location: Location,
    /// Iceberg only: the catalogue that shall keep the table; its location there will be `location`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Catalog>,
    /// Partition fields, outermost first: `column`, `year(column)`, `month(column)`, `day(column)`, `hour(column)`,
    /// `bucket(16, column)`, `truncate(4, column)`. Without it the table is not partitioned.
    #[serde(default, with = "text::partitioning")]
    #[schemars(schema_with = "text::partitioning_schema")]
    pub partitioning: PartitionSpec,
    /// How the rows of each written file are sorted, most significant column first: `column`, or `column desc`. An Iceberg
    /// table keeps it as its sort order, for those who write to it later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sort: Vec<SortColumn>,
    /// Iceberg only: the version of the format, 2 (the default) or 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 3))]
    pub format_version: Option<u8>,
    /// Iceberg only: which snapshots the table keeps; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<SnapshotRule>,
    /// The columns in their order, where they are not those of the source (or of `transform.sql`): a column's name;
    /// `{name: new, from: old, type: int64, default: 0}` for one that is renamed, cast or filled; `'*'` for all others. Every
    /// column of the source is in the list or in `drop`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "columns::list")]
    #[schemars(schema_with = "columns::list_schema")]
    pub columns: Vec<TargetColumn>,
    /// Columns of the source that the new table does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Table properties to set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// How data files are written.
    #[serde(default, skip_serializing_if = "ParquetOptions::is_default")]
    pub parquet: ParquetOptions,
    /// Options of the target's object store, over those of the top-level `storage`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, Secret>,
}

/// Which snapshots stay in the table's metadata after a commit. One that is both beyond `keep` and older than `max_age` is
/// dropped, unless a branch or tag names it. No file is deleted: the old table may share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRule {
    /// The newest snapshots, which stay whatever their age; 1 or more.
    #[schemars(range(min = 1))]
    pub keep: u32,
    /// Age up to which snapshots stay, however many there are; 1h or more.
    pub max_age: Span,
}

/// New logic for the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlTransform {
    /// A DataFusion SQL query over the table `source`, row by row: `SELECT *, upper(origin) AS origin_upper FROM source`.
    pub sql: String,
}

/// How changes of the source reach the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DualWrite {
    /// Pause between two looks at the source while the mirror follows it.
    pub interval: Span,
    /// Source files not yet mirrored up to which dual write counts as in step.
    pub max_lag_files: u64,
    /// Age of the oldest change not yet mirrored up to which dual write counts as in step.
    pub max_lag: Span,
    /// What becomes of new columns of the source.
    pub schema_changes: SchemaChanges,
}

/// What the mirror does when the source gets new columns that may be null. Any other change of its columns stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaChanges {
    /// It stops and names them, before anything is carried over.
    Stop,
    /// The new table gets them too, by a commit of their own.
    Follow,
}

impl Default for DualWrite {
    fn default() -> Self {
        Self {
            interval: Span::seconds(30),
            max_lag_files: 0,
            max_lag: Span::seconds(15 * 60),
            schema_changes: SchemaChanges::Stop,
        }
    }
}

/// How the rows that stand in the source at the beginning reach the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backfill {
    /// Which partitions go first.
    pub order: BackfillOrder,
    /// Units that run at once, 1 to 256.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: u32,
    /// Memory for all running units together.
    pub memory: ByteSize,
    /// Bytes read and written each second at most; unlimited when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<ByteSize>,
    /// Size that written files aim at.
    pub target_file_size: ByteSize,
    /// Source bytes in one unit, which is what is lost and run again when a runner dies.
    pub unit_size: ByteSize,
    /// Whether files are adopted as they stand or rewritten.
    pub strategy: Strategy,
}

impl Default for Backfill {
    fn default() -> Self {
        Self {
            order: BackfillOrder::NewestFirst,
            concurrency: 2,
            memory: ByteSize::mib(512),
            bytes_per_second: None,
            target_file_size: ByteSize::mib(256),
            unit_size: ByteSize::mib(1024),
            strategy: Strategy::Auto,
        }
    }
}

/// Which partitions go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackfillOrder {
    /// The greatest partition values first: what readers ask for most is there first.
    NewestFirst,
    /// The least partition values first.
    OldestFirst,
}

/// Whether files are adopted as they stand or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Per file the cheapest correct way; the plan has the reasons.
    Auto,
    /// Register every file as it stands; the plan refuses when one cannot be.
    Adopt,
    /// Copy every file's column chunks, undecoded; the plan refuses when one cannot be.
    Splice,
    /// Read and write every file anew.
    Rewrite,
}

/// How both tables are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Columns that identify a row, so that differences can be told as changed rows; without it as a bag difference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Differing rows that the report shows at most.
    pub max_differences_shown: u32,
    /// Whether the report shows fingerprints in place of the differing rows' values.
    pub mask: bool,
    /// Age of the last PASS up to which a cutover accepts it; when absent it need only be of the current versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Span>,
    /// A SQL condition on the new table's columns: only these rows of both sides are compared. Its certificate does not
    /// open the cutover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// Whether −0.0 is 0.0.
    pub float_zeros: FloatZeros,
    /// Whether the order of a map's entries counts.
    pub map_order: MapOrder,
    /// Rules for single columns, by their names in the new table.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, ColumnRule>,
    /// The ledger of accepted differences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<AcceptRule>,
}

/// How one column is compared where it is not exactly and by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnRule {
    /// The old side's value: a column's name or a SQL expression over the old rows (after `transform.sql`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The new side's value: a SQL expression over the new rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Greatest absolute difference of two numbers that counts as equal; needs `validation.key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute: Option<f64>,
    /// Greatest difference of two numbers, relative to the larger of both, that counts as equal; needs `validation.key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative: Option<f64>,
    /// Greatest number of representable doubles between two that count as equal; needs `validation.key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ulps: Option<u64>,
    /// Times are cut to this unit on both sides before they are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<RuleUnit>,
    /// Whether white space at the ends of texts is ignored.
    pub trim: bool,
    /// Whether upper and lower case are the same.
    pub ignore_case: bool,
}

impl ColumnRule {
    /// Whether values that are not the same may count as equal, so that rows must be paired by key.
    pub fn is_tolerant(&self) -> bool {
        self.absolute.is_some() || self.relative.is_some() || self.ulps.is_some()
    }
}

/// A unit that times are cut to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleUnit {
    /// Days.
    Day,
    /// Hours.
    Hour,
    /// Minutes.
    Minute,
    /// Seconds.
    Second,
    /// 10⁻³ s.
    Millisecond,
    /// 10⁻⁶ s.
    Microsecond,
}

impl std::fmt::Display for RuleUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Millisecond => "millisecond",
            Self::Microsecond => "microsecond",
        })
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            key: Vec::new(),
            max_differences_shown: 20,
            mask: true,
            freshness: None,
            range: None,
            float_zeros: FloatZeros::Distinct,
            map_order: MapOrder::Counts,
            columns: BTreeMap::new(),
            accept: Vec::new(),
        }
    }
}

/// What switches when readers move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cutover {
    /// The name that readers resolve: 1 to 64 letters, digits, `-`, `_` and `.`.
    #[schemars(schema_with = "text::alias_schema")]
    pub alias: String,
    /// Groups of readers that move before those of `alias`, in this order, each watched before the next moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// A program with its arguments that moves readers which do not resolve the alias, and tells where they are
    /// (docs/playbook.md). It is run before each alias moves; its failure leaves readers and alias where they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Whether source and target, both Iceberg tables of one SQL catalogue, exchange their names in it when the readers of
    /// `alias` move: who asks the catalogue for the source's name gets the new table from then on, writers too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exchange_entries: bool,
    /// A table or view of a Hive Metastore that moves when the readers of `alias` move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metastore: Option<Metastore>,
    /// A program with its arguments that holds writers off, and lets them write again (docs/playbook.md). Where there is one,
    /// the cutover holds writers off before each group moves, carries over and validates what came until then, and lets them
    /// go on when readers have moved; its failure leaves readers where they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fence: Vec<String>,
    /// Whether the cutover wants a rehearsal (`cutover --rehearse`) since the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rehearsal: bool,
    /// Whether what is written to the new table after the cutover is carried back to the old one until the sunset, so that a
    /// rollback loses nothing.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub reverse: bool,
    /// How long the readers of `alias` are watched after they moved.
    #[serde(default = "no_time", skip_serializing_if = "is_no_time")]
    pub bake: Span,
    /// A program with its arguments that says by exit code 0 that the readers of `alias` are well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<String>,
    /// A SQL query over the new table, named as `alias`, that says so by at least one row and nothing but true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_query: Option<String>,
}

/// A group of readers that moves before the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The group's name: 1 to 64 letters, digits, `-` and `_`; not `all`.
    #[schemars(schema_with = "text::name_schema")]
    pub name: String,
    /// The name that its readers resolve.
    #[schemars(schema_with = "text::alias_schema")]
    pub alias: String,
    /// How long its readers are watched before the next group moves.
    #[serde(default = "no_time")]
    pub bake: Span,
    /// A program with its arguments, run when the group has moved and every 10 s of the bake time. An exit code other than
    /// 0 takes every group back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<String>,
    /// A SQL query over the new table, named as `alias`, run at the same times: one column of booleans. No row, or one that is
    /// not true, takes every group back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_query: Option<String>,
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

fn no_time() -> Span {
    Span::seconds(0)
}

fn is_no_time(span: &Span) -> bool {
    span.as_seconds() == 0
}

impl Stage {
    /// Whether there is anything to wait for or to ask after the group has moved.
    pub fn is_watched(&self) -> bool {
        self.bake.as_seconds() > 0 || !self.health.is_empty() || self.health_query.is_some()
    }
}

/// The group of those who read `cutover.alias`.
pub const LAST_GROUP: &str = "all";

impl Cutover {
    /// Every group of readers in the order in which they move; the last one reads `alias`.
    pub fn groups(&self) -> Vec<Stage> {
        let last = Stage {
            name: LAST_GROUP.to_owned(),
            alias: self.alias.clone(),
            bake: self.bake,
            health: self.health.clone(),
            health_query: self.health_query.clone(),
        };
        self.stages.iter().cloned().chain([last]).collect()
    }
}

/// What becomes of the source after the cutover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sunset {
    /// Time between the cutover and the sunset.
    pub grace: Span,
    /// Time that files stay in quarantine before a purge deletes them.
    pub quarantine: Span,
    /// What happens to the source's files; nothing is deleted by default.
    pub disposition: SunsetDisposition,
}

impl Default for Sunset {
    fn default() -> Self {
        Self { grace: Span::days(14), quarantine: Span::days(7), disposition: SunsetDisposition::Keep }
    }
}

/// What happens to the source's files in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SunsetDisposition {
    /// They stay where they are.
    Keep,
    /// They are listed in a manifest and stay where they are.
    Quarantine,
    /// They are listed in a manifest and deleted when the quarantine is over.
    Purge,
}

/// A command or an address that is asked before transitions, or told of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Which transitions: a list, or `all`.
    pub on: HookTransitions,
    /// A program with its arguments. It gets the payload (docs/hooks.md) on standard input, and LAKESHIFT_* variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// An http or https address, in place of a command; the payload is sent to it by POST. It stands in the journal: no
    /// address that is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Time for it to answer.
    #[serde(default = "hook_timeout")]
    pub timeout: Span,
    /// abort: it is asked before a transition, and its failure refuses the transition. warn: it is told after.
    #[serde(default)]
    pub on_failure: OnFailure,
}

fn hook_timeout() -> Span {
    Span::seconds(30)
}

impl Hook {
    /// The hook as people know it: its command or its address.
    pub fn name(&self) -> String {
        self.webhook.clone().unwrap_or_else(|| self.command.join(" "))
    }
}

/// What a hook's failure does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The hook runs before the transition, and its failure refuses it.
    Abort,
    /// The hook runs after the transition, and its failure is told.
    #[default]
    Warn,
}

//! Reading data files of any format in their table's logical schema: one path, on DataFusion's Parquet source.
//!
//! [`scan`] finds columns by name or field id as the format says, widens them without loss, fills nullable columns that a
//! file lacks with null, and gives partition columns the values of the table's metadata. Each file's footer is checked
//! against the table and against what is recorded of the file before its first row is read; what does not fit is an
//! error that names the file, never a guess.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field as ArrowField, FieldRef, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{DefaultParquetFileReaderFactory, ParquetRowSelection};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema as ScanSchema;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use lakeshift_core::partition::{PartitionField, Transform};
use lakeshift_core::schema::Field;
use lakeshift_core::storage::{OutsideError, Storage};
use lakeshift_core::table::{DeletedRows, FileEntry, Format, Snapshot};
use object_store::ObjectMeta;
use parquet::arrow::arrow_reader::RowSelection;

use crate::engine::Engine;
use crate::types::{self, TypeError};

mod adapter;
mod footer;
mod layout;
mod names;
mod widen;

pub use layout::dictionary_columns;
pub(crate) use names::Names;
pub(crate) use widen::mismatch;

/// Files up to this size are read by one reader.
const SPLIT_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Ranges that a single large file gives each reader, so that all end at about the same time.
const SHARES_PER_READER: u64 = 4;

/// First read at a file's end, in bytes: most footers fit.
const FOOTER_READ_BYTES: usize = 64 * 1024;

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct ScanRequest<'a> {
    /// Where the files lie: the table's location, or the one below which the files' absolute URLs lie.
    pub storage: &'a Storage,
    /// The table's format; it decides whether a partition column that stands in a file is read from there.
    pub format: Format,
    /// The table.
    pub snapshot: &'a Snapshot,
    /// The files to read, of this snapshot.
    pub files: &'a [FileEntry],
    /// The deleted rows of those that have any, by path ([`lakeshift_core::table::TableFormat::deleted_rows`]).
    pub deletes: &'a Deletes,
}

/// Deleted rows by the file's path.
pub type Deletes = HashMap<String, DeletedRows>;

/// Why files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The table holds deletes for a file that do not fit it or were not told.
    #[error("{file} has deletes that cannot be applied: {reason}; compact the table first, so that no file has deletes")]
    Deletes {
        /// The file.
        file: String,
        /// Why not.
        reason: &'static str,
    },
    /// The rows that equality deletes name could not be found.
    #[error("the rows of {file} that its equality deletes delete could not be found; nothing was written")]
    Equality {
        /// The file.
        file: String,
        /// The cause.
        #[source]
        source: DataFusionError,
    },
    /// A path that leads outside.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The table's schema has no Arrow image.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// A file's metadata does not fit the table's.
    #[error("the table's metadata says of {file} what the partition spec does not: {reason}")]
    Partition {
        /// The file.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// A partition spec names no column of the schema.
    #[error("the partition field {field} names the column {column}, which the table does not have")]
    PartitionColumn {
        /// The partition field.
        field: String,
        /// The column.
        column: String,
    },
    /// A column of the file has a type that does not widen to the table's.
    #[error("column {column} of {file} is {found} and the table says {expected}; a change without loss is not possible")]
    ColumnType {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// The file's type.
        found: String,
        /// The table's type.
        expected: String,
    },
    /// A column that may not be null is not in the file.
    #[error("column {column} may not be null and {file} does not have it")]
    ColumnMissing {
        /// The file.
        file: String,
        /// The column.
        column: String,
    },
    /// Two columns of the file have one name.
    #[error("{file} has two columns of the name {column}; which one is meant cannot be told")]
    ColumnTwice {
        /// The file.
        file: String,
        /// The column.
        column: String,
    },
    /// A file has a column under two of its names.
    #[error(
        "{file} has the column {column} also as {alias}; by the spec's columns map, or the table's own, both are one column: correct the map"
    )]
    TwoNames {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// Its other name.
        alias: String,
    },
    /// The table's columns are told by field ids, which the file lacks.
    #[error(
        "{file} has no field ids, by which this table's columns are found, and the table has no name mapping; rewrite the file, or give the table the property schema.name-mapping.default"
    )]
    NoFieldIds {
        /// The file.
        file: String,
    },
    /// INT96 timestamps.
    #[error(
        "column {column} of {file} is INT96, which says neither zone nor unit; declare `source.int96: utc` if it is a column of instants, \
         or write the file anew with INT64 timestamps"
    )]
    Int96 {
        /// The file.
        file: String,
        /// The column.
        column: String,
    },
    /// The file is not the one that the table recorded.
    #[error("{file} has {found} rows and {expected} were recorded; it was replaced or damaged, list the table again")]
    Rows {
        /// The file.
        file: String,
        /// Rows by the footer.
        found: u64,
        /// Rows on record.
        expected: u64,
    },
    /// A slice of a Hudi table that cannot be merged.
    #[error(transparent)]
    Hudi(#[from] crate::hudi::HudiError),
    /// DataFusion refused the plan.
    #[error("the scan could not be planned")]
    Plan {
        /// The cause.
        #[source]
        source: DataFusionError,
    },
}

/// Where a logical column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The file's column of its physical name.
    File,
    /// This constant: the value of a partition field in the table's metadata.
    Constant(usize),
    /// The file's column where the file has it, else this constant.
    FileOr(usize),
}

/// What a column is that is not read from the file.
#[derive(Debug, Clone)]
enum Constant {
    /// The file's value of the partition field at this position of the spec.
    Partition(usize),
    /// What the table says of all files without the column.
    Default(ScalarValue),
}

/// What becomes of a nullable column that a file lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It is null, or the table's default.
    Filled,
    /// The file is refused.
    Refused,
}

/// A plan that reads `request.files` in the snapshot's logical schema ([`types::arrow_schema`]), in at most
/// [`crate::engine::EngineSettings::concurrency`] partitions; rows come in no particular order. Run it with
/// [`Engine::execute`].
///
/// # Errors
/// [`ScanError`] for what can be seen without opening a file; the stream's errors carry the rest as a [`ScanError`] inside
/// (see [`refusal`]).
pub fn scan(engine: &Engine, request: &ScanRequest<'_>) -> Result<Arc<dyn ExecutionPlan>, ScanError> {
    plan(engine, request, Layout::new(request, None)?)
}

/// As [`scan`], in one partition: the files one after the other, their rows in the order in which they stand there.
pub(crate) fn scan_in_order(
    engine: &Engine,
    request: &ScanRequest<'_>,
    absent: Absent,
) -> Result<Arc<dyn ExecutionPlan>, ScanError> {
    let layout = Layout { absent, ..Layout::new(request, None)? };
    let files = request.files.iter().map(|file| layout.file(request, file)).collect::<Result<Vec<_>, _>>()?;
    let config = config(engine, request, &layout, vec![FileGroup::new(files)])?;
    Ok(DataSourceExec::from_data_source(config.with_preserve_order(true).build()))
}

/// As [`scan`], in the Arrow types that are quickest to decode: texts and bytes as views, those of the columns in
/// `dictionaries` (see [`dictionary_columns`]) as dictionaries.
///
/// # Errors
/// As [`scan`].
pub fn scan_compact(
    engine: &Engine,
    request: &ScanRequest<'_>,
    dictionaries: &BTreeSet<String>,
) -> Result<Arc<dyn ExecutionPlan>, ScanError> {
    plan(engine, request, Layout::new(request, Some(dictionaries))?)
}

fn plan(engine: &Engine, request: &ScanRequest<'_>, layout: Layout) -> Result<Arc<dyn ExecutionPlan>, ScanError> {
    if request.files.is_empty() {
        return Ok(Arc::new(EmptyExec::new(layout.output)));
    }
    if request.format == Format::Hudi && request.files.iter().any(|file| file.has_deletes) {
        return plan_slices(engine, request, layout);
    }
    let files = request.files.iter().map(|file| layout.file(request, file)).collect::<Result<Vec<_>, _>>()?;
    let files = split(files, engine.settings().concurrency);
    let config = config(engine, request, &layout, groups(files, engine.settings().concurrency))?;
    Ok(DataSourceExec::from_data_source(config.build()))
}

fn config(
    engine: &Engine,
    request: &ScanRequest<'_>,
    layout: &Layout,
    groups: Vec<FileGroup>,
) -> Result<FileScanConfigBuilder, ScanError> {
    let plan = |source| ScanError::Plan { source };
    let url = engine.register(request.storage.store()).map_err(plan)?;
    Ok(FileScanConfigBuilder::new(url, layout.source(request).map_err(plan)?)
        .with_file_groups(groups)
        .with_expr_adapter(Some(Arc::new(adapter::FileOrAdapterFactory))))
}

/// As [`plan`], of Hudi's files of which some are slices with log files.
fn plan_slices(engine: &Engine, request: &ScanRequest<'_>, layout: Layout) -> Result<Arc<dyn ExecutionPlan>, ScanError> {
    let output = Arc::clone(&layout.output);
    let (slices, plain): (Vec<_>, Vec<_>) = request.files.iter().cloned().partition(|file| file.has_deletes);
    let plain = match plain.is_empty() {
        true => None,
        false => Some(plan(engine, &ScanRequest { files: &plain, ..*request }, layout)?),
    };
    crate::hudi::plan(engine, request, &slices, &output, plain)
}

/// The refusal inside an error of a scan's stream, if it is one; other errors are the store's or the file's.
pub fn refusal(error: &DataFusionError) -> Option<&ScanError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<ScanError>() {
            return Some(refusal);
        }
        cause = match error.downcast_ref::<parquet::errors::ParquetError>() {
            Some(parquet::errors::ParquetError::External(inner)) => Some(inner.as_ref()),
            _ => error.source(),
        };
    }
    None
}

/// How a snapshot's columns come out of its files.
struct Layout {
    /// The files' columns, partition columns of the path included when the format reads them from files.
    file: SchemaRef,
    /// Partition values and defaults as columns of their own: the spec's identity fields in their order, then the columns
    /// that have a default.
    constants: Vec<FieldRef>,
    /// What those are.
    constant_values: Vec<Constant>,
    /// For each logical column: where from.
    origins: Vec<Origin>,
    /// The logical schema.
    output: SchemaRef,
    absent: Absent,
}

/// No row group is skipped by what a file says of itself: a source whose statistics are wrong would lose rows.
///
/// INT96, where it is let through, is read as Spark means it: an instant; in microseconds, which hold the whole range.
fn unpruned() -> TableParquetOptions {
    let mut options = TableParquetOptions::default();
    options.global.coerce_int96 = Some("us".to_owned());
    options.global.coerce_int96_tz = Some("UTC".to_owned());
    options.global.pruning = false;
    options.global.enable_page_index = false;
    options.global.bloom_filter_on_read = false;
    options
}

impl Layout {
    /// With `dictionaries`, texts and bytes that are read from files come in compact types.
    fn new(request: &ScanRequest<'_>, dictionaries: Option<&BTreeSet<String>>) -> Result<Self, ScanError> {
        let schema = &request.snapshot.schema;
        let output = types::arrow_schema(schema)?;
        let identity = identity_fields(request.snapshot)?;
        let (mut constants, mut constant_values) = (Vec::new(), Vec::new());
        let mut constant_of = HashMap::new();
        for (position, field) in identity {
            let column = output.field_with_name(&field.column).map_err(|_| missing_column(field))?;
            constant_of.insert(field.column.as_str(), constants.len());
            // A name that no file's column can have.
            let name = format!("\u{0}partition {}", field.name);
            constants.push(Arc::new(
                ArrowField::new(name, column.data_type().clone(), true).with_metadata(column.metadata().clone()),
            ));
            constant_values.push(Constant::Partition(position));
        }
        // A file's own partition value comes before the table's default.
        for (name, value) in &request.snapshot.defaults {
            let Ok(column) = output.field_with_name(name) else { continue };
            if constant_of.contains_key(name.as_str()) {
                continue;
            }
            constant_of.insert(name.as_str(), constants.len());
            constant_values.push(Constant::Default(types::scalar(Some(value), column.data_type())?));
            let constant = ArrowField::new(format!("\u{0}default {name}"), column.data_type().clone(), true);
            constants.push(Arc::new(constant.with_metadata(column.metadata().clone())));
        }
        let origin = |field: &Field| match (constant_of.get(field.name.as_str()), request.format) {
            (None, _) => Origin::File,
            (Some(constant), Format::Iceberg) => Origin::FileOr(*constant),
            // A table whose files lack the column; one that has it was written before.
            (Some(constant), Format::Hudi) => Origin::FileOr(*constant),
            // The path is authoritative for Hive and the log for Delta, whatever a file may say.
            (Some(constant), Format::Hive | Format::Delta) => Origin::Constant(*constant),
        };
        let origins = schema.fields.iter().map(origin).collect::<Vec<_>>();
        let output = match dictionaries {
            Some(dictionaries) => layout::compact(&output, &origins, dictionaries),
            None => output,
        };
        let file = file_columns(&output, &origins);
        Ok(Self { file, constants, constant_values, origins, output, absent: Absent::Filled })
    }

    fn source(&self, request: &ScanRequest<'_>) -> Result<Arc<dyn FileSource>, DataFusionError> {
        let table = ScanSchema::builder(Arc::clone(&self.file)).with_table_partition_cols(self.constants.clone()).build();
        let projection = self.projection(request, &table)?;
        let store = DefaultParquetFileReaderFactory::new(Arc::clone(request.storage.store()));
        let expected = footer::Expected {
            columns: Arc::clone(&self.file),
            required: self.required(),
            names: names::Names::new(request.format, request.snapshot),
            int96: request.snapshot.int96_is_instant(request.format),
        };
        let readers = footer::CheckedReaderFactory::new(store, expected);
        let source = ParquetSource::new(table)
            .with_table_parquet_options(unpruned())
            .with_metadata_size_hint(FOOTER_READ_BYTES)
            .with_parquet_file_reader_factory(Arc::new(readers));
        match source.try_pushdown_projection(&projection)? {
            Some(source) => Ok(source),
            None => Err(DataFusionError::Internal("the Parquet source takes every projection".to_owned())),
        }
    }

    /// For each column of `file`: whether a file must have it.
    fn required(&self) -> Vec<bool> {
        let in_file =
            self.origins.iter().zip(self.output.fields()).filter(|(origin, _)| !matches!(origin, Origin::Constant(_)));
        let needed = |(origin, field): (&Origin, &FieldRef)| {
            self.absent == Absent::Refused || (*origin == Origin::File && !field.is_nullable())
        };
        in_file.map(needed).collect()
    }

    fn projection(&self, request: &ScanRequest<'_>, table: &ScanSchema) -> Result<ProjectionExprs, DataFusionError> {
        let schema = table.table_schema();
        let column = |name: &str| -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
            Ok(Arc::new(Column::new_with_schema(name, schema)?))
        };
        let constant = |index: usize| column(self.constants[index].name());
        let mut expressions = Vec::with_capacity(self.origins.len());
        for ((origin, field), target) in self.origins.iter().zip(&request.snapshot.schema.fields).zip(self.output.fields()) {
            let expr = match origin {
                Origin::File => column(&field.name)?,
                Origin::Constant(index) => constant(*index)?,
                Origin::FileOr(index) => {
                    let file = column(&field.name)?;
                    Arc::new(adapter::FileOr::new(file, constant(*index)?, Arc::clone(target)))
                }
            };
            expressions.push(ProjectionExpr { expr, alias: field.name.clone() });
        }
        Ok(ProjectionExprs::new(expressions))
    }

    fn file(&self, request: &ScanRequest<'_>, file: &FileEntry) -> Result<PartitionedFile, ScanError> {
        let location = request.storage.resolve(&file.path)?;
        let e_tag = None;
        let meta = ObjectMeta { location, last_modified: Default::default(), size: file.size_bytes, e_tag, version: None };
        let opened = PartitionedFile::new_from_meta(meta).with_partition_values(self.values(file)?);
        let path = file.path.clone();
        if !file.has_deletes {
            return Ok(opened.with_extension(footer::Recorded { path, rows: file.rows }));
        }
        let refused = |reason| ScanError::Deletes { file: file.path.clone(), reason };
        let deleted = request.deletes.get(&file.path).ok_or_else(|| refused("the table does not tell which rows"))?;
        let rows = match (deleted.file_rows(), file.rows) {
            (Some(rows), _) => rows,
            (None, Some(left)) => left.checked_add(deleted.count()).ok_or_else(|| refused("it claims too many rows"))?,
            (None, None) => return Err(refused("the table does not tell how many rows it has")),
        };
        let selection = survivors(deleted, rows).ok_or_else(|| refused("they are of rows that it does not have"))?;
        Ok(opened
            .with_extension(footer::Recorded { path, rows: Some(rows) })
            .with_extension(ParquetRowSelection::new(selection)))
    }

    fn values(&self, file: &FileEntry) -> Result<Vec<ScalarValue>, ScanError> {
        let refused = |reason: String| ScanError::Partition { file: file.path.clone(), reason };
        let value = |(constant, field): (&Constant, &FieldRef)| {
            let position = match constant {
                Constant::Partition(position) => position,
                Constant::Default(value) => return Ok(value.clone()),
            };
            let value = file
                .partition
                .get(*position)
                .ok_or_else(|| refused("it has fewer values than the spec has fields".to_owned()))?;
            types::scalar(value.as_ref(), field.data_type()).map_err(|error| refused(error.to_string()))
        };
        self.constant_values.iter().zip(&self.constants).map(value).collect()
    }
}

/// The rows of a file that are left; `None` if rows are deleted that it does not have.
fn survivors(deleted: &DeletedRows, rows: u64) -> Option<RowSelection> {
    let (mut kept, mut next) = (Vec::with_capacity(deleted.ranges().len() + 1), 0);
    for range in deleted.ranges() {
        kept.push(usize::try_from(next).ok()?..usize::try_from(range.start).ok()?);
        next = range.end;
    }
    let rows = usize::try_from(rows).ok()?;
    let next = usize::try_from(next).ok().filter(|next| *next <= rows)?;
    kept.push(next..rows);
    Some(RowSelection::from_consecutive_ranges(kept.into_iter().filter(|range| !range.is_empty()), rows))
}

fn identity_fields(snapshot: &Snapshot) -> Result<Vec<(usize, &PartitionField)>, ScanError> {
    let fields = snapshot.partition.fields.iter().enumerate();
    let identity = fields.filter(|(_, field)| field.transform == Transform::Identity).collect::<Vec<_>>();
    match identity.iter().find(|(_, field)| snapshot.schema.field(&field.column).is_none()) {
        Some((_, field)) => Err(missing_column(field)),
        None => Ok(identity),
    }
}

fn missing_column(field: &PartitionField) -> ScanError {
    ScanError::PartitionColumn { field: field.name.clone(), column: field.column.clone() }
}

/// The columns that are read from files.
fn file_columns(output: &Schema, origins: &[Origin]) -> SchemaRef {
    let mut columns: Vec<FieldRef> = Vec::new();
    for (target, origin) in output.fields().iter().zip(origins) {
        if !matches!(origin, Origin::Constant(_)) {
            // A column that may come from the path instead may be absent from the file.
            let nullable = target.is_nullable() || *origin != Origin::File;
            columns.push(Arc::new(target.as_ref().clone().with_nullable(nullable)));
        }
    }
    Arc::new(Schema::new(columns))
}

/// Divides files that are more than a fair share for one of `concurrency` readers into ranges of bytes: a row group is
/// read by the reader in whose range it begins.
fn split(files: Vec<PartitionedFile>, concurrency: usize) -> Vec<PartitionedFile> {
    let bytes: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let share = (bytes / (concurrency.max(1) as u64 * SHARES_PER_READER)).max(SPLIT_BYTES_MIN);
    let ranges = |file: PartitionedFile| {
        let size = file.object_meta.size;
        // A selection is of the rows of a whole file.
        let whole = file.extension::<ParquetRowSelection>().is_some();
        let parts = if whole { 1 } else { size.div_ceil(share).max(1) };
        let bound = move |part: u64| (u128::from(size) * u128::from(part) / u128::from(parts)) as i64;
        (0..parts).map(move |part| match parts {
            1 => file.clone(),
            _ => file.clone().with_range(bound(part), bound(part + 1)),
        })
    };
    files.into_iter().flat_map(ranges).collect()
}

/// Spreads files over at most `concurrency` groups of about equal size, larger files first.
fn groups(mut files: Vec<PartitionedFile>, concurrency: usize) -> Vec<FileGroup> {
    files.sort_by(|a, b| bytes_of(b).cmp(&bytes_of(a)).then_with(|| a.object_meta.location.cmp(&b.object_meta.location)));
    let mut groups = vec![(0_u64, Vec::new()); concurrency.clamp(1, files.len().max(1))];
    for file in files {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += bytes_of(&file).max(1);
            group.push(file);
        }
    }
    groups.into_iter().map(|(_, group)| FileGroup::new(group)).collect()
}

fn bytes_of(file: &PartitionedFile) -> u64 {
    file.range.as_ref().map_or(file.object_meta.size, |range| (range.end - range.start).unsigned_abs())
}

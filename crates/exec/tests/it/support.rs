//! Two tables in memory, compared end to end: schema check, fingerprints, verdict, row difference.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType as ArrowType, TimeUnit as ArrowUnit};
use async_trait::async_trait;
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use lakeshift_core::equivalence::{
    AcceptRule, CellSide, Comparison, Encoding, Findings, Fingerprint, FingerprintShape, RowDiff, SchemaCheck, Tolerance,
    ValidationKey, Verdict, common_refinement, compare, compare_schemas, judge,
};
use lakeshift_core::migration::Side;
use lakeshift_core::partition::{PartitionField, PartitionSpec};
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::spec::ColumnRule;
use lakeshift_exec::diff::{DiffError, DiffRequest, ExportTarget, Masking, SideReader, diff};
use lakeshift_exec::engine::Engine;
use lakeshift_exec::fingerprint::{FingerprintError, FingerprintRequest, fingerprint};

pub const KEY: [u8; 16] = *b"0123456789abcdef";

/// A table: its batches stand for files, each read by its own stream.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub files: Vec<RecordBatch>,
    pub partition: PartitionSpec,
}

impl Table {
    pub fn new(columns: Vec<(&str, ArrayRef)>) -> Self {
        let nullable = columns.into_iter().map(|(name, array)| (name, array, true));
        Self { files: vec![RecordBatch::try_from_iter_with_nullable(nullable).unwrap()], ..Self::default() }
    }

    pub fn partitioned_by(mut self, fields: Vec<PartitionField>) -> Self {
        self.partition = PartitionSpec { fields };
        self
    }

    /// The same rows in files of `rows` rows.
    pub fn split(&self, rows: usize) -> Self {
        let slices = |file: &RecordBatch| {
            let starts: Vec<usize> = (0..file.num_rows()).step_by(rows).collect();
            starts.into_iter().map(|start| file.slice(start, rows.min(file.num_rows() - start))).collect::<Vec<_>>()
        };
        Self { files: self.files.iter().flat_map(slices).collect(), ..self.clone() }
    }

    pub fn schema(&self) -> TableSchema {
        let schema = self.files[0].schema();
        let field =
            |field: &Arc<arrow::datatypes::Field>| Field::new(field.name().clone(), logical(field.data_type()), true);
        TableSchema { fields: schema.fields().iter().map(field).collect() }
    }
}

/// The logical types of the Arrow types that these tests use.
fn logical(arrow: &ArrowType) -> DataType {
    match arrow {
        ArrowType::Boolean => DataType::Boolean,
        ArrowType::Int32 => DataType::Int32,
        ArrowType::Int64 => DataType::Int64,
        ArrowType::UInt64 => DataType::UInt64,
        ArrowType::Float32 => DataType::Float32,
        ArrowType::Float64 => DataType::Float64,
        ArrowType::Decimal128(precision, scale) => DataType::Decimal { precision: *precision, scale: *scale as u8 },
        ArrowType::Date32 => DataType::Date,
        ArrowType::Timestamp(unit, zone) => {
            let unit = if *unit == ArrowUnit::Nanosecond { TimeUnit::Nanos } else { TimeUnit::Micros };
            DataType::Timestamp { unit, utc: zone.is_some() }
        }
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => DataType::String,
        ArrowType::Dictionary(_, value) => logical(value),
        ArrowType::List(element) => {
            DataType::List { element: Box::new(Field::new("element", logical(element.data_type()), true)) }
        }
        other => panic!("these tests do not use {other}"),
    }
}

pub struct Compared {
    pub schema: SchemaCheck,
    pub comparison: Comparison,
    pub verdict: Verdict,
    pub shape: FingerprintShape,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub renames: BTreeMap<String, String>,
    pub encoding: Encoding,
    pub cells_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { renames: BTreeMap::new(), encoding: Encoding::default(), cells_max: 1000 }
    }
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap().block_on(future)
}

pub fn compared(old: &Table, new: &Table) -> Compared {
    compared_with(old, new, &Options::default())
}

pub fn compared_with(old: &Table, new: &Table, options: &Options) -> Compared {
    let (old_schema, new_schema) = (old.schema(), new.schema());
    let schema = compare_schemas(&old_schema, &new_schema, &options.renames);
    let pairs = schema.compared();
    let refinement = common_refinement(
        CellSide { schema: &old_schema, partition: &old.partition },
        CellSide { schema: &new_schema, partition: &new.partition },
        &pairs,
    );
    let shape = FingerprintShape {
        encoding: options.encoding,
        key: ValidationKey::new(KEY),
        columns: pairs.iter().map(|pair| pair.new.clone()).collect(),
        fields: refinement.fields,
    };
    let old_columns = pairs.iter().map(|pair| pair.old.clone()).collect();
    let old_print = take(old, shape.clone(), old_columns, options.cells_max).unwrap();
    let new_print = take(new, shape.clone(), shape.columns.clone(), options.cells_max).unwrap();
    let comparison = compare(&old_print, &new_print).unwrap();
    let verdict =
        judge(&Findings { schema: &schema, comparison: Some(&comparison), rows: None, proven: &[], obstacles: &[] });
    Compared { schema, comparison, verdict, shape }
}

pub fn take(
    table: &Table,
    shape: FingerprintShape,
    columns: Vec<String>,
    cells_max: usize,
) -> Result<Fingerprint, FingerprintError> {
    let request = FingerprintRequest { shape, columns, cells_max, parallel_max: 2 };
    run(fingerprint(request, streams(table)))
}

pub fn streams(table: &Table) -> Vec<SendableRecordBatchStream> {
    let stream = |file: &RecordBatch| -> SendableRecordBatchStream {
        Box::pin(RecordBatchStreamAdapter::new(file.schema(), futures::stream::iter([Ok(file.clone())])))
    };
    table.files.iter().map(stream).collect()
}

/// Both sides of a difference in memory. The new side is opened when the old one was read.
pub struct InMemory<'a> {
    pub old: &'a Table,
    pub new: &'a Table,
}

#[async_trait]
impl SideReader for InMemory<'_> {
    async fn open(&self, side: Side) -> Result<Vec<SendableRecordBatchStream>, DataFusionError> {
        Ok(streams(if side == Side::Old { self.old } else { self.new }))
    }
}

/// The day of all differences.
pub const TODAY: NaiveDate = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();

#[derive(Clone)]
pub struct DiffOptions<'a> {
    pub key: &'a [&'a str],
    pub tolerances: Vec<(&'a str, ColumnRule)>,
    pub accept: Vec<AcceptRule>,
    pub export: Option<ExportTarget<'a>>,
    pub masking: Masking,
    pub memory_bytes: u64,
    pub sample_rows_max: usize,
}

impl Default for DiffOptions<'_> {
    fn default() -> Self {
        Self {
            key: &[],
            tolerances: Vec::new(),
            accept: Vec::new(),
            export: None,
            masking: Masking::Shown,
            memory_bytes: 1 << 20,
            sample_rows_max: 20,
        }
    }
}

pub fn row_diff(old: &Table, new: &Table, options: &DiffOptions<'_>) -> Result<RowDiff, DiffError> {
    let compared = compared(old, new);
    row_diff_of(&compared, old, new, options)
}

pub fn row_diff_of(compared: &Compared, old: &Table, new: &Table, options: &DiffOptions<'_>) -> Result<RowDiff, DiffError> {
    let engine = Engine::builder().build().unwrap();
    run(sendable(diff(&diff_request(&engine, compared, options), &InMemory { old, new })))
}

/// A future that a multi-threaded runtime may move between threads.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

pub fn diff_request<'a>(engine: &'a Engine, compared: &'a Compared, options: &DiffOptions<'a>) -> DiffRequest<'a> {
    let pairs = compared.schema.compared();
    let rule = |column: &String| options.tolerances.iter().find(|(name, _)| name == column).map(|(_, rule)| rule);
    let tolerance = |column: &String| rule(column).and_then(Tolerance::of);
    DiffRequest {
        engine,
        shape: compared.shape.clone(),
        comparison: &compared.comparison,
        key: options.key.iter().map(|&column| column.to_owned()).collect(),
        old_columns: pairs.iter().map(|pair| pair.old.clone()).collect(),
        new_columns: pairs.iter().map(|pair| pair.new.clone()).collect(),
        tolerances: compared.shape.columns.iter().map(tolerance).collect(),
        accept: options.accept.clone(),
        today: TODAY,
        export: options.export,
        sample_rows_max: options.sample_rows_max,
        masking: options.masking,
        memory_bytes: options.memory_bytes,
    }
}

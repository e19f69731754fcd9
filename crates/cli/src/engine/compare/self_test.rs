//! Do the configured checks find what they are for? Rows are changed in memory, and each change must be found.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt64Array,
};
use datafusion::arrow::compute::{cast, concat_batches, take};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use lakeshift_core::equivalence::{
    Encoding, Findings, Fingerprint, FingerprintShape, ValidationKey, compare, compare_schemas, judge,
};
use lakeshift_core::migration::Side;
use lakeshift_exec::diff::{DiffRequest, Masking, SideReader, diff};
use lakeshift_exec::fingerprint::{FingerprintRequest, fingerprint};
use serde::Serialize;

use super::columns::Columns;
use super::read::SideReading;
use super::{CELLS_MAX, Pinned, Request, columns};
use crate::error::Error;

/// Rows that are changed at most.
const ROWS_MAX: usize = 1000;

/// One kind of change and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// What was changed.
    pub mutation: &'static str,
    /// The column in which, where it is one.
    pub column: Option<String>,
    /// The checks that found it; `None` where the rows have nothing to be changed so.
    pub caught_by: Option<Vec<&'static str>>,
}

impl Trial {
    /// Whether the change was made and nothing found it.
    pub fn is_missed(&self) -> bool {
        self.caught_by.as_ref().is_some_and(Vec::is_empty)
    }
}

/// Changes copies of some rows of the new table, one kind of change at a time, and compares them with the rows as they
/// are by the spec's rules.
///
/// # Errors
/// Rows that cannot be read, rules that cannot be applied.
pub async fn self_test(request: &Request<'_>, old: &Pinned<'_>, new: &Pinned<'_>) -> Result<Vec<Trial>, Error> {
    let columns = columns::plan(request.engine, request.settings, old, new).await?;
    let side = SideReading::new(request.engine, new.table, new, Side::New, columns.new.clone()).await?;
    let rows = some_rows(&side, new).await?;
    let bench = Bench { request, columns: &columns, side: &side };
    let mut trials = Vec::new();
    for (mutation, change) in MUTATIONS {
        let changed = change(&rows, &request.settings.key).map_err(arrow)?;
        trials.push(match changed {
            None => Trial { mutation, column: None, caught_by: None },
            Some(Changed { column, before, after }) => {
                let caught_by = bench.caught_by(before.as_ref().unwrap_or(&rows), &after).await?;
                Trial { mutation, column, caught_by: Some(caught_by) }
            }
        });
    }
    Ok(trials)
}

fn arrow(error: ArrowError) -> Error {
    Error::Query { source: DataFusionError::ArrowError(Box::new(error), None) }
}

async fn some_rows(side: &SideReading<'_>, new: &Pinned<'_>) -> Result<RecordBatch, Error> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    for file in &new.files {
        for mut stream in side.raw(std::slice::from_ref(file)).await? {
            while let Some(batch) = stream.try_next().await.map_err(|source| Error::Query { source })? {
                batches.push(batch);
                if batches.iter().map(RecordBatch::num_rows).sum::<usize>() >= ROWS_MAX {
                    break;
                }
            }
        }
        if batches.iter().map(RecordBatch::num_rows).sum::<usize>() >= ROWS_MAX {
            break;
        }
    }
    let Some(first) = batches.first().filter(|_| batches.iter().any(|batch| batch.num_rows() > 1)) else {
        let reason = "the new table has no two rows to change: backfill first".to_owned();
        return Err(Error::Argument { text: "--self-test".to_owned(), reason });
    };
    let all = concat_batches(&first.schema(), &batches).map_err(arrow)?;
    Ok(all.slice(0, all.num_rows().min(ROWS_MAX)))
}

/// A change that was made.
struct Changed {
    column: Option<String>,
    /// The rows before it, where they are not the table's.
    before: Option<RecordBatch>,
    after: RecordBatch,
}

type Mutation = fn(&RecordBatch, &[String]) -> Result<Option<Changed>, ArrowError>;

const MUTATIONS: [(&str, Mutation); 7] = [
    ("a row is dropped", |rows, _| pick(rows, (1..rows.num_rows()).collect())),
    ("a row stands twice", |rows, _| pick(rows, (0..rows.num_rows()).chain([0]).collect())),
    ("values of two rows are swapped", |rows, key| swap(rows, |name| !key.contains(name))),
    ("keys of two rows are swapped", |rows, key| swap(rows, |name| key.contains(name))),
    ("a float is the next one", next_float),
    ("NULL is the empty text", null_for_empty),
    ("a time is an hour later", hour_later),
];

fn pick(rows: &RecordBatch, order: Vec<usize>) -> Result<Option<Changed>, ArrowError> {
    let order = UInt64Array::from_iter_values(order.into_iter().map(|row| row as u64));
    let columns = rows.columns().iter().map(|column| take(column, &order, None)).collect::<Result<Vec<_>, _>>()?;
    let after = RecordBatch::try_new(rows.schema(), columns)?;
    Ok(Some(Changed { column: None, before: None, after }))
}

/// Swaps the first two values that differ, in the first column that has such and that `wanted` takes.
fn swap(rows: &RecordBatch, wanted: impl Fn(&String) -> bool) -> Result<Option<Changed>, ArrowError> {
    for (index, _) in rows.schema().fields().iter().enumerate().filter(|(_, field)| wanted(field.name())) {
        let column = rows.column(index);
        let same = |row: usize| column.slice(0, 1).to_data() == column.slice(row, 1).to_data();
        // Only where the rest of the rows differs too does a swap change the rows as a bag.
        let rest = |row: usize| {
            let others = (0..rows.num_columns()).filter(|other| *other != index);
            others
                .into_iter()
                .any(|other| rows.column(other).slice(0, 1).to_data() != rows.column(other).slice(row, 1).to_data())
        };
        let Some(other) = (1..rows.num_rows()).find(|row| !same(*row) && rest(*row)) else { continue };
        let mut order: Vec<u64> = (0..rows.num_rows() as u64).collect();
        order.swap(0, other);
        let swapped = take(column, &UInt64Array::from(order), None)?;
        return replaced(rows, index, swapped).map(Some);
    }
    Ok(None)
}

fn replaced(rows: &RecordBatch, index: usize, column: ArrayRef) -> Result<Changed, ArrowError> {
    let mut columns = rows.columns().to_vec();
    columns[index] = column;
    let schema = rows.schema();
    let fields = schema.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
    let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
    let name = schema.field(index).name().clone();
    Ok(Changed { column: Some(name), before: None, after: RecordBatch::try_new(schema, columns)? })
}

/// The first column of a type and a row of it that is not null.
fn column_of(rows: &RecordBatch, wanted: impl Fn(&DataType) -> bool) -> Option<(usize, usize)> {
    let columns = rows.columns().iter().enumerate().filter(|(_, column)| wanted(column.data_type()));
    columns
        .into_iter()
        .find_map(|(index, column)| (0..column.len()).find(|row| !column.is_null(*row)).map(|row| (index, row)))
}

fn next_float(rows: &RecordBatch, _: &[String]) -> Result<Option<Changed>, ArrowError> {
    let Some((index, row)) = column_of(rows, |t| matches!(t, DataType::Float32 | DataType::Float64)) else {
        return Ok(None);
    };
    let column = rows.column(index);
    let bumped: ArrayRef = match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>().iter().enumerate();
            let next =
                |(at, value): (usize, Option<f32>)| value.map(|value| if at == row { value.next_up() } else { value });
            Arc::new(values.map(next).collect::<Float32Array>())
        }
        _ => {
            let values = column.as_primitive::<Float64Type>().iter().enumerate();
            let next =
                |(at, value): (usize, Option<f64>)| value.map(|value| if at == row { value.next_up() } else { value });
            Arc::new(values.map(next).collect::<Float64Array>())
        }
    };
    replaced(rows, index, bumped).map(Some)
}

fn null_for_empty(rows: &RecordBatch, _: &[String]) -> Result<Option<Changed>, ArrowError> {
    let Some((index, row)) = column_of(rows, |t| *t == DataType::Utf8) else { return Ok(None) };
    let values = rows.column(index).as_string::<i32>();
    let with = |put: Option<&'static str>| -> ArrayRef {
        let all = values.iter().enumerate().map(|(at, value)| if at == row { put } else { value });
        Arc::new(all.collect::<StringArray>())
    };
    let before = replaced(rows, index, with(Some("")))?.after;
    Ok(Some(Changed { before: Some(before), ..replaced(rows, index, with(None))? }))
}

fn hour_later(rows: &RecordBatch, _: &[String]) -> Result<Option<Changed>, ArrowError> {
    let Some((index, row)) = column_of(rows, |t| matches!(t, DataType::Timestamp(..))) else { return Ok(None) };
    let column = rows.column(index);
    let DataType::Timestamp(unit, _) = column.data_type() else { return Ok(None) };
    let hour = 3600
        * match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
    let values = cast(column, &DataType::Int64)?;
    let values = values.as_primitive::<Int64Type>().iter().enumerate();
    let later = values.map(|(at, value)| value.map(|value| if at == row { value.wrapping_add(hour) } else { value }));
    let later: ArrayRef = Arc::new(later.collect::<datafusion::arrow::array::Int64Array>());
    replaced(rows, index, cast(&later, column.data_type())?).map(Some)
}

/// Where changed rows are compared with the ones they were.
struct Bench<'a> {
    request: &'a Request<'a>,
    columns: &'a Columns,
    side: &'a SideReading<'a>,
}

impl Bench<'_> {
    /// The checks that tell the two apart, as long as the verdict does.
    async fn caught_by(&self, before: &RecordBatch, after: &RecordBatch) -> Result<Vec<&'static str>, Error> {
        let (old, new) = (self.print(before).await?, self.print(after).await?);
        let comparison = compare(&old, &new)?;
        let rows = match comparison.differences.is_empty() {
            true => None,
            false => Some(self.diff(&old, &comparison, before, after).await?),
        };
        // The schema is the same on both sides: only the rows are judged.
        let schema =
            lakeshift_core::schema::TableSchema { fields: self.columns.names.iter().map(|name| field(name)).collect() };
        let verdict = judge(&Findings {
            schema: &compare_schemas(&schema, &schema, &BTreeMap::new()),
            comparison: Some(&comparison),
            proven: &[],
            rows: rows.as_ref(),
            obstacles: &[],
        });
        if verdict.exit_code() == 0 {
            return Ok(Vec::new());
        }
        let mut checks = Vec::new();
        if comparison.old.rows != comparison.new.rows {
            checks.push("row counts");
        }
        if !comparison.differences.is_empty() {
            checks.push("fingerprints");
        }
        if rows.is_some_and(|rows| rows.total() > 0) {
            checks.push("rows");
        }
        Ok(checks)
    }

    fn shape(&self) -> FingerprintShape {
        FingerprintShape {
            encoding: Encoding {
                float_zeros: self.request.settings.float_zeros,
                map_order: self.request.settings.map_order,
                ..Encoding::default()
            },
            key: ValidationKey::new([0; 16]),
            columns: self.columns.names.clone(),
            fields: self.columns.refinement.fields.clone(),
        }
    }

    async fn print(&self, rows: &RecordBatch) -> Result<Fingerprint, Error> {
        let request = FingerprintRequest {
            shape: self.shape(),
            columns: self.columns.names.clone(),
            cells_max: CELLS_MAX,
            parallel_max: 1,
        };
        Ok(fingerprint(request, self.side.staged(rows.clone()).await?).await?)
    }

    async fn diff(
        &self,
        old: &Fingerprint,
        comparison: &lakeshift_core::equivalence::Comparison,
        before: &RecordBatch,
        after: &RecordBatch,
    ) -> Result<lakeshift_core::equivalence::RowDiff, Error> {
        let settings = self.request.settings;
        let request = DiffRequest {
            engine: self.request.engine,
            shape: old.shape().clone(),
            comparison,
            key: settings.key.clone(),
            old_columns: self.columns.names.clone(),
            new_columns: self.columns.names.clone(),
            tolerances: self.columns.tolerances.clone(),
            accept: settings.accept.clone(),
            today: self.request.today,
            export: None,
            sample_rows_max: 0,
            masking: Masking::Tokens { secret: ValidationKey::new([0; 16]) },
            memory_bytes: self.request.memory_bytes,
        };
        Ok(diff(&request, &InMemory { side: self.side, rows: [before.clone(), after.clone()] }).await?)
    }
}

fn field(name: &str) -> lakeshift_core::schema::Field {
    lakeshift_core::schema::Field::new(name, lakeshift_core::schema::DataType::String, true)
}

/// Rows before and after, through the spec's rules.
struct InMemory<'a> {
    side: &'a SideReading<'a>,
    rows: [RecordBatch; 2],
}

#[async_trait]
impl SideReader for InMemory<'_> {
    async fn open(&self, side: Side) -> Result<Vec<SendableRecordBatchStream>, DataFusionError> {
        let rows = self.rows[usize::from(side == Side::New)].clone();
        self.side.staged(rows).await.map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

//! Shadow reads: a query of the readers, asked of two tables that should answer alike.
//!
//! [`split`] takes a file of queries apart, [`ask`] runs one over a scan, and [`Reply::compare`] tells whether two replies are
//! the same bag of rows. Floating-point numbers may differ by a tolerance, because their sums depend on the order in which
//! files are read; everything else must be equal. No value of a row leaves this module but [`Reply::is_true`].

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::datasource::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use datafusion::sql::parser::DFParser;
use futures::TryStreamExt;

use crate::engine::Engine;
use crate::logic::PlanTable;
use crate::query::planned;

/// Rows that a reply may have: both replies are held in memory.
pub const ROWS_MAX: usize = 1_000_000;

/// Why a query has no reply.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// It does not parse, or cannot be planned over the table.
    #[error("{query} cannot be run: {message}; correct the query")]
    Sql {
        /// The query's name.
        query: String,
        /// What is wrong.
        message: String,
    },
    /// More rows than are compared.
    #[error("{query} gives more than {ROWS_MAX} rows, which are not compared; aggregate, or add a condition")]
    Large {
        /// The query's name.
        query: String,
    },
    /// The engine failed.
    #[error("{query} could not be run to its end: {reason}")]
    Run {
        /// The query's name.
        query: String,
        /// The cause, without a value of a row.
        reason: String,
    },
    /// Replies that no order can be found for.
    #[error("the replies to {query} cannot be compared: a column's values have no type that holds them all, or no order")]
    Compare {
        /// The query's name.
        query: String,
    },
}

/// One query of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowQuery {
    /// `query 1` and so on.
    pub name: String,
    /// One statement.
    pub sql: String,
}

/// The statements of `text`, which stand between semicolons.
///
/// # Errors
/// [`ShadowError::Sql`] where it does not parse.
pub fn split(text: &str) -> Result<Vec<ShadowQuery>, ShadowError> {
    let wrong = |error: DataFusionError| ShadowError::Sql { query: "the file".to_owned(), message: error.strip_backtrace() };
    let statements = DFParser::parse_sql(text).map_err(wrong)?;
    let query =
        |(index, statement): (usize, _)| ShadowQuery { name: format!("query {}", index + 1), sql: format!("{statement}") };
    Ok(statements.into_iter().enumerate().map(query).collect())
}

/// What a query gave.
#[derive(Debug, Clone)]
pub struct Reply {
    rows: RecordBatch,
}

/// How two replies differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Their columns have other names or another order.
    Columns {
        /// The old reply's.
        old: Vec<String>,
        /// The new reply's.
        new: Vec<String>,
    },
    /// A column has types of which neither holds the other's values.
    Type {
        /// The column.
        column: String,
        /// Its type in the old reply.
        old: String,
        /// Its type in the new reply.
        new: String,
    },
    /// Some rows are not the same.
    Rows {
        /// Rows that only the old reply has.
        only_old: u64,
        /// Rows that only the new reply has.
        only_new: u64,
        /// Rows that differ only in floating-point numbers, by more than the tolerance.
        apart: u64,
    },
}

/// Runs `query` over a table of the name `table`, whose rows are those of `plans`.
///
/// # Errors
/// [`ShadowError`].
pub async fn ask(
    engine: &Engine,
    query: &ShadowQuery,
    table: &str,
    plans: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Reply, ShadowError> {
    let wrong = |error: DataFusionError| ShadowError::Sql { query: query.name.clone(), message: error.strip_backtrace() };
    let failed = |error: DataFusionError| ShadowError::Run { query: query.name.clone(), reason: reason(&error) };
    let rows = match <[_; 1]>::try_from(plans) {
        Ok([plan]) => plan,
        Err(plans) => UnionExec::try_new(plans).map_err(failed)?,
    };
    let provider: Arc<dyn TableProvider> = Arc::new(PlanTable::new(rows));
    let (session, logical) =
        Box::pin(planned(engine, &query.sql, vec![(table.to_owned(), provider)])).await.map_err(wrong)?;
    let plan = session.state().create_physical_plan(&logical).await.map_err(wrong)?;
    let schema = plan.schema();
    let mut stream = engine.execute(plan).map_err(failed)?;
    let (mut batches, mut count) = (Vec::new(), 0);
    while let Some(batch) = stream.try_next().await.map_err(failed)? {
        count += batch.num_rows();
        if count > ROWS_MAX {
            return Err(ShadowError::Large { query: query.name.clone() });
        }
        batches.push(batch);
    }
    let rows = concat_batches(&schema, &batches).map_err(|_| ShadowError::Compare { query: query.name.clone() })?;
    Ok(Reply { rows })
}

/// Why the engine failed. What fails while values are computed quotes them, and is told by its kind alone.
fn reason(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            "a value cannot be cast or computed with (it is not shown)".to_owned()
        }
        other => other.strip_backtrace(),
    }
}

impl Reply {
    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.rows.num_rows() as u64
    }

    /// Whether it is one column of booleans, at least one row, and every one true.
    pub fn is_true(&self) -> bool {
        let [column] = self.rows.columns() else { return false };
        let Some(values) = column.as_boolean_opt() else { return false };
        !values.is_empty() && values.null_count() == 0 && values.true_count() == values.len()
    }

    /// How this reply of the old table differs from the `new` one's; `None` where they are the same bag of rows. Floating-point
    /// numbers are the same when they differ by `tolerance` times the larger of both at most.
    ///
    /// # Errors
    /// [`ShadowError::Compare`] for types that cannot be ordered.
    pub fn compare(&self, new: &Self, query: &ShadowQuery, tolerance: f64) -> Result<Option<Difference>, ShadowError> {
        let (old_schema, new_schema) = (self.rows.schema(), new.rows.schema());
        let names = |schema: &SchemaRef| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        if names(&old_schema) != names(&new_schema) {
            return Ok(Some(Difference::Columns { old: names(&old_schema), new: names(&new_schema) }));
        }
        let mut types = Vec::with_capacity(old_schema.fields().len());
        for (old, new) in old_schema.fields().iter().zip(new_schema.fields()) {
            let Some(common) = common_type(old.data_type(), new.data_type()) else {
                let (old_type, new_type) = (old.data_type().to_string(), new.data_type().to_string());
                return Ok(Some(Difference::Type { column: old.name().clone(), old: old_type, new: new_type }));
            };
            types.push(common);
        }
        let compare = |_| ShadowError::Compare { query: query.name.clone() };
        let converter = RowConverter::new(exact_fields(&types)).map_err(compare)?;
        let old = Sorted::new(&self.rows, &types, &converter).map_err(compare)?;
        let new = Sorted::new(&new.rows, &types, &converter).map_err(compare)?;
        Ok(merged(&old, &new, tolerance))
    }
}

/// The type that holds every value of both; `None` where there is none that this module knows to be exact.
fn common_type(old: &DataType, new: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Decimal128, Dictionary, Float32, Float64, LargeBinary, LargeUtf8, Timestamp, Utf8, Utf8View,
    };
    if let Dictionary(_, value) = old {
        return common_type(value, new);
    }
    if let Dictionary(_, value) = new {
        return common_type(old, value);
    }
    match (old, new) {
        (Float32 | Float64, Float32 | Float64) => Some(Float64),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => Some(Utf8),
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => Some(Binary),
        (Decimal128(_, old), Decimal128(_, new)) => Some(Decimal128(38, *old.max(new))),
        (Timestamp(old, zone), Timestamp(new, other)) if zone.is_some() == other.is_some() => {
            Some(Timestamp(*old.max(new), zone.clone()))
        }
        (old, new) if old == new => Some(old.clone()),
        (old, new) if old.is_signed_integer() && new.is_signed_integer() => Some(DataType::Int64),
        _ => None,
    }
}

fn exact_fields(types: &[DataType]) -> Vec<SortField> {
    types.iter().filter(|one| **one != DataType::Float64).map(|one| SortField::new(one.clone())).collect()
}

/// A reply in an order that depends on nothing but its rows.
struct Sorted {
    /// The columns that must be equal, encoded so that equal rows have equal bytes; `None` where there are none.
    exact: Option<Rows>,
    floats: Vec<Float64Array>,
    order: Vec<usize>,
}

impl Sorted {
    fn new(rows: &RecordBatch, types: &[DataType], converter: &RowConverter) -> Result<Self, ArrowError> {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let (mut exact, mut floats): (Vec<ArrayRef>, Vec<Float64Array>) = Default::default();
        for (column, data_type) in rows.columns().iter().zip(types) {
            let column = cast_with_options(column, data_type, &strict)?;
            match data_type {
                DataType::Float64 => floats.push(column.as_primitive::<Float64Type>().clone()),
                _ => exact.push(column),
            }
        }
        let exact = if exact.is_empty() { None } else { Some(converter.convert_columns(&exact)?) };
        let mut sorted = Self { exact, floats, order: (0..rows.num_rows()).collect() };
        let mut order = std::mem::take(&mut sorted.order);
        order.sort_unstable_by(|a, b| sorted.keys(*a, &sorted, *b).then_with(|| sorted.numbers(*a, *b)));
        sorted.order = order;
        Ok(sorted)
    }

    /// How a row compares with one of `other` in the columns that must be equal.
    fn keys(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        match (&self.exact, &other.exact) {
            (Some(rows), Some(others)) => rows.row(row).cmp(&others.row(other_row)),
            _ => Ordering::Equal,
        }
    }

    fn numbers(&self, a: usize, b: usize) -> Ordering {
        let compare = |column: &Float64Array| match (number(column, a), number(column, b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        self.floats.iter().map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn are_near(&self, row: usize, other: &Self, other_row: usize, tolerance: f64) -> bool {
        let near = |(mine, its): (&Float64Array, &Float64Array)| match (number(mine, row), number(its, other_row)) {
            (None, None) => true,
            (Some(a), Some(b)) if a.is_nan() || b.is_nan() => a.is_nan() && b.is_nan(),
            // Equal infinities too, whose difference is no number.
            (Some(a), Some(b)) => a == b || (a - b).abs() <= tolerance * a.abs().max(b.abs()),
            _ => false,
        };
        self.floats.iter().zip(&other.floats).all(near)
    }
}

fn number(column: &Float64Array, row: usize) -> Option<f64> {
    column.is_valid(row).then(|| column.value(row))
}

/// Walks both in their order.
fn merged(old: &Sorted, new: &Sorted, tolerance: f64) -> Option<Difference> {
    let (mut only_old, mut only_new, mut apart) = (0, 0, 0);
    let (mut left, mut right) = (old.order.iter().peekable(), new.order.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => old.keys(**a, new, **b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let mine = if order.is_le() { left.next() } else { None };
        let its = if order.is_ge() { right.next() } else { None };
        match (mine, its) {
            (Some(a), Some(b)) => apart += u64::from(!old.are_near(*a, new, *b, tolerance)),
            (Some(_), None) => only_old += 1,
            (None, _) => only_new += 1,
        }
    }
    (only_old + only_new + apart > 0).then_some(Difference::Rows { only_old, only_new, apart })
}

#[cfg(test)]
mod tests;

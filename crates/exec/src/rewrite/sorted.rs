//! Rows in the order of their partitions, and within them in the order that the spec asks for: DataFusion's external sort,
//! within the engine's memory, on the engine's disk beyond it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use lakeshift_core::spec::SortColumn;

use crate::engine::Engine;
use crate::partition::GroupId;

/// No column of a table can have this name.
const GROUP: &str = "\u{0}group";

/// `schema` with the rows' groups as a last column.
pub(super) fn grouped_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().cloned().chain([Arc::new(Field::new(GROUP, DataType::UInt32, false))]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The batch with its rows' groups as a last column.
pub(super) fn grouped(
    batch: &RecordBatch,
    groups: Vec<GroupId>,
    schema: &SchemaRef,
) -> Result<RecordBatch, DataFusionError> {
    let groups: ArrayRef = Arc::new(UInt32Array::from(groups));
    let columns = batch.columns().iter().cloned().chain([groups]).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Rows of one group that stand together.
type Run = (GroupId, Range<usize>);

/// The batch without the groups' column, and its runs of one group each.
pub(super) fn runs(batch: &RecordBatch) -> Result<(RecordBatch, Vec<Run>), DataFusionError> {
    let last = batch.num_columns() - 1;
    let rows = batch.project(&(0..last).collect::<Vec<_>>())?;
    let groups = batch.column(last).as_primitive::<UInt32Type>();
    let (mut runs, mut start) = (Vec::new(), 0);
    for run in groups.values().chunk_by(|a, b| a == b) {
        runs.push((run[0], start..start + run.len()));
        start += run.len();
    }
    Ok((rows, runs))
}

/// Sorts batches of [`grouped`] by group and then by `columns`.
pub(super) fn sorted(
    engine: &Engine,
    input: SendableRecordBatchStream,
    columns: &[SortColumn],
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let schema = input.schema();
    let by = |name: &str, options| {
        Ok::<_, DataFusionError>(PhysicalSortExpr::new(Arc::new(Column::new_with_schema(name, &schema)?), options))
    };
    let mut order = vec![by(GROUP, SortOptions::default())?];
    for column in columns {
        order.push(by(&column.column, options(column))?);
    }
    let order = LexOrdering::new(order).ok_or_else(|| DataFusionError::Internal("an order has a column".to_owned()))?;
    let source = Arc::new(Once { schema: Arc::clone(&schema), stream: Mutex::new(Some(input)) });
    let source = StreamingTableExec::try_new(schema, vec![source], None, Vec::new(), false, None)?;
    engine.execute(Arc::new(SortExec::new(order, Arc::new(source))))
}

/// Nulls are the least.
pub(super) fn options(column: &SortColumn) -> SortOptions {
    SortOptions { descending: column.descending, nulls_first: !column.descending }
}

/// A stream as a source that can be read once.
struct Once {
    schema: SchemaRef,
    stream: Mutex<Option<SendableRecordBatchStream>>,
}

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let taken = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| {
            let again = DataFusionError::Internal("these rows were read before".to_owned());
            let failed = futures::stream::once(std::future::ready(Err(again)));
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), failed))
        })
    }
}

//! File slices of Hudi's merge-on-read tables: base files merged with the log files that apply to them.
//!
//! [`plan`] reads a table's files of which some have log files. The log records of one slice are held in memory by key,
//! within the engine's memory, while its base file streams past through the one scan path; what does not fit is refused.

mod columns;
mod decode;
mod error;
mod log;
mod merge;
mod order;
mod ordering;
mod records;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::union::UnionExec;
use futures::{StreamExt, TryStreamExt, stream};
use lakeshift_core::hudi::LoggedSlice;
use lakeshift_core::table::{FileEntry, Snapshot, deletes_in};

use crate::engine::Engine;
use crate::scan::{Deletes, ScanError, ScanRequest, scan};
use crate::types;
use columns::Columns;
pub use error::HudiError;
use error::{damaged, unsupported};
use merge::Merge;
use records::Rules;

const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// A plan that reads slices with log files, `files` of `request`, as `output`; `plain` reads the files that have none.
///
/// # Errors
/// [`ScanError::Hudi`] for a slice that is not described as it should be.
pub(crate) fn plan(
    engine: &Engine,
    request: &ScanRequest<'_>,
    files: &[FileEntry],
    output: &SchemaRef,
    plain: Option<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>, ScanError> {
    let slices = files.iter().map(|file| merge(engine, request, file)).collect::<Result<Vec<_>, _>>()?;
    let concurrency = engine.settings().concurrency.clamp(1, slices.len().max(1));
    let mut groups = vec![Vec::new(); concurrency];
    slices.into_iter().enumerate().for_each(|(index, slice)| groups[index % concurrency].push(Arc::new(slice)));
    let partitions =
        groups.into_iter().map(|slices| Arc::new(Slices { slices, output: Arc::clone(output) }) as Arc<dyn PartitionStream>);
    let failed = |source| ScanError::Plan { source };
    let merged = StreamingTableExec::try_new(Arc::clone(output), partitions.collect(), None, [], false, None);
    let merged: Arc<dyn ExecutionPlan> = Arc::new(merged.map_err(failed)?);
    match plain {
        None => Ok(merged),
        Some(plain) => UnionExec::try_new(vec![plain, merged]).map_err(failed),
    }
}

fn merge(engine: &Engine, request: &ScanRequest<'_>, file: &FileEntry) -> Result<Merge, ScanError> {
    let json = deletes_in(&file.identity).ok_or_else(|| damaged(&file.path, "its log files are not told"))?;
    let slice: LoggedSlice = serde_json::from_str(json)
        .map_err(|error| damaged(&file.path, format!("its log files are not described as they should be: {error}")))?;
    if !request.snapshot.partition.fields.is_empty() {
        return Err(unsupported(&file.path, "log files of a table whose partition columns stand in paths only").into());
    }
    let columns = Columns::new(&request.snapshot.schema, &slice.merge)?;
    let snapshot = Snapshot { schema: columns.wide.clone(), ..request.snapshot.clone() };
    let entry = FileEntry { has_deletes: false, rows: None, ..file.clone() };
    let (deletes, files) = (Deletes::new(), [entry]);
    let wide = ScanRequest { snapshot: &snapshot, files: &files, deletes: &deletes, ..*request };
    let base = slice.based.then(|| scan(engine, &wide)).transpose()?;
    Ok(Merge {
        file: file.path.clone(),
        rules: Arc::new(Rules { rule: slice.merge.clone(), columns }),
        slice,
        base,
        storage: request.storage.clone(),
        schema: types::arrow_schema(&request.snapshot.schema)?,
    })
}

/// Slices that are read one after the other.
#[derive(Debug)]
struct Slices {
    slices: Vec<Arc<Merge>>,
    output: SchemaRef,
}

impl PartitionStream for Slices {
    fn schema(&self) -> &SchemaRef {
        &self.output
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let output = Arc::clone(&self.output);
        let merged =
            stream::iter(self.slices.clone()).flat_map(move |slice| merge::rows(slice, Arc::clone(&context)).boxed());
        let shown = merged.and_then(move |batch| std::future::ready(as_output(&batch, &output)));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.output), shown))
    }
}

/// The batch in the types that the reader asked for.
fn as_output(batch: &RecordBatch, output: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = batch.columns().iter().zip(output.fields());
    let columns = columns.map(|(column, field)| cast_with_options(column, field.data_type(), &STRICT));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(output), columns.collect::<Result<_, _>>()?, &options)?)
}

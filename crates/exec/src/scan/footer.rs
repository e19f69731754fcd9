//! Checks each file's footer before a row of it is read.
//!
//! [`CheckedReaderFactory`] wraps DataFusion's reader; the check sees the file's own types, before any coercion.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::Type as PhysicalType;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;

use super::ScanError;
use super::layout;
use super::names::Names;
use super::widen::mismatch;

/// What the table has on record of a file; travels with it as an extension.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) path: String,
    pub(super) rows: Option<u64>,
}

/// What a file must offer.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) columns: SchemaRef,
    /// For each column: whether the file must have it.
    pub(super) required: Vec<bool>,
    /// How columns are found in files.
    pub(super) names: Names,
    /// Whether the table says that INT96 is an instant.
    pub(super) int96: bool,
}

/// Makes readers that refuse files that do not fit.
#[derive(Debug)]
pub(super) struct CheckedReaderFactory {
    inner: DefaultParquetFileReaderFactory,
    expected: Arc<Expected>,
}

impl CheckedReaderFactory {
    pub(super) fn new(inner: DefaultParquetFileReaderFactory, expected: Expected) -> Self {
        Self { inner, expected: Arc::new(expected) }
    }
}

impl ParquetFileReaderFactory for CheckedReaderFactory {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::error::Result<Box<dyn AsyncFileReader + Send>> {
        let unnamed = || Recorded { path: file.object_meta.location.to_string(), rows: None };
        let recorded = file.extension::<Recorded>().cloned().unwrap_or_else(unnamed);
        let inner = self.inner.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(Box::new(CheckedReader { inner, recorded, expected: Arc::clone(&self.expected) }))
    }
}

struct CheckedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    recorded: Recorded,
    expected: Arc<Expected>,
}

impl AsyncFileReader for CheckedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let refused = |refusal| ParquetError::External(Box::new(refusal));
            let metadata = self.inner.get_metadata(options).await?;
            let metadata = self.expected.names.resolve(&self.recorded.path, metadata)?;
            let footer = metadata.file_metadata();
            let schema = parquet_to_arrow_schema(footer.schema_descr(), footer.key_value_metadata())?;
            check(&metadata, &schema, &self.recorded, &self.expected).map_err(refused)?;
            layout::hinted(metadata, &self.expected.columns)
        }
        .boxed()
    }
}

fn check(
    metadata: &ParquetMetaData,
    schema: &Schema,
    recorded: &Recorded,
    expected: &Expected,
) -> std::result::Result<(), ScanError> {
    let file = || recorded.path.clone();
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    if let Some(on_record) = recorded.rows.filter(|on_record| *on_record != rows) {
        return Err(ScanError::Rows { file: file(), found: rows, expected: on_record });
    }
    let mut seen = HashSet::new();
    if let Some(twice) = schema.fields().iter().find(|field| !seen.insert(field.name())) {
        return Err(ScanError::ColumnTwice { file: file(), column: twice.name().clone() });
    }
    if let Some(column) = int96_column(metadata, expected) {
        return Err(ScanError::Int96 { file: file(), column });
    }
    for (column, required) in expected.columns.fields().iter().zip(&expected.required) {
        let Ok(found) = schema.field_with_name(column.name()) else {
            if *required {
                return Err(ScanError::ColumnMissing { file: file(), column: column.name().clone() });
            }
            continue;
        };
        if expected.int96 && is_int96(metadata, column.name()) {
            continue;
        }
        if let Some(path) = mismatch(found, column) {
            return Err(ScanError::ColumnType {
                file: file(),
                column: path,
                found: found.data_type().to_string(),
                expected: column.data_type().to_string(),
            });
        }
    }
    Ok(())
}

/// The first INT96 leaf that is read and is not a column that the table says to be an instant.
fn int96_column(metadata: &ParquetMetaData, expected: &Expected) -> Option<String> {
    let leaves = metadata.file_metadata().schema_descr().columns().iter();
    let mut int96 = leaves.filter(|leaf| leaf.physical_type() == PhysicalType::INT96);
    let refused = int96.find(|leaf| {
        let (top, whole) = (leaf.path().parts().first(), leaf.path().parts().len() == 1);
        let column = top.and_then(|top| expected.columns.field_with_name(top).ok());
        column.is_some_and(|column| !(expected.int96 && whole && *column.data_type() == instant()))
    });
    refused.map(|leaf| leaf.path().string())
}

fn is_int96(metadata: &ParquetMetaData, column: &str) -> bool {
    let mut leaves = metadata.file_metadata().schema_descr().columns().iter();
    leaves.any(|leaf| leaf.physical_type() == PhysicalType::INT96 && leaf.path().parts() == [column])
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

//! How files are written: the spec's settings, and for each file which columns get a dictionary.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use lakeshift_core::schema::{DataType, TableSchema};
use lakeshift_core::spec::{Compression, ParquetOptions};
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::RewriteError;
use crate::types;

/// Rows that tell whether a column repeats its values.
const SAMPLE_ROWS_MAX: usize = 4096;
/// Fewer tell nothing.
const SAMPLE_ROWS_MIN: usize = 512;

/// The settings that all files share.
pub(crate) fn writer_properties(options: &ParquetOptions, schema: &TableSchema) -> Result<WriterProperties, RewriteError> {
    let codec = codec(options.compression).map_err(|source| RewriteError::Settings { source })?;
    let row_group_bytes = usize::try_from(options.row_group_size.bytes()).unwrap_or(usize::MAX).max(1);
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("lakeshift version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(codec)
        .set_max_row_group_bytes(Some(row_group_bytes))
        // The names that the Parquet specification gives to the levels of lists and maps.
        .set_coerce_types(true);
    if !options.page_index {
        builder = without_page_index(builder);
    }
    for column in &options.bloom_filters {
        let none = || RewriteError::NoColumn { setting: "target.parquet.bloom_filters", column: column.clone() };
        let field = schema.field(column).filter(|field| !is_nested(&field.data_type)).ok_or_else(none)?;
        builder = builder.set_column_bloom_filter_enabled(path(types::physical_name(field)), true);
    }
    Ok(builder.build())
}

/// Statistics of whole chunks only, and no index of pages.
pub(crate) fn without_page_index(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    builder.set_statistics_enabled(EnabledStatistics::Chunk).set_offset_index_disabled(true)
}

/// A note in every row group that its rows are in this order.
pub(super) fn with_order(properties: WriterProperties, order: Vec<SortingColumn>) -> WriterProperties {
    let order = if order.is_empty() { None } else { Some(order) };
    WriterPropertiesBuilder::from(properties).set_sorting_columns(order).build()
}

/// The settings of a file that begins with `rows`: no dictionary for columns that hardly repeat a value. A dictionary of
/// such a column costs memory and time as long as the file is open, and is given up in the end.
pub(super) fn for_file(properties: &WriterProperties, rows: &RecordBatch) -> Result<WriterProperties, ArrowError> {
    let mut builder = WriterPropertiesBuilder::from(properties.clone());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if !repeats(column)? {
            builder = builder.set_column_dictionary_enabled(path(field.name()), false);
        }
    }
    Ok(builder.build())
}

/// Whether at most every second value is a new one. Nested columns count as such.
fn repeats(column: &ArrayRef) -> Result<bool, ArrowError> {
    let rows = column.len().min(SAMPLE_ROWS_MAX);
    if rows < SAMPLE_ROWS_MIN || column.data_type().is_nested() {
        return Ok(true);
    }
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
    let values = converter.convert_columns(&[column.slice(0, rows)])?;
    Ok(values.iter().collect::<HashSet<_>>().len() <= rows / 2)
}

fn is_nested(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Struct { .. } | DataType::List { .. } | DataType::Map { .. })
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::new(vec![column.to_owned()])
}

fn codec(compression: Compression) -> Result<Codec, ParquetError> {
    Ok(match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::Zstd(level) => Codec::ZSTD(ZstdLevel::try_new(i32::from(level))?),
    })
}

//! Positional delete files: Parquet files of two columns, the data file's path and a row's position in it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{DataFile, DataFileFormat, Datum};
use lakeshift_core::table::TableError;
use object_store::ObjectStoreExt;
use parquet::basic::{Compression, LogicalType, Repetition, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::RowAccessor;
use parquet::schema::types::{BasicTypeInfo, Type};
use roaring::RoaringTreemap;

use super::super::fault::unreadable;
use super::super::location::Places;
use super::super::manifests::Writer;
use super::{Marked, built};

/// The specification's field ids.
const FILE_PATH_ID: i32 = 2_147_483_546;
const POS_ID: i32 = 2_147_483_545;
/// Rows handed to the encoder at once.
const ROWS_AT_ONCE: usize = 8192;

/// One delete file for each marked data file, in their order.
pub(super) async fn write(
    writer: &mut Writer<'_>,
    places: &Places,
    stem: &str,
    marked: &[Marked<'_>],
) -> Result<Vec<DataFile>, TableError> {
    let mut files = Vec::with_capacity(marked.len());
    for (index, one) in marked.iter().enumerate() {
        let name = format!("{stem}-{}-{index:05}.parquet", writer.nonce());
        let data_path = one.file.file_path();
        let rows = one.all_rows(places).await?;
        let failed = |error: ParquetError| damaged(data_path, "its deletes cannot be encoded", error);
        let (bytes, groups) = encode(data_path, &rows).map_err(failed)?;
        let size_bytes = bytes.len() as u64;
        writer.put(&name, bytes.into()).await?;
        let mut builder = one.describe(places.below_root(&name), DataFileFormat::Parquet, rows.len(), size_bytes);
        let both = |path: u64, pos: u64| HashMap::from([(FILE_PATH_ID, path), (POS_ID, pos)]);
        let bounds = |pos: Option<u64>| {
            // Equal bounds of the path tell readers that the file is of one data file.
            let path = (FILE_PATH_ID, Datum::string(data_path));
            let pos = pos.and_then(|pos| i64::try_from(pos).ok()).map(|pos| (POS_ID, Datum::long(pos)));
            std::iter::once(path).chain(pos).collect::<HashMap<_, _>>()
        };
        let sizes = |column: usize| groups.iter().filter_map(|group| size_of(group, column)).sum();
        builder
            .column_sizes(both(sizes(0), sizes(1)))
            .value_counts(both(rows.len(), rows.len()))
            .null_value_counts(both(0, 0))
            .lower_bounds(bounds(rows.min()))
            .upper_bounds(bounds(rows.max()));
        files.push(built(&builder)?);
    }
    Ok(files)
}

/// The rows of the data file `of` that a positional delete file of it alone deletes.
pub(super) async fn read(places: &Places, of: &str, delete: &DataFile) -> Result<RoaringTreemap, TableError> {
    let place = places.locate(delete.file_path())?;
    let failed = |error| unreadable(delete.file_path(), error);
    let bytes = place.storage.store().get(&place.path).await.map_err(failed)?.bytes().await.map_err(failed)?;
    decode(bytes, of).map_err(|error| damaged(delete.file_path(), "it is no positional delete file of its data file", error))
}

fn decode(bytes: Bytes, of: &str) -> Result<RoaringTreemap, ParquetError> {
    let reader = SerializedFileReader::new(bytes)?;
    let columns = reader.metadata().file_metadata().schema().get_fields();
    let column = |id: i32| {
        let has = |info: &BasicTypeInfo| info.has_id() && info.id() == id;
        let found = columns.iter().position(|column| has(column.get_basic_info()));
        found.ok_or_else(|| ParquetError::General(format!("it has no column of the field id {id}")))
    };
    let (path, pos) = (column(FILE_PATH_ID)?, column(POS_ID)?);
    let mut rows = RoaringTreemap::new();
    for row in reader.get_row_iter(None)? {
        let row = row?;
        if row.get_string(path)? != of {
            return Err(ParquetError::General(format!("it deletes rows of {}", row.get_string(path)?)));
        }
        rows.insert(u64::try_from(row.get_long(pos)?)?);
    }
    Ok(rows)
}

fn size_of(group: &RowGroupMetaData, column: usize) -> Option<u64> {
    group.columns().get(column).and_then(|chunk| u64::try_from(chunk.compressed_size()).ok())
}

/// The file's bytes, sorted as the specification wants them, and what its footer says of its row groups.
fn encode(path: &str, rows: &RoaringTreemap) -> Result<(Vec<u8>, Vec<RowGroupMetaData>), ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_truncate_length(None)
        .set_column_index_truncate_length(None)
        .set_created_by(concat!("lakeshift ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema()?), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    let path = ByteArray::from(path);
    if let Some(mut column) = group.next_column()? {
        let mut left = usize::try_from(rows.len())?;
        let paths = vec![path; left.min(ROWS_AT_ONCE)];
        while left > 0 {
            let now = left.min(ROWS_AT_ONCE);
            column.typed::<ByteArrayType>().write_batch(&paths[..now], None, None)?;
            left -= now;
        }
        column.close()?;
    }
    if let Some(mut column) = group.next_column()? {
        let mut positions = rows.iter().map(i64::try_from).peekable();
        while positions.peek().is_some() {
            let batch = positions.by_ref().take(ROWS_AT_ONCE).collect::<Result<Vec<_>, _>>()?;
            column.typed::<Int64Type>().write_batch(&batch, None, None)?;
        }
        column.close()?;
    }
    group.close()?;
    let groups = file.flushed_row_groups().to_vec();
    Ok((file.into_inner()?, groups))
}

fn damaged(object: &str, reason: &str, source: ParquetError) -> TableError {
    TableError::Corrupt { object: object.to_owned(), reason: reason.to_owned(), source: Some(Box::new(source)) }
}

fn schema() -> Result<Type, ParquetError> {
    let path = Type::primitive_type_builder("file_path", PhysicalType::BYTE_ARRAY)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::String))
        .with_id(Some(FILE_PATH_ID))
        .build()?;
    let pos = Type::primitive_type_builder("pos", PhysicalType::INT64)
        .with_repetition(Repetition::REQUIRED)
        .with_id(Some(POS_ID))
        .build()?;
    Type::group_type_builder("delete").with_fields(vec![Arc::new(path), Arc::new(pos)]).build()
}

//! The Arrow types that are quickest to decode, for readers that look at each value once.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use lakeshift_core::table::FileEntry;
use object_store::ObjectStoreExt;
use parquet::arrow::{encode_arrow_schema, parquet_to_arrow_schema};
use parquet::basic::Encoding;
use parquet::errors::Result;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader,
};

use super::names::Names;
use super::{Origin, ScanRequest};

/// The key under which Arrow writers put their own schema.
pub(super) const ARROW_SCHEMA_KEY: &str = "ARROW:schema";

/// `output` with texts and bytes that come from files as views, or as dictionaries where the column's name is in
/// `dictionaries`.
pub(super) fn compact(output: &Schema, origins: &[Origin], dictionaries: &BTreeSet<String>) -> SchemaRef {
    let one = |(field, origin): (&FieldRef, &Origin)| {
        let view = match field.data_type() {
            DataType::Utf8 if *origin == Origin::File => DataType::Utf8View,
            DataType::Binary if *origin == Origin::File => DataType::BinaryView,
            _ => return Arc::clone(field),
        };
        let data_type = match dictionaries.contains(field.name()) {
            true => DataType::Dictionary(Box::new(DataType::Int32), Box::new(field.data_type().clone())),
            false => view,
        };
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    Arc::new(Schema::new(output.fields().iter().zip(origins).map(one).collect::<Vec<_>>()))
}

/// The logical columns whose text stands in dictionaries throughout, as far as the first and the largest file tell. A
/// file where it does not is read all the same, only slower; footers that cannot be read are left to the scan.
pub async fn dictionary_columns(request: &ScanRequest<'_>) -> BTreeSet<String> {
    let largest = request.files.iter().max_by_key(|file| file.size_bytes);
    let mut common: Option<BTreeSet<String>> = None;
    for file in request.files.first().into_iter().chain(largest) {
        let Some(found) = in_file(request, file).await else { continue };
        common = Some(match common {
            None => found,
            Some(before) => before.intersection(&found).cloned().collect(),
        });
    }
    common.unwrap_or_default()
}

async fn in_file(request: &ScanRequest<'_>, file: &FileEntry) -> Option<BTreeSet<String>> {
    let path = request.storage.resolve(&file.path).ok()?;
    let store = request.storage.store();
    let mut reader = ParquetMetaDataReader::new();
    let mut wanted = super::FOOTER_READ_BYTES as u64;
    let metadata = loop {
        let start = file.size_bytes.saturating_sub(wanted);
        let bytes = store.get_range(&path, start..file.size_bytes).await.ok()?;
        match reader.try_parse_sized(&bytes, file.size_bytes) {
            Ok(()) => break reader.finish().ok()?,
            Err(parquet::errors::ParquetError::NeedMoreData(needed)) if needed as u64 > wanted => wanted = needed as u64,
            Err(_) => return None,
        }
    };
    let metadata = Names::new(request.format, request.snapshot).resolve(&file.path, Arc::new(metadata)).ok()?;
    let columns = metadata.file_metadata().schema_descr().columns().iter().enumerate();
    let all = |index: usize| metadata.row_groups().iter().all(|group| is_dictionary(group.column(index)));
    Some(columns.filter(|(index, _)| all(*index)).map(|(_, column)| column.path().string()).collect())
}

/// Whether every data page of the chunk has indices into its dictionary.
fn is_dictionary(chunk: &ColumnChunkMetaData) -> bool {
    let indices = [Encoding::PLAIN_DICTIONARY, Encoding::RLE_DICTIONARY];
    let known = chunk.page_encoding_stats_mask();
    chunk.dictionary_page_offset().is_some()
        && known.is_none_or(|mask| indices.iter().any(|encoding| mask.is_only(*encoding)))
}

/// The metadata with a hint that texts and bytes be decoded as `columns` has them: a decoder that is asked for
/// dictionaries copies indices where it would copy texts.
pub(super) fn hinted(metadata: Arc<ParquetMetaData>, columns: &Schema) -> Result<Arc<ParquetMetaData>> {
    let file = metadata.file_metadata();
    let own = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
    let mut changed = false;
    let hint = |field: &FieldRef| match columns.field_with_name(field.name()) {
        Ok(wanted) if wanted.data_type() != field.data_type() && is_layout(field.data_type(), wanted.data_type()) => {
            changed = true;
            Arc::new(field.as_ref().clone().with_data_type(wanted.data_type().clone()))
        }
        _ => Arc::clone(field),
    };
    let schema = Schema::new_with_metadata(own.fields().iter().map(hint).collect::<Vec<_>>(), own.metadata().clone());
    if !changed {
        return Ok(metadata);
    }
    let others = file.key_value_metadata().into_iter().flatten().filter(|pair| pair.key != ARROW_SCHEMA_KEY);
    let hint = KeyValue::new(ARROW_SCHEMA_KEY.to_owned(), encode_arrow_schema(&schema));
    let pairs = others.cloned().chain([hint]).collect();
    let hinted = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        Some(pairs),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let builder = ParquetMetaDataBuilder::new(hinted)
        .set_row_groups(metadata.row_groups().to_vec())
        .set_column_index(metadata.column_index().cloned())
        .set_offset_index(metadata.offset_index().cloned());
    Ok(Arc::new(builder.build()))
}

/// Whether both are texts, or both are bytes of any length, whatever the layout.
fn is_layout(file: &DataType, wanted: &DataType) -> bool {
    let class = |data_type: &DataType| match data_type {
        DataType::Dictionary(_, values) => class_of(values),
        plain => class_of(plain),
    };
    class(file).is_some() && class(file) == class(wanted)
}

fn class_of(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(0),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Some(1),
        _ => None,
    }
}

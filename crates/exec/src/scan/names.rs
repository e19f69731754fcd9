//! Files that have a column under another of its names: their metadata is read as if they had the table's.

use std::collections::HashMap;
use std::sync::Arc;

use parquet::errors::Result;
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder, RowGroupMetaData};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};

use super::layout::ARROW_SCHEMA_KEY;

/// Other names of top-level columns, each with the name that the scan knows the column by.
pub(super) type Aliases = HashMap<String, String>;

/// The alias that the file has beside the column's own name or beside another alias of it, if there is one.
pub(super) fn ambiguous<'a>(metadata: &ParquetMetaData, aliases: &'a Aliases) -> Option<(&'a str, &'a str)> {
    let columns = metadata.file_metadata().schema().get_fields();
    let has = |name: &str| columns.iter().any(|column| column.name() == name);
    let present = aliases.iter().filter(|(alias, _)| has(alias));
    let mut seen = HashMap::new();
    let found = present.into_iter().find(|(alias, name)| has(name) || seen.insert(name.as_str(), alias.as_str()).is_some());
    found.map(|(alias, name)| (alias.as_str(), name.as_str()))
}

/// The metadata under the scan's names; as they are where the file has none of the aliases. Only names change: column
/// chunks are found by position.
pub(super) fn renamed(metadata: Arc<ParquetMetaData>, aliases: &Aliases) -> Result<Arc<ParquetMetaData>> {
    let file = metadata.file_metadata();
    if !file.schema().get_fields().iter().any(|column| aliases.contains_key(column.name())) {
        return Ok(metadata);
    }
    let columns = file.schema().get_fields().iter().map(|column| match aliases.get(column.name()) {
        Some(name) => with_name(column, name).map(Arc::new),
        None => Ok(Arc::clone(column)),
    });
    let root = Type::group_type_builder(file.schema().name()).with_fields(columns.collect::<Result<_>>()?).build()?;
    let schema: SchemaDescPtr = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    // Arrow's own schema has the file's names.
    let pairs = file.key_value_metadata().map(|pairs| {
        let others = pairs.iter().filter(|pair| pair.key != ARROW_SCHEMA_KEY);
        others.cloned().collect::<Vec<KeyValue>>()
    });
    let renamed = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        pairs,
        Arc::clone(&schema),
        file.column_orders().cloned(),
    );
    let groups = metadata.row_groups().iter().map(|group| row_group(group, &schema)).collect::<Result<Vec<_>>>()?;
    let builder = ParquetMetaDataBuilder::new(renamed)
        .set_row_groups(groups)
        .set_column_index(metadata.column_index().cloned())
        .set_offset_index(metadata.offset_index().cloned());
    Ok(Arc::new(builder.build()))
}

fn row_group(group: &RowGroupMetaData, schema: &SchemaDescPtr) -> Result<RowGroupMetaData> {
    let mut builder = RowGroupMetaData::builder(Arc::clone(schema))
        .set_num_rows(group.num_rows())
        .set_total_byte_size(group.total_byte_size())
        .set_sorting_columns(group.sorting_columns().cloned())
        .set_column_metadata(group.columns().to_vec());
    if let Some(ordinal) = group.ordinal() {
        builder = builder.set_ordinal(ordinal);
    }
    if let Some(offset) = group.file_offset() {
        builder = builder.set_file_offset(offset);
    }
    builder.build()
}

/// The same column by another name.
fn with_name(column: &Type, name: &str) -> Result<Type> {
    let info = column.get_basic_info();
    let id = info.has_id().then(|| info.id());
    match column {
        Type::PrimitiveType { physical_type, type_length, scale, precision, .. } => {
            Type::primitive_type_builder(name, *physical_type)
                .with_repetition(info.repetition())
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_length(*type_length)
                .with_precision(*precision)
                .with_scale(*scale)
                .with_id(id)
                .build()
        }
        Type::GroupType { fields, .. } => Type::group_type_builder(name)
            .with_repetition(info.repetition())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(fields.clone())
            .with_id(id)
            .build(),
    }
}

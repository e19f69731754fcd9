//! Which column of a file is which of the table's: by name or by field id, at every level. A file's metadata is then read
//! as if it had the table's names.

use std::collections::HashMap;
use std::sync::Arc;

use lakeshift_core::schema::{DataType, Field};
use lakeshift_core::table::{Format, Snapshot};
use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder, RowGroupMetaData};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

use super::ScanError;
use super::layout::ARROW_SCHEMA_KEY;
use crate::types::physical_name;

/// Begins the name of a file's column that is none of the table's and has the name of one.
const NOT_OURS: &str = "\u{0}not the table's ";

/// The table's columns, and how they are found in files.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    fields: Vec<Field>,
    by_id: bool,
}

/// How the columns of one file are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// By physical name or alias.
    Name,
    /// By field id.
    Id,
    /// By alias alone: Iceberg's name mapping, for files without ids.
    Alias,
}

impl Names {
    /// The columns of `snapshot`, of a table of `format`.
    pub(crate) fn new(format: Format, snapshot: &Snapshot) -> Self {
        Self { fields: snapshot.schema.fields.clone(), by_id: snapshot.finds_columns_by_id(format) }
    }

    /// The metadata under the table's names; as they are where the file has them. Only names change: column chunks are
    /// found by position.
    ///
    /// # Errors
    /// [`ScanError::TwoNames`], [`ScanError::NoFieldIds`], inside of Parquet's error.
    pub(crate) fn resolve(&self, file: &str, metadata: Arc<ParquetMetaData>) -> Result<Arc<ParquetMetaData>> {
        let columns = metadata.file_metadata().schema().get_fields();
        let how = match self.by_id {
            false => Match::Name,
            true if columns.iter().any(has_id) => Match::Id,
            true if self.fields.iter().any(|field| !field.aliases.is_empty()) => Match::Alias,
            true => return Err(refused(ScanError::NoFieldIds { file: file.to_owned() })),
        };
        let renamed = members(file, columns, &self.fields, how)?;
        if renamed == columns { Ok(metadata) } else { with_columns(&metadata, renamed) }
    }
}

fn refused(refusal: ScanError) -> ParquetError {
    ParquetError::External(Box::new(refusal))
}

fn has_id(column: &TypePtr) -> bool {
    column.get_basic_info().has_id() || (column.is_group() && column.get_fields().iter().any(has_id))
}

fn is_match(found: &Type, field: &Field, how: Match) -> bool {
    let info = found.get_basic_info();
    let alias = || field.aliases.iter().any(|alias| alias == found.name());
    match how {
        Match::Name => found.name() == physical_name(field) || alias(),
        Match::Id => info.has_id() && field.id == Some(info.id()),
        Match::Alias => alias(),
    }
}

/// The members of a group, or the columns of a file, under the table's names.
fn members(file: &str, found: &[TypePtr], fields: &[Field], how: Match) -> Result<Vec<TypePtr>> {
    let mut taken: HashMap<&str, String> = HashMap::new();
    let one = |found: &TypePtr| {
        let Some(field) = fields.iter().find(|field| is_match(found, field, how)) else {
            return match fields.iter().any(|field| field.name == found.name()) {
                true => renamed(found, &format!("{NOT_OURS}{}", found.name()), None),
                false => Ok(Arc::clone(found)),
            };
        };
        if let Some(column) = taken.insert(&field.name, found.name().to_owned()) {
            let (file, alias) = (file.to_owned(), found.name().to_owned());
            return Err(refused(ScanError::TwoNames { file, column, alias }));
        }
        let inner = below(file, found, &field.data_type, how)?;
        if found.name() == field.name && inner.is_none() {
            return Ok(Arc::clone(found));
        }
        renamed(found, &field.name, inner)
    };
    found.iter().map(one).collect()
}

/// The children of a nested type under the table's names; `None` where they stay.
fn below(file: &str, found: &Type, data_type: &DataType, how: Match) -> Result<Option<Vec<TypePtr>>> {
    if found.is_primitive() {
        return Ok(None);
    }
    let children = found.get_fields();
    let changed = match data_type {
        DataType::Struct { fields } => members(file, children, fields, how)?,
        DataType::List { element } => match (children, is_list(found)) {
            ([repeated], true) if is_element(found, repeated) => vec![inside(file, repeated, &element.data_type, how)?],
            ([repeated], true) => {
                let inner = inside(file, &repeated.get_fields()[0], &element.data_type, how)?;
                vec![with_children(repeated, vec![inner])?]
            }
            _ => return Ok(None),
        },
        DataType::Map { key, value } => match children {
            [entries] if entries.is_group() && entries.get_fields().len() == 2 => {
                let pair = entries.get_fields();
                let pair =
                    vec![inside(file, &pair[0], &key.data_type, how)?, inside(file, &pair[1], &value.data_type, how)?];
                vec![with_children(entries, pair)?]
            }
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok((changed != children).then_some(changed))
}

/// An element, key or value: found by its place, under the name that it has.
fn inside(file: &str, found: &TypePtr, data_type: &DataType, how: Match) -> Result<TypePtr> {
    match below(file, found, data_type, how)? {
        None => Ok(Arc::clone(found)),
        inner => renamed(found, found.name(), inner),
    }
}

fn with_children(group: &TypePtr, children: Vec<TypePtr>) -> Result<TypePtr> {
    if group.get_fields() == children { Ok(Arc::clone(group)) } else { renamed(group, group.name(), Some(children)) }
}

fn is_list(group: &Type) -> bool {
    let info = group.get_basic_info();
    matches!(info.logical_type_ref(), Some(LogicalType::List)) || info.converted_type() == ConvertedType::LIST
}

/// Whether the repeated type of a list is the element itself: the specification's rules for lists of two levels.
fn is_element(list: &Type, repeated: &Type) -> bool {
    repeated.is_primitive()
        || repeated.get_fields().len() != 1
        || repeated.get_fields()[0].get_basic_info().repetition() == Repetition::REPEATED
        || repeated.name() == "array"
        || repeated.name() == format!("{}_tuple", list.name())
}

/// The same column by another name, with other children where given.
fn renamed(column: &TypePtr, name: &str, children: Option<Vec<TypePtr>>) -> Result<TypePtr> {
    let info = column.get_basic_info();
    let id = info.has_id().then(|| info.id());
    let built = match column.as_ref() {
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
            .with_fields(children.unwrap_or_else(|| fields.clone()))
            .with_id(id)
            .build(),
    };
    built.map(Arc::new)
}

fn with_columns(metadata: &ParquetMetaData, columns: Vec<TypePtr>) -> Result<Arc<ParquetMetaData>> {
    let file = metadata.file_metadata();
    let root = Type::group_type_builder(file.schema().name()).with_fields(columns).build()?;
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

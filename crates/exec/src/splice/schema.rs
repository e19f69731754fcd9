//! Which columns of a file are copied, which are written, and the Parquet schema of what comes out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use lakeshift_core::partition::Transform;
use lakeshift_core::plan::same_type;
use lakeshift_core::value::Value;
use parquet::arrow::{ArrowSchemaConverter, parquet_to_arrow_schema};
use parquet::basic::Type as PhysicalType;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

use super::SpliceRequest;
use crate::rewrite::PartitionColumns;
use crate::types;

/// A column of the target's files.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Column {
    /// These leaves of the source file.
    Copied { leaves: std::ops::Range<usize> },
    /// One value in every row.
    Constant { field: FieldRef, value: Option<Value> },
}

/// The columns of the target's files, in order, as they come out of one source file.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub(super) columns: Vec<Column>,
    /// The Parquet schema of the files.
    pub(super) schema: SchemaDescPtr,
}

impl Columns {
    /// What becomes of a file with this footer; a reason where its columns cannot be copied.
    pub(super) fn of(
        request: &SpliceRequest<'_>,
        metadata: &ParquetMetaData,
        constants: &BTreeMap<String, Option<Value>>,
    ) -> Result<Self, String> {
        let expected = types::file_schema(request.schema).map_err(|error| error.to_string())?;
        let wanted = parquet_columns(&expected).map_err(|error| error.to_string())?;
        let file = metadata.file_metadata().schema_descr();
        let (mut columns, mut schema) = (Vec::new(), Vec::new());
        for ((field, arrow), wanted) in request.schema.fields.iter().zip(expected.fields()).zip(&wanted) {
            if omitted(request, &field.name) {
                continue;
            }
            if let Some(value) = constants.get(&field.name) {
                columns.push(Column::Constant { field: Arc::clone(arrow), value: value.clone() });
                schema.push(Arc::clone(wanted));
                continue;
            }
            let in_source = &field.name;
            // A column that the file lacks is null there, in the new file as in the old one.
            let Some(at) = file.root_schema().get_fields().iter().position(|column| column.name() == in_source.as_str())
            else {
                continue;
            };
            let found = &file.root_schema().get_fields()[at];
            columns.push(Column::Copied { leaves: leaves_below(file, at) });
            schema.push(Arc::new(with_ids(found, wanted, true).map_err(|reason| format!("column {in_source}: {reason}"))?));
        }
        let root = Type::group_type_builder("schema").with_fields(schema).build().map_err(|error| error.to_string())?;
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
        same_types(request, &schema)?;
        Ok(Self { columns, schema })
    }

    /// The source's leaves that are copied.
    pub(super) fn copied(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().flat_map(|column| match column {
            Column::Copied { leaves } => leaves.clone(),
            Column::Constant { .. } => 0..0,
        })
    }

    /// The fields of the columns that are written.
    pub(super) fn constants(&self) -> SchemaRef {
        let fields = self.columns.iter().filter_map(|column| match column {
            Column::Constant { field, .. } => Some(Arc::clone(field)),
            Column::Copied { .. } => None,
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// A second look at what the plan has decided from the same footer.
fn same_types(request: &SpliceRequest<'_>, schema: &SchemaDescriptor) -> Result<(), String> {
    let arrow = parquet_to_arrow_schema(schema, None).map_err(|error| error.to_string())?;
    let found = types::table_schema(&arrow).map_err(|error| error.to_string())?;
    let other = found.fields.iter().find_map(|found| {
        let mut columns = request.schema.fields.iter();
        let wanted = columns.find(|column| types::physical_name(column) == found.name)?;
        (!same_type(&found.data_type, &wanted.data_type)).then_some((found, wanted))
    });
    match other {
        None => Ok(()),
        Some((found, wanted)) => {
            Err(format!("column {} is {} and {} in the target", wanted.name, found.data_type, wanted.data_type))
        }
    }
}

/// The Parquet types that the target's writer would give to columns.
pub(super) fn parquet_columns(schema: &Schema) -> ParquetResult<Vec<TypePtr>> {
    let converted = ArrowSchemaConverter::new().with_coerce_types(true).convert(schema)?;
    Ok(converted.root_schema().get_fields().to_vec())
}

fn omitted(request: &SpliceRequest<'_>, column: &str) -> bool {
    let identity =
        |field: &lakeshift_core::partition::PartitionField| field.transform == Transform::Identity && field.column == column;
    request.partition_columns == PartitionColumns::Omit && request.partition.fields.iter().any(identity)
}

fn leaves_below(file: &SchemaDescriptor, column: usize) -> std::ops::Range<usize> {
    let below = |leaf: &usize| file.get_column_root_idx(*leaf) == column;
    let first = (0..file.num_columns()).find(below).unwrap_or(0);
    first..first + (first..file.num_columns()).take_while(below).count()
}

/// The file's type with the target's ids, and its name at the top: what pages hold does not change by either. Levels come
/// from the file's own repetitions.
fn with_ids(found: &Type, wanted: &Type, top: bool) -> Result<Type, String> {
    let (info, ids) = (found.get_basic_info(), wanted.get_basic_info());
    let id = ids.has_id().then(|| ids.id());
    let name = if top { wanted.name() } else { found.name() };
    let built = |built: Result<Type, ParquetError>| built.map_err(|error| error.to_string());
    match (found, wanted) {
        (Type::PrimitiveType { physical_type: PhysicalType::INT96, .. }, _) => Err("it is INT96".to_owned()),
        (Type::PrimitiveType { physical_type, type_length, scale, precision, .. }, Type::PrimitiveType { .. }) => built(
            Type::primitive_type_builder(name, *physical_type)
                .with_repetition(info.repetition())
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_length(*type_length)
                .with_precision(*precision)
                .with_scale(*scale)
                .with_id(id)
                .build(),
        ),
        (Type::GroupType { fields, .. }, Type::GroupType { fields: wanted, .. }) if fields.len() == wanted.len() => {
            let members = fields.iter().zip(wanted).map(|(found, wanted)| with_ids(found, wanted, false).map(Arc::new));
            built(
                Type::group_type_builder(name)
                    .with_repetition(info.repetition())
                    .with_converted_type(info.converted_type())
                    .with_logical_type(info.logical_type_ref().cloned())
                    .with_fields(members.collect::<Result<_, _>>()?)
                    .with_id(id)
                    .build(),
            )
        }
        _ => Err("its nested layout is not the one that the target's files have".to_owned()),
    }
}

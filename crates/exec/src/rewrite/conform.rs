//! From the input's columns to the target's, and from there to the files'.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use lakeshift_core::partition::{PartitionSpec, Transform};
use lakeshift_core::schema::TableSchema;

use super::{PartitionColumns, RewriteError};
use crate::scan::mismatch;
use crate::types;

/// Casts that lose nothing fail rather than give null.
const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// Two mappings of columns, checked once.
///
/// Texts and bytes of the top level that come as views or dictionaries go on as views: they are copied least.
pub(super) struct Conform {
    /// The target's logical schema, but for views.
    target: SchemaRef,
    /// For each target column: the input's.
    positions: Vec<usize>,
    /// The schema of the data files.
    file: SchemaRef,
    /// For each file column: the target's.
    kept: Vec<usize>,
}

impl Conform {
    pub(super) fn new(
        input: &Schema,
        schema: &TableSchema,
        spec: &PartitionSpec,
        columns: PartitionColumns,
    ) -> Result<Self, RewriteError> {
        if let Some(column) = types::nested_physical_name(schema) {
            return Err(RewriteError::NestedName { column: column.name.clone() });
        }
        let target = types::arrow_schema(schema)?;
        let positions = positions(input, &target)?;
        let physical = types::file_schema(schema)?;
        let layouts = positions.iter().zip(target.fields());
        let layouts = layouts.map(|(position, field)| layout(input.field(*position).data_type(), field.data_type()));
        let layouts = layouts.collect::<Vec<_>>();
        let (target, physical) = (with_layouts(&target, &layouts), with_layouts(&physical, &layouts));
        let omitted = |name: &str| {
            let identity = |field: &lakeshift_core::partition::PartitionField| {
                field.transform == Transform::Identity && field.column == name
            };
            columns == PartitionColumns::Omit && spec.fields.iter().any(identity)
        };
        let kept = (0..schema.fields.len()).filter(|position| !omitted(&schema.fields[*position].name)).collect::<Vec<_>>();
        let file = Schema::new(kept.iter().map(|position| physical.field(*position).clone()).collect::<Vec<_>>());
        Ok(Self { target, positions, file: file.into(), kept })
    }

    pub(super) fn file_schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.file)
    }

    /// The schema of [`Self::to_target`].
    pub(super) fn target_schema(&self) -> &SchemaRef {
        &self.target
    }

    /// The rows in the target's logical schema.
    pub(super) fn to_target(&self, batch: &RecordBatch) -> Result<RecordBatch, RewriteError> {
        select(batch, &self.positions, &self.target)
    }

    /// The rows as the files hold them.
    pub(super) fn to_file(&self, batch: &RecordBatch) -> Result<RecordBatch, RewriteError> {
        select(batch, &self.kept, &self.file)
    }
}

/// The view that a column goes on as that comes as `input` and is `target`, if it does.
fn layout(input: &DataType, target: &DataType) -> Option<DataType> {
    let compact = matches!(input, DataType::Utf8View | DataType::BinaryView | DataType::Dictionary(_, _));
    match target {
        DataType::Utf8 if compact => Some(DataType::Utf8View),
        DataType::Binary if compact => Some(DataType::BinaryView),
        _ => None,
    }
}

fn with_layouts(schema: &Schema, layouts: &[Option<DataType>]) -> SchemaRef {
    let field = |(field, layout): (&FieldRef, &Option<DataType>)| match layout {
        Some(layout) => Arc::new(field.as_ref().clone().with_data_type(layout.clone())),
        None => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().zip(layouts).map(field).collect::<Vec<_>>()))
}

fn positions(input: &Schema, target: &Schema) -> Result<Vec<usize>, RewriteError> {
    let names = |schema: &Schema| schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
    if let Some(extra) = input.fields().iter().find(|field| target.index_of(field.name()).is_err()) {
        return Err(RewriteError::Extra { column: extra.name().clone(), target: names(target) });
    }
    let position = |field: &FieldRef| {
        let missing = || RewriteError::Missing { column: field.name().clone(), found: names(input) };
        let (position, found) = input.column_with_name(field.name()).ok_or_else(missing)?;
        match mismatch(found, field) {
            None => Ok(position),
            Some(column) => {
                let (found, expected) = (found.data_type().to_string(), field.data_type().to_string());
                Err(RewriteError::ColumnType { column, found, expected })
            }
        }
    };
    target.fields().iter().map(position).collect()
}

/// The columns at `positions`, cast to `schema`; a null where it may not stand is an error.
fn select(batch: &RecordBatch, positions: &[usize], schema: &SchemaRef) -> Result<RecordBatch, RewriteError> {
    let row = |source| RewriteError::Row { source };
    let column = |(position, field): (&usize, &FieldRef)| -> Result<ArrayRef, RewriteError> {
        let array = batch.column(*position);
        if array.data_type() == field.data_type() {
            return Ok(ArrayRef::clone(array));
        }
        cast_with_options(array, field.data_type(), &STRICT).map_err(row)
    };
    let columns = positions.iter().zip(schema.fields()).map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options).map_err(row)
}

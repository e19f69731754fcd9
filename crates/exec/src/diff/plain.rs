//! One plain form of rows while they are compared: dictionaries and views decoded, columns named as in the new table, the
//! hashes beside them. Batches of one side then have one schema, can be spilled, and can be put together.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use lakeshift_core::migration::Side;

use super::DiffError;
use super::context::{Context, RowId};
use crate::encode::EncodeError;

const HASH_BYTES: i32 = 16;
/// Names of the columns that hold the hashes; they stand behind the compared ones.
const HASH_NAMES: [&str; 2] = ["\u{0}key", "\u{0}row"];

/// The plain schemas of both sides, without the hashes.
#[derive(Debug, Clone, Default)]
pub(super) struct Schemas([Option<SchemaRef>; 2]);

impl Schemas {
    pub(super) fn set(&mut self, side: Side, schema: &SchemaRef) -> &SchemaRef {
        self.0[index(side)].insert(Arc::clone(schema))
    }

    /// The side's schema; the other one's where the side has no files.
    pub(super) fn get(&self, side: Side) -> SchemaRef {
        let [old, new] = &self.0;
        let (first, second) = if side == Side::Old { (old, new) } else { (new, old) };
        first.as_ref().or(second.as_ref()).map_or_else(|| Arc::new(Schema::empty()), Arc::clone)
    }
}

/// The place of a side in pairs of them.
pub(super) fn index(side: Side) -> usize {
    usize::from(side == Side::New)
}

/// The plain schema of a side's files: the compared columns, in order, nullable.
pub(super) fn schema(files: &Schema, columns: &[String], context: &Context<'_>) -> Result<SchemaRef, DiffError> {
    let field = |(column, name): (&String, &String)| {
        let field = files.column_with_name(column).ok_or_else(|| EncodeError::NoColumn { column: column.clone() })?.1;
        Ok::<_, DiffError>(Field::new(name, plain_type(field.data_type()), true))
    };
    let fields = columns.iter().zip(context.columns()).map(field);
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?)))
}

fn plain_type(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type())));
    match data_type {
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(element) => DataType::List(field(element)),
        DataType::LargeList(element) => DataType::LargeList(field(element)),
        DataType::FixedSizeList(element, length) => DataType::FixedSizeList(field(element), *length),
        DataType::Struct(members) => DataType::Struct(members.iter().map(field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}

/// The compared columns of a batch in the side's plain schema.
pub(super) fn rows(
    batch: &RecordBatch,
    columns: &[String],
    schema: &SchemaRef,
    side: Side,
) -> Result<RecordBatch, DiffError> {
    let column = |(column, field): (&String, &FieldRef)| -> Result<ArrayRef, DiffError> {
        let array = batch.column_by_name(column).ok_or_else(|| EncodeError::NoColumn { column: column.clone() })?;
        if array.data_type() == field.data_type() {
            return Ok(Arc::clone(array));
        }
        if plain_type(array.data_type()) != *field.data_type() {
            return Err(DiffError::MixedTypes {
                side,
                column: field.name().clone(),
                expected: field.data_type().to_string(),
                found: array.data_type().to_string(),
            });
        }
        // Only the layout changes, so nothing can be lost; should it be, that is an error and no null.
        let exact = CastOptions { safe: false, ..CastOptions::default() };
        Ok(cast_with_options(array, field.data_type(), &exact)?)
    };
    let arrays = columns.iter().zip(schema.fields()).map(column).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), arrays)?)
}

/// The batch with its rows' hashes behind the compared columns.
pub(super) fn with_ids(batch: &RecordBatch, ids: &[RowId]) -> Result<RecordBatch, DiffError> {
    let hashes = |hash: fn(&RowId) -> u128| {
        let bytes = ids.iter().flat_map(|id| hash(id).to_be_bytes()).collect::<Vec<u8>>();
        FixedSizeBinaryArray::try_new(HASH_BYTES, bytes.into(), None).map(|array| Arc::new(array) as ArrayRef)
    };
    let mut fields: Vec<FieldRef> = batch.schema().fields().to_vec();
    fields.extend(HASH_NAMES.map(|name| Arc::new(Field::new(name, DataType::FixedSizeBinary(HASH_BYTES), false))));
    let mut arrays = batch.columns().to_vec();
    arrays.extend([hashes(|id| id.key)?, hashes(|id| id.row)?]);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// The hashes of a batch made by [`with_ids`].
pub(super) fn ids(batch: &RecordBatch) -> impl Iterator<Item = RowId> + '_ {
    let columns = batch.columns();
    let hashes = |from_end: usize| columns[columns.len() - from_end].as_fixed_size_binary();
    let (keys, rows) = (hashes(2), hashes(1));
    // The columns are as wide as the numbers.
    let number = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().unwrap_or_default());
    (0..batch.num_rows()).map(move |row| RowId { key: number(keys.value(row)), row: number(rows.value(row)) })
}

/// Bytes that a batch takes if it is held on its own.
pub(super) fn batch_bytes(batch: &RecordBatch) -> u64 {
    /// What an array takes beside its buffers.
    const ARRAY_BYTES: u64 = 256;
    let array = |array: &ArrayRef| {
        let data = array.to_data();
        let bytes = data.get_slice_memory_size().unwrap_or_else(|_| data.get_array_memory_size());
        ARRAY_BYTES + bytes as u64
    };
    batch.columns().iter().map(array).sum()
}

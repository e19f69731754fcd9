//! Partition values of whole batches.
//!
//! A [`Partitioner`] gives every row a small number, its [`GroupId`], that stands for one combination of partition values
//! ([`Partitioner::key`]). The values are those of [`Transform::apply`](lakeshift_core::partition::Transform::apply), computed
//! a column at a time.

use std::collections::HashMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use lakeshift_core::partition::{PartitionSpec, Transform, TransformError};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::value::Value;

use crate::types::{self, TypeError};

mod transform;

pub use transform::transform_array;

/// One combination of partition values, numbered from 0 in the order of appearance.
pub type GroupId = u32;

/// Why rows could not be partitioned.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// The spec names a column that the schema lacks.
    #[error("the partition field {field} names the column {column}, which is not there; the columns are {columns}")]
    NoColumn {
        /// The partition field.
        field: String,
        /// The column.
        column: String,
        /// What there is.
        columns: String,
    },
    /// The transform does not take the column's type.
    #[error("the partition field {field} cannot be computed")]
    Transform {
        /// The partition field.
        field: String,
        /// Why.
        #[source]
        source: TransformError,
    },
    /// A value whose partition value does not fit its type: a date outside of the calendar, a truncation that overflows.
    #[error(
        "a value of column {column} has no {transform} that its type can hold; leave the row out by scope.where, or partition by another transform"
    )]
    Range {
        /// The column.
        column: String,
        /// The transform.
        transform: Transform,
    },
    /// A partition value that cannot be told exactly.
    #[error("the partition values of column {column} cannot be told exactly")]
    Value {
        /// The column.
        column: String,
        /// Why.
        #[source]
        source: TypeError,
    },
    /// More partitions than one unit may write.
    #[error("the rows fall into more than {partitions_max} partitions; choose a coarser partitioning, or smaller units")]
    TooMany {
        /// The limit.
        partitions_max: usize,
    },
    /// Arrow refused an operation.
    #[error("the rows could not be partitioned")]
    Arrow(#[from] ArrowError),
}

#[derive(Debug)]
struct BoundField {
    position: usize,
    column: String,
    transform: Transform,
}

/// Groups rows by the values of a partition spec.
#[derive(Debug)]
pub struct Partitioner {
    fields: Vec<BoundField>,
    /// Encodes partition values as bytes that are equal exactly when the values are; absent without partition fields.
    encoder: Option<RowConverter>,
    groups: HashMap<Box<[u8]>, GroupId>,
    keys: Vec<Vec<Option<Value>>>,
    partitions_max: usize,
}

impl Partitioner {
    /// For batches in `schema`'s logical Arrow schema, or with views of its texts and bytes; at most `partitions_max` groups.
    ///
    /// # Errors
    /// [`PartitionError::NoColumn`] and [`PartitionError::Transform`] for a spec that does not fit the schema.
    pub fn new(schema: &TableSchema, spec: &PartitionSpec, partitions_max: usize) -> Result<Self, PartitionError> {
        let (mut fields, mut sort_fields) = (Vec::new(), Vec::new());
        for field in &spec.fields {
            let no_column = || PartitionError::NoColumn {
                field: field.name.clone(),
                column: field.column.clone(),
                columns: schema.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", "),
            };
            let position = schema.position(&field.column).ok_or_else(no_column)?;
            let result = field.transform.result_type(&schema.fields[position].data_type);
            let result = result.map_err(|source| PartitionError::Transform { field: field.name.clone(), source })?;
            let inexact = |source| PartitionError::Value { column: field.column.clone(), source };
            sort_fields.push(SortField::new(types::arrow_type(&result).map_err(inexact)?));
            fields.push(BoundField { position, column: field.column.clone(), transform: field.transform });
        }
        let encoder = if sort_fields.is_empty() { None } else { Some(RowConverter::new(sort_fields)?) };
        Ok(Self { fields, encoder, groups: HashMap::new(), keys: Vec::new(), partitions_max })
    }

    /// The partition values of a group, in the order of the spec's fields.
    ///
    /// # Panics
    /// For a number that this partitioner did not give.
    pub fn key(&self, group: GroupId) -> &[Option<Value>] {
        &self.keys[group as usize]
    }

    /// The number of groups so far.
    pub fn group_count(&self) -> usize {
        self.keys.len()
    }

    /// The group of every row.
    ///
    /// # Errors
    /// [`PartitionError`] for values that have no partition value, and for too many groups.
    pub fn assign(&mut self, batch: &RecordBatch) -> Result<Vec<GroupId>, PartitionError> {
        let columns = self.fields.iter().map(|field| field.values(batch)).collect::<Result<Vec<_>, _>>()?;
        let Some(encoder) = &self.encoder else {
            if self.keys.is_empty() {
                self.keys.push(Vec::new());
            }
            return Ok(vec![0; batch.num_rows()]);
        };
        let rows = encoder.convert_columns(&columns)?;
        let mut ids: Vec<GroupId> = Vec::with_capacity(batch.num_rows());
        for (index, row) in rows.iter().enumerate() {
            // Neighbours often share their partition, which saves the lookup.
            let id = match ids.last() {
                Some(last) if rows.row(index - 1) == row => *last,
                _ => match self.groups.get(row.as_ref()) {
                    Some(id) => *id,
                    None => self.add(row.as_ref(), &columns, index)?,
                },
            };
            ids.push(id);
        }
        Ok(ids)
    }

    fn add(&mut self, encoded: &[u8], columns: &[ArrayRef], row: usize) -> Result<GroupId, PartitionError> {
        let too_many = || PartitionError::TooMany { partitions_max: self.partitions_max };
        if self.keys.len() >= self.partitions_max {
            return Err(too_many());
        }
        let id = GroupId::try_from(self.keys.len()).map_err(|_| too_many())?;
        let value = |(field, column): (&BoundField, &ArrayRef)| {
            types::value_at(column, row).map_err(|source| PartitionError::Value { column: field.column.clone(), source })
        };
        let key = self.fields.iter().zip(columns).map(value).collect::<Result<Vec<_>, _>>()?;
        self.keys.push(key);
        self.groups.insert(encoded.into(), id);
        Ok(id)
    }
}

impl BoundField {
    fn values(&self, batch: &RecordBatch) -> Result<ArrayRef, PartitionError> {
        let array = batch.column(self.position);
        let plain = match array.data_type() {
            DataType::Utf8View => cast(array, &DataType::Utf8)?,
            DataType::BinaryView => cast(array, &DataType::Binary)?,
            _ => ArrayRef::clone(array),
        };
        transform_array(self.transform, &plain, &self.column)
    }
}

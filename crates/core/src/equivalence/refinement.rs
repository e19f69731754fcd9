//! [`Refinement`]: the fields whose values divide the rows of both tables into cells.

use serde::{Deserialize, Serialize};

use super::schema_check::ColumnPair;
use crate::partition::{PartitionField, PartitionSpec, Transform};
use crate::schema::{DataType, TableSchema};

/// The common refinement of two partitionings: every row has one cell, and each table's partition is a union of cells.
/// Columns are named as in the new table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refinement {
    /// The old table's fields, then those of the new one that are not among them.
    pub fields: Vec<PartitionField>,
    /// Fields that divide no cells, and why; the rows are compared all the same, in wider cells.
    pub dropped: Vec<DroppedField>,
}

/// A partition field that does not divide cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedField {
    /// The field.
    pub field: PartitionField,
    /// Why.
    pub reason: String,
}

/// One table's part in the refinement.
#[derive(Debug, Clone, Copy)]
pub struct CellSide<'a> {
    /// Its columns.
    pub schema: &'a TableSchema,
    /// Its partitioning.
    pub partition: &'a PartitionSpec,
}

/// The refinement of both partitionings over the compared columns.
pub fn common_refinement(old: CellSide<'_>, new: CellSide<'_>, columns: &[ColumnPair]) -> Refinement {
    let by_old = |field: &PartitionField| columns.iter().find(|pair| pair.old == field.column);
    let by_new = |field: &PartitionField| columns.iter().find(|pair| pair.new == field.column);
    let candidates = old.partition.fields.iter().map(|field| (field, by_old(field)));
    let candidates = candidates.chain(new.partition.fields.iter().map(|field| (field, by_new(field))));

    let mut refinement = Refinement::default();
    for (field, pair) in candidates {
        match place(field, pair, old.schema, new.schema) {
            Ok(placed) if refinement.has(&placed) => {}
            Ok(placed) => refinement.fields.push(placed),
            Err(reason) => refinement.dropped.push(DroppedField { field: field.clone(), reason }),
        }
    }
    refinement
}

impl Refinement {
    fn has(&self, other: &PartitionField) -> bool {
        self.fields.iter().any(|field| (&field.column, field.transform) == (&other.column, other.transform))
    }
}

/// The field under the new table's column name, if equal values have equal partition values on both sides.
fn place(
    field: &PartitionField,
    pair: Option<&ColumnPair>,
    old: &TableSchema,
    new: &TableSchema,
) -> Result<PartitionField, String> {
    let pair = pair.ok_or_else(|| format!("column {} is not compared", field.column))?;
    let types = old.field(&pair.old).zip(new.field(&pair.new)).map(|(old, new)| (&old.data_type, &new.data_type));
    let (old, new) = types.ok_or_else(|| format!("column {} is not in both tables", field.column))?;
    for side in [old, new] {
        field.transform.result_type(side).map_err(|error| error.to_string())?;
        divides(field.transform, side)?;
    }
    Ok(PartitionField { name: field.name.clone(), column: pair.new.clone(), transform: field.transform })
}

/// Cells are computed from canonical values, which keep no float zeros, no scale and no width: equal values on both sides
/// must have equal partition values.
fn divides(transform: Transform, data_type: &DataType) -> Result<(), String> {
    match (transform, data_type) {
        (_, DataType::Float32 | DataType::Float64) => Err("floats make no cells".to_owned()),
        (Transform::Bucket(_) | Transform::Truncate(_), DataType::Decimal { .. } | DataType::UInt64) => {
            Err(format!("{transform} of {data_type} depends on the scale, which may differ between the tables"))
        }
        _ => Ok(()),
    }
}

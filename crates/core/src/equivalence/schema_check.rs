//! [`SchemaCheck`]: which columns of two tables can be compared, and how their types are related.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::schema::{DataType, Field, TableSchema, TimeUnit};

/// Every column of either table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SchemaCheck {
    /// Columns of the old table in order, then those that only the new table has.
    pub columns: Vec<ColumnCheck>,
}

/// What became of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ColumnCheck {
    /// In both tables, and its values are compared.
    Compared {
        /// Its names.
        #[serde(flatten)]
        pair: ColumnPair,
        /// The old type as text.
        old_type: String,
        /// The new type as text.
        new_type: String,
        /// How the types are related.
        types: TypeMatch,
        /// What became of its nullability.
        nullability: Nullability,
    },
    /// In both tables, but values of these types cannot be compared: the whole is inconclusive.
    Refused {
        /// Its names.
        #[serde(flatten)]
        pair: ColumnPair,
        /// The old type as text.
        old_type: String,
        /// The new type as text.
        new_type: String,
        /// Why.
        reason: String,
    },
    /// The new table lacks it: the tables differ.
    Missing {
        /// Its name in the old table.
        old: String,
        /// Its type as text.
        old_type: String,
    },
    /// Only the new table has it, so there is nothing to compare it with: the whole is inconclusive.
    Added {
        /// Its name in the new table.
        new: String,
        /// Its type as text.
        new_type: String,
    },
}

/// A column under both of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnPair {
    /// The name in the old table.
    pub old: String,
    /// The name in the new table.
    pub new: String,
}

/// How two comparable types are related. Values are compared exactly in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeMatch {
    /// The same type.
    Identical,
    /// The new type holds every value of the old one.
    Widened,
    /// The new type does not hold every value of the old one; equal sums prove that it holds those that there are.
    Narrowed,
}

/// Nullability on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nullability {
    /// The same on both sides.
    Same,
    /// Nulls are allowed in the new table only.
    Relaxed,
    /// Nulls are allowed in the old table only.
    Tightened,
}

impl SchemaCheck {
    /// The columns to encode, in order.
    pub fn compared(&self) -> Vec<ColumnPair> {
        let pair = |column: &ColumnCheck| match column {
            ColumnCheck::Compared { pair, .. } => Some(pair.clone()),
            _ => None,
        };
        self.columns.iter().filter_map(pair).collect()
    }
}

/// Pairs the columns by name, after `renames` (old name to new name), and compares their types.
pub fn compare_schemas(old: &TableSchema, new: &TableSchema, renames: &BTreeMap<String, String>) -> SchemaCheck {
    let new_name = |name: &String| renames.get(name).unwrap_or(name).clone();
    let of_old = |field: &Field| match new.field(&new_name(&field.name)) {
        Some(other) => compare_columns(field, other),
        None => ColumnCheck::Missing { old: field.name.clone(), old_type: field.data_type.to_string() },
    };
    let taken: Vec<String> = old.fields.iter().map(|field| new_name(&field.name)).collect();
    let added = new.fields.iter().filter(|field| !taken.contains(&field.name));
    let of_new = |field: &Field| ColumnCheck::Added { new: field.name.clone(), new_type: field.data_type.to_string() };
    SchemaCheck { columns: old.fields.iter().map(of_old).chain(added.map(of_new)).collect() }
}

fn compare_columns(old: &Field, new: &Field) -> ColumnCheck {
    let pair = ColumnPair { old: old.name.clone(), new: new.name.clone() };
    let (old_type, new_type) = (old.data_type.to_string(), new.data_type.to_string());
    match match_types(&old.data_type, &new.data_type) {
        Ok(types) => {
            ColumnCheck::Compared { pair, old_type, new_type, types, nullability: nullability(old.nullable, new.nullable) }
        }
        Err(reason) => ColumnCheck::Refused { pair, old_type, new_type, reason },
    }
}

fn nullability(old: bool, new: bool) -> Nullability {
    match (old, new) {
        (false, true) => Nullability::Relaxed,
        (true, false) => Nullability::Tightened,
        _ => Nullability::Same,
    }
}

/// How `new` is related to `old`, or why their values cannot be compared.
fn match_types(old: &DataType, new: &DataType) -> Result<TypeMatch, String> {
    use DataType as T;
    if old == new {
        return Ok(TypeMatch::Identical);
    }
    if let (Some(from), Some(to)) = (number_range(old), number_range(new)) {
        return Ok(if to.holds(from) { TypeMatch::Widened } else { TypeMatch::Narrowed });
    }
    let refused = |why: &str| Err(format!("{old} and {new} {why}"));
    match (old, new) {
        (T::Float32, T::Float64) => Ok(TypeMatch::Widened),
        (T::Float64, T::Float32) => Ok(TypeMatch::Narrowed),
        (T::Timestamp { utc: a, .. }, T::Timestamp { utc: b, .. }) if a != b => {
            refused("differ in whether a value is an instant or a wall-clock reading")
        }
        (T::Timestamp { unit: a, .. }, T::Timestamp { unit: b, .. }) | (T::Time { unit: a }, T::Time { unit: b }) => {
            Ok(if digits(*b) >= digits(*a) { TypeMatch::Widened } else { TypeMatch::Narrowed })
        }
        (T::Fixed { length: 16 }, T::Uuid) | (T::Uuid, T::Fixed { length: 16 }) | (T::Fixed { .. } | T::Uuid, T::Binary) => {
            Ok(TypeMatch::Widened)
        }
        (T::Binary | T::Fixed { .. } | T::Uuid, T::Binary | T::Fixed { .. } | T::Uuid) => Ok(TypeMatch::Narrowed),
        (T::Struct { fields: a }, T::Struct { fields: b }) => match_members(a, b),
        (T::List { element: a }, T::List { element: b }) => match_types(&a.data_type, &b.data_type),
        (T::Map { key: a, value: v }, T::Map { key: b, value: w }) => {
            Ok(worse(match_types(&a.data_type, &b.data_type)?, match_types(&v.data_type, &w.data_type)?))
        }
        _ => refused("have no values in common; cast one side in transform.sql"),
    }
}

/// Structs are compared member by member, in order: names and number must agree.
fn match_members(old: &[Field], new: &[Field]) -> Result<TypeMatch, String> {
    let names = |fields: &[Field]| fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
    if names(old) != names(new) {
        return Err(format!("structs with members {:?} and {:?} are not compared", names(old), names(new)));
    }
    let mut all = TypeMatch::Identical;
    for (a, b) in old.iter().zip(new) {
        all = worse(all, match_types(&a.data_type, &b.data_type)?);
    }
    Ok(all)
}

fn worse(a: TypeMatch, b: TypeMatch) -> TypeMatch {
    match (a, b) {
        (TypeMatch::Narrowed, _) | (_, TypeMatch::Narrowed) => TypeMatch::Narrowed,
        (TypeMatch::Widened, _) | (_, TypeMatch::Widened) => TypeMatch::Widened,
        _ => TypeMatch::Identical,
    }
}

/// Integers and decimals are one class of exact numbers: from `min` to `max`, with `scale` digits after the point.
#[derive(Clone, Copy)]
struct NumberRange {
    /// Least and greatest integer.
    integers: (i128, i128),
    scale: u8,
}

impl NumberRange {
    fn holds(self, other: Self) -> bool {
        self.integers.0 <= other.integers.0 && self.integers.1 >= other.integers.1 && self.scale >= other.scale
    }
}

fn number_range(data_type: &DataType) -> Option<NumberRange> {
    use DataType as T;
    let integer = |min: i128, max: i128| Some(NumberRange { integers: (min, max), scale: 0 });
    match data_type {
        T::Int8 => integer(i8::MIN.into(), i8::MAX.into()),
        T::Int16 => integer(i16::MIN.into(), i16::MAX.into()),
        T::Int32 => integer(i32::MIN.into(), i32::MAX.into()),
        T::Int64 => integer(i64::MIN.into(), i64::MAX.into()),
        T::UInt8 => integer(0, u8::MAX.into()),
        T::UInt16 => integer(0, u16::MAX.into()),
        T::UInt32 => integer(0, u32::MAX.into()),
        T::UInt64 => integer(0, u64::MAX.into()),
        T::Decimal { precision, scale } => {
            let max = 10_i128.checked_pow(u32::from(precision.saturating_sub(*scale)))?.checked_sub(1)?;
            Some(NumberRange { integers: (-max, max), scale: *scale })
        }
        _ => None,
    }
}

fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Millis => 3,
        TimeUnit::Micros => 6,
        TimeUnit::Nanos => 9,
    }
}

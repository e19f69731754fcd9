//! What becomes of the new table when the old one's columns change while both are written: [`additions`] tells what can be
//! followed, [`missing`] what of it a table still lacks.
//!
//! Only new top-level columns that may be null are followed: files without them are right as they are. Everything else (a
//! column that is gone, renamed, of another type, or that may be null now) would change what rows that are there mean.

use crate::schema::{DataType, Field, TableSchema};

/// The columns that `later` has and `earlier` lacks, when nothing else has changed.
///
/// # Errors
/// Every change that cannot be followed, in words.
pub fn additions(earlier: &TableSchema, later: &TableSchema) -> Result<Vec<Field>, Vec<String>> {
    let (mut added, mut reasons) = (Vec::new(), Vec::new());
    for field in &later.fields {
        match earlier.field(&field.name) {
            None if field.nullable => added.push(field.clone()),
            None => reasons.push(format!("column {} ({}) is new and must not be null", field.name, field.data_type)),
            Some(before) if !is_same_type(&before.data_type, &field.data_type) => {
                let (before, now) = (&before.data_type, &field.data_type);
                reasons.push(format!("column {} is {now} and was {before}", field.name));
            }
            Some(before) if field.nullable && !before.nullable => {
                reasons.push(format!("column {} may be null now", field.name));
            }
            Some(_) => {}
        }
    }
    let gone = earlier.fields.iter().filter(|field| later.field(&field.name).is_none());
    reasons.extend(gone.map(|field| format!("column {} is gone", field.name)));
    if reasons.is_empty() { Ok(added) } else { Err(reasons) }
}

/// Those of the columns `wanted` that `table` does not have.
///
/// # Errors
/// Why one cannot be added: the table has another column of its name, or its rows would need a value.
pub fn missing(table: &TableSchema, wanted: &[Field]) -> Result<Vec<Field>, String> {
    let mut missing = Vec::new();
    for field in wanted {
        match table.field(&field.name) {
            None if field.nullable => missing.push(field.clone()),
            None => return Err(format!("column {}, which is to be added, must not be null", field.name)),
            Some(there) if is_same_type(&there.data_type, &field.data_type) => {}
            Some(there) => {
                let (there, wanted) = (&there.data_type, &field.data_type);
                return Err(format!("the table has column {} as {there}, where {wanted} is to be added", field.name));
            }
        }
    }
    Ok(missing)
}

/// Whether two types hold the same values, whatever ids and names in files their members have. Other than
/// [`crate::plan::same_type`] it tells apart members that may be null from those that may not: files of the time before are
/// registered under the new columns unread.
fn is_same_type(a: &DataType, b: &DataType) -> bool {
    let same = |a: &Field, b: &Field| a.nullable == b.nullable && is_same_type(&a.data_type, &b.data_type);
    match (a, b) {
        (DataType::Struct { fields: a }, DataType::Struct { fields: b }) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && same(a, b))
        }
        (DataType::List { element: a }, DataType::List { element: b }) => same(a, b),
        (DataType::Map { key: a, value: v }, DataType::Map { key: b, value: w }) => same(a, b) && same(v, w),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType, bool)]) -> TableSchema {
        let field = |(name, data_type, nullable): &(&str, DataType, bool)| Field::new(*name, data_type.clone(), *nullable);
        TableSchema { fields: fields.iter().map(field).collect() }
    }

    fn names(fields: &[Field]) -> Vec<&str> {
        fields.iter().map(|field| field.name.as_str()).collect()
    }

    #[test]
    fn new_columns_that_may_be_null_are_followed_wherever_they_stand() {
        let earlier = schema(&[("id", DataType::Int64, false), ("name", DataType::String, true)]);
        let later = schema(&[
            ("gate", DataType::String, true),
            ("name", DataType::String, true),
            ("id", DataType::Int64, false),
            ("seats", DataType::Int32, true),
        ]);
        assert_eq!(names(&additions(&earlier, &later).unwrap()), ["gate", "seats"]);
        assert_eq!(names(&additions(&later, &later).unwrap()), [""; 0]);
    }

    #[test]
    fn all_other_changes_are_told_and_not_followed() {
        let earlier =
            schema(&[("id", DataType::Int32, false), ("name", DataType::String, false), ("gate", DataType::Date, true)]);
        let later =
            schema(&[("id", DataType::Int64, false), ("name", DataType::String, true), ("seats", DataType::Int32, false)]);
        let reasons = additions(&earlier, &later).unwrap_err();
        assert_eq!(
            reasons,
            [
                "column id is int64 and was int32",
                "column name may be null now",
                "column seats (int32) is new and must not be null",
                "column gate is gone",
            ]
        );
    }

    #[test]
    fn members_of_a_struct_are_part_of_its_type_and_their_ids_are_not() {
        let of = |names: &[&str], id| DataType::Struct {
            fields: names.iter().map(|name| Field { id, ..Field::new(*name, DataType::Int32, true) }).collect(),
        };
        let [one, other, wider] = [of(&["a"], None), of(&["a"], Some(7)), of(&["a", "b"], None)];
        let single = |data_type: &DataType| schema(&[("s", data_type.clone(), true)]);
        assert!(additions(&single(&one), &single(&other)).unwrap().is_empty());
        assert_eq!(additions(&single(&one), &single(&wider)).unwrap_err().len(), 1);
    }

    #[test]
    fn what_a_table_has_already_is_not_added_again() {
        let table = schema(&[("id", DataType::Int64, false), ("gate", DataType::String, true)]);
        let wanted =
            |data_type, nullable| [Field::new("gate", data_type, nullable), Field::new("seats", DataType::Int32, true)];
        assert_eq!(names(&missing(&table, &wanted(DataType::String, true)).unwrap()), ["seats"]);
        assert!(missing(&table, &wanted(DataType::Date, true)).unwrap_err().contains("gate"));
        assert!(missing(&table, &[Field::new("tail", DataType::Int32, false)]).unwrap_err().contains("tail"));
    }
}

//! What becomes of the new table when the old one's columns change while both are written: [`followable`] tells what can be
//! followed, [`missing`] what of it a table still lacks.
//!
//! Followed are new top-level columns that may be null, and wider types of top-level columns: files of the time before are
//! right as they are. Everything else (a column that is gone, renamed, of another type, or that may be null now) would change
//! what rows that are there mean.

use crate::schema::{DataType, Field, TableSchema};

/// The columns that `later` has and `earlier` lacks or has narrower, when nothing else has changed.
///
/// # Errors
/// Every change that cannot be followed, in words.
pub fn followable(earlier: &TableSchema, later: &TableSchema) -> Result<Vec<Field>, Vec<String>> {
    let (mut followed, mut reasons) = (Vec::new(), Vec::new());
    for field in &later.fields {
        match earlier.field(&field.name) {
            None if field.nullable => followed.push(field.clone()),
            None => reasons.push(format!("column {} ({}) is new and must not be null", field.name, field.data_type)),
            Some(before) if field.nullable && !before.nullable => {
                reasons.push(format!("column {} may be null now", field.name));
            }
            Some(before) if is_same_type(&before.data_type, &field.data_type) => {}
            Some(before) if is_wider(&before.data_type, &field.data_type) => followed.push(field.clone()),
            Some(before) => reasons.push(changed_type(before, field)),
        }
    }
    let gone = earlier.fields.iter().filter(|field| later.field(&field.name).is_none());
    reasons.extend(gone.map(|field| format!("column {} is gone", field.name)));
    if reasons.is_empty() { Ok(followed) } else { Err(reasons) }
}

/// Columns that have another name now, by the ids that their formats give them: before and after.
pub fn renamed(earlier: &TableSchema, later: &TableSchema) -> Vec<(String, String)> {
    let now = |before: &Field| later.fields.iter().find(|field| field.id.is_some() && field.id == before.id);
    let pairs = earlier.fields.iter().filter_map(|before| Some((before, now(before)?)));
    pairs
        .filter(|(before, now)| before.name != now.name)
        .map(|(before, now)| (before.name.clone(), now.name.clone()))
        .collect()
}

/// Those of the columns `wanted` that `table` does not have, or has narrower.
///
/// # Errors
/// Why one cannot be had: the table has another column of its name, or its rows would need a value.
pub fn missing(table: &TableSchema, wanted: &[Field]) -> Result<Vec<Field>, String> {
    let mut missing = Vec::new();
    for field in wanted {
        match table.field(&field.name) {
            None if field.nullable => missing.push(field.clone()),
            None => return Err(format!("column {}, which is to be added, must not be null", field.name)),
            Some(there) if is_same_type(&there.data_type, &field.data_type) => {}
            Some(there) if is_wider(&there.data_type, &field.data_type) => missing.push(field.clone()),
            Some(there) => {
                let (there, wanted) = (&there.data_type, &field.data_type);
                return Err(format!("the table has column {} as {there}, where {wanted} is to be added", field.name));
            }
        }
    }
    Ok(missing)
}

/// What a column was and is.
pub fn changed_type(before: &Field, now: &Field) -> String {
    format!("column {} is {} and was {}", now.name, now.data_type, before.data_type)
}

/// Whether every value of `narrow` is one of `wide`, and readers of a `wide` column read it from files that have it `narrow`:
/// what Iceberg calls promotion.
pub fn is_wider(narrow: &DataType, wide: &DataType) -> bool {
    use DataType as T;
    match (narrow, wide) {
        (T::Int32, T::Int64) | (T::Float32, T::Float64) => true,
        (T::Decimal { precision, scale }, T::Decimal { precision: more, scale: same }) => precision < more && scale == same,
        _ => false,
    }
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
    use rstest::rstest;

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
        assert_eq!(names(&followable(&earlier, &later).unwrap()), ["gate", "seats"]);
        assert_eq!(names(&followable(&later, &later).unwrap()), [""; 0]);
    }

    #[test]
    fn all_other_changes_are_told_and_not_followed() {
        let earlier =
            schema(&[("id", DataType::Int64, false), ("name", DataType::String, false), ("gate", DataType::Date, true)]);
        let later =
            schema(&[("id", DataType::Int32, false), ("name", DataType::String, true), ("seats", DataType::Int32, false)]);
        let reasons = followable(&earlier, &later).unwrap_err();
        assert_eq!(
            reasons,
            [
                "column id is int32 and was int64",
                "column name may be null now",
                "column seats (int32) is new and must not be null",
                "column gate is gone",
            ]
        );
    }

    #[rstest]
    #[case(DataType::Int32, DataType::Int64, true)]
    #[case(DataType::Float32, DataType::Float64, true)]
    #[case(DataType::Decimal { precision: 9, scale: 2 }, DataType::Decimal { precision: 18, scale: 2 }, true)]
    #[case(DataType::Decimal { precision: 9, scale: 2 }, DataType::Decimal { precision: 18, scale: 4 }, false)]
    #[case(DataType::Int64, DataType::Int32, false)]
    #[case(DataType::Int32, DataType::Float64, false)]
    #[case(DataType::Date, DataType::Timestamp { unit: crate::schema::TimeUnit::Micros, utc: false }, false)]
    #[case(DataType::Int32, DataType::String, false)]
    fn only_types_that_hold_every_value_of_the_narrower_one_are_followed(
        #[case] before: DataType,
        #[case] now: DataType,
        #[case] follows: bool,
    ) {
        let (before, now) = (schema(&[("n", before, true)]), schema(&[("n", now, true)]));
        assert_eq!(followable(&before, &now).map(|fields| fields == now.fields).unwrap_or(false), follows);
        assert_eq!(missing(&before, &now.fields).map(|fields| fields == now.fields).unwrap_or(false), follows);
        assert!(missing(&now, &now.fields).unwrap().is_empty(), "what it has already it does not get again");
        // Rows that are there would have to be looked at for null.
        let nullable = |field: &Field| Field { nullable: true, ..field.clone() };
        let strict =
            TableSchema { fields: before.fields.iter().map(|field| Field { nullable: false, ..field.clone() }).collect() };
        let loose = TableSchema { fields: now.fields.iter().map(nullable).collect() };
        assert!(followable(&strict, &loose).unwrap_err()[0].contains("may be null now"));
    }

    #[test]
    fn a_column_of_another_name_is_known_by_its_id() {
        let of = |name: &str, id| Field { id: Some(id), ..Field::new(name, DataType::Int64, true) };
        let earlier = TableSchema { fields: vec![of("a", 1), of("b", 2), Field::new("c", DataType::Int64, true)] };
        let later = TableSchema { fields: vec![of("b", 2), of("z", 1), Field::new("d", DataType::Int64, true)] };
        assert_eq!(renamed(&earlier, &later), [("a".to_owned(), "z".to_owned())]);
    }

    #[test]
    fn members_of_a_struct_are_part_of_its_type_and_their_ids_are_not() {
        let of = |names: &[&str], id| DataType::Struct {
            fields: names.iter().map(|name| Field { id, ..Field::new(*name, DataType::Int32, true) }).collect(),
        };
        let [one, other, wider] = [of(&["a"], None), of(&["a"], Some(7)), of(&["a", "b"], None)];
        let single = |data_type: &DataType| schema(&[("s", data_type.clone(), true)]);
        assert!(followable(&single(&one), &single(&other)).unwrap().is_empty());
        assert_eq!(followable(&single(&one), &single(&wider)).unwrap_err().len(), 1);
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

//! The lossless image of every logical type in every target format: identical, widened by a named rule, or refused.
//!
//! A refusal stops the plan before anything is written. Nothing is narrowed or cut.

use crate::partition::{PartitionSpec, Transform};
use crate::schema::{DataType, Field, TableSchema, TimeUnit};
use crate::spec::SortColumn;
use crate::table::Format;

/// The rule of a name that Delta has only with column mapping.
const MAPPED: &str = "the name needs Delta's column mapping: reader version 2, writer version 5";

/// How one column is carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMapping {
    /// The column's name.
    pub name: String,
    /// Its type in the source (after the spec's logic).
    pub from: DataType,
    /// Its type in the target.
    pub to: DataType,
    /// The rule by which its type is widened or its name kept; `None` when nothing is needed for either.
    pub rule: Option<&'static str>,
    /// What `target.columns` makes of it, in words; `None` where it stays as it is.
    pub change: Option<String>,
}

/// A column that the target cannot hold without loss.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of type {data_type} has no lossless image in {format}: {advice}")]
pub struct Refused {
    /// The column, dotted where nested.
    pub column: String,
    /// Its type.
    pub data_type: String,
    /// The target's format.
    pub format: Format,
    /// What to do.
    pub advice: &'static str,
}

/// Maps a schema to `format`.
///
/// # Errors
/// Every column that is refused, not only the first.
pub fn map_schema(schema: &TableSchema, format: Format) -> Result<(TableSchema, Vec<ColumnMapping>), Vec<Refused>> {
    let (mut fields, mut mappings, mut refused) = (Vec::new(), Vec::new(), names(schema, format));
    for field in &schema.fields {
        let mut rule = None;
        match map_type(&field.data_type, format, &mut rule) {
            Ok(to) => {
                mappings.push(ColumnMapping {
                    name: field.name.clone(),
                    from: field.data_type.clone(),
                    to: to.clone(),
                    rule: rule.or_else(|| (format == Format::Delta && needs_delta_mapping(field)).then_some(MAPPED)),
                    change: None,
                });
                fields.push(Field::new(field.name.clone(), to, field.nullable));
            }
            Err((path, data_type, advice)) => refused.push(Refused {
                column: std::iter::once(field.name.clone()).chain(path).collect::<Vec<_>>().join("."),
                data_type: data_type.to_string(),
                format,
                advice,
            }),
        }
    }
    if refused.is_empty() { Ok((TableSchema { fields }, mappings)) } else { Err(refused) }
}

/// Gives the target's columns the field ids of the source's columns of the same names, at every level: files that are
/// adopted have these ids in them.
pub fn keep_ids(target: &mut TableSchema, source: &TableSchema) {
    for field in &mut target.fields {
        if let Some(same) = source.field(&field.name) {
            keep_field_ids(field, same);
        }
    }
}

fn keep_field_ids(target: &mut Field, source: &Field) {
    use DataType as T;
    target.id = source.id;
    match (&mut target.data_type, &source.data_type) {
        (T::Struct { fields }, T::Struct { fields: same }) => {
            for field in fields {
                if let Some(same) = same.iter().find(|same| same.name == field.name) {
                    keep_field_ids(field, same);
                }
            }
        }
        (T::List { element }, T::List { element: same }) => keep_field_ids(element, same),
        (T::Map { key, value }, T::Map { key: same_key, value: same_value }) => {
            keep_field_ids(key, same_key);
            keep_field_ids(value, same_value);
        }
        _ => {}
    }
}

/// Partition fields that the target cannot have.
pub fn check_partition(schema: &TableSchema, partition: &PartitionSpec, format: Format) -> Vec<String> {
    let check = |field: &crate::partition::PartitionField| match schema.field(&field.column) {
        None => Some(format!("partition column {} is not among the target's columns", field.column)),
        Some(_) if format == Format::Delta && field.transform != Transform::Identity => Some(format!(
            "Delta partitions by columns, not by {}({}); add the column by transform.sql and partition by it",
            field.transform, field.column
        )),
        Some(column) => field.transform.result_type(&column.data_type).err().map(|error| error.to_string()),
    };
    partition.fields.iter().filter_map(check).collect()
}

/// Columns that the target's rows cannot be sorted by.
pub fn check_sort(schema: &TableSchema, sort: &[SortColumn]) -> Vec<String> {
    let check = |by: &SortColumn| match schema.field(&by.column).map(|column| &column.data_type) {
        None => Some(format!("sort column {} is not among the target's columns", by.column)),
        Some(DataType::Struct { .. } | DataType::List { .. } | DataType::Map { .. }) => {
            Some(format!("sort column {} is nested; sort by columns of single values", by.column))
        }
        Some(_) => None,
    };
    sort.iter().filter_map(check).collect()
}

/// Names that are one and the same to the format.
fn names(schema: &TableSchema, format: Format) -> Vec<Refused> {
    let mut seen = std::collections::BTreeSet::new();
    let refused = |field: &Field, advice| Refused {
        column: field.name.clone(),
        data_type: field.data_type.to_string(),
        format,
        advice,
    };
    let twice = "another column has the same name but for case; rename one by target.columns";
    let check = |field: &Field| (!seen.insert(field.name.to_lowercase())).then(|| refused(field, twice));
    schema.fields.iter().filter_map(check).collect()
}

/// Whether a Delta table that has this column maps its columns by name (reader version 2, writer version 5): without that no
/// column or member has a space or one of `,;{}()=` in its name.
pub fn needs_delta_mapping(field: &Field) -> bool {
    let below = match &field.data_type {
        DataType::Struct { fields } => fields.iter().any(needs_delta_mapping),
        DataType::List { element } => needs_delta_mapping(element),
        DataType::Map { key, value } => needs_delta_mapping(key) || needs_delta_mapping(value),
        _ => false,
    };
    below || field.name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='])
}

type RefusedType = (Vec<String>, DataType, &'static str);

fn map_type(from: &DataType, format: Format, rule: &mut Option<&'static str>) -> Result<DataType, RefusedType> {
    use DataType as T;
    let iceberg = format == Format::Iceberg;
    let refuse = |advice| Err((Vec::new(), from.clone(), advice));
    let mut widen = |to: DataType, name: &'static str| {
        *rule = Some(name);
        Ok(to)
    };
    match from {
        T::Int8 | T::Int16 if iceberg => widen(T::Int32, "small integers become 32 bits wide"),
        T::UInt8 if iceberg => widen(T::Int32, "unsigned integers become the next wider signed one"),
        T::UInt8 => widen(T::Int16, "unsigned integers become the next wider signed one"),
        T::UInt16 => widen(T::Int32, "unsigned integers become the next wider signed one"),
        T::UInt32 => widen(T::Int64, "unsigned integers become the next wider signed one"),
        T::UInt64 => widen(T::Decimal { precision: 20, scale: 0 }, "unsigned 64-bit integers become decimal(20,0)"),
        T::Timestamp { unit: TimeUnit::Millis, utc } => {
            widen(T::Timestamp { unit: TimeUnit::Micros, utc: *utc }, "milliseconds become microseconds")
        }
        T::Timestamp { unit: TimeUnit::Nanos, .. } | T::Time { unit: TimeUnit::Nanos } => refuse(
            "nanoseconds would be cut; give a timestamp its type by target.columns, which is exact, or cast it in transform.sql",
        ),
        T::Time { .. } if !iceberg => refuse("Delta has no time of day; cast it in transform.sql"),
        T::Time { unit: TimeUnit::Millis } => widen(T::Time { unit: TimeUnit::Micros }, "milliseconds become microseconds"),
        T::Fixed { .. } if !iceberg => widen(T::Binary, "fixed-length bytes become bytes"),
        T::Uuid if !iceberg => refuse("Delta has no UUID; cast it to text in transform.sql"),
        T::Struct { fields } => {
            let mapped: Result<Vec<_>, _> = fields.iter().map(|field| map_member(field, format, rule)).collect();
            Ok(T::Struct { fields: mapped? })
        }
        T::List { element } => Ok(T::List { element: Box::new(map_member(element, format, rule)?) }),
        T::Map { key, value } => {
            Ok(T::Map { key: Box::new(map_member(key, format, rule)?), value: Box::new(map_member(value, format, rule)?) })
        }
        same => Ok(same.clone()),
    }
}

fn map_member(field: &Field, format: Format, rule: &mut Option<&'static str>) -> Result<Field, RefusedType> {
    match map_type(&field.data_type, format, rule) {
        Ok(data_type) => Ok(Field::new(field.name.clone(), data_type, field.nullable)),
        Err((mut path, data_type, advice)) => {
            path.insert(0, field.name.clone());
            Err((path, data_type, advice))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::PartitionField;

    fn one(name: &str, data_type: DataType) -> TableSchema {
        TableSchema { fields: vec![Field::new(name, data_type, true)] }
    }

    #[test]
    fn nothing_is_narrowed_and_a_nested_refusal_names_its_path() {
        let nanos = DataType::Timestamp { unit: TimeUnit::Nanos, utc: true };
        let list = DataType::List { element: Box::new(Field::new("element", nanos, true)) };
        for format in [Format::Delta, Format::Iceberg] {
            let refused = map_schema(&one("at", list.clone()), format).unwrap_err();
            assert_eq!(refused[0].column, "at.element");
            let (schema, mappings) = map_schema(&one("n", DataType::UInt64), format).unwrap();
            assert_eq!(schema.fields[0].data_type, DataType::Decimal { precision: 20, scale: 0 });
            assert!(mappings[0].rule.is_some());
        }
    }

    #[test]
    fn columns_keep_their_field_ids_at_every_level() {
        let numbered = |name: &str, id, data_type| Field { id: Some(id), ..Field::new(name, data_type, true) };
        let list = DataType::List { element: Box::new(numbered("element", 9, DataType::Int16)) };
        let source = TableSchema { fields: vec![numbered("b", 7, DataType::Int64), numbered("a", 4, list)] };
        let (mut target, _) = map_schema(&source, Format::Iceberg).unwrap();
        target.fields.push(Field::new("new", DataType::Int64, true));
        keep_ids(&mut target, &source);
        assert_eq!(target.fields.iter().map(|field| field.id).collect::<Vec<_>>(), [Some(7), Some(4), None]);
        let DataType::List { element } = &target.fields[1].data_type else { panic!("{target:?}") };
        assert_eq!((element.id, &element.data_type), (Some(9), &DataType::Int32));
    }

    #[test]
    fn names_equal_but_for_case_are_refused_and_special_ones_are_mapped() {
        let mut schema = one("Id", DataType::Int64);
        schema.fields.push(Field::new("id", DataType::Int64, true));
        assert_eq!(map_schema(&schema, Format::Iceberg).unwrap_err().len(), 1);
        let rule = |name: &str, format| map_schema(&one(name, DataType::Int64), format).unwrap().1[0].rule;
        assert_eq!(rule("a b", Format::Delta), Some(MAPPED));
        assert_eq!(rule("a b", Format::Iceberg), None);
        assert_eq!(rule("a.b", Format::Delta), None);
    }

    #[test]
    fn delta_refuses_a_transform_and_a_missing_column_is_named() {
        let schema = one("at", DataType::Date);
        let month = PartitionSpec { fields: vec![PartitionField::new("at", Transform::Month)] };
        assert!(check_partition(&schema, &month, Format::Iceberg).is_empty());
        assert_eq!(check_partition(&schema, &month, Format::Delta).len(), 1);
        let other = PartitionSpec { fields: vec![PartitionField::new("day", Transform::Identity)] };
        assert!(check_partition(&schema, &other, Format::Iceberg)[0].contains("day"));
    }
}

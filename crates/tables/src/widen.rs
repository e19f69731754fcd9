//! Which type holds the values of two others without loss: one rule for the union of a folder's files and for files that
//! are registered in a table.

use lakeshift_core::schema::{DataType, Field, TimeUnit};

/// Whether every value of a column of type `file` is a value of type `table`, and as such read by the table's readers.
pub(crate) fn fits(file: &DataType, table: &DataType) -> bool {
    widen(file, table).is_some_and(|both| without_nullability(&both) == without_nullability(table))
}

fn without_nullability(data_type: &DataType) -> DataType {
    let plain = |field: &Field| Field::new(field.name.clone(), without_nullability(&field.data_type), true);
    match data_type {
        DataType::Struct { fields } => DataType::Struct { fields: fields.iter().map(plain).collect() },
        DataType::List { element } => DataType::List { element: Box::new(plain(element)) },
        DataType::Map { key, value } => DataType::Map { key: Box::new(plain(key)), value: Box::new(plain(value)) },
        other => other.clone(),
    }
}

/// The narrowest type that holds every value of both.
pub(crate) fn widen(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as T;
    if a == b {
        return Some(a.clone());
    }
    if let (Some(x), Some(y)) = (signed_rank(a), signed_rank(b)) {
        return Some(if x < y { b.clone() } else { a.clone() });
    }
    if let (Some(x), Some(y)) = (unsigned_rank(a), unsigned_rank(b)) {
        return Some(if x < y { b.clone() } else { a.clone() });
    }
    match (a, b) {
        (T::Float32, T::Float64) | (T::Float64, T::Float32) => Some(T::Float64),
        (T::Decimal { precision: p, scale: s }, T::Decimal { precision: q, scale: t }) if s == t => {
            Some(T::Decimal { precision: *p.max(q), scale: *s })
        }
        (T::Timestamp { unit: u, utc: x }, T::Timestamp { unit: v, utc: y }) if x == y => {
            Some(T::Timestamp { unit: finer(*u, *v)?, utc: *x })
        }
        (T::Time { unit: u }, T::Time { unit: v }) => Some(T::Time { unit: finer(*u, *v)? }),
        (T::List { element: x }, T::List { element: y }) => Some(T::List { element: Box::new(widen_field(x, y)?) }),
        (T::Map { key: k, value: x }, T::Map { key: l, value: y }) => {
            Some(T::Map { key: Box::new(widen_field(k, l)?), value: Box::new(widen_field(x, y)?) })
        }
        (T::Struct { fields: x }, T::Struct { fields: y }) => widen_members(x, y),
        _ => None,
    }
}

fn widen_field(a: &Field, b: &Field) -> Option<Field> {
    (a.name == b.name).then_some(())?;
    Some(Field::new(a.name.clone(), widen(&a.data_type, &b.data_type)?, a.nullable || b.nullable))
}

fn widen_members(a: &[Field], b: &[Field]) -> Option<DataType> {
    let mut fields = Vec::new();
    for field in a {
        fields.push(match b.iter().find(|other| other.name.eq_ignore_ascii_case(&field.name)) {
            Some(other) => widen_field(field, other)?,
            None => Field { nullable: true, ..field.clone() },
        });
    }
    let new = b.iter().filter(|field| a.iter().all(|other| !other.name.eq_ignore_ascii_case(&field.name)));
    fields.extend(new.map(|field| Field { nullable: true, ..field.clone() }));
    Some(DataType::Struct { fields })
}

fn signed_rank(data_type: &DataType) -> Option<usize> {
    [DataType::Int8, DataType::Int16, DataType::Int32, DataType::Int64].iter().position(|known| known == data_type)
}

fn unsigned_rank(data_type: &DataType) -> Option<usize> {
    [DataType::UInt8, DataType::UInt16, DataType::UInt32, DataType::UInt64].iter().position(|known| known == data_type)
}

/// Microseconds hold milliseconds; nanoseconds do not hold the range of either.
fn finer(a: TimeUnit, b: TimeUnit) -> Option<TimeUnit> {
    match (a, b) {
        (a, b) if a == b => Some(a),
        (TimeUnit::Millis, TimeUnit::Micros) | (TimeUnit::Micros, TimeUnit::Millis) => Some(TimeUnit::Micros),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn decimal(precision: u8, scale: u8) -> DataType {
        DataType::Decimal { precision, scale }
    }

    fn list(element: DataType) -> DataType {
        DataType::List { element: Box::new(Field::new("element", element, false)) }
    }

    #[rstest]
    #[case(DataType::Int32, DataType::Int64, true)]
    #[case(DataType::Int64, DataType::Int32, false)]
    #[case(DataType::Int32, DataType::Float64, false)]
    #[case(DataType::Float32, DataType::Float64, true)]
    #[case(DataType::UInt32, DataType::Int64, false)]
    #[case(decimal(10, 2), decimal(18, 2), true)]
    #[case(decimal(10, 2), decimal(18, 4), false)]
    #[case(DataType::Timestamp { unit: TimeUnit::Millis, utc: true }, DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, true)]
    #[case(DataType::Timestamp { unit: TimeUnit::Nanos, utc: true }, DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, false)]
    #[case(DataType::Timestamp { unit: TimeUnit::Micros, utc: false }, DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, false)]
    #[case(DataType::String, DataType::Binary, false)]
    #[case(list(DataType::Int32), list(DataType::Int64), true)]
    fn only_a_lossless_type_fits(#[case] file: DataType, #[case] table: DataType, #[case] expected: bool) {
        assert_eq!(fits(&file, &table), expected);
    }
}

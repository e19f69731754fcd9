//! Which types of a file's column become a table's type without losing anything.

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// The path of the first column or member of `file` that does not widen to `table` without loss; `None` when all do.
pub(crate) fn mismatch(file: &Field, table: &Field) -> Option<String> {
    let own = || Some(table.name().clone());
    let below = |path: Option<String>| path.map(|path| format!("{}.{path}", table.name()));
    match (file.data_type(), table.data_type()) {
        (DataType::Struct(from), DataType::Struct(to)) => below(members_mismatch(from, to)),
        (DataType::List(from) | DataType::LargeList(from), DataType::List(to)) => below(element_mismatch(from, to)),
        (DataType::Map(from, _), DataType::Map(to, _)) => match (from.data_type(), to.data_type()) {
            (DataType::Struct(from), DataType::Struct(to)) if from.len() == 2 && to.len() == 2 => {
                below(element_mismatch(&from[0], &to[0]).or_else(|| element_mismatch(&from[1], &to[1])))
            }
            _ => own(),
        },
        (from, to) => {
            if widens(from, to) {
                None
            } else {
                own()
            }
        }
    }
}

/// Elements, keys and values pair by place, members of a struct by name.
fn element_mismatch(file: &Field, table: &Field) -> Option<String> {
    if file.is_nullable() && !table.is_nullable() { Some(table.name().clone()) } else { mismatch(file, table) }
}

fn members_mismatch(file: &Fields, table: &Fields) -> Option<String> {
    table.iter().find_map(|member| match file.find(member.name()) {
        Some((_, found)) => element_mismatch(found, member),
        None if member.is_nullable() => None,
        None => Some(member.name().clone()),
    })
}

fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (from, to) if from == to => true,
        (T::Dictionary(_, values), to) => widens(values, to),
        (from, T::Dictionary(_, values)) => widens(from, values),
        (T::Float32, T::Float64) => true,
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8 | T::Utf8View) => true,
        (T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_), T::Binary | T::BinaryView) => true,
        (T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s), T::Decimal128(q, t)) => {
            s <= t && i16::from(*p) - i16::from(*s) <= i16::from(*q) - i16::from(*t)
        }
        (T::Time32(from) | T::Time64(from), T::Time32(to) | T::Time64(to)) => resolution(*from) <= resolution(*to),
        (T::Timestamp(from, from_zone), T::Timestamp(to, to_zone)) => {
            from_zone.is_some() == to_zone.is_some() && resolution(*from) <= resolution(*to)
        }
        (from, to) if from.is_integer() && to.is_integer() => integer_widens(from, to),
        (from, T::Decimal128(p, s)) if from.is_integer() => digits(from) <= i16::from(*p) - i16::from(*s),
        _ => false,
    }
}

fn resolution(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

/// Decimal digits that hold every integer of the type.
fn digits(integer: &DataType) -> i16 {
    match integer {
        DataType::Int8 | DataType::UInt8 => 3,
        DataType::Int16 | DataType::UInt16 => 5,
        DataType::Int32 | DataType::UInt32 => 10,
        DataType::Int64 => 19,
        _ => 20,
    }
}

fn integer_widens(from: &DataType, to: &DataType) -> bool {
    let (from_signed, to_signed) = (from.is_signed_integer(), to.is_signed_integer());
    let (Some(from), Some(to)) = (from.primitive_width(), to.primitive_width()) else { return false };
    match (from_signed, to_signed) {
        (true, true) | (false, false) => from <= to,
        (false, true) => from < to,
        (true, false) => false,
    }
}

#[cfg(test)]
mod tests {
    use DataType as T;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(T::Int32, T::Int64, true)]
    #[case(T::Int64, T::Int32, false)]
    #[case(T::UInt32, T::Int64, true)]
    #[case(T::UInt32, T::Int32, false)]
    #[case(T::Int8, T::UInt64, false)]
    #[case(T::Int32, T::Float64, false)]
    #[case(T::Float64, T::Float32, false)]
    #[case(T::UInt64, T::Decimal128(20, 0), true)]
    #[case(T::UInt64, T::Decimal128(20, 1), false)]
    #[case(T::Int64, T::Decimal128(19, 0), true)]
    #[case(T::Int32, T::Decimal128(9, 0), false)]
    #[case(T::Decimal128(10, 2), T::Decimal128(18, 2), true)]
    #[case(T::Decimal128(10, 2), T::Decimal128(10, 3), false)]
    #[case(T::Decimal128(10, 2), T::Decimal128(18, 1), false)]
    #[case(T::Timestamp(TimeUnit::Millisecond, None), T::Timestamp(TimeUnit::Microsecond, None), true)]
    #[case(T::Timestamp(TimeUnit::Nanosecond, None), T::Timestamp(TimeUnit::Microsecond, None), false)]
    #[case(T::Timestamp(TimeUnit::Microsecond, None), T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)]
    #[case(T::Binary, T::Utf8, false)]
    #[case(T::Utf8, T::Int32, false)]
    #[case(T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8)), T::Utf8, true)]
    fn only_a_lossless_change_of_type_widens(#[case] from: T, #[case] to: T, #[case] fits: bool) {
        assert_eq!(mismatch(&Field::new("a", from, true), &Field::new("a", to, true)).is_none(), fits);
    }

    #[test]
    fn a_nested_mismatch_names_its_path() {
        let list = |element: T, nullable| {
            let member = Field::new("x", T::List(Field::new("element", element, nullable).into()), true);
            Field::new("s", T::Struct(vec![member].into()), true)
        };
        assert_eq!(mismatch(&list(T::Int32, false), &list(T::Int64, true)), None);
        assert_eq!(mismatch(&list(T::Int64, true), &list(T::Int32, true)), Some("s.x.element".to_owned()));
        assert_eq!(mismatch(&list(T::Int32, true), &list(T::Int32, false)), Some("s.x.element".to_owned()));
    }
}

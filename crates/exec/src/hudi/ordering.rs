//! Ordering values: which of two records of one key is the greater.

use std::cmp::Ordering;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};
use lakeshift_core::avro;
use lakeshift_core::hudi::{MergeOrder, MergeRule};
use lakeshift_core::value::Value;

use super::decode::unscaled;
use super::error::{HudiError, damaged, unsupported};
use crate::types::value_at;

/// The branch of an int in a delete's ordering value.
const INT_BRANCH: usize = 2;
/// The scale of decimals in delete blocks.
const DELETE_DECIMAL_SCALE: u32 = 15;

/// Where a record stands among those of its key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rank {
    /// By arrival: a delete without an ordering value, and every record where only arrival counts.
    Arrival,
    /// By these values; none where it is null.
    Values(Vec<Option<Value>>),
    /// By these values, which Hudi holds in another class than the column's, and never compares with it: a delete.
    OtherClass(Vec<Option<Value>>),
}

/// Which of two records stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stays {
    /// The one that came first.
    Older,
    /// The one that came later.
    Newer,
}

/// Where the two records are that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pair {
    /// Both in log files.
    Logs,
    /// The older one in the base file.
    BaseAndLog,
}

/// Which of two records of one key stays.
///
/// # Errors
/// [`HudiError::Unsupported`] where releases of Hudi give different answers, or a value is null.
pub(super) fn stays(file: &str, order: MergeOrder, pair: Pair, older: &Rank, newer: &Rank) -> Result<Stays, HudiError> {
    let compared = match (order, pair) {
        (MergeOrder::CommitTime, _) | (MergeOrder::CommitTimeDisputed, Pair::BaseAndLog) => return Ok(Stays::Newer),
        (MergeOrder::CommitTimeDisputed, Pair::Logs) | (MergeOrder::EventTime, _) => match (older, newer) {
            (Rank::Arrival, _) | (_, Rank::Arrival) => return Ok(Stays::Newer),
            (Rank::Values(a) | Rank::OtherClass(a), Rank::Values(b) | Rank::OtherClass(b)) => compare(file, a, b)?,
        },
    };
    let other_class = matches!(older, Rank::OtherClass(_)) || matches!(newer, Rank::OtherClass(_));
    match (order, compared) {
        (_, Ordering::Less | Ordering::Equal) => Ok(Stays::Newer),
        (MergeOrder::CommitTimeDisputed, Ordering::Greater) => {
            Err(unsupported(file, "log records that came later and are ordered before others of their key"))
        }
        (_, Ordering::Greater) if other_class => {
            Err(unsupported(file, "a delete whose ordering value is of another type than the column"))
        }
        (_, Ordering::Greater) => Ok(Stays::Older),
    }
}

fn compare(file: &str, older: &[Option<Value>], newer: &[Option<Value>]) -> Result<Ordering, HudiError> {
    if older.len() != newer.len() {
        return Err(unsupported(file, "a delete with another number of ordering values than there are ordering fields"));
    }
    for (a, b) in older.iter().zip(newer) {
        let (Some(a), Some(b)) = (a, b) else { return Err(unsupported(file, "records whose ordering value is null")) };
        match a.compare(b).ok_or_else(|| unsupported(file, "ordering values of several types"))? {
            Ordering::Equal => {}
            unequal => return Ok(unequal),
        }
    }
    Ok(Ordering::Equal)
}

/// The ranks of a batch's rows.
pub(super) struct Ranks<'a> {
    file: &'a str,
    columns: Vec<&'a dyn Array>,
    by_arrival: bool,
}

impl<'a> Ranks<'a> {
    pub(super) fn new(file: &'a str, rule: &MergeRule, batch: &'a RecordBatch) -> Result<Self, HudiError> {
        let by_arrival = rule.order == MergeOrder::CommitTime;
        let column = |name: &String| {
            let column = batch.column_by_name(name).map(|column| column.as_ref());
            column.ok_or_else(|| damaged(file, format!("it has no column {name}, by which records are ordered")))
        };
        let names = if by_arrival { &[][..] } else { &rule.ordering[..] };
        Ok(Self { file, columns: names.iter().map(column).collect::<Result<_, _>>()?, by_arrival })
    }

    /// The rank of a row. One that is a delete and has no value ranks by arrival.
    pub(super) fn of(&self, row: usize, is_delete: bool) -> Result<Rank, HudiError> {
        if self.by_arrival {
            return Ok(Rank::Arrival);
        }
        let value = |column: &&dyn Array| value_at(*column, row);
        let values = self.columns.iter().map(value).collect::<Result<Vec<_>, _>>();
        let values =
            values.map_err(|error| unsupported(self.file, format!("ordering values that cannot be compared: {error}")))?;
        match is_delete && values.iter().all(Option::is_none) {
            true => Ok(Rank::Arrival),
            false => Ok(Rank::Values(values)),
        }
    }
}

/// The rank of a delete block's entry, whose ordering value is `value`, of the union `schema`; `columns` has the types of
/// the ordering fields.
pub(super) fn of_delete(
    file: &str,
    schema: &avro::Schema,
    value: &avro::Value<'_>,
    columns: &[DataType],
) -> Result<Rank, HudiError> {
    let avro::Value::Union(branch, wrapper) = value else { return Err(damaged(file, "a delete is not as it should be")) };
    let avro::Schema::Union(branches) = schema else { return Err(damaged(file, "a delete is not as it should be")) };
    let parts = match (&**wrapper, branches.get(*branch)) {
        (avro::Value::Null, _) => return Ok(Rank::Arrival),
        // Hudi's default for no value, whatever the column's type.
        (avro::Value::Record(members), _) if *branch == INT_BRANCH && members[..] == [avro::Value::Int(0)] => {
            return Ok(Rank::Arrival);
        }
        (avro::Value::Record(members), Some(avro::Schema::Record(fields))) => match (&members[..], &fields[..]) {
            ([value], [(_, schema)]) => match (value, schema.nullable()) {
                (avro::Value::Array(wrapped), Some(avro::Schema::Array(items))) => elements(file, wrapped, items)?,
                _ => vec![(value, schema)],
            },
            _ => return Err(damaged(file, "an ordering value is not as it should be")),
        },
        _ => return Err(damaged(file, "an ordering value is not as it should be")),
    };
    if parts.len() != columns.len() {
        return Err(unsupported(file, "a delete with another number of ordering values than there are ordering fields"));
    }
    let mut other_class = false;
    let mut values = Vec::with_capacity(parts.len());
    for ((value, schema), column) in parts.into_iter().zip(columns) {
        let converted = convert(value, schema, column);
        let converted = converted
            .ok_or_else(|| unsupported(file, format!("a delete whose ordering value is no {column}, as the column is")))?;
        other_class |= match value {
            avro::Value::Int(_) => !matches!(column, DataType::Int32 | DataType::Date32),
            avro::Value::Long(_) => *column == DataType::Int32,
            _ => false,
        };
        values.push(Some(converted));
    }
    Ok(if other_class { Rank::OtherClass(values) } else { Rank::Values(values) })
}

type Part<'v, 'a> = (&'v avro::Value<'a>, &'v avro::Schema);

/// The values in an array of wrappers.
fn elements<'v, 'a>(
    file: &str,
    wrapped: &'v [avro::Value<'a>],
    items: &'v avro::Schema,
) -> Result<Vec<Part<'v, 'a>>, HudiError> {
    let broken = || damaged(file, "an ordering value is not as it should be");
    let one = |item: &'v avro::Value<'a>| {
        let (item, schema) = match (item, items) {
            (avro::Value::Union(branch, item), avro::Schema::Union(branches)) => (&**item, branches.get(*branch)),
            (item, schema) => (item, Some(schema)),
        };
        match (item, schema) {
            (avro::Value::Record(members), Some(avro::Schema::Record(fields))) => match (&members[..], &fields[..]) {
                ([value], [(_, schema)]) => Ok((value, schema)),
                _ => Err(broken()),
            },
            _ => Err(broken()),
        }
    };
    wrapped.iter().map(one).collect()
}

/// A wrapped value as one of the ordering column; `None` where it is none.
fn convert(value: &avro::Value<'_>, schema: &avro::Schema, column: &DataType) -> Option<Value> {
    use avro::Value as V;
    let number = match value {
        V::Int(number) => Some(i64::from(*number)),
        V::Long(number) => Some(*number),
        _ => None,
    };
    Some(match (value, column) {
        (V::Boolean(value), DataType::Boolean) => Value::Boolean(*value),
        (V::Int(_) | V::Long(_), DataType::Int32 | DataType::Int64) => Value::Int(number?),
        (V::Int(days), DataType::Date32) => Value::Date(*days),
        (V::Float(value), DataType::Float32 | DataType::Float64) => Value::Float((*value).into()),
        (V::Double(value), DataType::Float64) => Value::Float(*value),
        (V::String(text), DataType::Utf8) => Value::String((*text).to_owned()),
        (V::Bytes(bytes), DataType::Decimal128(_, scale)) => {
            let avro::Schema::Logical(_, avro::Logical::Decimal { .. }) = schema else { return None };
            let scale = u8::try_from(*scale).ok()?;
            let down = 10_i128.checked_pow(DELETE_DECIMAL_SCALE.checked_sub(scale.into())?)?;
            let unscaled = unscaled(bytes).ok()?;
            (unscaled % down == 0).then_some(Value::Decimal { unscaled: unscaled / down, scale })?
        }
        (V::Bytes(bytes), DataType::Binary) => Value::Binary(bytes.to_vec()),
        // Records hold instants as numbers of their own unit.
        (V::Long(number), DataType::Timestamp(TimeUnit::Microsecond, _)) => Value::Timestamp(*number),
        (V::Long(number), DataType::Timestamp(TimeUnit::Millisecond, _)) => Value::Timestamp(number.checked_mul(1000)?),
        (V::Long(number), DataType::Time64(TimeUnit::Microsecond)) => Value::Time(*number),
        _ => return None,
    })
}

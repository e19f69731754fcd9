//! One schema of many files: [`SchemaUnion`] adds columns by name and widens types where nothing is lost.

use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::table::TableError;

use crate::footer::unsupported;

/// The union so far, in the order in which columns appeared.
#[derive(Debug, Default)]
pub(super) struct SchemaUnion {
    columns: Vec<(Field, String)>,
    has_files: bool,
}

impl SchemaUnion {
    /// Takes the columns of `file`. A column that a file lacks is nullable.
    ///
    /// # Errors
    /// [`TableError::Unsupported`] where types cannot be reconciled or names differ only in upper and lower case.
    pub(super) fn add(&mut self, file: &str, schema: &TableSchema) -> Result<(), TableError> {
        for (column, _) in &mut self.columns {
            column.nullable |= schema.field(&column.name).is_none();
        }
        for (index, field) in schema.fields.iter().enumerate() {
            if let Some(twin) = schema.fields[..index].iter().find(|other| other.name.eq_ignore_ascii_case(&field.name)) {
                let feature = format!("the columns {} and {} in one file", twin.name, field.name);
                return Err(unsupported(file, feature, "names must differ by more than case; write the file anew"));
            }
            self.add_column(file, field)?;
        }
        self.has_files = true;
        Ok(())
    }

    fn add_column(&mut self, file: &str, field: &Field) -> Result<(), TableError> {
        let known = self.columns.iter_mut().find(|(column, _)| column.name.eq_ignore_ascii_case(&field.name));
        let Some((column, origin)) = known else {
            let mut added = field.clone();
            added.nullable |= self.has_files;
            self.columns.push((added, file.to_owned()));
            return Ok(());
        };
        if column.name != field.name {
            let feature = format!("the column {} where {origin} has {}", field.name, column.name);
            return Err(unsupported(file, feature, "say in the spec's columns map which name the column has"));
        }
        let Some(data_type) = widen(&column.data_type, &field.data_type) else {
            let feature = format!("{} as {} where {origin} has {}", field.name, field.data_type, column.data_type);
            return Err(unsupported(file, feature, "cast the column in transform.sql by the spec's columns map"));
        };
        column.data_type = data_type;
        column.nullable |= field.nullable;
        Ok(())
    }

    /// The schema.
    pub(super) fn finish(&self) -> TableSchema {
        TableSchema { fields: self.columns.iter().map(|(field, _)| field.clone()).collect() }
    }
}

/// The narrowest type that holds every value of both.
fn widen(a: &DataType, b: &DataType) -> Option<DataType> {
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

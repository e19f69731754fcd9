//! Whether a data file fits the table's schema, and which field id each of its leaf columns has.
//!
//! Readers find columns by the file's field ids, or by the name mapping where the file has none. What they would read as
//! null, as another column or as another type is refused here, before the file is registered.

use std::collections::{BTreeSet, HashMap};

use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::table::TableError;

use super::fault::unsupported;

const REWRITE: &str = "rewrite the file rather than adopt it";

/// A leaf column's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    pub id: i32,
    /// Whether it stands inside a list or map, where counts and bounds say nothing of rows.
    pub repeated: bool,
}

/// The leaves of a file, by their logical path.
pub(super) type Leaves = HashMap<Vec<String>, Leaf>;

/// Finds the table's columns in a file. `constants` are the ids of columns that readers take from the partition values
/// where the file lacks them.
pub(super) fn leaves(
    object: &str,
    file: &TableSchema,
    table: &TableSchema,
    constants: &BTreeSet<i32>,
) -> Result<Leaves, TableError> {
    let mut matcher = Matcher { object, constants, by_id: any_id(&file.fields), leaves: Leaves::new() };
    let (file, table) = (file.fields.iter().collect::<Vec<_>>(), table.fields.iter().collect::<Vec<_>>());
    matcher.members(&[], &file, &table, false)?;
    Ok(matcher.leaves)
}

fn any_id(fields: &[Field]) -> bool {
    fields.iter().any(|field| field.id.is_some())
}

struct Matcher<'a> {
    object: &'a str,
    constants: &'a BTreeSet<i32>,
    by_id: bool,
    leaves: Leaves,
}

impl Matcher<'_> {
    /// Matches the columns of a table or the members of a struct.
    fn members(&mut self, path: &[String], file: &[&Field], table: &[&Field], repeated: bool) -> Result<(), TableError> {
        for wanted in table {
            match self.find(file, wanted)? {
                Some(found) => self.one(path, found, wanted, repeated)?,
                None if wanted.nullable || wanted.id.is_some_and(|id| self.constants.contains(&id)) => {}
                None => {
                    return Err(self.refused(format!("no column {}, which the table requires", wanted.name)));
                }
            }
        }
        Ok(())
    }

    fn find<'f>(&self, file: &[&'f Field], wanted: &Field) -> Result<Option<&'f Field>, TableError> {
        let named = file.iter().copied().find(|field| field.name == wanted.name);
        if !self.by_id {
            let other_case = |field: &&&Field| field.name.to_lowercase() == wanted.name.to_lowercase();
            return match (named, file.iter().find(other_case)) {
                (None, Some(found)) => {
                    Err(self.refused(format!("column {} where the table has {}", found.name, wanted.name)))
                }
                (found, _) => Ok(found),
            };
        }
        let numbered = file.iter().copied().find(|field| field.id == wanted.id);
        let same = numbered.map(|field| &field.name) == named.map(|field| &field.name);
        // A renamed column keeps its id, and then no other column has the new name.
        if same || (named.is_none() && numbered.is_some()) {
            return Ok(numbered);
        }
        Err(self.refused(format!("field ids that are not the table's (at column {})", wanted.name)))
    }

    fn one(&mut self, path: &[String], found: &Field, wanted: &Field, repeated: bool) -> Result<(), TableError> {
        let path = [path, std::slice::from_ref(&found.name)].concat();
        match (&found.data_type, &wanted.data_type) {
            (DataType::Struct { fields: file }, DataType::Struct { fields: table }) => {
                self.members(&path, &refs(file), &refs(table), repeated)
            }
            (DataType::List { element: file }, DataType::List { element: table }) => self.inner(&path, file, table),
            (DataType::Map { key, value }, DataType::Map { key: table_key, value: table_value }) => {
                self.inner(&path, key, table_key)?;
                self.inner(&path, value, table_value)
            }
            (file, table) if readable_as(file, table) => {
                if let Some(id) = wanted.id {
                    self.leaves.insert(path, Leaf { id, repeated });
                }
                Ok(())
            }
            (file, table) => {
                Err(self.refused(format!("column {} of type {file} where the table has {table}", path.join("."))))
            }
        }
    }

    /// A list's element, a map's key or value: there is only one candidate.
    fn inner(&mut self, path: &[String], found: &Field, wanted: &Field) -> Result<(), TableError> {
        if self.by_id && found.id != wanted.id {
            return Err(self.refused(format!("field ids that are not the table's (inside column {})", path.join("."))));
        }
        self.one(path, found, wanted, true)
    }

    fn refused(&self, feature: String) -> TableError {
        unsupported(self.object, feature, REWRITE)
    }
}

fn refs(fields: &[Field]) -> Vec<&Field> {
    fields.iter().collect()
}

/// Whether every reader of the table's type reads a file's type exactly: the type itself, Iceberg's promotions, and small
/// integers, which Parquet stores in 32 bits.
fn readable_as(file: &DataType, table: &DataType) -> bool {
    use DataType as T;
    match (file, table) {
        (T::Int8 | T::Int16 | T::UInt8 | T::UInt16 | T::Int32, T::Int32 | T::Int64) | (T::Float32, T::Float64) => true,
        (T::Decimal { precision, scale }, T::Decimal { precision: wider, scale: same }) => {
            precision <= wider && scale == same
        }
        (file, table) => file == table,
    }
}

#[cfg(test)]
mod tests {
    use lakeshift_core::schema::TimeUnit;
    use rstest::rstest;

    use super::*;

    fn field(name: &str, id: Option<i32>, data_type: DataType) -> Field {
        Field { id, ..Field::new(name, data_type, true) }
    }

    fn schema(fields: Vec<Field>) -> TableSchema {
        TableSchema { fields }
    }

    fn table() -> TableSchema {
        let element = Field { id: Some(3), ..Field::new("element", DataType::Int64, true) };
        let list = DataType::List { element: Box::new(element) };
        schema(vec![
            field("a", Some(1), DataType::Int64),
            field("list", Some(2), list),
            Field { nullable: false, ..field("day", Some(4), DataType::Date) },
        ])
    }

    fn found(file: TableSchema) -> Result<Leaves, TableError> {
        leaves("f", &file, &table(), &BTreeSet::from([4]))
    }

    #[test]
    fn columns_are_found_by_name_and_elements_are_marked_as_repeated() {
        let list = DataType::List { element: Box::new(Field::new("element", DataType::Int32, true)) };
        let leaves = found(schema(vec![field("list", None, list), field("a", None, DataType::Int32)])).unwrap();
        assert_eq!(leaves[&vec!["a".to_owned()]], Leaf { id: 1, repeated: false });
        assert_eq!(leaves[&vec!["list".to_owned(), "element".to_owned()]], Leaf { id: 3, repeated: true });
    }

    #[test]
    fn a_column_that_was_renamed_is_found_by_its_id() {
        let leaves =
            found(schema(vec![field("old", Some(1), DataType::Int64), field("day", Some(4), DataType::Date)])).unwrap();
        assert_eq!(leaves[&vec!["old".to_owned()]].id, 1);
    }

    #[rstest]
    #[case::other_type(vec![field("a", None, DataType::String)])]
    #[case::unsigned(vec![field("a", None, DataType::UInt32)])]
    #[case::wider(vec![field("a", None, DataType::Timestamp { unit: TimeUnit::Micros, utc: true })])]
    #[case::other_case(vec![field("A", None, DataType::Int64)])]
    #[case::foreign_ids(vec![field("a", Some(2), DataType::Int64)])]
    #[case::swapped_ids(vec![field("a", Some(4), DataType::Int64), field("day", Some(1), DataType::Date)])]
    fn a_file_that_readers_would_misread_is_refused(#[case] fields: Vec<Field>) {
        assert!(matches!(found(schema(fields)), Err(TableError::Unsupported { .. })));
    }

    #[test]
    fn a_required_column_may_be_missing_only_where_the_partition_gives_it() {
        let file = || schema(vec![field("a", None, DataType::Int64)]);
        assert!(found(file()).is_ok());
        assert!(leaves("f", &file(), &table(), &BTreeSet::new()).is_err());
    }
}

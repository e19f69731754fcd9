//! One schema of many files: [`SchemaUnion`] adds columns by name and widens types where nothing is lost.

use std::collections::BTreeMap;

use lakeshift_core::schema::{Field, TableSchema};
use lakeshift_core::table::TableError;

use crate::footer::unsupported;
use crate::widen::widen;

/// The union so far, in the order in which columns appeared.
#[derive(Debug)]
pub(super) struct SchemaUnion<'a> {
    /// Names in files to names of columns.
    renames: &'a BTreeMap<String, String>,
    columns: Vec<(Field, String)>,
    has_files: bool,
}

impl<'a> SchemaUnion<'a> {
    pub(super) fn new(renames: &'a BTreeMap<String, String>) -> Self {
        Self { renames, columns: Vec::new(), has_files: false }
    }

    /// Takes the columns of `file`. A column that a file lacks is nullable.
    ///
    /// # Errors
    /// [`TableError::Unsupported`] where types cannot be reconciled or names differ only in upper and lower case.
    pub(super) fn add(&mut self, file: &str, schema: &TableSchema) -> Result<(), TableError> {
        let schema = self.renamed(schema);
        for (column, _) in &mut self.columns {
            column.nullable |= schema.field(&column.name).is_none();
        }
        for (index, field) in schema.fields.iter().enumerate() {
            if let Some(twin) = schema.fields[..index].iter().find(|other| other.name.eq_ignore_ascii_case(&field.name)) {
                return Err(twins(file, twin, field));
            }
            self.add_column(file, field)?;
        }
        self.has_files = true;
        Ok(())
    }

    /// The file's schema under the table's names.
    fn renamed(&self, schema: &TableSchema) -> TableSchema {
        let mut schema = schema.clone();
        for field in &mut schema.fields {
            if let Some(name) = self.renames.get(&field.name) {
                field.aliases = vec![std::mem::replace(&mut field.name, name.clone())];
            }
        }
        schema
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
        column
            .aliases
            .extend(field.aliases.iter().filter(|alias| !column.aliases.contains(alias)).cloned().collect::<Vec<_>>());
        Ok(())
    }

    /// The schema.
    pub(super) fn finish(&self) -> TableSchema {
        TableSchema { fields: self.columns.iter().map(|(field, _)| field.clone()).collect() }
    }
}

/// Two columns of one file that are one column of the table.
fn twins(file: &str, one: &Field, other: &Field) -> TableError {
    let in_file = |field: &Field| field.aliases.first().unwrap_or(&field.name).clone();
    let feature = format!("the columns {} and {} in one file", in_file(one), in_file(other));
    let advice = match one.aliases.is_empty() && other.aliases.is_empty() {
        true => "names must differ by more than case; write the file anew",
        false => "by the spec's columns map both are the same column; correct the map, or write the file anew",
    };
    unsupported(file, feature, advice)
}

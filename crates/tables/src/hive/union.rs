//! One schema of many files: [`SchemaUnion`] adds columns by name and widens types where nothing is lost.

use lakeshift_core::schema::{Field, TableSchema};
use lakeshift_core::table::TableError;

use crate::footer::unsupported;
use crate::widen::widen;

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

//! The columns by which equality deletes go: those of a table's schemas of all times, found by field id.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::spec::{PrimitiveType, SchemaRef};
use lakeshift_core::table::{EqualityColumn, EqualityDeletes, FileEntry, TableError};
use lakeshift_core::value::Value;

use super::applied::{Applied, ByColumns};
use super::catalog::Base;
use super::fault::unsupported;
use super::{IcebergTable, defaults, schema};

const COMPACT: &str = "compact the table first, so that no file has deletes";

impl IcebergTable {
    /// The columns of equality deletes, by any of the table's schemas.
    pub(super) async fn by_equality(&self, file: &FileEntry, applied: &Applied) -> Result<Vec<EqualityDeletes>, TableError> {
        if applied.equality.is_empty() {
            return Ok(Vec::new());
        }
        let base = self.base().await?;
        let mut schemas: Vec<SchemaRef> = base.metadata.schemas_iter().cloned().collect();
        // The current schema first, and then from the newest to the oldest.
        let current = base.metadata.current_schema_id();
        schemas.sort_by_key(|schema| (schema.schema_id() != current, std::cmp::Reverse(schema.schema_id())));
        let mut known = Known { table: self, base: &base, schemas, defaults: BTreeMap::new() };
        let mut deletes = Vec::with_capacity(applied.equality.len());
        for ByColumns { ids, files } in &applied.equality {
            let mut columns = Vec::with_capacity(ids.len());
            for id in ids {
                columns.push(known.column(*id, &file.path).await?);
            }
            deletes.push(EqualityDeletes { columns, files: files.clone() });
        }
        Ok(deletes)
    }
}

/// A table's columns of all times.
struct Known<'a> {
    table: &'a IcebergTable,
    base: &'a Base,
    schemas: Vec<SchemaRef>,
    /// Of the schemas that were asked, by their ids: the defaults of their columns.
    defaults: BTreeMap<i32, BTreeMap<i32, Value>>,
}

impl Known<'_> {
    async fn column(&mut self, id: i32, file: &str) -> Result<EqualityColumn, TableError> {
        let refused = |feature: String| unsupported(file, feature, COMPACT);
        let named = |schema: &SchemaRef| schema.as_struct().fields().iter().find(|field| field.id == id).cloned();
        let found = self.schemas.iter().find_map(|schema| Some((Arc::clone(schema), named(schema)?)));
        let Some((schema, field)) = found else {
            let nested = self.schemas.iter().any(|schema| schema.field_by_id(id).is_some());
            return Err(refused(match nested {
                true => format!("equality deletes by a column inside of another (field id {id})"),
                false => format!("equality deletes by field id {id}, which is in none of the table's schemas"),
            }));
        };
        match field.field_type.as_primitive_type() {
            Some(PrimitiveType::Float | PrimitiveType::Double) => {
                return Err(refused(format!("equality deletes by the floating-point column {}", field.name)));
            }
            Some(_) => {}
            None => return Err(refused(format!("equality deletes by the nested column {}", field.name))),
        }
        let version = schema.schema_id();
        if !self.defaults.contains_key(&version) {
            let defaults = defaults::of(self.table, self.base, &schema).await?;
            self.defaults.insert(version, defaults);
        }
        let columns = schema::from_metadata(self.table.name(), &self.base.metadata, &schema)?;
        let field = columns.fields.into_iter().find(|column| column.id == Some(id));
        let field = field.ok_or_else(|| refused(format!("equality deletes by field id {id}")))?;
        let default = self.defaults.get(&version).and_then(|defaults| defaults.get(&id)).cloned();
        Ok(EqualityColumn { field, default })
    }
}

//! Values of partition columns that stand in paths only.

use lakeshift_core::partition::{HIVE_NULL, PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::table::TableError;
use lakeshift_core::value::Value;
use percent_encoding::percent_decode_str;

use super::config::PathColumns;
use crate::footer::unsupported;
use crate::text::parse;

impl PathColumns {
    /// The table's partitioning.
    pub(super) fn spec(&self) -> PartitionSpec {
        let fields = self.names.iter().map(|name| PartitionField::new(name.clone(), Transform::Identity));
        PartitionSpec { fields: fields.collect() }
    }

    /// The schema with these columns behind the files' own, of the types that the table was created with, else texts.
    pub(super) fn complete(&self, mut schema: TableSchema, created: Option<&TableSchema>) -> TableSchema {
        for name in self.names.iter().filter(|name| schema.field(name).is_none()).collect::<Vec<_>>() {
            let created = created.and_then(|created| created.field(name));
            let data_type = created.map_or(DataType::String, |field| field.data_type.clone());
            schema.fields.push(Field::new(name.clone(), data_type, true));
        }
        // A path is null where the column is, whatever the schema says.
        let ours = |field: &&mut Field| self.names.contains(&field.name);
        schema.fields.iter_mut().filter(ours).for_each(|field| field.nullable = true);
        schema
    }

    /// The values of one partition's path.
    ///
    /// # Errors
    /// [`TableError::Unsupported`] for a path that does not say them soundly.
    pub(super) fn values(&self, partition: &str, schema: &TableSchema) -> Result<Vec<Option<Value>>, TableError> {
        let segments: Vec<&str> = partition.split('/').collect();
        if segments.len() != self.names.len() {
            let feature = format!("{} folders for {} partition columns", segments.len(), self.names.len());
            return Err(unsupported(
                partition,
                feature,
                "encode values that have slashes, or keep the columns in the files",
            ));
        }
        let one = |(segment, name): (&&str, &String)| self.value(partition, segment, name, schema);
        segments.iter().zip(&self.names).map(one).collect()
    }

    fn value(&self, partition: &str, segment: &str, name: &str, schema: &TableSchema) -> Result<Option<Value>, TableError> {
        let refused = |feature: String| unsupported(partition, feature, "keep the partition columns in the files");
        let text = match (self.hive_style, segment.split_once('=')) {
            (false, _) => segment,
            (true, Some((column, text))) if column == name => text,
            (true, _) => return Err(refused(format!("a folder that does not name the partition column {name}"))),
        };
        let decoded = match self.encoded {
            true => percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).ok(),
            false => Some(text.to_owned()),
        };
        let text = decoded.ok_or_else(|| refused("a folder that is not UTF-8".to_owned()))?;
        if text == HIVE_NULL {
            return Ok(None);
        }
        let data_type = schema.field(name).map_or(&DataType::String, |field| &field.data_type);
        let value = parse(&text, data_type).filter(|value| value.to_string() == text);
        let value = value.ok_or_else(|| refused(format!("a value of the partition column {name} that is no {data_type}")));
        value.map(Some)
    }
}

//! From a new file and its footer to the [`DataFile`] that metadata carries: counts that are known, bounds that are sound.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::{TryStreamExt, stream};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PartitionSpecRef, SchemaRef, StructType,
    TableMetadata, Transform,
};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::table::{NewFile, TableError};

use super::compat::{self, Leaves};
use super::fault::{corrupt, damaged, unsupported};
use super::location::Places;
use super::values::{lower_bound, to_datum, upper_bound};
use super::{partition, schema};
use crate::footer::{ColumnMetrics, Footer, read_footer};
use crate::storage::side_by_side;

/// What new files are checked against and described for: one schema and one partition spec of a table.
#[derive(Debug, Clone)]
pub(super) struct Target {
    schema: SchemaRef,
    columns: TableSchema,
    spec: PartitionSpecRef,
    partition_type: StructType,
    /// Columns that readers take from the partition values where a file lacks them.
    constants: BTreeSet<i32>,
}

impl Target {
    /// The current schema, and one of the table's specs.
    ///
    /// # Errors
    /// A spec of columns that the schema no longer has.
    pub fn new(table: &str, metadata: &TableMetadata, spec: &PartitionSpecRef) -> Result<Self, TableError> {
        let types = spec.partition_type(metadata.current_schema());
        let identity = spec.fields().iter().filter(|field| field.transform == Transform::Identity);
        Ok(Self {
            schema: metadata.current_schema().clone(),
            columns: schema::from_iceberg(metadata.current_schema()),
            partition_type: types.map_err(|source| damaged(table, "its partitioning does not fit its columns", source))?,
            constants: identity.map(|field| field.source_id).collect(),
            spec: spec.clone(),
        })
    }

    /// Whether files described for this are described for `metadata` and `spec` too.
    pub fn fits(&self, metadata: &TableMetadata, spec: &PartitionSpecRef) -> bool {
        self.schema.schema_id() == metadata.current_schema_id() && self.spec.spec_id() == spec.spec_id()
    }

    /// Describes files by their footers, in their order, a bounded number at one time.
    pub async fn describe(&self, places: &Places, files: &[NewFile]) -> Result<Vec<DataFile>, TableError> {
        let shared = Arc::new((self.clone(), places.clone()));
        let one = |file: NewFile| {
            let shared = Arc::clone(&shared);
            async move { shared.0.describe_one(&shared.1, &file).await }
        };
        side_by_side(places.are_on_disk(), stream::iter(files.to_vec()), one).try_collect().await
    }

    async fn describe_one(&self, places: &Places, file: &NewFile) -> Result<DataFile, TableError> {
        let metadata_path = places.to_metadata(&file.path)?;
        let place = places.locate(&metadata_path)?;
        let footer = read_footer(place.storage.store().as_ref(), &place.path, file.size_bytes).await?;
        if footer.rows != file.rows {
            let reason =
                format!("its footer has {} rows, its writer counted {}; it was not registered", footer.rows, file.rows);
            return Err(corrupt(&file.path, reason));
        }
        let leaves = compat::leaves(&file.path, &footer.schema, &self.columns, &self.constants)?;
        self.check_nulls(&file.path, &footer, &leaves)?;
        self.build(file, metadata_path, &footer, &leaves)
    }

    /// A file may say that a column is nullable where the table says that it is not, but it must not use it.
    fn check_nulls(&self, object: &str, footer: &Footer, leaves: &Leaves) -> Result<(), TableError> {
        for column in &footer.columns {
            let required = leaves
                .get(&*column.path)
                .and_then(|leaf| self.schema.field_by_id(leaf.id))
                .is_some_and(|field| field.required);
            let nullable =
                || column.top_level().and_then(|name| footer.schema.field(name)).is_some_and(|field| field.nullable);
            if required && nullable() && column.nulls != Some(0) {
                let feature = format!(
                    "nulls (or an unknown number of them) in column {}, which the table requires",
                    column.path.join(".")
                );
                return Err(unsupported(object, feature, "make the column nullable in the table, or rewrite the file"));
            }
        }
        Ok(())
    }

    fn build(&self, file: &NewFile, path: String, footer: &Footer, leaves: &Leaves) -> Result<DataFile, TableError> {
        let mut counts = Counts::default();
        for column in &footer.columns {
            counts.add(column, leaves, &self.schema);
        }
        let split_offsets = (!footer.split_offsets.is_empty()).then(|| footer.split_offsets.clone());
        let partition = partition::to_struct(&file.path, &file.partition, &self.spec, &self.partition_type)?;
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(path)
            .file_format(DataFileFormat::Parquet)
            .partition(partition)
            .partition_spec_id(self.spec.spec_id())
            .record_count(footer.rows)
            .file_size_in_bytes(file.size_bytes)
            .column_sizes(counts.sizes)
            .value_counts(counts.values)
            .null_value_counts(counts.nulls)
            .lower_bounds(counts.lower)
            .upper_bounds(counts.upper)
            .split_offsets(split_offsets)
            .build()
            .map_err(|error| {
                let source = iceberg::Error::new(iceberg::ErrorKind::Unexpected, error.to_string());
                damaged(&file.path, "its description is incomplete", source)
            })
    }
}

/// Metrics by field id.
#[derive(Debug, Default)]
struct Counts {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
}

impl Counts {
    fn add(&mut self, column: &ColumnMetrics, leaves: &Leaves, schema: &SchemaRef) {
        let Some(leaf) = leaves.get(&*column.path) else { return };
        if column.compressed_bytes > 0 {
            self.sizes.insert(leaf.id, column.compressed_bytes);
        }
        if leaf.repeated {
            return;
        }
        self.values.insert(leaf.id, column.values);
        self.nulls.extend(column.nulls.map(|nulls| (leaf.id, nulls)));
        let data_type = schema.field_by_id(leaf.id).and_then(|field| field.field_type.as_primitive_type());
        let (Some((least, greatest)), Some(data_type)) = (&column.bounds, data_type) else { return };
        self.lower.extend(to_datum(&lower_bound(least), data_type).map(|datum| (leaf.id, datum)));
        let greatest = upper_bound(greatest).and_then(|value| to_datum(&value, data_type));
        self.upper.extend(greatest.map(|datum| (leaf.id, datum)));
    }
}

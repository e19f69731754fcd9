//! The first metadata file of a new table.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, NullOrder, Schema, SortDirection, SortField, SortOrder, TableMetadata,
    TableMetadataBuilder, Transform,
};
use lakeshift_core::spec::SortColumn;
use lakeshift_core::table::{CreateOutcome, CreateRequest, TableError};
use lakeshift_journal::RngExt;
use serde_json::json;

use super::catalog::{Base, Next, Occupant, Published};
use super::fault::{bad_json, damaged, unsupported};
use super::{IcebergTable, marks, partition, schema};

/// The property that would move metadata out of reach of the compare-and-swap on `vN.metadata.json`.
pub(super) const METADATA_CODEC: &str = "write.metadata.compression-codec";
/// The partition spec that a table is created with.
pub(super) const SPEC_ID: i32 = 0;
/// The format's version where the request names none.
const FORMAT_VERSION_DEFAULT: u8 = 2;
/// The sort order that a table is created with, where it has one; 0 is that of unsorted files.
const SORT_ORDER_ID: i64 = 1;
/// How often the name mapping of a new table is set until it is found to be right.
const ALIGNMENTS_MAX: usize = 3;
/// Iceberg numbers partition fields from 1000; this stands for "none yet".
const NO_PARTITION_FIELD: i32 = 999;

impl IcebergTable {
    pub(super) async fn create_table(&self, request: &CreateRequest) -> Result<CreateOutcome, TableError> {
        if let Some(found) = self.standing(request).await? {
            return Ok(found);
        }
        let first = self.first_metadata(request)?;
        match self.catalog.publish(None, &first).await? {
            Published::Ours => {
                self.align_names().await?;
                Ok(CreateOutcome::Created(marks::version(None)))
            }
            // Another runner of this migration may have been first.
            Published::Taken => match self.standing(request).await? {
                Some(found) => Ok(found),
                None => Ok(CreateOutcome::Foreign { found: "an Iceberg table that came and went".to_owned() }),
            },
        }
    }

    /// What stands at the location already.
    async fn standing(&self, request: &CreateRequest) -> Result<Option<CreateOutcome>, TableError> {
        let base = match self.catalog.occupant(&request.migration).await? {
            None => return Ok(None),
            Some(Occupant::Stranger(file)) => {
                return Ok(Some(CreateOutcome::Foreign { found: format!("an Iceberg table of a catalogue ({file})") }));
            }
            Some(Occupant::Table(base)) => base,
        };
        if !marks::is_created_by(&base.metadata, &request.migration) {
            return Ok(Some(CreateOutcome::Foreign { found: describe(&base) }));
        }
        self.align_names().await?;
        Ok(Some(CreateOutcome::AlreadyCreated(marks::version(base.metadata.current_snapshot_id()))))
    }

    /// Makes the name mapping of a table without snapshots name the ids that its columns have: a server numbers the columns
    /// of a new table in an order of its own.
    async fn align_names(&self) -> Result<(), TableError> {
        if !self.catalog.server_writes_metadata() {
            return Ok(());
        }
        for _ in 0..ALIGNMENTS_MAX {
            let base = self.base().await?;
            let mapping = schema::name_mapping(base.metadata.current_schema());
            let mapping = serde_json::to_value(mapping).map_err(|error| bad_json(self.name(), error))?;
            let found = base.metadata.properties().get(DEFAULT_SCHEMA_NAME_MAPPING);
            let same = found.and_then(|text| serde_json::from_str(text).ok()).as_ref() == Some(&mapping);
            if same || base.metadata.current_snapshot().is_some() {
                return Ok(());
            }
            let properties = HashMap::from([(DEFAULT_SCHEMA_NAME_MAPPING.to_owned(), mapping.to_string())]);
            let next = TableMetadataBuilder::new_from_metadata(base.metadata.clone(), Some(base.location.clone()))
                .set_properties(properties)
                .and_then(TableMetadataBuilder::build)
                .map_err(|source| self.refused(source))?;
            let next = self.next(next, self.clock.now().timestamp_millis(), self.rng.uuid())?;
            // Whoever was first, the next look tells whether the names are right.
            let _: Published = self.catalog.publish(Some(&base), &next).await?;
        }
        Err(unsupported(
            self.name(),
            "a catalogue that does not keep the property schema.name-mapping.default",
            "the table was created and is empty: abort the migration, which drops it, and choose another catalogue",
        ))
    }

    fn first_metadata(&self, request: &CreateRequest) -> Result<Next, TableError> {
        let table = self.name();
        let schema = schema::to_iceberg(table, &request.schema)?;
        let spec = partition::to_iceberg(table, &request.partition, &schema)?;
        let order = sort_order(table, &request.sort, &schema)?;
        let mut orders = vec![SortOrder::unsorted_order()];
        orders.extend((!order.is_unsorted()).then(|| order.clone()));
        let version = request.format_version.unwrap_or(FORMAT_VERSION_DEFAULT);
        let name_mapping = serde_json::to_string(&schema::name_mapping(&schema)).map_err(|error| bad_json(table, error))?;
        let mut metadata = json!({
            "format-version": version,
            "table-uuid": self.rng.uuid(),
            "location": self.places.root_in_metadata(),
            "last-sequence-number": 0,
            "last-updated-ms": self.clock.now().timestamp_millis(),
            "last-column-id": schema.highest_field_id(),
            "current-schema-id": 0,
            "schemas": [&schema],
            "default-spec-id": SPEC_ID,
            "partition-specs": [&spec],
            "last-partition-id": spec.highest_field_id().unwrap_or(NO_PARTITION_FIELD),
            "default-sort-order-id": order.order_id,
            "sort-orders": orders,
            "properties": properties(table, request, name_mapping)?,
        });
        match version {
            2 => {}
            3 => metadata["next-row-id"] = 0.into(),
            other => {
                let feature = format!("version {other} of the format in a new table");
                return Err(unsupported(table, feature, "write target.format_version 2 or 3"));
            }
        }
        // Read it as any reader will, before anybody can see it.
        let read: TableMetadata = serde_json::from_value(metadata.clone()).map_err(|error| bad_json(table, error))?;
        read.default_partition_spec()
            .partition_type(read.current_schema())
            .map_err(|source| damaged(table, "its partitioning does not fit its columns", source))?;
        let content = serde_json::to_vec_pretty(&metadata).map_err(|error| bad_json(table, error))?.into();
        Ok(Next { metadata: read, changes: Vec::new(), content, nonce: self.rng.uuid() })
    }
}

/// The order in which new files are to be sorted. Nulls come first where a column ascends, last where it descends.
fn sort_order(table: &str, sort: &[SortColumn], schema: &Schema) -> Result<SortOrder, TableError> {
    let field = |by: &SortColumn| {
        let column = schema.as_struct().fields().iter().find(|column| column.name == by.column).ok_or_else(|| {
            let feature = format!("sort column {}, which it does not have", by.column);
            unsupported(table, feature, "sort by top-level columns of the table")
        })?;
        let (direction, null_order) = match by.descending {
            true => (SortDirection::Descending, NullOrder::Last),
            false => (SortDirection::Ascending, NullOrder::First),
        };
        let field = SortField::builder().source_id(column.id).transform(Transform::Identity);
        Ok(field.direction(direction).null_order(null_order).build())
    };
    let fields = sort.iter().map(field).collect::<Result<Vec<_>, TableError>>()?;
    let order_id = if fields.is_empty() { 0 } else { SORT_ORDER_ID };
    let order = SortOrder::builder().with_order_id(order_id).with_fields(fields).build(schema);
    order.map_err(|source| damaged(table, "its columns cannot be sorted by as the spec says", source))
}

fn describe(base: &Base) -> String {
    let owner = base.metadata.properties().get(marks::MIGRATION);
    match owner {
        Some(owner) => format!("an Iceberg table of the migration {owner}"),
        None => "an Iceberg table that no migration created".to_owned(),
    }
}

/// The request's properties under Lakeshift's own, which it may not change.
fn properties(table: &str, request: &CreateRequest, name_mapping: String) -> Result<BTreeMap<String, String>, TableError> {
    if let Some(codec) = request.properties.get(METADATA_CODEC).filter(|codec| codec.as_str() != "none") {
        let advice = "leave the property out: the filesystem catalogue's compare-and-swap needs one name a version";
        return Err(unsupported(table, format!("{METADATA_CODEC}={codec}"), advice));
    }
    let mut properties = BTreeMap::from([
        ("write.format.default".to_owned(), "parquet".to_owned()),
        ("write.parquet.compression-codec".to_owned(), "zstd".to_owned()),
        ("write.metadata.previous-versions-max".to_owned(), "100".to_owned()),
    ]);
    properties.extend(request.properties.clone());
    properties.extend([
        (DEFAULT_SCHEMA_NAME_MAPPING.to_owned(), name_mapping),
        // Files may be shared with the old table until sunset: nobody may delete them.
        ("gc.enabled".to_owned(), "false".to_owned()),
        (marks::MIGRATION.to_owned(), request.migration.0.clone()),
        (marks::epoch_key(&request.migration), request.epoch.0.to_string()),
    ]);
    Ok(properties)
}

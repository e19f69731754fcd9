//! Partition specs, transforms and partition values, core's to Iceberg's and back.

use std::collections::BTreeSet;

use iceberg::spec::{
    DataFile, Literal, PartitionField as IcebergField, PartitionSpec as IcebergSpec, PartitionSpecRef, PrimitiveType,
    Schema, Struct, StructType, TableMetadata, Transform as IcebergTransform, UnboundPartitionField, UnboundPartitionSpec,
};
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::table::TableError;
use lakeshift_core::value::Value;

use super::fault::{corrupt, damaged, unsupported};
use super::values::{from_literal, to_datum};

/// The Iceberg spec 0 of a new table.
pub(super) fn to_iceberg(table: &str, spec: &PartitionSpec, schema: &Schema) -> Result<IcebergSpec, TableError> {
    let mut builder = IcebergSpec::builder(schema.clone()).with_spec_id(0);
    for field in &spec.fields {
        builder = builder.add_unbound_field(unbound_field(table, field, schema)?).map_err(|source| {
            let object = format!("partition field {} of {table}", field.name);
            damaged(object, "Iceberg does not take it; rename the field or choose another transform", source)
        })?;
    }
    let refused = |source| damaged(table, "its partitioning is no Iceberg partition spec", source);
    let spec = builder.build().map_err(refused)?;
    // Every commit will need it.
    in_avro(&spec, schema).map_err(refused)?;
    Ok(spec)
}

/// A spec for a table that has others: it gets its number, and each field that of a former one where it is the same.
pub(super) fn unbound(table: &str, spec: &PartitionSpec, schema: &Schema) -> Result<UnboundPartitionSpec, TableError> {
    // What a manifest of it could not say is refused before anybody writes one.
    to_iceberg(table, spec, schema)?;
    let fields = spec.fields.iter().map(|field| unbound_field(table, field, schema)).collect::<Result<Vec<_>, _>>()?;
    let builder = UnboundPartitionSpec::builder().add_partition_fields(fields);
    let builder = builder.map_err(|source| damaged(table, "its partitioning is no Iceberg partition spec", source))?;
    Ok(builder.build())
}

fn unbound_field(table: &str, field: &PartitionField, schema: &Schema) -> Result<UnboundPartitionField, TableError> {
    let column = schema.as_struct().fields().iter().find(|column| column.name == field.column).ok_or_else(|| {
        let advice = "partition by a top-level column of the table";
        unsupported(table, format!("partition column {}, which it does not have", field.column), advice)
    })?;
    let (name, transform) = (field.name.clone(), to_transform(field.transform));
    Ok(UnboundPartitionField { source_id: column.id, field_id: None, name, transform })
}

/// The partition fields by which all of a snapshot's files are told apart: those that every spec with live files has, void
/// ones left out.
pub(super) fn shared(metadata: &TableMetadata, used: &BTreeSet<i32>) -> Vec<IcebergField> {
    let specs = || used.iter().filter_map(|id| metadata.partition_spec_by_id(*id));
    let has = |spec: &PartitionSpecRef, field: &IcebergField| spec.fields().iter().any(|other| same(field, other));
    let default = metadata.default_partition_spec();
    let fields = match specs().next_back() {
        Some(newest) if !used.contains(&default.spec_id()) => newest.fields().iter(),
        _ => default.fields().iter(),
    };
    let told = fields.filter(|field| field.transform != IcebergTransform::Void && specs().all(|spec| has(spec, field)));
    told.cloned().collect()
}

fn same(a: &IcebergField, b: &IcebergField) -> bool {
    a.source_id == b.source_id && a.transform == b.transform
}

/// The core spec of an Iceberg spec's fields, without its void ones.
pub(super) fn from_iceberg(table: &str, spec: &[IcebergField], schema: &Schema) -> Result<PartitionSpec, TableError> {
    let mut fields = Vec::new();
    for field in spec {
        let Some(transform) = from_transform(table, &field.name, field.transform)? else { continue };
        let column = schema.as_struct().field_by_id(field.source_id).ok_or_else(|| {
            let feature = format!("partition field {} of a column that is nested or gone", field.name);
            unsupported(table, feature, "move the table to a partitioning by top-level columns first")
        })?;
        fields.push(PartitionField { name: field.name.clone(), column: column.name.clone(), transform });
    }
    Ok(PartitionSpec { fields })
}

/// The spec as it stands in a manifest, where its names are those of Avro fields: letters, digits and `_` only. Readers
/// match the fields by their ids; a name that Avro does not take makes the manifest unreadable.
pub(super) fn in_avro(spec: &IcebergSpec, schema: &Schema) -> Result<IcebergSpec, iceberg::Error> {
    let builder = IcebergSpec::builder(schema.clone()).with_spec_id(spec.spec_id());
    let fields = spec.fields().iter().map(|field| UnboundPartitionField {
        source_id: field.source_id,
        field_id: Some(field.field_id),
        name: avro_name(&field.name),
        transform: field.transform,
    });
    builder.add_unbound_fields(fields)?.build()
}

fn avro_name(name: &str) -> String {
    let mut avro = String::new();
    for (index, letter) in name.chars().enumerate() {
        match letter {
            '0'..='9' if index == 0 => avro.extend(['_', letter]),
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' => avro.push(letter),
            other => avro.push_str(&format!("_x{:X}", u32::from(other))),
        }
    }
    avro
}

fn to_transform(transform: Transform) -> IcebergTransform {
    match transform {
        Transform::Identity => IcebergTransform::Identity,
        Transform::Year => IcebergTransform::Year,
        Transform::Month => IcebergTransform::Month,
        Transform::Day => IcebergTransform::Day,
        Transform::Hour => IcebergTransform::Hour,
        Transform::Bucket(buckets) => IcebergTransform::Bucket(buckets),
        Transform::Truncate(width) => IcebergTransform::Truncate(width),
    }
}

fn from_transform(table: &str, name: &str, transform: IcebergTransform) -> Result<Option<Transform>, TableError> {
    Ok(Some(match transform {
        IcebergTransform::Identity => Transform::Identity,
        IcebergTransform::Year => Transform::Year,
        IcebergTransform::Month => Transform::Month,
        IcebergTransform::Day => Transform::Day,
        IcebergTransform::Hour => Transform::Hour,
        IcebergTransform::Bucket(buckets) => Transform::Bucket(buckets),
        IcebergTransform::Truncate(width) => Transform::Truncate(width),
        IcebergTransform::Void => return Ok(None),
        IcebergTransform::Unknown => {
            let feature = format!("an unknown transform in partition field {name}");
            return Err(unsupported(table, feature, "move the table to one of the specification's transforms first"));
        }
    }))
}

/// The partition struct of a new file: `values` in the order of the spec's fields that are not void.
pub(super) fn to_struct(
    file: &str,
    values: &[Option<Value>],
    spec: &IcebergSpec,
    partition_type: &StructType,
) -> Result<Struct, TableError> {
    let wanted = spec.fields().iter().filter(|field| field.transform != IcebergTransform::Void).count();
    if values.len() != wanted {
        return Err(corrupt(file, format!("it has {} partition values, the table {wanted} partition fields", values.len())));
    }
    let mut values = values.iter();
    let literal = |(field, slot): (&IcebergField, &iceberg::spec::NestedFieldRef)| {
        if field.transform == IcebergTransform::Void {
            return Ok(None);
        }
        let Some(value) = values.next().and_then(Option::as_ref) else { return Ok(None) };
        let datum = slot.field_type.as_primitive_type().and_then(|data_type| to_datum(value, data_type));
        let mismatch = || corrupt(file, format!("its value of partition field {} is no {}", field.name, slot.field_type));
        datum.map(|datum| Some(Literal::from(datum))).ok_or_else(mismatch)
    };
    spec.fields().iter().zip(partition_type.fields()).map(literal).collect()
}

/// Where each of the fields that all files have stands in the files of one spec.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    places: Vec<(usize, String, PrimitiveType)>,
    /// The columns of this spec's other identity fields. Their values are not told, and must stand in the files.
    in_files: Vec<(i32, String)>,
}

impl Columns {
    /// Finds every field of `wanted` in `written`, the spec that a manifest's files were written under.
    pub fn find(table: &str, wanted: &[IcebergField], written: &IcebergSpec, schema: &Schema) -> Result<Self, TableError> {
        let types = written
            .partition_type(schema)
            .map_err(|source| damaged(table, "a partition spec does not fit its schema", source))?;
        let mut columns = Vec::new();
        for field in wanted {
            let slot = written.fields().iter().find(|other| same(field, other)).and_then(|other| {
                let slot = types.field_by_id(other.field_id)?;
                let position = types.fields().iter().position(|each| each.id == other.field_id)?;
                Some((position, field.name.clone(), slot.field_type.as_primitive_type()?.clone()))
            });
            columns.push(slot.ok_or_else(|| {
                let feature = format!("files of partition spec {}, which lacks field {}", written.spec_id(), field.name);
                unsupported(table, feature, "rewrite those files under the table's current partition spec first")
            })?);
        }
        let identity = written.fields().iter().filter(|field| field.transform == IcebergTransform::Identity);
        let untold = identity.filter(|field| !wanted.iter().any(|other| same(field, other)));
        let in_files = untold.map(|field| (field.source_id, field.name.clone())).collect();
        Ok(Self { places: columns, in_files })
    }

    /// Refuses a file that may have a column in its partition alone, by a field that other files lack.
    pub fn check(&self, file: &DataFile) -> Result<(), TableError> {
        let counted = |id: &i32| file.value_counts().contains_key(id) || file.column_sizes().contains_key(id);
        match self.in_files.iter().find(|(id, _)| !counted(id)) {
            None => Ok(()),
            Some((_, name)) => {
                let feature = format!("partition field {name}, which not all of the table's files are partitioned by");
                let advice = "rewrite its files under the table's current partition spec first";
                Err(unsupported(file.file_path(), feature, advice))
            }
        }
    }

    /// The typed partition values of one file.
    pub fn values(&self, file: &str, partition: &Struct) -> Result<Vec<Option<Value>>, TableError> {
        self.places
            .iter()
            .map(|(position, name, data_type)| {
                let Some(literal) = partition.fields().get(*position).and_then(Option::as_ref) else { return Ok(None) };
                let value = literal.as_primitive_literal().and_then(|literal| from_literal(&literal, data_type));
                value
                    .map(Some)
                    .ok_or_else(|| corrupt(file, format!("its value of partition field {name} is no {data_type}")))
            })
            .collect()
    }
}

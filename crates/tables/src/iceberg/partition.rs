//! Partition specs, transforms and partition values, core's to Iceberg's and back.

use iceberg::spec::{
    Literal, PartitionSpec as IcebergSpec, PrimitiveType, Schema, Struct, StructType, Transform as IcebergTransform,
    UnboundPartitionField,
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
        let column = schema.as_struct().fields().iter().find(|column| column.name == field.column).ok_or_else(|| {
            let advice = "partition by a top-level column of the table";
            unsupported(table, format!("partition column {}, which it does not have", field.column), advice)
        })?;
        let unbound = UnboundPartitionField {
            source_id: column.id,
            field_id: None,
            name: field.name.clone(),
            transform: to_transform(field.transform),
        };
        builder = builder.add_unbound_field(unbound).map_err(|source| {
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

/// The core spec of an Iceberg spec, without its void fields.
pub(super) fn from_iceberg(table: &str, spec: &IcebergSpec, schema: &Schema) -> Result<PartitionSpec, TableError> {
    let mut fields = Vec::new();
    for field in spec.fields() {
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
    let literal = |(field, slot): (&iceberg::spec::PartitionField, &iceberg::spec::NestedFieldRef)| {
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

/// Where each field of a table's spec stands in the files of another of its specs.
#[derive(Debug, Clone)]
pub(super) struct Columns(Vec<(usize, String, PrimitiveType)>);

impl Columns {
    /// Finds every field of `wanted` in `written`, the spec that a manifest's files were written under.
    pub fn find(table: &str, wanted: &IcebergSpec, written: &IcebergSpec, schema: &Schema) -> Result<Self, TableError> {
        let types = written
            .partition_type(schema)
            .map_err(|source| damaged(table, "a partition spec does not fit its schema", source))?;
        let mut columns = Vec::new();
        for field in wanted.fields().iter().filter(|field| field.transform != IcebergTransform::Void) {
            let same = |other: &&iceberg::spec::PartitionField| {
                other.source_id == field.source_id && other.transform == field.transform
            };
            let slot = written.fields().iter().find(same).and_then(|other| {
                let slot = types.field_by_id(other.field_id)?;
                let position = types.fields().iter().position(|each| each.id == other.field_id)?;
                Some((position, field.name.clone(), slot.field_type.as_primitive_type()?.clone()))
            });
            columns.push(slot.ok_or_else(|| {
                let feature = format!("files of partition spec {}, which lacks field {}", written.spec_id(), field.name);
                unsupported(table, feature, "rewrite those files under the table's current partition spec first")
            })?);
        }
        Ok(Self(columns))
    }

    /// The typed partition values of one file.
    pub fn values(&self, file: &str, partition: &Struct) -> Result<Vec<Option<Value>>, TableError> {
        self.0
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

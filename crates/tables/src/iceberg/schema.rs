//! Schemas: core's to Iceberg's with field ids for every level, back again, and the name mapping for adopted files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, ListType, MapType, MappedField, NameMapping, NestedField, NestedFieldRef, PrimitiveType,
    Schema, StructType, TableMetadata, Type,
};
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::table::TableError;

use super::fault::{damaged, unsupported};

/// The Iceberg schema of a table's columns; ids are kept where they are and assigned where they are absent.
pub(super) fn to_iceberg(table: &str, schema: &TableSchema) -> Result<Schema, TableError> {
    let schema = with_ids(table, schema)?;
    let fields = schema.fields.iter().map(|field| to_field(table, &field.name, field)).collect::<Result<Vec<_>, _>>()?;
    Schema::builder()
        .with_schema_id(0)
        .with_fields(fields)
        .build()
        .map_err(|source| damaged(table, "its columns are no Iceberg schema", source))
}

/// The core schema of an Iceberg table's columns.
pub(super) fn from_iceberg(schema: &Schema) -> TableSchema {
    TableSchema { fields: schema.as_struct().fields().iter().map(from_field).collect() }
}

/// The core schema of one of a table's schemas, with the names of the table's name mapping.
pub(super) fn from_metadata(table: &str, metadata: &TableMetadata, schema: &Schema) -> Result<TableSchema, TableError> {
    let mut columns = from_iceberg(schema);
    if let Some(mapping) = metadata.properties().get(DEFAULT_SCHEMA_NAME_MAPPING) {
        let mapping = serde_json::from_str(mapping).map_err(|source| TableError::Corrupt {
            object: table.to_owned(),
            reason: format!("its property {DEFAULT_SCHEMA_NAME_MAPPING} is no name mapping"),
            source: Some(Box::new(source)),
        })?;
        add_names(&mut columns, &mapping);
    }
    Ok(columns)
}

/// The first column that files without it show a value for (version 3 of the format).
pub(super) fn with_default(schema: &Schema) -> Option<&str> {
    fn below(field: &NestedFieldRef) -> bool {
        field.initial_default.is_some() || nested(field).into_iter().any(below)
    }
    schema.as_struct().fields().iter().find(|field| below(field)).map(|field| field.name.as_str())
}

/// Gives every field the names that a name mapping has for its id.
fn add_names(schema: &mut TableSchema, mapping: &NameMapping) {
    fn collect(field: &MappedField, names: &mut BTreeMap<i32, Vec<String>>) {
        names.extend(field.field_id().map(|id| (id, field.names().to_vec())));
        field.fields().iter().for_each(|inner| collect(inner, names));
    }
    fn give(fields: Vec<&mut Field>, names: &BTreeMap<i32, Vec<String>>) {
        for field in fields {
            field.aliases = field.id.and_then(|id| names.get(&id)).cloned().unwrap_or_default();
            match &mut field.data_type {
                DataType::Struct { fields } => give(fields.iter_mut().collect(), names),
                DataType::List { element } => give(vec![element], names),
                DataType::Map { key, value } => give(vec![key, value], names),
                _ => {}
            }
        }
    }
    let mut names = BTreeMap::new();
    mapping.fields().iter().for_each(|field| collect(field, &mut names));
    give(schema.fields.iter_mut().collect(), &names);
}

/// The whole mapping from names in files to the schema's ids, every level of it, as a table property's value.
pub(super) fn name_mapping(schema: &Schema) -> NameMapping {
    NameMapping::new(schema.as_struct().fields().iter().map(|field| mapped(field)).collect())
}

/// A table's columns, some of a wider type, with new ones after them.
pub(super) struct Evolved {
    pub(super) schema: Schema,
    /// The table's name mapping with them, where it has one.
    pub(super) name_mapping: Option<String>,
}

impl Evolved {
    /// `columns` that the table has get their types. New ones keep their ids where the table has never given any of them;
    /// otherwise they get its next ones.
    pub(super) fn new(table: &str, metadata: &TableMetadata, columns: Vec<Field>) -> Result<Self, TableError> {
        let current = metadata.current_schema();
        let is_there = |field: &Field| current.as_struct().fields().iter().any(|known| known.name == field.name);
        let (wider, mut columns): (Vec<Field>, Vec<Field>) = columns.into_iter().partition(is_there);
        let last = metadata.last_column_id();
        let mut used = BTreeSet::new();
        let known = collect_ids(table, &columns.iter().collect::<Vec<_>>(), &mut used);
        if known.is_err() || used.first().is_some_and(|first| *first <= last) {
            columns.iter_mut().for_each(strip_ids);
            used.clear();
        }
        let mut next = used.last().copied().unwrap_or(last);
        assign(&mut columns.iter_mut().collect::<Vec<_>>(), &mut next);
        let new = columns.iter().map(|field| to_field(table, &field.name, field)).collect::<Result<Vec<_>, _>>()?;
        let kept =
            current.as_struct().fields().iter().map(|field| match wider.iter().find(|wide| wide.name == field.name) {
                Some(wide) => widened(table, metadata, field, wide),
                None => Ok(Arc::clone(field)),
            });
        let kept = kept.collect::<Result<Vec<_>, _>>()?;
        let schema = Schema::builder()
            .with_schema_id(metadata.schemas_iter().map(|schema| schema.schema_id()).max().unwrap_or_default() + 1)
            .with_fields(kept.into_iter().chain(new.iter().cloned()))
            .with_identifier_field_ids(current.identifier_field_ids())
            .build()
            .map_err(|source| damaged(table, "its columns with the new ones are no Iceberg schema", source))?;
        let name_mapping = match metadata.properties().get(DEFAULT_SCHEMA_NAME_MAPPING) {
            Some(text) => {
                let bad = |error| super::fault::bad_json(table, error);
                let known: NameMapping = serde_json::from_str(text).map_err(bad)?;
                let fields = known.fields().iter().cloned().chain(new.iter().map(|field| mapped(field)));
                Some(serde_json::to_string(&NameMapping::new(fields.collect())).map_err(bad)?)
            }
            None => None,
        };
        Ok(Self { schema, name_mapping })
    }
}

/// A column of the table with a wider type. One that rows are partitioned by keeps its type: manifests hold its values.
fn widened(table: &str, metadata: &TableMetadata, field: &NestedField, wide: &Field) -> Result<NestedFieldRef, TableError> {
    let mut specs = metadata.partition_specs_iter();
    if specs.any(|spec| spec.fields().iter().any(|partition| partition.source_id == field.id)) {
        let feature = format!("a partitioning by column {}, which would get the wider type {}", wide.name, wide.data_type);
        return Err(unsupported(table, feature, "keep the column's type; nothing was changed"));
    }
    let field_type = Box::new(to_type(table, &wide.name, &wide.data_type)?);
    Ok(Arc::new(NestedField { field_type, ..field.clone() }))
}

fn strip_ids(field: &mut Field) {
    field.id = None;
    match &mut field.data_type {
        DataType::Struct { fields } => fields.iter_mut().for_each(strip_ids),
        DataType::List { element } => strip_ids(element),
        DataType::Map { key, value } => [key, value].into_iter().for_each(|part| strip_ids(part)),
        _ => {}
    }
}

fn nested(field: &NestedField) -> Vec<&NestedFieldRef> {
    match field.field_type.as_ref() {
        Type::Primitive(_) => vec![],
        Type::Struct(members) => members.fields().iter().collect(),
        Type::List(list) => vec![&list.element_field],
        Type::Map(map) => vec![&map.key_field, &map.value_field],
    }
}

fn mapped(field: &NestedField) -> MappedField {
    let children = nested(field).into_iter().map(|child| mapped(child)).collect();
    MappedField::new(Some(field.id), vec![field.name.clone()], children)
}

/// `schema` with an id on every field of every level, none twice.
fn with_ids(table: &str, schema: &TableSchema) -> Result<TableSchema, TableError> {
    let mut used = BTreeSet::new();
    collect_ids(table, &schema.fields.iter().collect::<Vec<_>>(), &mut used)?;
    let mut next = used.last().copied().unwrap_or(0);
    let mut schema = schema.clone();
    assign(&mut schema.fields.iter_mut().collect::<Vec<_>>(), &mut next);
    Ok(schema)
}

fn collect_ids(table: &str, fields: &[&Field], used: &mut BTreeSet<i32>) -> Result<(), TableError> {
    for field in fields {
        if let Some(id) = field.id
            && (id < 1 || !used.insert(id))
        {
            let advice = "ids start at 1 and are unique over all levels; leave them out and they are assigned";
            return Err(unsupported(format!("column {} of {table}", field.name), format!("field id {id}"), advice));
        }
        collect_ids(table, &children(&field.data_type), used)?;
    }
    Ok(())
}

/// Assigns in the order of the reference implementation: all fields of a level, then each one's children.
fn assign(fields: &mut [&mut Field], next: &mut i32) {
    for field in fields.iter_mut().filter(|field| field.id.is_none()) {
        *next = next.saturating_add(1);
        field.id = Some(*next);
    }
    for field in fields {
        match &mut field.data_type {
            DataType::Struct { fields } => assign(&mut fields.iter_mut().collect::<Vec<_>>(), next),
            DataType::List { element } => assign(&mut [element], next),
            DataType::Map { key, value } => assign(&mut [key, value], next),
            _ => {}
        }
    }
}

fn children(data_type: &DataType) -> Vec<&Field> {
    match data_type {
        DataType::Struct { fields } => fields.iter().collect(),
        DataType::List { element } => vec![element],
        DataType::Map { key, value } => vec![key, value],
        _ => vec![],
    }
}

fn to_field(table: &str, path: &str, field: &Field) -> Result<NestedFieldRef, TableError> {
    let data_type = to_type(table, path, &field.data_type)?;
    Ok(Arc::new(NestedField::new(id_of(field), &field.name, data_type, !field.nullable)))
}

/// [`with_ids`] has run: 0 does not occur.
fn id_of(field: &Field) -> i32 {
    field.id.unwrap_or(0)
}

fn to_type(table: &str, path: &str, data_type: &DataType) -> Result<Type, TableError> {
    let nested = |name: &str, field: &Field| to_type(table, &format!("{path}.{name}"), &field.data_type);
    Ok(match data_type {
        DataType::Struct { fields } => {
            let member = |field: &Field| to_field(table, &format!("{path}.{}", field.name), field);
            Type::Struct(StructType::new(fields.iter().map(member).collect::<Result<_, _>>()?))
        }
        DataType::List { element } => {
            let inner = nested("element", element)?;
            Type::List(ListType::new(Arc::new(NestedField::list_element(id_of(element), inner, !element.nullable))))
        }
        DataType::Map { key, value } => {
            let key_field = NestedField::map_key_element(id_of(key), nested("key", key)?);
            let value_field = NestedField::map_value_element(id_of(value), nested("value", value)?, !value.nullable);
            Type::Map(MapType::new(Arc::new(key_field), Arc::new(value_field)))
        }
        primitive => Type::Primitive(to_primitive(table, path, primitive)?),
    })
}

fn to_primitive(table: &str, path: &str, data_type: &DataType) -> Result<PrimitiveType, TableError> {
    use PrimitiveType as P;
    let refused = |advice: &str| unsupported(format!("column {path} of {table}"), format!("type {data_type}"), advice);
    Ok(match data_type {
        DataType::Boolean => P::Boolean,
        DataType::Int32 => P::Int,
        DataType::Int64 => P::Long,
        DataType::Float32 => P::Float,
        DataType::Float64 => P::Double,
        DataType::Decimal { precision: precision @ 1..=38, scale } if scale <= precision => {
            P::Decimal { precision: u32::from(*precision), scale: u32::from(*scale) }
        }
        DataType::Date => P::Date,
        DataType::Time { unit: TimeUnit::Micros } => P::Time,
        DataType::Timestamp { unit: TimeUnit::Micros, utc: true } => P::Timestamptz,
        DataType::Timestamp { unit: TimeUnit::Micros, utc: false } => P::Timestamp,
        DataType::String => P::String,
        DataType::Binary => P::Binary,
        DataType::Fixed { length } => P::Fixed(u64::from(*length)),
        DataType::Uuid => P::Uuid,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => {
            return Err(refused("Iceberg's smallest integer has 32 bits; map the column to int32"));
        }
        DataType::UInt32 => return Err(refused("Iceberg has no unsigned integers; map the column to int64")),
        DataType::UInt64 => {
            return Err(refused(
                "Iceberg has no unsigned integers; map the column to decimal(20,0), or to int64 if its values fit",
            ));
        }
        DataType::Time { .. } | DataType::Timestamp { .. } => {
            return Err(refused("Iceberg v2 has microseconds only; name a conversion to microseconds in the spec"));
        }
        _ => return Err(refused("Iceberg v2 has no such type; convert the column in the spec's transform")),
    })
}

fn from_field(field: &NestedFieldRef) -> Field {
    Field {
        name: field.name.clone(),
        data_type: from_type(&field.field_type),
        nullable: !field.required,
        id: Some(field.id),
        physical_name: None,
        aliases: Vec::new(),
    }
}

fn from_type(data_type: &Type) -> DataType {
    match data_type {
        Type::Primitive(primitive) => from_primitive(primitive),
        Type::Struct(members) => DataType::Struct { fields: members.fields().iter().map(from_field).collect() },
        Type::List(list) => DataType::List { element: Box::new(from_field(&list.element_field)) },
        Type::Map(map) => {
            DataType::Map { key: Box::new(from_field(&map.key_field)), value: Box::new(from_field(&map.value_field)) }
        }
    }
}

/// The core type of an Iceberg primitive.
pub(super) fn from_primitive(primitive: &PrimitiveType) -> DataType {
    use PrimitiveType as P;
    // Precision is at most 38 and a fixed length fits 32 bits in any file that Parquet can hold.
    let byte = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    match primitive {
        P::Boolean => DataType::Boolean,
        P::Int => DataType::Int32,
        P::Long => DataType::Int64,
        P::Float => DataType::Float32,
        P::Double => DataType::Float64,
        P::Decimal { precision, scale } => DataType::Decimal { precision: byte(*precision), scale: byte(*scale) },
        P::Date => DataType::Date,
        P::Time => DataType::Time { unit: TimeUnit::Micros },
        P::Timestamp => DataType::Timestamp { unit: TimeUnit::Micros, utc: false },
        P::Timestamptz => DataType::Timestamp { unit: TimeUnit::Micros, utc: true },
        P::TimestampNs => DataType::Timestamp { unit: TimeUnit::Nanos, utc: false },
        P::TimestamptzNs => DataType::Timestamp { unit: TimeUnit::Nanos, utc: true },
        P::String => DataType::String,
        P::Uuid => DataType::Uuid,
        P::Fixed(length) => DataType::Fixed { length: u32::try_from(*length).unwrap_or(u32::MAX) },
        P::Binary => DataType::Binary,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn nested() -> TableSchema {
        let string = |name: &str| Field::new(name, DataType::String, true);
        let list = DataType::List { element: Box::new(Field::new("element", DataType::Int64, false)) };
        let map = DataType::Map {
            key: Box::new(Field::new("key", DataType::String, false)),
            value: Box::new(Field::new("value", DataType::Struct { fields: vec![string("inner")] }, true)),
        };
        TableSchema { fields: vec![string("plain"), Field::new("numbers", list, true), Field::new("by.name", map, false)] }
    }

    #[test]
    fn fresh_ids_are_given_level_by_level_and_the_schema_comes_back() {
        let schema = to_iceberg("t", &nested()).unwrap();
        let back = from_iceberg(&schema);
        let ids = |fields: &[Field]| fields.iter().map(|field| field.id.unwrap()).collect::<Vec<_>>();
        assert_eq!(ids(&back.fields), [1, 2, 3]);
        assert_eq!(schema.highest_field_id(), 7);
        let DataType::Map { value, .. } = &back.fields[2].data_type else { panic!("not a map") };
        assert_eq!(value.id, Some(6));
        assert_eq!(from_iceberg(&to_iceberg("t", &back).unwrap()), back);
    }

    #[test]
    fn ids_that_are_there_are_kept_and_others_do_not_collide() {
        let mut schema = nested();
        schema.fields[0].id = Some(9);
        let back = from_iceberg(&to_iceberg("t", &schema).unwrap());
        assert_eq!(back.fields.iter().map(|field| field.id.unwrap()).collect::<Vec<_>>(), [9, 10, 11]);
        schema.fields[1].id = Some(9);
        assert!(matches!(to_iceberg("t", &schema), Err(TableError::Unsupported { .. })));
    }

    #[test]
    fn the_name_mapping_names_every_level_with_the_schemas_ids() {
        let mapping = name_mapping(&to_iceberg("t", &nested()).unwrap());
        insta::assert_json_snapshot!(mapping, @r#"
        [
          {
            "field-id": 1,
            "names": [
              "plain"
            ]
          },
          {
            "field-id": 2,
            "names": [
              "numbers"
            ],
            "fields": [
              {
                "field-id": 4,
                "names": [
                  "element"
                ]
              }
            ]
          },
          {
            "field-id": 3,
            "names": [
              "by.name"
            ],
            "fields": [
              {
                "field-id": 5,
                "names": [
                  "key"
                ]
              },
              {
                "field-id": 6,
                "names": [
                  "value"
                ],
                "fields": [
                  {
                    "field-id": 7,
                    "names": [
                      "inner"
                    ]
                  }
                ]
              }
            ]
          }
        ]
        "#);
    }

    #[rstest]
    #[case(DataType::UInt64)]
    #[case(DataType::UInt32)]
    #[case(DataType::Int8)]
    #[case(DataType::Timestamp { unit: TimeUnit::Nanos, utc: false })]
    #[case(DataType::Timestamp { unit: TimeUnit::Millis, utc: true })]
    #[case(DataType::Time { unit: TimeUnit::Nanos })]
    #[case(DataType::Decimal { precision: 39, scale: 0 })]
    #[case(DataType::List { element: Box::new(Field::new("element", DataType::UInt64, true)) })]
    fn a_type_without_an_exact_image_is_refused_with_advice(#[case] data_type: DataType) {
        let schema = TableSchema { fields: vec![Field::new("c", data_type, true)] };
        let error = to_iceberg("t", &schema).unwrap_err();
        assert!(matches!(error, TableError::Unsupported { .. }), "{error}");
    }
}

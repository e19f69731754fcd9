//! The tables of types in `docs/formats.md` are printed from the mapping itself.
//!
//! `LAKESHIFT_WRITE_DOCS=1 cargo test -p lakeshift-core` writes them anew.

use std::fmt::Write;
use std::path::Path;

use lakeshift_core::mapping::map_schema;
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::table::Format;

const BEGIN: &str = "<!-- types: printed by core/tests/it/type_table.rs; LAKESHIFT_WRITE_DOCS=1 writes it anew -->\n";
const END: &str = "<!-- end of types -->\n";

const DECIMAL: DataType = DataType::Decimal { precision: 38, scale: 4 };

fn timestamp(unit: TimeUnit, utc: bool) -> DataType {
    DataType::Timestamp { unit, utc }
}

fn time(unit: TimeUnit) -> DataType {
    DataType::Time { unit }
}

fn nested() -> [DataType; 3] {
    let element = || Box::new(Field::new("element", DataType::Int64, true));
    [
        DataType::Struct { fields: vec![Field::new("a", DataType::Int64, true)] },
        DataType::List { element: element() },
        DataType::Map { key: Box::new(Field::new("key", DataType::String, false)), value: element() },
    ]
}

/// What the source calls a type, and what Lakeshift reads it as.
type Named = (&'static str, DataType);

fn with_nested(mut types: Vec<Named>, names: [&'static str; 3]) -> Vec<Named> {
    types.extend(names.into_iter().zip(nested()));
    types
}

fn hive() -> Vec<Named> {
    use TimeUnit::{Micros, Millis, Nanos};
    let types = vec![
        ("BOOLEAN", DataType::Boolean),
        ("INT(8, signed)", DataType::Int8),
        ("INT(16, signed)", DataType::Int16),
        ("INT32, INT(32, signed)", DataType::Int32),
        ("INT64, INT(64, signed)", DataType::Int64),
        ("INT(8, unsigned)", DataType::UInt8),
        ("INT(16, unsigned)", DataType::UInt16),
        ("INT(32, unsigned)", DataType::UInt32),
        ("INT(64, unsigned)", DataType::UInt64),
        ("FLOAT", DataType::Float32),
        ("DOUBLE", DataType::Float64),
        ("DECIMAL(p,s) in INT32, INT64, FIXED, BINARY", DECIMAL),
        ("DATE", DataType::Date),
        ("TIME(MILLIS)", time(Millis)),
        ("TIME(MICROS)", time(Micros)),
        ("TIME(NANOS)", time(Nanos)),
        ("TIMESTAMP(MILLIS, utc), TIMESTAMP_MILLIS", timestamp(Millis, true)),
        ("TIMESTAMP(MICROS, utc), TIMESTAMP_MICROS", timestamp(Micros, true)),
        ("TIMESTAMP(NANOS, utc)", timestamp(Nanos, true)),
        ("TIMESTAMP(MILLIS, local)", timestamp(Millis, false)),
        ("TIMESTAMP(MICROS, local)", timestamp(Micros, false)),
        ("TIMESTAMP(NANOS, local)", timestamp(Nanos, false)),
        ("INT96, declared by `source.int96: utc`", timestamp(Micros, true)),
        ("STRING, ENUM, JSON", DataType::String),
        ("BINARY, BSON", DataType::Binary),
        ("FIXED(n)", DataType::Fixed { length: 12 }),
        ("UUID", DataType::Uuid),
    ];
    with_nested(types, ["group", "LIST of three or two levels, repeated", "MAP, MAP_KEY_VALUE"])
}

fn delta() -> Vec<Named> {
    let types = vec![
        ("boolean", DataType::Boolean),
        ("byte", DataType::Int8),
        ("short", DataType::Int16),
        ("integer", DataType::Int32),
        ("long", DataType::Int64),
        ("float", DataType::Float32),
        ("double", DataType::Float64),
        ("decimal(p,s)", DECIMAL),
        ("date", DataType::Date),
        ("timestamp", timestamp(TimeUnit::Micros, true)),
        ("timestamp_ntz", timestamp(TimeUnit::Micros, false)),
        ("string", DataType::String),
        ("binary", DataType::Binary),
    ];
    with_nested(types, ["struct", "array", "map"])
}

fn iceberg() -> Vec<Named> {
    let types = vec![
        ("boolean", DataType::Boolean),
        ("int", DataType::Int32),
        ("long", DataType::Int64),
        ("float", DataType::Float32),
        ("double", DataType::Float64),
        ("decimal(P,S)", DECIMAL),
        ("date", DataType::Date),
        ("time", time(TimeUnit::Micros)),
        ("timestamp", timestamp(TimeUnit::Micros, false)),
        ("timestamptz", timestamp(TimeUnit::Micros, true)),
        ("timestamp_ns", timestamp(TimeUnit::Nanos, false)),
        ("timestamptz_ns", timestamp(TimeUnit::Nanos, true)),
        ("string", DataType::String),
        ("binary", DataType::Binary),
        ("fixed[L]", DataType::Fixed { length: 12 }),
        ("uuid", DataType::Uuid),
    ];
    with_nested(types, ["struct", "list", "map"])
}

fn hudi() -> Vec<Named> {
    use TimeUnit::{Micros, Millis};
    let types = vec![
        ("boolean", DataType::Boolean),
        ("int", DataType::Int32),
        ("long", DataType::Int64),
        ("float", DataType::Float32),
        ("double", DataType::Float64),
        ("decimal in bytes, fixed", DECIMAL),
        ("date", DataType::Date),
        ("time-millis", time(Millis)),
        ("time-micros", time(Micros)),
        ("timestamp-millis", timestamp(Millis, true)),
        ("timestamp-micros", timestamp(Micros, true)),
        ("local-timestamp-millis", timestamp(Millis, false)),
        ("local-timestamp-micros", timestamp(Micros, false)),
        ("string, enum", DataType::String),
        ("bytes", DataType::Binary),
        ("fixed", DataType::Fixed { length: 12 }),
    ];
    with_nested(types, ["record", "array", "map"])
}

/// What the target calls the type of one of its columns.
fn name_in(format: Format, data_type: &DataType) -> String {
    let iceberg = format == Format::Iceberg;
    let by_format = |in_iceberg: &str, in_delta: &str| if iceberg { in_iceberg } else { in_delta }.to_owned();
    match data_type {
        DataType::Int8 => "byte".to_owned(),
        DataType::Int16 => "short".to_owned(),
        DataType::Int32 => by_format("int", "integer"),
        DataType::Int64 => "long".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal { precision: 38, .. } => "decimal(p,s)".to_owned(),
        DataType::Time { .. } => "time".to_owned(),
        DataType::Timestamp { unit: TimeUnit::Nanos, utc } => {
            (if *utc { "timestamptz_ns" } else { "timestamp_ns" }).to_owned()
        }
        DataType::Timestamp { utc: true, .. } => by_format("timestamptz", "timestamp"),
        DataType::Timestamp { utc: false, .. } => by_format("timestamp", "timestamp_ntz"),
        DataType::Fixed { .. } => "fixed(n)".to_owned(),
        DataType::Struct { .. } => "struct".to_owned(),
        DataType::List { .. } => by_format("list", "array"),
        DataType::Map { .. } => "map".to_owned(),
        other => other.to_string(),
    }
}

/// What becomes of a type in a target, as the plan would say it.
fn image(data_type: &DataType, format: Format) -> String {
    let schema = TableSchema { fields: vec![Field::new("c", data_type.clone(), true)] };
    match map_schema(&schema, format) {
        Ok((_, mappings)) => {
            let name = name_in(format, &mappings[0].to);
            mappings[0].rule.map_or_else(|| format!("`{name}`"), |rule| format!("`{name}`: {rule}"))
        }
        Err(refused) => format!("refused: {}", refused[0].advice),
    }
}

fn printed() -> String {
    let mut out = String::new();
    let sources = [("Hive-style Parquet", hive()), ("Delta", delta()), ("Iceberg", iceberg()), ("Hudi", hudi())];
    for (source, types) in sources {
        writeln!(out, "\n| {source} | to Delta | to Iceberg |\n|---|---|---|").unwrap();
        for (name, data_type) in types {
            let [delta, iceberg] = [Format::Delta, Format::Iceberg].map(|format| image(&data_type, format));
            writeln!(out, "| {name} | {delta} | {iceberg} |").unwrap();
        }
    }
    out.push('\n');
    out
}

#[test]
fn the_docs_tables_of_types_are_what_the_mapping_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let docs = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = docs.split_once(BEGIN).expect("the mark before the tables");
    let (found, after) = rest.split_once(END).expect("the mark after the tables");
    let expected = printed();
    if found != expected && std::env::var_os("LAKESHIFT_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(found == expected, "docs/formats.md is behind the code; LAKESHIFT_WRITE_DOCS=1 writes it anew:\n{expected}");
}

//! Partition values from paths: `column=value` segments, decoded once, with declared or proven types.

use std::collections::BTreeSet;

use lakeshift_core::partition::HIVE_NULL;
use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::table::TableError;
use lakeshift_core::value::Value;
use percent_encoding::percent_decode_str;

use super::PartitionColumn;
use crate::footer::unsupported;
use crate::text::parse;

/// The segments of one path: names and decoded texts, outermost first; `None` is null.
pub(super) type PathValues = Vec<(String, Option<String>)>;

/// The partition segments of a file's path. Segments without `=` are plain folders.
pub(super) fn of_path(path: &str) -> Result<PathValues, TableError> {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    let mut values = PathValues::new();
    for (name, text) in folders.split('/').filter_map(|segment| segment.split_once('=')) {
        let (name, text) = (decode(path, name)?, decode(path, text)?);
        if name.is_empty() || text.is_empty() {
            let advice = "readers disagree on what it means; rename the folder (null is __HIVE_DEFAULT_PARTITION__)";
            return Err(unsupported(path, "a partition folder with an empty name or value", advice));
        }
        if values.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            return Err(unsupported(path, format!("the partition column {name} twice in one path"), "rename one folder"));
        }
        values.push((name, (text != HIVE_NULL).then_some(text)));
    }
    Ok(values)
}

fn decode(path: &str, text: &str) -> Result<String, TableError> {
    let decoded = percent_decode_str(text).decode_utf8();
    let advice = "rename the folder to percent-encoded UTF-8";
    decoded.map(|text| text.into_owned()).map_err(|_| unsupported(path, "a partition folder that is not UTF-8", advice))
}

/// The table's partition columns: names from the paths, which must agree; types declared, the files' own, or proven.
pub(super) fn columns<'a>(
    mut paths: impl Iterator<Item = (&'a str, &'a PathValues)>,
    declared: &[PartitionColumn],
    in_files: &TableSchema,
) -> Result<Vec<Field>, TableError> {
    let Some((first, values)) = paths.next() else { return Ok(Vec::new()) };
    let mut proofs: Vec<Proof> = values.iter().map(|(name, _)| Proof::new(name)).collect();
    proofs.iter_mut().zip(values).for_each(|(proof, (_, text))| proof.add(text.as_deref()));
    for (path, values) in paths {
        let same = values.len() == proofs.len() && values.iter().zip(&proofs).all(|((name, _), proof)| *name == proof.name);
        if !same {
            let names = |values: &mut dyn Iterator<Item = &str>| values.collect::<Vec<_>>().join("/");
            let feature = format!(
                "the partition folders [{}] where {first} has [{}]",
                names(&mut values.iter().map(|(name, _)| name.as_str())),
                names(&mut proofs.iter().map(|proof| proof.name.as_str())),
            );
            return Err(unsupported(path, feature, "move files so that all have the same folders, or migrate them apart"));
        }
        proofs.iter_mut().zip(values).for_each(|(proof, (_, text))| proof.add(text.as_deref()));
    }
    check_declared(first, declared, &proofs)?;
    Ok(proofs.into_iter().map(|proof| proof.column(declared, in_files)).collect())
}

fn check_declared(first: &str, declared: &[PartitionColumn], proofs: &[Proof]) -> Result<(), TableError> {
    match declared.iter().find(|column| proofs.iter().all(|proof| proof.name != column.name)) {
        None => Ok(()),
        Some(column) => {
            let feature = format!("no partition folder `{}=…`, which the spec declares", column.name);
            Err(unsupported(first, feature, "correct the source's partition columns in the spec"))
        }
    }
}

/// What all values of one column have in common.
struct Proof {
    name: String,
    nullable: bool,
    any: bool,
    integers: bool,
    dates: bool,
    /// The distinct texts: whether the files' own type takes them is asked when all are known.
    texts: BTreeSet<String>,
}

impl Proof {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), nullable: false, any: false, integers: true, dates: true, texts: BTreeSet::new() }
    }

    fn add(&mut self, text: Option<&str>) {
        let Some(text) = text else {
            self.nullable = true;
            return;
        };
        self.any = true;
        self.integers = self.integers && round_trips(text, &DataType::Int64);
        self.dates = self.dates && round_trips(text, &DataType::Date);
        if !self.texts.contains(text) {
            self.texts.insert(text.to_owned());
        }
    }

    fn column(self, declared: &[PartitionColumn], in_files: &TableSchema) -> Field {
        let declared = declared.iter().find(|column| column.name == self.name).map(|column| column.data_type.clone());
        let own = in_files.field(&self.name).map(|field| field.data_type.clone());
        let own = own.filter(|own| self.texts.iter().all(|text| round_trips(text, own)));
        let data_type = declared.or(own).unwrap_or_else(|| self.proven());
        Field::new(self.name, data_type, self.nullable)
    }

    fn proven(&self) -> DataType {
        match self {
            Self { any: true, integers: true, .. } => DataType::Int64,
            Self { any: true, dates: true, .. } => DataType::Date,
            _ => DataType::String,
        }
    }
}

/// Whether a text is a value of the type and the value prints as that text: `00` is no integer.
fn round_trips(text: &str, data_type: &DataType) -> bool {
    parse(text, data_type).is_some_and(|value| value.to_string() == text)
}

/// The typed values of one file.
pub(super) fn typed(path: &str, values: &PathValues, columns: &[Field]) -> Result<Vec<Option<Value>>, TableError> {
    let one = |((_, text), column): (&(String, Option<String>), &Field)| {
        let Some(text) = text else { return Ok(None) };
        parse(text, &column.data_type).map(Some).ok_or_else(|| {
            let feature = format!("a value of partition column {} that is no {}", column.name, column.data_type);
            unsupported(path, feature, "declare another type for the column in the spec, or rename the folder")
        })
    };
    values.iter().zip(columns).map(one).collect()
}

/// The table's schema: the files' columns, where a path's column takes the place of one with its name, and the other
/// partition columns after them.
pub(super) fn with_columns(in_files: TableSchema, columns: &[Field]) -> Result<TableSchema, TableError> {
    let mut schema = in_files;
    for column in columns {
        match schema.position(&column.name) {
            Some(index) => schema.fields[index] = column.clone(),
            None => {
                if let Some(field) = schema.fields.iter().find(|field| field.name.eq_ignore_ascii_case(&column.name)) {
                    let feature =
                        format!("the partition column {} beside a column {} in the files", column.name, field.name);
                    return Err(unsupported(
                        "the table",
                        feature,
                        "rename the folders or map the column in the spec's columns",
                    ));
                }
                schema.fields.push(column.clone());
            }
        }
    }
    Ok(schema)
}

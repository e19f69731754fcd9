//! The way back: what makes rows of the new table rows of the old one again, or why nothing can.
//!
//! Only what loses nothing is taken. Renamed columns get their names back and widened ones their types, each value exactly or
//! not at all; a column that the spec adds stays behind, because the old table never had it; files of partitions outside of the
//! scope are not touched. Where the spec computes, filters row by row, fills or leaves out, the old rows cannot be told from the
//! new ones.

use crate::plan::same_type;
use crate::projection::{Projection, ProjectionSpec, is_castable};
use crate::schema::TableSchema;
use crate::spec::{Spec, TargetColumn};
use crate::table::Format;

/// What tells which rows of the old table are inside of `scope.where`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopedBy {
    /// There is no scope: all are.
    Nothing,
    /// Partitions: every file is inside or outside as a whole, and units are made of files inside alone.
    Partitions,
    /// The rows themselves: a file may hold some of both.
    Rows,
}

/// How rows of the new table become rows of the old one.
#[derive(Debug, Clone, PartialEq)]
pub struct Back {
    /// The old table's columns made from the new one's, in the old order.
    pub columns: Vec<TargetColumn>,
    /// Columns that the spec has added and the old table never had: their values are the new table's alone.
    pub left_out: Vec<String>,
}

impl Back {
    /// What a rollback leaves behind, as the end of a sentence.
    pub fn told(&self) -> String {
        match self.left_out.as_slice() {
            [] => "a rollback loses nothing".to_owned(),
            added => format!(
                "a rollback loses nothing but the values of {}, which the old table has no column for",
                added.join(", ")
            ),
        }
    }
}

/// What makes the old table's rows from the new one's.
///
/// # Errors
/// Why the rows cannot be carried back, in words.
pub fn columns_back(spec: &Spec, scope: ScopedBy, old: &TableSchema, new: &TableSchema) -> Result<Back, String> {
    possible(spec, scope)?;
    let asked = ProjectionSpec { columns: &spec.target.columns, drop: &spec.target.drop };
    let there = Projection::settle(asked, old).map_err(|reasons| reasons.join("; "))?;
    if let Some(dropped) = there.dropped.first() {
        return Err(format!("the new table does not have the old one's column {dropped} (target.drop)"));
    }
    let mut back = Vec::with_capacity(old.fields.len());
    for field in &old.fields {
        let mut images = there.columns.iter().filter(|column| column.from.as_deref() == Some(&field.name));
        let image = images.next().ok_or_else(|| format!("no column of the new table is made from {}", field.name))?;
        if image.default.is_some() {
            return Err(format!("target.columns puts a default in place of NULL in {}", image.name));
        }
        let Some(now) = new.field(&image.name) else {
            return Err(format!("the new table has no column {} any more", image.name));
        };
        let mut column = TargetColumn::named(field.name.clone());
        column.from = (image.name != field.name).then(|| image.name.clone());
        if !same_type(&now.data_type, &field.data_type) {
            if !is_castable(&now.data_type, &field.data_type) {
                let (name, from, to) = (&image.name, &now.data_type, &field.data_type);
                return Err(format!("column {name} is {from} in the new table and cannot be made {to} again"));
            }
            column.data_type = Some(field.data_type.clone());
        }
        back.push(column);
    }
    let mut left_out = Vec::new();
    for field in &new.fields {
        match there.columns.iter().find(|column| column.name == field.name) {
            Some(column) if column.from.is_some() => {}
            Some(_) => left_out.push(field.name.clone()),
            // Of others, who mean something by it.
            None => return Err(format!("the old table has no place for the new one's column {}", field.name)),
        }
    }
    Ok(Back { columns: back, left_out })
}

/// What the spec alone forbids.
///
/// # Errors
/// As [`columns_back`].
pub fn possible(spec: &Spec, scope: ScopedBy) -> Result<(), String> {
    let forbidden = [
        (!spec.cutover.reverse, "cutover.reverse is off"),
        (spec.source.location == spec.target.location, "both tables share one folder and its files"),
        (spec.source.format == Format::Hudi, "Hudi tables are only read"),
        (spec.source.reference.is_some(), "source.ref names a branch or tag, which is only read"),
        (spec.transform.is_some(), "transform.sql computes the new rows, and nothing computes the old ones from them"),
        (
            scope == ScopedBy::Rows,
            "scope.where moves a part of the rows, and files of the old table hold the others too (a condition of partition columns \
             alone would leave whole files)",
        ),
    ];
    match forbidden.iter().find(|(applies, _)| *applies) {
        Some((_, why)) => Err((*why).to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;
    use crate::schema::{DataType, Field};

    fn spec(source: &str, target: &str, rest: &str) -> Spec {
        let text = format!(
            "apiVersion: lakeshift/v1\nname: a\ncontrol: file:///lake/c\nsource: {{format: {source}, location: 'file:///lake/s'}}\n\
             target: {{format: delta, location: 'file:///lake/t'{target}}}\ncutover: {{alias: a}}\n{rest}"
        );
        Spec::from_yaml(text, Path::new("a.yaml")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn schema(fields: &[(&str, DataType)]) -> TableSchema {
        TableSchema { fields: fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect() }
    }

    fn old() -> TableSchema {
        schema(&[("id", DataType::Int64), ("n", DataType::Int8)])
    }

    fn scope_of(spec: &Spec) -> ScopedBy {
        if spec.scope.is_some() { ScopedBy::Rows } else { ScopedBy::Nothing }
    }

    fn back_of(spec: &Spec, new: &TableSchema) -> Result<Back, String> {
        columns_back(spec, scope_of(spec), &old(), new)
    }

    #[test]
    fn a_scope_of_whole_partitions_has_a_way_back() {
        let spec = spec("hive", "", "scope: {where: 'n > 1'}");
        assert!(columns_back(&spec, ScopedBy::Partitions, &old(), &old()).is_ok());
    }

    #[test]
    fn names_and_types_come_back() {
        let spec = spec("hive", ", columns: [{name: key, from: id}, '*']", "");
        let new = schema(&[("key", DataType::Int64), ("n", DataType::Int32)]);
        let Back { columns: back, left_out } = columns_back(&spec, scope_of(&spec), &old(), &new).unwrap();
        assert!(left_out.is_empty());
        let told: Vec<_> = back.iter().map(|column| (column.name.as_str(), column.from.as_deref())).collect();
        assert_eq!(told, [("id", Some("key")), ("n", None)]);
        assert_eq!((&back[0].data_type, &back[1].data_type), (&None, &Some(DataType::Int8)));
    }

    #[test]
    fn a_column_that_the_spec_adds_stays_behind_and_is_told() {
        let spec = spec("hive", ", columns: ['*', {name: one, default: 1}]", "");
        let new = schema(&[("id", DataType::Int64), ("n", DataType::Int8), ("one", DataType::Int64)]);
        let back = columns_back(&spec, scope_of(&spec), &old(), &new).unwrap();
        assert_eq!((back.columns.len(), back.left_out.as_slice()), (2, &["one".to_owned()][..]));
        assert!(back.told().contains("but the values of one"), "{}", back.told());
    }

    #[rstest]
    #[case::transform("hive", "", "transform: {sql: 'SELECT id, n FROM source'}", &[], "transform.sql")]
    #[case::scope("hive", "", "scope: {where: 'n > 1'}", &[], "scope.where")]
    #[case::hudi("hudi", "", "", &[], "Hudi")]
    #[case::dropped("hive", ", drop: [n]", "", &[], "column n (target.drop)")]
    #[case::filled("hive", ", columns: [{name: n, default: 0}, '*']", "", &[("n", DataType::Int8)], "default in place of NULL")]
    #[case::added("hive", "", "", &[("n", DataType::Int8), ("more", DataType::String)], "no place for the new one's column more")]
    #[case::gone("hive", "", "", &[], "no column n any more")]
    #[case::other_type("hive", "", "", &[("n", DataType::Boolean)], "cannot be made int8")]
    fn what_would_lose_something_is_refused(
        #[case] source: &str,
        #[case] target: &str,
        #[case] rest: &str,
        #[case] new: &[(&str, DataType)],
        #[case] why: &str,
    ) {
        let fields: Vec<_> = [("id", DataType::Int64)].into_iter().chain(new.iter().cloned()).collect();
        let refused = back_of(&spec(source, target, rest), &schema(&fields)).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

//! The cheapest correct way for one file.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::Strategy;
use crate::partition::{PartitionField, PartitionSpec, Transform};
use crate::schema::{DataType, Field, TableSchema};
use crate::table::{FileEntry, FileFacts, Format};
use crate::value::Value;

/// What [`choose`] needs to know of the migration, the same for every file.
#[derive(Debug, Clone)]
pub struct ChooseContext {
    /// The source's columns.
    pub source_schema: TableSchema,
    /// Whether they are found in files by field id.
    pub source_by_id: bool,
    /// The source's partitioning (Hive: identity of the columns in the path).
    pub source_partition: PartitionSpec,
    /// The target's format.
    pub target_format: Format,
    /// The target's columns.
    pub target_schema: TableSchema,
    /// The target's partitioning.
    pub target_partition: PartitionSpec,
    /// Whether the target can refer to files where the source keeps them.
    pub target_can_refer: bool,
    /// Whether the target can hold, for a file that it registers, which of its rows are deleted.
    pub target_carries_deletes: bool,
    /// Columns that the spec renames, file name to table name; a file that has one is rewritten.
    pub renames: BTreeMap<String, String>,
    /// Whether the spec has new logic or a row filter, so that every row must be looked at.
    pub rows_change: bool,
    /// The source's columns that have a default: rows of files without such a column are not null there.
    pub defaults: BTreeSet<String>,
    /// What `target.columns` and `target.drop` change about every row, in words; `None` where at most the columns' order.
    pub columns_change: Option<String>,
    /// A strategy that the spec forces, where it can be had.
    pub forced: Option<Strategy>,
}

/// Chooses a strategy: how, why, and the target partition where it is proven.
pub fn choose(context: &ChooseContext, file: &FileEntry, facts: &FileFacts) -> Choice {
    let mut choice = cheapest(context, file, facts);
    if let Some(column) = contradicted(context, file, facts) {
        choice.reason.push_str(&format!("; the file has other values of {column} than its path, and the path's count"));
    }
    choice
}

/// A column of the path of which the file's own values are others, as far as its bounds tell.
fn contradicted<'a>(context: &'a ChooseContext, file: &FileEntry, facts: &FileFacts) -> Option<&'a str> {
    if context.source_by_id {
        // By its name in the file, a column may be another.
        return None;
    }
    let in_path = context.source_partition.fields.iter().zip(&file.partition);
    let mut in_path = in_path.filter(|(field, _)| field.transform == Transform::Identity);
    let others = |(field, value): &(&PartitionField, &Option<Value>)| {
        let (bounds, nulls) = (facts.bounds.get(&field.column), facts.null_counts.get(&field.column));
        match (value, bounds) {
            (Some(value), Some((least, greatest))) => {
                value.compare(least) == Some(Ordering::Less) || value.compare(greatest) == Some(Ordering::Greater)
            }
            (Some(_), None) => facts.rows > 0 && nulls == Some(&facts.rows),
            (None, bounds) => bounds.is_some(),
        }
    };
    in_path.find(others).map(|(field, _)| field.column.as_str())
}

fn cheapest(context: &ChooseContext, file: &FileEntry, facts: &FileFacts) -> Choice {
    let target_partition = match context.rows_change || context.columns_change.is_some() {
        true => None,
        false => prove_partition(context, file, facts),
    };
    let choice = |strategy, reason, target_partition| Choice { strategy, reason, target_partition };
    if context.forced == Some(Strategy::Rewrite) {
        return choice(Strategy::Rewrite, "backfill.strategy forces rewrite".to_owned(), target_partition);
    }
    if let Some(reason) = change(context, file, facts) {
        return choice(Strategy::Rewrite, reason, target_partition);
    }
    if target_partition.is_none() {
        return choice(Strategy::Rewrite, unproven(context, file, facts), None);
    }
    let forced = || (context.forced == Some(Strategy::Splice)).then(|| "backfill.strategy forces splice".to_owned());
    match displacement(context, facts).or_else(forced) {
        // Positions hold in the file that they were counted in, and in no other.
        Some(reason) if file.has_deletes => {
            choice(Strategy::Rewrite, format!("rows of the file are deleted, and {reason}"), target_partition)
        }
        Some(reason) => choice(Strategy::Splice, reason, target_partition),
        None => choice(Strategy::Adopt, adoptable(file), target_partition),
    }
}

fn adoptable(file: &FileEntry) -> String {
    let reason = "same columns and types, one target partition";
    match file.has_deletes {
        true => format!("{reason}; its deleted rows are carried over as deletes"),
        false => reason.to_owned(),
    }
}

/// Iceberg keeps the field ids above this for columns of its own: `_row_id`, `_last_updated_sequence_number` …
const RESERVED_FIELD_IDS: i32 = i32::MAX - 200;

/// What [`choose`] decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// How the file moves.
    pub strategy: Strategy,
    /// Why.
    pub reason: String,
    /// The one target partition of all its rows, where proven.
    pub target_partition: Option<Vec<Option<Value>>>,
}

/// Why the file's rows must be decoded, whatever partition they lie in.
fn change(context: &ChooseContext, file: &FileEntry, facts: &FileFacts) -> Option<String> {
    if context.rows_change {
        return Some("transform.sql or scope.where looks at every row".to_owned());
    }
    if let Some(change) = &context.columns_change {
        return Some(change.clone());
    }
    if file.has_deletes && !context.target_carries_deletes {
        return Some("rows of the file are deleted".to_owned());
    }
    if file.has_deletes && !facts.deletes_by_position {
        return Some("rows of the file are deleted by their values".to_owned());
    }
    if let Some((from, to)) = context.renames.iter().find(|(from, _)| facts.schema.field(from).is_some()) {
        return Some(format!("column {from} is renamed to {to}"));
    }
    if let Some(column) = facts.two_level_list.as_ref().filter(|_| context.target_format == Format::Iceberg) {
        return Some(format!("column {column} is a list of two levels in the file, which readers of Iceberg do not know"));
    }
    let own = |column: &&Field| column.id.is_some_and(|id| id > RESERVED_FIELD_IDS);
    if let Some(column) = facts.schema.fields.iter().find(own) {
        return Some(format!("the file has the column {}, which tells of the old table's own commits", column.name));
    }
    let changed = |column: &Field| {
        // Where a column stands in path and file, the path is authoritative, and the file's own values are not copied.
        if path_column(context, &column.name) {
            return None;
        }
        let (name, by_name) = (&column.name, facts.schema.field(&column.name));
        match (in_file(context, facts, name), by_name) {
            (None, None) if context.defaults.contains(name) => {
                Some(format!("the file has no column {name}, and its rows have the table's default there"))
            }
            (None, None) => None,
            (None, Some(_)) => Some(format!("the file has a column {name} that is not the table's")),
            (Some(found), _) if found.name != *name => Some(format!("column {name} is {} in the file", found.name)),
            (Some(found), _) if !same_type(&found.data_type, &column.data_type) => {
                let (found, wanted) = (&found.data_type, &column.data_type);
                Some(format!("column {name} is {found} in the file and {wanted} in the target"))
            }
            (Some(found), _) => {
                let source = context.source_schema.field(name).filter(|_| context.source_by_id)?;
                let others = found.id.is_some() && !same_ids(&found.data_type, &source.data_type);
                others.then(|| format!("column {name} has other members in the file, which bear the same names"))
            }
        }
    };
    context.target_schema.fields.iter().find_map(changed)
}

/// The file's column that is the source's column `name`. Names that the spec declares are looked at elsewhere.
fn in_file<'a>(context: &ChooseContext, facts: &'a FileFacts, name: &str) -> Option<&'a Field> {
    let Some(source) = context.source_schema.field(name) else { return facts.schema.field(name) };
    let mut columns = facts.schema.fields.iter();
    if !context.source_by_id {
        return facts.schema.field(source.physical_name.as_deref().unwrap_or(name));
    }
    match facts.schema.fields.iter().any(|column| column.id.is_some()) {
        true => columns.find(|column| column.id.is_some() && column.id == source.id),
        false => columns.find(|column| source.aliases.contains(&column.name)),
    }
}

/// Whether two types of one shape have the same field ids throughout.
fn same_ids(a: &DataType, b: &DataType) -> bool {
    use DataType as T;
    let same = |a: &Field, b: &Field| a.id == b.id && same_ids(&a.data_type, &b.data_type);
    match (a, b) {
        (T::Struct { fields: a }, T::Struct { fields: b }) => a.iter().zip(b).all(|(a, b)| same(a, b)),
        (T::List { element: a }, T::List { element: b }) => same(a, b),
        (T::Map { key: a, value: v }, T::Map { key: b, value: w }) => same(a, b) && same(v, w),
        _ => true,
    }
}

/// Why a file whose columns stay as they are cannot stay where it is or as it is.
fn displacement(context: &ChooseContext, facts: &FileFacts) -> Option<String> {
    if !context.target_can_refer {
        let format = context.target_format;
        return Some(format!("the {format} table lies elsewhere and registers only files below its own location"));
    }
    let displaced = |column: &Field| {
        let in_path = path_column(context, &column.name);
        let in_file = facts.schema.field(&column.name);
        match in_file {
            None if in_path && !identity_partition(context, &column.name) => {
                Some(format!("column {} stands only in the path, and the target does not partition by it", column.name))
            }
            // The file's own values would be read: by Iceberg always, by Delta unless it takes them from its log.
            Some(_)
                if in_path && (context.target_format == Format::Iceberg || !identity_partition(context, &column.name)) =>
            {
                Some(format!("column {} stands both in the path and in the file", column.name))
            }
            _ => None,
        }
    };
    context.target_schema.fields.iter().find_map(displaced)
}

/// Equal but for nullability, ids and physical names, which do not change a file's bytes.
pub fn same_type(a: &DataType, b: &DataType) -> bool {
    use DataType as T;
    match (a, b) {
        (T::Struct { fields: a }, T::Struct { fields: b }) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && same_type(&a.data_type, &b.data_type))
        }
        (T::List { element: a }, T::List { element: b }) => same_type(&a.data_type, &b.data_type),
        (T::Map { key: a, value: v }, T::Map { key: b, value: w }) => {
            same_type(&a.data_type, &b.data_type) && same_type(&v.data_type, &w.data_type)
        }
        _ => a == b,
    }
}

fn path_column(context: &ChooseContext, name: &str) -> bool {
    let mut fields = context.source_partition.fields.iter();
    fields.any(|field| field.column == name && field.transform == Transform::Identity)
}

fn identity_partition(context: &ChooseContext, name: &str) -> bool {
    context.target_partition.fields.iter().any(|field| field.column == name && field.transform == Transform::Identity)
}

/// The target partition of every row of the file, if the path or the footer's bounds prove that there is only one.
fn prove_partition(context: &ChooseContext, file: &FileEntry, facts: &FileFacts) -> Option<Vec<Option<Value>>> {
    context.target_partition.fields.iter().map(|field| prove_field(context, field, file, facts)).collect()
}

fn prove_field(
    context: &ChooseContext,
    field: &PartitionField,
    file: &FileEntry,
    facts: &FileFacts,
) -> Option<Option<Value>> {
    let in_path = context
        .source_partition
        .fields
        .iter()
        .zip(&file.partition)
        .find(|(source, _)| source.column == field.column && source.transform == Transform::Identity);
    if let Some((_, value)) = in_path {
        return match value {
            None => Some(None),
            Some(value) => field.transform.apply(value).ok().map(Some),
        };
    }
    let nulls = *facts.null_counts.get(&field.column)?;
    if nulls == facts.rows {
        return Some(None);
    }
    let (least, greatest) = facts.bounds.get(&field.column)?;
    // A non-monotonic transform is decided by bounds only where they meet in one value.
    if nulls != 0 || !(field.transform.is_monotonic() || least == greatest) {
        return None;
    }
    let (low, high) = (field.transform.apply(least).ok()?, field.transform.apply(greatest).ok()?);
    (low == high).then_some(Some(low))
}

fn unproven(context: &ChooseContext, file: &FileEntry, facts: &FileFacts) -> String {
    let field = context.target_partition.fields.iter().find(|field| prove_field(context, field, file, facts).is_none());
    match field {
        Some(field) => format!("rows may lie in several partitions of {}({})", field.transform, field.column),
        None => "the target partition is not proven".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::schema::{Field, TimeUnit};

    fn context(target_partition: Vec<PartitionField>) -> ChooseContext {
        let timestamp = DataType::Timestamp { unit: TimeUnit::Micros, utc: false };
        ChooseContext {
            source_schema: TableSchema {
                fields: vec![
                    Field::new("at", timestamp.clone(), true),
                    Field::new("origin", DataType::String, true),
                    Field::new("day", DataType::String, true),
                ],
            },
            source_by_id: false,
            source_partition: PartitionSpec { fields: vec![PartitionField::new("day", Transform::Identity)] },
            target_format: Format::Iceberg,
            target_schema: TableSchema {
                fields: vec![
                    Field::new("at", timestamp, true),
                    Field::new("origin", DataType::String, true),
                    Field::new("day", DataType::Date, true),
                ],
            },
            target_partition: PartitionSpec { fields: target_partition },
            target_can_refer: true,
            target_carries_deletes: false,
            renames: BTreeMap::new(),
            rows_change: false,
            defaults: BTreeSet::new(),
            columns_change: None,
            forced: None,
        }
    }

    fn columns(facts: &mut FileFacts) -> &mut Vec<Field> {
        &mut Arc::make_mut(&mut facts.schema).fields
    }

    fn file() -> (FileEntry, FileFacts) {
        let entry = FileEntry {
            path: "day=2001-01-01/a.parquet".into(),
            size_bytes: 10,
            identity: "e".into(),
            modified_ms: 0,
            rows: Some(2),
            partition: vec![Some(Value::Date(11_323))],
            has_deletes: false,
        };
        let at = DataType::Timestamp { unit: TimeUnit::Micros, utc: false };
        let schema = TableSchema { fields: vec![Field::new("at", at, true), Field::new("origin", DataType::String, true)] };
        let day = 86_400_000_000;
        let bounds = BTreeMap::from([
            ("at".to_owned(), (Value::Timestamp(11_323 * day), Value::Timestamp(11_324 * day - 1))),
            ("origin".to_owned(), (Value::String("ATL".into()), Value::String("SFO".into()))),
        ]);
        let null_counts = BTreeMap::from([("at".to_owned(), 0), ("origin".to_owned(), 0)]);
        (
            entry,
            FileFacts {
                rows: 2,
                schema: schema.into(),
                bounds,
                null_counts,
                deletes_by_position: true,
                two_level_list: None,
            },
        )
    }

    fn identity() -> Vec<PartitionField> {
        vec![PartitionField::new("day", Transform::Identity)]
    }

    #[test]
    fn a_file_of_one_identity_partition_is_adopted() {
        let (entry, facts) = file();
        let choice = choose(&context(identity()), &entry, &facts);
        assert_eq!((choice.strategy, choice.target_partition), (Strategy::Adopt, Some(entry.partition)));
    }

    #[test]
    fn bounds_prove_a_month_but_not_a_bucket() {
        let (entry, facts) = file();
        let mut fields = identity();
        fields.push(PartitionField::new("at", Transform::Month));
        assert_eq!(choose(&context(fields.clone()), &entry, &facts).strategy, Strategy::Adopt);
        fields.push(PartitionField::new("origin", Transform::Bucket(8)));
        let choice = choose(&context(fields), &entry, &facts);
        assert_eq!(choice.strategy, Strategy::Rewrite);
        assert!(choice.reason.contains("bucket[8](origin)"), "{}", choice.reason);
    }

    #[test]
    fn unknown_nulls_or_bounds_prove_nothing() {
        let (entry, facts) = file();
        let mut fields = identity();
        fields.push(PartitionField::new("at", Transform::Month));
        for spoil in [
            |facts: &mut FileFacts| {
                facts.null_counts.remove("at");
            },
            |facts: &mut FileFacts| {
                facts.bounds.remove("at");
            },
            |facts: &mut FileFacts| {
                facts.null_counts.insert("at".into(), 1);
            },
        ] {
            let mut facts = facts.clone();
            spoil(&mut facts);
            assert_eq!(choose(&context(fields.clone()), &entry, &facts).strategy, Strategy::Rewrite);
        }
    }

    #[test]
    fn a_file_is_adopted_with_its_deletes_where_they_are_positions_that_the_target_can_hold() {
        let (mut entry, facts) = file();
        entry.has_deletes = true;
        let carrying = ChooseContext { target_carries_deletes: true, ..context(identity()) };
        let choice = choose(&carrying, &entry, &facts);
        assert_eq!(choice.strategy, Strategy::Adopt);
        assert!(choice.reason.contains("carried over as deletes"), "{}", choice.reason);
        let by_value = FileFacts { deletes_by_position: false, ..facts.clone() };
        let forced = ChooseContext { forced: Some(Strategy::Splice), ..carrying.clone() };
        let elsewhere = ChooseContext { target_can_refer: false, ..carrying.clone() };
        let cases = [(&carrying, &by_value, "by their values"), (&forced, &facts, "forces"), (&elsewhere, &facts, "below")];
        for (context, facts, reason) in cases {
            let choice = choose(context, &entry, facts);
            assert_eq!(choice.strategy, Strategy::Rewrite, "{reason}");
            assert!(choice.reason.contains(reason), "{}", choice.reason);
        }
    }

    #[test]
    fn what_would_change_a_row_is_rewritten() {
        let (entry, facts) = file();
        type Change = fn(&mut ChooseContext, &mut FileEntry, &mut FileFacts);
        let cases: [(&str, Change); 9] = [
            ("list of two levels", |_, _, f| f.two_level_list = Some("tags".into())),
            ("the table's default", |c, _, f| {
                c.defaults.insert("origin".into());
                columns(f).pop();
            }),
            ("column _row_id", |_, _, f| {
                let id = Some(2_147_483_540);
                columns(f).push(Field { id, ..Field::new("_row_id", DataType::Int64, true) });
            }),
            ("looks at every row", |c, _, _| c.rows_change = true),
            ("leaves origin out", |c, _, _| c.columns_change = Some("target.drop leaves origin out".to_owned())),
            ("deleted", |_, e, _| e.has_deletes = true),
            ("renamed", |c, _, _| drop(c.renames.insert("origin".into(), "airport".into()))),
            ("is int32 in the file", |_, _, f| columns(f)[1].data_type = DataType::Int32),
            ("forces", |c, _, _| c.forced = Some(Strategy::Rewrite)),
        ];
        for (reason, change) in cases {
            let (mut context, mut entry, mut facts) = (context(identity()), entry.clone(), facts.clone());
            change(&mut context, &mut entry, &mut facts);
            let choice = choose(&context, &entry, &facts);
            assert_eq!(choice.strategy, Strategy::Rewrite, "{reason}");
            assert!(choice.reason.contains(reason), "{} / {reason}", choice.reason);
        }
    }

    /// A file keeps the names under which it was written; a reader who goes by names would see other columns, or none.
    #[test]
    fn a_column_that_has_another_name_or_another_id_in_the_file_is_rewritten() {
        let (entry, mut facts) = file();
        let mut by_id = ChooseContext { source_by_id: true, ..context(identity()) };
        for (id, name) in [(1, "at"), (2, "origin")] {
            let of = |schema: &mut TableSchema| schema.fields.iter_mut().find(|f| f.name == name).unwrap().id = Some(id);
            of(&mut by_id.source_schema);
            of(Arc::make_mut(&mut facts.schema));
        }
        assert_eq!(choose(&by_id, &entry, &facts).strategy, Strategy::Adopt);

        let mut renamed = facts.clone();
        columns(&mut renamed)[1].name = "from".to_owned();
        let choice = choose(&by_id, &entry, &renamed);
        assert_eq!((choice.strategy, choice.reason.as_str()), (Strategy::Rewrite, "column origin is from in the file"));

        // Dropped, and added again under the same name.
        let mut another = facts.clone();
        columns(&mut another)[1].id = Some(9);
        let choice = choose(&by_id, &entry, &another);
        assert_eq!(choice.strategy, Strategy::Rewrite);
        assert!(choice.reason.contains("origin that is not the table's"), "{}", choice.reason);

        let mut physical = context(identity());
        physical.source_schema.fields[1].physical_name = Some("col-2".to_owned());
        assert_eq!(choose(&physical, &entry, &facts).strategy, Strategy::Rewrite);
        columns(&mut facts)[1].name = "col-2".to_owned();
        assert_eq!(choose(&physical, &entry, &facts).reason, "column origin is col-2 in the file");
    }

    #[test]
    fn values_in_the_file_that_contradict_the_path_are_reported() {
        let (entry, mut facts) = file();
        columns(&mut facts).push(Field::new("day", DataType::Date, true));
        let told = |facts: &FileFacts, entry: &FileEntry| choose(&context(identity()), entry, facts).reason;
        let Some(own) = entry.partition[0].clone() else { unreachable!() };
        facts.bounds.insert("day".into(), (own.clone(), own.clone()));
        assert!(!told(&facts, &entry).contains("other values"));
        let null = FileEntry { partition: vec![None], ..entry.clone() };
        assert!(told(&facts, &null).contains("other values of day"));
        let Value::Date(days) = own else { unreachable!() };
        facts.bounds.insert("day".into(), (Value::Date(days + 1), Value::Date(days + 2)));
        assert!(told(&facts, &entry).contains("other values of day"));
    }

    #[test]
    fn columns_that_stay_as_they_are_are_copied_where_the_file_cannot_stay() {
        let (entry, facts) = file();
        let month = || vec![PartitionField::new("at", Transform::Month)];
        let choice = choose(&context(month()), &entry, &facts);
        assert_eq!(choice.strategy, Strategy::Splice);
        assert!(choice.reason.contains("stands only in the path"), "{}", choice.reason);
        assert_eq!(choice.target_partition.map(|values| values.len()), Some(1));

        let elsewhere = ChooseContext { target_can_refer: false, ..context(identity()) };
        let choice = choose(&elsewhere, &entry, &facts);
        assert_eq!(choice.strategy, Strategy::Splice);
        assert!(choice.reason.contains("lies elsewhere"), "{}", choice.reason);

        let forced = ChooseContext { forced: Some(Strategy::Splice), ..context(identity()) };
        assert_eq!(choose(&forced, &entry, &facts).strategy, Strategy::Splice);

        let mut both = facts.clone();
        columns(&mut both).push(Field::new("day", DataType::String, true));
        let choice = choose(&context(identity()), &entry, &both);
        assert_eq!(choice.strategy, Strategy::Splice, "the path's value is written in the place of the file's");
        assert!(choice.reason.contains("both in the path and in the file"), "{}", choice.reason);

        let mut month = month();
        month.push(PartitionField::new("origin", Transform::Bucket(8)));
        let choice = choose(&context(month), &entry, &facts);
        assert_eq!(choice.strategy, Strategy::Rewrite, "without one target partition nothing can be copied as it is");
    }
}

//! What the types cannot say: names, locations and combinations that cannot work. The first finding wins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::catalog;
use super::check_validation::validation;
use super::columns::REST;
use super::error::{Problem, shown};
use super::guard::{Step, path};
use super::locations::Location;
use super::metastore;
use super::model::{LAST_GROUP, Spec, Strategy, Sunset, SunsetDisposition, Target};
use super::secret::{Secret, is_credential};
use super::sizes::{ByteSize, Span};
use super::text;
use crate::partition::{PartitionField, Transform};
use crate::table::Format;

/// Something wrong at a path of the file.
pub(super) struct Finding {
    pub path: Vec<Step>,
    pub problem: Problem,
    pub expected: Option<String>,
    pub hint: Option<String>,
}

pub(super) type Checked = Result<(), Finding>;

const CONCURRENCY_MAX: u32 = 256;
const UNIT_MEMORY_MIN: ByteSize = ByteSize::mib(16);
/// Versions of Iceberg that are written.
const ICEBERG_VERSIONS: [u8; 2] = [2, 3];
const SNAPSHOT_AGE_MIN: Span = Span::seconds(3600);

/// Makes every location a URL; relative paths start from the folder of `file`.
pub(super) fn resolve_locations(spec: &mut Spec, file: &Path) -> Checked {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let base = file.parent().unwrap_or(&file);
    let locations = [
        ("control", &mut spec.control),
        ("source.location", &mut spec.source.location),
        ("target.location", &mut spec.target.location),
    ];
    for catalog in [&mut spec.source.catalog, &mut spec.target.catalog].into_iter().flatten() {
        catalog.resolve(base);
    }
    for (key, location) in locations {
        *location = location.resolve(base).map_err(|source| Finding {
            path: path(key),
            expected: Some(source.expected().to_owned()),
            hint: Some(source.hint().to_owned()),
            problem: Problem::Location { key: key.to_owned(), source },
        })?;
    }
    Ok(())
}

/// Checks everything but the locations' own form.
pub(super) fn check(spec: &Spec) -> Checked {
    names(spec)?;
    storage(spec)?;
    places(spec)?;
    in_place(spec)?;
    hive_only(spec)?;
    iceberg_only(spec)?;
    catalog::check(spec)?;
    metastore::check(spec)?;
    reference(spec)?;
    partitioning(spec)?;
    sort(spec)?;
    columns(spec)?;
    target_columns(spec)?;
    validation(&spec.validation)?;
    statements(spec)?;
    quantities(spec)?;
    sunset(spec)?;
    super::hooks::check(&spec.hooks)?;
    properties(spec)
}

pub(super) fn contradiction(key: &str, what: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding {
        path: path(key),
        problem: Problem::Contradiction { what: what.into() },
        expected: None,
        hint: Some(hint.into()),
    }
}

pub(super) fn value(key: &str, found: &str, expected: impl Into<String>) -> Finding {
    let found = if found.is_empty() { "empty".to_owned() } else { format!("`{}`", shown(found)) };
    let problem = Problem::Value { key: key.to_owned(), found };
    Finding { path: path(key), problem, expected: Some(expected.into()), hint: None }
}

fn names(spec: &Spec) -> Checked {
    if !text::is_name(&spec.name.0) {
        return Err(value("name", &spec.name.0, "1 to 64 letters (A–Z, a–z), digits, `-` and `_`"));
    }
    if !text::is_alias(&spec.cutover.alias) {
        let expected = "1 to 64 letters (A–Z, a–z), digits, `-`, `_` and `.`, beginning with a letter or digit";
        return Err(value("cutover.alias", &spec.cutover.alias, expected));
    }
    stages(spec)
}

fn stages(spec: &Spec) -> Checked {
    let (mut names, mut aliases) = (BTreeSet::from([LAST_GROUP]), BTreeSet::from([spec.cutover.alias.as_str()]));
    for (index, stage) in spec.cutover.stages.iter().enumerate() {
        let key = |setting: &str| format!("cutover.stages.{index}.{setting}");
        if !text::is_name(&stage.name) {
            return Err(value(&key("name"), &stage.name, "1 to 64 letters (A–Z, a–z), digits, `-` and `_`"));
        }
        if !text::is_alias(&stage.alias) {
            return Err(value(&key("alias"), &stage.alias, "1 to 64 letters, digits, `-`, `_` and `.`"));
        }
        if !names.insert(&stage.name) {
            let what =
                format!("two groups of readers are named `{}`; the readers of cutover.alias are `{LAST_GROUP}`", stage.name);
            return Err(contradiction(&key("name"), what, "give every group a name of its own"));
        }
        if !aliases.insert(&stage.alias) {
            let what = format!("two groups of readers resolve `{}`", stage.alias);
            return Err(contradiction(&key("alias"), what, "give every group an alias of its own"));
        }
    }
    Ok(())
}

fn storage(spec: &Spec) -> Checked {
    let sections: [(&str, &BTreeMap<String, Secret>); 3] =
        [("storage", &spec.storage), ("source.storage", &spec.source.storage), ("target.storage", &spec.target.storage)];
    for (section, options) in sections {
        for (option, secret) in options {
            let what = match secret {
                _ if !secret.is_well_formed() => "has a `${` that does not open a variable (the value is not shown)",
                _ if is_credential(option) && !secret.is_only_variables("") => {
                    "holds a credential in the file itself (the value is not shown)"
                }
                _ => continue,
            };
            let hint = "write ${NAME}, and set the environment variable NAME where lakeshift runs";
            let mut finding = contradiction(section, format!("{section}.{} {what}", shown(option)), hint);
            finding.path.push(Step::Key(option.clone()));
            return Err(finding);
        }
    }
    Ok(())
}

fn places(spec: &Spec) -> Checked {
    let (source, target) = (&spec.source.location, &spec.target.location);
    for (name, table) in [("source", source), ("target", target)] {
        if spec.control.is_within(table) {
            return Err(contradiction(
                "control",
                format!("the control root {} lies in the {name}'s folder {table}", spec.control),
                "choose a folder beside the tables: what stands in a table's folder may be taken for its data",
            ));
        }
    }
    let nested = |inner: &Location, outer: &Location| inner != outer && inner.is_within(outer);
    if nested(target, source) || nested(source, target) {
        return Err(contradiction(
            "target.location",
            format!("source {source} and target {target} lie in each other"),
            "choose folders beside each other, so that neither table takes the other's files for its own",
        ));
    }
    Ok(())
}

/// Source and target in one folder: a Delta log is laid over the Hive files, which stay as they are.
fn in_place(spec: &Spec) -> Checked {
    if spec.source.location != spec.target.location {
        return Ok(());
    }
    let beside = "choose another folder for the target";
    if (spec.source.format, spec.target.format) != (Format::Hive, Format::Delta) {
        let what = format!("source and target are the same folder, {}", spec.target.location);
        return Err(contradiction("target.location", what, format!("{beside}; only hive to delta works in place")));
    }
    if spec.transform.is_some() {
        return Err(contradiction(
            "transform",
            "a migration in place cannot have a transform: it writes no data files",
            beside,
        ));
    }
    if matches!(spec.backfill.strategy, Strategy::Splice | Strategy::Rewrite) {
        let what = "a migration in place cannot write files: they would count as the source's";
        return Err(contradiction("backfill.strategy", what, format!("write `strategy: adopt`, or {beside}")));
    }
    if spec.sunset.disposition != SunsetDisposition::Keep {
        let what = "after a migration in place the source's files are the target's, and cannot be removed";
        return Err(contradiction("sunset.disposition", what, format!("write `disposition: keep`, or {beside}")));
    }
    Ok(())
}

fn hive_only(spec: &Spec) -> Checked {
    if spec.source.format == Format::Hive {
        return Ok(());
    }
    let used = [
        ("partitions", spec.source.partitions.is_empty()),
        ("columns", spec.source.columns.is_empty()),
        ("int96", spec.source.int96.is_none()),
    ];
    for (key, empty) in used {
        if !empty {
            let what = format!("source.{key} is for hive sources; a {} table says it itself", spec.source.format);
            return Err(contradiction(&format!("source.{key}"), what, format!("remove `{key}`")));
        }
    }
    Ok(())
}

fn iceberg_only(spec: &Spec) -> Checked {
    let Target { format, format_version, snapshots, .. } = &spec.target;
    let used = [("format_version", format_version.is_some()), ("snapshots", snapshots.is_some())];
    if let Some((key, _)) = used.iter().find(|(_, used)| *used && *format != Format::Iceberg) {
        let what = format!("target.{key} is for iceberg targets, and this one is {format}");
        return Err(contradiction(&format!("target.{key}"), what, format!("remove `{key}`")));
    }
    if let Some(version) = format_version.filter(|version| !ICEBERG_VERSIONS.contains(version)) {
        return Err(value("target.format_version", &version.to_string(), "2 or 3"));
    }
    let Some(rule) = snapshots else { return Ok(()) };
    if rule.keep == 0 {
        return Err(value("target.snapshots.keep", "0", "1 or more: the current snapshot stays"));
    }
    if rule.max_age < SNAPSHOT_AGE_MIN {
        let expected = format!("{SNAPSHOT_AGE_MIN} or more: a validation reads one snapshot for as long as it runs");
        return Err(value("target.snapshots.max_age", &rule.max_age.to_string(), expected));
    }
    Ok(())
}

/// A branch or tag is one of several states of one table, whose files cannot be told apart by their folder.
fn reference(spec: &Spec) -> Checked {
    let Some(name) = &spec.source.reference else { return Ok(()) };
    if spec.source.format != Format::Iceberg {
        let what = format!("source.ref is for iceberg sources; a {} table has no branches or tags", spec.source.format);
        return Err(contradiction("source.ref", what, "remove `ref`"));
    }
    if name.trim().is_empty() {
        return Err(value("source.ref", "", "the name of a branch or tag"));
    }
    if spec.sunset.disposition != SunsetDisposition::Keep {
        let what = "source.ref moves one branch or tag, and the old table's files may be those of others";
        return Err(contradiction("sunset.disposition", what, "write `disposition: keep`"));
    }
    Ok(())
}

fn sort(spec: &Spec) -> Checked {
    let columns: Vec<&str> = spec.target.sort.iter().map(|column| column.column.as_str()).collect();
    unique("target.sort", &columns)?;
    let columns: Vec<&str> = spec.target.parquet.bloom_filters.iter().map(String::as_str).collect();
    unique("target.parquet.bloom_filters", &columns)
}

fn partitioning(spec: &Spec) -> Checked {
    let fields = &spec.target.partitioning.fields;
    let mut names = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let key = format!("target.partitioning.{index}");
        let text = text::print_field(field);
        if spec.target.format == Format::Delta && field.transform != Transform::Identity {
            return Err(contradiction(
                &key,
                format!("Delta partitions by columns as they are, not by `{}`", shown(&text)),
                format!("add a column `{0}` by `transform.sql` and partition by `{0}`", shown(&field.name)),
            ));
        }
        // Delta's names are unique ignoring case; and two names that differ in case alone are a trap anywhere.
        if !names.insert(field.name.to_lowercase()) {
            let what = format!("two partition fields are named `{}`", shown(&field.name));
            return Err(contradiction(&key, what, "keep one of the two"));
        }
        if let Some(other) = fields[..index].iter().find(|other| redundant(other, field)) {
            let what =
                format!("`{}` and `{}` partition one column by time twice", shown(&text::print_field(other)), shown(&text));
            return Err(contradiction(&key, what, "keep the finer one: Iceberg takes one of the two"));
        }
    }
    Ok(())
}

fn redundant(one: &PartitionField, other: &PartitionField) -> bool {
    let time = |field: &PartitionField| {
        matches!(field.transform, Transform::Year | Transform::Month | Transform::Day | Transform::Hour)
    };
    one.column == other.column && time(one) && time(other)
}

/// Refuses a list of columns at `key` with a blank name or one that stands there twice.
pub(super) fn unique(key: &str, names: &[&str]) -> Checked {
    let mut seen = BTreeSet::new();
    match names.iter().position(|name| name.trim().is_empty() || !seen.insert(name.to_lowercase())) {
        Some(index) if names[index].trim().is_empty() => Err(value(&format!("{key}.{index}"), "", "a column's name")),
        Some(index) => {
            let what = format!("{key} names the column `{}` twice", shown(names[index]));
            Err(contradiction(&format!("{key}.{index}"), what, "keep one of the two"))
        }
        None => Ok(()),
    }
}

fn columns(spec: &Spec) -> Checked {
    let partitions: Vec<&str> = spec.source.partitions.iter().map(|partition| partition.name.as_str()).collect();
    unique("source.partitions", &partitions)?;
    for (physical, logical) in &spec.source.columns {
        let named = |finding: Finding| Finding {
            path: [path("source.columns"), vec![Step::Key(physical.clone())]].concat(),
            ..finding
        };
        if physical.trim().is_empty() || logical.trim().is_empty() {
            return Err(named(value("source.columns", "", "a column's name on both sides")));
        }
        if partitions.contains(&physical.as_str()) {
            let what = format!("source.columns renames `{}`, which is a partition column", shown(physical));
            return Err(named(contradiction(
                "source.columns",
                what,
                "remove it: partition columns are named by the directories",
            )));
        }
    }
    Ok(())
}

/// What can be seen without the source's columns; the rest is the plan's to refuse.
fn target_columns(spec: &Spec) -> Checked {
    let entries = &spec.target.columns;
    for (index, entry) in entries.iter().enumerate() {
        let key = format!("target.columns.{index}");
        if entry.name == REST && !entry.is_rest() {
            let what = "`*` stands for all other columns as they are";
            return Err(contradiction(&key, what, "write `'*'` alone, and the columns that change beside it"));
        }
        if entry.from.as_ref().is_some_and(|from| from.trim().is_empty()) {
            return Err(value(&format!("{key}.from"), "", "a column's name"));
        }
    }
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    unique("target.columns", &names)?;
    let dropped: Vec<&str> = spec.target.drop.iter().map(String::as_str).collect();
    unique("target.drop", &dropped)
}

fn statements(spec: &Spec) -> Checked {
    if let Some(transform) = &spec.transform {
        if transform.sql.trim().is_empty() {
            return Err(value("transform.sql", "", "a query such as SELECT * FROM source"));
        }
        if matches!(spec.backfill.strategy, Strategy::Adopt | Strategy::Splice) {
            let what = "`strategy: adopt` and `splice` take rows as they stand, and `transform` changes them";
            return Err(contradiction("backfill.strategy", what, "write `strategy: auto`, or remove `transform`"));
        }
    }
    match &spec.scope {
        Some(scope) if scope.filter.trim().is_empty() => {
            Err(value("scope.where", "", "a SQL condition such as date >= DATE '2001-01-01'"))
        }
        Some(scope) if scope.carries_others() && spec.transform.is_none() => {
            let what =
                "`others: carry` brings the rows outside over as they are, and without a `transform` so do those inside";
            Err(contradiction("scope.others", what, "write the `transform` for the rows inside, or remove `scope`"))
        }
        _ => Ok(()),
    }
}

fn quantities(spec: &Spec) -> Checked {
    let (backfill, dual_write) = (&spec.backfill, &spec.dual_write);
    if !(1..=CONCURRENCY_MAX).contains(&backfill.concurrency) {
        let found = backfill.concurrency.to_string();
        return Err(value("backfill.concurrency", &found, format!("a whole number from 1 to {CONCURRENCY_MAX}")));
    }
    if backfill.memory.bytes() / u64::from(backfill.concurrency) < UNIT_MEMORY_MIN.bytes() {
        let what = format!("{} of memory are too few for {} units at once", backfill.memory, backfill.concurrency);
        let hint = format!("give each unit {UNIT_MEMORY_MIN} or more, or lower `concurrency`");
        return Err(contradiction("backfill.memory", what, hint));
    }
    if backfill.unit_size < backfill.target_file_size {
        let what = format!(
            "a unit of {} cannot fill a file of {} (unit_size, target_file_size)",
            backfill.unit_size, backfill.target_file_size
        );
        return Err(contradiction(
            "backfill.target_file_size",
            what,
            "make `unit_size` as large as `target_file_size` or larger",
        ));
    }
    if dual_write.interval.as_seconds() == 0 {
        return Err(value("dual_write.interval", "0s", "1s or more"));
    }
    if dual_write.max_lag < dual_write.interval {
        let what = format!("a lag of {} cannot be held with a look every {}", dual_write.max_lag, dual_write.interval);
        return Err(contradiction("dual_write.max_lag", what, "make `interval` shorter than `max_lag`"));
    }
    match spec.validation.freshness {
        Some(freshness) if freshness.as_seconds() == 0 => {
            Err(contradiction("validation.freshness", "no PASS is 0s old", "write how old a PASS may be, such as 6h"))
        }
        _ => Ok(()),
    }
}

fn sunset(spec: &Spec) -> Checked {
    let idle = spec.sunset.disposition != SunsetDisposition::Purge && spec.sunset.quarantine != Sunset::default().quarantine;
    if idle {
        let what = "sunset.quarantine is the wait before a purge, and nothing is purged by this spec";
        return Err(contradiction("sunset.quarantine", what, "remove it, or write `disposition: purge`"));
    }
    Ok(())
}

/// Delta's properties that ask nothing of writers or readers that Lakeshift does not do, by their beginnings.
const DELTA_PROPERTIES: [&str; 14] = [
    "delta.appendOnly",
    "delta.autoOptimize.",
    "delta.checkpoint.",
    "delta.checkpointInterval",
    "delta.columnMapping.mode",
    "delta.dataSkipping",
    "delta.deletedFileRetentionDuration",
    "delta.enableExpiredLogCleanup",
    "delta.isolationLevel",
    "delta.logRetentionDuration",
    "delta.random",
    "delta.setTransactionRetentionDuration",
    "delta.targetFileSize",
    "delta.tuneFileSizesForRewrites",
];

/// A property that turns a table feature on would need a higher protocol, and commits that keep the feature's rules.
fn delta_properties(spec: &Spec) -> Checked {
    let unknown = |key: &&String| key.starts_with("delta.") && !DELTA_PROPERTIES.iter().any(|known| key.starts_with(known));
    match spec.target.properties.keys().find(unknown) {
        Some(key) if spec.target.format == Format::Delta => {
            let what = format!("the table property `{}` asks for what Lakeshift's commits do not do", shown(key));
            let mut finding = contradiction("target.properties", what, "set it after the migration, where readers know it");
            finding.path.push(Step::Key(key.clone()));
            Err(finding)
        }
        _ => Ok(()),
    }
}

fn properties(spec: &Spec) -> Checked {
    delta_properties(spec)?;
    let reserved = |key: &&String| key.to_ascii_lowercase().starts_with("lakeshift.");
    match spec.target.properties.keys().find(reserved) {
        Some(key) => {
            let what = format!("the table property `{}` is Lakeshift's own", shown(key));
            let mut finding =
                contradiction("target.properties", what, "choose a name that does not begin with `lakeshift.`");
            finding.path.push(Step::Key(key.clone()));
            Err(finding)
        }
        None => Ok(()),
    }
}

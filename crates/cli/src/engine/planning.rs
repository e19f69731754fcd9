//! Making a plan: every file of a source version, its strategy and why, cut into units. Reads only.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use lakeshift_core::mapping::{ColumnMapping, check_partition, check_sort, keep_ids, map_schema};
use lakeshift_core::plan::{
    Assumptions, ChooseContext, DualWriteShape, PlanRef, PlanSummary, PlannedFile, Strategy, StrategyTotals, UnitLimits,
    choose, forecast, into_units, summarize,
};
use lakeshift_core::projection::Projection;
use lakeshift_core::reverse::ScopedBy;
use lakeshift_core::schema::{DataType, TableSchema};
use lakeshift_core::spec::{self, BackfillOrder, Scope, Spec};
use lakeshift_core::table::{FileEntry, Format, Snapshot, UnitId};

use super::plans;
use super::rows::Rows;
use super::scope::{self, Divided};
use super::tables::Tables;
use crate::error::Error;

/// Files that one commit adopts; more are cut into further units.
const ADOPT_FILES_MAX: usize = 100_000;

/// A plan with everything that people look at before they approve it.
#[derive(Debug, Clone)]
pub struct Planning {
    /// What the journal refers to.
    pub plan: PlanRef,
    /// Every file, in the order of the units.
    pub files: Vec<PlannedFile>,
    /// The target's columns.
    pub target_schema: TableSchema,
    /// How each column is carried over.
    pub mappings: Vec<ColumnMapping>,
    /// The columns that the new table does not have by the spec.
    pub dropped: Vec<String>,
    /// What the estimates rest on.
    pub assumptions: Assumptions,
}

/// What becomes of the source's columns.
#[derive(Debug, Clone)]
pub struct TargetColumns {
    /// The target's columns.
    pub schema: TableSchema,
    /// How each is carried over.
    pub mappings: Vec<ColumnMapping>,
    /// The spec's projection, where it has one.
    pub projection: Option<Projection>,
}

/// The target's columns for a source snapshot: the spec's logic, then the format's types.
///
/// # Errors
/// Every column and partition field that the target cannot have.
pub async fn target_columns(spec: &Spec, rows: &Rows, source: &Snapshot) -> Result<TargetColumns, Error> {
    let (logical, projection) = rows.output(&source.schema).await?;
    let format = spec.target.format;
    let (mut schema, mut mappings) = map_schema(&logical, format).map_err(|refused| {
        // What is refused of the partitioning does not wait until the columns are in order.
        let columns = refused.iter().map(ToString::to_string);
        let reasons = columns.chain(check_partition(&logical, &spec.target.partitioning, format)).collect();
        Error::PlanRefused { reasons }
    })?;
    for (mapping, projected) in mappings.iter_mut().zip(projection.iter().flat_map(|projection| &projection.columns)) {
        mapping.change = projected.change();
    }
    if format == Format::Iceberg {
        keep_ids(&mut schema, &source.schema);
    }
    let mut reasons = check_partition(&schema, &spec.target.partitioning, format);
    reasons.extend(check_sort(&schema, &spec.target.sort));
    reasons.extend(check_filters(&schema, spec));
    if reasons.is_empty() { Ok(TargetColumns { schema, mappings, projection }) } else { Err(Error::PlanRefused { reasons }) }
}

/// The columns of Bloom filters that the target lacks.
fn check_filters(schema: &TableSchema, spec: &Spec) -> Vec<String> {
    let unknown = |column: &&String| !schema.field(column).is_some_and(|field| is_single(&field.data_type));
    let unknown = spec.target.parquet.bloom_filters.iter().filter(unknown);
    unknown
        .map(|column| {
            format!("target.parquet.bloom_filters names {column}, which is no column of single values in the target")
        })
        .collect()
}

fn is_single(data_type: &DataType) -> bool {
    !matches!(data_type, DataType::Struct { .. } | DataType::List { .. } | DataType::Map { .. })
}

/// Plans every file of `source`.
///
/// # Errors
/// What the target cannot have; a source that cannot be read.
pub async fn plan(spec: &Spec, tables: &Tables, rows: &Rows, source: &Snapshot) -> Result<Planning, Error> {
    let files: Vec<FileEntry> = tables.source.files(source).try_collect().await?;
    let mut planning = plan_files(spec, tables, rows, source, files, "b").await?;
    planning.plan.summary.requests = Some(forecast(&DualWriteShape {
        source: spec.source.format,
        target: spec.target.format,
        strategy: planning.plan.summary.main_strategy(),
        interval_s: spec.dual_write.interval.duration().as_secs(),
        put_usd_per_1000: planning.assumptions.put_usd_per_1000,
        get_usd_per_1000: planning.assumptions.get_usd_per_1000,
    }));
    Ok(planning)
}

/// Plans some files of `source`; `prefix` begins the units' ids.
///
/// # Errors
/// As [`plan`].
pub async fn plan_files(
    spec: &Spec,
    tables: &Tables,
    rows: &Rows,
    source: &Snapshot,
    files: Vec<FileEntry>,
    prefix: &str,
) -> Result<Planning, Error> {
    let TargetColumns { schema: target_schema, mappings, projection } = Box::pin(target_columns(spec, rows, source)).await?;
    let columns_change = projection.as_ref().and_then(Projection::change);
    let context = ChooseContext { columns_change, ..choose_context(spec, tables, source, target_schema.clone()) };
    let Divided { inside, mut outside, by } = scope::divide(rows, spec, source, files).await?;
    let mut planned = decide_files(&context, tables, inside).await?;
    if spec.scope.as_ref().is_some_and(Scope::carries_others) {
        // Files without any row inside are as if there were no new logic.
        let untouched = ChooseContext { rows_change: false, ..context };
        planned.extend(decide_files(&untouched, tables, std::mem::take(&mut outside)).await?);
    }
    // In place, new files would count as the source's.
    let in_place = tables.source.location() == tables.target.location();
    match spec.backfill.strategy {
        spec::Strategy::Adopt => refuse_others(&planned, Strategy::Adopt)?,
        _ if in_place => refuse_others(&planned, Strategy::Adopt)?,
        spec::Strategy::Splice => refuse_others(&planned, Strategy::Splice)?,
        spec::Strategy::Auto | spec::Strategy::Rewrite => {}
    }
    let limits = UnitLimits { rewrite_bytes_max: spec.backfill.unit_size.bytes(), adopt_files_max: ADOPT_FILES_MAX };
    let newest_first = spec.backfill.order == BackfillOrder::NewestFirst;
    let files = into_units(planned, newest_first, limits, prefix);
    let assumptions = Assumptions {
        concurrency: spec.backfill.concurrency,
        throttle_bytes_per_second: spec.backfill.bytes_per_second.map(|rate| rate.bytes()),
        ..Assumptions::default()
    };
    let summary = PlanSummary {
        scoped_by_partitions: by == ScopedBy::Partitions,
        outside: StrategyTotals {
            files: outside.len() as u64,
            rows: outside.iter().filter_map(|file| file.rows).sum(),
            bytes: outside.iter().map(|file| file.size_bytes).sum(),
        },
        ..summarize(&files, &assumptions)
    };
    let plan =
        PlanRef { digest: plans::digest(&spec.digest(), &source.version, &files), source: source.version.clone(), summary };
    let dropped = projection.map(|projection| projection.dropped).unwrap_or_default();
    Ok(Planning { plan, files, target_schema, mappings, dropped, assumptions })
}

fn choose_context(spec: &Spec, tables: &Tables, source: &Snapshot, target_schema: TableSchema) -> ChooseContext {
    let in_place = tables.source.location() == tables.target.location();
    ChooseContext {
        source_schema: source.schema.clone(),
        source_by_id: source.finds_columns_by_id(spec.source.format),
        source_partition: source.partition.clone(),
        target_format: spec.target.format,
        target_schema,
        target_partition: spec.target.partitioning.clone(),
        target_can_refer: in_place || spec.target.format == Format::Iceberg,
        target_carries_deletes: spec.target.format == Format::Iceberg,
        renames: spec.source.columns.clone(),
        defaults: source.defaults.keys().cloned().collect(),
        rows_change: spec.transform.is_some() || spec.scope.is_some(),
        columns_change: None,
        forced: match spec.backfill.strategy {
            spec::Strategy::Auto | spec::Strategy::Adopt => None,
            spec::Strategy::Splice => Some(Strategy::Splice),
            spec::Strategy::Rewrite => Some(Strategy::Rewrite),
        },
    }
}

async fn decide_files(context: &ChooseContext, tables: &Tables, files: Vec<FileEntry>) -> Result<Vec<PlannedFile>, Error> {
    let mut planned = Vec::with_capacity(files.len());
    let mut facts = tables.source.facts(files);
    while let Some((file, facts)) = futures::StreamExt::next(&mut facts).await {
        let facts = facts?;
        let choice = choose(context, &file, &facts);
        planned.push(PlannedFile {
            unit: UnitId(String::new()),
            strategy: choice.strategy,
            reason: choice.reason,
            path: file.path,
            identity: file.identity,
            size_bytes: file.size_bytes,
            rows: facts.rows,
            partition: file.partition,
            target_partition: choice.target_partition,
        });
    }
    Ok(planned)
}

/// Refuses a plan in which files move otherwise than by `only`.
fn refuse_others(files: &[PlannedFile], only: Strategy) -> Result<(), Error> {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for file in files.iter().filter(|file| file.strategy != only) {
        *reasons.entry(&file.reason).or_default() += 1;
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let how = if only == Strategy::Adopt { "adopted" } else { "spliced" };
    let reasons = reasons.iter().map(|(reason, files)| format!("{files} file(s) cannot be {how}: {reason}"));
    Err(Error::PlanRefused { reasons: reasons.collect() })
}

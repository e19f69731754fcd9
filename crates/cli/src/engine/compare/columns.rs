//! Which columns are compared, under which names on either side, and by which SQL they come about.

use std::collections::BTreeMap;

use lakeshift_core::equivalence::{
    CellSide, ComparedColumn, Encoding, FingerprintShape, Refinement, SchemaCheck, Tolerance, ValidationKey,
    common_refinement, compare_schemas, plan_columns, quoted,
};
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::schema::TableSchema;
use lakeshift_core::spec::Validation;
use lakeshift_exec::engine::Engine;
use lakeshift_exec::logic::{Logic, LogicSpec, SOURCE_TABLE};

use super::Pinned;
use crate::error::Error;

/// One side's compared columns.
#[derive(Debug, Clone, Default)]
pub struct SideColumns {
    /// Their names on this side, in the order of [`Columns::names`].
    pub names: Vec<String>,
    /// The query that gives them their values, where some are not the bare columns.
    pub select: Option<String>,
    /// The condition on the compared rows.
    pub range: Option<String>,
}

/// The compared columns.
#[derive(Debug)]
pub struct Columns {
    /// Every column of either side.
    pub schema: SchemaCheck,
    /// The compared ones, named as in the new table.
    pub names: Vec<String>,
    /// The old side.
    pub old: SideColumns,
    /// The new side.
    pub new: SideColumns,
    /// How rows are divided into cells.
    pub refinement: Refinement,
    /// For each compared column, what counts as equal.
    pub tolerances: Vec<Option<Tolerance>>,
}

/// Pairs the columns and applies the spec's rules.
pub(super) async fn plan(
    engine: &Engine,
    settings: &Validation,
    old: &Pinned<'_>,
    new: &Pinned<'_>,
) -> Result<Columns, Error> {
    let old_logic = Logic::new(engine, &old.snapshot.schema, old.logic).await?;
    let (old_schema, new_schema) = (old_logic.output_schema(), &new.snapshot.schema);
    let plan = plan_columns(old_schema, new_schema, &settings.columns)?;
    // A range names the new table's columns, so both sides must have their names.
    let bare = settings.range.is_none() && plan.compared.iter().all(|column| column.plain);
    let (schema, renames, old_side, new_side) = if bare {
        let renames: BTreeMap<String, String> =
            plan.compared.iter().filter_map(ComparedColumn::pair).map(|pair| (pair.old, pair.new)).collect();
        let schema = compare_schemas(old_schema, new_schema, &renames);
        let pairs = schema.compared();
        let names = |side: fn(&_) -> &String| pairs.iter().map(|pair| side(pair).clone()).collect::<Vec<_>>();
        let old =
            SideColumns { names: names(|pair: &lakeshift_core::equivalence::ColumnPair| &pair.old), ..Default::default() };
        let new =
            SideColumns { names: names(|pair: &lakeshift_core::equivalence::ColumnPair| &pair.new), ..Default::default() };
        (schema, renames, old, new)
    } else {
        let old_sql = select(&plan.compared, |column| &column.old_sql);
        let new_sql = select(&plan.compared, |column| &column.new_sql);
        let old_out = output(engine, old_schema, &old_sql).await?;
        let new_out = output(engine, new_schema, &new_sql).await?;
        let mut schema = compare_schemas(&old_out, &new_out, &BTreeMap::new());
        schema.columns.extend(plan.one_sided());
        let names: Vec<String> = schema.compared().into_iter().map(|pair| pair.new).collect();
        let side = |sql| SideColumns { names: names.clone(), select: Some(sql), range: settings.range.clone() };
        (schema, BTreeMap::new(), side(old_sql), side(new_sql))
    };
    let names = new_side.names.clone();
    let refinement = refine(&old_schema.clone(), old, new, &schema, &renames, bare);
    let tolerance = |name: &String| settings.columns.get(name).and_then(Tolerance::of);
    let tolerances = names.iter().map(tolerance).collect();
    Ok(Columns { schema, names, old: old_side, new: new_side, refinement, tolerances })
}

impl Columns {
    /// What a fingerprint of them under `key` is taken of.
    pub(super) fn shape(&self, settings: &Validation, key: ValidationKey) -> FingerprintShape {
        let encoding = Encoding { float_zeros: settings.float_zeros, map_order: settings.map_order, ..Encoding::default() };
        FingerprintShape { encoding, key, columns: self.names.clone(), fields: self.refinement.fields.clone() }
    }
}

/// The refinement of both partitionings. Where values come from expressions, an old partition column divides cells only
/// if it is compared under its own name; otherwise it is among the dropped ones.
fn refine(
    old_schema: &TableSchema,
    old: &Pinned<'_>,
    new: &Pinned<'_>,
    schema: &SchemaCheck,
    renames: &BTreeMap<String, String>,
    bare: bool,
) -> Refinement {
    let pairs = schema.compared();
    let by_new_name = |spec: &PartitionSpec| {
        let mut spec = spec.clone();
        for field in &mut spec.fields {
            if let Some(name) = renames.get(&field.column).filter(|_| !bare) {
                field.column = name.clone();
            }
        }
        spec
    };
    let (old_partition, new_partition) = (by_new_name(&old.snapshot.partition), &new.snapshot.partition);
    common_refinement(
        CellSide { schema: old_schema, partition: &old_partition },
        CellSide { schema: &new.snapshot.schema, partition: new_partition },
        &pairs,
    )
}

fn select(columns: &[ComparedColumn], side: fn(&ComparedColumn) -> &String) -> String {
    let expressions: Vec<String> =
        columns.iter().map(|column| format!("{} AS {}", side(column), quoted(&column.new))).collect();
    format!("SELECT {} FROM {SOURCE_TABLE}", expressions.join(", "))
}

async fn output(engine: &Engine, schema: &TableSchema, sql: &str) -> Result<TableSchema, Error> {
    let spec = LogicSpec { transform: Some(sql), ..LogicSpec::default() };
    let logic = Logic::new(engine, schema, spec).await.map_err(|error| error.named("validation.columns"))?;
    Ok(logic.output_schema().clone())
}

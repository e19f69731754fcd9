//! The ledger of accepted differences, applied: which entry absorbs which row.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use chrono::NaiveDate;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, ExprSchemable, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use lakeshift_core::equivalence::{AcceptRule, AcceptedUse};
use lakeshift_core::migration::Side;

use super::DiffError;
use super::join::{Difference, Rows};
use super::plain;
use crate::engine::Engine;

/// One entry at work.
struct Entry {
    rule: AcceptRule,
    /// Its condition over the old side's columns and over the new side's; `None` where it has none or the side no files.
    conditions: [Option<Arc<dyn PhysicalExpr>>; 2],
    rows: u64,
}

/// All entries, in the order of the spec.
pub(super) struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    pub(super) fn new(rules: &[AcceptRule]) -> Self {
        let entry = |rule: &AcceptRule| Entry { rule: rule.clone(), conditions: [None, None], rows: 0 };
        Self { entries: rules.iter().map(entry).collect() }
    }

    /// Plans the conditions over the columns of a side, named as in the new table.
    ///
    /// # Errors
    /// [`DiffError::Condition`] for what is no repeatable condition over one row.
    pub(super) fn compile(&mut self, engine: &Engine, side: Side, schema: &SchemaRef) -> Result<(), DiffError> {
        for entry in &mut self.entries {
            let Some(filter) = &entry.rule.filter else { continue };
            let wrong = |reason| DiffError::Condition { entry: entry.rule.id.clone(), side, reason };
            let condition = condition(engine, filter, schema).map_err(|error| wrong(error.strip_backtrace()))?;
            entry.conditions[plain::index(side)] = Some(condition.map_err(wrong)?);
        }
        Ok(())
    }

    /// For every difference the first entry that it fits, whose rows are counted.
    pub(super) fn absorb(&mut self, chunk: &[Difference], rows: &Rows) -> Result<Vec<Option<usize>>, DiffError> {
        let mut absorbed: Vec<Option<usize>> = vec![None; chunk.len()];
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let mut fits = Fits::new(entry, rows);
            for (row, difference) in chunk.iter().enumerate() {
                if absorbed[row].is_none() && covers(&entry.rule, difference, rows) && fits.at(row)? {
                    absorbed[row] = Some(index);
                    entry.rows += difference.copies;
                }
            }
        }
        Ok(absorbed)
    }

    /// The id of an entry that [`absorb`](Self::absorb) named.
    pub(super) fn id(&self, entry: usize) -> &str {
        self.entries.get(entry).map_or("", |entry| &entry.rule.id)
    }

    pub(super) fn into_uses(self, today: NaiveDate) -> Vec<AcceptedUse> {
        let used = |entry: Entry| AcceptedUse { expired: entry.rule.is_expired(today), rows: entry.rows, rule: entry.rule };
        self.entries.into_iter().map(used).collect()
    }
}

/// Kind and columns; a row that is not changed differs in no columns, and no list of columns covers it.
fn covers(rule: &AcceptRule, difference: &Difference, rows: &Rows) -> bool {
    let schema = rows.new.schema();
    let listed = |column: &usize| rule.columns.contains(schema.field(*column).name());
    let columns = rule.columns.is_empty() || !difference.columns.is_empty() && difference.columns.iter().all(listed);
    columns && rule.kind.is_none_or(|kind| kind == difference.kind)
}

/// An entry's condition on some rows, evaluated when it is first asked for.
struct Fits<'a> {
    id: String,
    sides: [(Option<Arc<dyn PhysicalExpr>>, &'a RecordBatch); 2],
    rows: &'a Rows,
    results: Option<[Option<BooleanArray>; 2]>,
}

impl<'a> Fits<'a> {
    fn new(entry: &Entry, rows: &'a Rows) -> Self {
        let [old, new] = entry.conditions.clone();
        Self { id: entry.rule.id.clone(), sides: [(old, &rows.old), (new, &rows.new)], rows, results: None }
    }

    /// Whether the condition is true of every side that the row has.
    fn at(&mut self, row: usize) -> Result<bool, DiffError> {
        let results = match &self.results {
            Some(results) => results,
            None => self.results.insert([self.evaluate(0)?, self.evaluate(1)?]),
        };
        let present = [self.rows.has_old.is_valid(row), self.rows.has_new.is_valid(row)];
        let holds =
            |result: &Option<BooleanArray>| result.as_ref().is_none_or(|result| result.is_valid(row) && result.value(row));
        Ok(results.iter().zip(present).all(|(result, present)| !present || holds(result)))
    }

    fn evaluate(&self, side: usize) -> Result<Option<BooleanArray>, DiffError> {
        let (Some(condition), batch) = &self.sides[side] else { return Ok(None) };
        let failed = |_: DataFusionError| DiffError::ConditionFailed { entry: self.id.clone() };
        let result = condition.evaluate(batch).and_then(|value| value.into_array(batch.num_rows())).map_err(failed)?;
        Ok(Some(result.as_boolean().clone()))
    }
}

/// Plans a condition; the inner error is a refusal of what parses.
fn condition(
    engine: &Engine,
    filter: &str,
    schema: &SchemaRef,
) -> Result<Result<Arc<dyn PhysicalExpr>, String>, DataFusionError> {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let state = SessionContext::new_with_config_rt(config, engine.session().runtime_env()).state();
    let columns = DFSchema::try_from(SchemaRef::clone(schema))?;
    let expr = state.create_logical_expr(filter, &columns)?;
    if let Some(construct) = refused(&expr)? {
        return Ok(Err(format!("{construct} is refused: a condition must depend on one row alone and be repeatable")));
    }
    let found = expr.get_type(&columns)?;
    if found != DataType::Boolean {
        return Ok(Err(format!("it is a {found}; it must be true or false")));
    }
    state.create_physical_expr(expr, &columns).map(Ok)
}

/// What is not the same for equal rows at any time. Aggregates, windows and subqueries are refused by the planner.
fn refused(expr: &Expr) -> Result<Option<String>, DataFusionError> {
    let mut found = None;
    expr.exists(|part| {
        if let Expr::ScalarFunction(call) = part
            && call.func.signature().volatility != Volatility::Immutable
        {
            found = Some(format!("{}()", call.func.name()));
        }
        Ok(found.is_some())
    })?;
    Ok(found)
}

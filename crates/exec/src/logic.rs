//! New logic: the spec's `scope`, `transform.sql` and `target.columns`, in this order, checked before any row is read
//! and applied to scans.
//!
//! Only row-wise SQL is taken: one `SELECT` over the table `source` with projections and filters. Units are computed on
//! their own and again when something is superseded, and validation computes the expectation once more; so a row's result
//! must depend on nothing but the row. Aggregates, joins, windows, sorting, `now()` and `random()` are refused.
//! Names are case-sensitive; a name with other than letters, digits and `_` stands in double quotes.

use std::sync::Arc;

use datafusion::datasource::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, ident};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use lakeshift_core::projection::{Projection, ProjectionSpec};
use lakeshift_core::schema::TableSchema;

use crate::engine::Engine;
use crate::types::{self, TypeError};

mod check;
mod exact;
mod project;
mod provider;

pub(crate) use provider::PlanTable;

/// The only table that the SQL may name.
pub const SOURCE_TABLE: &str = "source";

/// Why the spec's SQL is not taken. `key` is the spec's key.
#[derive(Debug, thiserror::Error)]
pub enum LogicError {
    /// It does not parse, or names what is not there.
    #[error("{key}{}: {message} (the columns of source are {columns})", place(*.line, *.column))]
    Sql {
        /// `transform.sql` or `scope.where`.
        key: &'static str,
        /// Line within the SQL, from 1, where known.
        line: Option<u64>,
        /// Column within the line, from 1, where known.
        column: Option<u64>,
        /// What is wrong.
        message: String,
        /// What the source has.
        columns: String,
    },
    /// It parses but is not row-wise or not repeatable.
    #[error("{key} uses {construct}, which is refused: {reason}")]
    Refused {
        /// `transform.sql` or `scope.where`.
        key: &'static str,
        /// The construct.
        construct: String,
        /// Why.
        reason: &'static str,
    },
    /// An expression of the result has no name.
    #[error("{key}: the expression {expression} has no name; write `{expression} AS name`")]
    Unnamed {
        /// `transform.sql`.
        key: &'static str,
        /// The expression.
        expression: String,
    },
    /// The condition is no condition.
    #[error("{key} is a {found}; it must be true or false")]
    NoCondition {
        /// `scope.where`.
        key: &'static str,
        /// The expression's type.
        found: String,
    },
    /// A column of the result has a type without a lossless image.
    #[error("the result of transform.sql cannot be a table")]
    Type(#[from] TypeError),
    /// `target.columns` and `target.drop` do not fit the columns that there are.
    #[error("the columns of the new table cannot be made:\n  - {}", reasons.join("\n  - "))]
    Columns {
        /// Each with what to do.
        reasons: Vec<String>,
    },
    /// Rows outside of the scope do not fit beside those that the transform gives.
    #[error("`scope.others: carry` needs the columns of source from transform.sql: {}", reasons.join("; "))]
    Carried {
        /// Each with what to do.
        reasons: Vec<String>,
    },
    /// DataFusion could not plan what was accepted.
    #[error("the SQL could not be planned for execution")]
    Plan {
        /// The cause.
        #[source]
        source: DataFusionError,
    },
}

impl LogicError {
    /// The same of SQL that stands under another key of the spec.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        match &mut self {
            Self::Sql { key, .. }
            | Self::Refused { key, .. }
            | Self::Unnamed { key, .. }
            | Self::NoCondition { key, .. } => {
                *key = name;
            }
            Self::Columns { .. } | Self::Carried { .. } | Self::Type(_) | Self::Plan { .. } => {}
        }
        self
    }
}

fn place(line: Option<u64>, column: Option<u64>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!(", line {line}, column {column}"),
        _ => String::new(),
    }
}

/// The spec's SQL, checked against a source schema.
#[derive(Debug, Clone)]
pub struct Logic {
    engine: Engine,
    source: TableSchema,
    output: TableSchema,
    transform: Option<String>,
    scope: Option<String>,
    carry_others: bool,
    projection: Option<Projection>,
}

/// What the spec says; all of it is optional.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogicSpec<'a> {
    /// `transform.sql`.
    pub transform: Option<&'a str>,
    /// `scope.where`, applied to the source's rows before the transform.
    pub scope: Option<&'a str>,
    /// `scope.others`: whether rows outside come over as they are, untouched by the transform.
    pub carry_others: bool,
    /// `target.columns` and `target.drop`, applied to the transform's result.
    pub columns: ProjectionSpec<'a>,
}

impl LogicSpec<'_> {
    /// Whether rows pass unchanged.
    pub fn is_empty(&self) -> bool {
        self.transform.is_none() && self.scope.is_none() && self.columns.is_empty()
    }
}

impl Logic {
    /// Checks the SQL against the source's columns; reads no data.
    ///
    /// # Errors
    /// [`LogicError`] for SQL that is wrong or refused.
    pub async fn new(engine: &Engine, source: &TableSchema, spec: LogicSpec<'_>) -> Result<Self, LogicError> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (transform, scope) = (owned(spec.transform), owned(spec.scope));
        let (source, output) = (source.clone(), source.clone());
        let carry_others = spec.carry_others;
        let mut logic = Self { engine: engine.clone(), source, output, transform, scope, carry_others, projection: None };
        logic.output = logic.settled_schema().await?;
        if !spec.columns.is_empty() {
            let settled = Projection::settle(spec.columns, &logic.output);
            logic.projection = Some(settled.map_err(|reasons| LogicError::Columns { reasons })?);
            logic.output = logic.settled_schema().await?;
        }
        Ok(logic)
    }

    /// The columns of the result, as far as the steps are known.
    async fn settled_schema(&self) -> Result<TableSchema, LogicError> {
        let table = EmptyTable::new(types::arrow_schema(&self.source)?);
        // On the heap: planning holds a whole session, and is awaited deep inside of other work.
        let plan = Box::pin(self.plan(&self.state(), Arc::new(table), "")).await?;
        match plan.filter(|_| self.transform.is_some() || self.projection.is_some()) {
            Some(plan) => Ok(types::table_schema(plan.schema().as_arrow())?),
            None => Ok(self.source.clone()),
        }
    }

    /// The columns of the result. Where nothing changes them they are the source's, with their ids.
    pub fn output_schema(&self) -> &TableSchema {
        &self.output
    }

    /// Whether rows pass unchanged.
    pub fn is_identity(&self) -> bool {
        self.transform.is_none() && self.scope.is_none() && self.projection.is_none()
    }

    /// What `target.columns` and `target.drop` come to, where the spec has them.
    pub fn projection(&self) -> Option<&Projection> {
        self.projection.as_ref()
    }

    /// The plan whose rows are the result for the rows of `input`, which has the source's logical schema. `origin` names the
    /// file or table that they come from, in the error of a value that does not fit its column's new type.
    ///
    /// # Errors
    /// [`LogicError::Plan`] where DataFusion cannot plan it.
    pub async fn apply(&self, input: Arc<dyn ExecutionPlan>, origin: &str) -> Result<Arc<dyn ExecutionPlan>, LogicError> {
        let state = self.state();
        let table = Arc::new(provider::PlanTable::new(Arc::clone(&input)));
        let Some(plan) = Box::pin(self.plan(&state, table, origin)).await? else { return Ok(input) };
        let plan = canonical(plan, &self.output)?;
        state.create_physical_plan(&plan).await.map_err(|source| LogicError::Plan { source })
    }

    fn state(&self) -> SessionState {
        let settings = self.engine.settings();
        let mut config = SessionConfig::new()
            .with_batch_size(settings.batch_rows_max)
            .with_target_partitions(settings.concurrency)
            .with_round_robin_repartition(false)
            .with_information_schema(false);
        let options = config.options_mut();
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.collect_spans = true;
        SessionContext::new_with_config_rt(config, self.engine.session().runtime_env()).state()
    }

    /// The logical plan over `table`; `None` when rows pass unchanged.
    async fn plan(
        &self,
        state: &SessionState,
        table: Arc<dyn TableProvider>,
        origin: &str,
    ) -> Result<Option<LogicalPlan>, LogicError> {
        if self.is_identity() {
            return Ok(None);
        }
        let scoped = match &self.scope {
            Some(condition) => self.scoped(state, Arc::clone(&table), condition, |inside| inside)?,
            None => scan(Arc::clone(&table))?,
        };
        let mut transformed = match &self.transform {
            Some(sql) => self.transformed(scoped, sql).await?,
            None => scoped,
        };
        if let Some(condition) = self.scope.as_ref().filter(|_| self.carry_others) {
            // What is neither true nor false of a row is not true.
            let others = self.scoped(state, table, condition, Expr::is_not_true)?;
            transformed = both(transformed, others)?;
        }
        match &self.projection {
            Some(projection) => project::plan(transformed, projection, origin).map(Some),
            None => Ok(Some(transformed)),
        }
    }

    /// The rows of which a condition is true, or what `of` makes of it.
    fn scoped(
        &self,
        state: &SessionState,
        table: Arc<dyn TableProvider>,
        condition: &str,
        of: fn(Expr) -> Expr,
    ) -> Result<LogicalPlan, LogicError> {
        const KEY: &str = "scope.where";
        let scan = scan(table)?;
        let wrong = |error: DataFusionError| self.wrong(KEY, &error);
        let condition = state.create_logical_expr(condition, scan.schema()).map_err(wrong)?;
        check::expression(KEY, &condition)?;
        let (data_type, _) = condition_type(&condition, &scan).map_err(wrong)?;
        if data_type != arrow::datatypes::DataType::Boolean {
            return Err(LogicError::NoCondition { key: KEY, found: data_type.to_string() });
        }
        LogicalPlanBuilder::from(scan).filter(of(condition)).and_then(LogicalPlanBuilder::build).map_err(wrong)
    }

    async fn transformed(&self, scoped: LogicalPlan, sql: &str) -> Result<LogicalPlan, LogicError> {
        const KEY: &str = "transform.sql";
        let wrong = |error: DataFusionError| self.wrong(KEY, &error);
        let state = self.state();
        let view = datafusion::datasource::ViewTable::new(scoped, None);
        let session = SessionContext::new_with_state(state);
        session.register_table(SOURCE_TABLE, Arc::new(view)).map_err(wrong)?;
        let plan = session.state().create_logical_plan(sql).await.map_err(wrong)?;
        check::plan(KEY, &plan)?;
        check::names(KEY, &plan)?;
        Ok(plan)
    }

    fn wrong(&self, key: &'static str, error: &DataFusionError) -> LogicError {
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        LogicError::Sql {
            key,
            line: span.map(|span| span.start.line),
            column: span.map(|span| span.start.column),
            message: error.strip_backtrace(),
            columns: self.source.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", "),
        }
    }
}

/// The columns of `sql`'s result over a table of `source`'s columns; reads no data.
///
/// # Errors
/// [`LogicError`] for SQL that is wrong or refused.
pub async fn output_schema(engine: &Engine, source: &TableSchema, sql: &str) -> Result<TableSchema, LogicError> {
    let logic = Logic::new(engine, source, LogicSpec { transform: Some(sql), ..LogicSpec::default() }).await?;
    Ok(logic.output)
}

fn scan(table: Arc<dyn TableProvider>) -> Result<LogicalPlan, LogicError> {
    let source = datafusion::datasource::provider_as_source(table);
    LogicalPlanBuilder::scan(SOURCE_TABLE, source, None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|source| LogicError::Plan { source })
}

fn condition_type(condition: &Expr, scan: &LogicalPlan) -> Result<(arrow::datatypes::DataType, bool), DataFusionError> {
    use datafusion::logical_expr::ExprSchemable;
    Ok((condition.get_type(scan.schema())?, condition.nullable(scan.schema())?))
}

/// The rows that the transform gives, and beside them others with the source's columns, which are taken by name and never cast: what
/// is carried over is as it was.
fn both(inside: LogicalPlan, others: LogicalPlan) -> Result<LogicalPlan, LogicError> {
    let (made, there) = (types::table_schema(inside.schema().as_arrow())?, types::table_schema(others.schema().as_arrow())?);
    let mut reasons = Vec::new();
    for field in &made.fields {
        match there.field(&field.name) {
            None => reasons.push(format!("it gives a column {} that source has not; leave it out", field.name)),
            Some(found) if found.data_type != field.data_type => {
                let (name, made, found) = (&field.name, &field.data_type, &found.data_type);
                reasons.push(format!("it gives {name} as {made}, and source has it as {found}; cast it to that"));
            }
            Some(_) => {}
        }
    }
    let missing = there.fields.iter().filter(|field| made.field(&field.name).is_none());
    reasons.extend(missing.map(|field| format!("it leaves {} out; select it", field.name)));
    if !reasons.is_empty() {
        return Err(LogicError::Carried { reasons });
    }
    let inside = canonical(inside, &made)?;
    let columns = made.fields.iter().map(|field| ident(&field.name)).collect::<Vec<_>>();
    let others = LogicalPlanBuilder::from(others).project(columns).and_then(LogicalPlanBuilder::build);
    let both = others.and_then(|others| LogicalPlanBuilder::from(inside).union(others));
    both.and_then(LogicalPlanBuilder::build).map_err(|source| LogicError::Plan { source })
}

/// Casts columns to the one Arrow type of their logical type, where the SQL gave another image of it.
fn canonical(plan: LogicalPlan, output: &TableSchema) -> Result<LogicalPlan, LogicError> {
    let target = types::arrow_schema(output)?;
    let fields = plan.schema().fields().clone();
    if fields.iter().zip(target.fields()).all(|(found, target)| found.data_type() == target.data_type()) {
        return Ok(plan);
    }
    let column = |(found, target): (&arrow::datatypes::FieldRef, &arrow::datatypes::FieldRef)| {
        let column = ident(found.name());
        if found.data_type() == target.data_type() {
            column
        } else {
            cast(column, target.data_type().clone()).alias(target.name())
        }
    };
    let columns = fields.iter().zip(target.fields()).map(column).collect::<Vec<_>>();
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|source| LogicError::Plan { source })
}

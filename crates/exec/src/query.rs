//! One SQL query over several tables: [`Query`], the logic of a table of a graph.
//!
//! Each upstream is given as a scan of just the files that are needed. [`Query::plan`] narrows the result to one
//! partition of the target, so that what is computed for a partition is what a full rebuild would have in it, whatever else
//! the needed files hold. Unlike [`crate::logic`] the query may join, aggregate and order; it must be repeatable all the
//! same: `now()`, `random()` and the like are refused.

mod proof;

use std::sync::Arc;

use arrow::datatypes::DataType as ArrowType;
use chrono::NaiveDateTime;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility, cast, ident, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use lakeshift_core::schema::TableSchema;

pub use self::proof::PartitionedBy;
use crate::engine::Engine;
use crate::logic::PlanTable;
use crate::types::{self, TypeError};

/// Why a query cannot be used. Nothing was computed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It does not parse, or names what is not there.
    #[error("the sql of table {table} cannot be planned: {message}; nothing was computed: correct the query")]
    Sql {
        /// The table that it computes.
        table: String,
        /// What is wrong.
        message: String,
    },
    /// A function that gives another result each time.
    #[error(
        "the sql of table {table} calls {function}, which gives another result each time; nothing was computed: take it out, \
         for a partition that is computed again must come out the same"
    )]
    Volatile {
        /// The table.
        table: String,
        /// The function.
        function: String,
    },
    /// The partition columns are not among the result's.
    #[error("the sql of table {table} gives no column {column}, by which the table is partitioned; select it by that name")]
    NoColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A column of time that is no date.
    #[error("column {column} of table {table} is {found}, and a table of a graph is partitioned by a date; cast it to DATE")]
    NoDate {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// The result has columns without a lossless image.
    #[error("the result of the sql of table {table} cannot be a table")]
    Type {
        /// The table.
        table: String,
        /// The cause.
        #[source]
        source: TypeError,
    },
}

/// One partition of the query's result.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// The column of time, the first moment, and the first moment after.
    pub time: Option<(String, NaiveDateTime, NaiveDateTime)>,
    /// The column of the entity, and its value.
    pub entity: Option<(String, String)>,
}

/// A checked query.
#[derive(Debug, Clone)]
pub struct Query {
    engine: Engine,
    table: String,
    sql: String,
    /// Over upstreams without rows.
    plan: LogicalPlan,
    output: TableSchema,
}

impl Query {
    /// Checks the query that computes `table` over upstreams of these columns; reads no data. `time` is the column that the
    /// table is partitioned by.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn new(
        engine: &Engine,
        table: &str,
        sql: &str,
        upstreams: &[(String, TableSchema)],
        time: Option<&str>,
    ) -> Result<Self, QueryError> {
        let output = TableSchema { fields: Vec::new() };
        let plan = LogicalPlan::default();
        let mut query = Self { engine: engine.clone(), table: table.to_owned(), sql: sql.to_owned(), plan, output };
        let mut tables: Vec<(String, Arc<dyn TableProvider>)> = Vec::with_capacity(upstreams.len());
        for (name, schema) in upstreams {
            let schema = types::arrow_schema(schema).map_err(|source| query.untyped(source))?;
            tables.push((name.clone(), Arc::new(EmptyTable::new(schema))));
        }
        let (_, plan) = Box::pin(query.logical(tables)).await?;
        query.output = types::table_schema(plan.schema().as_arrow()).map_err(|source| query.untyped(source))?;
        if let Some(column) = time {
            let field = plan.schema().as_arrow().field_with_name(column).map_err(|_| query.no_column(column))?;
            if field.data_type() != &ArrowType::Date32 {
                let (table, column, found) = (query.table.clone(), column.to_owned(), field.data_type().to_string());
                return Err(QueryError::NoDate { table, column, found });
            }
        }
        query.plan = plan;
        Ok(query)
    }

    /// The columns of the result.
    pub fn output_schema(&self) -> &TableSchema {
        &self.output
    }

    /// A plan of the slice of the result over upstreams whose rows are these plans'.
    ///
    /// # Errors
    /// [`QueryError`] as [`Self::new`].
    pub async fn plan(
        &self,
        upstreams: Vec<(String, Arc<dyn ExecutionPlan>)>,
        slice: &Slice,
    ) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
        let table = |(name, plan)| (name, Arc::new(PlanTable::new(plan)) as Arc<dyn TableProvider>);
        let (session, plan) = Box::pin(self.logical(upstreams.into_iter().map(table).collect())).await?;
        let plan = self.narrowed(plan, slice)?;
        session.state().create_physical_plan(&plan).await.map_err(|error| self.wrong(&error))
    }

    async fn logical(
        &self,
        tables: Vec<(String, Arc<dyn TableProvider>)>,
    ) -> Result<(SessionContext, LogicalPlan), QueryError> {
        let (session, plan) =
            Box::pin(planned(&self.engine, &self.sql, tables)).await.map_err(|error| self.wrong(&error))?;
        self.refuse_volatile(&plan)?;
        Ok((session, plan))
    }

    fn refuse_volatile(&self, plan: &LogicalPlan) -> Result<(), QueryError> {
        let mut found = None;
        let seen = plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expression| {
                expression.apply(|part| {
                    if let Expr::ScalarFunction(call) = part
                        && call.func.signature().volatility != Volatility::Immutable
                    {
                        found = Some(call.func.name().to_owned());
                        return Ok(TreeNodeRecursion::Stop);
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        });
        seen.map_err(|error| self.wrong(&error))?;
        match found {
            Some(function) => Err(QueryError::Volatile { table: self.table.clone(), function }),
            None => Ok(()),
        }
    }

    /// The rows of the slice, in the types of the output.
    fn narrowed(&self, plan: LogicalPlan, slice: &Slice) -> Result<LogicalPlan, QueryError> {
        let mut conditions = Vec::new();
        if let Some((column, from, to)) = &slice.time {
            let day = |time: &NaiveDateTime| cast(lit(time.date().to_string()), ArrowType::Date32);
            conditions.push(ident(column).gt_eq(day(from)));
            conditions.push(ident(column).lt(day(to)));
        }
        if let Some((column, value)) = &slice.entity {
            conditions.push(ident(column).eq(lit(value.clone())));
        }
        let target = types::arrow_schema(&self.output).map_err(|source| self.untyped(source))?;
        let column =
            |field: &arrow::datatypes::FieldRef| cast(ident(field.name()), field.data_type().clone()).alias(field.name());
        let mut builder = LogicalPlanBuilder::from(plan).alias("result").map_err(|error| self.wrong(&error))?;
        if let Some(condition) = conditions.into_iter().reduce(Expr::and) {
            builder = builder.filter(condition).map_err(|error| self.wrong(&error))?;
        }
        let projected = builder.project(target.fields().iter().map(column).collect::<Vec<_>>());
        projected.and_then(LogicalPlanBuilder::build).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, error: &DataFusionError) -> QueryError {
        QueryError::Sql { table: self.table.clone(), message: error.strip_backtrace() }
    }

    fn untyped(&self, source: TypeError) -> QueryError {
        QueryError::Type { table: self.table.clone(), source }
    }

    fn no_column(&self, column: &str) -> QueryError {
        QueryError::NoColumn { table: self.table.clone(), column: column.to_owned() }
    }
}

/// The logical plan of a query over `tables`, which may only read, with the session that can execute it.
pub(crate) async fn planned(
    engine: &Engine,
    sql: &str,
    tables: Vec<(String, Arc<dyn TableProvider>)>,
) -> Result<(SessionContext, LogicalPlan), DataFusionError> {
    let settings = engine.settings();
    let mut config = SessionConfig::new()
        .with_batch_size(settings.batch_rows_max)
        .with_target_partitions(settings.concurrency)
        .with_information_schema(false);
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let session = SessionContext::new_with_config_rt(config, engine.session().runtime_env());
    for (name, table) in tables {
        session.register_table(TableReference::bare(name), table)?;
    }
    let plan = session.state().create_logical_plan(sql).await?;
    let only_reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    only_reads.verify_plan(&plan)?;
    Ok((session, plan))
}

//! What the spec's SQL may consist of.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use super::{LogicError, SOURCE_TABLE};

const ROW_WISE: &str = "a row's result must depend on that row alone; use projections and filters only";
const REPEATABLE: &str = "its result is not the same every time, so that old and new could not be compared";
const SOURCE_ONLY: &str = "only the table `source` may be read";

/// Every node and expression of a plan is row-wise and repeatable.
pub(super) fn plan(key: &'static str, plan: &LogicalPlan) -> Result<(), LogicError> {
    let mut verdict = Ok(());
    // The closure itself never fails; a refusal ends the walk.
    let walked = plan.apply(|node| {
        let expressions = node.expressions();
        verdict = check_node(key, node).and_then(|()| expressions.iter().try_for_each(|expr| expression(key, expr)));
        Ok(if verdict.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    verdict?;
    walked.map(|_| ()).map_err(|source| LogicError::Plan { source })
}

/// An expression is row-wise and repeatable.
pub(super) fn expression(key: &'static str, expr: &Expr) -> Result<(), LogicError> {
    let mut verdict = Ok(());
    let walked = expr.apply(|part| {
        verdict = check_part(key, part);
        Ok(if verdict.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    verdict?;
    walked.map(|_| ()).map_err(|source| LogicError::Plan { source })
}

/// Every column of the result that is computed has a name of its own.
pub(super) fn names(key: &'static str, plan: &LogicalPlan) -> Result<(), LogicError> {
    let LogicalPlan::Projection(projection) = plan else { return Ok(()) };
    match projection.expr.iter().find(|expr| !matches!(expr, Expr::Column(_) | Expr::Alias(_))) {
        Some(unnamed) => Err(LogicError::Unnamed { key, expression: unnamed.human_display().to_string() }),
        None => Ok(()),
    }
}

fn check_node(key: &'static str, node: &LogicalPlan) -> Result<(), LogicError> {
    let refused = |construct: &str, reason| Err(LogicError::Refused { key, construct: construct.to_owned(), reason });
    match node {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => Ok(()),
        LogicalPlan::TableScan(scan) if scan.table_name.table() == SOURCE_TABLE => Ok(()),
        LogicalPlan::TableScan(scan) => refused(&format!("the table {}", scan.table_name), SOURCE_ONLY),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => refused("rows of its own", SOURCE_ONLY),
        LogicalPlan::Aggregate(_) => refused("an aggregate", ROW_WISE),
        LogicalPlan::Distinct(_) => refused("DISTINCT", ROW_WISE),
        LogicalPlan::Join(_) => refused("a join", ROW_WISE),
        LogicalPlan::Window(_) => refused("a window function", ROW_WISE),
        LogicalPlan::Sort(_) => refused("ORDER BY", ROW_WISE),
        LogicalPlan::Limit(_) => refused("LIMIT", ROW_WISE),
        LogicalPlan::Union(_) => refused("UNION", ROW_WISE),
        LogicalPlan::Unnest(_) => refused("unnest", ROW_WISE),
        LogicalPlan::Subquery(_) | LogicalPlan::RecursiveQuery(_) => refused("a subquery of this kind", ROW_WISE),
        LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_) => {
            refused("a statement that changes something", "it must be one SELECT")
        }
        _ => refused("something that is no SELECT", "it must be one SELECT"),
    }
}

fn check_part(key: &'static str, part: &Expr) -> Result<(), LogicError> {
    let refused = |construct: String, reason| Err(LogicError::Refused { key, construct, reason });
    match part {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            refused(format!("{}()", call.func.name()), REPEATABLE)
        }
        Expr::AggregateFunction(call) => refused(format!("the aggregate {}()", call.func.name()), ROW_WISE),
        Expr::WindowFunction(call) => refused(format!("the window function {}", call.fun), ROW_WISE),
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => {
            refused("a subquery".to_owned(), ROW_WISE)
        }
        Expr::OuterReferenceColumn(..) | Expr::GroupingSet(_) | Expr::Unnest(_) => {
            refused(part.human_display().to_string(), ROW_WISE)
        }
        Expr::ScalarVariable(..) | Expr::Placeholder(_) => refused("a variable".to_owned(), REPEATABLE),
        Expr::HigherOrderFunction(_) | Expr::Lambda(_) | Expr::LambdaVariable(_) => {
            refused("a lambda".to_owned(), "it is not supported")
        }
        _ => Ok(()),
    }
}

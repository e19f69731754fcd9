//! `target.columns` and `target.drop` as a projection of DataFusion's.

use datafusion::common::ScalarValue;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, ident, lit};
use lakeshift_core::projection::{Projected, Projection};
use lakeshift_core::spec::Literal;

use super::LogicError;
use super::exact::ExactCast;
use crate::types;

/// `input` with the projection's columns; `origin` names where its rows come from.
///
/// # Errors
/// [`LogicError::Columns`] for a default that is no value of its column's type.
pub(super) fn plan(input: LogicalPlan, projection: &Projection, origin: &str) -> Result<LogicalPlan, LogicError> {
    let columns = projection.columns.iter().map(|column| expression(column, origin)).collect::<Result<Vec<_>, _>>()?;
    LogicalPlanBuilder::from(input)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|source| LogicError::Plan { source })
}

fn expression(column: &Projected, origin: &str) -> Result<Expr, LogicError> {
    let own = match &column.from {
        Some(from) if column.is_cast => Some(cast(column, origin)?.call(vec![ident(from)])),
        Some(from) => Some(ident(from)),
        None => None,
    };
    let default = column.default.as_ref().map(|literal| constant(column, literal)).transpose()?;
    let value = match (own, default) {
        (Some(own), Some(default)) => coalesce(vec![own, lit(default)]),
        (Some(own), None) => own,
        (None, default) => lit(default.unwrap_or(ScalarValue::Null)),
    };
    Ok(value.alias(&column.name))
}

fn cast(column: &Projected, origin: &str) -> Result<ScalarUDF, LogicError> {
    let exact = ExactCast::new(&column.name, origin, types::arrow_type(&column.data_type)?);
    Ok(ScalarUDF::new_from_impl(exact))
}

/// The spec's constant as a value of the column's type.
fn constant(column: &Projected, literal: &Literal) -> Result<ScalarValue, LogicError> {
    let value = match literal {
        Literal::Boolean(value) => ScalarValue::from(*value),
        Literal::Integer(value) => ScalarValue::from(*value),
        Literal::Float(value) => ScalarValue::from(*value),
        Literal::Text(value) => ScalarValue::from(value.as_str()),
    };
    let exact = ExactCast::new(&column.name, "the spec", types::arrow_type(&column.data_type)?);
    exact.constant(&value).ok_or_else(|| LogicError::Columns {
        reasons: vec![format!("target.columns: the default of {} is no {}", column.name, column.data_type)],
    })
}

//! What a query proves of the rows that its rows are computed from: how far from a row's date they lie, and whether they have
//! its entity.
//!
//! The plan is walked from the scans up. Every column carries, for every scan below it, a [`Span`] where one is known to hold all
//! rows of the scan that have a part in a row with that column's value, as in the provenance of Cui, Widom and Wiener, "Tracing
//! the Lineage of View Data in a Warehousing Environment" (TODS 2000), kept to one column of each scan. What is not understood
//! knows nothing, and then nothing is proven; a span is never narrower than the truth.

mod conditions;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, JoinType, ScalarValue};
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, Filter, Join, LogicalPlan, Operator, TableScan, Window,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use lakeshift_core::graph::{Grain, Proof, Span};

use self::conditions::Conditions;
use super::Query;

/// The columns by which a table of a graph is partitioned.
#[derive(Debug, Clone, Default)]
pub struct PartitionedBy {
    /// The column of time.
    pub time: Option<String>,
    /// The column of the entity.
    pub entity: Option<String>,
}

impl Query {
    /// What the query proves of each upstream that it reads, where its rows are partitioned by `by` and the upstreams' as
    /// said. An upstream that it does not read is left out.
    pub fn proofs(&self, by: &PartitionedBy, upstreams: &[(String, PartitionedBy)]) -> BTreeMap<String, Proof> {
        let mut walk = Walk { upstreams, scans: Vec::new() };
        let result = walk.rows(&self.plan);
        let column = |name: &Option<String>| {
            let at = name.as_ref().and_then(|name| self.plan.schema().index_of_column_by_name(None, name));
            at.map(|at| result.columns[at].clone()).unwrap_or_default()
        };
        let (time, entity) = (column(&by.time), column(&by.entity));
        let mut proofs = BTreeMap::new();
        for (at, (name, _)) in upstreams.iter().enumerate() {
            let read = scans_of(&self.plan, name);
            let scans: Vec<usize> = (0..walk.scans.len()).filter(|scan| walk.scans[*scan] == at).collect();
            if read == 0 {
                continue;
            }
            // A scan within an expression's subquery was not walked.
            let all_seen = read == scans.len();
            let spans: Option<Vec<Span>> = scans.iter().map(|scan| time.spans.get(scan).copied()).collect();
            let hull = spans.and_then(|spans| {
                let (first, rest) = spans.split_first()?;
                rest.iter().try_fold(*first, |hull, span| hull.hull(*span))
            });
            let same_entity = all_seen && scans.iter().all(|scan| entity.same.contains(scan));
            proofs.insert(name.clone(), Proof { span: hull.filter(|_| all_seen), same_entity });
        }
        proofs
    }
}

/// How often a plan scans a table, subqueries included.
fn scans_of(plan: &LogicalPlan, name: &str) -> usize {
    let mut count = 0;
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.table() == name
        {
            count += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // The closure does not fail; if the walk did, more scans than are seen keep everything unproven.
    if walked.is_err() { usize::MAX } else { count }
}

/// What is known of one column: of the scans below it, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Facts {
    /// Where the rows of the scan lie that have a part, counted from the column's date.
    spans: BTreeMap<usize, Span>,
    /// Scans whose rows that have a part have the column's value as their entity.
    same: BTreeSet<usize>,
}

/// The rows of a node.
#[derive(Debug, Clone, Default)]
struct Rows {
    columns: Vec<Facts>,
    scans: Range<usize>,
}

struct Walk<'a> {
    upstreams: &'a [(String, PartitionedBy)],
    /// The upstream of each scan.
    scans: Vec<usize>,
}

impl Walk<'_> {
    fn rows(&mut self, plan: &LogicalPlan) -> Rows {
        let from = self.scans.len();
        let columns = match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(node) => {
                let input = self.rows(&node.input);
                node.expr.iter().map(|expr| facts_of(expr, node.input.schema(), &input.columns)).collect()
            }
            LogicalPlan::Filter(node) => self.filter(node),
            LogicalPlan::Join(node) => self.join(node),
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Window(node) => self.window(node),
            LogicalPlan::SubqueryAlias(node) => self.rows(&node.input).columns,
            LogicalPlan::Sort(node) if node.fetch.is_none() => self.rows(&node.input).columns,
            LogicalPlan::Distinct(Distinct::All(input)) => self.rows(input).columns,
            LogicalPlan::Union(node) => {
                let mut columns = vec![Facts::default(); node.schema.fields().len()];
                for input in &node.inputs {
                    for (all, one) in columns.iter_mut().zip(self.rows(input).columns) {
                        all.spans.extend(one.spans);
                        all.same.extend(one.same);
                    }
                }
                columns
            }
            // Which rows are taken hangs on all others.
            opaque => {
                for input in opaque.inputs() {
                    self.rows(input);
                }
                Vec::new()
            }
        };
        let mut columns = columns;
        columns.resize(plan.schema().fields().len(), Facts::default());
        Rows { columns, scans: from..self.scans.len() }
    }

    fn scan(&mut self, node: &TableScan) -> Vec<Facts> {
        let Some(at) = self.upstreams.iter().position(|(name, _)| name == node.table_name.table()) else {
            return Vec::new();
        };
        let (number, by) = (self.scans.len(), &self.upstreams[at].1);
        self.scans.push(at);
        let facts = |name: &String| Facts {
            spans: (by.time.as_ref() == Some(name)).then_some((number, Span::DATE)).into_iter().collect(),
            same: (by.entity.as_ref() == Some(name)).then_some(number).into_iter().collect(),
        };
        node.projected_schema.fields().iter().map(|field| facts(field.name())).collect()
    }

    fn filter(&mut self, node: &Filter) -> Vec<Facts> {
        let input = self.rows(&node.input);
        let mut columns = input.columns;
        Conditions::of([&node.predicate], node.input.schema()).apply(&mut columns);
        columns
    }

    /// Rows of both sides that a condition puts together are bounded by each other. Of an outer join only what a row says of the
    /// other side holds: a row without a match does not fulfil the condition, but no row about it does either.
    fn join(&mut self, node: &Join) -> Vec<Facts> {
        let (left, right) = (self.rows(&node.left), self.rows(&node.right));
        let Ok(both) = node.left.schema().join(node.right.schema()) else { return Vec::new() };
        let split = left.columns.len();
        let mut columns: Vec<Facts> = left.columns.iter().chain(&right.columns).cloned().collect();
        let mut conditions = Conditions::of(&node.filter, &both);
        for (one, other) in &node.on {
            conditions.equal(one, other, &both);
        }
        if node.join_type == JoinType::Inner {
            conditions.apply(&mut columns);
        } else {
            conditions.apply_across(&mut columns, split, (&left.scans, &right.scans));
        }
        match node.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {}
            JoinType::LeftSemi | JoinType::LeftAnti => columns.truncate(split),
            JoinType::RightSemi | JoinType::RightAnti => {
                columns.drain(..split);
            }
            _ => columns.clear(),
        }
        columns
    }

    /// All rows of a group have its expressions' values.
    fn aggregate(&mut self, node: &Aggregate) -> Vec<Facts> {
        let input = self.rows(&node.input);
        if node.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Vec::new();
        }
        node.group_expr.iter().map(|expr| facts_of(expr, node.input.schema(), &input.columns)).collect()
    }

    /// A row has a part in all rows of its partition, or of its frame where that is a range of dates. Windows of one `SELECT` stand
    /// one above the other and all look at the rows below.
    fn window(&mut self, node: &Window) -> Vec<Facts> {
        let (mut expressions, mut below) = (Vec::new(), &node.input);
        expressions.extend(&node.window_expr);
        while let LogicalPlan::Window(inner) = &**below {
            expressions.extend(&inner.window_expr);
            below = &inner.input;
        }
        let (input, schema) = (self.rows(below), below.schema());
        let is_below =
            |expr: &&Expr| expr.column_refs().into_iter().all(|column| schema.maybe_index_of_column(column).is_some());
        if !expressions.iter().all(is_below) {
            return Vec::new();
        }
        let each = expressions.into_iter().map(|expr| match expr.clone().unalias() {
            Expr::WindowFunction(window) => framed(&window, schema, &input.columns),
            _ => vec![Facts::default(); input.columns.len()],
        });
        let both =
            |one: Vec<Facts>, other: Vec<Facts>| one.into_iter().zip(other).map(|(one, other)| either(one, other)).collect();
        each.reduce(both).unwrap_or_default()
    }
}

/// The columns of rows that one window function was applied to.
fn framed(window: &WindowFunction, schema: &DFSchema, columns: &[Facts]) -> Vec<Facts> {
    let WindowFunctionParams { partition_by, order_by, window_frame, .. } = &window.params;
    let mut framed = vec![Facts::default(); columns.len()];
    for expr in partition_by {
        if let Some(at) = column_of(expr, schema) {
            framed[at] = columns[at].clone();
        }
    }
    // Other functions, such as row_number, take no heed of the frame.
    let aggregates = matches!(window.fun, WindowFunctionDefinition::AggregateUDF(_));
    let ([order], WindowFrameUnits::Range, true) = (order_by.as_slice(), window_frame.units, aggregates) else {
        return framed;
    };
    let bounds = (days_from(&window_frame.start_bound), days_from(&window_frame.end_bound));
    let (Some(at), (Some((first, _)), Some((_, last)))) = (column_of(&order.expr, schema), bounds) else {
        return framed;
    };
    let (first, last) = if order.asc { (first, last) } else { (-last, -first) };
    for (scan, span) in &columns[at].spans {
        if let Some(span) = span.days_before(first, last) {
            framed[at].spans.insert(*scan, span);
        }
    }
    framed
}

/// The fewest and most days from the current row to a frame's end; `None` where there is none.
fn days_from(bound: &WindowFrameBound) -> Option<(i64, i64)> {
    match bound {
        WindowFrameBound::CurrentRow => Some((0, 0)),
        WindowFrameBound::Preceding(by) => shift_of(by).map(|shift| shift.days()).map(|(from, to)| (-to, -from)),
        WindowFrameBound::Following(by) => shift_of(by).map(|shift| shift.days()),
    }
}

/// What is added to a date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shift {
    months: i64,
    /// The fewest and most days; they differ where hours are added.
    days: (i64, i64),
}

impl Shift {
    /// All of it in days: months have 28 to 31.
    fn days(self) -> (i64, i64) {
        let (short, long) = (self.months * 28, self.months * 31);
        (short.min(long) + self.days.0, short.max(long) + self.days.1)
    }

    fn negated(self) -> Self {
        Self { months: -self.months, days: (-self.days.1, -self.days.0) }
    }

    fn plus(self, other: Self) -> Self {
        let days = (self.days.0 + other.days.0, self.days.1 + other.days.1);
        Self { months: self.months + other.months, days }
    }

    /// The span about a date that was shifted, from the span about it before.
    fn applied(self, span: Span) -> Option<Span> {
        let span = if self.months == 0 { span } else { span.months_before(-self.months)? };
        span.days_before(-self.days.1, -self.days.0)
    }
}

const DAY_NANOS: i64 = 86_400_000_000_000;

fn shift_of(interval: &ScalarValue) -> Option<Shift> {
    // The bounds of frames are text until the planner knows what they are added to.
    if let Some(text) = interval.try_as_str() {
        let unit = DataType::Interval(IntervalUnit::MonthDayNano);
        return shift_of(&ScalarValue::try_from_string(text?.to_owned(), &unit).ok()?);
    }
    let days = |days: i32, nanos: i64| {
        let (days, whole, rest) = (i64::from(days), nanos.div_euclid(DAY_NANOS), nanos.rem_euclid(DAY_NANOS));
        (days + whole, days + whole + i64::from(rest > 0))
    };
    match interval {
        ScalarValue::IntervalYearMonth(Some(months)) => Some(Shift { months: i64::from(*months), days: (0, 0) }),
        ScalarValue::IntervalDayTime(Some(value)) => {
            Some(Shift { months: 0, days: days(value.days, i64::from(value.milliseconds) * 1_000_000) })
        }
        ScalarValue::IntervalMonthDayNano(Some(value)) => {
            Some(Shift { months: i64::from(value.months), days: days(value.days, value.nanoseconds) })
        }
        _ => None,
    }
}

fn column_of(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.maybe_index_of_column(column),
        _ => None,
    }
}

/// What is known of an expression over columns of which this is known.
fn facts_of(expr: &Expr, schema: &DFSchema, columns: &[Facts]) -> Facts {
    match expr {
        Expr::Column(_) => column_of(expr, schema).and_then(|at| columns.get(at)).cloned().unwrap_or_default(),
        Expr::Alias(alias) => facts_of(&alias.expr, schema, columns),
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
            let Facts { spans, same } = facts_of(expr, schema, columns);
            let both = |is: fn(&DataType) -> bool| type_is(expr, schema, is) && is(field.data_type());
            Facts {
                spans: if both(is_date) { spans } else { BTreeMap::new() },
                same: if both(is_text) { same } else { BTreeSet::new() },
            }
        }
        Expr::BinaryExpr(_) => match shifted(expr) {
            Some((base, shift)) => mapped(facts_of(base, schema, columns), |span| shift.applied(span)),
            None => Facts::default(),
        },
        Expr::ScalarFunction(call) if call.func.name() == "date_trunc" => match truncated(call, schema) {
            Some((base, grain)) => mapped(facts_of(base, schema, columns), |span| within(span, grain)),
            None => Facts::default(),
        },
        Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
            let mut args = call.args.iter().map(|arg| facts_of(arg, schema, columns));
            let first = args.next().unwrap_or_default();
            args.fold(first, either)
        }
        _ => Facts::default(),
    }
}

/// What holds of a value that is one of the two.
fn either(one: Facts, other: Facts) -> Facts {
    let hull = |(scan, span): (usize, Span)| Some((scan, span.hull(*other.spans.get(&scan)?)?));
    Facts {
        spans: one.spans.into_iter().filter_map(hull).collect(),
        same: one.same.intersection(&other.same).copied().collect(),
    }
}

/// The facts of a date that comes of another one.
fn mapped(facts: Facts, span: impl Fn(Span) -> Option<Span>) -> Facts {
    let spans = facts.spans.into_iter().filter_map(|(scan, one)| Some((scan, span(one)?))).collect();
    Facts { spans, same: BTreeSet::new() }
}

/// The span about a date of which the period's beginning has this span; hours are below what spans tell apart.
fn within(span: Span, grain: Option<Grain>) -> Option<Span> {
    grain.map_or(Some(span), |grain| span.truncated(grain))
}

/// A date plus or minus a literal interval.
fn shifted(expr: &Expr) -> Option<(&Expr, Shift)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    match (&**left, op, &**right) {
        (date, Operator::Plus, Expr::Literal(by, _)) | (Expr::Literal(by, _), Operator::Plus, date) => {
            Some((date, shift_of(by)?))
        }
        (date, Operator::Minus, Expr::Literal(by, _)) => Some((date, shift_of(by)?.negated())),
        _ => None,
    }
}

/// What `date_trunc` truncates, and to which grain; `None` is one below the day.
fn truncated<'a>(call: &'a ScalarFunction, schema: &DFSchema) -> Option<(&'a Expr, Option<Grain>)> {
    let [Expr::Literal(word, _), date] = call.args.as_slice() else { return None };
    let grain = match word.try_as_str()??.to_ascii_lowercase().as_str() {
        "microsecond" | "millisecond" | "second" | "minute" | "hour" => None,
        "day" => Some(Grain::Day),
        "week" => Some(Grain::Week),
        "month" => Some(Grain::Month),
        "quarter" => Some(Grain::Quarter),
        "year" => Some(Grain::Year),
        _ => return None,
    };
    type_is(date, schema, is_date).then_some((date, grain))
}

fn type_is(expr: &Expr, schema: &DFSchema, is: impl Fn(&DataType) -> bool) -> bool {
    expr.get_type(schema).is_ok_and(|found| is(&found))
}

/// A type whose days are those of UTC.
fn is_date(found: &DataType) -> bool {
    match found {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, None) => true,
        DataType::Timestamp(_, Some(zone)) => matches!(&**zone, "UTC" | "+00:00" | "Z"),
        _ => false,
    }
}

fn is_text(found: &DataType) -> bool {
    match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

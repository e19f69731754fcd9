//! [`Conditions`]: what joins and filters say of two dates, `w.day BETWEEN d.day - INTERVAL '6' DAY AND d.day`, and of two entities.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{Between, Cast, TryCast};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use lakeshift_core::graph::{Grain, Span};

use super::{Facts, Shift, column_of, is_date, is_text, mapped, shifted, truncated, type_is, within};

/// A column, or the beginning of the period that its date is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Term {
    column: usize,
    grain: Option<Grain>,
}

/// What is known of two terms, the second as seen from the first.
#[derive(Debug, Clone, Copy)]
enum Relation {
    /// The second is the first and this.
    Equal(Shift),
    /// The second is so many days after the first, at least and at most.
    Days(i64, i64),
}

/// Conditions that hold all at once.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    equal: Vec<(Term, Term, Shift)>,
    days: BTreeMap<(Term, Term), (Option<i64>, Option<i64>)>,
}

impl Conditions {
    /// The conditions that stand in these expressions; what says nothing of two terms is passed over.
    pub(super) fn of<'a>(expressions: impl IntoIterator<Item = &'a Expr>, schema: &DFSchema) -> Self {
        let mut conditions = Self::default();
        for expr in expressions.into_iter().flat_map(split_conjunction) {
            match expr {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => conditions.equal(left, right, schema),
                Expr::BinaryExpr(BinaryExpr { left, op, right }) => conditions.compare(left, *op, right, schema),
                Expr::Between(Between { expr, negated: false, low, high }) => {
                    conditions.compare(expr, Operator::GtEq, low, schema);
                    conditions.compare(expr, Operator::LtEq, high, schema);
                }
                _ => {}
            }
        }
        conditions
    }

    /// Adds that two expressions are equal.
    pub(super) fn equal(&mut self, one: &Expr, other: &Expr, schema: &DFSchema) {
        let (Some((x, by_x)), Some((y, by_y))) = (term(one, schema), term(other, schema)) else { return };
        if by_y == Shift::default() {
            self.equal.push((x, y, by_x));
        } else if by_x == Shift::default() {
            self.equal.push((y, x, by_y));
        } else {
            self.compare(one, Operator::LtEq, other, schema);
            self.compare(one, Operator::GtEq, other, schema);
        }
    }

    fn compare(&mut self, one: &Expr, op: Operator, other: &Expr, schema: &DFSchema) {
        let (Some((x, by_x)), Some((y, by_y))) = (term(one, schema), term(other, schema)) else { return };
        // Of two dates the lesser is a day before.
        let dates = [one, other].into_iter().all(|expr| type_is(expr, schema, |found| *found == DataType::Date32));
        let step = i64::from(dates && matches!(op, Operator::Lt | Operator::Gt));
        let (by_x, by_y) = (by_x.days(), by_y.days());
        let (least, most) = match op {
            Operator::Lt | Operator::LtEq => (Some(by_x.0 - by_y.1 + step), None),
            Operator::Gt | Operator::GtEq => (None, Some(by_x.1 - by_y.0 - step)),
            _ => return,
        };
        let (pair, (least, most)) =
            if x <= y { ((x, y), (least, most)) } else { ((y, x), (most.map(|days| -days), least.map(|days| -days))) };
        let known = self.days.entry(pair).or_default();
        known.0 = known.0.into_iter().chain(least).max();
        known.1 = known.1.into_iter().chain(most).min();
    }

    fn relations(&self) -> impl Iterator<Item = (Term, Term, Relation)> + '_ {
        let equal = self.equal.iter().map(|(x, y, shift)| (*x, *y, Relation::Equal(*shift)));
        let days = self.days.iter().filter_map(|((x, y), bounds)| match bounds {
            (Some(least), Some(most)) if least <= most => Some((*x, *y, Relation::Days(*least, *most))),
            _ => None,
        });
        equal.chain(days)
    }

    /// Adds to the columns of rows that fulfil the conditions what follows from them.
    pub(super) fn apply(&self, columns: &mut [Facts]) {
        // A chain of equalities takes as many rounds as it has links.
        for _ in 0..=self.equal.len() + self.days.len() {
            for (x, y, relation) in self.relations() {
                let (about_x, about_y) =
                    (relation.about_first(&value(y, columns)), relation.about_second(&value(x, columns)));
                put(x, about_x, columns, |_| true);
                put(y, about_y, columns, |_| true);
            }
        }
    }

    /// As [`Self::apply`] where the columns before `split` are those of the left side of an outer join: either side learns of the
    /// other's scans, and of nothing else.
    pub(super) fn apply_across(&self, columns: &mut [Facts], split: usize, scans: (&Range<usize>, &Range<usize>)) {
        let before = columns.to_vec();
        for (x, y, relation) in self.relations() {
            let (left, right) = ((x.column < split), (y.column < split));
            if left == right {
                continue;
            }
            let (of_x, of_y) = if left { scans } else { (scans.1, scans.0) };
            put(x, relation.about_first(&value(y, &before)), columns, |scan| of_y.contains(&scan));
            put(y, relation.about_second(&value(x, &before)), columns, |scan| of_x.contains(&scan));
        }
    }
}

impl Relation {
    fn about_first(self, second: &Facts) -> Facts {
        self.same(second, |span| match self {
            Self::Equal(shift) => {
                let span = span.days_before(shift.days.0, shift.days.1)?;
                if shift.months == 0 { Some(span) } else { span.months_before(shift.months) }
            }
            Self::Days(least, most) => span.days_before(least, most),
        })
    }

    fn about_second(self, first: &Facts) -> Facts {
        self.same(first, |span| match self {
            Self::Equal(shift) => shift.applied(span),
            Self::Days(least, most) => span.days_before(-most, -least),
        })
    }

    /// Equal entities are one.
    fn same(self, facts: &Facts, span: impl Fn(Span) -> Option<Span>) -> Facts {
        let equal = matches!(self, Self::Equal(shift) if shift == Shift::default());
        let same = if equal { facts.same.clone() } else { std::collections::BTreeSet::new() };
        Facts { same, ..mapped(facts.clone(), span) }
    }
}

/// What is known of a term.
fn value(term: Term, columns: &[Facts]) -> Facts {
    match term.grain {
        None => columns[term.column].clone(),
        Some(grain) => mapped(columns[term.column].clone(), |span| within(span, Some(grain))),
    }
}

/// Adds what was learned of a term to its column.
fn put(term: Term, learned: Facts, columns: &mut [Facts], takes: impl Fn(usize) -> bool) {
    let column = &mut columns[term.column];
    for (scan, span) in learned.spans.into_iter().filter(|(scan, _)| takes(*scan)) {
        let Some(span) = within(span, term.grain) else { continue };
        let known = column.spans.entry(scan).or_insert(span);
        *known = known.tighter(span);
    }
    if term.grain.is_none() {
        column.same.extend(learned.same.into_iter().filter(|scan| takes(*scan)));
    }
}

/// An expression as a term, and what is added to it.
fn term(expr: &Expr, schema: &DFSchema) -> Option<(Term, Shift)> {
    match expr {
        Expr::Column(_) => Some((Term { column: column_of(expr, schema)?, grain: None }, Shift::default())),
        Expr::Alias(alias) => term(&alias.expr, schema),
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
            let kept = |is: fn(&DataType) -> bool| type_is(expr, schema, is) && is(field.data_type());
            (kept(is_date) || kept(is_text)).then(|| term(expr, schema)).flatten()
        }
        Expr::BinaryExpr(_) => {
            let (base, shift) = shifted(expr)?;
            let (term, inner) = term(base, schema)?;
            // Months do not add up with days in another order.
            let plain = shift.months == 0 || inner == Shift::default();
            plain.then(|| (term, inner.plus(shift)))
        }
        Expr::ScalarFunction(call) if call.func.name() == "date_trunc" => {
            let (base, grain) = truncated(call, schema)?;
            match (term(base, schema)?, grain) {
                ((term, shift), None) if shift == Shift::default() => Some((term, shift)),
                ((Term { column, grain: None }, shift), grain) if shift == Shift::default() => {
                    Some((Term { column, grain }, shift))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

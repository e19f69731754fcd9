//! Rules for columns as expressions, and tolerances.

use std::collections::BTreeMap;

use lakeshift_core::equivalence::{ColumnPlan, RuleError, Tolerance, plan_columns};
use lakeshift_core::schema::DataType as T;
use lakeshift_core::spec::{ColumnRule, RuleUnit};
use proptest::prelude::*;
use rstest::rstest;

use super::columns;

fn rule(edit: impl FnOnce(&mut ColumnRule)) -> ColumnRule {
    let mut rule = ColumnRule::default();
    edit(&mut rule);
    rule
}

fn plan(old: &[&str], new: &[&str], rules: Vec<(&str, ColumnRule)>) -> Result<ColumnPlan, RuleError> {
    let table = |names: &[&str]| columns(names.iter().map(|name| (*name, T::Int64)).collect());
    let rules: BTreeMap<String, ColumnRule> = rules.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect();
    plan_columns(&table(old), &table(new), &rules)
}

/// The expressions for the one new column `a`.
fn sql(edit: impl FnOnce(&mut ColumnRule)) -> (String, String, bool) {
    let mut plan = plan(&["a", "b c"], &["a"], vec![("a", rule(edit))]).unwrap();
    let column = plan.compared.remove(0);
    (column.old_sql, column.new_sql, column.plain)
}

#[test]
fn columns_without_rules_are_bare_and_paired_by_name() {
    let plan = plan(&["a", "gone", "q\"x"], &["q\"x", "a", "more"], vec![]).unwrap();
    let seen: Vec<_> =
        plan.compared.iter().map(|c| (c.new.as_str(), c.old_sql.as_str(), c.new_sql.as_str(), c.plain)).collect();
    assert_eq!(seen, [("q\"x", "\"q\"\"x\"", "\"q\"\"x\"", true), ("a", "\"a\"", "\"a\"", true)]);
    let names = |fields: &[lakeshift_core::schema::Field]| fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    assert_eq!((names(&plan.missing), names(&plan.added)), (vec!["gone".to_owned()], vec!["more".to_owned()]));
    assert_eq!(plan.one_sided().len(), 2);
}

#[rstest]
#[case::rename("b c", ("\"b c\"", "\"a\"", true))]
#[case::quoted_rename("\"b c\"", ("\"b c\"", "\"a\"", true))]
#[case::expression("a + 1", ("(a + 1)", "\"a\"", false))]
#[case::other_case_is_sql("A", ("(A)", "\"a\"", false))]
#[case::commas_stay_inside("a, b", ("(a, b)", "\"a\"", false))]
fn an_old_value_is_a_column_or_an_expression(#[case] old: &str, #[case] expected: (&str, &str, bool)) {
    let found = sql(|rule| rule.old = Some(old.into()));
    assert_eq!((found.0.as_str(), found.1.as_str(), found.2), expected);
}

#[rstest]
#[case::computed_from_its_namesake("a * 60", &[])]
#[case::quoted("\"a\" * 60", &[])]
#[case::computed_from_others("b + aa", &["a"])]
#[case::constant("0", &["a"])]
fn a_rule_accounts_for_the_old_column_of_its_name_if_it_computes_from_it(#[case] old: &str, #[case] missing: &[&str]) {
    let plan = plan(&["a"], &["a"], vec![("a", rule(|rule| rule.old = Some(old.into())))]).unwrap();
    assert_eq!(plan.missing.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), missing);
}

#[test]
fn what_is_ignored_is_taken_away_on_both_sides() {
    let text = sql(|rule| (rule.trim, rule.ignore_case) = (true, true));
    assert_eq!(text, ("lower(btrim(\"a\"))".into(), "lower(btrim(\"a\"))".into(), false));
    let time = sql(|rule| (rule.unit, rule.new) = (Some(RuleUnit::Millisecond), Some("now()".into())));
    assert_eq!(time, ("date_trunc('millisecond', \"a\")".into(), "date_trunc('millisecond', (now()))".into(), false));
    let own_name = sql(|rule| rule.new = Some("a".into()));
    assert_eq!(own_name, ("\"a\"".into(), "\"a\"".into(), true));
}

#[test]
fn an_old_column_counts_as_compared_only_where_it_stands_alone() {
    let missing = |old: &str| {
        let plan = plan(&["first", "last"], &["name"], vec![("name", rule(|rule| rule.old = Some(old.into())))]).unwrap();
        plan.missing.iter().map(|field| field.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(missing("last"), ["first"]);
    assert_eq!(missing("first || last"), ["first", "last"], "its value does not show that both arrived");
}

#[test]
fn a_rule_for_a_column_that_is_not_there_is_refused_by_name() {
    let error = plan(&["x"], &["a", "b"], vec![("x", rule(|rule| rule.trim = true))]).unwrap_err();
    assert_eq!(error, RuleError::UnknownColumn { column: "x".into(), known: "a, b".into() });
    let tolerant = plan(&["a"], &["a"], vec![("a", rule(|rule| rule.ulps = Some(1)))]).unwrap();
    assert!(tolerant.compared[0].plain && tolerant.compared[0].tolerance().is_some());
}

fn absolute(bound: f64) -> Tolerance {
    Tolerance::of(&rule(|rule| rule.absolute = Some(bound))).unwrap()
}

fn relative(bound: f64) -> Tolerance {
    Tolerance::of(&rule(|rule| rule.relative = Some(bound))).unwrap()
}

fn ulps(bound: u64) -> Tolerance {
    Tolerance::of(&rule(|rule| rule.ulps = Some(bound))).unwrap()
}

const TINY: f64 = f64::from_bits(1);
const NEXT: f64 = 1.0 + f64::EPSILON;

#[rstest]
#[case::at_the_bound(absolute(0.5), 1.0, 1.5, true)]
#[case::beyond_the_bound(absolute(0.5), 1.0, 1.5000000000000002, false)]
#[case::zeros(absolute(TINY), 0.0, -0.0, true)]
#[case::zeros_by_ulps(ulps(1), 0.0, -0.0, true)]
#[case::across_zero(ulps(2), -TINY, TINY, true)]
#[case::across_zero_too_far(ulps(1), -TINY, TINY, false)]
#[case::one_ulp(ulps(1), 1.0, NEXT, true)]
#[case::two_ulps(ulps(1), 1.0, NEXT + f64::EPSILON, false)]
#[case::subnormal_to_normal(ulps(1), f64::MIN_POSITIVE, f64::MIN_POSITIVE - TINY, true)]
#[case::largest_ulp_is_not_infinity(ulps(u64::MAX), f64::MAX, f64::INFINITY, false)]
#[case::whole_range(ulps(u64::MAX), f64::MIN, f64::MAX, true)]
#[case::nearly_whole_range(ulps(1 << 62), f64::MIN, f64::MAX, false)]
#[case::nan(ulps(1), f64::NAN, -f64::NAN, true)]
#[case::nan_and_number(absolute(f64::MAX), f64::NAN, 0.0, false)]
#[case::infinities(relative(3.0), f64::INFINITY, f64::INFINITY, true)]
#[case::opposite_infinities(relative(3.0), f64::INFINITY, f64::NEG_INFINITY, false)]
#[case::infinity_and_number(relative(3.0), f64::INFINITY, 1.0, false)]
#[case::to_the_larger(relative(0.5), 1.0, 2.0, true)]
#[case::to_the_larger_beyond(relative(0.5), 0.99, 2.0, false)]
#[case::overflow_of_the_difference(relative(1.5), f64::MAX, f64::MIN, false)]
#[case::overflow_within(relative(2.0), f64::MAX, f64::MIN, true)]
#[case::absolute_overflow(absolute(f64::MAX), f64::MAX, f64::MIN, false)]
#[case::relative_to_zero(relative(0.5), 0.0, TINY, false)]
fn a_tolerance_holds_at_the_edges(#[case] tolerance: Tolerance, #[case] a: f64, #[case] b: f64, #[case] equal: bool) {
    assert_eq!((tolerance.equal(a, b), tolerance.equal(b, a)), (equal, equal));
}

#[test]
fn any_of_several_bounds_is_enough() {
    let tolerance = Tolerance::of(&rule(|rule| (rule.absolute, rule.relative) = (Some(0.1), Some(0.01)))).unwrap();
    assert!(tolerance.equal(0.0, 0.1) && tolerance.equal(1000.0, 1009.0) && !tolerance.equal(1.0, 1.2));
    assert_eq!(Tolerance::of(&ColumnRule::default()), None);
}

fn any_tolerance() -> impl Strategy<Value = (ColumnRule, ColumnRule)> {
    let bound = prop_oneof![1e-12..1e3_f64, Just(f64::MAX), Just(TINY)];
    (prop::option::of(bound.clone()), prop::option::of(bound), prop::option::of(1..u64::MAX / 2), 1.0..10_f64).prop_map(
        |(absolute, relative, ulps, by)| {
            let ulps = if absolute.is_none() && relative.is_none() { ulps.or(Some(1)) } else { ulps };
            let narrow = ColumnRule { absolute, relative, ulps, ..ColumnRule::default() };
            let wider = |bound: f64| (bound * by).min(f64::MAX);
            let wide = ColumnRule {
                absolute: absolute.map(wider),
                relative: relative.map(wider),
                ulps: ulps.map(|ulps| ulps.saturating_mul(2)),
                ..ColumnRule::default()
            };
            (narrow, wide)
        },
    )
}

/// Any two doubles, near each other more often than chance has it.
fn pair() -> impl Strategy<Value = (f64, f64)> {
    let free = any::<u64>().prop_map(f64::from_bits);
    let near = (any::<u64>(), 0..8_u64).prop_map(|(bits, by)| (f64::from_bits(bits), f64::from_bits(bits.wrapping_add(by))));
    prop_oneof![near, (free.clone(), free), (-1e3..1e3_f64, -1e3..1e3_f64)]
}

proptest! {
    #[test]
    fn a_tolerance_is_symmetric_reflexive_and_grows_with_its_bounds((narrow, wide) in any_tolerance(), (a, b) in pair()) {
        let (narrow, wide) = (Tolerance::of(&narrow).unwrap(), Tolerance::of(&wide).unwrap());
        prop_assert!(narrow.equal(a, a) && narrow.equal(b, b));
        prop_assert_eq!(narrow.equal(a, b), narrow.equal(b, a));
        prop_assert!(!narrow.equal(a, b) || wide.equal(a, b));
        prop_assert_eq!(narrow.equal(a, b), narrow.equal(-a, -b));
    }
}

//! What `validation` cannot say: rules for columns and entries of the ledger that cannot work or say nothing.

use std::collections::BTreeSet;

use super::check::{Checked, Finding, contradiction, unique, value};
use super::error::shown;
use super::guard::{Step, path};
use super::model::{ColumnRule, Validation};
use crate::equivalence::{AcceptRule, DifferenceKind};

const NEEDS_KEY: &str = "name the columns that identify a row in `validation.key`";

/// Checks `validation`, but for its quantities.
pub(super) fn validation(validation: &Validation) -> Checked {
    let key: Vec<&str> = validation.key.iter().map(String::as_str).collect();
    unique("validation.key", &key)?;
    if validation.range.as_ref().is_some_and(|range| range.trim().is_empty()) {
        return Err(value("validation.range", "", "a SQL condition such as date >= DATE '2001-01-01'"));
    }
    for (column, rule) in &validation.columns {
        column_rule(validation, column, rule)?;
    }
    let mut ids = BTreeSet::new();
    for (index, rule) in validation.accept.iter().enumerate() {
        accept_rule(validation, index, rule)?;
        if !ids.insert(&rule.id) {
            let what = format!("two entries of the ledger are named `{}`", shown(&rule.id));
            return Err(contradiction(&format!("validation.accept.{index}.id"), what, "give every entry a name of its own"));
        }
    }
    Ok(())
}

/// A finding at `setting` of the rule for `column`, or at the rule; a column's name may have dots.
fn at_rule(column: &str, setting: Option<&str>, finding: Finding) -> Finding {
    let mut path = path("validation.columns");
    path.push(Step::Key(column.to_owned()));
    path.extend(setting.map(|setting| Step::Key(setting.to_owned())));
    Finding { path, ..finding }
}

fn column_rule(validation: &Validation, column: &str, rule: &ColumnRule) -> Checked {
    let name = format!("validation.columns.{}", shown(column));
    let at = |setting: Option<&str>, finding| Err(at_rule(column, setting, finding));
    if column.trim().is_empty() {
        let what = "validation.columns has a rule for a column without a name";
        return at(None, contradiction("validation.columns", what, "name a column of the new table"));
    }
    if *rule == ColumnRule::default() {
        let what = format!("{name} says nothing: the column is compared as it would be without it");
        return at(None, contradiction("validation.columns", what, "remove it, or say how the column is compared"));
    }
    for (setting, text) in [("old", &rule.old), ("new", &rule.new)] {
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            let expected = "a column's name or a SQL expression";
            return at(Some(setting), value(&format!("{name}.{setting}"), "", expected));
        }
    }
    for (setting, bound) in [("absolute", rule.absolute), ("relative", rule.relative)] {
        if let Some(bound) = bound.filter(|bound| !bound.is_finite() || *bound <= 0.0) {
            let finding = value(&format!("{name}.{setting}"), &bound.to_string(), "a finite number greater than 0");
            return at(Some(setting), finding);
        }
    }
    if rule.ulps == Some(0) {
        return at(Some("ulps"), value(&format!("{name}.ulps"), "0", "1 or more"));
    }
    if let Some((what, hint)) = clash(validation, column, rule) {
        return at(None, contradiction("validation.columns", format!("{name} {what}"), hint));
    }
    Ok(())
}

/// Settings of one rule that exclude each other or need another setting.
fn clash(validation: &Validation, column: &str, rule: &ColumnRule) -> Option<(&'static str, &'static str)> {
    let text = rule.trim || rule.ignore_case;
    if rule.unit.is_some() && text {
        return Some(("cuts times to a unit and changes texts", "keep `unit`, or `trim` and `ignore_case`"));
    }
    if !rule.is_tolerant() {
        return None;
    }
    if text || rule.unit.is_some() {
        let what = "has a tolerance for numbers and a rule for texts or times";
        return Some((what, "keep one of the two"));
    }
    if validation.key.is_empty() {
        return Some(("has a tolerance, and without a key no row tells which other one it is to be near", NEEDS_KEY));
    }
    if validation.key.iter().any(|key| key == column) {
        let what = "has a tolerance, and the column is in `validation.key`, whose values pair rows by being equal";
        return Some((what, "remove the column from the key, or the tolerance"));
    }
    None
}

fn accept_rule(validation: &Validation, index: usize, rule: &AcceptRule) -> Checked {
    let key = |setting: &str| format!("validation.accept.{index}.{setting}");
    let texts = [
        ("id", &rule.id, "a short name, unique in the ledger"),
        ("owner", &rule.owner, "who answers for the difference"),
        ("reason", &rule.reason, "why the difference is right"),
    ];
    for (setting, text, expected) in texts {
        if text.trim().is_empty() {
            return Err(value(&key(setting), "", expected));
        }
    }
    if rule.max_rows == 0 {
        return Err(value(&key("max_rows"), "0", "1 or more: how many rows the entry absorbs at most"));
    }
    if rule.filter.as_ref().is_some_and(|filter| filter.trim().is_empty()) {
        return Err(value(&key("where"), "", "a SQL condition such as carrier = 'XX'"));
    }
    let columns: Vec<&str> = rule.columns.iter().map(String::as_str).collect();
    unique(&key("columns"), &columns)?;
    if !columns.is_empty() && !matches!(rule.kind, None | Some(DifferenceKind::Changed)) {
        let what = "an entry with `columns` accepts changed rows: missing and extra ones differ in all columns";
        return Err(contradiction(&key("kind"), what, "write `kind: changed`, or remove `columns`"));
    }
    if validation.key.is_empty() && (!columns.is_empty() || rule.kind == Some(DifferenceKind::Changed)) {
        let what =
            format!("the ledger's entry `{}` accepts changed rows, and without a key none can be told", shown(&rule.id));
        let setting = if columns.is_empty() { "kind" } else { "columns" };
        return Err(contradiction(&key(setting), what, NEEDS_KEY));
    }
    Ok(())
}

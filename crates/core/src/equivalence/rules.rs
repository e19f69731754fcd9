//! [`plan_columns`]: the spec's rules for single columns as SQL expressions for either side.
//!
//! Nothing here parses SQL. An expression of the spec is taken whole, in parentheses; the engine refuses it when it is none.

use std::collections::{BTreeMap, BTreeSet};

use super::schema_check::{ColumnCheck, ColumnPair};
use super::tolerance::Tolerance;
use crate::schema::{Field, TableSchema};
use crate::spec::ColumnRule;

/// A column of the new table and what it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedColumn {
    /// Its name in the new table; both expressions are to be named so.
    pub new: String,
    /// The old side's value, over the old rows after `transform.sql`.
    pub old_sql: String,
    /// The new side's value.
    pub new_sql: String,
    /// The old column, where the old side's value is that of one column, in normal form perhaps.
    pub old_column: Option<String>,
    /// Whether both values are those of the bare columns, so that nothing is to be evaluated.
    pub plain: bool,
    /// The rule, where there is one.
    pub rule: Option<ColumnRule>,
}

impl ComparedColumn {
    /// The old column whose values it shows to have arrived: the one that is compared, or the one of the same name from which
    /// the rule computes the value.
    fn accounts_for(&self) -> Option<&str> {
        let computed = self.rule.as_ref().and_then(|rule| rule.old.as_deref()).filter(|sql| mentions(sql, &self.new));
        self.old_column.as_deref().or(computed.map(|_| self.new.as_str()))
    }

    /// How far two values may lie apart, where the rule allows it.
    pub fn tolerance(&self) -> Option<Tolerance> {
        self.rule.as_ref().and_then(Tolerance::of)
    }

    /// Both names, where both values are those of bare columns.
    pub fn pair(&self) -> Option<ColumnPair> {
        let old = self.old_column.clone().filter(|_| self.plain)?;
        Some(ColumnPair { old, new: self.new.clone() })
    }
}

/// Every column of either table under the rules.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnPlan {
    /// The new table's columns that have an old value, in its order.
    pub compared: Vec<ComparedColumn>,
    /// Old columns that no new column is compared with. A column that only expressions for columns of other names mention is
    /// among them: that its values arrived is not shown by the expression's value. `transform.sql` may leave it out.
    pub missing: Vec<Field>,
    /// New columns without an old value.
    pub added: Vec<Field>,
}

impl ColumnPlan {
    /// The columns of one side only, as the schema check lists them after the compared ones.
    pub fn one_sided(&self) -> Vec<ColumnCheck> {
        let missing =
            |field: &Field| ColumnCheck::Missing { old: field.name.clone(), old_type: field.data_type.to_string() };
        let added = |field: &Field| ColumnCheck::Added { new: field.name.clone(), new_type: field.data_type.to_string() };
        self.missing.iter().map(missing).chain(self.added.iter().map(added)).collect()
    }
}

/// A rule that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The new table has no such column.
    #[error(
        "validation.columns has a rule for `{column}`, and the new table has no such column (it has {known}); nothing was compared; \
         name a column of the new table"
    )]
    UnknownColumn {
        /// The rule's column.
        column: String,
        /// The new table's columns.
        known: String,
    },
}

/// Applies `rules`, which are told by the new table's column names. A column without a rule, or whose rule has no `old`,
/// is compared with the old column of the same name. A rule's `old` that is exactly an old column's name is that column.
///
/// # Errors
/// [`RuleError::UnknownColumn`].
pub fn plan_columns(
    old: &TableSchema,
    new: &TableSchema,
    rules: &BTreeMap<String, ColumnRule>,
) -> Result<ColumnPlan, RuleError> {
    if let Some(column) = rules.keys().find(|column| new.field(column).is_none()) {
        let known = new.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(RuleError::UnknownColumn { column: column.clone(), known });
    }
    let mut plan = ColumnPlan::default();
    for field in &new.fields {
        match compared(old, &field.name, rules.get(&field.name)) {
            Some(column) => plan.compared.push(column),
            None => plan.added.push(field.clone()),
        }
    }
    let used: BTreeSet<&str> = plan.compared.iter().filter_map(ComparedColumn::accounts_for).collect();
    plan.missing = old.fields.iter().filter(|field| !used.contains(field.name.as_str())).cloned().collect();
    Ok(plan)
}

/// `None` where the old table has nothing to compare with.
fn compared(old: &TableSchema, new: &str, rule: Option<&ColumnRule>) -> Option<ComparedColumn> {
    let old_text = rule.and_then(|rule| rule.old.as_deref()).unwrap_or(new);
    let old_column = column_named(old, old_text);
    if old_column.is_none() && rule.is_none_or(|rule| rule.old.is_none()) {
        return None;
    }
    let old_value = old_column.map_or_else(|| format!("({old_text})"), quoted);
    let new_text = rule.and_then(|rule| rule.new.as_deref()).filter(|text| *text != new && *text != quoted(new));
    let new_value = new_text.map_or_else(|| quoted(new), |text| format!("({text})"));
    let default = ColumnRule::default();
    let normal = rule.unwrap_or(&default);
    let old_sql = normal_form(&old_value, normal);
    let new_sql = normal_form(&new_value, normal);
    Some(ComparedColumn {
        new: new.to_owned(),
        plain: old_column.is_some_and(|column| old_sql == quoted(column)) && new_sql == quoted(new),
        old_column: old_column.map(str::to_owned),
        old_sql,
        new_sql,
        rule: rule.cloned(),
    })
}

/// The old column that `text` is the name of, bare or quoted.
fn column_named<'a>(old: &'a TableSchema, text: &str) -> Option<&'a str> {
    let names = || old.fields.iter().map(|field| field.name.as_str());
    names().find(|name| *name == text).or_else(|| names().find(|name| quoted(name) == text))
}

/// Whether `name` stands in `sql` as a word of its own.
fn mentions(sql: &str, name: &str) -> bool {
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    sql.match_indices(name)
        .any(|(at, found)| !in_word(sql[..at].chars().next_back()) && !in_word(sql[at + found.len()..].chars().next()))
}

/// `value` with what the rule ignores taken away, the same on both sides.
fn normal_form(value: &str, rule: &ColumnRule) -> String {
    let mut sql = value.to_owned();
    if let Some(unit) = rule.unit {
        sql = format!("date_trunc('{unit}', {sql})");
    }
    if rule.trim {
        sql = format!("btrim({sql})");
    }
    if rule.ignore_case {
        sql = format!("lower({sql})");
    }
    sql
}

/// An identifier of SQL, whatever is in the name.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

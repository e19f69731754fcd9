//! The columns of both tables.

use super::{line, rest};
use crate::equivalence::{ColumnCheck, Nullability, TypeMatch};
use crate::report::ValidationReport;
use crate::report::text::{code, plural, prose};

const SCHEMA_ROWS_MAX: usize = 120;

/// Every column with its types.
pub(in crate::report) fn schema(report: &ValidationReport) -> String {
    let columns = &report.schema.columns;
    let mut out = format!("<details><summary>Schema: {}</summary>\n\n", plural(columns.len() as u64, "column"));
    out.push_str("| old | type | new | type | |\n|---|---|---|---|---|\n");
    for column in columns.iter().take(SCHEMA_ROWS_MAX) {
        line(&mut out, format_args!("{}", schema_row(column)));
    }
    rest(&mut out, columns.len(), SCHEMA_ROWS_MAX, "column");
    out.push_str("\n</details>\n");
    out
}

fn schema_row(column: &ColumnCheck) -> String {
    match column {
        ColumnCheck::Compared { pair, old_type, new_type, types, nullability } => {
            let mut notes = Vec::new();
            if pair.old != pair.new {
                notes.push("renamed");
            }
            match types {
                TypeMatch::Identical => notes.push("identical"),
                TypeMatch::Widened => notes.push("widened"),
                TypeMatch::Narrowed => notes.push("narrowed, values compared exactly"),
            }
            match nullability {
                Nullability::Same => {}
                Nullability::Relaxed => notes.push("now nullable"),
                Nullability::Tightened => notes.push("no longer nullable"),
            }
            row(&pair.old, old_type, &pair.new, new_type, &notes.join(", "))
        }
        ColumnCheck::Refused { pair, old_type, new_type, reason } => {
            row(&pair.old, old_type, &pair.new, new_type, &format!("**not compared**: {}", prose(reason)))
        }
        ColumnCheck::Missing { old, old_type } => row(old, old_type, "—", "—", "**missing in the new table**"),
        ColumnCheck::Added { new, new_type } => row("—", "—", new, new_type, "**not compared**: only in the new table"),
    }
}

fn row(old: &str, old_type: &str, new: &str, new_type: &str, note: &str) -> String {
    format!("| {} | {} | {} | {} | {note} |", code(old), code(old_type), code(new), code(new_type))
}

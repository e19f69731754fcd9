//! [`template()`]: the commented spec that `lakeshift init` writes for an existing table.

use std::fmt::Write;

use super::text;
use crate::partition::{PartitionSpec, Transform};
use crate::schema::TableSchema;
use crate::table::Format;

/// What a new spec is written from.
#[derive(Debug, Clone, Copy)]
pub struct TemplateInput<'a> {
    /// The migration's name, and the alias.
    pub name: &'a str,
    /// Folder of journal, plans and reports: a path relative to the new file, or a URL.
    pub control: &'a str,
    /// The source's format.
    pub source_format: Format,
    /// The source's location.
    pub source_location: &'a str,
    /// The source's columns.
    pub schema: &'a TableSchema,
    /// The source's partitioning.
    pub partition: &'a PartitionSpec,
    /// The format to move to; hive is written as iceberg.
    pub target_format: Format,
    /// The target's location.
    pub target_location: &'a str,
}

/// A spec that [`Spec::from_yaml`](super::Spec::from_yaml) takes as it stands, provided that name and locations are
/// sound. Optional settings stand in it as comments with their defaults.
pub fn template(input: &TemplateInput<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_template(&mut out, input);
    out
}

fn write_template(out: &mut String, input: &TemplateInput<'_>) -> std::fmt::Result {
    let name = quoted(input.name);
    writeln!(out, "# A migration of one table. `lakeshift schema` prints the JSON Schema of this file.")?;
    writeln!(out, "apiVersion: lakeshift/v1\nname: {name}")?;
    writeln!(out, "# Journal, plans, reports and aliases live here. Paths start from this file's folder.")?;
    writeln!(out, "control: {}\n", quoted(input.control))?;
    write_source(out, input)?;
    write_target(out, input)?;
    out.push_str(OPTIONAL_BEFORE_CUTOVER);
    writeln!(out, "# The name that readers resolve with `lakeshift resolve`.\ncutover:\n  alias: {name}")?;
    out.push_str(OPTIONAL_IN_CUTOVER);
    out.push_str(OPTIONAL_AFTER_CUTOVER);
    Ok(())
}

fn write_source(out: &mut String, input: &TemplateInput<'_>) -> std::fmt::Result {
    writeln!(out, "source:\n  format: {}\n  location: {}", input.source_format, quoted(input.source_location))?;
    let printed = |field: &&crate::partition::PartitionField| {
        let data_type = input.schema.field(&field.column)?.data_type.to_string();
        text::parse_type(&data_type).map(|_| (quoted(&field.column), data_type))
    };
    let declared: Option<Vec<_>> = input.partition.fields.iter().map(|field| printed(&field)).collect();
    if let (Format::Hive, Some(declared)) = (input.source_format, declared.filter(|declared| !declared.is_empty())) {
        writeln!(
            out,
            "  # Types of the values in the directories' names. Without them they are proven, never guessed.\n  partitions:"
        )?;
        for (column, data_type) in declared {
            writeln!(out, "    - {{name: {column}, type: \"{data_type}\"}}")?;
        }
    }
    if input.source_format == Format::Hive {
        writeln!(
            out,
            "  # Columns that some files have under another name:\n  # columns: {{name_in_files: name_of_column}}"
        )?;
    }
    writeln!(out, "  # The columns today:")?;
    for field in &input.schema.fields {
        let null = if field.nullable { "" } else { " not null" };
        writeln!(out, "  #   {}: {}{null}", quoted(&field.name), super::error::shown(&field.data_type.to_string()))?;
    }
    writeln!(out)
}

fn write_target(out: &mut String, input: &TemplateInput<'_>) -> std::fmt::Result {
    let format = if input.target_format == Format::Delta { Format::Delta } else { Format::Iceberg };
    writeln!(out, "target:\n  format: {format}\n  location: {}", quoted(input.target_location))?;
    match format {
        Format::Delta => writeln!(out, "  # Columns, outermost first; for others add a column by transform.sql.")?,
        _ => writeln!(
            out,
            "  # Outermost first: column, year(column), month(column), day(column), hour(column),\n  # bucket(16, column), truncate(4, column)."
        )?,
    }
    let carried =
        |field: &&crate::partition::PartitionField| format != Format::Delta || field.transform == Transform::Identity;
    let fields: Vec<_> = input.partition.fields.iter().filter(carried).collect();
    if fields.is_empty() {
        writeln!(out, "  partitioning: []")?;
    } else {
        writeln!(out, "  partitioning:")?;
        for field in fields {
            writeln!(out, "    - {}", quoted(&text::print_field(field)))?;
        }
    }
    writeln!(out, "  # sort: [column, column desc]   # the order of the rows in each written file")?;
    if format == Format::Iceberg {
        writeln!(out, "  # format_version: 3")?;
        writeln!(out, "  # snapshots: {{keep: 20, max_age: 7d}}   # older ones leave the metadata; all stay without it")?;
    }
    writeln!(out, "  # properties: {{name: value}}")?;
    writeln!(out, "  # parquet: {{compression: zstd(3), bloom_filters: [], page_index: true, row_group_size: 128MiB}}\n")
}

const OPTIONAL_BEFORE_CUTOVER: &str = "\
# New logic, row by row, in DataFusion SQL over the table `source`:
# transform:
#   sql: SELECT * FROM source

# Which rows migrate; all without it:
# scope:
#   where: a_column IS NOT NULL
#   others: leave        # or carry: they come over as they are, and `transform` is for the rows inside alone

# How changes reach the target while both tables live:
# dual_write:
#   interval: 30s
#   max_lag_files: 0
#   max_lag: 15m

# How existing rows reach the target:
# backfill:
#   order: newest_first        # or oldest_first
#   concurrency: 2
#   memory: 512MiB
#   bytes_per_second: 100MiB   # unlimited without it
#   target_file_size: 256MiB
#   unit_size: 1GiB
#   strategy: auto             # or adopt (no byte moves), splice (copied undecoded), rewrite

# How both tables are compared:
# validation:
#   key: [a_column]            # tells changed rows from missing and extra ones
#   max_differences_shown: 20
#   mask: true                 # reports show no values of rows
#   freshness: 6h              # age up to which a cutover takes a PASS
#   range: a_column > 0        # only these rows; its certificate opens no cutover
#   float_zeros: distinct      # or equal: -0.0 is 0.0
#   map_order: counts          # or ignored
#   columns:                   # by their names in the new table
#     amount: {absolute: 0.01} # or relative, ulps: how far numbers may lie apart
#     carrier: {old: upper(carrier_code), trim: true, ignore_case: true}
#     updated_at: {unit: millisecond}
#   accept:                    # the ledger: differences that are known and right
#     - id: late-corrections
#       kind: changed          # or missing, extra; any without it
#       columns: [amount]      # no other column may differ
#       where: a_column < 100
#       owner: data-platform
#       reason: Rounded by the new pipeline on purpose.
#       expires: 2030-12-31
#       max_rows: 100

";

const OPTIONAL_IN_CUTOVER: &str = "\
#   # Groups of readers that move first, each watched before the next one moves:
#   stages:
#     - {name: canary, alias: table_canary, bake: 30m, health: [./readers-are-well.sh]}
#   bake: 1h                   # for the readers of `alias` themselves
#   health: [./readers-are-well.sh]
";

const OPTIONAL_AFTER_CUTOVER: &str = "
# What becomes of the source; nothing is deleted by default:
# sunset:
#   grace: 14d
#   disposition: keep          # or quarantine, purge
#   quarantine: 7d             # with purge: the wait before files are deleted

# Who is asked before transitions (abort) or told of them (warn); docs/hooks.md:
# hooks:
#   - {on: [cutover, rollback], command: [./may-we.sh], on_failure: abort}
#   - {on: all, webhook: http://127.0.0.1:8080/lakeshift, timeout: 10s}

# Options of the object store. Credentials come from the environment and never stand in this file:
# storage:
#   region: eu-central-1
#   access_key_id: ${AWS_ACCESS_KEY_ID}
#   secret_access_key: ${AWS_SECRET_ACCESS_KEY}
";

/// A YAML scalar on one line, in double quotes unless it reads as plain text beyond doubt.
fn quoted(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '.'))
        && text.chars().all(safe)
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ if c.is_alphanumeric() => quoted.push(c),
            _ => {
                // The longest of YAML's escapes serves for all characters.
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

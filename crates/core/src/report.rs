//! [`ValidationReport`]: what a reviewer reads, as data (JSON), as Markdown fit for a pull-request comment, as JUnit XML
//! for a CI server and as one HTML page. `docs/reports.md` has the JSON's members.
//!
//! A report is complete in itself: times come in as data, nothing is looked up, and the same report gives the same text.

mod checks;
mod facts;
mod heat_map;
mod html;
mod junit;
mod markdown;
mod sections;
pub(crate) mod text;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::equivalence::{
    CellCoverage, CellDifference, Certificate, Comparison, Encoding, Findings, PinnedSide, ProvenFiles, Reason, Refinement,
    RowDiff, SchemaCheck, SideCoverage, ValidationKey, Verdict, judge,
};
use crate::spec::ColumnRule;
use crate::table::MigrationId;

pub use checks::{Check, CheckResult};
pub use markdown::MARKDOWN_BYTES_MAX;

/// One validation, told to people and programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationReport {
    /// Version of this object's format.
    pub schema_version: u32,
    /// The verdict and its reasons.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The process's exit code.
    pub exit_code: u8,
    /// What was validated, and how it was run.
    pub run: RunFacts,
    /// The old side.
    pub old: SideFacts,
    /// The new side.
    pub new: SideFacts,
    /// How the rows became sums.
    pub method: Method,
    /// What was checked, in order, and what each check proves.
    pub checks: Vec<Check>,
    /// Every column of either side.
    pub schema: SchemaCheck,
    /// The rows in numbers; absent when the comparison did not come to its end.
    pub comparison: Option<Comparison>,
    /// Every cell with the origin of its rows.
    pub cells: Vec<CellCoverage>,
    /// Files that both tables register, proven without being read, by partition.
    pub proven: Vec<ProvenFiles>,
    /// Rules for single columns: expressions, normal forms, tolerances.
    pub rules: BTreeMap<String, ColumnRule>,
    /// The differing rows; absent when there are none or they were not looked for.
    pub rows: Option<RowDiff>,
    /// Digest of the certificate.
    pub certificate_digest: Option<String>,
}

/// What was validated, when, by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFacts {
    /// The migration.
    pub migration: MigrationId,
    /// The spec's `scope.where`; all rows when absent.
    pub scope: Option<String>,
    /// The spec's `validation.range`; all rows when absent.
    pub range: Option<String>,
    /// SHA-256 (hex) of the spec.
    pub spec_digest: String,
    /// The program, with its version.
    pub tool_version: String,
    /// When the validation began.
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Commands that repeat it.
    pub reproduce: Vec<String>,
}

/// One side as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideFacts {
    /// Format, location and version.
    #[serde(flatten)]
    pub pinned: PinnedSide,
    /// Live data files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// How their rows were told.
    pub coverage: SideCoverage,
}

/// How the rows became sums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// How values became bytes.
    pub encoding: Encoding,
    /// The key of the row hashes.
    pub key: ValidationKey,
    /// How rows were divided into cells.
    pub refinement: Refinement,
}

/// What a report is made of.
#[derive(Debug, Clone)]
pub struct ReportParts {
    /// What was validated.
    pub run: RunFacts,
    /// The old side.
    pub old: SideFacts,
    /// The new side.
    pub new: SideFacts,
    /// How the rows became sums.
    pub method: Method,
    /// Every column.
    pub schema: SchemaCheck,
    /// The rows in numbers.
    pub comparison: Option<Comparison>,
    /// Every cell with the origin of its rows.
    pub cells: Vec<CellCoverage>,
    /// Files that both tables register, proven without being read, by partition.
    pub proven: Vec<ProvenFiles>,
    /// Rules for single columns.
    pub rules: BTreeMap<String, ColumnRule>,
    /// The differing rows.
    pub rows: Option<RowDiff>,
    /// What else stands against a verdict.
    pub obstacles: Vec<Reason>,
}

impl ValidationReport {
    /// The version of the JSON that this build writes.
    pub const SCHEMA_VERSION: u32 = 2;

    /// Judges the findings and lists the checks.
    pub fn new(parts: ReportParts) -> Self {
        let findings = Findings {
            schema: &parts.schema,
            comparison: parts.comparison.as_ref(),
            proven: &parts.proven,
            rows: parts.rows.as_ref(),
            obstacles: &parts.obstacles,
        };
        let verdict = judge(&findings);
        let checks = checks::ladder(&findings, &parts.rules);
        Self {
            schema_version: Self::SCHEMA_VERSION,
            exit_code: verdict.exit_code(),
            verdict,
            run: parts.run,
            old: parts.old,
            new: parts.new,
            method: parts.method,
            checks,
            schema: parts.schema,
            comparison: parts.comparison,
            cells: parts.cells,
            proven: parts.proven,
            rules: parts.rules,
            rows: parts.rows,
            certificate_digest: None,
        }
    }

    /// Names the certificate in the report.
    #[must_use]
    pub fn with_certificate(mut self, certificate: &Certificate) -> Self {
        self.certificate_digest = Some(certificate.digest.clone());
        self
    }

    /// The report as indented JSON.
    ///
    /// # Errors
    /// When a partition value is no finite number.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The report as GitHub-flavoured Markdown of at most [`MARKDOWN_BYTES_MAX`] bytes, however large the tables are.
    pub fn to_markdown(&self) -> String {
        markdown::render(self)
    }

    /// The report as JUnit XML: a test case for each check and for each group of cells, at most some hundreds.
    pub fn to_junit(&self) -> String {
        junit::render(self)
    }

    /// The report as one HTML page that needs nothing else, of a few megabytes at most.
    ///
    /// # Errors
    /// None that can occur: the page's data can always be written as JSON.
    pub fn to_html(&self) -> Result<String, serde_json::Error> {
        html::render(self)
    }

    /// Whether rows differ, and every one is within its tolerance or accepted.
    fn is_excused(&self) -> bool {
        checks::excused(self.rows.as_ref())
    }

    /// The differing cells with the most rows in doubt first, at most `count`.
    pub fn worst_cells(&self, count: usize) -> Vec<&CellDifference> {
        let differences = self.comparison.iter().flat_map(|comparison| &comparison.differences);
        let mut cells: Vec<&CellDifference> = differences.collect();
        let doubt = |cell: &CellDifference| (cell.old.rows.abs_diff(cell.new.rows), cell.old.rows.max(cell.new.rows));
        cells.sort_by(|a, b| doubt(b).cmp(&doubt(a)).then_with(|| a.cell.cmp(&b.cell)));
        cells.truncate(count);
        cells
    }
}

//! [`Certificate`]: a validation's outcome with what it rests on, bound together by a digest and, with a key, a signature.
//!
//! Its canonical form is JSON without white space, members in the order in which they are declared here. [`Certificate::seal`]
//! judges and seals, [`Certificate::read`] reads a file, [`Certificate::verify`] checks without either table.

mod cells;
mod verify;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use cells::CertifiedCell;
pub use verify::{CertificateFault, Verification};

use super::accept::AcceptedUse;
use super::cell::{CellKey, CellSum};
use super::coverage::{ProvenFiles, SideCoverage};
use super::fingerprint::{Fingerprint, NotComparable, compare};
use super::key::{Encoding, ValidationKey};
use super::rows::{DifferenceCounts, RowDiff};
use super::schema_check::SchemaCheck;
use super::signature::{CertificateSignature, SigningKey, hex};
use super::verdict::{Findings, Reason, Verdict, judge};
use crate::partition::PartitionField;
use crate::table::{Format, MigrationId, TableVersion};

/// One side, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedSide {
    /// The table's format.
    pub format: Format,
    /// Its location.
    pub location: String,
    /// The version that was read.
    pub version: TableVersion,
    /// The [`metadata_digest`] of that version's live files.
    pub metadata_digest: String,
}

/// A live file of a pinned version, as far as it tells which rows the version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveFile<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its size.
    pub size_bytes: u64,
    /// What the store knows its content by (an ETag); empty where nothing does.
    pub identity: &'a str,
    /// The deletes that apply to it, as text; empty for none.
    pub deletes: &'a str,
    /// Its partition values, as text.
    pub partition: &'a str,
}

/// SHA-256 (hex) over a version's live files, in whichever order they come.
pub fn metadata_digest<'a>(files: impl IntoIterator<Item = LiveFile<'a>>) -> String {
    let mut files: Vec<LiveFile<'a>> = files.into_iter().collect();
    files.sort_unstable();
    let mut digest = Sha256::new();
    for file in files {
        for text in [file.path, file.identity, file.deletes, file.partition] {
            // With its length before it no text can be taken for a part of its neighbour.
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        digest.update(file.size_bytes.to_le_bytes());
    }
    hex(&digest.finalize())
}

/// Where the rows' sums came from, on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// The old side.
    pub source: SideCoverage,
    /// The new side.
    pub target: SideCoverage,
}

/// A finished validation. One that was interrupted has no certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Version of this object's format.
    pub format_version: u32,
    /// The migration.
    pub migration: MigrationId,
    /// The old side.
    pub source: PinnedSide,
    /// The new side.
    pub target: PinnedSide,
    /// SHA-256 (hex) of the spec that was validated; its rules for columns are among what it covers.
    pub spec_digest: String,
    /// The condition of `validation.range`; absent when all rows in scope were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// How values became bytes.
    pub encoding: Encoding,
    /// The key of the row hashes.
    pub key: ValidationKey,
    /// Every column of either table, and how it was compared.
    pub schema: SchemaCheck,
    /// The compared columns in the order in which they were encoded, named as in the new table.
    pub columns: Vec<String>,
    /// The refinement's fields that divide the cells.
    pub fields: Vec<PartitionField>,
    /// Fields of the refinement that were given up to bound the number of cells.
    pub given_up: Vec<PartitionField>,
    /// All rows that were read of the old side, by their sum.
    pub source_total: CellSum,
    /// All rows that were read of the new side, by their sum.
    pub target_total: CellSum,
    /// Every cell that has rows on either side, in order.
    pub cells: Vec<CertifiedCell>,
    /// Base-2 logarithm of the bound on the probability that tables that differ have these sums.
    pub collision_bound_log2: i32,
    /// What was read, taken from earlier readings and proven without reading.
    pub coverage: Coverage,
    /// The files that both tables register; their rows are in no sum.
    pub proven: Vec<ProvenFiles>,
    /// The differing rows in numbers; absent when no cell differs or the rows were not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<DifferenceCounts>,
    /// The ledger's entries and what they absorbed.
    pub waivers: Vec<AcceptedUse>,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The program that validated, with its version.
    pub tool_version: String,
    /// What it read and computed with, by name: `datafusion`, `arrow`, `parquet`.
    pub engine_versions: BTreeMap<String, String>,
    /// When, by the validator's clock.
    pub at: DateTime<Utc>,
    /// SHA-256 (hex) of the canonical form with this member empty and without `signature`.
    pub digest: String,
    /// Who vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<CertificateSignature>,
}

/// What a certificate is made of.
#[derive(Debug, Clone)]
pub struct CertificateParts<'a> {
    /// The migration.
    pub migration: MigrationId,
    /// The old side.
    pub source: PinnedSide,
    /// The new side.
    pub target: PinnedSide,
    /// SHA-256 (hex) of the spec.
    pub spec_digest: String,
    /// The condition of `validation.range`.
    pub range: Option<String>,
    /// Every column.
    pub schema: &'a SchemaCheck,
    /// The old side's fingerprint.
    pub old: &'a Fingerprint,
    /// The new side's fingerprint.
    pub new: &'a Fingerprint,
    /// Where the sums came from.
    pub coverage: Coverage,
    /// The files that both tables register.
    pub proven: &'a [ProvenFiles],
    /// The differing rows.
    pub rows: Option<&'a RowDiff>,
    /// What else stands against a verdict.
    pub obstacles: &'a [Reason],
    /// The program, with its version.
    pub tool_version: String,
    /// What it read and computed with, by name.
    pub engine_versions: BTreeMap<String, String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// A certificate that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The fingerprints are not of one validation.
    #[error("no certificate was made")]
    NotComparable {
        /// What differs.
        #[from]
        source: NotComparable,
    },
    /// A part cannot be written: a partition value that is no finite number.
    #[error("the certificate cannot be written as JSON; none was made")]
    Write {
        /// What the JSON library says.
        source: serde_json::Error,
    },
    /// Not a certificate.
    #[error("the file is no certificate of Lakeshift; nothing was checked")]
    Read {
        /// What the JSON library says.
        source: serde_json::Error,
    },
    /// Another format.
    #[error(
        "the certificate has format version {found}, and this program checks version {known}; nothing was checked; use the program that is named in its `tool_version`"
    )]
    FormatVersion {
        /// The file's version.
        found: u64,
        /// This program's.
        known: u32,
    },
    /// The file has something that a certificate has not, and that its digest would not cover.
    #[error(
        "the file is not in a certificate's form at {place}: its digest would not cover it; nothing more was checked; get the file anew"
    )]
    Form {
        /// Path of the first such member.
        place: String,
    },
}

impl Certificate {
    /// The version that this build writes.
    pub const FORMAT_VERSION: u32 = 2;

    /// Judges what was found, as [`judge`] does, and binds it to its inputs.
    ///
    /// # Errors
    /// [`CertificateError::NotComparable`], [`CertificateError::Write`].
    pub fn seal(parts: CertificateParts<'_>) -> Result<Self, CertificateError> {
        let comparison = compare(parts.old, parts.new)?;
        let verdict = judge(&Findings {
            schema: parts.schema,
            comparison: Some(&comparison),
            proven: parts.proven,
            rows: parts.rows,
            obstacles: parts.obstacles,
        });
        let shape = parts.old.shape();
        let mut certificate = Self {
            format_version: Self::FORMAT_VERSION,
            migration: parts.migration,
            source: parts.source,
            target: parts.target,
            spec_digest: parts.spec_digest,
            range: parts.range,
            encoding: shape.encoding,
            key: shape.key,
            schema: parts.schema.clone(),
            columns: shape.columns.clone(),
            cells: cells::both(parts.old, parts.new, comparison.fields.len()),
            source_total: comparison.old,
            target_total: comparison.new,
            collision_bound_log2: comparison.collision_bound_log2(),
            fields: comparison.fields,
            given_up: comparison.given_up,
            coverage: parts.coverage,
            proven: parts.proven.to_vec(),
            differences: parts.rows.map(RowDiff::counts),
            waivers: parts.rows.map(|rows| rows.accepted.clone()).unwrap_or_default(),
            verdict,
            tool_version: parts.tool_version,
            engine_versions: parts.engine_versions,
            at: parts.at,
            digest: String::new(),
            signature: None,
        };
        certificate.digest = certificate.computed_digest()?;
        Ok(certificate)
    }

    /// This certificate with a signature of its digest.
    #[must_use]
    pub fn signed(self, key: &SigningKey) -> Self {
        Self { signature: Some(key.sign(&self.digest)), ..self }
    }

    /// The canonical form.
    ///
    /// # Errors
    /// [`CertificateError::Write`].
    pub fn to_json(&self) -> Result<String, CertificateError> {
        serde_json::to_string(self).map_err(|source| CertificateError::Write { source })
    }

    /// Reads a certificate, in any layout of JSON, and refuses whatever its canonical form would not have.
    ///
    /// # Errors
    /// [`CertificateError::Read`], [`CertificateError::FormatVersion`], [`CertificateError::Form`].
    pub fn read(json: &[u8]) -> Result<Self, CertificateError> {
        let read = |source| CertificateError::Read { source };
        let file: serde_json::Value = serde_json::from_slice(json).map_err(read)?;
        match file.get("format_version").and_then(serde_json::Value::as_u64) {
            Some(found) if found != u64::from(Self::FORMAT_VERSION) => {
                return Err(CertificateError::FormatVersion { found, known: Self::FORMAT_VERSION });
            }
            _ => {}
        }
        let certificate: Self = serde_json::from_slice(json).map_err(read)?;
        let canonical = serde_json::to_value(&certificate).map_err(read)?;
        match first_difference(&file, &canonical, String::new()) {
            Some(place) => Err(CertificateError::Form { place }),
            None => Ok(certificate),
        }
    }

    /// The cells in which a second reading under the same key came to other sums.
    ///
    /// # Errors
    /// [`NotComparable::Shape`] when the fingerprints were not taken as the certificate says.
    pub fn replay(&self, old: &Fingerprint, new: &Fingerprint) -> Result<Vec<CellKey>, NotComparable> {
        let shape = old.shape();
        let refinement: Vec<&PartitionField> = self.fields.iter().chain(&self.given_up).collect();
        let parts = [
            ("the key", shape.key == self.key),
            ("the encoding", shape.encoding == self.encoding),
            ("the list of columns", shape.columns == self.columns),
            ("the refinement", shape.fields.iter().collect::<Vec<_>>() == refinement),
        ];
        if let Some((part, _)) = parts.into_iter().find(|(_, same)| !same) {
            return Err(NotComparable::Shape { part });
        }
        compare(old, new)?;
        Ok(cells::differing(&self.cells, &cells::both(old, new, self.fields.len())))
    }

    fn computed_digest(&self) -> Result<String, CertificateError> {
        let unsealed = Self { digest: String::new(), signature: None, ..self.clone() };
        Ok(hex(&Sha256::digest(unsealed.to_json()?)))
    }
}

/// The path of the first place at which two documents differ.
fn first_difference(a: &serde_json::Value, b: &serde_json::Value, at: String) -> Option<String> {
    use serde_json::Value as V;
    match (a, b) {
        (V::Object(a), V::Object(b)) => {
            let mut keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.find_map(|key| {
                first_difference(a.get(key).unwrap_or(&V::Null), b.get(key).unwrap_or(&V::Null), format!("{at}/{key}"))
            })
        }
        (V::Array(a), V::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(index, (a, b))| first_difference(a, b, format!("{at}/{index}")))
        }
        _ => (a != b).then_some(at),
    }
}

//! [`Certificate`]: a validation's outcome, bound to the versions that were read by a digest over all of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::fingerprint::Fingerprint;
use super::key::{Encoding, ValidationKey};
use super::verdict::Verdict;
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
}

/// A validation's outcome. Its canonical form is its JSON without white space, members in the order declared here.
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
    /// SHA-256 (hex) of the spec that was validated.
    pub spec_digest: String,
    /// How values became bytes.
    pub encoding: Encoding,
    /// The key of the row hashes.
    pub key: ValidationKey,
    /// The compared columns, named as in the new table.
    pub columns: Vec<String>,
    /// Rows of the old side.
    pub source_rows: u64,
    /// Rows of the new side.
    pub target_rows: u64,
    /// Digest of the old side's fingerprint, which has every cell's sum.
    pub source_cells_digest: String,
    /// Digest of the new side's fingerprint.
    pub target_cells_digest: String,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The program that validated, with its version.
    pub tool_version: String,
    /// When, by the validator's clock.
    pub at: DateTime<Utc>,
    /// SHA-256 (hex) of the canonical form with this member empty.
    pub digest: String,
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
    /// The old side's fingerprint.
    pub old: &'a Fingerprint,
    /// The new side's fingerprint.
    pub new: &'a Fingerprint,
    /// The verdict.
    pub verdict: Verdict,
    /// The program, with its version.
    pub tool_version: String,
    /// When.
    pub at: DateTime<Utc>,
}

impl Certificate {
    /// The version that this build writes.
    pub const FORMAT_VERSION: u32 = 1;

    /// Binds the outcome to its inputs.
    ///
    /// # Errors
    /// When a part cannot be written as JSON (a partition value that is no finite number).
    pub fn seal(parts: CertificateParts<'_>) -> Result<Self, serde_json::Error> {
        let mut certificate = Self {
            format_version: Self::FORMAT_VERSION,
            migration: parts.migration,
            source: parts.source,
            target: parts.target,
            spec_digest: parts.spec_digest,
            encoding: parts.old.shape().encoding,
            key: parts.old.shape().key,
            columns: parts.old.shape().columns.clone(),
            source_rows: parts.old.total().rows,
            target_rows: parts.new.total().rows,
            source_cells_digest: parts.old.digest()?,
            target_cells_digest: parts.new.digest()?,
            verdict: parts.verdict,
            tool_version: parts.tool_version,
            at: parts.at,
            digest: String::new(),
        };
        certificate.digest = certificate.computed_digest()?;
        Ok(certificate)
    }

    /// Whether nothing in it was changed since it was sealed.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn is_intact(&self) -> Result<bool, serde_json::Error> {
        Ok(self.digest == self.computed_digest()?)
    }

    fn computed_digest(&self) -> Result<String, serde_json::Error> {
        let unsealed = Self { digest: String::new(), ..self.clone() };
        Ok(Sha256::digest(serde_json::to_vec(&unsealed)?).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

//! Whether two tables hold the same rows: the pure half of the proof.
//!
//! The engine reads both tables once and returns a [`Fingerprint`] a side: for every cell of the [`Refinement`] of both
//! partitionings, the number of rows and the sum of a keyed 128-bit hash of each row. [`compare`] says where they differ,
//! [`SchemaCheck`] which columns could be compared at all, [`judge`] what it comes to, and a [`Certificate`] binds the
//! outcome to the versions that were read. `docs/equivalence.md` has the encoding and the argument for soundness.
//!
//! Nothing here reads rows, draws keys or looks at a clock.

mod accept;
mod cell;
mod certificate;
mod coverage;
mod fingerprint;
mod key;
mod refinement;
mod rows;
mod rules;
mod schema_check;
mod signature;
mod tolerance;
mod verdict;

pub use accept::{AcceptRule, AcceptedUse};
pub use cell::{CellKey, CellSum, ColumnSums};
pub use certificate::{
    Certificate, CertificateError, CertificateFault, CertificateParts, CertifiedCell, Coverage, LiveFile, PinnedSide,
    Verification, metadata_digest,
};
pub use coverage::{Amount, CellCoverage, ProvenFiles, Readings, RowOrigins, SideCoverage, coverage};
pub use fingerprint::{CellDifference, CellPrint, Comparison, Fingerprint, FingerprintShape, NotComparable, compare};
pub use key::{Encoding, FloatZeros, KeyError, MapOrder, ValidationKey};
pub use refinement::{CellSide, DroppedField, Refinement, common_refinement};
pub use rows::{Cause, ColumnDiff, DiffMode, DifferenceCounts, DifferenceKind, RowDiff, SampleColumn, SampleRow};
pub use rules::{ColumnPlan, ComparedColumn, RuleError, plan_columns, quoted};
pub use schema_check::{ColumnCheck, ColumnPair, Nullability, SchemaCheck, TypeMatch, compare_schemas};
pub use signature::{CertificateSignature, KeyFileError, Signer, SigningKey, VerifyingKey};
pub use tolerance::Tolerance;
pub use verdict::{Findings, Reason, Verdict, judge};

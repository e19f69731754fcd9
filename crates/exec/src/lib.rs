//! Everything that touches rows: the canonical encoding of rows, fingerprints of tables, and their exact difference.

pub mod diff;
pub mod encode;
pub mod fingerprint;

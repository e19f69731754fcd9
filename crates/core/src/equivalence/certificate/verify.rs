//! What a certificate says of itself, checked without either table.

use std::fmt;

use super::{Certificate, CertifiedCell};
use crate::equivalence::cell::{CellKey, CellSum};
use crate::equivalence::fingerprint::{CellDifference, Comparison};
use crate::equivalence::signature::{Signer, VerifyingKey};
use crate::equivalence::verdict::{Reason, RowFindings, Verdict, of_rows, of_schema};
use crate::migration::Side;

/// What checking a certificate came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verification {
    /// Nothing was changed since it was sealed, and its verdict follows from what it holds.
    Intact {
        /// Who signed it.
        signer: Signer,
    },
    /// It proves nothing.
    Broken {
        /// Everything that is wrong; never empty.
        faults: Vec<CertificateFault>,
    },
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFault {
    /// This program knows another format.
    FormatVersion {
        /// The certificate's.
        found: u32,
    },
    /// Something in it was changed after it was sealed.
    Digest {
        /// The digest that stands in it.
        written: String,
        /// The digest of what stands in it.
        computed: String,
    },
    /// The signature is none of this certificate.
    Signature {
        /// Why.
        why: &'static str,
    },
    /// Cells are out of order, stand twice, are empty or have too many or few values.
    Cells {
        /// The first such cell, counted from 0.
        at: usize,
    },
    /// A side's cells do not add up to its total.
    Total {
        /// The side.
        side: Side,
        /// The total that stands in it.
        written: CellSum,
        /// The sum of the cells.
        computed: CellSum,
    },
    /// The compared columns are not those of the schema check.
    Columns,
    /// The bound is not the one of this number of rows.
    Bound {
        /// The bound that stands in it.
        written: i32,
        /// The bound of its rows.
        computed: i32,
    },
    /// An entry of the ledger is marked as holding on a day on which it does not, or the other way about.
    Waiver {
        /// The entry.
        id: String,
    },
    /// The verdict does not follow from the cells, columns and waivers.
    Verdict {
        /// The verdict that stands in it.
        written: String,
        /// The verdict that follows.
        follows: String,
    },
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FormatVersion { found } => {
                write!(f, "it has format version {found}, and this program checks version {}", Certificate::FORMAT_VERSION)
            }
            Self::Digest { written, computed } => {
                write!(f, "it was changed after it was sealed: its digest is {written}, and its content has {computed}")
            }
            Self::Signature { why } => write!(f, "its signature is not valid: {why}"),
            Self::Cells { at } => {
                write!(f, "its cell {at} is out of order, stands twice, is empty or does not fit the fields")
            }
            Self::Total { side, written, computed } => {
                let side = if *side == Side::Old { "old" } else { "new" };
                write!(f, "the cells of the {side} side add up to {computed}, and the total says {written}")
            }
            Self::Columns => f.write_str("its compared columns are not those of its schema check"),
            Self::Bound { written, computed } => {
                write!(f, "its collision bound is 2^{written}, and that of its rows is 2^{computed}")
            }
            Self::Waiver { id } => write!(f, "the ledger's entry {id} is not judged by the day of the validation"),
            Self::Verdict { written, follows } => {
                write!(f, "its verdict is {written}, and what it holds comes to {follows}")
            }
        }
    }
}

impl Certificate {
    /// Checks everything that can be checked without the tables. `keys` are those whose signatures count.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Verification {
        let mut faults = Vec::new();
        if self.format_version != Self::FORMAT_VERSION {
            faults.push(CertificateFault::FormatVersion { found: self.format_version });
        }
        faults.extend(self.digest_fault());
        let signer = self.signature.as_ref().map_or(Ok(Signer::Nobody), |signature| signature.signer(&self.digest, keys));
        faults.extend(signer.as_ref().err().map(|why| CertificateFault::Signature { why }));
        faults.extend(self.cell_fault());
        faults.extend(self.total_faults());
        faults.extend(self.column_fault());
        faults.extend(self.waiver_faults());
        let comparison = self.comparison();
        let (written, computed) = (self.collision_bound_log2, comparison.collision_bound_log2());
        faults.extend((written != computed).then_some(CertificateFault::Bound { written, computed }));
        faults.extend(self.verdict_fault(&comparison));
        match signer {
            Ok(signer) if faults.is_empty() => Verification::Intact { signer },
            _ => Verification::Broken { faults },
        }
    }

    fn digest_fault(&self) -> Option<CertificateFault> {
        // What cannot be written as JSON cannot have been read from it: the digest is that of nothing.
        let computed = self.computed_digest().unwrap_or_default();
        (computed != self.digest).then(|| CertificateFault::Digest { written: self.digest.clone(), computed })
    }

    fn cell_fault(&self) -> Option<CertificateFault> {
        let before = |at: usize| at.checked_sub(1).and_then(|before| self.cells.get(before));
        let is_wrong = |(at, cell): (usize, &CertifiedCell)| {
            cell.cell.values().len() != self.fields.len()
                || (cell.old.rows == 0 && cell.new.rows == 0)
                || [cell.old, cell.new].iter().any(|side| side.rows == 0 && side.sum != 0)
                || before(at).is_some_and(|before| before.cell >= cell.cell)
        };
        self.cells.iter().enumerate().position(is_wrong).map(|at| CertificateFault::Cells { at })
    }

    fn total_faults(&self) -> Vec<CertificateFault> {
        let computed = self.totals();
        let sides = [(Side::Old, self.source_total, computed.0), (Side::New, self.target_total, computed.1)];
        let fault = |(side, written, computed)| CertificateFault::Total { side, written, computed };
        sides.into_iter().filter(|(_, written, computed)| written != computed).map(fault).collect()
    }

    /// Both sides' sums of the cells. Rows beyond 64 bits are no table's: they saturate, and equal no honest total.
    fn totals(&self) -> (CellSum, CellSum) {
        let add = |a: CellSum, b: CellSum| CellSum { rows: a.rows.saturating_add(b.rows), sum: a.sum.wrapping_add(b.sum) };
        self.cells.iter().fold(Default::default(), |(old, new), cell| (add(old, cell.old), add(new, cell.new)))
    }

    fn column_fault(&self) -> Option<CertificateFault> {
        let compared = self.schema.compared();
        let same = compared.iter().map(|pair| &pair.new).eq(&self.columns);
        (!same).then_some(CertificateFault::Columns)
    }

    fn waiver_faults(&self) -> impl Iterator<Item = CertificateFault> {
        let day = self.at.date_naive();
        let wrong = self.waivers.iter().filter(move |waiver| waiver.expired != waiver.rule.is_expired(day));
        wrong.map(|waiver| CertificateFault::Waiver { id: waiver.rule.id.clone() })
    }

    /// What the cells say, whatever the totals pretend.
    fn comparison(&self) -> Comparison {
        let (old, new) = self.totals();
        let differing = self.cells.iter().filter(|cell| cell.old != cell.new);
        let difference = |cell: &CertifiedCell| CellDifference {
            cell: CellKey::clone(&cell.cell),
            old: cell.old,
            new: cell.new,
            columns: Vec::new(),
        };
        Comparison {
            fields: self.fields.clone(),
            given_up: self.given_up.clone(),
            cells: self.cells.len() as u64,
            old,
            new,
            differences: differing.map(difference).collect(),
        }
    }

    /// The reasons that follow from the content come first and are complete; those after them are obstacles that the content
    /// does not show, and an obstacle never makes a verdict better.
    fn verdict_fault(&self, comparison: &Comparison) -> Option<CertificateFault> {
        let rows = self.differences.map(|counts| RowFindings { counts, accepted: &self.waivers });
        let mut follows = of_schema(&self.schema);
        follows.extend(of_rows(comparison, &self.proven, rows));
        let written = self.verdict.reasons();
        let obstacles = written.strip_prefix(follows.as_slice());
        let holds = obstacles.is_some_and(|obstacles| {
            !obstacles.iter().any(Reason::is_accepted) && Verdict::of(written.to_vec()) == self.verdict
        });
        let text = |verdict: &Verdict| {
            let reasons: Vec<String> = verdict.reasons().iter().map(Reason::to_string).collect();
            if reasons.is_empty() { verdict.to_string() } else { format!("{verdict} ({})", reasons.join("; ")) }
        };
        (!holds).then(|| CertificateFault::Verdict { written: text(&self.verdict), follows: text(&Verdict::of(follows)) })
    }
}

//! [`audit`]: what the journal accounts for, held against what the brokers have and what the table carries.

use std::collections::BTreeMap;
use std::time::Duration;

use lakeshift_core::table::CommitNumber;
use lakeshift_stream::kafka::Available;
use lakeshift_stream::{Audit, Positions, SourcePartition};
use serde::Serialize;

use super::both_tables::last_commit;
use super::file::StreamFile;
use crate::error::Error;

/// What an audit found.
#[derive(Debug, Serialize)]
pub struct AuditReport {
    /// Every offset of the journal.
    #[serde(flatten)]
    pub audit: Audit,
    /// Offsets that the topics have and the stream has not read, by partition; `None` where no broker was asked.
    pub unread: Option<BTreeMap<SourcePartition, u64>>,
    /// The last commit that the journal says the table has.
    pub journal_commit: CommitNumber,
    /// The last commit of the stream that the table carries; of both tables of a migration, the one that was written last.
    pub table_commit: Option<CommitNumber>,
    /// Whether nothing was committed since the stream goes where its file says: then the table need not know the last commit.
    pub moved: bool,
}

impl AuditReport {
    /// Whether every offset is accounted for once, and the table has what the journal says.
    pub fn is_clean(&self) -> bool {
        self.audit.is_clean() && self.agrees()
    }

    /// Whether the table has the commits that the journal says it has, and no others. One without an end may be there or not.
    pub fn agrees(&self) -> bool {
        self.audit.unsettled || self.moved || self.table_commit.unwrap_or_default() == self.journal_commit
    }
}

/// Audits a stream; writes nothing. With `asks`, brokers tell which offsets there are.
///
/// # Errors
/// The journal or the table cannot be read; no broker answers.
pub async fn audit(file: &StreamFile, asks: bool) -> Result<AuditReport, Error> {
    // Before the journal: what is read meanwhile is no gap.
    let there = if asks { Some(file.source(Duration::ZERO)?.available().await?) } else { None };
    let register = file.register().await?;
    let ledger = register.ledger();
    let beginnings: Positions = match &there {
        // What retention has taken since was read before.
        Some(there) => ledger
            .accounts()
            .iter()
            .filter_map(|(partition, account)| Some((partition.clone(), account.first.min(there.get(partition)?.from))))
            .collect(),
        None => Positions::new(),
    };
    let positions = ledger.positions();
    let unread = there.map(|there| {
        let unread = |(partition, available): (SourcePartition, Available)| {
            let next = positions.get(&partition).copied().unwrap_or(available.from);
            (partition, u64::try_from(available.to - next).unwrap_or(0))
        };
        there.into_iter().map(unread).collect()
    });
    let (migration, table_commit) = match file.target() {
        Ok(stream) => match stream.snapshot().await? {
            Some(_) => (None, stream.table.marks(&file.id()).await?.number),
            None => (None, None),
        },
        Err(migration) => {
            let (migration, commit) = last_commit(file, migration).await?;
            (Some(migration), commit)
        }
    };
    let moved = ledger.migration() != migration.as_ref() || (ledger.has_moved() && ledger.last_done_here().is_none());
    let audit = Audit::new(register.journal().entries(), &beginnings);
    Ok(AuditReport { audit, unread, journal_commit: ledger.last_done(), table_commit, moved })
}

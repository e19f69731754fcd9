//! Sums of the source's files, taken while the backfill reads them, so that the validation need not read them again.

use lakeshift_core::equivalence::Fingerprint;
use lakeshift_core::migration::Side;
use lakeshift_core::table::{FileEntry, Snapshot};
use lakeshift_exec::fingerprint::FingerprintRequest;
use lakeshift_exec::logic::LogicSpec;

use super::read::SideReading;
use super::readings::{Kept, Record};
use super::{CELLS_MAX, Pinned, columns, draw_key};
use crate::engine::rows::{Rows, logic_of};
use crate::engine::tables::Tables;
use crate::error::Error;
use crate::session::Session;

/// How the source's rows are summed as they pass.
#[derive(Debug)]
pub struct SourceSums<'a> {
    kept: Kept,
    side: SideReading<'a>,
}

impl<'a> SourceSums<'a> {
    /// Sums as a validation of `source` and the target as it is now would take them; `None` where the spec's rules compare
    /// other values than those that are moved.
    ///
    /// # Errors
    /// A target that cannot be read, rules that cannot be applied.
    pub async fn open(session: &Session, tables: &'a Tables, rows: &Rows, source: &Snapshot) -> Result<Option<Self>, Error> {
        let settings = &session.spec.validation;
        let old = Pinned {
            table: tables.source.as_ref(),
            snapshot: source.clone(),
            files: Vec::new(),
            storage: &tables.source_storage,
            elsewhere: &tables.source_storage,
            logic: logic_of(&session.spec),
        };
        let new = Pinned {
            table: tables.target.as_ref(),
            snapshot: tables.target.snapshot(None).await?,
            files: Vec::new(),
            storage: &tables.target_storage,
            elsewhere: &tables.source_storage,
            logic: LogicSpec::default(),
        };
        let columns = columns::plan(rows.engine(), settings, &old, &new).await?;
        if columns.old.select.is_some() || columns.old.range.is_some() {
            return Ok(None);
        }
        let key = || draw_key(session.context.rng.as_ref());
        let kept = Kept::open(&session.folder, false, key, |key| columns.shape(settings, key)).await?;
        let side = SideReading::new(rows.engine(), tables.source.as_ref(), &old, Side::Old, columns.old.clone()).await?;
        Ok(Some(Self { kept, side }))
    }

    /// What is taken of every file's rows.
    pub fn request(&self) -> FingerprintRequest {
        let (shape, columns) = (self.kept.shape().clone(), self.side.columns().to_vec());
        FingerprintRequest { shape, columns, cells_max: CELLS_MAX, parallel_max: 1 }
    }

    /// Keeps the sums of files that were read to their ends and have not changed meanwhile.
    ///
    /// # Errors
    /// The store fails.
    pub async fn keep(&self, files: &[FileEntry], sums: Vec<Option<Fingerprint>>) -> Result<(), Error> {
        let taken = files.iter().zip(sums).filter_map(|(file, sums)| Some((file, sums?)));
        let records: Vec<Record> = taken.map(|(file, sums)| Record::new(self.side.key_of(file), &sums)).collect();
        if records.is_empty() { Ok(()) } else { self.kept.keep(&records).await }
    }
}

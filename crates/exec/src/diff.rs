//! The exact row difference of two tables, restricted to the cells whose sums differ.
//!
//! Either side is read once. Its rows are divided by the hash of their key (of the whole row where there is none) into
//! partitions, which are spilled to disk when they outgrow the memory and compared one after the other: a grace hash
//! join. What differs is counted by kind and by column, set against the ledger of accepted differences, sampled for the
//! report and written in full to a Parquet file.
//!
//! Key types: [`DiffRequest`], [`SideReader`], [`DiffError`]; the result is core's `RowDiff`.

mod causes;
mod columns;
mod context;
mod error;
mod export;
mod intake;
mod join;
mod ledger;
mod number;
mod pairs;
mod partitions;
mod plain;
mod sample;
mod spill;
mod tolerance;

use async_trait::async_trait;
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use lakeshift_core::equivalence::{
    AcceptRule, Comparison, DiffMode, DifferenceKind, FingerprintShape, RowDiff, Tolerance, ValidationKey,
};
use lakeshift_core::migration::Side;
use lakeshift_core::storage::Storage;

use crate::engine::Engine;
use context::Context;
pub use error::DiffError;
use export::Export;
use join::{Differences, Joiner, Loaded};
use ledger::Ledger;
use partitions::{Digit, Partition, Partitions, Step};
use sample::Sampler;

/// Differing rows that are described at a time.
const CHUNK_ROWS: usize = 1024;

/// Opens a side of the comparison; the difference reads each side once.
#[async_trait]
pub trait SideReader: Send + Sync {
    /// The side's rows at the pinned version, in any order and division. Files that hold no row of a differing cell may be
    /// left out.
    async fn open(&self, side: Side) -> Result<Vec<SendableRecordBatchStream>, DataFusionError>;
}

/// What to compare, and how to show it.
#[derive(Debug, Clone)]
pub struct DiffRequest<'a> {
    /// Spills to its temporary folder and evaluates the ledger's conditions.
    pub engine: &'a Engine,
    /// The shape of the fingerprints.
    pub shape: FingerprintShape,
    /// Where they differ.
    pub comparison: &'a Comparison,
    /// The columns that identify a row, named as in the new table; without any, whole rows are compared as a bag.
    pub key: Vec<String>,
    /// The old side's name of every column in `shape.columns`, in that order.
    pub old_columns: Vec<String>,
    /// The new side's names, likewise.
    pub new_columns: Vec<String>,
    /// For every column in `shape.columns`, the difference that counts as equal; columns beyond its end have none.
    /// Without a key, no tolerance applies.
    pub tolerances: Vec<Option<Tolerance>>,
    /// The ledger of accepted differences. Its conditions see the compared columns, named as in the new table.
    pub accept: Vec<AcceptRule>,
    /// The day (UTC) on which the ledger's entries must still hold.
    pub today: NaiveDate,
    /// Where all differing rows go; nowhere when absent.
    pub export: Option<ExportTarget<'a>>,
    /// Rows that the sample has at most.
    pub sample_rows_max: usize,
    /// Whether the sample shows values.
    pub masking: Masking,
    /// Memory for rows, in bytes; beyond it they are spilled.
    pub memory_bytes: u64,
}

/// The Parquet file of differing rows. It holds values as they are, whatever the masking of the sample: it belongs into
/// the control root, beside the migration's journal, and into no report.
#[derive(Debug, Clone, Copy)]
pub struct ExportTarget<'a> {
    /// A location.
    pub storage: &'a Storage,
    /// The file's path in it.
    pub path: &'a str,
}

/// How a sample shows values.
#[derive(Debug, Clone, Copy)]
pub enum Masking {
    /// As they are.
    Shown,
    /// As tokens: class, length and eight hex digits of a hash under `secret`. The secret is drawn for one report and
    /// written nowhere; under the validation's own key, which is public, values could be found by trial.
    Tokens {
        /// The secret.
        secret: ValidationKey,
    },
}

/// Counts, samples and exports the rows that differ. The result is the same whatever the order of rows and files and
/// whatever the memory.
///
/// # Errors
/// [`DiffError`]; the fingerprints' verdict stands all the same. Temporary files are gone and the export is not there.
pub async fn diff(request: &DiffRequest<'_>, reader: &dyn SideReader) -> Result<RowDiff, DiffError> {
    let context = Context::new(request)?;
    let mut ledger = Ledger::new(&request.accept);
    let mut partitions = Partitions::new(&context);
    let mut schemas = plain::Schemas::default();
    for side in [Side::Old, Side::New] {
        let streams = reader.open(side).await.map_err(|source| DiffError::Scan { source })?;
        if let Some(stream) = streams.first() {
            let schema = schemas.set(side, &plain::schema(&stream.schema(), context.columns_of(side), &context)?);
            ledger.compile(request.engine, side, schema)?;
        }
        intake::read(&context, side, streams, &schemas, &mut partitions).await?;
    }
    let mut work = Work {
        context: &context,
        export: Export::new(request.export, &schemas),
        sampler: Sampler::new(&context),
        joiner: Joiner::new(&context),
        ledger,
        schemas,
        counts: Counts::default(),
    };
    match work.compare(partitions.finish()?).await {
        Ok(()) => work.finish().await,
        Err(error) => {
            work.export.abort().await;
            Err(error)
        }
    }
}

/// Differing rows that nothing excuses.
#[derive(Debug, Default)]
struct Counts {
    missing: u64,
    extra: u64,
    changed: u64,
}

/// What the partitions come to.
struct Work<'a> {
    context: &'a Context<'a>,
    joiner: Joiner<'a>,
    ledger: Ledger,
    sampler: Sampler<'a>,
    export: Export<'a>,
    schemas: plain::Schemas,
    counts: Counts,
}

impl Work<'_> {
    /// Compares partition by partition, in the order of the hashes; what does not fit in memory is divided again.
    async fn compare(&mut self, partitions: Vec<Partition>) -> Result<(), DiffError> {
        let mut waiting: Vec<Partition> = partitions.into_iter().rev().collect();
        while let Some(partition) = waiting.pop() {
            match partition.step(self.context) {
                Step::Join => {
                    let loaded = Loaded::read(partition)?;
                    let differences = self.joiner.differences(&loaded)?;
                    self.describe(&loaded, &differences).await?;
                }
                Step::Divide(by) => {
                    if by == Digit::Row(0) {
                        self.joiner.count_duplicate_key();
                    }
                    waiting.extend(partition.divide(by, self.context)?.into_iter().rev());
                }
            }
        }
        Ok(())
    }

    async fn describe(&mut self, loaded: &Loaded, differences: &Differences) -> Result<(), DiffError> {
        for chunk in differences.chunks(CHUNK_ROWS) {
            let rows = self.describe_chunk(loaded, chunk)?;
            if let Some(rows) = rows {
                self.export.write(&rows).await?;
            }
        }
        Ok(())
    }

    /// Counts and samples some differing rows; they are returned as the export writes them, if there is one.
    fn describe_chunk(
        &mut self,
        loaded: &Loaded,
        chunk: &[join::Difference],
    ) -> Result<Option<arrow::array::RecordBatch>, DiffError> {
        let rows = join::Rows::gather(loaded, chunk, &self.schemas)?;
        let accepted = self.ledger.absorb(chunk, &rows)?;
        for (difference, entry) in chunk.iter().zip(&accepted) {
            match (entry, difference.kind) {
                (Some(_), _) => {}
                (None, DifferenceKind::Missing) => self.counts.missing += difference.copies,
                (None, DifferenceKind::Extra) => self.counts.extra += difference.copies,
                (None, DifferenceKind::Changed) => self.counts.changed += difference.copies,
            }
        }
        let names: Vec<Option<&str>> = accepted.iter().map(|entry| entry.map(|entry| self.ledger.id(entry))).collect();
        let labels = self.context.labels(&rows)?;
        self.sampler.see(chunk, &rows, &names, &labels, self.export.next_row())?;
        self.export.batch(chunk, &rows, &names, &labels)
    }

    async fn finish(self) -> Result<RowDiff, DiffError> {
        let request = self.context.request;
        let differences = &request.comparison.differences;
        Ok(RowDiff {
            mode: match request.key.as_slice() {
                [] => DiffMode::Bag,
                columns => DiffMode::Keyed { columns: columns.to_vec() },
            },
            old_rows: differences.iter().map(|cell| cell.old.rows).sum(),
            new_rows: differences.iter().map(|cell| cell.new.rows).sum(),
            missing: self.counts.missing,
            extra: self.counts.extra,
            changed: self.counts.changed,
            duplicate_keys: self.joiner.duplicate_keys(),
            tolerated: self.joiner.tolerated(),
            accepted: self.ledger.into_uses(request.today),
            columns: self.joiner.into_columns(),
            sample: self.sampler.into_rows(),
            masked: matches!(request.masking, Masking::Tokens { .. }),
            export: self.export.finish().await?,
        })
    }
}

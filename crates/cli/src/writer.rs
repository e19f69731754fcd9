//! [`DualWriter`]: the two tables of a migration as one to write to, for producers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use lakeshift_core::migration::{Command, Side};
use lakeshift_core::writes::{WriteId, is_carried, written_side};

use crate::commands::opened::Opened;
use crate::context::Context;
use crate::engine::ownership::Meaning;
use crate::engine::writer::{self, Rowset, Written};
use crate::engine::{mirror, reverse};
use crate::error::Error;
use crate::session::Session;

/// Pause between two looks at whether a runner at work has carried a write over.
const LOOK: Duration = Duration::from_secs(2);

/// Writes rows to both tables of a migration, whatever its phase: to the old table until every group of readers has moved, to
/// the new one after that, and by the mirror to the other.
///
/// A write that has returned is in the table that is written now, for good. It is in the other one too where
/// [`DualWrite::carried`] says so; otherwise whoever runs the migration carries it over.
///
/// ```no_run
/// # async fn example(batches: Vec<datafusion::arrow::array::RecordBatch>) -> Result<(), lakeshift::error::Error> {
/// use std::path::Path;
/// use lakeshift::{context::Context, progress::Progress, stop::Stop, writer::DualWriter};
///
/// let context = Context::system(Progress::Quiet, Stop::never());
/// let mut writer = DualWriter::open(&context, Path::new("migrations/flights")).await?;
/// let done = writer.write(&batches, Some("2026-11-27T10:00")).await?;
/// println!("{} rows, write {}", done.written.rows, done.written.number);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DualWriter {
    context: Context,
    spec: PathBuf,
    wait: Duration,
}

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DualWrite {
    /// The write in the table that is written now.
    pub written: Written,
    /// Whether the other table has it too.
    pub carried: Carried,
}

/// Whether a write is in the other table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// It is.
    Done,
    /// Whoever runs the migration carries it over: who, or why not now.
    Later(String),
    /// There is no other table to carry it to, or no longer: why.
    No(String),
}

impl DualWriter {
    /// A writer to the tables of the migration whose spec stands at `spec`. Opens nothing yet.
    ///
    /// # Errors
    /// The spec cannot be read.
    pub async fn open(context: &Context, spec: &Path) -> Result<Self, Error> {
        Opened::new(context, spec).await?;
        Ok(Self { context: context.clone(), spec: spec.to_owned(), wait: Duration::from_secs(120) })
    }

    /// With another time to wait for other producers, and for a cutover that holds them off; 120 s otherwise.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Writes batches of one schema, in one commit. `id` names the write: of one name there is one, so that a producer which
    /// does not know what came of a write repeats it.
    ///
    /// # Errors
    /// As [`DualWriter::write_files`].
    pub async fn write(&mut self, batches: &[RecordBatch], id: Option<&str>) -> Result<DualWrite, Error> {
        let rows = rowset(batches)?;
        self.write_rowsets(&[rows], id).await
    }

    /// Writes the rows of Parquet files, in one commit.
    ///
    /// # Errors
    /// Rows that do not fit the table, with nothing written; [`Error::Producing`] when others write for too long. After any
    /// other error the rows may be safe: the same write, by its `id`, is made once.
    pub async fn write_files(&mut self, files: &[PathBuf], id: Option<&str>) -> Result<DualWrite, Error> {
        let rowsets: Vec<_> = files.iter().cloned().map(Rowset::File).collect();
        self.write_rowsets(&rowsets, id).await
    }

    async fn write_rowsets(&mut self, rowsets: &[Rowset], id: Option<&str>) -> Result<DualWrite, Error> {
        let mut opened = Opened::existing(&self.context, &self.spec).await?;
        let mut producer = writer::hold(&opened.session, "write", self.wait).await?;
        // A cutover that has ended while this waited has moved the side that is written.
        opened.session.refresh().await?;
        let id = id.map(|id| WriteId::Batch(id.to_owned()));
        let written = match producer.settle(&opened.session, &opened.tables).await {
            Ok(()) => producer.write(&opened.session, &opened.tables, rowsets, id.as_ref()).await,
            Err(error) => Err(error),
        };
        producer.release().await;
        let written = written?;
        let max_lag = opened.session.spec.dual_write.max_lag.duration();
        let wrote = Wrote::write(&opened.session, written.number, written.side);
        let carried = carry(&mut opened, &wrote, max_lag).await?;
        Ok(DualWrite { written, carried })
    }
}

/// Batches of one schema as they are handed over.
///
/// # Errors
/// No batch, or one that Parquet has no form for.
pub(crate) fn rowset(batches: &[RecordBatch]) -> Result<Rowset, Error> {
    let Some(first) = batches.first() else {
        return Err(Error::NotRows { file: "the write".to_owned(), reason: "it has no batch".to_owned() });
    };
    let unwritten = |error: datafusion::parquet::errors::ParquetError| Error::NotRows {
        file: "the write".to_owned(),
        reason: error.to_string(),
    };
    let mut parquet = ArrowWriter::try_new(Vec::new(), first.schema(), None).map_err(unwritten)?;
    for batch in batches {
        parquet.write(batch).map_err(unwritten)?;
    }
    Ok(Rowset::Bytes(Bytes::from(parquet.into_inner().map_err(unwritten)?)))
}

/// What was written to a table, by the names of its files.
#[derive(Debug)]
pub(crate) struct Wrote {
    /// The start of the names of those that came in.
    pub stem: String,
    /// Those that were taken out.
    pub removed: Vec<String>,
    /// The table.
    pub side: Side,
}

impl Wrote {
    /// A write of the dual writer.
    pub(crate) fn write(session: &Session, number: u64, side: Side) -> Self {
        Self { stem: writer::file_stem(session, number), removed: Vec::new(), side }
    }
}

/// Carries what was written to the other table, or waits for so long until a runner at work has.
///
/// # Errors
/// As a round of the mirror; the write stays where it is.
pub(crate) async fn carry(opened: &mut Opened, wrote: &Wrote, wait: Duration) -> Result<Carried, Error> {
    let clock = opened.session.context.clock.clone();
    let until = clock.elapsed() + wait;
    loop {
        if let Some(reason) = nowhere(opened).await? {
            return Ok(Carried::No(reason));
        }
        let round = async |opened: &mut Opened| {
            opened.session.refuse_while_paused()?;
            let Opened { session, tables, rows } = opened;
            match written_side(&session.state) {
                Side::Old => mirror::round(session, tables, rows).await,
                Side::New => reverse::round(session, tables).await,
            }
        };
        match opened.act(Command::Mirror, |evidence| evidence, round).await {
            Ok(_) => return Ok(Carried::Done),
            Err(Error::Paused { hold }) => return Ok(Carried::Later(format!("the migration is paused {hold}"))),
            Err(error @ (Error::Held { .. } | Error::Fenced { .. })) => {
                let holder = if let Error::Held { holder, .. } = error { holder } else { "another runner".to_owned() };
                if is_carried_over(opened, wrote).await? {
                    return Ok(Carried::Done);
                }
                if clock.elapsed() >= until {
                    return Ok(Carried::Later(format!("{holder} is running the migration")));
                }
                opened.session.context.stop.or_drop(clock.sleep(LOOK)).await?;
                opened.session.refresh().await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Why there is no other table to carry a write to.
///
/// # Errors
/// A table cannot be read.
pub(crate) async fn nowhere(opened: &Opened) -> Result<Option<String>, Error> {
    let (session, state) = (&opened.session, &opened.session.state);
    if !is_carried(state) {
        return Ok(Some(format!("the migration is in phase {}", state.phase)));
    }
    match (written_side(state), &state.reverse) {
        (Side::Old, _) => Ok(None),
        (Side::New, None) => Ok(Some(reverse::NO_BASE.to_owned())),
        (Side::New, Some(_)) => reverse::impossible(session, &opened.tables).await,
    }
}

/// Whether somebody has carried over what was written.
///
/// # Errors
/// A table cannot be read.
pub(crate) async fn is_carried_over(opened: &Opened, wrote: &Wrote) -> Result<bool, Error> {
    let Some(found) = mirror::look(&opened.session, &opened.tables, wrote.side).await? else { return Ok(true) };
    let added = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with(&wrote.stem));
    let (Meaning { added: came, removed: went, .. }, removed) = (&found.meaning, &wrote.removed);
    Ok(!came.iter().any(|file| added(&file.path)) && !went.iter().any(|file| removed.contains(&file.path)))
}

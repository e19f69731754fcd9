//! Where events come from and where rows go: [`Source`] and [`Sink`], the two things that a stream is given.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use lakeshift_core::table::{NewFile, UnitId};
use lakeshift_journal::Epoch;

use crate::error::StreamError;
use crate::offsets::{OffsetSet, Positions, SourcePartition};
use crate::range::Place;

/// What was read at once.
#[derive(Debug)]
pub struct Polled<R> {
    /// From where to where, by partition; ends exclusive. What lies between and is no record does not exist.
    pub spans: Vec<Span>,
    /// The records, each partition's in order; record `i` is row `i`.
    pub records: Vec<Record>,
    /// The distinct places that records point to.
    pub places: Vec<Place>,
    /// Records that could not be read, which have no row.
    pub bad: Vec<BadRecord>,
    /// The rows.
    pub rows: R,
}

/// A stretch of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: SourcePartition,
    /// Where it begins.
    pub from: i64,
    /// Where the next one begins.
    pub to: i64,
}

/// One record: its offset in a span's partition, and where its row belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Index into [`Polled::spans`].
    pub span: u32,
    /// Index into [`Polled::places`].
    pub place: u32,
    /// Its offset.
    pub offset: i64,
}

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Index into [`Polled::spans`].
    pub span: u32,
    /// Its offset.
    pub offset: i64,
    /// Why, without its content.
    pub reason: String,
    /// Its content.
    pub payload: Bytes,
}

/// A log of events that can be read again.
#[async_trait]
pub trait Source: Send {
    /// The rows of what was read.
    type Rows: Send + Sync;

    /// Reads on from `positions`; partitions that are not there from their beginning. `None` where nothing new is there yet.
    ///
    /// # Errors
    /// [`StreamError::Source`].
    async fn poll(&mut self, positions: &Positions) -> Result<Option<Polled<Self::Rows>>, StreamError>;

    /// Where each partition ends by now: the offset that a next record would have, or one before it.
    ///
    /// # Errors
    /// [`StreamError::Source`].
    async fn ends(&mut self) -> Result<Positions, StreamError>;

    /// Reads these offsets again, as many from the beginning of each partition's as fit into one commit.
    ///
    /// # Errors
    /// [`StreamError::Source`]; [`StreamError::ParkedGone`] where one of them is not there any more.
    async fn reread(&mut self, offsets: &BTreeMap<SourcePartition, OffsetSet>) -> Result<Polled<Self::Rows>, StreamError>;

    /// Is told before which offsets all events have found their end, for whoever watches the source with its own tools. Best effort,
    /// without waiting; nothing is ever read by it.
    fn note(&mut self, _applied: &Positions) {}
}

/// Writes rows as data files of the table. Nothing refers to them until they are committed.
#[async_trait]
pub trait Sink: Debug + Send + Sync {
    /// The rows that it writes.
    type Rows: Send + Sync;

    /// Writes those rows whose index is in `kept`, as files of unit `unit` under `epoch` (see
    /// [`lakeshift_core::plan::data_file_stem`]).
    ///
    /// # Errors
    /// [`StreamError::Sink`].
    async fn write(&self, rows: &Self::Rows, kept: &[u32], unit: &UnitId, epoch: Epoch)
    -> Result<Vec<NewFile>, StreamError>;

    /// Drops files that will not be committed. Best effort: what is left is in no table.
    async fn discard(&self, files: &[NewFile]);
}

//! The versions of a graph as a Parquet file, which any engine reads and from which the next command goes on: what the journal came
//! to up to one of its entries.
//!
//! `<control>/graphs/<name>/versions/<entry>-<digest>.parquet` is created once and never changed, and all of it can be had again
//! from the journal. Its rows are every version that every partition had, oldest first; of the latest all is known, of earlier
//! ones what they were computed from, and by which logic.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::WriterProperties;
use futures::TryStreamExt;
use lakeshift_core::equivalence::ValidationKey;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::CommitNumber;
use lakeshift_journal::{Digest, Position};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use super::ledger::Stored;
use crate::error::Error;

/// The key of [`Header`] in the file's metadata.
const HEADER: &str = "lakeshift.versions";
const FORMAT_VERSION: u32 = 1;
/// Files that are kept: a command that has just found one may still be reading it.
const KEPT: usize = 2;

/// What the file says besides its rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format_version: u32,
    position: Position,
    key: Option<ValidationKey>,
    last_number: CommitNumber,
}

/// One version of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Of an earlier version, fingerprint, rows and bytes are unknown.
    pub(super) stored: Stored,
    pub(super) is_latest: bool,
    /// Its place among what the last run computed.
    pub(super) ran: Option<u64>,
}

/// What a journal came to.
#[derive(Debug, Clone)]
pub(super) struct Checkpoint {
    /// Up to this entry.
    pub(super) position: Position,
    pub(super) key: Option<ValidationKey>,
    pub(super) last_number: CommitNumber,
    pub(super) rows: Vec<Row>,
}

impl Checkpoint {
    /// The newest that can be read; `None` where there is none. One that is damaged is passed over with a warning.
    pub(super) async fn newest(folder: &Storage) -> Result<Option<Self>, Error> {
        let folder = folder.child("versions");
        for path in listed(&folder).await? {
            match folder.store().get(&path).await {
                Ok(found) => {
                    match found.bytes().await.map_err(|error| error.to_string()).and_then(|bytes| decode(&path, &bytes)) {
                        Ok(checkpoint) => return Ok(Some(checkpoint)),
                        Err(error) => {
                            tracing::warn!(%path, error, "passed over; the journal has all that it held: delete it")
                        }
                    }
                }
                Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(Error::Store { action: "read", object: path.to_string(), source }),
            }
        }
        Ok(None)
    }

    /// Writes the file, and deletes those that nobody needs any more.
    pub(super) async fn write(&self, folder: &Storage) -> Result<(), Error> {
        let folder = folder.child("versions");
        let bytes = self.encode().map_err(|source| Error::Query { source: source.into() })?;
        let path = folder.prefix().clone().join(self.name(&bytes));
        match folder.store().put_opts(&path, bytes.into(), PutOptions::from(PutMode::Create)).await {
            // Its name has its digest.
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(source) => return Err(Error::Store { action: "create", object: path.to_string(), source }),
        }
        for old in listed(&folder).await?.into_iter().skip(KEPT) {
            if let Err(error) = folder.store().delete(&old).await {
                tracing::warn!(%error, path = %old, "could not delete versions that newer ones replace; they do no harm");
            }
        }
        Ok(())
    }

    fn name(&self, bytes: &Bytes) -> String {
        format!("{:020}-{}.parquet", self.position.sequence.0, &Digest::of(bytes).to_string()[..16])
    }

    fn encode(&self) -> Result<Bytes, ParquetError> {
        let text = |of: fn(&Row) -> Option<&str>| Arc::new(self.rows.iter().map(of).collect::<StringArray>()) as ArrayRef;
        let number = |of: fn(&Row) -> Option<u64>| {
            let signed = self.rows.iter().map(|row| of(row).and_then(|number| i64::try_from(number).ok()));
            Arc::new(signed.collect::<Int64Array>()) as ArrayRef
        };
        let latest: BooleanArray = self.rows.iter().map(|row| Some(row.is_latest)).collect();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("table", text(|row| Some(&row.stored.table)), false),
            ("period", text(|row| row.stored.period.as_deref()), true),
            ("entity", text(|row| row.stored.entity.as_deref()), true),
            ("version", number(|row| Some(row.stored.version)), false),
            ("read_at", number(|row| Some(row.stored.read_at)), false),
            ("logic", text(|row| Some(&row.stored.logic)), false),
            ("latest", Arc::new(latest), false),
            ("fingerprint", text(|row| row.is_latest.then_some(&row.stored.fingerprint)), true),
            ("rows", number(|row| row.is_latest.then_some(row.stored.rows)), true),
            ("bytes", number(|row| row.is_latest.then_some(row.stored.bytes)), true),
            ("files", text(|row| row.stored.files.as_deref()), true),
            ("took_ms", number(|row| row.stored.took_ms), true),
            ("ran", number(|row| row.ran), true),
        ])?;
        let Self { position, key, last_number, .. } = *self;
        let header = Header { format_version: FORMAT_VERSION, position, key, last_number };
        let header = serde_json::to_string(&header).map_err(|error| ParquetError::External(Box::new(error)))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_column_dictionary_enabled("fingerprint".into(), false)
            .set_column_dictionary_enabled("files".into(), false)
            .set_key_value_metadata(Some(vec![KeyValue::new(HEADER.to_owned(), header)]))
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
        writer.write(&batch)?;
        Ok(writer.into_inner()?.into())
    }
}

/// The files, the newest first.
async fn listed(folder: &Storage) -> Result<Vec<Path>, Error> {
    let prefix = folder.prefix().clone();
    let all: Result<Vec<_>, _> = folder.store().list(Some(&prefix)).try_collect().await;
    let all = all.map_err(|source| Error::Store { action: "list", object: prefix.to_string(), source })?;
    let names: BTreeSet<Path> =
        all.into_iter().map(|object| object.location).filter(|path| path.extension() == Some("parquet")).collect();
    Ok(names.into_iter().rev().collect())
}

fn decode(path: &Path, bytes: &Bytes) -> Result<Checkpoint, String> {
    let digest = Digest::of(bytes).to_string();
    let named = path.filename().and_then(|name| name.strip_suffix(".parquet")?.split_once('-'));
    if named.is_none_or(|(_, named)| named != &digest[..16]) {
        return Err("its content is not what its name says".to_owned());
    }
    let text = |error: ParquetError| error.to_string();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(text)?;
    let metadata = reader.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    let header = metadata.filter(|pair| pair.key == HEADER).find_map(|pair| pair.value.as_deref());
    let header: Header = serde_json::from_str(header.unwrap_or_default()).map_err(|error| error.to_string())?;
    if header.format_version != FORMAT_VERSION {
        return Err(format!("it has version {}, and this program reads {FORMAT_VERSION}", header.format_version));
    }
    let mut rows = Vec::new();
    for batch in reader.build().map_err(text)? {
        let batch = batch.map_err(|error: ArrowError| error.to_string())?;
        read_rows(&batch, &mut rows).ok_or("it lacks a column")?;
    }
    let Header { position, key, last_number, .. } = header;
    Ok(Checkpoint { position, key, last_number, rows })
}

fn read_rows(batch: &RecordBatch, rows: &mut Vec<Row>) -> Option<()> {
    let texts = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>();
    let numbers = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (table, period, entity) = (texts("table")?, texts("period")?, texts("entity")?);
    let (logic, fingerprint) = (texts("logic")?, texts("fingerprint")?);
    let (version, read_at) = (numbers("version")?, numbers("read_at")?);
    let (count, bytes) = (numbers("rows")?, numbers("bytes")?);
    let (took_ms, ran) = (numbers("took_ms")?, numbers("ran")?);
    // Earlier programs kept none.
    let files = texts("files");
    let latest = batch.column_by_name("latest")?.as_boolean_opt()?;
    let text = |column: &StringArray, at: usize| column.is_valid(at).then(|| column.value(at).to_owned());
    let number = |column: &Int64Array, at: usize| column.is_valid(at).then(|| column.value(at).unsigned_abs());
    rows.extend((0..batch.num_rows()).map(|at| Row {
        stored: Stored {
            table: table.value(at).to_owned(),
            period: text(period, at),
            entity: text(entity, at),
            version: number(version, at).unwrap_or_default(),
            read_at: number(read_at, at).unwrap_or_default(),
            logic: logic.value(at).to_owned(),
            fingerprint: text(fingerprint, at).unwrap_or_else(|| "0".repeat(64)),
            rows: number(count, at).unwrap_or_default(),
            bytes: number(bytes, at).unwrap_or_default(),
            files: files.and_then(|files| text(files, at)),
            took_ms: number(took_ms, at),
        },
        is_latest: latest.value(at),
        ran: number(ran, at),
    }));
    Some(())
}

//! Parquet footers: [`read_footer`] reads one file's rows, columns and sound metrics without reading a row.
//!
//! A file is an outsider's bytes: a truncated, empty or hostile one gives [`TableError::Corrupt`] that names it, with
//! bounded memory. What a footer says of values is passed on only where it is known to hold; see [`bounds`].

pub mod bounds;
mod guard;
mod known;
mod schema;

use std::sync::Arc;

use bytes::Bytes;
use lakeshift_core::schema::TableSchema;
use lakeshift_core::table::{FileFacts, TableError};
use lakeshift_core::value::Value;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use parquet::file::metadata::{FooterTail, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader};
use parquet::schema::types::SchemaDescPtr;

use crate::storage::store_error;

pub use bounds::ColumnMetrics;
pub use schema::Int96;

/// How much of the file's end is read at first; most footers fit.
const FIRST_READ_BYTES: u64 = 64 * 1024;
/// The longest footer that is read. Larger ones are refused as corrupt rather than loaded.
const FOOTER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of length and magic at the end of the file.
const TAIL_BYTES: usize = 8;
/// Leading magic, footer length and trailing magic.
const FILE_BYTES_MIN: u64 = 12;

/// What one Parquet file says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Footer {
    /// Rows.
    pub rows: u64,
    /// Columns as the file has them; field ids where the file has them.
    pub schema: Arc<TableSchema>,
    /// One entry for each leaf column, in the file's order.
    pub columns: Vec<ColumnMetrics>,
    /// Where each row group begins, in bytes from the file's start, ascending; empty when the footer does not tell
    /// soundly.
    pub split_offsets: Vec<i64>,
    /// Who wrote the file, as the file says.
    pub created_by: Option<String>,
    /// As [`FileFacts::two_level_list`].
    pub two_level_list: Option<String>,
}

impl Footer {
    /// The facts that core knows: those of the top-level primitive columns.
    pub fn facts(&self) -> FileFacts {
        let top = || self.columns.iter().filter_map(|column| Some((column.top_level()?, column)));
        let bounds = top().filter_map(|(name, column)| Some((name.to_owned(), column.bounds.clone()?))).collect();
        let null_counts = top().filter_map(|(name, column)| Some((name.to_owned(), column.nulls?))).collect();
        FileFacts {
            rows: self.rows,
            schema: Arc::clone(&self.schema),
            bounds,
            null_counts,
            deletes_by_position: false,
            two_level_list: self.two_level_list.clone(),
        }
    }

    /// Sound bounds of a top-level primitive column.
    pub fn bounds_of(&self, column: &str) -> Option<&(Value, Value)> {
        self.columns.iter().find(|metrics| metrics.top_level() == Some(column))?.bounds.as_ref()
    }
}

/// Reads the footer of the file at `path` on `store`, of `size` bytes as the listing said: one GET, or two when the
/// footer is long.
///
/// # Errors
/// [`TableError::Corrupt`] for what is no readable Parquet file, [`TableError::Unsupported`] for a type or an encryption
/// that Lakeshift does not know, [`TableError::Store`] when the store fails.
pub async fn read_footer(store: &dyn ObjectStore, path: &Path, size: u64) -> Result<Footer, TableError> {
    read_footer_with(store, path, size, Int96::Refused).await
}

/// As [`read_footer`], with a table's word on what INT96 is.
///
/// # Errors
/// As [`read_footer`].
pub async fn read_footer_with(store: &dyn ObjectStore, path: &Path, size: u64, int96: Int96) -> Result<Footer, TableError> {
    let bytes = footer_bytes(store, path, size, None).await?;
    parse_footer_with(path.as_ref(), &bytes, size, int96)
}

/// The footer's own bytes, without length and magic, for [`parse_footer_with`]. With an ETag only of the content that has it:
/// a file that was replaced since it was listed gives a [`TableError::Store`] whose source is object_store's `Precondition`.
///
/// # Errors
/// As [`read_footer`].
pub(crate) async fn footer_bytes(
    store: &dyn ObjectStore,
    path: &Path,
    size: u64,
    etag: Option<&str>,
) -> Result<Bytes, TableError> {
    let object = path.as_ref();
    if size < FILE_BYTES_MIN {
        return Err(corrupt(object, format!("{size} bytes are too few for a Parquet file")));
    }
    let start = size - size.min(FIRST_READ_BYTES);
    let end = get(store, path, start, size, etag).await?;
    let (body, tail) = end.split_at(end.len() - TAIL_BYTES);
    let length = footer_length(object, tail, size)?;
    let have = body.len() as u64;
    if length <= have {
        return Ok(end.slice((have - length) as usize..body.len()));
    }
    // The rest lies before what was read: `length` is at most the file without its magic and tail.
    let first = get(store, path, size - TAIL_BYTES as u64 - length, start, etag).await?;
    Ok([first.as_ref(), body].concat().into())
}

fn footer_length(object: &str, tail: &[u8], size: u64) -> Result<u64, TableError> {
    let tail = FooterTail::try_from(tail)
        .map_err(|_| corrupt(object, "it does not end in Parquet's magic (truncated, or no Parquet file)".to_owned()))?;
    if tail.is_encrypted_footer() {
        return Err(unsupported(object, "an encrypted footer", "decrypt the file, or leave it out by scope.where"));
    }
    let length = tail.metadata_length() as u64;
    if length > size - FILE_BYTES_MIN {
        return Err(corrupt(object, format!("its footer claims {length} bytes in a file of {size}")));
    }
    if length > FOOTER_BYTES_MAX {
        return Err(corrupt(object, format!("its footer claims {length} bytes; at most {FOOTER_BYTES_MAX} are read")));
    }
    Ok(length)
}

/// Exactly the bytes from `start` to `end`: a short answer means that the file is not what was listed.
async fn get(store: &dyn ObjectStore, path: &Path, start: u64, end: u64, etag: Option<&str>) -> Result<Bytes, TableError> {
    let answer = match etag {
        // On the local disk one step in place of two.
        None => {
            let range = start..end;
            store
                .get_ranges(path, std::slice::from_ref(&range))
                .await
                .map(|found| found.into_iter().next().unwrap_or_default())
        }
        Some(etag) => {
            let options =
                GetOptions { range: Some((start..end).into()), if_match: Some(etag.to_owned()), ..GetOptions::default() };
            async { store.get_opts(path, options).await?.bytes().await }.await
        }
    };
    match answer {
        Ok(bytes) if bytes.len() as u64 == end - start => Ok(bytes),
        Ok(_) => Err(shorter(path, end)),
        Err(error) => Err(range_error(store, path, end, error).await),
    }
}

/// A range past the end is told apart from a store that fails: the first means that the file shrank.
async fn range_error(store: &dyn ObjectStore, path: &Path, end: u64, error: object_store::Error) -> TableError {
    use object_store::Error as E;
    if matches!(error, E::NotFound { .. } | E::Precondition { .. }) {
        return store_error("read", path.as_ref(), error);
    }
    match store.head(path).await {
        Ok(meta) if meta.size < end => shorter(path, end),
        _ => store_error("read", path.as_ref(), error),
    }
}

fn shorter(path: &Path, end: u64) -> TableError {
    corrupt(path.as_ref(), format!("it is shorter than the {end} bytes that were listed (replaced meanwhile?)"))
}

/// Interprets a footer's bytes of the file `object`, which has `size` bytes in all.
///
/// # Errors
/// As [`read_footer`].
pub fn parse_footer(object: &str, footer: &[u8], size: u64) -> Result<Footer, TableError> {
    parse_footer_with(object, footer, size, Int96::Refused)
}

/// As [`parse_footer`], with a table's word on what INT96 is.
///
/// # Errors
/// As [`read_footer`].
pub fn parse_footer_with(object: &str, footer: &[u8], size: u64, int96: Int96) -> Result<Footer, TableError> {
    let schema = guard::check(footer).map_err(|reason| corrupt(object, format!("its footer is malformed: {reason}")))?;
    let known = known::find(schema, int96);
    let metadata = decode(object, footer, known.as_ref().map(|known| known.descriptor()))?;
    let file = metadata.file_metadata();
    let counted = metadata
        .row_groups()
        .iter()
        .try_fold(0_i64, |sum, group| (group.num_rows() >= 0).then(|| sum.checked_add(group.num_rows())).flatten());
    let rows = match counted {
        Some(counted) if counted == file.num_rows() => counted.unsigned_abs(),
        _ => return Err(corrupt(object, "its row groups do not add up to the rows that it claims".to_owned())),
    };
    let converted = match known {
        Some(known) => known.converted(),
        None => {
            let converted = Arc::new(schema::convert(object, file.schema_descr(), int96)?);
            known::keep(schema, int96, file.schema_descr_ptr(), &converted);
            converted
        }
    };
    Ok(Footer {
        rows,
        schema: Arc::clone(&converted.schema),
        columns: bounds::columns(&metadata, &converted.leaves),
        split_offsets: split_offsets(&metadata, size),
        created_by: file.created_by().map(str::to_owned),
        two_level_list: converted.two_level_list.clone(),
    })
}

/// Decodes, with the schema where it is known; a panic inside the decoder (it asserts on some malformed footers) is an error of this file alone.
fn decode(object: &str, footer: &[u8], schema: Option<&SchemaDescPtr>) -> Result<ParquetMetaData, TableError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| TableError::Corrupt {
        object: object.to_owned(),
        reason: "its footer cannot be decoded".to_owned(),
        source: Some(source),
    };
    let options = schema.map(|schema| ParquetMetaDataOptions::new().with_schema(Arc::clone(schema)));
    match std::panic::catch_unwind(|| ParquetMetaDataReader::decode_metadata_with_options(footer, options.as_ref())) {
        Ok(decoded) => decoded.map_err(|error| failed(Box::new(error))),
        Err(_) => Err(failed("the decoder gave up on it".into())),
    }
}

/// Each row group's first byte, or nothing where the footer contradicts itself.
fn split_offsets(metadata: &ParquetMetaData, size: u64) -> Vec<i64> {
    let start = |group: &parquet::file::metadata::RowGroupMetaData| -> Option<i64> {
        let first = group.columns().first()?;
        let data = first.data_page_offset();
        let offset =
            first.dictionary_page_offset().filter(|offset| *offset > 0).map_or(data, |dictionary| dictionary.min(data));
        (offset >= 4 && offset.unsigned_abs() < size).then_some(offset)
    };
    let offsets: Option<Vec<i64>> = metadata.row_groups().iter().map(start).collect();
    offsets.filter(|offsets| offsets.windows(2).all(|pair| pair[0] < pair[1])).unwrap_or_default()
}

pub(crate) fn corrupt(object: &str, reason: String) -> TableError {
    TableError::Corrupt { object: object.to_owned(), reason, source: None }
}

pub(crate) fn unsupported(object: &str, feature: impl Into<String>, advice: impl Into<String>) -> TableError {
    TableError::Unsupported { object: object.to_owned(), feature: feature.into(), advice: advice.into() }
}

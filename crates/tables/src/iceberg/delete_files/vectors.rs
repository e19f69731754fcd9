//! Deletion vectors: a bitmap for each data file, all of a commit in one Puffin file.

use std::collections::HashMap;

use bytes::Bytes;
use iceberg::io::FileIO;
use iceberg::puffin::{Blob, CREATED_BY_PROPERTY, CompressionCodec, DELETION_VECTOR_V1, PuffinReader, PuffinWriter};
use iceberg::spec::{DataFile, DataFileFormat};
use lakeshift_core::table::TableError;
use object_store::ObjectStoreExt;
use roaring::RoaringTreemap;

use super::super::fault::{corrupt, damaged, unreadable};
use super::super::location::Places;
use super::super::manifests::Writer;
use super::{Marked, built};
use crate::vector::{self, SIZE_BYTES_MAX};

/// The field that a vector is computed of: `_pos`.
const POS_ID: i32 = 2_147_483_645;
/// Snapshot id and sequence number in a blob's metadata, which are not known yet.
const UNKNOWN: i64 = -1;

/// One vector for each marked data file, in their order.
pub(super) async fn write(
    writer: &mut Writer<'_>,
    places: &Places,
    stem: &str,
    marked: &[Marked<'_>],
) -> Result<Vec<DataFile>, TableError> {
    let name = format!("{stem}-{}.puffin", writer.nonce());
    let mut vectors = Vec::with_capacity(marked.len());
    for one in marked {
        vectors.push(one.all_rows(places).await?);
    }
    let path = places.below_root(&name);
    let refused = |source| damaged(&path, "Iceberg's writer refuses its content; the table was left as it was", source);
    let (bytes, blobs) = encode(marked, &vectors).await.map_err(refused)?;
    let size_bytes = bytes.len() as u64;
    writer.put(&name, bytes).await?;
    let describe = |((one, rows), (offset, length)): ((&Marked<'_>, &RoaringTreemap), (u64, u64))| {
        let mut builder = one.describe(path.clone(), DataFileFormat::Puffin, rows.len(), size_bytes);
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        builder.content_offset(Some(signed(offset))).content_size_in_bytes(Some(signed(length)));
        built(&builder)
    };
    marked.iter().zip(&vectors).zip(blobs).map(describe).collect()
}

/// The Puffin file, and where in it each vector stands: offset and length in bytes.
async fn encode(marked: &[Marked<'_>], vectors: &[RoaringTreemap]) -> Result<(Bytes, Vec<(u64, u64)>), iceberg::Error> {
    const NAME: &str = "vectors";
    let scratch = FileIO::new_with_memory();
    let output = scratch.new_output(NAME)?;
    let by = concat!("Lakeshift ", env!("CARGO_PKG_VERSION")).to_owned();
    let properties = HashMap::from([(CREATED_BY_PROPERTY.to_owned(), by)]);
    let mut puffin = PuffinWriter::new(&output, properties, false).await?;
    for (one, rows) in marked.iter().zip(vectors) {
        let blob = Blob::builder()
            .r#type(DELETION_VECTOR_V1.to_owned())
            .fields(vec![POS_ID])
            .snapshot_id(UNKNOWN)
            .sequence_number(UNKNOWN)
            .data(vector::framed(rows))
            .properties(HashMap::from([
                ("referenced-data-file".to_owned(), one.file.file_path().to_owned()),
                ("cardinality".to_owned(), rows.len().to_string()),
            ]))
            .build();
        puffin.add(blob, CompressionCodec::None).await?;
    }
    puffin.close().await?;
    let written = PuffinReader::new(scratch.new_input(NAME)?);
    let blobs = written.file_metadata().await?.blobs().iter().map(|blob| (blob.offset(), blob.length())).collect();
    Ok((scratch.new_input(NAME)?.read().await?, blobs))
}

/// The rows that a vector of the data file `of` deletes.
pub(super) async fn read(places: &Places, of: &str, stored: &DataFile) -> Result<RoaringTreemap, TableError> {
    let damaged = |reason: &str| corrupt(of, format!("its deletion vector in {} {reason}", stored.file_path()));
    let (Some(offset), Some(length)) = (stored.content_offset(), stored.content_size_in_bytes()) else {
        return Err(damaged("has no offset or size in the manifest"));
    };
    let range = u64::try_from(offset).ok().zip(u64::try_from(length).ok());
    let (offset, length) = range.ok_or_else(|| damaged("has a negative offset or size"))?;
    if length > SIZE_BYTES_MAX {
        return Err(damaged(&format!("claims {length} bytes; at most {SIZE_BYTES_MAX} are read")));
    }
    let place = places.locate(stored.file_path())?;
    let bytes = place.storage.store().get_range(&place.path, offset..offset.saturating_add(length)).await;
    let bytes = bytes.map_err(|error| unreadable(stored.file_path(), error))?;
    let rows = vector::unframed(&bytes).and_then(|vector| vector::rows(vector, stored.record_count()));
    rows.map_err(|reason| damaged(&reason))
}

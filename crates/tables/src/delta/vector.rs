//! Deletion vectors: which rows of a data file a Delta table has deleted.
//!
//! A [`Vector`] is the log's descriptor; [`Vector::read`] fetches the one vector that it describes, and no other of the
//! same file, and believes it only when size, magic, checksum and cardinality agree (Delta's PROTOCOL.md, "Deletion Vector
//! Format"; the bitmap itself is read by [`crate::vector`]).

use lakeshift_core::storage::Storage;
use lakeshift_core::table::{DeletedRows, TableError};
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Deserialize;

use super::live;
use crate::footer::{corrupt, unsupported};
use crate::storage::{outside_error, store_error};
use crate::vector::{self, FRAMES_BYTES, SIZE_BYTES_MAX};

/// The version of a file of vectors, its first byte.
const FILE_VERSION: u8 = 1;
/// Where a stored vector begins when its descriptor does not say.
const OFFSET_DEFAULT: u64 = 1;
/// Characters of a UUID in Z85.
const UUID_CHARACTERS: usize = 20;

/// The log's `deletionVector`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Vector {
    storage_type: String,
    path_or_inline_dv: String,
    offset: Option<u64>,
    size_in_bytes: u64,
    /// Rows that it deletes.
    pub(super) cardinality: u64,
}

impl Vector {
    /// The descriptor of `file`, as the log's JSON has it.
    pub(super) fn parse(file: &str, json: &str) -> Result<Self, TableError> {
        serde_json::from_str(json).map_err(|error| TableError::Corrupt {
            object: file.to_owned(),
            reason: "its deletion vector is not described as the Delta protocol says".to_owned(),
            source: Some(Box::new(error)),
        })
    }

    /// The rows of `file` that are deleted.
    pub(super) async fn read(&self, file: &str, storage: &Storage) -> Result<DeletedRows, TableError> {
        let bytes = match self.storage_type.as_str() {
            "i" => z85::decode(&self.path_or_inline_dv).map_err(|error| damaged(file, &format!("is not Z85: {error}")))?,
            "u" => self.stored(file, storage, &self.relative_path(file)?).await?,
            "p" => self.stored(file, storage, &live::decode(storage.location(), &self.path_or_inline_dv)?).await?,
            other => {
                let feature = format!("a deletion vector of the storage type {other}");
                return Err(unsupported(file, feature, "purge the table's deletion vectors first"));
            }
        };
        self.decode(file, &bytes)
    }

    /// The file of vectors: an optional folder, then the UUID in Z85.
    fn relative_path(&self, file: &str) -> Result<String, TableError> {
        let text = self.path_or_inline_dv.as_str();
        let split = text.len().checked_sub(UUID_CHARACTERS).and_then(|at| text.split_at_checked(at));
        let uuid = split.and_then(|(_, uuid)| uuid::Uuid::from_slice(&z85::decode(uuid).ok()?).ok());
        match (split, uuid) {
            (Some(("", _)), Some(uuid)) => Ok(format!("deletion_vector_{uuid}.bin")),
            (Some((folder, _)), Some(uuid)) => Ok(format!("{folder}/deletion_vector_{uuid}.bin")),
            _ => Err(damaged(file, "has a path that is no UUID in Z85")),
        }
    }

    async fn stored(&self, file: &str, storage: &Storage, path: &str) -> Result<Vec<u8>, TableError> {
        if self.size_in_bytes > SIZE_BYTES_MAX {
            return Err(damaged(file, &format!("claims {} bytes; at most {SIZE_BYTES_MAX} are read", self.size_in_bytes)));
        }
        let object = storage.resolve(path).map_err(outside_error)?;
        let start = self.offset.unwrap_or(OFFSET_DEFAULT);
        let end = start.saturating_add(self.size_in_bytes + FRAMES_BYTES);
        let failed = |error| store_error("read the deletion vectors in", object.as_ref(), error);
        let meta = storage.store().head(&object).await.map_err(failed)?;
        if meta.size < end {
            return Err(damaged(file, &format!("ends at byte {end} of {path}, which has {} bytes", meta.size)));
        }
        let read = storage.store().get_ranges(&object, &[0..1, start..end]).await.map_err(failed)?;
        let [version, framed] = &read[..] else { return Err(damaged(file, "was not read whole")) };
        if version.first() != Some(&FILE_VERSION) {
            return Err(unsupported(file, "deletion vectors of another file version than 1", "purge them first"));
        }
        let vector = vector::unframed(framed).map_err(|reason| damaged(file, &format!("in {path} {reason}")))?;
        Ok(vector.to_vec())
    }

    fn decode(&self, file: &str, bytes: &[u8]) -> Result<DeletedRows, TableError> {
        let rows = vector::rows(bytes, self.cardinality).map_err(|reason| damaged(file, &reason))?;
        vector::ranges(file, rows)
    }
}

fn damaged(file: &str, reason: &str) -> TableError {
    corrupt(file, format!("its deletion vector {reason}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::path::Path;
    use rstest::rstest;
    use url::Url;

    use super::*;

    /// Example of the protocol: rows 3, 4, 7, 11, 18 and 29.
    const INLINE: &str = "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L";
    const ROWS: [u64; 6] = [3, 4, 7, 11, 18, 29];

    fn storage() -> Storage {
        Storage::new(Url::parse("memory:///lake/t").unwrap(), Arc::new(InMemory::new()), Path::from("lake/t"))
    }

    fn vector(kind: &str, text: &str, offset: Option<u64>, size: u64, cardinality: u64) -> Vector {
        let (storage_type, path_or_inline_dv) = (kind.to_owned(), text.to_owned());
        Vector { storage_type, path_or_inline_dv, offset, size_in_bytes: size, cardinality }
    }

    /// A file of two vectors; the second one is the protocol's example, at the offset that is told.
    fn stored() -> (Vec<u8>, u64, u64) {
        let framed = |vector: &[u8]| {
            [&(vector.len() as u32).to_be_bytes()[..], vector, &crc32fast::hash(vector).to_be_bytes()[..]].concat()
        };
        let example = z85::decode(INLINE).unwrap();
        let first = framed(b"some other vector");
        let offset = 1 + first.len() as u64;
        ([&[FILE_VERSION][..], &first, &framed(&example)].concat(), offset, example.len() as u64)
    }

    async fn read(vector: &Vector, bytes: Vec<u8>, path: &str) -> Result<DeletedRows, TableError> {
        let storage = storage();
        storage.store().put(&storage.resolve(path).unwrap(), bytes.into()).await.unwrap();
        vector.read("f.parquet", &storage).await
    }

    #[tokio::test]
    async fn an_inline_vector_is_read() {
        let rows = vector("i", INLINE, None, 44, 6).read("f.parquet", &storage()).await.unwrap();
        assert_eq!(rows, DeletedRows::from_ascending(ROWS).unwrap());
    }

    #[rstest]
    #[case("u", "vBn[lx{q8@P<9BNH/isA", "deletion_vector_61d16c75-6994-46b7-a15b-8b538852e50e.bin")]
    #[case("u", "ab^-aqEH.-t@S}K{vb[*k^", "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin")]
    #[case("p", "memory:///lake/t/some%20vectors.bin", "some vectors.bin")]
    #[tokio::test]
    async fn a_stored_vector_is_read_from_its_place(#[case] kind: &str, #[case] text: &str, #[case] path: &str) {
        let (bytes, offset, size) = stored();
        let rows = read(&vector(kind, text, Some(offset), size, 6), bytes, path).await.unwrap();
        assert_eq!(rows, DeletedRows::from_ascending(ROWS).unwrap());
    }

    #[rstest]
    #[case::cardinality(|v: &mut Vector, _: &mut Vec<u8>| v.cardinality = 5, "deletes 6 rows where the metadata says 5")]
    #[case::checksum(|_: &mut Vector, b: &mut Vec<u8>| *b.last_mut().unwrap() ^= 1, "checksum")]
    #[case::content(|v: &mut Vector, b: &mut Vec<u8>| b[v.offset.unwrap() as usize + 20] ^= 1, "checksum")]
    #[case::size(|v: &mut Vector, _: &mut Vec<u8>| v.size_in_bytes -= 1, "another size")]
    #[case::huge(|v: &mut Vector, _: &mut Vec<u8>| v.size_in_bytes = u64::MAX, "at most")]
    #[case::short(|_: &mut Vector, b: &mut Vec<u8>| b.truncate(60), "ends at byte")]
    #[case::version(|_: &mut Vector, b: &mut Vec<u8>| b[0] = 2, "file version")]
    #[case::kind(|v: &mut Vector, _: &mut Vec<u8>| v.storage_type = "x".to_owned(), "storage type x")]
    #[case::outside(|v: &mut Vector, _: &mut Vec<u8>| (v.storage_type, v.path_or_inline_dv) = ("p".into(), "memory:///other/v".into()), "outside")]
    #[case::path(|v: &mut Vector, _: &mut Vec<u8>| v.path_or_inline_dv = "é".to_owned(), "no UUID")]
    #[case::inline(|v: &mut Vector, _: &mut Vec<u8>| (v.storage_type, v.path_or_inline_dv) = ("i".into(), String::new()), "cut off")]
    #[tokio::test]
    async fn a_vector_that_does_not_agree_with_itself_is_refused(
        #[case] spoil: fn(&mut Vector, &mut Vec<u8>),
        #[case] named: &str,
    ) {
        let (mut bytes, offset, size) = stored();
        let mut vector = vector("u", "vBn[lx{q8@P<9BNH/isA", Some(offset), size, 6);
        spoil(&mut vector, &mut bytes);
        let error = read(&vector, bytes, "deletion_vector_61d16c75-6994-46b7-a15b-8b538852e50e.bin").await.unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}

//! The sums of files, kept beside the migration: a file that was read once under the same key need not be read again.
//!
//! ```text
//! readings/0001/shape.json      key, encoding, columns, cells: of all sums in the folder
//! readings/0001/7f3a….json      sums of some files
//! ```
//!
//! A folder's key is drawn when the folder is begun, after both sides were pinned. What it may hold later was written
//! when the key was already in this folder: see `docs/equivalence.md` on what that means.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use lakeshift_core::equivalence::{CellKey, CellPrint, Fingerprint, FingerprintShape, ValidationKey};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::FileEntry;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::read::SideReading;
use crate::error::Error;

const FOLDER: &str = "readings";
const SHAPE: &str = "shape.json";

/// A folder of sums under one key.
#[derive(Debug)]
pub struct Kept {
    folder: Storage,
    shape: FingerprintShape,
}

/// A file's sums.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The file, its content and how it was read: [`SideReading::key_of`].
    pub(super) key: String,
    /// How many of the shape's fields divide the cells.
    depth: usize,
    cells: Vec<(CellKey, CellPrint)>,
}

impl Record {
    pub(super) fn new(key: String, print: &Fingerprint) -> Self {
        let cells = print.cells().iter().map(|(cell, print)| (cell.clone(), print.clone())).collect();
        Self { key, depth: print.fields().len(), cells }
    }

    fn print(&self, shape: &FingerprintShape) -> Fingerprint {
        let mut print = Fingerprint::empty(shape.clone());
        print.coarsen(self.depth);
        self.cells.iter().for_each(|(cell, sums)| print.add_cell(cell, sums));
        print
    }
}

/// A side's files: whose sums are known, and which are to be read.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) sums: Fingerprint,
    pub(super) files: Vec<FileEntry>,
    pub(super) unread: Vec<FileEntry>,
}

impl Kept {
    /// The newest folder, if its sums were taken in this shape under whichever key; else, or to read all, a new one.
    pub(super) async fn open(
        migration: &Storage,
        read_all: bool,
        draw_key: impl FnOnce() -> ValidationKey,
        shape: impl Fn(ValidationKey) -> FingerprintShape,
    ) -> Result<Self, Error> {
        let root = migration.child(FOLDER);
        let newest = newest(&root).await?;
        if let Some(number) = newest.filter(|_| !read_all) {
            let folder = root.child(&format!("{number:04}"));
            let found: Option<FingerprintShape> = read(&folder, SHAPE).await?;
            if let Some(found) = found.filter(|found| *found == shape(found.key)) {
                return Ok(Self { folder, shape: found });
            }
        }
        let own = shape(draw_key());
        // A runner that was thought dead may begin a folder as well: sums under two keys in one would contradict each other.
        for number in newest.unwrap_or(0) + 1.. {
            let folder = root.child(&format!("{number:04}"));
            if begin(&folder, &own).await? {
                return Ok(Self { folder, shape: own });
            }
        }
        unreachable!("a migration has not begun 4 billion folders of sums")
    }

    pub(super) fn shape(&self) -> &FingerprintShape {
        &self.shape
    }

    /// Keeps the sums of some files.
    pub(super) async fn keep(&self, records: &[Record]) -> Result<(), Error> {
        let name = records.iter().fold(Sha256::new(), |hash, record| hash.chain_update(&record.key)).finalize();
        write(&self.folder, &format!("{name:x}.json"), &records).await
    }

    /// What is kept of each side's files.
    pub(super) async fn known(
        &self,
        sides: &[&SideReading<'_>; 2],
        files: [&Vec<FileEntry>; 2],
    ) -> Result<[Known; 2], Error> {
        let mut wanted: [HashMap<String, Vec<FileEntry>>; 2] = [HashMap::new(), HashMap::new()];
        for index in 0..2 {
            for file in files[index] {
                wanted[index].entry(sides[index].key_of(file)).or_default().push(file.clone());
            }
        }
        let none = || Known { sums: Fingerprint::empty(self.shape.clone()), files: Vec::new(), unread: Vec::new() };
        let mut known = [none(), none()];
        self.visit(|record| {
            for index in 0..2 {
                for file in wanted[index].remove(&record.key).unwrap_or_default() {
                    known[index].sums.add(&record.print(&self.shape))?;
                    known[index].files.push(file);
                }
            }
            Ok(())
        })
        .await?;
        for (known, wanted) in known.iter_mut().zip(wanted) {
            known.unread = wanted.into_values().flatten().collect();
            known.unread.sort_by(|a, b| a.path.cmp(&b.path));
        }
        Ok(known)
    }

    /// The keys of the files that have rows in one of `cells`, cells of the first `depth` fields.
    pub(super) async fn holders(&self, cells: &BTreeSet<CellKey>, depth: usize) -> Result<BTreeSet<String>, Error> {
        let mut holders = BTreeSet::new();
        self.visit(|record| {
            // A file that is told in wider cells may have rows in each of them.
            let may = record.depth < depth || record.cells.iter().any(|(cell, _)| cells.contains(&cell.prefix(depth)));
            if may {
                holders.insert(record.key);
            }
            Ok(())
        })
        .await?;
        Ok(holders)
    }

    async fn visit(&self, mut visit: impl FnMut(Record) -> Result<(), Error>) -> Result<(), Error> {
        let failed = |source| Error::Store { action: "list", object: self.folder.location().to_owned(), source };
        let mut listing = self.folder.store().list(Some(self.folder.prefix()));
        while let Some(object) = listing.try_next().await.map_err(failed)? {
            let name = object.location.filename().unwrap_or_default();
            if name == SHAPE {
                continue;
            }
            let records: Option<Vec<Record>> = read(&self.folder, name).await?;
            records.into_iter().flatten().try_for_each(&mut visit)?;
        }
        Ok(())
    }
}

async fn newest(root: &Storage) -> Result<Option<u32>, Error> {
    let failed = |source| Error::Store { action: "list", object: root.location().to_owned(), source };
    let listed = root.store().list_with_delimiter(Some(root.prefix())).await.map_err(failed)?;
    let numbers = listed.common_prefixes.iter().filter_map(|folder| folder.filename()?.parse().ok());
    Ok(numbers.max())
}

/// Makes a folder one of this shape; false where somebody else was first, whatever the store answered.
async fn begin(folder: &Storage, shape: &FingerprintShape) -> Result<bool, Error> {
    let object = folder.url_of(SHAPE);
    let json = serde_json::to_vec(shape).map_err(|source| Error::Json { object: object.clone(), source })?;
    let options = PutOptions::from(PutMode::Create);
    match folder.store().put_opts(&folder.resolve(SHAPE)?, json.into(), options).await {
        Ok(_) => Ok(true),
        Err(source) => match read::<FingerprintShape>(folder, SHAPE).await? {
            Some(found) => Ok(found == *shape),
            None => Err(Error::Store { action: "write", object, source }),
        },
    }
}

async fn read<T: for<'de> Deserialize<'de>>(folder: &Storage, name: &str) -> Result<Option<T>, Error> {
    let object = folder.url_of(name);
    let bytes = match folder.store().get(&folder.resolve(name)?).await {
        Ok(found) => found.bytes().await,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => Err(error),
    };
    let bytes = bytes.map_err(|source| Error::Store { action: "read", object: object.clone(), source })?;
    serde_json::from_slice(&bytes).map(Some).map_err(|source| Error::Json { object, source })
}

async fn write<T: Serialize + ?Sized>(folder: &Storage, name: &str, value: &T) -> Result<(), Error> {
    let object = folder.url_of(name);
    let json = serde_json::to_vec(value).map_err(|source| Error::Json { object: object.clone(), source })?;
    let put = folder.store().put(&folder.resolve(name)?, json.into()).await;
    put.map(drop).map_err(|source| Error::Store { action: "write", object, source })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lakeshift_core::equivalence::Encoding;
    use lakeshift_testkit::{FaultPlan, FaultStore};
    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;

    /// Each operation lets the other runner go first, so that both have listed before either writes.
    #[tokio::test]
    async fn two_runners_that_begin_at_once_never_share_a_folder() {
        let store = Arc::new(FaultStore::new(Arc::new(InMemory::new()), FaultPlan::None));
        let migration = Storage::new(url::Url::parse("memory:///m").unwrap(), store, Path::from("m"));
        let shape = |key| FingerprintShape { encoding: Encoding::default(), key, columns: Vec::new(), fields: Vec::new() };
        let open = |key: u8| Kept::open(&migration, false, move || ValidationKey::new([key; 16]), shape);
        let (one, other) = tokio::join!(open(1), open(2));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_ne!(one.folder.location(), other.folder.location());
        assert_ne!(one.shape.key, other.shape.key);
        assert_eq!(read::<FingerprintShape>(&one.folder, SHAPE).await.unwrap(), Some(one.shape));
    }
}

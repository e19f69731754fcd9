//! The filesystem catalogue: `metadata/vN.metadata.json`, of which the highest N is the table.
//!
//! Creating v(N+1) is the compare-and-swap: [`object_store::PutMode::Create`] lets one writer do it. `version-hint.text` is
//! only a hint and may lag; readers go forward from it. [`Catalog::publish`] tells its own write from another's by its
//! content, so that a lost response is not taken for a lost race.

use bytes::Bytes;
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::TableError;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};

use super::fault::{damaged, unsupported};
use crate::storage::{outside_error, store_error};

const METADATA: &str = "metadata";
const HINT: &str = "metadata/version-hint.text";
/// Beyond this many versions after the hint a listing is cheaper than asking one by one.
const PROBES_MAX: u64 = 16;

/// The metadata files below one location.
#[derive(Debug, Clone)]
pub(super) struct Catalog {
    root: Storage,
    /// A metadata file, relative to the root, that is the table whatever else stands there; such a table is only read.
    fixed: Option<String>,
}

/// One state of the table's metadata.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// N of `vN.metadata.json`; 0 for a fixed metadata file.
    pub number: u64,
    /// The file, relative to the root.
    pub file: String,
    pub metadata: TableMetadata,
}

/// What an attempt to create the next version came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Published {
    Ours,
    Taken,
}

/// The metadata files of a folder.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The highest numbered one.
    pub newest: Option<(u64, String)>,
    /// Those that a catalogue wrote, which keeps the current one's name outside of the folder.
    pub catalogued: Vec<String>,
}

impl Catalog {
    pub fn new(root: Storage) -> Self {
        Self { root, fixed: None }
    }

    pub fn fix(&mut self, file: String) {
        self.fixed = Some(file);
    }

    pub fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// The table now; `None` where there is none.
    pub async fn current(&self) -> Result<Option<Base>, TableError> {
        if let Some(file) = &self.fixed {
            return Ok(Some(self.read(0, file.clone()).await?));
        }
        match self.newest().await? {
            Some((number, file)) => Ok(Some(self.read(number, file).await?)),
            None => Ok(None),
        }
    }

    async fn newest(&self) -> Result<Option<(u64, String)>, TableError> {
        let Some(hinted) = self.hinted().await? else { return self.newest_listed().await };
        let Some(mut newest) = self.find(hinted).await? else { return self.newest_listed().await };
        for number in hinted + 1..=hinted + PROBES_MAX {
            match self.find(number).await? {
                Some(next) => newest = next,
                None => return Ok(Some(newest)),
            }
        }
        self.newest_listed().await
    }

    async fn newest_listed(&self) -> Result<Option<(u64, String)>, TableError> {
        let listed = self.list().await?;
        match (listed.newest, listed.catalogued.last()) {
            (None, Some(file)) => Err(unsupported(
                self.root.location(),
                format!("a catalogue ({file} is not named vN.metadata.json)"),
                "a folder does not tell which of its metadata files is current; name the metadata file in the spec",
            )),
            (newest, _) => Ok(newest),
        }
    }

    /// Every metadata file of the folder.
    pub async fn list(&self) -> Result<Listed, TableError> {
        let folder = self.path(METADATA)?;
        let failed = |source| store_error("list", &format!("{}/{METADATA}", self.root.location()), source);
        let mut listed = Listed::default();
        let mut objects = self.root.store().list(Some(&folder));
        while let Some(object) = objects.try_next().await.map_err(failed)? {
            let Some(name) = object.location.filename().filter(|name| name.ends_with(".metadata.json")) else { continue };
            let file = format!("{METADATA}/{name}");
            match number_of(name) {
                Some(number) if listed.newest.as_ref().is_none_or(|(newest, _)| number > *newest) => {
                    listed.newest = Some((number, file));
                }
                Some(_) => {}
                None => listed.catalogued.push(file),
            }
        }
        listed.catalogued.sort();
        Ok(listed)
    }

    async fn hinted(&self) -> Result<Option<u64>, TableError> {
        let bytes = self.get(HINT).await?;
        Ok(bytes.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim().parse().ok()))
    }

    /// The file of one version, plain or compressed.
    async fn find(&self, number: u64) -> Result<Option<(u64, String)>, TableError> {
        for file in [plain(number), format!("{METADATA}/v{number}.gz.metadata.json")] {
            match self.root.store().head(&self.path(&file)?).await {
                Ok(_) => return Ok(Some((number, file))),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(store_error("look for", &self.name(&file), source)),
            }
        }
        Ok(None)
    }

    async fn read(&self, number: u64, file: String) -> Result<Base, TableError> {
        let bytes = self.get(&file).await?.ok_or_else(|| TableError::NotFound {
            format: lakeshift_core::table::Format::Iceberg,
            location: self.name(&file),
        })?;
        let metadata = parse(bytes)
            .await
            .map_err(|source| damaged(self.name(&file), "it is not table metadata that can be read", source))?;
        Ok(Base { number, file, metadata })
    }

    /// Creates version `number`, unless another writer has.
    pub async fn publish(&self, number: u64, content: Bytes) -> Result<Published, TableError> {
        let file = plain(number);
        let options = PutOptions::from(PutMode::Create);
        if let Err(error) = self.root.store().put_opts(&self.path(&file)?, content.clone().into(), options).await {
            // The write may have taken effect all the same: only what stands there tells.
            match self.get(&file).await? {
                Some(found) if found == content => {}
                Some(_) => return Ok(Published::Taken),
                None => return Err(store_error("create", &self.name(&file), error)),
            }
        }
        self.hint(number).await;
        Ok(Published::Ours)
    }

    /// Points readers at `number`. It is a hint: failing to write it undoes nothing.
    pub async fn hint(&self, number: u64) {
        let Ok(path) = self.path(HINT) else { return };
        if let Err(error) = self.root.store().put(&path, number.to_string().into_bytes().into()).await {
            let table = self.root.location();
            tracing::warn!(table, number, %error, "could not update the version hint; readers probe past it");
        }
    }

    async fn get(&self, file: &str) -> Result<Option<Bytes>, TableError> {
        let failed = |source| store_error("read", &self.name(file), source);
        match self.root.store().get(&self.path(file)?).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(failed)?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed(source)),
        }
    }

    fn path(&self, file: &str) -> Result<Path, TableError> {
        self.root.resolve(file).map_err(outside_error)
    }

    /// The file as people know it.
    fn name(&self, file: &str) -> String {
        format!("{}/{file}", self.root.location())
    }
}

fn plain(number: u64) -> String {
    format!("{METADATA}/v{number}.metadata.json")
}

/// N of `vN.metadata.json` and `vN.gz.metadata.json`.
fn number_of(name: &str) -> Option<u64> {
    let stem = name.strip_prefix('v')?.strip_suffix(".metadata.json")?;
    stem.strip_suffix(".gz").unwrap_or(stem).parse().ok()
}

/// Parses metadata, compressed or not: the library tells them apart by their first bytes, but reads only files.
async fn parse(bytes: Bytes) -> Result<TableMetadata, iceberg::Error> {
    let scratch = FileIO::new_with_memory();
    scratch.new_output("metadata")?.write(bytes).await?;
    TableMetadata::read_from(&scratch, "metadata").await
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn only_the_filesystem_catalogues_names_have_a_number() {
        assert_eq!(number_of("v12.metadata.json"), Some(12));
        assert_eq!(number_of("v12.gz.metadata.json"), Some(12));
        assert_eq!(number_of("00012-5c1e.metadata.json"), None);
        assert_eq!(number_of("v12.json"), None);
    }
}

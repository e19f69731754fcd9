//! [`Filesystem`]: the table's folder is its catalogue, and the highest N of `metadata/vN.metadata.json` is the table.
//!
//! Creating v(N+1) is the compare-and-swap: [`object_store::PutMode::Create`] lets one writer do it. `version-hint.text` is
//! only a hint and may lag; readers go forward from it.

use async_trait::async_trait;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{MigrationId, TableError};

use super::super::create::METADATA_CODEC;
use super::super::fault::unsupported;
use super::super::marks;
use super::folder::Folder;
use super::{Base, Catalog, Next, Occupant, Published, number_of};

const HINT: &str = "metadata/version-hint.text";
/// Beyond this many versions after the hint a listing is cheaper than asking one by one.
const PROBES_MAX: u64 = 16;

/// The metadata files below one location.
#[derive(Debug, Clone)]
pub(in super::super) struct Filesystem {
    folder: Folder,
}

/// The metadata files of a folder.
#[derive(Debug, Default)]
struct Listed {
    /// The highest numbered one.
    newest: Option<(u64, String)>,
    /// Those that another catalogue wrote, which keeps the current one's name outside of the folder.
    catalogued: Vec<String>,
}

impl Filesystem {
    pub fn new(root: Storage) -> Self {
        Self { folder: Folder::new(root) }
    }

    async fn newest(&self) -> Result<Option<String>, TableError> {
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

    async fn newest_listed(&self) -> Result<Option<String>, TableError> {
        let listed = self.list().await?;
        match (listed.newest, listed.catalogued.last()) {
            (None, Some(file)) => Err(unsupported(
                self.folder.name(),
                format!("a catalogue ({file} is not named vN.metadata.json)"),
                "a folder does not tell which of its metadata files is current; name its `catalog` in the spec",
            )),
            (newest, _) => Ok(newest.map(|(_, file)| file)),
        }
    }

    async fn list(&self) -> Result<Listed, TableError> {
        let mut listed = Listed::default();
        for file in self.folder.list().await? {
            match number_of(&file).filter(|_| is_numbered(&file)) {
                Some(number) if listed.newest.as_ref().is_none_or(|(newest, _)| number > *newest) => {
                    listed.newest = Some((number, file));
                }
                Some(_) => {}
                None => listed.catalogued.push(file),
            }
        }
        Ok(listed)
    }

    async fn hinted(&self) -> Result<Option<u64>, TableError> {
        let bytes = self.folder.get(HINT).await?;
        Ok(bytes.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim().parse().ok()))
    }

    /// The file of one version, plain or compressed.
    async fn find(&self, number: u64) -> Result<Option<String>, TableError> {
        for file in [plain(number), format!("metadata/v{number}.gz.metadata.json")] {
            if self.folder.exists(&file).await? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Points readers at `number`. It is a hint: failing to write it undoes nothing.
    async fn hint(&self, number: u64) {
        if let Err(error) = self.folder.put(HINT, number.to_string()).await {
            let table = self.folder.name();
            tracing::warn!(table, number, %error, "could not update the version hint; readers probe past it");
        }
    }
}

#[async_trait]
impl Catalog for Filesystem {
    async fn current(&self) -> Result<Option<Base>, TableError> {
        match self.newest().await? {
            Some(file) => self.folder.base(&file).await.map(Some),
            None => Ok(None),
        }
    }

    async fn publish(&self, base: Option<&Base>, next: &Next) -> Result<Published, TableError> {
        let number = base.and_then(|base| number_of(&base.location)).unwrap_or(0) + 1;
        let published = self.folder.create(&plain(number), &next.content).await?;
        if published == Published::Ours {
            self.hint(number).await;
        }
        Ok(published)
    }

    async fn occupant(&self, migration: &MigrationId) -> Result<Option<Occupant>, TableError> {
        let listed = self.list().await?;
        let Some((number, file)) = listed.newest else {
            return Ok(listed.catalogued.into_iter().next().map(Occupant::Stranger));
        };
        let base = self.folder.base(&file).await?;
        if marks::is_created_by(&base.metadata, migration) {
            // A crash may have come between the metadata file and the hint.
            self.hint(number).await;
        }
        Ok(Some(Occupant::Table(Box::new(base))))
    }

    async fn bypasses(&self) -> Result<Vec<String>, TableError> {
        Ok(self.list().await?.catalogued)
    }

    fn check_writable(&self, base: &Base) -> Result<(), TableError> {
        let codec = base.metadata.properties().get(METADATA_CODEC).filter(|codec| codec.as_str() != "none");
        if codec.is_some() || base.location.ends_with(".gz.metadata.json") {
            let advice = format!("set {METADATA_CODEC}=none by the table's own writer first");
            return Err(unsupported(self.folder.name(), "compressed metadata, whose versions have two names", advice));
        }
        Ok(())
    }
}

fn plain(number: u64) -> String {
    format!("metadata/v{number}.metadata.json")
}

/// Whether a metadata file is named as this catalogue names its own.
pub(super) fn is_numbered(file: &str) -> bool {
    file.rsplit('/').next().is_some_and(|name| name.starts_with('v')) && number_of(file).is_some()
}

#[cfg(test)]
mod tests {
    use super::is_numbered;

    #[test]
    fn only_this_catalogues_names_count_as_its_versions() {
        assert!(is_numbered("metadata/v12.metadata.json") && is_numbered("metadata/v12.gz.metadata.json"));
        assert!(!is_numbered("metadata/00012-5c1e.metadata.json") && !is_numbered("metadata/v12-a.metadata.json"));
    }
}

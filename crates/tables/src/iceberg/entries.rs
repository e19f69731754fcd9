//! [`EntrySwap`]: two tables of one SQL catalogue exchange their entries, so that whoever asks the catalogue for the one name
//! gets the other table from then on, readers and writers alike.
//!
//! Both rows change in one transaction, each only if it names what it named when it was looked at: a commit of a writer that
//! comes in between makes the exchange look again, and a writer that began before it finds its row moved, as after any lost race.
//! REST catalogues have no request that changes two names at once.

use async_trait::async_trait;
use lakeshift_core::migration::Side;
use lakeshift_core::pointer::ReaderPointer;
use lakeshift_core::spec::{Catalog as CatalogSpec, CatalogCredentials};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::TableError;

use super::catalog::{Folder, SqlCatalog};
use super::fault::unsupported;

/// How often an exchange that lost its race against a writer's commit is tried anew.
const ATTEMPTS_MAX: usize = 20;

/// The entries of the old and the new table.
#[derive(Debug)]
pub struct EntrySwap {
    /// The entry that readers ask for: the old table's by the spec.
    readers: SqlCatalog,
    /// The new table's by the spec.
    spare: SqlCatalog,
    old: Folder,
    new: Folder,
}

impl EntrySwap {
    /// The entries `readers` and `spare` of the tables in the folders `old` and `new`. Does no I/O.
    pub fn new([old, new]: [Storage; 2], [readers, spare]: [&CatalogSpec; 2], credentials: &CatalogCredentials) -> Self {
        Self {
            readers: SqlCatalog::new(old.clone(), readers, credentials),
            spare: SqlCatalog::new(new.clone(), spare, credentials),
            old: Folder::new(old),
            new: Folder::new(new),
        }
    }

    /// Lets the readers' entry name the table of `side`, and the spare one the other. A rehearsal does the same and takes it back
    /// before anybody can see it.
    async fn exchange(&self, side: Side, rehearsal: bool) -> Result<(), TableError> {
        for _ in 0..ATTEMPTS_MAX {
            let (now, named) = self.side_of(&self.readers, self.readers.pointer().await?).await?;
            if now == side {
                return Ok(());
            }
            let (other, spare) = self.side_of(&self.spare, self.spare.pointer().await?).await?;
            if other == now {
                // Looked at while somebody exchanged them.
                continue;
            }
            match self.readers.exchange(&self.spare, [&named, &spare], rehearsal).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    return match self.named().await? == side {
                        true => Ok(()),
                        false => Err(error),
                    };
                }
            }
        }
        Err(unsupported(
            self.readers.name(),
            format!("writers that committed {ATTEMPTS_MAX} times while its entry was to be moved"),
            "hold them off by cutover.fence; no entry was moved",
        ))
    }

    /// Which table an entry's metadata file is of, and the file.
    async fn side_of(&self, entry: &SqlCatalog, pointer: Option<String>) -> Result<(Side, String), TableError> {
        let Some(pointer) = pointer else {
            let feature = "no entry of that name";
            return Err(unsupported(entry.name(), feature, "check the spec's `catalog.table`; no entry was moved"));
        };
        match self.old.base_at(entry.name(), &pointer).await {
            Ok(_) => Ok((Side::Old, pointer)),
            Err(TableError::Elsewhere { .. }) => {
                self.new.base_at(entry.name(), &pointer).await?;
                Ok((Side::New, pointer))
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl ReaderPointer for EntrySwap {
    fn name(&self) -> String {
        format!("the catalogue's entry {}", self.readers.name())
    }

    async fn named(&self) -> Result<Side, TableError> {
        let pointer = self.readers.pointer().await?;
        let (side, _) = self.side_of(&self.readers, pointer).await?;
        Ok(side)
    }

    async fn point(&self, side: Side) -> Result<(), TableError> {
        self.exchange(side, false).await
    }

    async fn rehearse(&self, side: Side) -> Result<(), TableError> {
        self.exchange(side, true).await
    }
}

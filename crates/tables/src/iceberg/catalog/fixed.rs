//! [`Fixed`]: one metadata file is the table, whatever else stands in the folder. Such a table is only read.

use async_trait::async_trait;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{MigrationId, TableError};

use super::super::fault::unsupported;
use super::folder::Folder;
use super::{Base, Catalog, Next, Occupant, Published};

/// A metadata file, relative to the table's folder.
#[derive(Debug)]
pub(in super::super) struct Fixed {
    folder: Folder,
    file: String,
}

impl Fixed {
    pub fn new(root: Storage, file: String) -> Self {
        Self { folder: Folder::new(root), file }
    }

    fn read_only(&self) -> TableError {
        let advice = "open the table by its folder or its catalogue, without a metadata file";
        unsupported(self.folder.name(), "a fixed metadata file (it is only read)", advice)
    }
}

#[async_trait]
impl Catalog for Fixed {
    async fn current(&self) -> Result<Option<Base>, TableError> {
        self.folder.base(&self.file).await.map(Some)
    }

    async fn publish(&self, _base: Option<&Base>, _next: &Next) -> Result<Published, TableError> {
        Err(self.read_only())
    }

    async fn occupant(&self, _migration: &MigrationId) -> Result<Option<Occupant>, TableError> {
        Err(self.read_only())
    }

    fn check_writable(&self, _base: &Base) -> Result<(), TableError> {
        Err(self.read_only())
    }
}

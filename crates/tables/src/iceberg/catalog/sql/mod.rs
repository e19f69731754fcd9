//! [`SqlCatalog`]: a row of the database table `iceberg_tables` names the metadata file that is the table, as the JDBC
//! catalogue of Iceberg and the SQL catalogue of pyiceberg have it. SQLite and PostgreSQL.
//!
//! A commit writes `metadata/NNNNN-<uuid>.metadata.json`, then moves the row from the base's file to it: one row moved is the
//! compare-and-swap. After a lost response the row, or the metadata log of who came after, tells whether it was moved.

mod database;

use async_trait::async_trait;
use lakeshift_core::spec::{Catalog as CatalogSpec, CatalogCredentials};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{MigrationId, TableError};

use self::database::{Database, Row};
use super::super::fault::unsupported;
use super::filesystem::is_numbered;
use super::folder::Folder;
use super::{Base, Catalog, Next, Occupant, Published, number_of};

/// One table of a SQL catalogue.
#[derive(Debug)]
pub(in super::super) struct SqlCatalog {
    /// The table and its catalogue as people know them, without credentials.
    name: String,
    folder: Folder,
    database: Database,
    /// The row that a cutover exchanges with this one: the table is at one of the two.
    other: Option<Database>,
}

impl SqlCatalog {
    pub fn new(root: Storage, catalog: &CatalogSpec, credentials: &CatalogCredentials) -> Self {
        let database = Database::new(catalog, credentials);
        let owner = catalog.name.as_deref().unwrap_or_default();
        let name = format!("{} of the catalogue {owner} at {}", catalog.table, catalog.uri);
        Self { name, folder: Folder::new(root), database, other: None }
    }

    /// The same table, which may be at the entry `table` of the catalogue instead.
    #[must_use]
    pub fn or_at(mut self, catalog: &CatalogSpec, table: &str, credentials: &CatalogCredentials) -> Self {
        let catalog = CatalogSpec { table: table.to_owned(), ..catalog.clone() };
        self.other = Some(Database::new(&catalog, credentials));
        self
    }

    /// The entry as people know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The metadata file that the row names.
    pub async fn pointer(&self) -> Result<Option<String>, TableError> {
        self.pointer_of(&self.database).await
    }

    /// Exchanges what this row and `other`'s name, if they name `expected`; whether they did.
    pub async fn exchange(&self, other: &Self, expected: [&str; 2], rehearsal: bool) -> Result<bool, TableError> {
        let exchanged = self.database.exchange(&other.database, expected, rehearsal).await;
        exchanged.map_err(|source| self.failed("exchange the entries of", source))
    }

    async fn pointer_of(&self, database: &Database) -> Result<Option<String>, TableError> {
        match database.row().await.map_err(|source| self.failed("look up", source))? {
            Some(Row { is_view: true, .. }) => {
                Err(unsupported(&self.name, "a view of that name", "name a table in the spec's `catalog.table`"))
            }
            Some(Row { location, .. }) => Ok(location),
            None => Ok(None),
        }
    }

    /// The table, at whichever row names it.
    async fn find(&self) -> Result<Option<Base>, TableError> {
        let own = self.at(&self.database).await;
        let (Some(other), Ok(None) | Err(TableError::Elsewhere { .. })) = (&self.other, &own) else { return own };
        match self.at(other).await {
            // Rows that are exchanged between two looks show each the other table.
            Ok(None) | Err(TableError::Elsewhere { .. }) => self.at(&self.database).await,
            found => found,
        }
    }

    /// The table at one row; an error where the row names another.
    async fn at(&self, database: &Database) -> Result<Option<Base>, TableError> {
        match self.pointer_of(database).await? {
            Some(location) => self.folder.base_at(&self.name, &location).await.map(Some),
            None => Ok(None),
        }
    }

    /// Moves the row that names the base.
    async fn swap(&self, from: &str, to: &str) -> Result<bool, sqlx::Error> {
        for database in [Some(&self.database), self.other.as_ref()].into_iter().flatten() {
            if database.swap(from, to).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What came of a swap whose response was lost or an error.
    async fn settled(&self, base: Option<&Base>, ours: &str, error: sqlx::Error) -> Result<Published, TableError> {
        let found = self.find().await?;
        let location = found.as_ref().map(|found| found.location.as_str());
        if location == Some(ours) {
            return Ok(Published::Ours);
        }
        if location == base.map(|base| base.location.as_str()) {
            // It may still come. The metadata file stays: the row may name it yet.
            return Err(self.failed("commit to", error));
        }
        let Some(after) = found else { return Ok(Published::Taken) };
        let known = after.metadata.metadata_log().iter().any(|entry| entry.metadata_file == ours);
        Ok(if known { Published::Ours } else { Published::Taken })
    }

    fn failed(&self, action: &'static str, source: sqlx::Error) -> TableError {
        TableError::Store { action, object: self.name.clone(), source: Box::new(source) }
    }
}

#[async_trait]
impl Catalog for SqlCatalog {
    async fn current(&self) -> Result<Option<Base>, TableError> {
        self.find().await
    }

    async fn publish(&self, base: Option<&Base>, next: &Next) -> Result<Published, TableError> {
        let number = base.map_or(0, |base| number_of(&base.location).unwrap_or(0) + 1);
        let file = format!("metadata/{number:05}-{}.metadata.json", next.nonce);
        if self.folder.create(&file, &next.content).await? == Published::Taken {
            return Ok(Published::Taken);
        }
        let location = self.folder.location(&file);
        let swapped = match base {
            Some(base) => self.swap(&base.location, &location).await,
            None => self.database.insert(&location).await,
        };
        let published = match swapped {
            Ok(true) => Published::Ours,
            Ok(false) => Published::Taken,
            Err(error) => self.settled(base, &location, error).await?,
        };
        if published == Published::Taken {
            self.folder.discard(&file).await;
        }
        Ok(published)
    }

    async fn occupant(&self, migration: &MigrationId) -> Result<Option<Occupant>, TableError> {
        match self.current().await? {
            Some(base) => Ok(Some(Occupant::Table(Box::new(base)))),
            // What this migration's own attempts have left is no table.
            None => Ok(self.folder.stranger(migration).await?.map(Occupant::Stranger)),
        }
    }

    async fn bypasses(&self) -> Result<Vec<String>, TableError> {
        // Written by path: the row does not know of it.
        Ok(self.folder.list().await?.into_iter().filter(|file| is_numbered(file)).collect())
    }

    async fn forget(&self) -> Result<(), TableError> {
        self.database.remove().await.map_err(|source| self.failed("remove", source))
    }
}

//! [`RestCatalog`]: a server of the Iceberg REST protocol keeps the table's metadata and writes its files.
//!
//! A commit sends what changes and what must still hold: the table's UUID, the snapshot of `main`, the ids of schemas, specs
//! and sort orders. The server compares and swaps. It cannot compare properties, so every commit makes a snapshot. After a
//! lost response, or a conflict that may be one's own commit retried on the way, the table itself tells whether it has ours.
//!
//! Storage credentials that a server vends are not asked for, and not used where it sends them: data files are read and
//! written by the one storage configuration of the spec.

mod client;
mod messages;

use std::sync::Arc;

use async_trait::async_trait;
use lakeshift_core::spec::{Catalog as CatalogSpec, CatalogCredentials};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{MigrationId, TableError};
use lakeshift_journal::Clock;
use reqwest::Method;

use self::client::{Answer, Client, RestError};
use self::messages::{Loaded, commit_request, create_request};
use super::super::fault::bad_json;
use super::super::marks;
use super::folder::Folder;
use super::{Base, Catalog, Next, Occupant, Published};

/// One table of a REST catalogue.
#[derive(Debug)]
pub(in super::super) struct RestCatalog {
    /// The table and its catalogue as people know them.
    name: String,
    namespace: Vec<String>,
    table: String,
    folder: Folder,
    client: Client,
}

impl RestCatalog {
    pub fn new(root: Storage, catalog: &CatalogSpec, credentials: &CatalogCredentials, clock: Arc<dyn Clock>) -> Self {
        let (namespace, table) = catalog.identifier();
        Self {
            name: format!("{} of the catalogue at {}", catalog.table, catalog.uri),
            namespace: namespace.into_iter().map(str::to_owned).collect(),
            table: table.to_owned(),
            folder: Folder::new(root),
            client: Client::new(catalog, credentials, clock),
        }
    }

    async fn load(&self) -> Result<Option<Base>, TableError> {
        let answer = self.client.call(Method::GET, &self.path(), None).await;
        match answer.map_err(|source| self.failed("load", source))? {
            Answer::Done(body) => self.loaded(&body).map(Some),
            Answer::Refused(refusal) if refusal.is_missing() => Ok(None),
            Answer::Refused(refusal) => Err(self.failed("load", RestError::Refused(refusal))),
        }
    }

    fn loaded(&self, body: &[u8]) -> Result<Base, TableError> {
        let loaded: Loaded = serde_json::from_slice(body).map_err(|source| bad_json(&self.name, source))?;
        if loaded.vends_credentials() {
            tracing::debug!(table = self.name, "the catalogue sent storage credentials; the spec's own are used");
        }
        self.folder.check_location(&self.name, &loaded.metadata)?;
        // A catalogue may keep metadata without files.
        Ok(Base { location: loaded.metadata_location.unwrap_or_default(), metadata: loaded.metadata })
    }

    async fn create(&self, next: &Next) -> Result<Published, TableError> {
        self.add_namespace().await?;
        let body = create_request(&self.table, next).map_err(|source| bad_json(&self.name, source))?;
        let path = format!("namespaces/{}/tables", self.client.namespace(&self.namespace));
        let error = match self.client.call(Method::POST, &path, Some(&body)).await {
            Ok(Answer::Refused(refusal)) if !refusal.is_open() => {
                return Err(self.failed("create", RestError::Refused(refusal)));
            }
            Err(error) if !error.is_open() => return Err(self.failed("create", error)),
            Ok(Answer::Refused(refusal)) => RestError::Refused(refusal),
            Err(error) => error,
            // Some answer a second creation with the table that stands there.
            Ok(Answer::Done(_)) => RestError::Vanished,
        };
        let Some(found) = self.load().await? else { return Err(self.failed("create", error)) };
        let ours = |(key, value)| found.metadata.properties().get(key) == Some(value);
        let mut marks = next.metadata.properties().iter().filter(|(key, _)| key.starts_with(marks::PREFIX));
        Ok(if marks.all(ours) { Published::Ours } else { Published::Taken })
    }

    /// Creates the namespace's levels where they are missing.
    async fn add_namespace(&self) -> Result<(), TableError> {
        for depth in 1..=self.namespace.len() {
            let added = self.add_level(&self.namespace[..depth]).await;
            added.map_err(|source| self.failed("create the namespace of", source))?;
        }
        Ok(())
    }

    /// Creates a level of the namespace, unless it is there. Others may be about to: who is refused for that looks
    /// again, since a namespace that is half made is none yet that a table could be created in.
    async fn add_level(&self, levels: &[String]) -> Result<(), RestError> {
        let path = format!("namespaces/{}", self.client.namespace(levels));
        let body = serde_json::json!({"namespace": levels, "properties": {}});
        for retry in 0..=client::RETRIES_MAX {
            match self.client.call(Method::GET, &path, None).await? {
                Answer::Refused(refusal) if refusal.is_missing() => {}
                // Who may not look at a namespace may still create tables in it.
                _ => return Ok(()),
            }
            match self.client.call(Method::POST, "namespaces", Some(&body)).await? {
                Answer::Done(_) => return Ok(()),
                Answer::Refused(refusal) if !refusal.is_open() => return Err(RestError::Refused(refusal)),
                Answer::Refused(_) => self.client.wait(retry).await,
            }
        }
        // It may be there all the same; where it is not, creating the table says so.
        Ok(())
    }

    async fn commit(&self, base: &Base, next: &Next) -> Result<Published, TableError> {
        let body = commit_request(base, next).map_err(|source| bad_json(&self.name, source))?;
        let (conflict, error) = match self.client.call(Method::POST, &self.path(), Some(&body)).await {
            Ok(Answer::Done(_)) => return Ok(Published::Ours),
            Ok(Answer::Refused(refusal)) if !refusal.is_open() => {
                return Err(self.failed("commit to", RestError::Refused(refusal)));
            }
            Err(error) if !error.is_open() => return Err(self.failed("commit to", error)),
            Ok(Answer::Refused(refusal)) => (refusal.is_conflict(), RestError::Refused(refusal)),
            Err(error) => (false, error),
        };
        let Some(now) = self.load().await? else { return Ok(Published::Taken) };
        let snapshot = next.metadata.current_snapshot_id();
        if snapshot.is_some_and(|id| now.metadata.snapshot_by_id(id).is_some()) {
            return Ok(Published::Ours);
        }
        // Once `main` has moved, a commit that may still come cannot hold any more.
        let moved = now.metadata.current_snapshot_id() != base.metadata.current_snapshot_id();
        if conflict || moved { Ok(Published::Taken) } else { Err(self.failed("commit to", error)) }
    }

    fn path(&self) -> String {
        format!("namespaces/{}/tables/{}", self.client.namespace(&self.namespace), client::encoded(&self.table))
    }

    fn failed(&self, action: &'static str, source: RestError) -> TableError {
        TableError::Store { action, object: self.name.clone(), source: Box::new(source) }
    }
}

#[async_trait]
impl Catalog for RestCatalog {
    async fn current(&self) -> Result<Option<Base>, TableError> {
        self.load().await
    }

    async fn publish(&self, base: Option<&Base>, next: &Next) -> Result<Published, TableError> {
        match base {
            Some(base) => self.commit(base, next).await,
            None => self.create(next).await,
        }
    }

    async fn occupant(&self, migration: &MigrationId) -> Result<Option<Occupant>, TableError> {
        match self.load().await? {
            Some(base) => Ok(Some(Occupant::Table(Box::new(base)))),
            None => Ok(self.folder.stranger(migration).await?.map(Occupant::Stranger)),
        }
    }

    async fn forget(&self) -> Result<(), TableError> {
        let path = format!("{}?purgeRequested=false", self.path());
        match self.client.call(Method::DELETE, &path, None).await.map_err(|source| self.failed("remove", source))? {
            Answer::Refused(refusal) if !refusal.is_missing() => Err(self.failed("remove", RestError::Refused(refusal))),
            _ => Ok(()),
        }
    }

    fn server_writes_metadata(&self) -> bool {
        true
    }
}

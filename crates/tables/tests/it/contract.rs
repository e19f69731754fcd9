//! The contract of tables, over every format and catalogue that a migration writes to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use lakeshift_core::spec::{Catalog, CatalogCredentials, CatalogKind};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{NewFile, TableFormat};
use lakeshift_core::value::Value;
use lakeshift_tables::delta::DeltaTable;
use lakeshift_tables::iceberg::IcebergTable;
use lakeshift_testkit::contract::{Deaf, TableWorld, table_contract};
use lakeshift_testkit::postgres::{self, PostgresServer};
use lakeshift_testkit::s3::{S3Server, WAREHOUSE};
use lakeshift_testkit::{Counted, CutProxy, FaultPlan, FaultStore, ManualClock, SeededRng};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::catalogs::{postgres_catalog, rest_catalog, sqlite_catalog};
use crate::iceberg::fixture::parquet;

/// Seeds differ among all processes of all scenarios.
static SEED: AtomicU64 = AtomicU64::new(1_000);

/// One table's place.
struct World {
    storage: Storage,
    kind: Kind,
}

/// What keeps the table, and how an answer of it gets lost.
#[derive(Clone)]
enum Kind {
    Delta,
    /// The table's folder.
    Folder,
    /// A database in a file: no answer can be lost but that of the metadata file's write.
    Sqlite(Catalog),
    /// A server, by its port, and what a commit to it has in its request.
    Server(Catalog, CatalogCredentials, u16, &'static str),
}

impl World {
    fn table(&self, storage: Storage, kind: &Kind) -> Arc<dyn TableFormat> {
        let clock = Arc::new(ManualClock::new());
        if matches!(kind, Kind::Delta) {
            return Arc::new(DeltaTable::new(storage, clock));
        }
        let rng = SeededRng::new(SEED.fetch_add(1, Ordering::Relaxed));
        let table = IcebergTable::new(storage).with_clock(clock).with_rng(Arc::new(rng));
        Arc::new(match kind {
            Kind::Delta | Kind::Folder => table,
            Kind::Sqlite(catalog) => table.with_catalog(catalog, &CatalogCredentials::default()),
            Kind::Server(catalog, credentials, ..) => table.with_catalog(catalog, credentials),
        })
    }

    /// The table over a store that loses the response to one of its mutations.
    fn behind_a_fault(&self, mutation: u64) -> Deaf {
        let plan = FaultPlan::LostResponse(mutation);
        let store = Arc::new(FaultStore::new(self.storage.store().clone(), plan).with_counted(Counted::Mutations));
        let storage = Storage::new(self.storage.url().clone(), store.clone(), self.storage.prefix().clone());
        Deaf { table: self.table(storage, &self.kind), has_struck: Box::new(move || store.has_struck()) }
    }
}

#[async_trait]
impl TableWorld for World {
    fn open(&self) -> Arc<dyn TableFormat> {
        self.table(self.storage.clone(), &self.kind)
    }

    async fn open_deaf(&self) -> Option<Deaf> {
        Some(match &self.kind {
            Kind::Delta => self.behind_a_fault(1),
            // After the manifest and the list.
            Kind::Folder | Kind::Sqlite(_) => self.behind_a_fault(3),
            Kind::Server(catalog, credentials, port, needle) => {
                let proxy = CutProxy::start(*port, needle).await.unwrap();
                let (real, cut) = (format!(":{port}"), format!(":{}", proxy.port()));
                let catalog = Catalog { uri: catalog.uri.replace(&real, &cut), ..catalog.clone() };
                let kind = Kind::Server(catalog, credentials.clone(), proxy.port(), needle);
                let table = self.table(self.storage.clone(), &kind);
                Deaf { table, has_struck: Box::new(move || proxy.has_struck()) }
            }
        })
    }

    async fn file(&self, path: &str, rows: i64) -> NewFile {
        let rows: Vec<_> = (0..rows).map(|id| (id, Some("x"))).collect();
        let bytes = parquet(&rows);
        let size_bytes = bytes.len() as u64;
        self.storage.store().put(&self.storage.resolve(path).unwrap(), bytes.into()).await.unwrap();
        NewFile { path: path.to_owned(), size_bytes, partition: vec![Some(Value::Date(0))], rows: rows.len() as u64 }
    }
}

fn on(store: Arc<dyn ObjectStore>, root: &str, scenario: &str) -> Storage {
    let url = Url::parse(&format!("{root}/{scenario}")).unwrap();
    let prefix = Path::from_url_path(url.path()).unwrap();
    Storage::new(url, store, prefix)
}

fn local(folder: &tempfile::TempDir, scenario: &str) -> Storage {
    crate::builders::open(&folder.path().join(scenario))
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_in_memory() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    table_contract(async |name| World { storage: on(store.clone(), "memory:///lake", name), kind: Kind::Delta }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_on_the_local_disk() {
    let folder = tempfile::tempdir().unwrap();
    table_contract(async |name| World { storage: local(&folder, name), kind: Kind::Delta }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_by_path_in_memory() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    table_contract(async |name| World { storage: on(store.clone(), "memory:///lake", name), kind: Kind::Folder }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_by_path_on_the_local_disk() {
    let folder = tempfile::tempdir().unwrap();
    table_contract(async |name| World { storage: local(&folder, name), kind: Kind::Folder }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_and_iceberg_by_path_on_s3() {
    let Some(server) = lakeshift_testkit::s3::shared().await else { return };
    for kind in [Kind::Delta, Kind::Folder] {
        let name = if matches!(kind, Kind::Delta) { "delta" } else { "iceberg" };
        let root = format!("s3://{}/contract-{name}-{}", server.bucket(), std::process::id());
        let fresh = async |scenario: &str| {
            let storage = on(Arc::new(server.store().unwrap()), &root, scenario);
            World { storage, kind: kind.clone() }
        };
        table_contract(fresh).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_in_a_sqlite_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = async |name: &str| {
        let catalog = sqlite_catalog(&folder.path().join("a catalogue.db"), &table_name(name));
        World { storage: local(&folder, name), kind: Kind::Sqlite(catalog) }
    };
    table_contract(fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_in_a_postgresql_catalogue() {
    let Some(server) = postgres::shared().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let fresh = async |name: &str| {
        let (catalog, credentials) = postgres_catalog(server, &table_name(name));
        let kind = Kind::Server(catalog, credentials, PostgresServer::port(server), ".metadata.json");
        World { storage: local(&folder, name), kind }
    };
    table_contract(fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_in_a_rest_catalogue() {
    let Some(server) = lakeshift_testkit::s3::shared().await else { return };
    let fresh = async |name: &str| {
        let (catalog, credentials) = rest_catalog(server, &table_name(name));
        assert_eq!(catalog.kind, CatalogKind::Rest);
        let storage = on(Arc::new(server.warehouse().unwrap()), &format!("s3://{WAREHOUSE}/contract"), name);
        let kind = Kind::Server(catalog, credentials, S3Server::catalog_port(server), "\"requirements\"");
        World { storage, kind }
    };
    table_contract(fresh).await;
}

fn table_name(scenario: &str) -> String {
    format!("contract.{}", scenario.replace('-', "_"))
}

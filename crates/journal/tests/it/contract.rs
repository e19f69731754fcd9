//! The contract suites on the stores that Lakeshift runs on.

use std::sync::Arc;

use lakeshift_testkit::{azure, contract, s3};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;

async fn all_contracts(store: Arc<dyn ObjectStore>) {
    contract::log_contract(store.clone(), Path::from("control/log")).await;
    contract::journal_contract(store.clone(), Path::from("control/journal")).await;
    contract::lease_contract(store, Path::from("control/leases")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_meets_the_contracts() {
    all_contracts(Arc::new(InMemory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_disk_meets_the_contracts() {
    let folder = tempfile::tempdir().unwrap();
    all_contracts(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_meets_the_contracts() {
    let Some(store) = s3::s3_store().await else { return };
    all_contracts(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_meets_the_contracts() {
    let Some(server) = azure::shared().await else { return };
    all_contracts(server.store().unwrap()).await;
}

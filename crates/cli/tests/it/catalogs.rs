//! Whole lives of tables in catalogues: a SQLite file, and the REST catalogue of a real server.

use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use lakeshift::error::with_causes;
use lakeshift_core::spec::{Place, Spec};
use lakeshift_core::table::{FileEntry, TableFormat};
use lakeshift_tables::iceberg::IcebergTable;
use lakeshift_tables::storage::Stores;
use lakeshift_testkit::s3::WAREHOUSE;
use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rstest::rstest;

use crate::life::{LIFE, Step, before};
use crate::support::{ENVIRONMENT, Target, World, environment, rows_of};

/// A world whose target is in the catalogue that these lines of its spec name.
fn in_catalogue(world: &World, lines: &str) {
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    let location = format!("  location: {}/flights_iceberg\n", world.root);
    assert!(spec.contains(&location), "{spec}");
    std::fs::write(world.spec(), spec.replace(&location, lines)).unwrap();
}

fn sqlite(world: &World) -> PathBuf {
    let file = world.spec().with_file_name("catalog.db");
    let location = format!("{}/flights_iceberg", world.root);
    let catalog = "{type: sql, uri: \"sqlite:///catalog.db\", name: prod, table: lake.flights}";
    in_catalogue(world, &format!("  location: {location}\n  catalog: {catalog}\n"));
    file
}

/// A spec's target, opened as any reader of its catalogue would.
async fn target_rows(world: &World) -> Vec<String> {
    let spec = Spec::from_yaml(std::fs::read(world.spec()).unwrap(), &world.spec()).unwrap();
    let stores = Stores::new().with_store(world.root.clone(), world.store.clone());
    let options = spec.storage_options(Place::Target, environment).unwrap();
    let storage = stores.open_with(spec.target.location.as_str(), &options).unwrap();
    let credentials = spec.catalog_credentials(Place::Target, environment).unwrap();
    let table = IcebergTable::new(storage.clone()).with_catalog(spec.catalog(Place::Target).unwrap(), &credentials);
    let snapshot = table.snapshot(None).await.unwrap();
    let files: Vec<FileEntry> = table.files(&snapshot).try_collect().await.unwrap();
    let mut rows = Vec::new();
    for file in files {
        let path = storage.resolve(&file.path).unwrap();
        rows.extend(rows_of(storage.store().get(&path).await.unwrap().bytes().await.unwrap()));
    }
    rows.sort_unstable();
    rows
}

/// Everything that a migration has written below the control root, as text.
async fn control(world: &World) -> String {
    let root = world.root.split_once("://").unwrap().1.split_once('/').map_or("", |(_, path)| path);
    let folder = Path::parse(format!("{root}/control")).unwrap();
    let objects: Vec<_> = world.store.list(Some(&folder)).try_collect().await.unwrap();
    let mut text = String::new();
    for object in objects {
        let bytes = world.store.get(&object.location).await.unwrap().bytes().await.unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    text
}

#[tokio::test]
async fn a_migration_into_a_sqlite_catalogue_lives_from_plan_to_completion() {
    let world = World::in_memory(Target::Iceberg);
    let file = sqlite(&world);
    world.live(before("dual-write")).await;
    assert!(!file.exists(), "a plan makes no database");
    world.live(&LIFE[before("dual-write").len()..before("sunset").len()]).await;
    let source = world.source_rows().await;
    assert_eq!(source.len(), 8);
    assert_eq!(target_rows(&world).await, source);
    world.live(&LIFE[before("sunset").len()..]).await;
    assert_eq!(target_rows(&world).await, source);
}

#[tokio::test]
async fn a_table_of_a_catalogue_is_a_source_too() {
    let world = World::in_memory(Target::Iceberg);
    let file = sqlite(&world);
    world.live(before("sunset")).await;
    let expected = world.source_rows().await;
    let root = world.root.clone();
    let spec = format!(
        "apiVersion: lakeshift/v1\nname: onward\ncontrol: {root}/control\nsource:\n  format: iceberg\n  location: \
         {root}/flights_iceberg\n  catalog: {{type: sql, uri: \"sqlite:///{}\", name: prod, table: lake.flights}}\n\
         target: {{format: delta, location: {root}/flights_delta, partitioning: [origin]}}\ncutover: {{alias: onward}}\n",
        file.display(),
    );
    std::fs::write(world.spec(), spec).unwrap();
    let steps: [&[&str]; 7] = [
        &["plan", "SPEC"],
        &["approve", "SPEC"],
        &["dual-write", "SPEC"],
        &["backfill", "SPEC"],
        &["mirror", "SPEC"],
        &["validate", "SPEC"],
        &["cutover", "SPEC"],
    ];
    world.live(&steps.map(Step::Command)).await;
    assert_eq!(world.target_rows(Target::Delta).await, expected);
}

#[tokio::test]
async fn an_aborted_table_leaves_its_catalogue_and_can_be_made_again() {
    let world = World::in_memory(Target::Iceberg);
    sqlite(&world);
    world.live(before("mirror")).await;
    assert!(!target_rows(&world).await.is_empty());
    world.live(&[Step::Command(&["abort", "SPEC"])]).await;
    let folder = Path::parse("lake/flights_iceberg").unwrap();
    let left: Vec<_> = world.store.list(Some(&folder)).try_collect().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    std::fs::write(world.spec(), spec.replace("name: flights\n", "name: again\n")).unwrap();
    world.live(&LIFE[before("plan").len()..before("sunset").len()]).await;
    assert_eq!(target_rows(&world).await, world.source_rows().await);
}

/// Creates and fills the table over a store that fails once by `plan`, and goes on as an operator would; `None` where the
/// plan was never reached.
async fn filled_with(plan: FaultPlan) -> Option<Vec<String>> {
    let world = World::in_memory(Target::Iceberg);
    sqlite(&world);
    world.live(before("dual-write")).await;
    let faulty = Arc::new(FaultStore::new(world.store.clone(), plan).with_counted(Counted::Mutations));
    for step in &LIFE[before("dual-write").len()..before("validate").len()] {
        let Step::Command(command) = step else {
            world.step(*step).await.unwrap();
            continue;
        };
        if world.run_on(faulty.clone(), command).await.is_err() {
            assert!(faulty.has_struck(), "{plan:?} {command:?}");
            world.wait(120);
            if let Err(error) = world.run(command).await {
                panic!("{plan:?} {command:?}: {}", with_causes(&error));
            }
        }
    }
    world.live(&LIFE[before("validate").len()..before("rollback").len()]).await;
    faulty.has_struck().then_some(())?;
    Some(target_rows(&world).await)
}

/// What the store does between a metadata file and the row that names it is not done twice and not lost.
#[tokio::test]
async fn a_sqlite_catalogues_table_is_the_same_whichever_write_to_the_store_fails() {
    let kinds: [fn(u64) -> FaultPlan; 3] = [FaultPlan::CrashBefore, FaultPlan::CrashAfter, FaultPlan::LostResponse];
    let mut expected = None;
    for kind in kinds {
        for number in 1.. {
            let Some(rows) = filled_with(kind(number)).await else {
                assert!(number > 20, "only {number} writes");
                break;
            };
            assert_eq!(rows.len(), 8);
            assert_eq!(*expected.get_or_insert_with(|| rows.clone()), rows, "{:?}", kind(number));
        }
    }
}

/// The target lies in the server's bucket of tables, and everything else on another store. A namespace for each: SeaweedFS may answer
/// 500 while somebody else creates the same one.
async fn rest(world: &World, name: &str) -> Option<()> {
    let server = lakeshift_testkit::s3::shared().await?;
    let mut variables = ENVIRONMENT.lock().unwrap();
    let credential = format!("{}:{}", server.access_key(), server.secret_key());
    for (name, value) in [("KEY", server.access_key()), ("SECRET", server.secret_key()), ("CREDENTIAL", &credential)] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    let catalog = format!(
        "{{type: rest, uri: \"http://127.0.0.1:{}\", warehouse: {WAREHOUSE}, table: of_{name}.{name}, credential: \"${{CREDENTIAL}}\"}}",
        server.catalog_port(),
    );
    let storage = format!(
        "{{endpoint: \"{}\", region: {}, access_key_id: \"${{KEY}}\", secret_access_key: \"${{SECRET}}\"}}",
        server.endpoint(),
        server.region(),
    );
    let location = format!("s3://{WAREHOUSE}/of_{name}/{name}");
    in_catalogue(world, &format!("  location: {location}\n  catalog: {catalog}\n  storage: {storage}\n"));
    Some(())
}

#[rstest]
#[tokio::test]
async fn a_migration_into_a_rest_catalogue_lives_and_writes_no_credential_anywhere(
    #[values(Target::Iceberg, Target::IcebergSpliced)] target: Target,
) {
    let world = World::in_memory(target);
    let name = format!("{target:?}_{}", std::process::id()).to_lowercase();
    if rest(&world, &name).await.is_none() {
        return;
    }
    world.live(LIFE).await;
    let rows = target_rows(&world).await;
    assert_eq!(rows.len(), 8);
    let server = lakeshift_testkit::s3::shared().await.unwrap();
    let written = control(&world).await;
    assert!(written.contains("\"catalog\"") && written.contains("***"), "the journal holds the spec");
    assert!(!written.contains(server.secret_key()) && !written.contains(server.access_key()));
    assert!(!written.contains("CREDENTIAL"), "nor the names of variables");
}

#[tokio::test]
async fn a_refused_credential_stops_a_command_and_is_not_shown() {
    let world = World::in_memory(Target::Iceberg);
    if rest(&world, "refused").await.is_none() {
        return;
    }
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    std::fs::write(world.spec(), spec.replace("${CREDENTIAL}", "${WRONG}")).unwrap();
    ENVIRONMENT.lock().unwrap().insert("WRONG".to_owned(), "nobody:hunter2".to_owned());
    let steps = &LIFE[..before("dual-write").len()];
    world.live(steps).await;
    let error = world.run(&["dual-write", "SPEC"]).await.unwrap_err();
    let text = format!("{}\n{error:?}", with_causes(&error));
    assert!(text.contains("catalogue") && !text.contains("hunter2"), "{text}");
    assert!(!control(&world).await.contains("hunter2"));
    std::fs::write(world.spec(), spec.replace("${CREDENTIAL}", "${ABSENT}")).unwrap();
    let error = world.run(&["status", "SPEC"]).await.unwrap_err();
    assert!(error.to_string().contains("ABSENT") && error.to_string().contains("catalog.credential"), "{error}");
}

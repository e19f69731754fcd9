//! Iceberg tables in SQL and REST catalogues: what is particular to them. What all tables must do is in [`crate::contract`].

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use lakeshift_core::migration::Side;
use lakeshift_core::pointer::ReaderPointer;
use lakeshift_core::spec::{Catalog, CatalogCredentials, CatalogKind};
use lakeshift_core::table::{
    CommitRequest, CreateOutcome, CreateRequest, MigrationId, TableError, TableFormat, TableVersion,
};
use lakeshift_tables::iceberg::{EntrySwap, IcebergTable};
use lakeshift_testkit::CutProxy;
use lakeshift_testkit::contract::{BehindProxy, PointerWorld, pointer_contract};
use lakeshift_testkit::postgres::{self, DATABASE, PostgresServer, USER};
use lakeshift_testkit::s3::{S3Server, WAREHOUSE};
use sqlx::{Connection, Row};

use crate::iceberg::fixture::{DAY, Lake, committed, create_request, live, migration, paths, request};

/// A catalogue of this kind with nothing but its address and a table.
fn catalog(kind: CatalogKind, uri: String, table: &str) -> Catalog {
    Catalog {
        kind,
        uri,
        table: table.to_owned(),
        name: (kind == CatalogKind::Sql).then(|| "test".to_owned()),
        user: None,
        password: None,
        warehouse: None,
        credential: None,
        token: None,
        oauth2_server_uri: None,
        scope: None,
    }
}

pub fn sqlite_catalog(file: &Path, table: &str) -> Catalog {
    catalog(CatalogKind::Sql, format!("sqlite:///{}", file.display()), table)
}

pub fn postgres_catalog(server: &PostgresServer, table: &str) -> (Catalog, CatalogCredentials) {
    let uri = format!("postgresql://127.0.0.1:{}/{DATABASE}", server.port());
    let (user, password) = (Some(USER.to_owned()), Some(server.password().to_owned()));
    (catalog(CatalogKind::Sql, uri, table), CatalogCredentials { user, password, ..CatalogCredentials::default() })
}

pub fn rest_catalog(server: &S3Server, table: &str) -> (Catalog, CatalogCredentials) {
    let uri = format!("http://127.0.0.1:{}", server.catalog_port());
    let catalog = Catalog { warehouse: Some(WAREHOUSE.to_owned()), ..catalog(CatalogKind::Rest, uri, table) };
    let credential = Some(format!("{}:{}", server.access_key(), server.secret_key()));
    (catalog, CatalogCredentials { credential, ..CatalogCredentials::default() })
}

/// A table of a REST catalogue in a folder of its warehouse.
fn in_rest(server: &S3Server, table: &str, folder: &str) -> IcebergTable {
    let (catalog, credentials) = rest_catalog(server, table);
    let url = url::Url::parse(&format!("s3://{WAREHOUSE}/{folder}")).unwrap();
    let prefix = object_store::path::Path::from_url_path(url.path()).unwrap();
    let storage = lakeshift_core::storage::Storage::new(url, Arc::new(server.warehouse().unwrap()), prefix);
    IcebergTable::new(storage).with_catalog(&catalog, &credentials)
}

/// A lake whose table is in a SQLite file beside it.
fn in_sqlite(lake: &Lake, seed: u64) -> IcebergTable {
    let catalog = sqlite_catalog(&lake.dir.path().join("catalog.db"), "a.b.flights");
    lake.table(seed).with_catalog(&catalog, &CatalogCredentials::default())
}

/// One text of the SQLite file beside a lake.
async fn select(lake: &Lake, query: &'static str) -> Option<String> {
    let url = format!("sqlite://{}?mode=rwc", lake.dir.path().join("catalog.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let row = sqlx::query(query).fetch_optional(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    row.and_then(|row| row.get::<Option<String>, _>(0))
}

#[tokio::test]
async fn the_row_of_a_sql_catalogue_is_as_other_writers_have_it() {
    let lake = Lake::new();
    let table = in_sqlite(&lake, 1);
    assert!(matches!(table.snapshot(None).await, Err(TableError::NotFound { .. })));
    assert!(!lake.dir.path().join("catalog.db").exists(), "a look makes no database");
    assert!(matches!(table.create(&create_request()).await.unwrap(), CreateOutcome::Created(_)));
    let first = select(&lake, "SELECT metadata_location FROM iceberg_tables").await.unwrap();
    assert!(first.starts_with("file:///") && first.contains("/metadata/00000-"), "{first}");
    let key =
        "SELECT catalog_name || '/' || table_namespace || '/' || table_name || '/' || iceberg_type FROM iceberg_tables";
    assert_eq!(select(&lake, key).await.as_deref(), Some("test/a.b/flights/TABLE"));
    let namespace = "SELECT catalog_name || '/' || namespace || '/' || property_key FROM iceberg_namespace_properties";
    assert_eq!(select(&lake, namespace).await.as_deref(), Some("test/a.b/exists"));
    let file = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    committed(&table, &request(1, vec![file], &[])).await;
    let second = select(&lake, "SELECT metadata_location FROM iceberg_tables").await.unwrap();
    assert!(second.contains("/metadata/00001-") && second == table.metadata_location().await.unwrap(), "{second}");
    let previous = select(&lake, "SELECT previous_metadata_location FROM iceberg_tables").await;
    assert_eq!(previous, Some(first));
    assert_eq!(std::fs::read_dir(lake.path("metadata")).unwrap().count(), 4, "two metadata files, a list and a manifest");
}

#[tokio::test]
async fn a_postgresql_catalogue_has_the_same_row() {
    let Some(server) = postgres::shared().await else { return };
    let lake = Lake::new();
    let (catalog, credentials) = postgres_catalog(server, "a.b.row");
    let table = lake.table(1).with_catalog(&catalog, &credentials);
    assert!(matches!(table.snapshot(None).await, Err(TableError::NotFound { .. })), "no tables, or no row: no table");
    assert!(matches!(table.create(&create_request()).await.unwrap(), CreateOutcome::Created(_)));
    let query = "SELECT catalog_name, table_namespace, iceberg_type, metadata_location FROM iceberg_tables \
                 WHERE table_name = 'row'";
    let row = server.query(query).unwrap();
    assert_eq!(row, format!("test|a.b|TABLE|{}", table.metadata_location().await.unwrap()));
    table.forget().await.unwrap();
    assert_eq!(server.query(query).unwrap(), "");
}

#[tokio::test]
async fn a_database_without_the_column_of_types_is_read_and_written() {
    let lake = Lake::new();
    let v0 = "CREATE TABLE iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, \
              table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), \
              PRIMARY KEY (catalog_name, table_namespace, table_name))";
    select(&lake, v0).await;
    let properties = "CREATE TABLE iceberg_namespace_properties (catalog_name VARCHAR(255), namespace VARCHAR(255), \
                      property_key VARCHAR(255), property_value VARCHAR(1000))";
    select(&lake, properties).await;
    let table = in_sqlite(&lake, 1);
    assert!(matches!(table.create(&create_request()).await.unwrap(), CreateOutcome::Created(_)));
    let file = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    committed(&table, &request(1, vec![file], &[])).await;
    assert_eq!(live(&in_sqlite(&lake, 2)).await.len(), 1);
}

#[tokio::test]
async fn a_view_is_no_table_and_a_table_elsewhere_is_not_taken() {
    let lake = Lake::new();
    let table = in_sqlite(&lake, 1);
    assert!(matches!(table.create(&create_request()).await.unwrap(), CreateOutcome::Created(_)));
    select(&lake, "UPDATE iceberg_tables SET iceberg_type = 'VIEW'").await;
    assert!(matches!(table.snapshot(None).await, Err(TableError::Unsupported { .. })));
    select(&lake, "UPDATE iceberg_tables SET iceberg_type = NULL").await;
    assert!(table.snapshot(None).await.is_ok(), "rows of before there were views have no type");
    let other = IcebergTable::new(crate::builders::open(&lake.dir.path().join("other")));
    let catalog = sqlite_catalog(&lake.dir.path().join("catalog.db"), "a.b.flights");
    let other = other.with_catalog(&catalog, &CatalogCredentials::default());
    let error = other.snapshot(None).await.unwrap_err();
    assert!(matches!(error, TableError::Elsewhere { .. }), "{error}");
    assert!(matches!(other.create(&create_request()).await, Err(TableError::Elsewhere { .. })));

    // A metadata file of this folder that is of a table elsewhere.
    let location = table.metadata_location().await.unwrap();
    let metadata = std::fs::read_to_string(location.strip_prefix("file://").unwrap()).unwrap();
    std::fs::write(lake.path("metadata/00007-a.metadata.json"), metadata.replace("/table\"", "/moved\"")).unwrap();
    select(
        &lake,
        "UPDATE iceberg_tables SET metadata_location = replace(metadata_location, '00000-', '00007-a.metadata.json?')",
    )
    .await;
    let cut =
        "UPDATE iceberg_tables SET metadata_location = substr(metadata_location, 1, instr(metadata_location, '?') - 1)";
    select(&lake, cut).await;
    assert!(matches!(table.snapshot(None).await, Err(TableError::Elsewhere { .. })));
}

#[tokio::test]
async fn a_table_that_a_rest_catalogue_keeps_elsewhere_is_not_taken() {
    let Some(server) = lakeshift_testkit::s3::shared().await else { return };
    let table = |folder: &str| in_rest(server, "elsewhere.t", &format!("elsewhere/{folder}"));
    assert!(matches!(table("t").create(&create_request()).await.unwrap(), CreateOutcome::Created(_)));
    assert!(matches!(table("t2").snapshot(None).await, Err(TableError::Elsewhere { .. })));
    assert!(matches!(table("t2").create(&create_request()).await, Err(TableError::Elsewhere { .. })));
    table("t2").forget().await.unwrap();
    assert!(matches!(table("t").snapshot(None).await, Err(TableError::NotFound { .. })));
}

/// Each finds that the namespace is missing, and all but one are refused when they create it.
#[tokio::test]
async fn tables_that_are_created_at_once_may_make_their_namespace_together() {
    let Some(server) = lakeshift_testkit::s3::shared().await else { return };
    let creations = (0..8).map(|n| async move {
        let table = in_rest(server, &format!("together.t{n}"), &format!("together/t{n}"));
        table.create(&create_request()).await.unwrap()
    });
    let created = futures::future::join_all(creations).await;
    assert!(created.iter().all(|outcome| matches!(outcome, CreateOutcome::Created(_))), "{created:?}");
}

#[tokio::test]
async fn who_writes_past_the_catalogue_is_foreign_and_what_stands_in_the_folder_is_not_taken() {
    let lake = Lake::new();
    let table = in_sqlite(&lake, 1);
    assert!(matches!(table.create(&create_request()).await.unwrap(), CreateOutcome::Created(_)));
    let location = table.metadata_location().await.unwrap();
    std::fs::copy(location.strip_prefix("file://").unwrap(), lake.path("metadata/v1.metadata.json")).unwrap();
    let foreign = table.marks(&migration()).await.unwrap().foreign;
    assert_eq!(foreign, vec![TableVersion("iceberg:metadata/v1.metadata.json".to_owned())]);

    // The row is gone, and the files of another migration's table are there.
    table.forget().await.unwrap();
    table.forget().await.unwrap();
    assert!(matches!(table.snapshot(None).await, Err(TableError::NotFound { .. })));
    let of_another = CreateRequest { migration: MigrationId("other".to_owned()), ..create_request() };
    let taken = in_sqlite(&lake, 2).create(&of_another).await.unwrap();
    assert!(matches!(taken, CreateOutcome::Foreign { .. }), "{taken:?}");
    // What this migration itself has left, a crash between file and row say, is in nobody's way.
    assert!(matches!(in_sqlite(&lake, 3).create(&create_request()).await.unwrap(), CreateOutcome::Created(_)));
}

#[tokio::test]
async fn a_lost_race_leaves_no_metadata_file_behind() {
    let lake = Lake::new();
    assert!(matches!(in_sqlite(&lake, 1).create(&create_request()).await.unwrap(), CreateOutcome::Created(_)));
    let mut racers = Vec::new();
    for racer in 0..4_u64 {
        let file = lake.file(&format!("data/{racer}.parquet"), Some(DAY), &[(1, None)]).await;
        let commit = CommitRequest { migration: MigrationId(format!("m{racer}")), ..request(1, vec![file], &[]) };
        let table = in_sqlite(&lake, 10 + racer);
        racers.push(tokio::spawn(async move { committed(&table, &commit).await }));
    }
    for racer in racers {
        racer.await.unwrap();
    }
    assert_eq!(paths(&in_sqlite(&lake, 2)).await.len(), 4);
    let names = std::fs::read_dir(lake.path("metadata")).unwrap().map(|entry| entry.unwrap().file_name());
    let metadata = names.filter(|name| name.to_string_lossy().ends_with(".metadata.json")).count();
    assert_eq!(metadata, 5, "one for the creation, one for each commit");
}

/// What each error, and each `Debug`, of a catalogue with credentials says.
fn says_no_secret(table: &IcebergTable, error: &TableError, secrets: &[&str]) {
    let mut texts = vec![format!("{table:?}"), format!("{error:?}"), error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    for text in texts {
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
    }
}

#[tokio::test]
async fn a_database_that_refuses_or_is_not_there_tells_no_password() {
    let Some(server) = postgres::shared().await else { return };
    let lake = Lake::new();
    let (catalog, credentials) = postgres_catalog(server, "a.t");
    let wrong = CatalogCredentials { password: Some("hunter2/@:%".to_owned()), ..credentials.clone() };
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Catalog { uri: format!("postgresql://127.0.0.1:{unused}/lake"), ..catalog.clone() };
    for (catalog, credentials) in [(&catalog, &wrong), (&nobody, &wrong), (&nobody, &credentials)] {
        let table = lake.table(1).with_catalog(catalog, credentials);
        let error = table.snapshot(None).await.unwrap_err();
        assert!(matches!(error, TableError::Store { .. }), "{error}");
        says_no_secret(&table, &error, &["hunter2", server.password()]);
    }
}

/// A server that refuses every request, and says the whole of it.
fn tell_tale() -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // The request comes in its own time, and its end is told by silence.
            connection.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = connection.read(&mut buffer) {
                request.extend_from_slice(&buffer[..count]);
                connection.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
            }
            let message = String::from_utf8_lossy(&request).into_owned();
            let body = serde_json::json!({"error": {"message": message, "type": "TellTale", "code": 400}}).to_string();
            let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            connection.write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    port
}

#[tokio::test]
async fn a_rest_catalogue_that_repeats_what_it_was_told_gives_no_credential_away() {
    let lake = Lake::new();
    let catalog = catalog(CatalogKind::Rest, format!("http://127.0.0.1:{}", tell_tale()), "a.t");
    let token = CatalogCredentials { token: Some("hunter2-token".to_owned()), ..CatalogCredentials::default() };
    let credential = CatalogCredentials { credential: Some("me:hunter2+/%".to_owned()), ..CatalogCredentials::default() };
    for credentials in [token, credential] {
        let table = lake.table(1).with_catalog(&catalog, &credentials);
        let error = table.snapshot(None).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("TellTale") && cause.contains("HTTP/1.1"), "the message is shown: {cause}");
        says_no_secret(&table, &error, &["hunter2"]);
    }
}

#[tokio::test]
async fn a_rest_catalogue_that_refuses_or_is_none_tells_no_credential() {
    let Some(server) = lakeshift_testkit::s3::shared().await else { return };
    let lake = Lake::new();
    let (catalog, credentials) = rest_catalog(server, "a.t");
    let wrong = CatalogCredentials { credential: Some("nobody:hunter2".to_owned()), ..CatalogCredentials::default() };
    let token = CatalogCredentials { token: Some("hunter2-token".to_owned()), ..CatalogCredentials::default() };
    let s3_port = server.endpoint();
    let no_catalog = Catalog { uri: s3_port, ..catalog.clone() };
    for (catalog, credentials) in
        [(&catalog, &wrong), (&catalog, &token), (&no_catalog, &credentials), (&no_catalog, &token)]
    {
        let clock = Arc::new(lakeshift_testkit::ManualClock::new());
        let table = lake.table(1).with_clock(clock).with_catalog(catalog, credentials);
        let error = table.snapshot(None).await.unwrap_err();
        assert!(matches!(error, TableError::Store { .. }), "{error}: a wrong address or a refusal is no missing table");
        says_no_secret(&table, &error, &["hunter2", server.secret_key()]);
    }
}

/// The old and the new table of one catalogue, with the entries `old` and `new`, and what exchanges them.
async fn two_tables(
    old: (&Catalog, &Lake),
    new: (&Catalog, &Lake),
    secrets: &CatalogCredentials,
) -> (EntrySwap, [IcebergTable; 2]) {
    let tables = [(old, new), (new, old)]
        .map(|((catalog, lake), (other, _))| lake.table(1).with_exchanged_catalog(catalog, &other.table, secrets));
    for table in &tables {
        assert!(matches!(table.create(&create_request()).await.unwrap(), CreateOutcome::Created(_)));
    }
    let folders = [old.1, new.1].map(|lake| crate::builders::open(&lake.dir.path().join("table")));
    (EntrySwap::new(folders, [old.0, new.0], secrets), tables)
}

/// Forward and back, each twice, rehearsed before, with commits to both tables in between.
async fn exchanges(old: (&Catalog, &Lake), new: (&Catalog, &Lake), secrets: &CatalogCredentials) {
    let (swap, tables) = two_tables(old, new, secrets).await;
    let mut number = 0;
    for side in [Side::New, Side::Old, Side::New] {
        let before = swap.named().await.unwrap();
        assert_ne!(before, side);
        swap.rehearse(side).await.unwrap();
        assert_eq!(swap.named().await.unwrap(), before, "a rehearsal moves nothing");
        for _ in 0..2 {
            swap.point(side).await.unwrap();
            assert_eq!(swap.named().await.unwrap(), side);
        }
        number += 1;
        for (table, (_, lake)) in tables.iter().zip([old, new]) {
            let file = lake.file(&format!("data/{number}.parquet"), Some(DAY), &[(number, None)]).await;
            committed(table, &request(number.unsigned_abs(), vec![file], &[])).await;
            assert_eq!(live(table).await.len(), usize::try_from(number).unwrap(), "each table is where it is");
        }
        assert_eq!(swap.named().await.unwrap(), side, "a commit follows its table");
    }
}

#[tokio::test]
async fn two_entries_of_a_sqlite_catalogue_change_places() {
    let (old, new) = (Lake::new(), Lake::new());
    let file = old.dir.path().join("catalog.db");
    let [one, other] = ["a.b.flights", "a.b.next"].map(|table| sqlite_catalog(&file, table));
    exchanges((&one, &old), (&other, &new), &CatalogCredentials::default()).await;
}

#[tokio::test]
async fn two_entries_of_a_postgresql_catalogue_change_places() {
    let Some(server) = postgres::shared().await else { return };
    let [(one, secrets), (other, _)] = ["a.b.swapped", "c.swapped_next"].map(|table| postgres_catalog(server, table));
    exchanges((&one, &Lake::new()), (&other, &Lake::new()), &secrets).await;
}

/// Two entries of a SQL catalogue, by the first of which readers ask for a table.
struct Entries {
    old: Lake,
    new: Lake,
    catalogs: [Catalog; 2],
    secrets: CatalogCredentials,
    server: Option<&'static PostgresServer>,
}

impl Entries {
    async fn new(catalogs: [Catalog; 2], secrets: CatalogCredentials, [old, new]: [Lake; 2]) -> Self {
        let [one, other] = &catalogs;
        two_tables((one, &old), (other, &new), &secrets).await;
        Self { old, new, catalogs, secrets, server: None }
    }

    /// One text, by another connection than the catalogue's. The readers' entry is the only one of its name.
    async fn run(&self, query: &'static str) -> Option<String> {
        let Some(server) = self.server else { return select(&self.old, query).await };
        let url = format!("postgresql://{USER}:{}@127.0.0.1:{}/{DATABASE}", server.password(), server.port());
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        let row = sqlx::query(query).fetch_optional(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        row.and_then(|row| row.get::<Option<String>, _>(0))
    }

    fn swap(&self, catalogs: &[Catalog; 2]) -> EntrySwap {
        let folders = [&self.old, &self.new].map(|lake| crate::builders::open(&lake.dir.path().join("table")));
        EntrySwap::new(folders, [&catalogs[0], &catalogs[1]], &self.secrets)
    }

    fn swap_at(&self, port: u16) -> EntrySwap {
        let at = |catalog: &Catalog| Catalog { uri: format!("postgresql://127.0.0.1:{port}/{DATABASE}"), ..catalog.clone() };
        self.swap(&self.catalogs.each_ref().map(at))
    }
}

#[async_trait]
impl PointerWorld for Entries {
    fn pointer(&self) -> Arc<dyn ReaderPointer> {
        Arc::new(self.swap(&self.catalogs))
    }

    async fn seen(&self) -> Option<Side> {
        let location = self.run("SELECT metadata_location FROM iceberg_tables WHERE table_name = 'pointed'").await?;
        let is_of = |lake: &Lake| location.contains(&lake.dir.path().display().to_string());
        match (is_of(&self.old), is_of(&self.new)) {
            (true, false) => Some(Side::Old),
            (false, true) => Some(Side::New),
            _ => None,
        }
    }

    /// SQLite is a file in this process: no service is away, and no answer is lost.
    fn unreachable(&self) -> Option<Arc<dyn ReaderPointer>> {
        self.server?;
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Arc::new(self.swap_at(unused)))
    }

    async fn deaf(&self, _side: Side) -> Option<Arc<dyn ReaderPointer>> {
        let proxy = CutProxy::start(self.server?.port(), "COMMIT").await.unwrap();
        Some(Arc::new(BehindProxy::new(Arc::new(self.swap_at(proxy.port())), proxy)))
    }

    /// Nobody comes between a look and the transaction, which looks again; commits that do are the next test's.
    async fn raced(&self, _side: Side) -> Option<Arc<dyn ReaderPointer>> {
        None
    }

    async fn meddle(&self) {
        let elsewhere = "UPDATE iceberg_tables SET metadata_location = 'file:///x/metadata/00000-x.metadata.json' \
                         WHERE table_name = 'pointed'";
        self.run(elsewhere).await;
    }

    async fn remove(&self) {
        self.run("DELETE FROM iceberg_tables WHERE table_name = 'pointed'").await;
    }
}

#[tokio::test]
async fn entries_that_change_places_pass_the_contract_of_pointers() {
    let lakes = [Lake::new(), Lake::new()];
    let file = lakes[0].dir.path().join("catalog.db");
    let catalogs = ["a.b.pointed", "a.b.pointed_next"].map(|table| sqlite_catalog(&file, table));
    pointer_contract(&Entries::new(catalogs, CatalogCredentials::default(), lakes).await).await;
}

#[tokio::test]
async fn entries_of_a_postgresql_catalogue_pass_the_contract_of_pointers() {
    let Some(server) = postgres::shared().await else { return };
    let [(one, secrets), (other, _)] = ["a.b.pointed", "a.b.pointed_next"].map(|table| postgres_catalog(server, table));
    let entries = Entries::new([one, other], secrets, [Lake::new(), Lake::new()]).await;
    pointer_contract(&Entries { server: Some(server), ..entries }).await;
}

/// Whoever commits by name while the names move: every commit is in the table that its writer opened, or was refused.
#[tokio::test]
async fn names_move_between_the_commits_of_a_writer_that_does_not_stop() {
    let Some(server) = postgres::shared().await else { return };
    let [(one, secrets), (other, _)] = ["a.b.busy", "a.b.busy_next"].map(|table| postgres_catalog(server, table));
    let (old, new) = (Lake::new(), Lake::new());
    let (swap, [table, _]) = two_tables((&one, &old), (&other, &new), &secrets).await;
    let writer = async {
        for number in 1..=30_i64 {
            let file = old.file(&format!("data/{number}.parquet"), Some(DAY), &[(number, None)]).await;
            committed(&table, &request(number.unsigned_abs(), vec![file], &[])).await;
        }
    };
    let mover = async {
        for side in [Side::New, Side::Old, Side::New, Side::Old, Side::New] {
            swap.point(side).await.unwrap();
            assert_eq!(swap.named().await.unwrap(), side);
        }
    };
    tokio::join!(writer, mover);
    assert_eq!(live(&table).await.len(), 30);
    assert_eq!(swap.named().await.unwrap(), Side::New);
}

//! Tables and views of a Hive Metastore that readers ask for, on a real one; asked by Apache's own client what they are.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lakeshift_core::migration::Side;
use lakeshift_core::pointer::ReaderPointer;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{MigrationId, TableError, TableFormat};
use lakeshift_journal::{Clock, SystemClock};
use lakeshift_tables::delta::DeltaTable;
use lakeshift_tables::hive::HiveTable;
use lakeshift_tables::hive::metastore::{MetastoreEntry, MetastoreError, MetastorePointer};
use lakeshift_testkit::contract::{BehindProxy, PointerWorld, pointer_contract};
use lakeshift_testkit::metastore::{self, MetastoreServer};
use lakeshift_testkit::{CutProxy, ManualClock};
use serde_json::{Value, json};
use tempfile::TempDir;

const OLD_QUERY: &str = "SELECT id, name FROM lake.flights_hive";
const NEW_QUERY: &str = "SELECT id, name FROM lake.flights_delta";

/// One entry of the shared server.
struct Flights {
    server: &'static MetastoreServer,
    dir: TempDir,
    table: &'static str,
    view: bool,
    migration: &'static str,
    clock: Arc<dyn Clock>,
}

impl Flights {
    /// Makes the entry, as Hive itself does: partitioned, bucketed, with statistics and parameters of its owners.
    async fn new(table: &'static str) -> Option<Self> {
        let flights = Self::unmade(table, false).await?;
        flights.put_day("2001-01-01");
        let location = format!("file://{}", flights.old().display());
        flights.ask(&format!(
            "c.create_table(Table(tableName={table:?}, dbName='lake', owner='etl', retention=7, tableType='MANAGED_TABLE',
  sd=StorageDescriptor(cols=[FieldSchema('id', 'bigint', 'the key'), FieldSchema('name', 'string', None)],
    location={location:?}, inputFormat='org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat',
    outputFormat='org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat', compressed=False, numBuckets=4,
    serdeInfo=SerDeInfo('own', 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe', {{'serialization.format': '1', 'x': 'y'}}),
    bucketCols=['id'], sortCols=[Order('id', 1)], parameters={{'of': 'storage'}}),
  partitionKeys=[FieldSchema('day', 'date', None)], parameters={{'comment': 'flights', 'numRows': '12', 'owner.team': 'é'}}))"
        ));
        Some(flights)
    }

    async fn view(table: &'static str) -> Option<Self> {
        let flights = Self::unmade(table, true).await?;
        flights.ask(&format!(
            "c.create_table(Table(tableName={table:?}, dbName='lake', owner='etl', tableType='VIRTUAL_VIEW',
  viewOriginalText={OLD_QUERY:?}, viewExpandedText={OLD_QUERY:?}, parameters={{'comment': 'a view'}}, partitionKeys=[],
  sd=StorageDescriptor(cols=[FieldSchema('id', 'bigint', None), FieldSchema('name', 'string', None)], numBuckets=-1,
    inputFormat='org.apache.hadoop.mapred.SequenceFileInputFormat', serdeInfo=SerDeInfo(None, None, {{}}),
    outputFormat='org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat', parameters={{}})))"
        ));
        Some(flights)
    }

    async fn unmade(table: &'static str, view: bool) -> Option<Self> {
        let server = metastore::shared().await?;
        let flights =
            Self { server, dir: TempDir::new().unwrap(), table, view, migration: "m", clock: Arc::new(ManualClock::new()) };
        flights.ask(
            "try: c.create_database(Database('lake', None, 'file:/tmp/lakeshift-no-such-folder/lake.db', {}))
except AlreadyExistsException: pass",
        );
        Some(flights)
    }

    fn ask(&self, script: &str) -> String {
        self.server.ask(script).unwrap()
    }

    /// The entry, as Apache's client shows it.
    fn entry(&self) -> Value {
        serde_json::from_str(&self.ask(&format!("shown(c.get_table('lake', {:?}))", self.table))).unwrap()
    }

    /// Changes the entry, as an engine does: `t` is the entry.
    fn alter(&self, change: &str) {
        let table = self.table;
        self.ask(&format!("t = c.get_table('lake', {table:?})\n{change}\nc.alter_table('lake', {table:?}, t)"));
    }

    fn old(&self) -> PathBuf {
        self.dir.path().join("old")
    }

    /// A partition's folder with a file.
    fn put_day(&self, day: &str) {
        let folder = self.old().join(format!("day={day}"));
        std::fs::create_dir_all(&folder).unwrap();
        let bytes = crate::builders::parquet(vec![("id", crate::builders::ints(vec![Some(1)]))]);
        std::fs::write(folder.join("part-0.parquet"), bytes).unwrap();
    }

    fn open(&self, folder: &str) -> Storage {
        crate::builders::open(&self.dir.path().join(folder))
    }

    fn pointer_at(&self, port: u16) -> MetastorePointer {
        let entry = MetastoreEntry {
            host: "127.0.0.1".to_owned(),
            port,
            database: "Lake".to_owned(),
            table: self.table.to_owned(),
            query: self.view.then(|| NEW_QUERY.to_owned()),
        };
        let tables: [Arc<dyn TableFormat>; 2] =
            [Arc::new(HiveTable::new(self.open("old"))), Arc::new(DeltaTable::new(self.open("new"), self.clock.clone()))];
        let migration = MigrationId(self.migration.to_owned());
        MetastorePointer::new(entry, tables, self.open("control"), &migration, self.clock.clone())
    }

    fn pointer(&self) -> MetastorePointer {
        self.pointer_at(self.server.port())
    }
}

#[async_trait]
impl PointerWorld for Flights {
    fn pointer(&self) -> Arc<dyn ReaderPointer> {
        Arc::new(self.pointer())
    }

    async fn seen(&self) -> Option<Side> {
        if self.ask(&format!("shown(c.get_tables('lake', {:?}))", self.table)) == "[]" {
            return None;
        }
        let entry = self.entry();
        let is_new = match self.view {
            true => entry["viewExpandedText"] == json!(NEW_QUERY),
            false => entry["sd"]["location"].as_str().unwrap().ends_with("/new"),
        };
        Some(if is_new { Side::New } else { Side::Old })
    }

    fn unreachable(&self) -> Option<Arc<dyn ReaderPointer>> {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Arc::new(self.pointer_at(unused)))
    }

    async fn deaf(&self, _side: Side) -> Option<Arc<dyn ReaderPointer>> {
        let proxy = CutProxy::start(self.server.port(), "alter_table_with").await.unwrap();
        Some(Arc::new(BehindProxy::new(Arc::new(self.pointer_at(proxy.port())), proxy)))
    }

    /// Moves are made under a lock; that of `raced`, below, waits for it.
    async fn raced(&self, _side: Side) -> Option<Arc<dyn ReaderPointer>> {
        None
    }

    async fn meddle(&self) {
        self.alter("t.parameters['owner.team'] = 'somebody else'");
    }

    async fn remove(&self) {
        self.ask(&format!("c.drop_table('lake', {:?}, False)", self.table));
    }
}

/// What a metastore error says, and everything that it is caused by.
fn told(error: TableError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_table_passes_the_contract_of_pointers() {
    let Some(flights) = Flights::new("contract").await else { return };
    pointer_contract(&flights).await;
}

#[tokio::test]
async fn a_view_passes_the_contract_of_pointers() {
    let Some(flights) = Flights::view("contract_view").await else { return };
    pointer_contract(&flights).await;
}

#[tokio::test]
async fn a_table_becomes_what_engines_know_the_new_format_by_and_then_exactly_what_it_was() {
    let Some(flights) = Flights::new("exact").await else { return };
    // What no version of this program has heard of.
    flights.alter(
        "t.parameters['a.parameter.of.the.future'] = '{\"x\": 1}'; t.sd.skewedInfo = SkewedInfo(['name'], [['a']], {})",
    );
    let before = flights.entry();
    flights.pointer().point(Side::New).await.unwrap();
    let moved = flights.entry();
    let (storage, parameters) = (&moved["sd"], &moved["parameters"]);
    let folder = format!("file:{}", flights.dir.path().join("new").display());
    assert_eq!((&storage["location"], &storage["serdeInfo"]["parameters"]["path"]), (&json!(folder), &json!(folder)));
    assert_eq!(storage["inputFormat"], json!("org.apache.hadoop.mapred.SequenceFileInputFormat"));
    assert_eq!((&storage["bucketCols"], &storage["numBuckets"]), (&json!([]), &json!(-1)));
    assert_eq!(parameters["spark.sql.sources.provider"], json!("delta"));
    assert_eq!((&moved["tableType"], &parameters["EXTERNAL"]), (&json!("EXTERNAL_TABLE"), &json!("TRUE")));
    assert_eq!(parameters["numRows"], Value::Null, "statistics are of the old table");
    for kept in ["comment", "owner.team", "a.parameter.of.the.future"] {
        assert_eq!(parameters[kept], before["parameters"][kept]);
    }
    for kept in ["owner", "retention", "createTime", "partitionKeys"] {
        assert_eq!(moved[kept], before[kept], "{kept}");
    }
    assert_eq!(storage["cols"], before["sd"]["cols"]);
    flights.pointer().point(Side::Old).await.unwrap();
    assert_eq!(flights.entry(), before);
    assert!(flights.old().join("day=2001-01-01/part-0.parquet").exists(), "no file was moved or deleted");
}

/// Whoever reads the old table by the Metastore after a rollback sees what the reverse mirror has added to it.
#[tokio::test]
async fn folders_that_came_meanwhile_are_registered_before_the_entry_goes_back() {
    let Some(flights) = Flights::new("grown").await else { return };
    let folder = flights.old().join("day=2001-01-01");
    flights.ask(&format!(
        "t = c.get_table('lake', 'grown')\nt.sd.location = 'file:{}'\nc.add_partition(Partition(['2001-01-01'], 'lake', 'grown', sd=t.sd, parameters={{'a': 'b'}}))",
        folder.display()
    ));
    flights.pointer().point(Side::New).await.unwrap();
    flights.put_day("2001-01-02");
    std::fs::create_dir_all(flights.old().join("_temporary/day=2001-01-03")).unwrap();
    let before = flights.ask("shown(c.get_partition_by_name('lake', 'grown', 'day=2001-01-01'))");
    flights.pointer().point(Side::Old).await.unwrap();
    assert_eq!(flights.ask("shown(c.get_partition_names('lake', 'grown', -1))"), r#"["day=2001-01-01", "day=2001-01-02"]"#);
    assert_eq!(flights.ask("shown(c.get_partition_by_name('lake', 'grown', 'day=2001-01-01'))"), before);
    let added: Value =
        serde_json::from_str(&flights.ask("shown(c.get_partition_by_name('lake', 'grown', 'day=2001-01-02'))")).unwrap();
    assert!(added["sd"]["location"].as_str().unwrap().ends_with("/old/day=2001-01-02"), "{added}");
    assert_eq!(added["sd"]["inputFormat"], flights.entry()["sd"]["inputFormat"]);
}

#[tokio::test]
async fn a_rehearsal_leaves_nothing_behind_and_takes_over_what_a_killed_one_has_left() {
    let Some(flights) = Flights::new("rehearsed").await else { return };
    let before = flights.entry();
    let left =
        "t.tableName = 'rehearsed_lakeshift_rehearsal'; t.tableType = 'EXTERNAL_TABLE'; t.parameters['EXTERNAL'] = 'TRUE'";
    flights.ask(&format!("t = c.get_table('lake', 'rehearsed')\n{left}\nc.create_table(t)"));
    flights.pointer().rehearse(Side::New).await.unwrap();
    assert_eq!(flights.entry(), before);
    assert_eq!(flights.ask("shown(c.get_tables('lake', 'rehearsed*'))"), r#"["rehearsed"]"#);
    assert!(flights.old().join("day=2001-01-01/part-0.parquet").exists());
}

#[tokio::test]
async fn an_entry_that_changes_between_look_and_exchange_is_looked_at_anew_and_keeps_the_change() {
    let Some(mut flights) = Flights::new("raced").await else { return };
    flights.clock = Arc::new(SystemClock::new());
    let pointer = flights.pointer();
    let hold = "r = c.lock(LockRequest(component=[LockComponent(type=3, level=2, dbname='lake', tablename='raced', operationType=6)], user='u', hostname='h'))";
    let lock: i64 = flights.ask(&format!("{hold}\nprint(r.lockid)")).parse().unwrap();
    let mover = tokio::spawn(async move { pointer.point(Side::New).await });
    // It has looked, and waits for the lock.
    flights.alter("t.parameters['comment'] = 'changed meanwhile'");
    flights.ask(&format!("c.unlock(UnlockRequest({lock}))"));
    mover.await.unwrap().unwrap();
    assert_eq!(
        (flights.seen().await, &flights.entry()["parameters"]["comment"]),
        (Some(Side::New), &json!("changed meanwhile"))
    );
    flights.pointer().point(Side::Old).await.unwrap();
    assert_eq!(flights.entry()["parameters"]["comment"], json!("changed meanwhile"));
}

#[tokio::test]
async fn a_lock_that_is_not_released_is_named_and_nothing_is_moved() {
    let Some(flights) = Flights::new("locked").await else { return };
    let hold = "c.lock(LockRequest(component=[LockComponent(type=3, level=2, dbname='lake', tablename='locked', operationType=6)], user='u', hostname='h'))";
    flights.ask(hold);
    let before = flights.entry();
    let text = told(flights.pointer().point(Side::New).await.unwrap_err());
    assert!(text.contains("is locked") && text.contains("lake.locked"), "{text}");
    assert_eq!(flights.entry(), before);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_looked_for() {
    let Some(flights) = Flights::new("lost").await else { return };
    let before = flights.entry();
    for side in [Side::New, Side::Old] {
        let proxy = CutProxy::start(flights.server.port(), "alter_table_with").await.unwrap();
        flights.pointer_at(proxy.port()).point(side).await.unwrap();
        assert!(proxy.has_struck());
        assert_eq!(flights.seen().await, Some(side));
    }
    assert_eq!(flights.entry(), before);
}

#[tokio::test]
async fn statistics_that_engines_write_are_nobodys_change() {
    let Some(flights) = Flights::new("analyzed").await else { return };
    let before = flights.entry();
    flights.pointer().point(Side::New).await.unwrap();
    flights
        .alter("t.parameters.update({'numRows': '3', 'transient_lastDdlTime': '1', 'spark.sql.statistics.totalSize': '9'})");
    assert_eq!(flights.pointer().named().await.unwrap(), Side::New);
    flights.pointer().point(Side::Old).await.unwrap();
    assert_eq!(flights.entry(), before);
}

#[tokio::test]
async fn a_state_that_is_gone_or_altered_is_not_restored() {
    let Some(flights) = Flights::new("unkept").await else { return };
    flights.pointer().point(Side::New).await.unwrap();
    let moved = flights.entry();
    let digest = moved["parameters"]["lakeshift.before"].as_str().unwrap().to_owned();
    let file = flights.dir.path().join("control").join(format!("{digest}.json"));
    let good = std::fs::read_to_string(&file).unwrap();
    let thrift = serde_json::from_str::<Value>(&good).unwrap()["thrift"].as_str().unwrap().to_owned();
    // One letter of the owner's name.
    let altered = thrift.replacen("65746c", "65746d", 1);
    assert_ne!(thrift, altered);
    for bad in [Some(good.replace(&thrift, &altered)), Some("{}".to_owned()), None] {
        match bad {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let text = told(flights.pointer().point(Side::Old).await.unwrap_err());
        assert!(text.contains("cannot be restored") && text.contains(&digest), "{text}");
        assert_eq!(flights.entry(), moved);
    }
    std::fs::write(&file, good).unwrap();
    flights.pointer().point(Side::Old).await.unwrap();
}

#[tokio::test]
async fn what_names_neither_table_or_is_of_another_kind_is_refused_by_name() {
    let Some(mut flights) = Flights::new("unfit").await else { return };
    let before = flights.entry();
    flights.alter("t.sd.location = 'file:/somewhere/else'");
    let text = told(flights.pointer().point(Side::New).await.unwrap_err());
    assert!(text.contains("neither the old nor the new table") && text.contains("/somewhere/else"), "{text}");
    flights.alter(&format!("t.sd.location = {}", before["sd"]["location"]));
    flights.view = true;
    let text = told(flights.pointer().named().await.unwrap_err());
    assert!(text.contains("MANAGED_TABLE") && text.contains("write `table`"), "{text}");
    let Some(mut view) = Flights::view("unfit_view").await else { return };
    view.alter("t.parameters['presto_view'] = 'true'");
    assert!(told(view.pointer().named().await.unwrap_err()).contains("Trino's own"));
    view.view = false;
    assert!(told(view.pointer().named().await.unwrap_err()).contains("a view"));
}

/// The entry of a migration that came before is this one's old table.
#[tokio::test]
async fn an_entry_that_another_migration_has_moved_is_moved_on_and_comes_back_to_it() {
    let Some(mut flights) = Flights::new("onward").await else { return };
    flights.pointer().point(Side::New).await.unwrap();
    let first = flights.entry();
    flights.migration = "next";
    // Its old table is the first one's new table.
    let error = flights.pointer().point(Side::Old).await.unwrap_err();
    assert!(told(error).contains("no mark of this migration"));
    assert_eq!(flights.entry(), first);
}

#[tokio::test]
async fn what_is_no_metastore_is_told_and_bounded() {
    let Some(flights) = Flights::unmade("nowhere", false).await else { return };
    // Claims a text of two gigabytes, says nothing, closes, speaks HTTP.
    let claims =
        [&[0x80, 1, 0, 2, 0, 0, 0, 9][..], b"get_table", &[0, 0, 0, 1, 12, 0, 0, 11, 0, 1, 0x7f, 0xff, 0xff, 0xff]].concat();
    for (answer, wanted) in [
        (claims, "exceeds"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "was not taken"),
        (Vec::new(), "did not answer"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
        });
        let error = flights.pointer_at(port).named().await.unwrap_err();
        assert!(matches!(&error, TableError::Store { source, .. } if source.is::<MetastoreError>()));
        let text = told(error);
        assert!(text.contains(wanted) && text.contains(&format!("thrift://127.0.0.1:{port}")), "{text}");
    }
}

//! Hudi timelines and file slices, small ones made here; whole tables of others are read in the program's golden tests.

use lakeshift_core::hudi::{LoggedSlice, MergeOrder, RecordKey};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Snapshot, TableError, TableFormat, TableVersion, deletes_in};
use lakeshift_core::value::Value;
use lakeshift_tables::hudi::HudiTable;
use object_store::ObjectStoreExt;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::builders::{Folder, delete, entries, folder, numbers, paths, put};

const T1: &str = "20240101000001000";
const T2: &str = "20240101000002000";
const T3: &str = "20240101000003000";
const T4: &str = "20240101000004000";
const SCHEMA: &str = r#"{"type": "record", "name": "r", "fields": [{"name": "_hoodie_record_key", "type": ["null", "string"]},
    {"name": "id", "type": ["null", "long"]}]}"#;

/// Which timeline layout a test's table has.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    One,
    Two,
}

/// A table that a test writes as Hudi would.
struct Writer {
    storage: Storage,
    layout: Layout,
    _folder: Folder,
}

fn properties(layout: Layout) -> String {
    let (table, timeline) = if layout == Layout::One { (6, 1) } else { (9, 2) };
    format!(
        "hoodie.table.name=t\nhoodie.table.checksum=498511606\nhoodie.table.version={table}\nhoodie.timeline.layout.version={timeline}\n\
         hoodie.record.merge.mode=EVENT_TIME_ORDERING\nhoodie.table.ordering.fields=id\n"
    )
}

fn base(group: &str, instant: &str) -> String {
    format!("p/{group}_1-0-1_{instant}.parquet")
}

fn log(group: &str, instant: &str) -> String {
    format!("p/.{group}_{instant}.log.1_1-0-1")
}

fn wrote(paths: &[String]) -> Json {
    let stat = |path: &String| {
        let name = path.rsplit('/').next().unwrap().trim_start_matches('.');
        json!({ "fileId": name.split('_').next().unwrap(), "path": path, "prevCommit": "null" })
    };
    json!({ "p": paths.iter().map(stat).collect::<Vec<_>>() })
}

impl Writer {
    async fn new(layout: Layout) -> Self {
        Self::with(layout, &properties(layout)).await
    }

    async fn with(layout: Layout, properties: &str) -> Self {
        let folder = folder();
        let writer = Self { storage: folder.storage.clone(), layout, _folder: folder };
        put(&writer.storage, ".hoodie/hoodie.properties", properties.as_bytes().to_vec()).await;
        writer
    }

    fn table(&self) -> HudiTable {
        HudiTable::new(self.storage.clone())
    }

    async fn files(&self, paths: &[String]) {
        for path in paths {
            put(&self.storage, path, numbers(0, 3)).await;
        }
    }

    async fn instant(&self, name: &str, content: Json) {
        let folder = if self.layout == Layout::One { ".hoodie" } else { ".hoodie/timeline" };
        put(&self.storage, &format!("{folder}/{name}"), content.to_string().into_bytes()).await;
    }

    fn done(&self, time: &str, completion: &str, action: &str) -> String {
        if self.layout == Layout::One { format!("{time}.{action}") } else { format!("{time}_{completion}.{action}") }
    }

    /// Writes files and completes the instant that wrote them.
    async fn commit(&self, time: &str, completion: &str, action: &str, paths: &[String]) {
        self.files(paths).await;
        let metadata = json!({ "partitionToWriteStats": wrote(paths), "extraMetadata": { "schema": SCHEMA } });
        self.instant(&self.done(time, completion, action), metadata).await;
    }

    async fn replace(&self, time: &str, completion: &str, paths: &[String], groups: &[&str]) {
        self.files(paths).await;
        let metadata = json!({ "partitionToWriteStats": wrote(paths), "partitionToReplaceFileIds": { "p": groups } });
        self.instant(&self.done(time, completion, "replacecommit"), metadata).await;
    }
}

async fn now(table: &HudiTable) -> (Snapshot, Vec<FileEntry>) {
    let snapshot = table.snapshot(None).await.unwrap();
    let files = entries(table, &snapshot).await;
    (snapshot, files)
}

fn slice_of(file: &FileEntry) -> LoggedSlice {
    serde_json::from_str(deletes_in(&file.identity).unwrap()).unwrap()
}

fn logs_of(file: &FileEntry) -> Vec<String> {
    slice_of(file).logs.into_iter().map(|log| log.path).collect()
}

#[rstest]
#[tokio::test]
async fn the_latest_base_file_of_each_group_is_shown_and_replaced_groups_are_not(
    #[values(Layout::One, Layout::Two)] layout: Layout,
) {
    let writer = Writer::new(layout).await;
    writer.commit(T1, T1, "commit", &[base("a", T1), base("b", T1)]).await;
    writer.commit(T2, T2, "commit", &[base("a", T2)]).await;
    // An attempt that failed, of an instant that completed; an instant that did not; and no data file at all.
    writer.files(&["p/a_9-9-9_20240101000002000.parquet".to_owned(), base("c", T3), "p/_SUCCESS".to_owned()]).await;
    writer.instant(&format!("{T3}.commit.requested"), json!({})).await;
    let (first, files) = now(&writer.table()).await;
    assert_eq!(files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), [base("a", T2), base("b", T1)]);
    assert!(files.iter().all(|file| !file.has_deletes && file.partition.is_empty() && file.rows.is_none()));
    assert_eq!(first.schema.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["id"]);
    writer.replace(T4, T4, &[base("d", T4)], &["a"]).await;
    let table = writer.table();
    let (second, files) = now(&table).await;
    assert_eq!(files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), [base("b", T1), base("d", T4)]);
    let changes = table.changes(&first, &second).await.unwrap();
    assert_eq!(changes.added.iter().map(|file| &file.path).collect::<Vec<_>>(), [&base("d", T4)]);
    assert_eq!(changes.removed.iter().map(|file| &file.path).collect::<Vec<_>>(), [&base("a", T2)]);
    let again = table.snapshot(Some(&first.version)).await.unwrap();
    assert_eq!(paths(&table, &again).await, [base("a", T2), base("b", T1)]);
}

#[tokio::test]
async fn log_files_of_layout_one_belong_to_their_base_file_and_blocks_count_by_instant() {
    let writer = Writer::new(Layout::One).await;
    writer.commit(T1, T1, "deltacommit", &[base("a", T1), base("b", T1)]).await;
    writer.commit(T2, T2, "deltacommit", &[log("a", T1)]).await;
    let (first, files) = now(&writer.table()).await;
    let slice = slice_of(&files[0]);
    assert_eq!((logs_of(&files[0]), slice.instants, slice.archived_before), (vec![log("a", T1)], vec![T2.to_owned()], None));
    assert_eq!((slice.merge.order, slice.merge.key), (MergeOrder::EventTime, RecordKey::Meta));
    assert!(files[0].has_deletes && !files[1].has_deletes);
    // A compaction is planned: what comes then is named by it, and applies as well.
    writer.instant(&format!("{T3}.compaction.requested"), json!({})).await;
    writer.commit(T4, T4, "deltacommit", &[log("a", T3)]).await;
    let (second, files) = now(&writer.table()).await;
    assert_eq!(second.version.0, format!("hudi:{T4}!{T3}"));
    assert_eq!((files[0].path.clone(), logs_of(&files[0])), (base("a", T1), vec![log("a", T1), log("a", T3)]));
    assert_eq!(slice_of(&files[0]).instants, [T2, T4]);
    // It completes: the rows are the same, the files are others.
    writer.commit(T3, T3, "commit", &[base("a", T3)]).await;
    let table = writer.table();
    let (third, files) = now(&table).await;
    assert_eq!((files[0].path.clone(), logs_of(&files[0])), (base("a", T3), vec![log("a", T3)]));
    assert_eq!(slice_of(&files[0]).instants, [T4]);
    assert_ne!(second.version, third.version);
    for (version, expected) in [(first.version, vec![log("a", T1)]), (second.version, vec![log("a", T1), log("a", T3)])] {
        let snapshot = table.snapshot(Some(&version)).await.unwrap();
        assert_eq!(logs_of(&entries(&table, &snapshot).await[0]), expected, "{version}");
    }
}

#[tokio::test]
async fn blocks_that_were_written_before_their_instant_completed_make_another_identity() {
    let writer = Writer::new(Layout::One).await;
    writer.commit(T1, T1, "deltacommit", &[base("a", T1)]).await;
    writer.commit(T3, T3, "deltacommit", &[log("a", T1)]).await;
    writer.instant(&format!("{T2}.deltacommit.inflight"), json!({})).await;
    let before = now(&writer.table()).await.1;
    writer.commit(T2, T2, "deltacommit", &[]).await;
    let metadata = json!({ "partitionToWriteStats": wrote(&[log("a", T1)]) });
    writer.instant(&format!("{T2}.deltacommit"), metadata).await;
    let after = now(&writer.table()).await.1;
    assert_eq!(before[0].path, after[0].path);
    assert_eq!(
        (slice_of(&before[0]).instants, slice_of(&after[0]).instants),
        (vec![T3.to_owned()], vec![T2.into(), T3.into()])
    );
    assert_ne!(before[0].identity, after[0].identity);
}

#[tokio::test]
async fn log_files_of_layout_two_belong_to_the_base_file_that_began_before_they_completed() {
    let writer = Writer::new(Layout::Two).await;
    writer.commit(T1, T1, "deltacommit", &[base("a", T1)]).await;
    // Completed before the compaction began; while it ran; and not at all.
    writer.commit(T2, "20240101000002500", "deltacommit", &[log("a", T2)]).await;
    writer.commit("20240101000002700", "20240101000003500", "deltacommit", &[log("a", "20240101000002700")]).await;
    writer.files(&[log("a", "20240101000002800")]).await;
    writer.commit(T3, T4, "commit", &[base("a", T3)]).await;
    let table = writer.table();
    let files = now(&table).await.1;
    assert_eq!((files[0].path.clone(), logs_of(&files[0])), (base("a", T3), vec![log("a", "20240101000002700")]));
    let before = TableVersion("hudi:20240101000002700_20240101000003500".to_owned());
    let snapshot = table.snapshot(Some(&before)).await.unwrap();
    let files = entries(&table, &snapshot).await;
    assert_eq!(
        (files[0].path.clone(), logs_of(&files[0])),
        (base("a", T1), vec![log("a", T2), log("a", "20240101000002700")])
    );
}

#[tokio::test]
async fn a_group_without_a_base_file_is_its_first_log_file() {
    let writer = Writer::new(Layout::Two).await;
    writer.commit(T1, T1, "deltacommit", &[log("a", T1)]).await;
    writer.commit(T2, T2, "deltacommit", &[log("a", T2)]).await;
    let table = writer.table();
    let files = now(&table).await.1;
    assert_eq!((files[0].path.clone(), slice_of(&files[0]).based), (log("a", T1), false));
    let facts =
        futures::TryStreamExt::try_collect::<Vec<_>>(futures::StreamExt::map(table.facts(files), |(_, facts)| facts));
    assert_eq!(facts.await.unwrap()[0].rows, 0);
}

#[rstest]
#[tokio::test]
async fn a_file_that_an_instant_names_and_that_is_not_there_is_never_left_out(
    #[values(Layout::One, Layout::Two)] layout: Layout,
    #[values(true, false)] is_log: bool,
) {
    let writer = Writer::new(layout).await;
    let file = match (is_log, layout) {
        (false, _) => base("a", T2),
        (true, Layout::One) => log("a", T1),
        (true, Layout::Two) => log("a", T2),
    };
    writer.commit(T1, T1, "deltacommit", &[base("a", T1)]).await;
    writer.commit(T2, T2, "deltacommit", std::slice::from_ref(&file)).await;
    delete(&writer.storage, &file).await;
    let error = writer.table().snapshot(None).await.unwrap_err();
    assert!(matches!(&error, TableError::VersionGone { .. }) && error.to_string().contains(&file), "{error}");
}

#[tokio::test]
async fn a_version_whose_files_were_cleaned_is_gone_unless_it_was_pinned() {
    let writer = Writer::new(Layout::One).await;
    writer.commit(T1, T1, "commit", &[base("a", T1), base("b", T1)]).await;
    let states = folder();
    let table = writer.table().with_states(states.storage.clone());
    let first = now(&table).await.0;
    table.pin(&first).await.unwrap();
    table.pin(&first).await.unwrap();
    writer.commit(T2, T2, "commit", &[base("a", T2)]).await;
    writer.commit(T3, T3, "commit", &[base("b", T3)]).await;
    delete(&writer.storage, &base("a", T1)).await;
    let second = TableVersion(format!("hudi:{T2}"));
    let (fresh, pinned) = (writer.table(), writer.table().with_states(states.storage.clone()));
    assert!(matches!(fresh.snapshot(Some(&first.version)).await, Err(TableError::VersionGone { .. })));
    assert_eq!(paths(&fresh, &fresh.snapshot(Some(&second)).await.unwrap()).await, [base("a", T2), base("b", T1)]);
    assert_eq!(paths(&pinned, &pinned.snapshot(Some(&first.version)).await.unwrap()).await, [base("a", T1), base("b", T1)]);
    // Archived: the timeline does not say any more what was written, only that it was completed.
    delete(&writer.storage, &format!(".hoodie/{T1}.commit")).await;
    assert!(matches!(fresh.snapshot(Some(&first.version)).await, Err(TableError::VersionGone { .. })));
    assert_eq!(now(&writer.table()).await.1.len(), 2);
}

/// One that began before the version and completed after it is behind, too; one that is under way is not.
#[rstest]
#[tokio::test]
async fn instants_that_completed_since_a_version_are_counted_until_the_timeline_has_forgotten_it(
    #[values(Layout::One, Layout::Two)] layout: Layout,
) {
    let writer = Writer::new(layout).await;
    writer.commit(T1, T1, "commit", &[base("a", T1)]).await;
    writer.instant(&format!("{T2}.commit.requested"), json!({})).await;
    writer.commit(T3, T3, "commit", &[base("b", T3)]).await;
    let states = folder();
    let table = writer.table().with_states(states.storage.clone());
    let first = now(&table).await.0;
    table.pin(&first).await.unwrap();
    writer.commit(T2, T4, "commit", &[base("c", T2)]).await;
    writer.replace(T4, "20240101000005000", &[base("d", T4)], &["a"]).await;
    writer.instant("20240101000006000.commit.requested", json!({})).await;
    let (fresh, second) = (writer.table().with_states(states.storage.clone()), now(&writer.table()).await.0);
    let behind = async |from: &Snapshot, to: &Snapshot| fresh.changes(from, to).await.unwrap().commits;
    assert_eq!((behind(&first, &second).await, behind(&first, &first).await), (Some(2), Some(0)));
    for time in [T1, T2, T3] {
        let completion = if time == T2 { T4 } else { time };
        let folder = if layout == Layout::One { ".hoodie" } else { ".hoodie/timeline" };
        delete(&writer.storage, &format!("{folder}/{}", writer.done(time, completion, "commit"))).await;
    }
    writer.commit("20240101000007000", "20240101000007000", "commit", &[base("e", "20240101000007000")]).await;
    let third = now(&writer.table()).await.0;
    assert_eq!(behind(&first, &third).await, None, "the last instant that it shows is archived, and others may be");
}

#[tokio::test]
async fn what_a_clean_deleted_is_missed_where_it_was_shown() {
    let writer = Writer::new(Layout::One).await;
    // Written by an instant that is archived, and named by none.
    writer.files(&[base("a", T1)]).await;
    writer.commit(T2, T2, "commit", &[base("b", T2)]).await;
    writer.commit(T4, T4, "commit", &[base("a", T4)]).await;
    let version = TableVersion(format!("hudi:{T2}"));
    let table = writer.table();
    assert_eq!(paths(&table, &table.snapshot(Some(&version)).await.unwrap()).await, [base("a", T1), base("b", T2)]);
    delete(&writer.storage, &base("a", T1)).await;
    let name = base("a", T1).trim_start_matches("p/").to_owned();
    let cleaned = json!({ "partitionMetadata": { "p": { "deletePathPatterns": [name], "successDeleteFiles": [] } } });
    writer.instant("20240101000005000.clean", cleaned).await;
    assert!(matches!(writer.table().snapshot(Some(&version)).await, Err(TableError::VersionGone { .. })));
    assert_eq!(now(&writer.table()).await.1.len(), 2);
}

#[rstest]
#[case("hoodie.table.version=6", "hoodie.table.version=5", "table version 5")]
#[case("hoodie.table.version=6", "hoodie.table.version=10", "table version 10")]
#[case("hoodie.timeline.layout.version=1", "hoodie.table.base.file.format=ORC", "base files of the format ORC")]
#[case("hoodie.timeline.layout.version=1", "hoodie.bootstrap.base.path=/x", "bootstrapped")]
#[case("hoodie.record.merge.mode=EVENT_TIME_ORDERING", "hoodie.record.merge.mode=CUSTOM", "merge mode CUSTOM")]
#[case(
    "hoodie.timeline.layout.version=1",
    "hoodie.compaction.payload.class=org.apache.hudi.common.model.debezium.PostgresDebeziumAvroPayload",
    "PostgresDebeziumAvroPayload"
)]
#[case("hoodie.timeline.layout.version=1", "hoodie.table.partial.update.mode=FILL_UNAVAILABLE", "FILL_UNAVAILABLE")]
#[case("ordering.fields=id", "ordering.fields=when", "when")]
#[tokio::test]
async fn what_is_not_understood_is_refused_by_name(#[case] from: &str, #[case] to: &str, #[case] told: &str) {
    let writer = Writer::with(Layout::One, &properties(Layout::One).replace(from, to)).await;
    writer.commit(T1, T1, "deltacommit", &[base("a", T1)]).await;
    writer.commit(T2, T2, "deltacommit", &[log("a", T1)]).await;
    let error = writer.table().snapshot(None).await.unwrap_err();
    assert!(matches!(&error, TableError::Unsupported { .. }) && error.to_string().contains(told), "{error}");
}

#[tokio::test]
async fn properties_of_another_table_are_refused() {
    let text = properties(Layout::One).replace("hoodie.table.name=t", "hoodie.table.name=u");
    let error = Writer::with(Layout::One, &text).await.table().snapshot(None).await.unwrap_err();
    assert!(matches!(&error, TableError::Corrupt { .. }) && error.to_string().contains("checksum"), "{error}");
}

#[rstest]
#[case("OverwriteWithLatestAvroPayload", 6, MergeOrder::CommitTimeDisputed)]
#[case("OverwriteWithLatestAvroPayload", 9, MergeOrder::CommitTime)]
#[case("DefaultHoodieRecordPayload", 6, MergeOrder::EventTime)]
#[tokio::test]
async fn a_table_without_a_merge_mode_is_merged_by_its_payload_class(
    #[case] class: &str,
    #[case] version: u32,
    #[case] order: MergeOrder,
) {
    let layout = if version == 6 { Layout::One } else { Layout::Two };
    let class = format!("hoodie.compaction.payload.class=org.apache.hudi.common.model.{class}");
    let text = properties(layout).replace("hoodie.record.merge.mode=EVENT_TIME_ORDERING", &class);
    let writer = Writer::with(layout, &text).await;
    writer.commit(T1, T1, "deltacommit", &[base("a", T1)]).await;
    let log = if layout == Layout::One { log("a", T1) } else { log("a", T2) };
    writer.commit(T2, T2, "deltacommit", &[log]).await;
    assert_eq!(slice_of(&now(&writer.table()).await.1[0]).merge.order, order);
}

#[tokio::test]
async fn partition_columns_that_stand_in_paths_only_have_their_values_from_there() {
    let text = "hoodie.table.partition.fields=day,place\nhoodie.datasource.write.drop.partition.columns=true\n\
                hoodie.datasource.write.hive_style_partitioning=true\nhoodie.datasource.write.partitionpath.urlencode=true\n\
                hoodie.table.create.schema={\"type\"\\:\"record\",\"name\"\\:\"r\",\"fields\"\\:[\
                {\"name\"\\:\"day\",\"type\"\\:{\"type\"\\:\"int\",\"logicalType\"\\:\"date\"}}]}\n";
    let writer = Writer::with(Layout::One, &format!("{}{text}", properties(Layout::One))).await;
    let path = format!("day=2024-01-31/place=__HIVE_DEFAULT_PARTITION__/a_1-0-1_{T1}.parquet");
    writer.commit(T1, T1, "commit", &[path]).await;
    let (snapshot, files) = now(&writer.table()).await;
    assert_eq!(files[0].partition, [Some(Value::Date(19_753)), None]);
    let columns: Vec<String> =
        snapshot.schema.fields.iter().map(|field| format!("{}: {}", field.name, field.data_type)).collect();
    assert_eq!(columns, ["id: int64", "day: date", "place: string"]);
    let odd = format!("day=20240131/place=x/b_1-0-1_{T2}.parquet");
    writer.commit(T2, T2, "commit", &[odd]).await;
    let error = writer.table().snapshot(None).await.unwrap_err();
    assert!(error.to_string().contains("day that is no date"), "{error}");
}

#[tokio::test]
async fn a_table_that_is_not_there_is_not_found() {
    let error = HudiTable::new(folder().storage).snapshot(None).await.unwrap_err();
    assert!(matches!(error, TableError::NotFound { .. }), "{error}");
}

/// Damages one object by a change of bits and a cut.
async fn damage(storage: &Storage, path: &str, flips: &[(usize, u8)], cut: Option<usize>) {
    let object = storage.resolve(path).unwrap();
    let mut bytes = storage.store().get(&object).await.unwrap().bytes().await.unwrap().to_vec();
    for (at, bits) in flips {
        let at = at % bytes.len();
        bytes[at] ^= bits;
    }
    bytes.truncate(cut.map_or(bytes.len(), |cut| cut % bytes.len()));
    storage.store().put(&object, bytes.into()).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_properties_and_instants_are_an_error_or_a_table(
        which in 0..3_usize,
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<usize>()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let writer = Writer::new(Layout::One).await;
            writer.commit(T1, T1, "deltacommit", &[base("a", T1)]).await;
            writer.commit(T2, T2, "deltacommit", &[log("a", T1)]).await;
            let first = format!(".hoodie/{T1}.deltacommit");
            let second = format!(".hoodie/{T2}.deltacommit");
            damage(&writer.storage, [".hoodie/hoodie.properties", &first, &second][which], &flips, cut).await;
            if let Ok(snapshot) = writer.table().snapshot(None).await {
                let _ = entries(&writer.table(), &snapshot).await;
            }
        });
    }
}

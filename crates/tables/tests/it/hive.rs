//! Hive-style folders: what is found, how it is typed, and what changed.

use std::sync::Arc;

use futures::StreamExt;
use lakeshift_core::schema::DataType;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Disposition, Snapshot, TableError, TableFormat, TableVersion};
use lakeshift_core::value::Value;
use lakeshift_tables::hive::{HiveTable, PartitionColumn};
use lakeshift_testkit::{FaultPlan, FaultStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use rstest::rstest;

use crate::builders::{delete, entries, folder, ints, numbers, open, parquet, paths, put, small_ints, texts};

fn memory() -> Storage {
    Storage::new(url::Url::parse("memory:///lake/t").unwrap(), Arc::new(InMemory::new()), Path::from("lake/t"))
}

fn text(value: &str) -> Option<Value> {
    Some(Value::String(value.to_owned()))
}

async fn now(table: &HiveTable) -> Snapshot {
    table.snapshot(None).await.unwrap()
}

#[tokio::test]
async fn every_object_has_a_disposition_and_only_data_is_read() {
    let storage = memory();
    put(&storage, "day=1/a.parquet", numbers(0, 3)).await;
    put(&storage, "day=1/deep/er/b.parquet", numbers(3, 2)).await;
    put(&storage, "day=2/000000_0", numbers(5, 1)).await;
    put(&storage, "day=1/_SUCCESS", vec![]).await;
    put(&storage, "day=1/.a.parquet.crc", b"crc".to_vec()).await;
    put(&storage, "_temporary/0/x.parquet", numbers(0, 1)).await;
    put(&storage, "_delta_log/00000000000000000010.checkpoint.parquet", numbers(0, 1)).await;
    put(&storage, ".hoodie/x.parquet", numbers(0, 1)).await;
    put(&storage, "day=1/empty.parquet", vec![]).await;
    put(&storage, "day=1/cut.parquet", numbers(0, 3)[..100].to_vec()).await;
    put(&storage, "day=1/notes.csv", b"a,b,c,d,e,f,g,h,i".to_vec()).await;

    let table = HiveTable::new(storage);
    let inventory = table.inventory().await.unwrap();
    let data: Vec<_> = inventory.files.iter().map(|file| (file.entry.path.as_str(), file.entry.rows)).collect();
    assert_eq!(data, [("day=1/a.parquet", Some(3)), ("day=1/deep/er/b.parquet", Some(2)), ("day=2/000000_0", Some(1))]);
    let others: Vec<_> = inventory.quarantine.iter().map(|other| (other.path.as_str(), other.disposition)).collect();
    assert_eq!(
        others,
        [
            (".hoodie/x.parquet", Disposition::Hidden),
            ("_delta_log/00000000000000000010.checkpoint.parquet", Disposition::Hidden),
            ("_temporary/0/x.parquet", Disposition::Hidden),
            ("day=1/.a.parquet.crc", Disposition::Hidden),
            ("day=1/_SUCCESS", Disposition::Hidden),
            ("day=1/cut.parquet", Disposition::Corrupt),
            ("day=1/empty.parquet", Disposition::Empty),
            ("day=1/notes.csv", Disposition::NotParquet),
        ]
    );
}

#[tokio::test]
async fn a_folder_without_data_is_no_table() {
    let storage = memory();
    put(&storage, "_SUCCESS", vec![]).await;
    assert!(matches!(HiveTable::new(storage).snapshot(None).await, Err(TableError::NotFound { .. })));
}

async fn partition_of(names: &[&str], declared: &[(&str, DataType)]) -> (Vec<String>, Vec<Vec<Option<Value>>>) {
    let storage = memory();
    for name in names {
        put(&storage, &format!("{name}/f.parquet"), numbers(0, 1)).await;
    }
    let declared =
        declared.iter().map(|(name, data_type)| PartitionColumn { name: (*name).into(), data_type: data_type.clone() });
    let table = HiveTable::new(storage).with_partition_types(declared.collect());
    let snapshot = now(&table).await;
    let types = snapshot.schema.fields[1..].iter();
    let types =
        types.map(|field| format!("{}{} {}", field.name, if field.nullable { "?" } else { "" }, field.data_type)).collect();
    (types, entries(&table, &snapshot).await.into_iter().map(|entry| entry.partition).collect())
}

#[rstest]
#[case::integers(&["n=1", "n=20"], "n int64", vec![Some(Value::Int(1)), Some(Value::Int(20))])]
#[case::leading_zero(&["n=00", "n=12"], "n string", vec![text("00"), text("12")])]
#[case::dates(&["d=1969-12-31", "d=1970-01-01"], "d date", vec![Some(Value::Date(-1)), Some(Value::Date(0))])]
#[case::bad_date(&["d=2001-01-01", "d=2001-02-30"], "d string", vec![text("2001-01-01"), text("2001-02-30")])]
#[case::null(&["n=1", "n=__HIVE_DEFAULT_PARTITION__"], "n? int64", vec![Some(Value::Int(1)), None])]
#[case::only_null(&["n=__HIVE_DEFAULT_PARTITION__"], "n? string", vec![None])]
#[case::encoded_slash(&["s=a%2Fb", "s=a%252Fb"], "s string", vec![text("a%2Fb"), text("a/b")])]
#[case::encoded_key(&["a%3Db=c"], "a=b string", vec![text("c")])]
#[case::equals_and_plus(&["s=a=b", "s=c+d"], "s string", vec![text("a=b"), text("c+d")])]
#[case::accents(&["s=São Paulo"], "s string", vec![text("São Paulo")])]
#[case::minus_zero(&["n=-0"], "n string", vec![text("-0")])]
#[tokio::test]
async fn partition_values_are_decoded_once_and_typed_by_proof(
    #[case] names: &[&str],
    #[case] column: &str,
    #[case] values: Vec<Option<Value>>,
) {
    let (types, found) = partition_of(names, &[]).await;
    assert_eq!(types, [column]);
    assert_eq!(found, values.into_iter().map(|value| vec![value]).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_declared_type_is_taken_even_where_it_does_not_print_back() {
    let (types, values) = partition_of(&["hour=00", "hour=7"], &[("hour", DataType::Int32)]).await;
    assert_eq!(types, ["hour int32"]);
    assert_eq!(values, [vec![Some(Value::Int(0))], vec![Some(Value::Int(7))]]);
}

async fn refused(files: &[(&str, Vec<u8>)], declared: &[(&str, DataType)]) -> String {
    let storage = memory();
    for (name, bytes) in files {
        put(&storage, name, bytes.clone()).await;
    }
    let declared =
        declared.iter().map(|(name, data_type)| PartitionColumn { name: (*name).into(), data_type: data_type.clone() });
    let error = HiveTable::new(storage).with_partition_types(declared.collect()).snapshot(None).await.unwrap_err();
    assert!(matches!(error, TableError::Unsupported { .. }), "{error:?}");
    error.to_string()
}

#[rstest]
#[case(&["a=1/f.parquet", "b=1/f.parquet"], &["b=1/f.parquet", "a=1/f.parquet"])]
#[case(&["a=1/b=1/f.parquet", "a=1/f.parquet"], &["a=1/f.parquet", "a=1/b=1/f.parquet"])]
#[case(&["a=1/f.parquet", "f.parquet"], &["f.parquet", "a=1/f.parquet"])]
#[case(&["a=/f.parquet"], &["a=/f.parquet", "empty"])]
#[case(&["a=1/a=2/f.parquet"], &["a=1/a=2/f.parquet", "twice"])]
#[case(&["a=%FF/f.parquet"], &["a=%FF/f.parquet", "UTF-8"])]
#[tokio::test]
async fn folders_that_do_not_agree_are_refused_by_name(#[case] files: &[&str], #[case] named: &[&str]) {
    let files: Vec<_> = files.iter().map(|name| (*name, numbers(0, 1))).collect();
    let text = refused(&files, &[]).await;
    assert!(named.iter().all(|name| text.contains(name)), "{text}");
}

#[tokio::test]
async fn a_value_that_is_not_of_the_declared_type_is_refused() {
    let text = refused(&[("n=x/f.parquet", numbers(0, 1))], &[("n", DataType::Int32)]).await;
    assert!(text.contains("n=x/f.parquet") && text.contains("int32"), "{text}");
}

#[tokio::test]
async fn a_declared_column_that_no_path_has_is_refused() {
    let text = refused(&[("n=1/f.parquet", numbers(0, 1))], &[("m", DataType::Int32)]).await;
    assert!(text.contains("`m=…`"), "{text}");
}

#[tokio::test]
async fn files_of_several_schemas_are_one_table() {
    let storage = memory();
    put(&storage, "a.parquet", parquet(vec![("id", small_ints(vec![1])), ("name", texts(vec!["x"]))])).await;
    put(&storage, "b.parquet", parquet(vec![("added", texts(vec!["y"])), ("id", ints(vec![Some(2)]))])).await;
    let snapshot = now(&HiveTable::new(storage)).await;
    let fields: Vec<_> =
        snapshot.schema.fields.iter().map(|f| (f.name.as_str(), f.data_type.to_string(), f.nullable)).collect();
    assert_eq!(
        fields,
        [("id", "int64".to_owned(), false), ("name", "string".to_owned(), true), ("added", "string".to_owned(), true)]
    );
}

#[tokio::test]
async fn columns_that_the_spec_maps_are_one_column() {
    let storage = memory();
    put(&storage, "a.parquet", parquet(vec![("From", texts(vec!["x"])), ("n", small_ints(vec![1]))])).await;
    put(&storage, "b.parquet", parquet(vec![("n", ints(vec![Some(2)])), ("origin", texts(vec!["y"]))])).await;
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let inventories = storage.child("_inventories");
    let open = |pairs| HiveTable::new(storage.clone()).with_columns(map(pairs)).with_inventories(inventories.clone());
    let mapped = open(&[("From", "origin")]);
    let snapshot = now(&mapped).await;
    let fields: Vec<_> = snapshot.schema.fields.iter().map(|f| (f.name.as_str(), f.aliases.clone())).collect();
    assert_eq!(fields, [("origin", vec!["From".to_owned()]), ("n", vec![])]);
    assert_eq!(snapshot.schema.fields[1].data_type, DataType::Int64);

    let plain = now(&open(&[])).await;
    assert_ne!(plain.version, snapshot.version, "another mapping makes another table of the same files");
    mapped.pin(&snapshot).await.unwrap();
    let again = open(&[("From", "origin")]).snapshot(Some(&snapshot.version)).await.unwrap();
    assert_eq!(again.schema, snapshot.schema, "the saved inventory has the aliases");
    let gone = open(&[]).snapshot(Some(&snapshot.version)).await.unwrap_err();
    assert!(matches!(gone, TableError::VersionGone { .. }), "{gone}");

    put(&storage, "c.parquet", parquet(vec![("From", texts(vec!["x"])), ("origin", texts(vec!["y"]))])).await;
    let error = mapped.snapshot(None).await.unwrap_err().to_string();
    assert!(error.contains("c.parquet") && error.contains("From") && error.contains("columns map"), "{error}");
}

#[tokio::test]
async fn irreconcilable_types_and_names_differing_in_case_are_refused_with_both_files() {
    let id = |array| parquet(vec![("id", array)]);
    let text = refused(&[("a.parquet", id(ints(vec![Some(1)]))), ("b.parquet", id(texts(vec!["1"])))], &[]).await;
    assert!(text.contains("a.parquet") && text.contains("b.parquet") && text.contains("columns map"), "{text}");
    let upper = parquet(vec![("ID", ints(vec![Some(1)]))]);
    let text = refused(&[("a.parquet", numbers(0, 1)), ("b.parquet", upper)], &[]).await;
    assert!(text.contains("a.parquet") && text.contains("b.parquet") && text.contains("ID"), "{text}");
}

#[tokio::test]
async fn a_column_in_path_and_file_keeps_its_place_and_the_files_type() {
    let storage = memory();
    put(&storage, "n=1/f.parquet", parquet(vec![("n", small_ints(vec![9])), ("id", ints(vec![Some(1)]))])).await;
    let table = HiveTable::new(storage);
    let snapshot = now(&table).await;
    let names: Vec<_> = snapshot.schema.fields.iter().map(|f| format!("{} {}", f.name, f.data_type)).collect();
    assert_eq!(names, ["n int32", "id int64"]);
    assert_eq!(entries(&table, &snapshot).await[0].partition, [Some(Value::Int(1))], "the path is authoritative");
}

#[tokio::test]
async fn changes_are_new_replaced_and_deleted_files() {
    let storage = folder();
    for name in ["day=1/kept.parquet", "day=1/replaced.parquet", "day=1/deleted.parquet"] {
        put(&storage.storage, name, numbers(0, 2)).await;
    }
    let table = HiveTable::new(storage.storage.clone());
    let before = now(&table).await;
    assert_eq!(now(&table).await.version, before.version, "nothing changed");

    put(&storage.storage, "day=1/replaced.parquet", numbers(7, 2)).await;
    put(&storage.storage, "day=2/new.parquet", numbers(0, 1)).await;
    delete(&storage.storage, "day=1/deleted.parquet").await;
    let after = now(&table).await;
    assert_ne!(after.version, before.version);
    let changes = table.changes(&before, &after).await.unwrap();
    let names = |files: &[lakeshift_core::table::FileEntry]| files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&changes.added), ["day=1/replaced.parquet", "day=2/new.parquet"]);
    assert_eq!(names(&changes.removed), ["day=1/deleted.parquet", "day=1/replaced.parquet"]);
}

#[tokio::test]
async fn a_file_that_was_corrupt_and_is_repaired_is_a_change() {
    let storage = memory();
    put(&storage, "a.parquet", numbers(0, 1)).await;
    put(&storage, "b.parquet", numbers(0, 2)[..50].to_vec()).await;
    let table = HiveTable::new(storage.clone());
    let before = now(&table).await;
    put(&storage, "b.parquet", numbers(0, 2)).await;
    let after = now(&table).await;
    let changes = table.changes(&before, &after).await.unwrap();
    assert_eq!((changes.added.len(), changes.removed.len()), (1, 0));
}

#[tokio::test]
async fn a_pinned_inventory_is_read_by_another_process_after_the_folder_has_changed() {
    let (table_folder, control) = (folder(), folder());
    put(&table_folder.storage, "s=a%2Fb/n=1/f.parquet", numbers(0, 2)).await;
    put(&table_folder.storage, "s=a%2Fb/n=__HIVE_DEFAULT_PARTITION__/f.parquet", numbers(0, 2)).await;
    put(&table_folder.storage, "cut.parquet", b"PAR1".to_vec()).await;
    let open_table =
        || HiveTable::new(open(table_folder.dir.path())).with_inventories(open(control.dir.path()).child("inventories"));
    let first = open_table();
    let pinned = now(&first).await;
    first.pin(&pinned).await.unwrap();
    first.pin(&pinned).await.unwrap();
    let files = entries(&first, &pinned).await;

    put(&table_folder.storage, "s=x/n=2/f.parquet", numbers(0, 2)).await;
    let second = open_table();
    let loaded = second.snapshot(Some(&pinned.version)).await.unwrap();
    assert_eq!((loaded.schema, loaded.partition, &loaded.version), (pinned.schema, pinned.partition, &pinned.version));
    assert_eq!(entries(&second, &second.snapshot(Some(&pinned.version)).await.unwrap()).await, files);
    let digest = pinned.version.0.strip_prefix("hive:").unwrap();
    assert!(control.dir.path().join(format!("inventories/{digest}.parquet")).is_file());
}

#[tokio::test]
async fn an_inventory_that_was_tampered_with_is_refused() {
    let (table_folder, control) = (folder(), folder());
    put(&table_folder.storage, "a.parquet", numbers(0, 2)).await;
    let table = HiveTable::new(table_folder.storage.clone()).with_inventories(control.storage.clone());
    let (one, digest) = (now(&table).await, |snapshot: &Snapshot| format!("{}.parquet", &snapshot.version.0[5..]));
    table.pin(&one).await.unwrap();
    put(&table_folder.storage, "b.parquet", numbers(0, 2)).await;
    let two = now(&table).await;
    table.pin(&two).await.unwrap();
    std::fs::copy(control.dir.path().join(digest(&one)), control.dir.path().join(digest(&two))).unwrap();

    let fresh = HiveTable::new(table_folder.storage.clone()).with_inventories(control.storage.clone());
    let error = fresh.snapshot(Some(&two.version)).await.unwrap_err();
    assert!(matches!(&error, TableError::Corrupt { object, .. } if object.ends_with(&digest(&two))), "{error:?}");
}

#[rstest]
#[case("hive:0000000000000000000000000000000000000000000000000000000000000000")]
#[case("hive:../../etc/passwd")]
#[case("7")]
#[tokio::test]
async fn a_version_that_nobody_pinned_is_gone(#[case] version: &str) {
    let (table_folder, control) = (folder(), folder());
    put(&table_folder.storage, "a.parquet", numbers(0, 2)).await;
    let table = HiveTable::new(table_folder.storage.clone()).with_inventories(control.storage.clone());
    let error = table.snapshot(Some(&TableVersion(version.to_owned()))).await.unwrap_err();
    assert!(matches!(error, TableError::VersionGone { .. }), "{error:?}");
}

#[tokio::test]
async fn footers_of_known_files_are_not_read_again() {
    let store = Arc::new(FaultStore::new(Arc::new(InMemory::new()), FaultPlan::None));
    let storage = Storage::new(url::Url::parse("memory:///t").unwrap(), store.clone(), Path::from("t"));
    for index in 0..10 {
        put(&storage, &format!("day={index}/f.parquet"), numbers(index, 1)).await;
    }
    let table = HiveTable::new(storage.clone());
    now(&table).await;
    put(&storage, "day=99/f.parquet", numbers(0, 1)).await;
    let before = store.operations();
    now(&table).await;
    assert_eq!(store.operations() - before, 2, "a listing and one footer");
}

#[tokio::test]
async fn one_corrupt_file_does_not_hide_the_facts_of_others() {
    let storage = memory();
    for name in ["a.parquet", "b.parquet", "c.parquet"] {
        put(&storage, name, numbers(4, 2)).await;
    }
    let table = HiveTable::new(storage.clone());
    let snapshot = now(&table).await;
    let files = entries(&table, &snapshot).await;
    put(&storage, "b.parquet", b"no parquet any more".to_vec()).await;
    let kept: Vec<_> = table.facts(files.clone()).collect().await;
    assert!(kept.iter().all(|(_, facts)| facts.is_ok()), "an inventory's facts are of the content that it has listed");
    let facts: Vec<_> = HiveTable::new(storage.clone()).facts(files).collect().await;
    let ok: Vec<_> = facts.iter().map(|(file, facts)| (file.path.as_str(), facts.is_ok())).collect();
    assert_eq!(ok, [("a.parquet", true), ("b.parquet", false), ("c.parquet", true)]);
    assert_eq!(facts[0].1.as_ref().unwrap().bounds["id"], (Value::Int(4), Value::Int(5)));
}

#[tokio::test]
async fn awkward_names_on_disk_are_found_read_and_reported_as_they_are() {
    let names = ["city=São Paulo/f.parquet", "name=a%2Fb/f.parquet", "x=a b+c=d/f%20g.parquet"];
    for name in names {
        let (partition, file) = name.split_once('/').unwrap();
        let root = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(root.path().join(partition)).unwrap();
        std::fs::write(root.path().join(name), numbers(0, 1)).unwrap();
        let table = HiveTable::new(open(root.path()));
        let snapshot = now(&table).await;
        assert_eq!(paths(&table, &snapshot).await, [format!("{partition}/{file}")]);
    }
}

#[tokio::test]
async fn a_symlink_out_of_the_table_is_an_error_that_names_it() {
    let (table_folder, outside) = (folder(), folder());
    put(&table_folder.storage, "day=1/a.parquet", numbers(0, 1)).await;
    put(&outside.storage, "b.parquet", numbers(0, 1)).await;
    std::os::unix::fs::symlink(outside.dir.path(), table_folder.dir.path().join("day=2")).unwrap();
    let error = HiveTable::new(table_folder.storage.clone()).snapshot(None).await.unwrap_err();
    assert!(matches!(&error, TableError::Outside { path, .. } if path.ends_with("day=2/b.parquet")), "{error:?}");
}

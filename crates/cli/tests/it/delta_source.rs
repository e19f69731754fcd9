//! A live Delta table as the source: its log is written here as other writers write it.

use lakeshift::error::with_causes;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Flight, Target, World, day_file, flat, rows_of};

/// The deletion vector of the protocol's example, and the rows that it deletes.
const VECTOR: &str = "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L";
const DELETED: [usize; 6] = [3, 4, 7, 11, 18, 29];

/// As [`VECTOR`], and the rows 30 and 31.
const MORE_VECTOR: &str = "^Bg9^0rr910000000000iXQKl0rr91000l75c8Xg0@@D72lkbi5=-{L9SNnZ";
const MORE_DELETED: [usize; 8] = [3, 4, 7, 11, 18, 29, 30, 31];

const LATE: &[Flight] = &[(60, "ORD", Some(12)), (61, "ORD", None)];

/// Forty flights of which none is like another.
fn many() -> Vec<Flight> {
    (0..40).map(|minute| (minute, "ATL", (minute % 3 > 0).then_some(minute))).collect()
}

struct Lake(World);

impl Lake {
    fn new() -> Self {
        let world = World::in_memory(Target::Iceberg);
        let spec = std::fs::read_to_string(world.spec()).unwrap();
        let delta = spec.replace("format: hive", "format: delta").replace("[month(at), 'bucket(2, origin)']", "[month(at)]");
        std::fs::write(world.spec(), delta).unwrap();
        Self(world)
    }

    /// A lake whose new columns are followed.
    fn following() -> Self {
        let lake = Self::new();
        lake.0.write_spec(Target::Iceberg, "dual_write: {schema_changes: follow}\n");
        let spec = std::fs::read_to_string(lake.0.spec()).unwrap();
        std::fs::write(lake.0.spec(), spec.replace("format: hive", "format: delta")).unwrap();
        lake
    }

    /// The `metaData` that the table was created with.
    async fn metadata(&self) -> String {
        let log = self.0.get("memory:///lake/flights/_delta_log/00000000000000000000.json").await;
        let log = String::from_utf8(log.to_vec()).unwrap();
        log.lines().find(|line| line.contains("metaData")).unwrap().to_owned()
    }

    /// Asks for a version of Iceberg.
    fn set_version(&self, version: u8) {
        let spec = std::fs::read_to_string(self.0.spec()).unwrap();
        let named = spec.replace("format: iceberg", &format!("format: iceberg\n  format_version: {version}"));
        std::fs::write(self.0.spec(), named).unwrap();
    }

    async fn commit(&self, version: u64, actions: &[Value]) {
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        self.0.put(&format!("flights/_delta_log/{version:020}.json"), lines.join("\n")).await;
    }

    async fn create(&self, files: Vec<Value>) {
        let field =
            |name: &str, data_type: &str| json!({ "name": name, "type": data_type, "nullable": true, "metadata": {} });
        let columns = [field("at", "timestamp_ntz"), field("origin", "string"), field("delay", "long")];
        let features = json!(["timestampNtz", "deletionVectors"]);
        let mut actions = vec![
            json!({ "protocol": { "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features } }),
            json!({ "metaData": { "id": "8a3f2f9c-0a52-4b1c-9f6e-000000000000", "format": { "provider": "parquet", "options": {} },
                "schemaString": json!({ "type": "struct", "fields": columns }).to_string(), "partitionColumns": [],
                "configuration": { "delta.enableDeletionVectors": "true" }, "createdTime": 0 } }),
        ];
        actions.extend(files);
        self.commit(0, &actions).await;
    }

    /// As [`create`](Self::create), with columns that are found by physical names and known by ids.
    async fn create_mapped(&self, files: Vec<Value>) {
        let field = |id: u8, name: &str, data_type: &str| {
            let mapping = json!({ "delta.columnMapping.id": id, "delta.columnMapping.physicalName": name });
            json!({ "name": name, "type": data_type, "nullable": true, "metadata": mapping })
        };
        let columns = [field(1, "at", "timestamp_ntz"), field(2, "origin", "string"), field(3, "delay", "long")];
        let features = json!(["timestampNtz", "columnMapping"]);
        let mut actions = vec![
            json!({ "protocol": { "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features } }),
            json!({ "metaData": { "id": "8a3f2f9c-0a52-4b1c-9f6e-000000000001", "format": { "provider": "parquet", "options": {} },
                "schemaString": json!({ "type": "struct", "fields": columns }).to_string(), "partitionColumns": [],
                "configuration": { "delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "3" }, "createdTime": 0 } }),
        ];
        actions.extend(files);
        self.commit(0, &actions).await;
    }

    /// Writes a data file and gives its `add`.
    async fn add(&self, path: &str, flights: &[Flight], deleted: bool) -> Value {
        let bytes = day_file(1, flights);
        let (size, rows) = (bytes.len(), flights.len());
        self.0.put(&format!("flights/{path}"), bytes).await;
        let vector =
            json!({ "storageType": "i", "pathOrInlineDv": VECTOR, "sizeInBytes": 44, "cardinality": DELETED.len() });
        let mut add = json!({ "path": path, "partitionValues": {}, "size": size, "modificationTime": 5, "dataChange": true,
            "stats": json!({ "numRecords": rows }).to_string() });
        if deleted {
            add["deletionVector"] = vector;
        }
        json!({ "add": add })
    }

    async fn step(&self, command: &str) {
        self.0.does(&[command, "SPEC"]).await;
    }

    /// The data and delete files that the target has written, whether each is one of deletes.
    async fn written(&self) -> Vec<bool> {
        let objects = self.0.objects_below("flights_iceberg/data").await;
        objects.iter().map(|path| path.contains(".deletes.")).collect()
    }

    async fn steps(&self, commands: &[&str]) {
        for command in commands {
            self.step(command).await;
        }
    }
}

fn remove(path: &str) -> Value {
    json!({ "remove": { "path": path, "deletionTimestamp": 6, "dataChange": true } })
}

/// The log knows a file by its path and its vector.
fn remove_of(add: &Value) -> Value {
    let mut removed = remove(add["add"]["path"].as_str().unwrap());
    if let Some(vector) = add["add"].get("deletionVector") {
        removed["remove"]["deletionVector"] = vector.clone();
    }
    removed
}

/// What is left, as text.
fn rows(flights: &[Flight], deleted: &[usize]) -> Vec<String> {
    let all = rows_of(day_file(1, flights).into());
    all.into_iter().enumerate().filter(|(row, _)| !deleted.contains(row)).map(|(_, row)| row).collect()
}

fn sorted(parts: [Vec<String>; 2]) -> Vec<String> {
    let mut rows = parts.concat();
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn rows_that_were_deleted_before_the_migration_stay_deleted() {
    let lake = Lake::new();
    let files = vec![lake.add("a.parquet", &many(), true).await, lake.add("b.parquet", LATE, false).await];
    lake.create(files).await;
    let plan = lake.0.run(&["plan", "SPEC"]).await.unwrap();
    assert!(flat(&plan.text).contains("its deleted rows are carried over as deletes"), "{}", plan.text);
    assert_eq!(plan.json["plan"]["summary"]["total"]["rows"], 36);
    lake.steps(&["approve", "dual-write", "backfill", "mirror", "validate", "cutover"]).await;
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, sorted([rows(&many(), &DELETED), rows(LATE, &[])]));
    assert_eq!(lake.written().await, [true]);
}

/// The vector comes before the backfill has moved the file, and after. Either way no row is written again.
#[rstest]
#[tokio::test]
async fn rows_that_are_deleted_during_the_migration_vanish_from_the_new_table(
    #[values(true, false)] moved: bool,
    #[values(2, 3)] version: u8,
) {
    let lake = Lake::new();
    lake.set_version(version);
    let files = vec![lake.add("a.parquet", &many(), false).await, lake.add("b.parquet", LATE, false).await];
    lake.create(files).await;
    lake.steps(&["plan", "approve", "dual-write"]).await;
    if moved {
        lake.step("backfill").await;
        assert_eq!(lake.0.target_rows(Target::Iceberg).await.len(), 42);
    }
    let marked = lake.add("a.parquet", &many(), true).await;
    lake.commit(1, &[remove("a.parquet"), marked]).await;
    let (gone, new) = (remove("b.parquet"), lake.add("c.parquet", &LATE[..1], false).await);
    lake.commit(2, &[gone, new]).await;
    lake.steps(&["backfill", "mirror", "validate", "cutover"]).await;
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, sorted([rows(&many(), &DELETED), rows(&LATE[..1], &[])]));
    assert_eq!(lake.written().await, [true]);
}

/// More rows are deleted, then all come back, then the file goes.
#[tokio::test]
async fn an_adopted_file_follows_its_deletes_until_it_is_gone() {
    let lake = Lake::new();
    let first = lake.add("a.parquet", &many(), true).await;
    lake.create(vec![first.clone(), lake.add("b.parquet", LATE, false).await]).await;
    lake.steps(&["plan", "approve", "dual-write", "backfill"]).await;
    let mut more = first.clone();
    more["add"]["deletionVector"] =
        json!({ "storageType": "i", "pathOrInlineDv": MORE_VECTOR, "sizeInBytes": 48, "cardinality": MORE_DELETED.len() });
    lake.commit(1, &[remove_of(&first), more.clone()]).await;
    lake.steps(&["mirror", "validate"]).await;
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, sorted([rows(&many(), &MORE_DELETED), rows(LATE, &[])]));
    let restored = lake.add("a.parquet", &many(), false).await;
    lake.commit(2, &[remove_of(&more), restored.clone()]).await;
    lake.steps(&["mirror", "validate"]).await;
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, sorted([rows(&many(), &[]), rows(LATE, &[])]));
    lake.commit(3, &[remove_of(&restored)]).await;
    lake.steps(&["mirror", "validate", "cutover"]).await;
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, sorted([rows(LATE, &[]), vec![]]));
    assert!(lake.written().await.iter().all(|deletes| *deletes));
}

/// The log's word for a file's content is not the store's, by which a purge makes sure that nobody has put another file there.
#[tokio::test]
async fn a_purge_deletes_the_old_tables_own_files() {
    let lake = Lake::new();
    let spec = std::fs::read_to_string(lake.0.spec()).unwrap();
    std::fs::write(lake.0.spec(), spec.replace("unit_size:", "strategy: rewrite, unit_size:")).unwrap();
    let add = lake.add("a.parquet", LATE, false).await;
    lake.create(vec![add]).await;
    lake.steps(&["plan", "approve", "dual-write", "backfill", "mirror", "validate", "cutover"]).await;
    for _ in 0..2 {
        lake.0.wait(3700);
        lake.step("sunset").await;
    }
    let history = lake.0.run(&["history", "SPEC"]).await.unwrap().text;
    assert!(history.contains("1 file deleted"), "{history}");
}

/// Versions of the two tables say nothing of each other, though they are numbered alike.
#[tokio::test]
async fn a_source_that_was_dropped_and_created_anew_is_refused_by_name() {
    let lake = Lake::new();
    let first = lake.add("a.parquet", LATE, false).await;
    lake.create(vec![first]).await;
    for command in ["plan", "approve", "dual-write", "backfill"] {
        lake.step(command).await;
    }
    let rows = lake.0.target_rows(Target::Iceberg).await;
    let log = lake.0.get("memory:///lake/flights/_delta_log/00000000000000000000.json").await;
    let other = String::from_utf8(log.to_vec()).unwrap().replace("000000000000", "111111111111");
    lake.0.put("flights/_delta_log/00000000000000000000.json", other).await;
    let more = lake.add("b.parquet", LATE, false).await;
    lake.commit(1, &[more]).await;
    for command in ["mirror", "cutover"] {
        let refused = lake.0.run(&[command, "SPEC"]).await.unwrap_err();
        let told = with_causes(&refused);
        assert!(
            told.contains("another table stands at") || told.contains("have not been carried over"),
            "{command}: {told}"
        );
    }
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, rows);
}

/// What S0 listed was cleaned up before it was moved.
#[tokio::test]
async fn a_source_whose_pinned_version_is_gone_is_refused_by_name() {
    let lake = Lake::new();
    let first = lake.add("a.parquet", LATE, false).await;
    lake.create(vec![first]).await;
    for command in ["plan", "approve", "dual-write"] {
        lake.step(command).await;
    }
    lake.0.delete("flights/a.parquet").await;
    let refused = lake.0.run(&["backfill", "SPEC"]).await.unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    assert!(with_causes(&refused).contains("a.parquet"), "{}", with_causes(&refused));
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, Vec::<String>::new());
}

/// The table goes on from a checkpoint, and the versions that the mirror would begin from are cleaned up.
#[tokio::test]
async fn a_log_that_was_cleaned_up_past_the_mirror_is_refused_by_name() {
    let lake = Lake::new();
    let first = lake.add("a.parquet", LATE, false).await;
    lake.create(vec![first]).await;
    lake.steps(&["plan", "approve", "dual-write", "backfill"]).await;
    let rows = lake.0.target_rows(Target::Iceberg).await;
    for number in 1..=11 {
        lake.0.write_new(Target::DeltaInPlace, number, 1, LATE, &[]).await;
    }
    assert!(lake.0.list("flights/_delta_log").await.iter().any(|name| name.ends_with(".checkpoint.parquet")));
    for version in 0..10 {
        lake.0.delete(&format!("flights/_delta_log/{version:020}.json")).await;
    }
    let refused = lake.0.run(&["mirror", "SPEC"]).await.unwrap_err();
    let told = with_causes(&refused);
    assert!(told.contains("version 0 of") && told.contains("nothing was carried over"), "{told}");
    assert_eq!(refused.exit_code(), 2);
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, rows);
    lake.steps(&["abort"]).await;
}

/// A new column by the log alone, without a file that has it.
#[tokio::test]
async fn a_column_that_comes_before_its_first_rows_is_followed() {
    let lake = Lake::following();
    let first = lake.add("a.parquet", LATE, false).await;
    lake.create(vec![first]).await;
    lake.steps(&["plan", "approve", "dual-write", "backfill", "mirror", "validate"]).await;
    let metadata = lake.metadata().await;
    let gate = r#"{\"metadata\":{},\"name\":\"gate\",\"nullable\":true,\"type\":\"string\"}"#;
    let wider = metadata.replace("}]", &format!("}},{gate}]"));
    assert_ne!(wider, metadata);
    lake.commit(1, &[serde_json::from_str(&wider).unwrap()]).await;
    lake.steps(&["mirror", "validate", "cutover"]).await;
    assert!(lake.0.target_columns(Target::Iceberg).await.contains(&"gate".to_owned()));
}

/// As an overwrite with another schema does it.
#[tokio::test]
async fn a_column_that_is_gone_stops_the_mirror_whatever_the_spec_says() {
    let lake = Lake::following();
    let first = lake.add("a.parquet", LATE, false).await;
    lake.create(vec![first]).await;
    lake.steps(&["plan", "approve", "dual-write", "backfill", "mirror"]).await;
    let rows = lake.0.target_rows(Target::Iceberg).await;
    let metadata = lake.metadata().await;
    let narrower = metadata.replace(r#"\"delay\""#, r#"\"minutes\""#);
    assert_ne!(narrower, metadata);
    let more = lake.add("b.parquet", LATE, false).await;
    lake.commit(1, &[serde_json::from_str(&narrower).unwrap(), more]).await;
    let refused = lake.0.run(&["mirror", "SPEC"]).await.unwrap_err();
    let told = with_causes(&refused);
    assert!(told.contains("column delay is gone") && told.contains("take the change back"), "{told}");
    assert_eq!(refused.exit_code(), 4);
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, rows, "nothing was carried over");
    assert!(!lake.0.target_columns(Target::Iceberg).await.contains(&"minutes".to_owned()));
}

/// Whatever changes what rows that are there mean stops the mirror, by the column's name and with the next step.
#[rstest]
#[case::another_type(r#"\"type\":\"long\""#, r#"\"type\":\"string\""#, "column delay is string and was int64")]
#[case::narrower(r#"\"type\":\"long\""#, r#"\"type\":\"integer\""#, "column delay is int32 and was int64")]
#[case::renamed(r#"\"name\":\"delay\""#, r#"\"name\":\"minutes\""#, "column delay is called minutes now")]
#[tokio::test]
async fn a_column_that_is_renamed_or_retyped_stops_the_mirror_by_name(
    #[case] before: &str,
    #[case] after: &str,
    #[case] told: &str,
) {
    let lake = Lake::following();
    lake.create_mapped(vec![lake.add("a.parquet", LATE, false).await]).await;
    lake.steps(&["plan", "approve", "dual-write", "backfill", "mirror"]).await;
    let rows = lake.0.target_rows(Target::Iceberg).await;
    let metadata = lake.metadata().await;
    let changed = metadata.replace(before, after);
    assert_ne!(changed, metadata);
    lake.commit(1, &[serde_json::from_str(&changed).unwrap()]).await;
    let refused = lake.0.run(&["mirror", "SPEC"]).await.unwrap_err();
    let text = with_causes(&refused);
    assert!(text.contains(told) && text.contains("take the change back"), "{text}");
    assert_eq!(refused.exit_code(), 4);
    assert_eq!(lake.0.target_rows(Target::Iceberg).await, rows, "nothing was carried over");
    // Taken back: nothing is left of it.
    lake.commit(2, &[serde_json::from_str(&metadata).unwrap()]).await;
    lake.steps(&["mirror", "validate", "cutover"]).await;
}

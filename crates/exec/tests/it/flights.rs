//! A manual check on a file of real size: `LAKESHIFT_FLIGHTS=…/flights-3m.parquet cargo test … flights -- --ignored --nocapture`.

use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, TimeUnit};
use lakeshift_core::table::{FileEntry, Format};
use lakeshift_exec::engine::{Engine, EngineSettings};
use lakeshift_exec::rewrite::{PartitionColumns, RewriteLimits, RewriteOutcome, RewriteRequest, rewrite};
use lakeshift_exec::scan::{ScanRequest, scan};
use lakeshift_journal::{Clock, SystemClock};

use crate::files::{local, schema, snapshot};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the flights file; prints time and memory"]
async fn three_million_flights_by_month_and_bucket() {
    let file = std::path::PathBuf::from(std::env::var("LAKESHIFT_FLIGHTS").unwrap());
    let source = local(file.parent().unwrap());
    let target_folder = tempfile::tempdir().unwrap();
    let target = local(target_folder.path());
    let date = DataType::Timestamp { unit: TimeUnit::Micros, utc: false };
    let columns = [
        ("date", date),
        ("delay", DataType::Int64),
        ("distance", DataType::Int64),
        ("origin", DataType::String),
        ("destination", DataType::String),
    ];
    let table = schema(columns.into());
    let spec = PartitionSpec {
        fields: vec![PartitionField::new("date", Transform::Month), PartitionField::new("origin", Transform::Bucket(16))],
    };
    let entry = FileEntry {
        path: file.file_name().unwrap().to_string_lossy().into_owned(),
        size_bytes: file.metadata().unwrap().len(),
        identity: String::new(),
        modified_ms: 0,
        rows: Some(3_000_000),
        partition: vec![],
        has_deletes: false,
    };
    let settings = EngineSettings { memory_bytes: 256 << 20, ..EngineSettings::default() };
    let engine = Engine::builder().with_settings(settings).build().unwrap();
    let (snapshot, files) = (snapshot(&source, table.clone(), PartitionSpec::default()), [entry]);
    let plan =
        scan(&engine, &ScanRequest { storage: &source, format: Format::Hive, snapshot: &snapshot, files: &files }).unwrap();
    let clock = SystemClock::new();
    let outcome = rewrite(RewriteRequest {
        input: engine.execute(plan).unwrap(),
        storage: &target,
        schema: &table,
        partition: &spec,
        partition_columns: PartitionColumns::Keep,
        file_stem: "flights",
        limits: RewriteLimits::default(),
        cancel: None,
    });
    let RewriteOutcome::Written(files) = outcome.await.unwrap() else { panic!("nobody cancelled") };
    let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{} files, {bytes} bytes, {:?}, {peak}", files.len(), clock.elapsed());
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 3_000_000);
}

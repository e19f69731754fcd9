//! A million rows a side, keyed, in a process of its own whose peak memory is read from the kernel.

use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use lakeshift_core::equivalence::{Encoding, Fingerprint, FingerprintShape, RowDiff, ValidationKey, compare};
use lakeshift_core::migration::Side;
use lakeshift_exec::diff::{DiffRequest, Masking, SideReader, diff};
use lakeshift_exec::engine::Engine;
use lakeshift_exec::fingerprint::{FingerprintRequest, fingerprint};

use crate::diff_export::target;
use crate::files::local;
use crate::support::{KEY, run};

const ROWS: i64 = 1_000_000;
const BATCH_ROWS: i64 = 8192;
const PEAK_BYTES_MAX: u64 = 256 << 20;
const DIFF_BYTES: u64 = 96 << 20;
const COLUMNS: [&str; 5] = ["id", "name", "comment", "price", "at"];

/// Of the ids, those divisible by 10 have another price on the new side, by 1000 (less 1) are missing, by 2000 (less 1)
/// stand under another id.
fn batch(side: Side, start: i64) -> RecordBatch {
    let is_new = side == Side::New;
    let ids: Vec<i64> = (start..(start + BATCH_ROWS).min(ROWS)).filter(|id| !is_new || id % 1000 != 1).collect();
    let id = |id: &i64| if is_new && id % 2000 == 3 { id + ROWS } else { *id };
    let price = |id: &i64| *id as f64 / if is_new && id % 10 == 0 { 100.0 } else { 1.0 } + 1.0;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(ids.iter().map(id).collect::<Int64Array>())),
        ("name", Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("name of row {id}"))))),
        ("comment", Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("{id:0>60}"))))),
        ("price", Arc::new(ids.iter().map(price).collect::<Float64Array>())),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| id * 1_000_000)))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// Rows made as they are read.
fn stream(side: Side) -> SendableRecordBatchStream {
    let batches = (0..ROWS).step_by(BATCH_ROWS as usize).map(move |start| Ok(batch(side, start)));
    Box::pin(RecordBatchStreamAdapter::new(batch(side, 0).schema(), futures::stream::iter(batches)))
}

struct Made;

#[async_trait]
impl SideReader for Made {
    async fn open(&self, side: Side) -> Result<Vec<SendableRecordBatchStream>, DataFusionError> {
        Ok(vec![stream(side)])
    }
}

fn print(side: Side, shape: &FingerprintShape) -> Fingerprint {
    let request =
        FingerprintRequest { shape: shape.clone(), columns: shape.columns.clone(), cells_max: 10, parallel_max: 1 };
    run(fingerprint(request, vec![stream(side)])).unwrap()
}

fn million() -> RowDiff {
    let columns = COLUMNS.map(str::to_owned).to_vec();
    let (encoding, key) = (Encoding::default(), ValidationKey::new(KEY));
    let shape = FingerprintShape { encoding, key, columns: columns.clone(), fields: Vec::new() };
    let comparison = compare(&print(Side::Old, &shape), &print(Side::New, &shape)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let storage = local(folder.path());
    let engine = Engine::builder().with_spill_dir(folder.path()).build().unwrap();
    let request = DiffRequest {
        engine: &engine,
        shape,
        comparison: &comparison,
        key: vec!["id".to_owned()],
        old_columns: columns.clone(),
        new_columns: columns,
        tolerances: Vec::new(),
        accept: Vec::new(),
        today: NaiveDate::default(),
        export: target(&storage),
        sample_rows_max: 20,
        masking: Masking::Shown,
        memory_bytes: DIFF_BYTES,
    };
    run(diff(&request, &Made)).unwrap()
}

/// The process's greatest resident memory so far.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "run in a process of its own by a_million_rows_are_compared_by_key_in_256_mib"]
fn million_in_this_process() {
    let diff = million();
    println!("peak {}", peak_bytes());
    println!("counts {} {} {}", diff.missing, diff.extra, diff.changed);
}

#[test]
fn a_million_rows_are_compared_by_key_in_256_mib() {
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "diff_memory::million_in_this_process", "--ignored", "--nocapture"];
    let output = Command::new(this).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let moved = ROWS / 2000;
    assert_eq!(line("counts "), format!("{} {moved} {}", 1000 + moved, ROWS / 10 - 1), "row 0 costs the same");
    let peak: u64 = line("peak ").parse().unwrap();
    assert!(peak < PEAK_BYTES_MAX, "{} MiB", peak >> 20);
}

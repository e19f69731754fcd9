//! What others wrote, mutated: it is read as something, or refused; never a panic, a hang, or memory beyond a bound.
//!
//! The mutations run in a process of their own, whose peak memory is read from the kernel and which is stopped when it does
//! not end. The seeds are fixed (the bytes that they mutate are not quite: Avro files carry a random marker, and names of temporary
//! folders); `PROPTEST_CASES` asks for more of them.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deltalake::arrow::array::{Decimal128Array, Float64Array, TimestampMicrosecondArray};
use futures::{StreamExt, TryStreamExt};
use lakeshift_core::table::TableFormat;
use lakeshift_tables::delta::DeltaTable;
use lakeshift_tables::footer::{Int96, parse_footer_with};
use lakeshift_tables::hive::HiveTable;
use lakeshift_testkit::ManualClock;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::{Just, Strategy, any, prop};
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::builders::{ints, parquet, put, texts};
use crate::delta;
use crate::delta_foreign;
use crate::iceberg::fixture;

/// More than the process needs without any mutation, and far less than a claim of gigabytes.
const PEAK_BYTES_MAX: u64 = 256 << 20;
/// Processor time, so that a busy machine does not look like an endless loop.
const CPU_SECONDS_MAX: u64 = 120;

/// One change to valid bytes; places are relative to the length.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Insert(Index, Vec<u8>),
    /// A number of the text becomes another.
    Number(Index, &'static str),
}

const NUMBERS: [&str; 10] = [
    "-1",
    "0",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e400",
    "null",
    "\"x\"",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof_of([
        (at(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)).boxed(),
        (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)).boxed(),
        at().prop_map(Mutation::Cut).boxed(),
        (at(), 1_usize..64).prop_map(|(at, length)| Mutation::Remove(at, length)).boxed(),
        (at(), 1_usize..64, 1_usize..64).prop_map(|(at, length, times)| Mutation::Repeat(at, length, times)).boxed(),
        (at(), prop::collection::vec(any::<u8>(), 1..16)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)).boxed(),
        (at(), prop::sample::select(&NUMBERS[..])).prop_map(|(at, number)| Mutation::Number(at, number)).boxed(),
    ])
}

fn prop_oneof_of(
    choices: [proptest::strategy::BoxedStrategy<Mutation>; 7],
) -> proptest::strategy::Union<proptest::strategy::BoxedStrategy<Mutation>> {
    proptest::strategy::Union::new(choices)
}

fn mutated(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for mutation in mutations.iter() {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        let within = |at: &Index, span: usize| (at.index(length), (at.index(length) + span).min(length));
        match mutation {
            Mutation::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Mutation::Set(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Cut(at) => bytes.truncate(at.index(length)),
            Mutation::Remove(at, span) => {
                let (start, end) = within(at, *span);
                bytes.drain(start..end);
            }
            Mutation::Repeat(at, span, times) => {
                let (start, end) = within(at, *span);
                let piece = bytes[start..end].repeat(*times);
                bytes.splice(end..end, piece);
            }
            Mutation::Insert(at, piece) => {
                let start = at.index(length);
                bytes.splice(start..start, piece.iter().copied());
            }
            Mutation::Number(at, number) => {
                let from = at.index(length);
                let Some(start) = (from..length).find(|place| bytes[*place].is_ascii_digit()) else { continue };
                let end = (start..length).find(|place| !bytes[*place].is_ascii_digit()).unwrap_or(length);
                bytes.splice(start..end, number.bytes());
            }
        }
    }
    bytes
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(mutation(), 1..4)
}

/// Runs `check` on as many cases as asked for.
fn run<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(S::Value)) {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let config =
        Config { cases: asked.unwrap_or(cases), failure_persistence: None, max_shrink_iters: 64, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(strategy, |case| {
        check(case);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn rich_file() -> Vec<u8> {
    let decimals = Decimal128Array::from(vec![12_345, -5]).with_precision_and_scale(30, 2).unwrap();
    parquet(vec![
        ("id", ints(vec![Some(1), None])),
        ("name", texts(vec!["a", "b"])),
        ("real", Arc::new(Float64Array::from(vec![1.0, f64::NAN]))),
        ("price", Arc::new(decimals)),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1, 2]).with_timezone("UTC"))),
    ])
}

/// A message with every kind of nesting, without rows.
fn nested_file() -> Vec<u8> {
    let message = "message t { optional int96 at; optional group l (LIST) { repeated group list { optional int32 element; } }
        optional group old (LIST) { repeated group array { required binary x (UTF8); } }
        optional group m (MAP) { repeated group key_value { required binary key (UTF8); optional group value { required int64 y; } } }
        required fixed_len_byte_array(16) u (UUID); required int32 d (DECIMAL(9,2)); }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(message).unwrap());
    parquet::file::writer::SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap().into_inner().unwrap()
}

fn footers() {
    let files = [rich_file(), nested_file()];
    run(4096, &(0..files.len(), mutations()), |(file, mutations)| {
        let whole = &files[file];
        let length = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
        let footer = mutated(&whole[whole.len() - 8 - length..whole.len() - 8], &mutations);
        let _ = parse_footer_with("t/f.parquet", &footer, whole.len() as u64, Int96::Instants);
    });
}

async fn objects(store: &dyn ObjectStore, below: &Path) -> Vec<(Path, Bytes)> {
    let mut listed: Vec<_> = store.list(Some(below)).try_collect().await.unwrap();
    listed.sort_by(|a, b| a.location.cmp(&b.location));
    let read = |meta: object_store::ObjectMeta| async move {
        let bytes = store.get(&meta.location).await.unwrap().bytes().await.unwrap();
        (meta.location, bytes)
    };
    futures::stream::iter(listed).then(read).collect().await
}

/// A store with these objects, of which one is mutated.
async fn with_one_mutated(objects: &[(Path, Bytes)], which: usize, mutations: &[Mutation]) -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    for (index, (path, bytes)) in objects.iter().enumerate() {
        let bytes = if index == which { mutated(bytes, mutations).into() } else { bytes.clone() };
        store.put(path, bytes.into()).await.unwrap();
    }
    store
}

/// Reads all that an adapter tells of a table without opening a data file's rows.
async fn look(table: &dyn TableFormat) {
    let Ok(snapshot) = table.snapshot(None).await else { return };
    let Ok(files) = table.files(&snapshot).try_collect::<Vec<_>>().await else { return };
    for file in files.iter().filter(|file| file.has_deletes).take(4) {
        let _ = table.deleted_rows(file).await;
    }
    let _ = table.facts(files.into_iter().take(4).collect()).collect::<Vec<_>>().await;
    let _ = table.marks(&fixture::migration()).await;
}

fn delta_logs() {
    let runtime = runtime();
    let objects = runtime.block_on(async {
        let storage = delta::memory();
        let table = delta::created(&storage).await;
        for number in 1..=11 {
            let place = if number % 2 == 0 { Some("São P/ao") } else { None };
            let file = delta::new_file(&storage, &format!("place=x/{number}.parquet"), 1, place).await;
            let _ = table.commit(&delta::request(number, 1, vec![file], &[])).await.unwrap();
        }
        let vector = delta_foreign::vector_table();
        let text: String = vector.iter().map(|line| format!("{line}\n")).collect();
        put(&storage.child("vectors"), "_delta_log/00000000000000000000.json", text.into_bytes()).await;
        objects(storage.store().as_ref(), storage.prefix()).await
    });
    let logs: Vec<usize> = (0..objects.len()).filter(|index| objects[*index].0.as_ref().contains("_delta_log")).collect();
    assert!(logs.len() > 13, "entries, a checkpoint and its pointer: {logs:?}");
    run(384, &(prop::sample::select(logs), mutations()), |(which, mutations)| {
        runtime.block_on(async {
            let storage = delta::storage_on(with_one_mutated(&objects, which, &mutations).await);
            let vectors = storage.child("vectors");
            for storage in [storage, vectors] {
                look(&DeltaTable::new(storage, Arc::new(ManualClock::new()))).await;
            }
        });
    });
}

fn iceberg_metadata() {
    let runtime = runtime();
    let (lake, objects) = runtime.block_on(async {
        let (lake, table) = fixture::created().await;
        for number in 1..=3 {
            let file = lake.file(&format!("data/{number}.parquet"), Some(number), &[(1, Some("a")), (2, None)]).await;
            let _ = fixture::committed(&table, &fixture::request(number.unsigned_abs().into(), vec![file], &[])).await;
        }
        let objects = objects(lake.storage.store().as_ref(), lake.storage.prefix()).await;
        (lake, objects)
    });
    let metadata: Vec<usize> =
        (0..objects.len()).filter(|index| objects[*index].0.as_ref().contains("/metadata/")).collect();
    let avro = metadata.iter().filter(|index| objects[**index].0.as_ref().ends_with(".avro")).count();
    assert!(avro >= 4 && metadata.len() > avro, "manifests, lists and metadata");
    run(1024, &(prop::sample::select(metadata), mutations()), |(which, mutations)| {
        runtime.block_on(async {
            let storage = lake.behind(with_one_mutated(&objects, which, &mutations).await);
            look(&fixture::adapter(storage, 7)).await;
        });
    });
}

fn partition_paths() {
    let runtime = runtime();
    let file = parquet(vec![("id", ints(vec![Some(1)]))]);
    let segment = prop::collection::vec(
        prop::sample::select(
            &["a", "=", "%", "%2F", "%C3", "%", "é", " ", "+", "\u{202e}", "__HIVE_DEFAULT_PARTITION__", "0", "-", ".", ":"]
                [..],
        ),
        1..8,
    );
    let path = prop::collection::vec(segment.prop_map(|parts| parts.concat()), 0..4);
    run(512, &(prop::collection::vec(path, 1..3), Just(())), |(paths, ())| {
        runtime.block_on(async {
            let storage = delta::memory();
            for path in paths {
                let path = format!("{}/f.parquet", path.join("/"));
                let Ok(object) = storage.resolve(path.trim_start_matches('/')) else { continue };
                storage.store().put(&object, file.clone().into()).await.unwrap();
            }
            look(&HiveTable::new(storage)).await;
        });
    });
}

/// Found by a mutation: the Avro library unwraps what is no name.
#[tokio::test]
async fn a_manifest_whose_schema_has_an_impossible_name_is_damage() {
    let (lake, table) = fixture::created().await;
    let file = lake.file("data/a.parquet", Some(1), &[(1, None)]).await;
    let _ = fixture::committed(&table, &fixture::request(1, vec![file], &[])).await;
    let objects = objects(lake.storage.store().as_ref(), lake.storage.prefix()).await;
    for (name, impossible) in [("manifest_entry", "manifest*entry"), ("manifest_file", "manifest*file")] {
        let store = Arc::new(InMemory::new());
        let mut changed = 0;
        for (path, bytes) in &objects {
            let mut bytes = bytes.to_vec();
            if path.as_ref().ends_with(".avro")
                && let Some(at) = bytes.windows(name.len()).position(|window| window == name.as_bytes())
            {
                bytes[at..at + name.len()].copy_from_slice(impossible.as_bytes());
                changed += 1;
            }
            store.put(path, bytes.into()).await.unwrap();
        }
        assert!(changed > 0, "{name}");
        let table = fixture::adapter(lake.behind(store), 7);
        let snapshot = table.snapshot(None).await;
        let read = async { table.files(&snapshot?).try_collect::<Vec<_>>().await };
        let error = read.await.unwrap_err();
        assert!(matches!(error, lakeshift_core::table::TableError::Corrupt { .. }), "{error:?}");
    }
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// The processor time that a process has taken, of user and kernel; 0 when it has ended.
fn cpu_seconds(process: u32) -> u64 {
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Fields are counted behind the name, which may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() / TICKS_PER_SECOND
}

#[test]
#[ignore = "run in a process of its own by mutated_inputs_are_read_or_refused_in_bounded_memory_and_time"]
fn all_in_this_process() {
    for (name, target) in [
        ("footers", footers as fn()),
        ("partition paths", partition_paths),
        ("Delta", delta_logs),
        ("Iceberg", iceberg_metadata),
    ] {
        target();
        println!("{name}: peak so far {} MiB", peak_bytes() >> 20);
    }
    println!("peak {}", peak_bytes());
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, in real time")]
fn moment() {
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn mutated_inputs_are_read_or_refused_in_bounded_memory_and_time() {
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "fuzz::all_in_this_process", "--ignored", "--nocapture"];
    // Backtraces of errors would read the symbols of the whole binary, which takes more memory than any of the inputs.
    let mut command = Command::new(this);
    command.args(arguments).env("RUST_BACKTRACE", "0").env_remove("RUST_LIB_BACKTRACE");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if cpu_seconds(child.id()) > CPU_SECONDS_MAX => {
                child.kill().unwrap();
                break None;
            }
            None => moment(),
        }
    };
    let mut text = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut text).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}:\n{text}");
    let peak: u64 = text.lines().find_map(|line| line.strip_prefix("peak ")).unwrap().trim().parse().unwrap();
    assert!(peak < PEAK_BYTES_MAX, "{} MiB:\n{text}", peak >> 20);
}

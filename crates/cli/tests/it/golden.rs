//! Delta tables that others wrote (`LAKESHIFT_GOLDEN`): read exactly, or refused for what they are; and migrated.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lakeshift::args::Args;
use lakeshift::context::Context;
use lakeshift::error::{Error, with_causes};
use lakeshift::output::Answer;
use lakeshift::progress::Progress;
use lakeshift::stop::Stop;
use lakeshift_journal::{SystemClock, SystemRng};
use lakeshift_tables::storage::Stores;
use rstest::rstest;

/// What is to come of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// Its rows are those that a correct reader returns.
    Exact,
    /// It has no rows, which proves nothing.
    NoRows,
    /// It is not read, and the error says so.
    Refused(&'static str),
}

use Outcome::{Exact, NoRows, Refused};

const OUTSIDE: Outcome = Refused("reads and writes only below the locations");
const NO_METADATA: Outcome = Refused("its log cannot be replayed");

const TABLES: [(&str, Outcome); 43] = [
    ("124-decimal-decode-bug", Exact),
    ("basic-decimal-table-legacy", Exact),
    ("basic-with-inserts-deletes-checkpoint", Exact),
    ("basic-with-inserts-overwrite-restore", Exact),
    ("basic-with-vacuum-protocol-check-feature", Exact),
    ("canonicalized-paths-normal-b", OUTSIDE),
    ("canonicalized-paths-special-b", OUTSIDE),
    ("corrupted-last-checkpoint-kernel", Exact),
    ("data-reader-array-complex-objects", Exact),
    ("data-reader-date-types-America", Exact),
    ("data-reader-date-types-Etc", Exact),
    ("data-reader-date-types-Jst", Exact),
    ("data-reader-date-types-utc", Exact),
    ("data-reader-map", Exact),
    ("data-reader-nullable-field-invalid-schema-key", Exact),
    ("data-reader-primitives", Exact),
    ("data-reader-timestamp_ntz-name-mode", Exact),
    ("data-skipping-basic-stats-all-types-checkpoint", Exact),
    ("data-skipping-basic-stats-all-types-columnmapping-name", Exact),
    ("data-skipping-change-stats-collected-across-versions", Exact),
    ("decimal-various-scale-precision", Exact),
    ("deltalog-commit-info", NO_METADATA),
    ("deltalog-invalid-protocol-version", Refused("Invalid protocol action")),
    ("deltalog-state-reconstruction-from-checkpoint-missing-protocol", NO_METADATA),
    ("deltalog-state-reconstruction-without-protocol", Refused("No protocol found")),
    ("dv-with-columnmapping", Exact),
    ("kernel-timestamp-int96", Exact),
    ("kernel-timestamp-timestamp_micros", Exact),
    ("log-replay-dv-key-cases", Exact),
    ("log-replay-special-characters", NoRows),
    ("log-replay-special-characters-a", NoRows),
    ("no-delta-log-folder", Refused("no delta table at")),
    ("parquet-all-types-legacy-format", Exact),
    ("snapshot-data0", Exact),
    ("snapshot-data2-deleted", Exact),
    ("snapshot-data3", Exact),
    ("snapshot-vacuumed", Exact),
    ("table-with-columnmapping-mode-name", Exact),
    ("time-travel-partition-changes-b", Exact),
    ("time-travel-schema-changes-b", Exact),
    ("time-travel-start-start20", Exact),
    ("update-deleted-directory", NO_METADATA),
    ("v2-checkpoint-parquet", Exact),
];

/// The golden folder, or none, said plainly.
pub fn golden() -> Option<PathBuf> {
    let folder = std::env::var_os("LAKESHIFT_GOLDEN").map(PathBuf::from);
    if folder.is_none() {
        let told = "SKIPPED: golden tables; set LAKESHIFT_GOLDEN to their folder\n";
        std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes()).unwrap();
    }
    folder
}

fn unpack(golden: &Path, name: &str, to: &Path) {
    let archive = golden.join("delta").join(format!("{name}.tar.zst"));
    let packed = zstd::decode_all(std::fs::File::open(archive).unwrap()).unwrap();
    let file = to.join("table.tar");
    std::fs::write(&file, packed).unwrap();
    let done = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(to).status().unwrap();
    assert!(done.success(), "{name}");
}

pub async fn run(command: &[&str]) -> Result<Answer, Error> {
    let context = Context {
        stores: Stores::new(),
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SystemRng),
        env: |_| None,
        holder: "test@here:1".to_owned(),
        progress: Progress::Quiet,
        stop: Stop::never(),
    };
    let words = std::iter::once("lakeshift").chain(command.iter().copied());
    // On the heap: the future of every command is too large for a test thread's stack.
    Box::pin(lakeshift::commands::run(&context, <Args as clap::Parser>::try_parse_from(words).unwrap().command)).await
}

#[test]
fn every_table_has_an_outcome() {
    let Some(golden) = golden() else { return };
    let files = std::fs::read_dir(golden.join("delta")).unwrap();
    let found: BTreeSet<String> =
        files.filter_map(|file| file.unwrap().file_name().to_str()?.strip_suffix(".tar.zst").map(str::to_owned)).collect();
    let known: BTreeSet<String> = TABLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, known);
}

#[tokio::test]
async fn a_table_is_read_exactly_or_refused_for_what_it_is() {
    let Some(golden) = golden() else { return };
    for (name, outcome) in TABLES {
        let folder = tempfile::tempdir().unwrap();
        unpack(&golden, name, folder.path());
        let table = folder.path().join(name);
        let [delta, expected] = [("delta", "delta"), ("hive", "expected")]
            .map(|(format, part)| format!("{format}:{}", table.join(part).display()));
        let answer = match outcome {
            Refused(_) => run(&["diff", &delta, &delta]).await,
            Exact | NoRows => run(&["diff", &delta, &expected]).await,
        };
        match (outcome, answer) {
            (Exact, Ok(answer)) => assert_eq!(answer.exit_code, 0, "{name}: {}", answer.text),
            (NoRows, Ok(answer)) => {
                assert_eq!(answer.exit_code, 3, "{name}: {}", answer.text);
                assert!(answer.text.contains("neither table has a row"), "{name}: {}", answer.text);
            }
            (Refused(why), Err(error)) => assert!(with_causes(&error).contains(why), "{name}: {}", with_causes(&error)),
            (outcome, answer) => panic!("{name} should be {outcome:?}: {}", told(answer)),
        }
    }
}

pub fn told(answer: Result<Answer, Error>) -> String {
    answer.map_or_else(|error| with_causes(&error), |answer| answer.text)
}

/// What deletes, mappings and old types become: the whole way, and the new table is compared with the rows that a correct
/// reader returns of the old one.
#[rstest]
#[tokio::test]
async fn a_table_is_migrated_with_exactly_the_rows_that_are_left(
    #[values(("delta", "auto"), ("iceberg", "rewrite"), ("iceberg", "auto"))] (format, strategy): (&str, &str),
) {
    let Some(golden) = golden() else { return };
    for (name, _) in TABLES.iter().filter(|(_, outcome)| *outcome == Exact) {
        let folder = tempfile::tempdir().unwrap();
        unpack(&golden, name, folder.path());
        let table = folder.path().join(name);
        let spec = folder.path().join("migration.yaml");
        let text = format!(
            "apiVersion: lakeshift/v1\nname: golden\ncontrol: control\nsource: {{format: delta, location: {name}/delta}}\n\
             target: {{format: {format}, location: moved}}\ncutover: {{alias: golden}}\n\
             backfill: {{strategy: {strategy}}}\n"
        );
        std::fs::write(&spec, text).unwrap();
        let spec = spec.display().to_string();
        for command in ["plan", "approve", "dual-write", "backfill", "mirror", "validate --read-all", "cutover"] {
            let words: Vec<&str> = command.split(' ').chain([spec.as_str()]).collect();
            let answer = run(&words).await;
            let passed = answer.as_ref().is_ok_and(|answer| answer.exit_code == 0);
            assert!(passed, "{name}: {command}: {}", told(answer));
        }
        if (format, strategy) == ("iceberg", "auto") {
            // Adopted files lie in the old table's folder, which only a comparison with that table may read.
            continue;
        }
        let moved = format!("{format}:{}", folder.path().join("moved").display());
        let expected = format!("hive:{}", table.join("expected").display());
        let answer = run(&["diff", &expected, &moved]).await;
        assert!(answer.as_ref().is_ok_and(|answer| answer.exit_code == 0), "{name}: {}", told(answer));
    }
}

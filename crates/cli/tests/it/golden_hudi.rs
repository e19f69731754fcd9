//! Hudi tables that others wrote, read exactly and migrated: hudi-rs' golden ones (`LAKESHIFT_GOLDEN`), whose rows another
//! reader found (`testdata/hudi`), and Spark's (`testdata/hudi/spark`), with the rows that Spark reads of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rstest::rstest;

use crate::golden::{golden, run, told};

/// The table that has no row, which a comparison cannot prove.
const EMPTY: &str = "sample_table__cow__v6_empty";

fn zips(golden: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(golden.join("hudi")).unwrap();
    files.filter_map(|file| file.unwrap().file_name().to_str()?.strip_suffix(".zip").map(str::to_owned)).collect()
}

fn expected() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/hudi")
}

/// Unpacks a table and lays its expected rows beside it; the names of both folders.
fn unpack(golden: &Path, name: &str, to: &Path) -> (String, String) {
    let archive = golden.join("hudi").join(format!("{name}.zip"));
    let unzip = Command::new("unzip").arg("-qo").arg(&archive).arg("-d").arg(to).status();
    if !unzip.is_ok_and(|status| status.success()) {
        let python = Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&archive).arg(to).status();
        assert!(python.unwrap().success(), "{name}");
    }
    let mut folders = std::fs::read_dir(to).unwrap().map(|entry| entry.unwrap().path());
    let table = folders.find(|folder| folder.join(".hoodie").is_dir()).unwrap();
    let table = table.file_name().unwrap().to_str().unwrap().to_owned();
    if name != EMPTY {
        std::fs::create_dir(to.join("expected")).unwrap();
        std::fs::copy(expected().join(format!("{name}.parquet")), to.join("expected/rows.parquet")).unwrap();
    }
    (table, "expected".to_owned())
}

#[test]
fn every_table_has_its_expected_rows() {
    let Some(golden) = golden() else { return };
    let mut found: BTreeSet<String> = std::fs::read_dir(expected())
        .unwrap()
        .filter_map(|file| file.unwrap().file_name().to_str()?.strip_suffix(".parquet").map(str::to_owned))
        .collect();
    found.insert(EMPTY.to_owned());
    assert_eq!(zips(&golden), found);
}

#[tokio::test]
async fn every_table_is_read_exactly() {
    let Some(golden) = golden() else { return };
    for name in zips(&golden) {
        let folder = tempfile::tempdir().unwrap();
        let (table, expected) = unpack(&golden, &name, folder.path());
        let at = |format: &str, table: &str| format!("{format}:{}", folder.path().join(table).display());
        let new = if name == EMPTY { at("hudi", &table) } else { at("hive", &expected) };
        let answer = run(&["diff", &at("hudi", &table), &new]).await;
        let code = if name == EMPTY { 3 } else { 0 };
        assert!(answer.as_ref().is_ok_and(|answer| answer.exit_code == code), "{name}: {}", told(answer));
    }
}

/// The whole way, and the new table is compared with the rows that another reader finds in the old one.
#[rstest]
#[tokio::test]
async fn every_table_is_migrated_with_exactly_its_rows(
    #[values(("delta", "auto"), ("iceberg", "rewrite"), ("iceberg", "auto"))] (format, strategy): (&str, &str),
) {
    let Some(golden) = golden() else { return };
    for name in zips(&golden).into_iter().filter(|name| name != EMPTY) {
        let folder = tempfile::tempdir().unwrap();
        let (table, expected) = unpack(&golden, &name, folder.path());
        let spec = folder.path().join("migration.yaml");
        let text = format!(
            "apiVersion: lakeshift/v1\nname: golden\ncontrol: control\nsource: {{format: hudi, location: {table}}}\n\
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
        let at = |format: &str, table: &str| format!("{format}:{}", folder.path().join(table).display());
        let answer = run(&["diff", &at("hive", &expected), &at(format, "moved")]).await;
        assert!(answer.as_ref().is_ok_and(|answer| answer.exit_code == 0), "{name}: {}", told(answer));
    }
}

/// What is to come of a table that Spark wrote.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// Its rows are those that Spark reads.
    Exact,
    /// It is not read, and the error says so.
    Refused(&'static str),
}

use Outcome::{Exact, Refused};

/// Made by `scripts/make-hudi-testdata.py`, which says what was done to each.
const OF_SPARK: [(&str, Outcome); 15] = [
    ("compacted", Exact),
    ("cow", Exact),
    ("ct", Exact),
    ("dropped", Exact),
    ("encoded", Exact),
    ("ev", Exact),
    ("evolved", Exact),
    ("moraged", Exact),
    ("parquetlog", Exact),
    ("partial", Exact),
    ("pend", Exact),
    ("sqlmor", Exact),
    ("v6", Exact),
    ("v6agreed", Exact),
    ("v6latest", Refused("came later and are ordered before")),
];

/// Unpacks a table of Spark's as `table`, with its rows beside it as `expected`.
fn unpack_of_spark(name: &str, to: &Path) {
    let archive = expected().join("spark").join(format!("{name}.tar.zst"));
    let file = to.join("table.tar");
    std::fs::write(&file, zstd::decode_all(std::fs::File::open(archive).unwrap()).unwrap()).unwrap();
    let done = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(to).status().unwrap();
    assert!(done.success(), "{name}");
}

#[tokio::test]
async fn a_table_of_sparks_is_read_exactly_or_refused_for_what_it_is() {
    for (name, outcome) in OF_SPARK {
        let folder = tempfile::tempdir().unwrap();
        unpack_of_spark(name, folder.path());
        let at = |format: &str, table: &str| format!("{format}:{}", folder.path().join(table).display());
        let answer = run(&["diff", &at("hudi", "table"), &at("hive", "expected")]).await;
        match (outcome, answer) {
            (Exact, answer) => {
                assert!(answer.as_ref().is_ok_and(|answer| answer.exit_code == 0), "{name}: {}", told(answer));
            }
            (Refused(why), answer) => {
                let told = told(answer);
                assert!(told.contains(why), "{name} should be refused for {why}: {told}");
            }
        }
    }
}

/// A live table: its instants complete one after the other, and at last the first ones are archived.
#[tokio::test]
async fn the_mirror_follows_upserts_deletes_overwrites_compaction_and_clustering() {
    let Some(golden) = golden() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (table, expected) = unpack(&golden, "sample_table__mor__avro__v9_txns_simple_nometa", folder.path());
    let timeline = folder.path().join(&table).join(".hoodie/timeline");
    let names = std::fs::read_dir(&timeline).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let completed: BTreeSet<String> = names.filter(|name| name.ends_with("commit")).collect();
    let (first, later): (Vec<_>, Vec<_>) = completed.iter().enumerate().partition(|(index, _)| *index < 2);
    for (_, name) in &later {
        std::fs::rename(timeline.join(name), folder.path().join(name)).unwrap();
    }
    let spec = folder.path().join("migration.yaml");
    let text = format!(
        "apiVersion: lakeshift/v1\nname: live\ncontrol: control\nsource: {{format: hudi, location: {table}}}\n\
         target: {{format: delta, location: moved}}\ncutover: {{alias: live}}\n"
    );
    std::fs::write(&spec, text).unwrap();
    let spec = spec.display().to_string();
    let passes = async |command: &str| {
        let answer = run(&[command, &spec]).await;
        assert!(answer.as_ref().is_ok_and(|answer| answer.exit_code == 0), "{command}: {}", told(answer));
    };
    for command in ["plan", "approve", "dual-write", "backfill", "mirror", "validate"] {
        passes(command).await;
    }
    for (_, name) in &later {
        std::fs::rename(folder.path().join(name), timeline.join(name)).unwrap();
        passes("mirror").await;
        passes("validate").await;
    }
    // The mirror's plans are of versions that the timeline does not have any more.
    for (_, name) in &first {
        std::fs::remove_file(timeline.join(name)).unwrap();
    }
    passes("mirror").await;
    passes("validate").await;
    let at = |format: &str, table: &str| format!("{format}:{}", folder.path().join(table).display());
    let answer = run(&["diff", &at("hive", &expected), &at("delta", "moved")]).await;
    assert!(answer.as_ref().is_ok_and(|answer| answer.exit_code == 0), "{}", told(answer));
}

//! Iceberg tables that Spark wrote (`testdata/iceberg`, by `scripts/make-iceberg-testdata.py`): deletes of every kind, branches,
//! defaults, compressed metadata. What must come of them is what Spark reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lakeshift::error::with_causes;
use object_store::memory::InMemory;
use rstest::rstest;

use crate::support::{Target, World};

/// Where the tables were written; their metadata says so.
const ROOT: &str = "file:///tmp/lakeshift_test";

/// A table whose states come one by one.
struct Lake {
    world: World,
    name: &'static str,
    /// The number of each state's metadata file.
    states: BTreeMap<String, u64>,
    files: BTreeMap<String, Vec<u8>>,
    /// Where the new table goes: on the disk, which is where Delta's library looks for any `file:` URL.
    folder: tempfile::TempDir,
}

impl Lake {
    /// The table with all its files and none of its metadata.
    async fn new(name: &'static str) -> Self {
        let world = World::on(Arc::new(InMemory::new()), ROOT, Target::Iceberg);
        let folder = tempfile::tempdir().unwrap();
        unpack(name, folder.path());
        let mut files = BTreeMap::new();
        collect(folder.path(), folder.path(), &mut files);
        let states = serde_json::from_slice(&files.remove("states.json").unwrap()).unwrap();
        let lake = Self { world, name, states, files, folder: tempfile::tempdir().unwrap() };
        for (path, bytes) in lake.files.iter().filter(|(path, _)| number_of(path).is_none() && !path.ends_with("hint.text"))
        {
            lake.world.put(path, bytes.clone()).await;
        }
        lake.migrate_to("iceberg", "", "");
        lake
    }

    /// The table becomes what it was in this state.
    async fn arrive(&self, state: &str) {
        let newest = self.states[state];
        for (path, bytes) in &self.files {
            if number_of(path).is_some_and(|number| number <= newest) {
                self.world.put(path, bytes.clone()).await;
            }
        }
        self.world.put(&format!("{}/metadata/version-hint.text", self.name), newest.to_string()).await;
    }

    /// Writes the spec.
    fn migrate_to(&self, format: &str, source: &str, more: &str) {
        let text = format!(
            "apiVersion: lakeshift/v1\nname: moved\ncontrol: {ROOT}/control\nsource: {{format: iceberg, location: \
             {ROOT}/{}{source}}}\ntarget: {{format: {format}, location: {}}}\ncutover: {{alias: moved}}\nbackfill: \
             {{concurrency: 1, memory: 64MiB, unit_size: 16MiB, target_file_size: 16MiB{more}}}\n",
            self.name,
            self.moved()
        );
        std::fs::write(self.world.spec(), text).unwrap();
    }

    fn moved(&self) -> String {
        format!("file://{}/moved", self.folder.path().display())
    }

    async fn steps(&self, commands: &[&str]) {
        for command in commands {
            self.world.does(&[command, "SPEC"]).await;
        }
    }

    /// How a table compares with what Spark reads of a state; the exit code and the text.
    async fn compared(&self, format: &str, location: &str, state: &str) -> (u8, String) {
        let sides = [format!("hive:{ROOT}/expected/{state}"), format!("{format}:{location}")];
        match self.world.run(&["diff", &sides[0], &sides[1]]).await {
            Ok(answer) => (answer.exit_code, answer.text),
            Err(error) => (2, with_causes(&error)),
        }
    }

    async fn expect_source(&self, state: &str) {
        let (code, text) = self.compared("iceberg", &format!("{ROOT}/{}", self.name), state).await;
        assert_eq!(code, 0, "{} {state}: {text}", self.name);
    }

    async fn expect_moved(&self, format: &str, state: &str) {
        let (code, text) = self.compared(format, &self.moved(), state).await;
        assert_eq!(code, 0, "{} {state}: {text}", self.name);
    }
}

fn unpack(name: &str, to: &Path) {
    let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../testdata/iceberg/{name}.tar.zst"));
    let packed = zstd::decode_all(std::fs::File::open(archive).unwrap()).unwrap();
    let file = to.join("table.tar");
    std::fs::write(&file, packed).unwrap();
    let done = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(to).status().unwrap();
    assert!(done.success(), "{name}");
    std::fs::remove_file(file).unwrap();
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(root, &path, files),
            false => {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
}

/// N of a table's `metadata/vN.metadata.json`, compressed or not.
fn number_of(path: &str) -> Option<u64> {
    let name = path.split_once("/metadata/v")?.1.strip_suffix(".metadata.json")?;
    name.trim_end_matches(".gz").parse().ok()
}

#[rstest]
#[case("deletes_v2", &["inserted", "positional", "equality", "evolved", "added", "last"])]
#[case("deletes_v3", &["positional", "vectors", "equality", "last"])]
#[tokio::test]
async fn every_state_is_read_as_spark_reads_it(#[case] name: &'static str, #[case] states: &[&str]) {
    let lake = Lake::new(name).await;
    for state in states {
        lake.arrive(state).await;
        lake.expect_source(state).await;
    }
    // The comparison can fail.
    let (code, text) = lake.compared("iceberg", &format!("{ROOT}/{name}"), states[0]).await;
    assert_eq!(code, 1, "{text}");
}

#[rstest]
#[tokio::test]
async fn a_table_is_migrated_with_the_rows_that_are_left(
    #[values("deletes_v2", "deletes_v3")] name: &'static str,
    #[values(("delta", "auto"), ("iceberg", "rewrite"), ("iceberg", "auto"))] (format, strategy): (&str, &str),
) {
    let lake = Lake::new(name).await;
    lake.arrive("last").await;
    lake.migrate_to(format, "", &format!(", strategy: {strategy}"));
    lake.steps(&["plan", "approve", "dual-write", "backfill", "mirror", "validate", "cutover"]).await;
    if strategy != "auto" || format == "delta" {
        // Adopted files lie in the old table's folder, which only a comparison with that table may read.
        lake.expect_moved(format, "last").await;
    }
}

/// Before the backfill has moved a file, and after.
#[rstest]
#[case("deletes_v2", ["inserted", "positional", "equality"])]
#[case("deletes_v3", ["positional", "vectors", "equality"])]
#[tokio::test]
async fn deletes_that_come_during_the_migration_hold(
    #[case] name: &'static str,
    #[case] states: [&str; 3],
    #[values(true, false)] moved: bool,
    #[values("delta", "iceberg")] format: &str,
) {
    let lake = Lake::new(name).await;
    lake.migrate_to(format, "", ", strategy: rewrite");
    lake.arrive(states[0]).await;
    lake.steps(&["plan", "approve", "dual-write"]).await;
    if moved {
        lake.steps(&["backfill"]).await;
        lake.expect_moved(format, states[0]).await;
    }
    lake.arrive(states[1]).await;
    lake.steps(&["backfill", "mirror", "validate"]).await;
    lake.expect_moved(format, states[1]).await;
    lake.arrive(states[2]).await;
    lake.steps(&["mirror", "validate", "cutover"]).await;
    lake.expect_moved(format, states[2]).await;
}

#[rstest]
#[case("late", "branch")]
#[case("forty_to_sixty", "tag")]
#[tokio::test]
async fn a_branch_or_tag_is_moved_and_the_main_branch_is_not(#[case] reference: &str, #[case] state: &str) {
    let lake = Lake::new("deletes_v3").await;
    lake.migrate_to("iceberg", &format!(", ref: {reference}"), ", strategy: rewrite");
    lake.arrive("branch").await;
    lake.steps(&["plan", "approve", "dual-write", "backfill", "mirror", "validate"]).await;
    lake.expect_moved("iceberg", state).await;
    // The main branch goes on, and is nobody's business here.
    lake.arrive("last").await;
    lake.steps(&["mirror", "validate", "cutover"]).await;
    lake.expect_moved("iceberg", state).await;
}

/// The branch is made when the table is at `equality`; then its own commits come.
#[tokio::test]
async fn the_mirror_follows_a_branch() {
    let lake = Lake::new("deletes_v3").await;
    lake.migrate_to("delta", ", ref: late", ", strategy: rewrite");
    let made = lake.states["equality"] + 1;
    let lake = Lake {
        states: lake.states.iter().map(|(name, at)| (name.clone(), *at)).chain([("made".into(), made)]).collect(),
        ..lake
    };
    lake.arrive("made").await;
    lake.steps(&["plan", "approve", "dual-write", "backfill", "mirror"]).await;
    lake.expect_moved("delta", "equality").await;
    lake.arrive("branch").await;
    lake.steps(&["mirror", "validate", "cutover"]).await;
    lake.expect_moved("delta", "branch").await;
}

#[tokio::test]
async fn a_reference_that_is_not_there_is_named() {
    let lake = Lake::new("deletes_v3").await;
    lake.migrate_to("iceberg", ", ref: nightly", "");
    lake.arrive("last").await;
    let error = with_causes(&lake.world.run(&["plan", "SPEC"]).await.unwrap_err());
    assert!(error.contains("nightly") && error.contains("no branch or tag of this name"), "{error}");
}

/// Of the bytes of one file of deletes each kind that matters is spoiled; the error names the file.
#[rstest]
#[case::vector("deletes_v3", "vectors", ".puffin")]
#[case::positional("deletes_v2", "positional", "-deletes.parquet")]
#[tokio::test]
async fn deletes_that_are_damaged_are_an_error_that_names_them(
    #[case] name: &'static str,
    #[case] state: &str,
    #[case] suffix: &str,
) {
    let lake = Lake::new(name).await;
    lake.arrive(state).await;
    lake.expect_source(state).await;
    for (path, bytes) in lake.files.iter().filter(|(path, _)| path.ends_with(suffix)) {
        let mut bytes = bytes.clone();
        // A bit of a vector, a byte of a page or of the footer's magic.
        let at = if suffix == ".puffin" { 20 } else { bytes.len() - 1 };
        bytes[at] ^= 1;
        lake.world.put(path, bytes).await;
    }
    let (code, text) = lake.compared("iceberg", &format!("{ROOT}/{name}"), state).await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains(suffix) && text.contains("is not valid"), "{text}");
}

//! The dual writer: `write` before and after the cutover, repeated, killed at every store operation, and held off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lakeshift::error::Error;
use lakeshift_testkit::{FaultPlan, FaultStore, Gate, Operation, OperationKind};
use rstest::rstest;
use tokio::sync::watch;

use crate::life::{Step, before};
use crate::support::{Flight, Target, World, day_file, full_file, real_moment};

const ROWS: &[Flight] = &[(71, "SEA", Some(7)), (72, "SEA", None)];
const MORE: &[Flight] = &[(73, "DEN", Some(-1))];

/// Rows of the tables before anything is written by the dual writer.
const AT_FIRST: usize = 8;

async fn equal(world: &World, target: Target) -> Vec<String> {
    let (old, new) = (world.source_rows().await, world.target_rows(target).await);
    assert_eq!(old, new);
    new
}

fn of_day(rows: &[String], origin: &str) -> usize {
    rows.iter().filter(|row| row.contains(origin)).count()
}

impl World {
    fn file(&self, name: &str, day: u32, flights: &[Flight]) -> String {
        self.write_file(name, full_file(day, flights))
    }

    /// A write that must succeed; what it told.
    async fn write(&self, words: &[&str]) -> String {
        let command = [&["write", "--to", "SPEC"], words].concat();
        self.while_time_passes(self.does(&command)).await.text
    }
}

#[rstest]
#[tokio::test]
async fn a_write_is_in_both_tables_before_and_after_the_cutover_and_made_once(
    #[values(Target::Iceberg, Target::Delta, Target::IcebergSpliced)] target: Target,
) {
    let world = World::in_memory(target);
    world.live(before("cutover")).await;
    let (rows, more) = (world.file("rows.parquet", 3, ROWS), world.file("more.parquet", 9, MORE));
    let told = world.write(&["--id", "monday", &rows, &more]).await;
    assert!(told.contains("write 1: 3 row(s) are in the old table") && told.contains("and in the new table"), "{told}");
    assert_eq!(equal(&world, target).await.len(), AT_FIRST + 3);
    let told = world.write(&["--id", "monday", &rows, &more]).await;
    assert!(told.contains("written before, as write 1"), "{told}");
    assert_eq!(equal(&world, target).await.len(), AT_FIRST + 3);
    world.live(&[Step::Command(&["validate", "SPEC"]), Step::Command(&["cutover", "SPEC"])]).await;
    let told = world.write(&[&more]).await;
    assert!(told.contains("are in the new table") && told.contains("and in the old table"), "{told}");
    assert_eq!(of_day(&equal(&world, target).await, "DEN"), 2);
    world.live(&[Step::Command(&["rollback", "SPEC"])]).await;
    assert!(world.write(&[&rows]).await.contains("are in the old table"));
    let end = equal(&world, target).await;
    assert_eq!((of_day(&end, "SEA"), of_day(&end, "DEN")), (4, 2));
    // What was written here is nobody's rogue write, and no copy of the rows is kept.
    let staged = world.objects_below("control").await.into_iter().filter(|object| object.contains("/written/"));
    assert_eq!(staged.collect::<Vec<_>>(), Vec::<String>::new());
    world.live(&[Step::Command(&["validate", "SPEC"]), Step::Command(&["cutover", "SPEC"])]).await;
}

#[tokio::test]
async fn rows_that_do_not_fit_the_table_are_refused_with_nothing_written() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("cutover")).await;
    let partial = world.write_file("partial.parquet", day_file(3, ROWS));
    let error = world.run(&["write", "--to", "SPEC", &partial]).await.unwrap_err();
    assert!(error.to_string().contains("column day is not there"), "{error}");
    let text = world.write_file("text.parquet", "minute,origin");
    let error = world.run(&["write", "--to", "SPEC", &text]).await.unwrap_err();
    assert!(matches!(error, Error::NotRows { .. }), "{error}");
    assert_eq!(equal(&world, Target::Iceberg).await.len(), AT_FIRST);
    assert!(!world.objects_below("control").await.iter().any(|object| object.contains("/written/")));
    // The number of the refused write is free.
    let rows = world.file("rows.parquet", 3, ROWS);
    assert!(world.write(&[&rows]).await.starts_with("write 1:"));
}

#[tokio::test]
async fn two_producers_at_once_write_one_after_the_other() {
    let world = World::in_memory(Target::Delta);
    world.live(before("cutover")).await;
    let (rows, more) = (world.file("rows.parquet", 3, ROWS), world.file("more.parquet", 3, MORE));
    let (one, other) = (["write", "--to", "SPEC", rows.as_str()], ["write", "--to", "SPEC", more.as_str()]);
    let mut both = Box::pin(async { tokio::join!(world.run(&one), world.run(&other)) });
    let (first, second) = loop {
        tokio::select! {
            biased;
            ended = &mut both => break ended,
            // Slowly: neither is taken for dead.
            () = real_moment() => world.clock.advance(std::time::Duration::from_millis(20)),
        }
    };
    assert_ne!(first.unwrap().json["number"], second.unwrap().json["number"]);
    world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
    let end = equal(&world, Target::Delta).await;
    assert_eq!((of_day(&end, "SEA"), of_day(&end, "DEN")), (2, 1));
}

/// One write killed by `plan`; what it did.
async fn killed(world: &World, plan: FaultPlan, file: &str) -> Vec<Operation> {
    let faulty = Arc::new(FaultStore::new(world.store.clone(), plan));
    let command = ["write", "--to", "SPEC", "--id", "job", file];
    let ran = world.while_time_passes(world.run_on(faulty.clone(), &command)).await;
    assert!(ran.is_ok() || faulty.has_struck(), "{plan:?}: {:?}", ran.err());
    if faulty.has_struck() {
        // The dead producer's lease runs out.
        world.wait(120);
    }
    faulty.history()
}

/// A world before a command, a file to write, and every way in which its write can fail.
async fn fault_points(until: &str) -> (World, String, Vec<FaultPlan>) {
    let world = World::in_memory(Target::Iceberg);
    world.live(before(until)).await;
    let file = world.file("rows.parquet", 3, ROWS);
    let history = killed(&world.copy(), FaultPlan::None, &file).await;
    assert!(history.len() > 20);
    (world, file, FaultPlan::every(&history))
}

/// Before the cutover and after it: the producer repeats its write by the name it gave.
#[rstest]
#[tokio::test]
async fn a_write_that_was_killed_anywhere_and_repeated_is_in_both_tables_once(#[values("cutover", "rollback")] until: &str) {
    let (before, file, plans) = fault_points(until).await;
    for plan in plans {
        let world = before.copy();
        killed(&world, plan, &file).await;
        world.write(&["--id", "job", &file]).await;
        assert_eq!(of_day(&equal(&world, Target::Iceberg).await, "SEA"), ROWS.len(), "{plan:?}");
    }
}

/// The producer never comes back: the cutover finishes what it had begun, carries it over and validates it.
#[tokio::test]
async fn a_cutover_drains_a_write_that_was_killed_anywhere() {
    let (before, file, plans) = fault_points("cutover").await;
    let mut drained = 0;
    for plan in plans {
        let world = before.copy();
        killed(&world, plan, &file).await;
        let in_old = of_day(&world.source_rows().await, "SEA");
        let moved = world.while_time_passes(world.run(&["cutover", "SPEC"])).await;
        let moved = moved.unwrap_or_else(|error| panic!("{plan:?}: {}", lakeshift::error::with_causes(&error)));
        assert_eq!(moved.json["live_side"], "new", "{plan:?}");
        let there = of_day(&equal(&world, Target::Iceberg).await, "SEA");
        assert!(there == 0 || there == ROWS.len(), "{plan:?}");
        drained += usize::from(there > in_old);
    }
    assert!(drained > 0, "no fault left a write that only the cutover finished");
}

/// The store of a process that stalls before its `at`th mutation, heartbeats and all, until it is released; whether it has.
pub fn stalling(world: &World, at: u64) -> (Arc<FaultStore>, Arc<AtomicBool>, watch::Sender<bool>) {
    stalling_at(world, (at, OperationKind::is_mutation), None)
}

/// As [`stalling`], before the `at`th operation of those that count. When it wakes it cannot reach what lies below `unreachable`.
pub fn stalling_at(
    world: &World,
    (at, counts): (u64, fn(OperationKind) -> bool),
    unreachable: Option<&'static str>,
) -> (Arc<FaultStore>, Arc<AtomicBool>, watch::Sender<bool>) {
    let (count, stalled, (release, released)) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)), watch::channel(false));
    let told = stalled.clone();
    let gate: Gate = Arc::new(move |kind, path| {
        if counts(kind) && count.fetch_add(1, Ordering::SeqCst) + 1 == at {
            told.store(true, Ordering::SeqCst);
        }
        let (waits, mut released) = (told.load(Ordering::SeqCst), released.clone());
        let reached = unreachable.is_none_or(|folder| !path.as_ref().contains(folder));
        Box::pin(async move {
            if waits {
                released.wait_for(|released| *released).await.unwrap();
            }
            if waits && !reached { Some("it cannot be reached") } else { None }
        })
    });
    (Arc::new(FaultStore::new(world.store.clone(), FaultPlan::None).with_gate(gate)), stalled, release)
}

/// A producer that stalls just before one of its requests, past its lease, and is woken after the cutover. Its lease and the
/// producers' journal are what keeps it from writing the old table behind the back of readers who have moved.
#[tokio::test]
async fn a_producer_that_stalls_anywhere_past_its_lease_leaves_no_row_behind_the_readers_of_the_new_table() {
    let (mut refused, mut finished) = (0, 0);
    for at in 1.. {
        let world = World::in_memory(Target::Iceberg);
        world.live(before("cutover")).await;
        let file = world.file("rows.parquet", 3, ROWS);
        let (store, stalled, release) = stalling(&world, at);
        let write = ["write", "--to", "SPEC", "--id", "job", file.as_str()];
        let ended = AtomicBool::new(false);
        let producer = async {
            let written = world.run_on(store, &write).await;
            ended.store(true, Ordering::SeqCst);
            written
        };
        let cutover = async {
            while !stalled.load(Ordering::SeqCst) && !ended.load(Ordering::SeqCst) {
                real_moment().await;
            }
            if stalled.load(Ordering::SeqCst) {
                world.wait(120);
                let moved = world.run(&["cutover", "SPEC"]).await;
                let moved = moved.unwrap_or_else(|error| panic!("{at}: {}", lakeshift::error::with_causes(&error)));
                assert_eq!(moved.json["live_side"], "new", "{at}");
                release.send_replace(true);
            }
        };
        let (written, ()) = world.while_time_passes(async { tokio::join!(producer, cutover) }).await;
        if !stalled.load(Ordering::SeqCst) {
            // The write has fewer requests: every one has been.
            break;
        }
        world.while_time_passes(world.live(&[Step::Command(&["mirror", "SPEC"])])).await;
        let rows = of_day(&equal(&world, Target::Iceberg).await, "SEA");
        match written {
            Ok(_) => assert_eq!(rows, ROWS.len(), "{at}: it was told that they are there"),
            Err(_) => assert!(rows == 0 || rows == ROWS.len(), "{at}: {rows}"),
        }
        let status = world.run(&["status", "SPEC"]).await.unwrap().json;
        assert_eq!(status["rogues"], serde_json::json!([]), "{at}: nobody has written to the old table");
        refused += usize::from(rows == 0);
        finished += usize::from(rows > 0);
    }
    assert!(refused > 2 && finished > 2, "{refused} {finished}");
}

/// `$FOLDER/broken` holds the action that fails.
const FENCE: &str = r#"
echo "$LAKESHIFT_ACTION $LAKESHIFT_SIDE $LAKESHIFT_FORMAT$LAKESHIFT_REHEARSAL" >> "$FOLDER/asked"
[ "$(cat "$FOLDER/broken" 2>/dev/null)" = "$LAKESHIFT_ACTION" ] && { echo "no permission" >&2; exit 3; }
exit 0
"#;

fn fenced() -> (World, std::path::PathBuf) {
    let world = World::in_memory(Target::Iceberg);
    let folder = world.spec().parent().unwrap().to_owned();
    let path = world.write_file("fence.sh", format!("FOLDER='{}'\n{FENCE}", folder.display()));
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    let cutover = format!("{{alias: flights, fence: [sh, {path}]}}");
    std::fs::write(world.spec(), spec.replace("{alias: flights}", &cutover)).unwrap();
    (world, folder)
}

fn asked(folder: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn writers_are_held_off_while_the_last_rows_are_carried_over_and_readers_move() {
    let (world, folder) = fenced();
    world.while_time_passes(world.live(before("cutover"))).await;
    // Written after the validation: without the fence this shuts the gates.
    world.put_day(9, "last.parquet", ROWS).await;
    world.while_time_passes(world.live(&[Step::Command(&["cutover", "SPEC"])])).await;
    assert_eq!(asked(&folder), ["hold old hive", "release new iceberg"]);
    assert_eq!(of_day(&equal(&world, Target::Iceberg).await, "SEA"), ROWS.len());
    let history = world.run(&["history", "SPEC"]).await.unwrap().text;
    let order = ["writers are held off", "PASS", "the alias points there", "writers may write again"];
    let mut rest = history.as_str();
    for words in order {
        rest = rest.split_once(words).unwrap_or_else(|| panic!("{words} is not in its place:\n{history}")).1;
    }
    world.while_time_passes(world.live(&[Step::Command(&["rollback", "SPEC"])])).await;
    assert_eq!(asked(&folder)[2..], ["hold new iceberg", "release old hive"]);
}

#[tokio::test]
async fn where_writers_cannot_be_held_off_readers_stay_and_where_they_cannot_go_on_it_is_told() {
    let (world, folder) = fenced();
    world.while_time_passes(world.live(before("cutover"))).await;
    std::fs::write(folder.join("broken"), "hold").unwrap();
    let error = world.while_time_passes(world.run(&["cutover", "SPEC"])).await.unwrap_err();
    assert!(matches!(&error, Error::WritersNotHeld { reason } if reason.contains("no permission")), "{error}");
    let status = world.run(&["status", "SPEC"]).await.unwrap();
    assert_eq!((&status.json["live_side"], &status.json["writers_held"]), (&"old".into(), &serde_json::Value::Null));
    // The first pointer moved nobody.
    assert_eq!(status.json["pause"], serde_json::Value::Null);
    std::fs::write(folder.join("broken"), "release").unwrap();
    let error = world.while_time_passes(world.run(&["cutover", "SPEC"])).await.unwrap_err();
    assert!(matches!(error, Error::WritersStillHeld { .. }), "{error}");
    let status = world.run(&["status", "SPEC"]).await.unwrap();
    assert!(status.text.contains("held off since") && status.json["live_side"] == "new", "{}", status.text);
    // The next command asks again.
    std::fs::write(folder.join("broken"), "").unwrap();
    world.while_time_passes(world.live(&[Step::Command(&["mirror", "SPEC"])])).await;
    assert_eq!(asked(&folder).last().unwrap(), "release new iceberg");
    let status = world.run(&["status", "SPEC"]).await.unwrap();
    assert_eq!(status.json["writers_held"], serde_json::Value::Null);
    assert_eq!(status.json["pause"]["unanswered"], 0);
    // A command that does not hold writers keeps nobody from going back.
    std::fs::write(folder.join("broken"), "hold").unwrap();
    world.while_time_passes(world.live(&[Step::Command(&["rollback", "SPEC"])])).await;
    assert_eq!(asked(&folder)[asked(&folder).len() - 2..], ["hold new iceberg", "release old hive"]);
}

#[tokio::test]
async fn readers_who_are_not_well_go_back_while_writers_are_held_off() {
    let (world, folder) = fenced();
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    std::fs::write(world.spec(), spec.replace("{alias: flights,", "{alias: flights, health: ['false'],")).unwrap();
    world.while_time_passes(world.live(before("cutover"))).await;
    let error = world.while_time_passes(world.run(&["cutover", "SPEC"])).await.unwrap_err();
    assert!(matches!(error, Error::StageFailed { .. }), "{error}");
    assert_eq!(asked(&folder), ["hold old hive", "release new iceberg", "hold new iceberg", "release old hive"]);
}

/// The operator takes the risk of the rows that nobody compared; none is lost.
#[tokio::test]
async fn a_forced_certificate_spares_the_last_validation_and_not_the_last_rows() {
    let (world, _) = fenced();
    world.while_time_passes(world.live(before("cutover"))).await;
    world.put_day(9, "last.parquet", ROWS).await;
    let forced = ["cutover", "SPEC", "--force", "certificate", "--reason", "no time"];
    let moved = world.while_time_passes(world.run(&forced)).await.unwrap();
    assert_eq!(moved.json["live_side"], "new");
    assert_eq!(of_day(&equal(&world, Target::Iceberg).await, "SEA"), ROWS.len());
}

#[tokio::test]
async fn a_rehearsal_asks_whether_writers_could_be_held_off_and_holds_nobody() {
    let (world, folder) = fenced();
    world.while_time_passes(world.live(before("cutover"))).await;
    let rehearse = ["cutover", "SPEC", "--rehearse"];
    world.while_time_passes(world.run(&rehearse)).await.unwrap();
    assert_eq!(asked(&folder), ["hold old hive1", "release old hive1"]);
    let status = world.run(&["status", "SPEC"]).await.unwrap().json;
    assert_eq!(status["writers_held"], serde_json::Value::Null);
    std::fs::write(folder.join("broken"), "hold").unwrap();
    let error = world.while_time_passes(world.run(&rehearse)).await.unwrap_err();
    assert!(matches!(&error, Error::WritersNotHeld { reason } if reason.contains("no permission")), "{error}");
}

//! Backfills beside a stream that writes both tables of a migration: in every mode, killed and stalled anywhere, across a cutover.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lakeshift::error::{Error, with_causes};
use lakeshift::output::Answer;
use lakeshift_testkit::{FaultPlan, FaultStore, Operation, OperationKind};
use rstest::rstest;
use serde_json::json;

use crate::life::{Step, before};
use crate::stream_migration::{Both, COLUMNS, Kafka};
use crate::support::{Target, World, real_moment};
use crate::writer::stalling_at;

/// The same again where it was computed before: a process that had not begun yet when it stalled begins when it wakes.
const LATER: &str = "SELECT at, origin, CASE WHEN delay < 500 THEN delay + 1000 ELSE delay END AS delay, day FROM events";
const CUTOVER: &[Step] = &[Step::Command(&["cutover", "SPEC"])];
/// Days 2 to 4, by their events' numbers.
const IN_RANGE: std::ops::RangeInclusive<i64> = 1..=3;

fn is_in_range(n: i64) -> bool {
    IN_RANGE.contains(&(n % 9))
}

/// A migration up to a command, into a table that is partitioned so; the old one is by days. Events 1 to 18 are in both tables.
async fn started(command: &str, target: Target, partitioning: Option<&str>) -> Both {
    let world = World::in_memory(target);
    if let Some(partitioning) = partitioning {
        let spec = std::fs::read_to_string(world.spec()).unwrap();
        let other = spec.replace("[month(at), 'bucket(2, origin)']", partitioning);
        assert_ne!(other, spec);
        world.write_file("migration.yaml", other);
    }
    let both = Both::of(world, Rc::new(Kafka::new()), target);
    both.world.live(before(command)).await;
    both.kafka.produce(1..19);
    both.ingest().await;
    both
}

fn backfill<'a>(both: &'a Both, name: &'a str, mode: &'a str, then: &[&'a str]) -> Vec<&'a str> {
    let mut command = vec!["stream", "backfill", both.stream.as_str(), "--name", name, "--mode", mode];
    command.extend(["--from", "2001-01-02", "--to", "2001-01-04"]);
    command.extend(then);
    command
}

/// One backfill that `plan` kills; what it came to, and what it did.
async fn killed(both: &Both, mode: &str, plan: FaultPlan) -> (Result<Answer, Error>, Vec<Operation>) {
    let faulty = Arc::new(FaultStore::new(both.world.store.clone(), plan));
    let ran = both.world.run_on(faulty.clone(), &backfill(both, "later", mode, &["--sql", LATER])).await;
    assert!(ran.is_ok() || faulty.has_struck(), "{plan:?}: {:?}", ran.err());
    if faulty.has_struck() {
        both.world.wait(300);
    }
    (ran, faulty.history())
}

/// What became of the events of the range that came after those it was computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newer {
    /// They came while it was locked: they are as they came.
    AsTheyCame,
    /// They are as they came, or computed: they may have come before the lock.
    Either,
    /// Nothing was computed, not those before them either.
    Nothing,
}

/// Every event below `next` is in both tables once, those of the range that were there before the backfill as it computed them; in
/// mode `skip` those that came while the range was locked may be missing, and are on record.
async fn agree(both: &Both, (mode, newer): (&str, Newer), next: i64, when: &str) {
    let (old, new) = (both.world.source_rows().await, both.world.target_rows(both.target).await);
    assert_eq!(old, new, "{when}");
    let events = Both::events(&old);
    let audit = both.run(&["stream", "audit", &both.stream]).await;
    let counted = |what: &str| {
        let of = |one: &serde_json::Value| match &one[what] {
            serde_json::Value::Object(by) => by.values().filter_map(serde_json::Value::as_u64).sum(),
            other => other.as_u64().unwrap_or(0),
        };
        audit["partitions"].as_array().unwrap().iter().map(of).sum::<u64>()
    };
    let mut missing = 0;
    for n in 1..next {
        let found = [n, n + 1000].map(|delay| events.get(&delay).copied().unwrap_or(0));
        match (n < 19, newer) {
            _ if !is_in_range(n) => assert_eq!(found, [1, 0], "{n} {when}"),
            (true, Newer::AsTheyCame | Newer::Either) => assert_eq!(found, [0, 1], "{n} {when}"),
            (false, _) if found == [0, 0] => missing += 1,
            (false, Newer::Either) => assert_eq!(found.iter().sum::<usize>(), 1, "{n} {when}: {events:?}"),
            (_, Newer::AsTheyCame | Newer::Nothing) => assert_eq!(found, [1, 0], "{n} {when}: {events:?}"),
        }
    }
    assert_eq!((counted("skipped"), counted("parked")), (missing, 0), "{when}: {audit}");
    assert!(missing == 0 || mode == "skip", "{when}: {events:?}");
    assert_eq!(both.rogues().await, json!([]), "{when}");
}

/// The stream's journal.
async fn journal(both: &Both) -> String {
    let mut journal = String::new();
    for name in both.world.list("control/streams/live/journal").await {
        let entry = both.world.get(&format!("{}/control/streams/live/journal/{name}", both.world.root)).await;
        journal.push_str(&String::from_utf8_lossy(&entry));
    }
    journal
}

/// How often the range was locked; taking a lock over is not counted.
async fn locks(both: &Both) -> usize {
    journal(both).await.matches("\"locked\"").count()
}

/// The rows of both tables that are no event: those of the range are computed, too, and no others.
async fn others(both: &Both) -> Vec<String> {
    both.world.source_rows().await.into_iter().filter(|row| !row.contains("|EVT|")).collect()
}

#[rstest]
#[case::the_old_table("cutover", Target::IcebergAdopted, None)]
#[case::the_new_one_with_adopted_files("rollback", Target::IcebergAdopted, None)]
#[case::months_of_the_new_one_that_are_cut("rollback", Target::Iceberg, Some("[month(day)]"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_rewritten_in_both_tables_and_nothing_beside_it(
    #[case] until: &str,
    #[case] target: Target,
    #[case] partitioning: Option<&str>,
) {
    let both = started(until, target, partitioning).await;
    let before = others(&both).await;
    let report = both.run(&backfill(&both, "later", "park", &["--sql", LATER])).await;
    assert_eq!(report["other_table"], "done", "{report}");
    assert!(report["evidence"].as_str().unwrap().contains("their fingerprint is that of what was computed"), "{report}");
    agree(&both, ("park", Newer::AsTheyCame), 19, "at the end").await;
    let later = |row: &String| {
        let (rest, day) = row.rsplit_once('|').unwrap();
        let (rest, delay) = rest.rsplit_once('|').unwrap();
        match delay.parse::<i64>() {
            Ok(delay) if ("2001-01-02"..="2001-01-04").contains(&day) => format!("{rest}|{}|{day}", delay + 1000),
            _ => row.clone(),
        }
    };
    let mut expected: Vec<String> = before.iter().map(later).collect();
    expected.sort_unstable();
    assert_ne!(expected, before);
    assert_eq!(others(&both).await, expected);
    let certificate = both.run(&["validate", "SPEC"]).await;
    assert_eq!(certificate["verdict"], "PASS", "{certificate}");
}

/// What comes in while the range is locked waits or is newer, as the mode says; where readers move meanwhile, the backfill goes on or
/// says why it cannot.
/// Every mode takes a quarter of the faults, so that all of them are had once.
#[rstest]
#[case::park("park", 0)]
#[case::skip("skip", 1)]
#[case::priority("priority", 2)]
#[case::pause("pause", 3)]
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_killed_anywhere_is_finished_by_the_next_and_no_event_is_lost(
    #[case] mode: &str,
    #[case] quarter: usize,
) {
    let start = started("cutover", Target::IcebergAdopted, None).await;
    start.kafka.produce(19..28);
    let (ran, history) = killed(&start.copy(), mode, FaultPlan::None).await;
    ran.unwrap();
    let mutations: Vec<_> = history.into_iter().filter(|operation| operation.kind.is_mutation()).collect();
    assert!(mutations.len() > 30, "{}", mutations.len());
    let (mut faults, mut kept, mut moved) = (0, 0, 0);
    for plan in FaultPlan::every(&mutations).into_iter().skip(quarter).step_by(4) {
        let at = faults;
        faults += 1;
        let both = start.copy();
        let when = format!("{at} {plan:?}");
        let (ran, _) = killed(&both, mode, plan).await;
        let locked = matches!(ran, Err(Error::RangeKept { .. }));
        kept += usize::from(locked);
        // Where nothing came in meanwhile, a backfill goes on in the other table.
        if at % 4 != 3 {
            both.ingest().await;
        }
        if at % 2 == 1 {
            both.world.live(&[Step::Command(&["mirror", "SPEC"]), Step::Command(&["validate", "SPEC"])]).await;
            both.world.while_time_passes(both.world.live(CUTOVER)).await;
        }
        match both.world.run(&backfill(&both, "later", mode, &["--sql", LATER])).await {
            Ok(_) => {}
            Err(error) => {
                assert!(with_causes(&error).contains("readers have moved"), "{when}: {}", with_causes(&error));
                moved += 1;
                both.world.wait(300);
                both.run(&backfill(&both, "later", mode, &["--abandon"])).await;
                both.ingest().await;
                both.run(&backfill(&both, "again", mode, &["--sql", LATER])).await;
            }
        }
        both.ingest().await;
        // Who was killed when the range was free again has another one begin anew.
        let newer = if locked && locks(&both).await == 1 { Newer::AsTheyCame } else { Newer::Either };
        agree(&both, (mode, newer), 28, &when).await;
    }
    assert!(kept > 10, "it was killed {kept} times while it held the range");
    println!("{mode}: {faults} faults, {kept} with the range locked, {moved} times readers had moved");
}

/// A backfill that is killed before it says what it replaces; then readers move. Where the stream has written newer rows of the range
/// to the old table, the new one does not tell which of its rows those are.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_goes_on_in_the_table_that_readers_have_moved_to_unless_newer_rows_came_before(
    #[values("park", "priority")] mode: &str,
    #[values(true, false)] wrote: bool,
) {
    let both = started("cutover", Target::IcebergAdopted, None).await;
    both.kafka.produce(19..28);
    let (_, history) = killed(&both.copy(), mode, FaultPlan::None).await;
    let is_entry = |one: &&Operation| {
        one.kind.is_mutation() && one.path.as_ref().contains("flights/writes") && one.path.as_ref().ends_with("json")
    };
    let intended = history.iter().filter(is_entry).nth(1).unwrap().number;
    let (ran, _) = killed(&both, mode, FaultPlan::CrashBefore(intended)).await;
    assert!(matches!(ran, Err(Error::RangeKept { .. })));
    if wrote {
        both.ingest().await;
    }
    both.world.live(&[Step::Command(&["mirror", "SPEC"]), Step::Command(&["validate", "SPEC"])]).await;
    both.world.while_time_passes(both.world.live(CUTOVER)).await;
    let command = backfill(&both, "later", mode, &["--sql", LATER]);
    let mut newer = Newer::AsTheyCame;
    if wrote && mode == "priority" {
        let told = with_causes(&both.world.run(&command).await.unwrap_err());
        assert!(told.contains("readers have moved") && told.contains("--abandon"), "{told}");
        both.world.wait(300);
        both.run(&backfill(&both, "later", mode, &["--abandon"])).await;
        both.ingest().await;
        agree(&both, (mode, Newer::Nothing), 28, "given up").await;
        both.run(&backfill(&both, "again", mode, &["--sql", LATER])).await;
        newer = Newer::Either;
    } else {
        both.run(&command).await;
    }
    both.ingest().await;
    agree(&both, (mode, newer), 28, "at the end").await;
}

/// What another process does while one stalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Finish,
    FinishAfterCutover,
    GiveUp,
}

/// A process that stalls before its request `at` of those that count, past its leases, and wakes when another one has done `meanwhile`. Whether it was stopped,
/// and what had become of the range before; `None` where it has so many requests not.
async fn stalls(
    start: &Both,
    at: (u64, fn(OperationKind) -> bool),
    meanwhile: Meanwhile,
    unreachable: Option<&'static str>,
) -> Option<(bool, Newer)> {
    let (both, when) = (start.copy(), format!("{} {meanwhile:?}", at.0));
    let (store, stalled, release) = stalling_at(&both.world, at, unreachable);
    let command = backfill(&both, "later", "priority", &["--sql", LATER]);
    let ended = AtomicBool::new(false);
    let first = async {
        let ran = both.world.run_on(store, &command).await;
        ended.store(true, Ordering::SeqCst);
        ran
    };
    let second = async {
        while !stalled.load(Ordering::SeqCst) && !ended.load(Ordering::SeqCst) {
            real_moment().await;
        }
        if !stalled.load(Ordering::SeqCst) {
            return Newer::Either;
        }
        both.world.wait(300);
        if meanwhile == Meanwhile::FinishAfterCutover {
            let moves = [Step::Command(&["mirror", "SPEC"]), Step::Command(&["validate", "SPEC"]), CUTOVER[0]];
            both.world.while_time_passes(both.world.live(&moves)).await;
        }
        let give_up = backfill(&both, "later", "priority", &["--abandon"]);
        let newer = if meanwhile != Meanwhile::GiveUp {
            both.run(&command).await;
            Newer::Either
        } else if both.world.run(&give_up).await.is_ok() && locks(&both).await == 1 {
            Newer::Nothing
        } else {
            Newer::Either
        };
        both.ingest().await;
        agree(&both, ("priority", newer), 28, &format!("{when}: meanwhile")).await;
        release.send_replace(true);
        newer
    };
    let (ran, newer) = tokio::join!(first, second);
    if !stalled.load(Ordering::SeqCst) {
        return None;
    }
    // Where it had not locked yet, it begins when it wakes.
    let newer = if ran.is_ok() { Newer::Either } else { newer };
    both.world.wait(300);
    both.ingest().await;
    agree(&both, ("priority", newer), 28, &format!("{when}: awake")).await;
    Some((ran.is_err(), newer))
}

/// Its lock, the producers' lease and their journal keep a process that wakes from replacing anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_stalls_anywhere_and_wakes_after_another_took_over_replaces_nothing() {
    let start = started("cutover", Target::IcebergAdopted, None).await;
    start.kafka.produce(19..28);
    let (mut stalled, mut stopped) = (0, 0);
    for at in 1.. {
        let meanwhile =
            [Meanwhile::Finish, Meanwhile::FinishAfterCutover, Meanwhile::GiveUp][usize::try_from(at % 3).unwrap()];
        let Some((was_stopped, _)) = stalls(&start, (at, OperationKind::is_mutation), meanwhile, None).await else { break };
        (stalled, stopped) = (stalled + 1, stopped + usize::from(was_stopped));
    }
    assert!(stalled > 30 && stopped > 15, "{stalled} {stopped}");
}

/// What grants locks cannot be reached when the process wakes, so that nothing but the stream's journal tells it that its lock is
/// lost; the producers' lease it gets.
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_was_given_up_while_it_waited_for_the_producers_lease_replaces_nothing() {
    let start = started("cutover", Target::IcebergAdopted, None).await;
    start.kafka.produce(19..28);
    let (_, history) = killed(&start.copy(), "priority", FaultPlan::None).await;
    let mut given_up = 0;
    for (at, _) in (1..).zip(&history).filter(|(_, one)| one.path.as_ref().contains("leases/writer")) {
        let ended = stalls(&start, (at, |_| true), Meanwhile::GiveUp, Some("streams/live/leases/locks")).await;
        given_up += usize::from(ended == Some((true, Newer::Nothing)));
    }
    assert!(given_up > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_cannot_be_is_refused_by_name_and_locks_nothing() {
    let both = Both::before("cutover", Target::Delta).await;
    let refused = async |command: &[&str]| {
        let error = both.world.run(command).await.unwrap_err();
        assert_eq!(error.exit_code(), 4, "{}", with_causes(&error));
        with_causes(&error)
    };
    let command = backfill(&both, "later", "park", &["--sql", LATER]);
    let told = refused(&command).await;
    assert!(told.contains("the stream has gone to a table") && told.contains("ingest --once"), "{told}");
    both.kafka.produce(1..19);
    both.ingest().await;
    let table = format!("table: {{format: delta, location: '{}/live'}}", both.world.root);
    both.name(&table, COLUMNS, "");
    let told = refused(&command).await;
    assert!(told.contains("there is no table at"), "{told}");
    both.name("migration: .", COLUMNS, "");
    let told = refused(&backfill(&both, "later", "park", &["--sql", "SELECT at, origin, day FROM events"])).await;
    assert!(told.contains("gives no column delay"), "{told}");

    both.world.live(&[Step::Command(&["validate", "SPEC"]), CUTOVER[0]]).await;
    let told = refused(&command).await;
    assert!(told.contains("flights_delta is not partitioned by day"), "{told}");
    let journal = journal(&both).await;
    assert!(journal.contains("intended") && !journal.contains("locked"), "{journal}");
}

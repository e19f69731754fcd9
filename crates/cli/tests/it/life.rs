//! Whole lives of migrations, from plan to completion.

use lakeshift::error::Error;
use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use rstest::rstest;

use crate::support::{Flight, Target, World};

const DAY_1: &[Flight] = &[(10, "ATL", Some(3)), (10, "ATL", Some(3)), (700, "SFO", None)];
const DAY_2: &[Flight] = &[(5, "JFK", Some(-4)), (1439, "ATL", Some(0))];
const LATE: &[Flight] = &[(60, "ORD", Some(12))];

/// A step of the life: a command, or something that happens to the source.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Command(&'static [&'static str]),
    Put(u32, &'static str, &'static [Flight]),
    Delete(u32, &'static str),
    /// Somebody else commits to the new table: the number of the commit, the day and flights of its file, files that it removes.
    Write(u64, u32, &'static [Flight], &'static [&'static str]),
    Wait(u64),
}

/// Everything from the first plan to the purge, while the source's writer goes on.
pub const LIFE: &[Step] = &[
    Step::Put(1, "a.parquet", DAY_1),
    Step::Put(1, "b.parquet", LATE),
    Step::Put(2, "a.parquet", DAY_2),
    Step::Command(&["plan", "SPEC"]),
    Step::Command(&["approve", "SPEC"]),
    Step::Command(&["dual-write", "SPEC"]),
    Step::Put(3, "a.parquet", LATE),
    Step::Delete(1, "b.parquet"),
    Step::Command(&["backfill", "SPEC"]),
    Step::Put(2, "a.parquet", DAY_1),
    Step::Put(1, "late.parquet", LATE),
    Step::Command(&["mirror", "SPEC"]),
    Step::Command(&["validate", "SPEC"]),
    Step::Command(&["cutover", "SPEC"]),
    Step::Command(&["rollback", "SPEC"]),
    Step::Command(&["validate", "SPEC"]),
    Step::Command(&["cutover", "SPEC"]),
    Step::Wait(3700),
    Step::Command(&["sunset", "SPEC"]),
    Step::Wait(3700),
    Step::Command(&["sunset", "SPEC"]),
];

impl World {
    /// Takes one step on the world's own store.
    pub async fn step(&self, step: Step) -> Result<Option<lakeshift::output::Answer>, Error> {
        match step {
            Step::Command(command) => return self.run(command).await.map(Some),
            Step::Put(day, file, flights) => self.put_day(day, file, flights).await,
            Step::Delete(day, file) => self.delete_day(day, file).await,
            Step::Write(..) => unreachable!("a world does not know its target; see `crash`"),
            Step::Wait(seconds) => self.wait(seconds),
        }
        Ok(None)
    }

    /// Takes steps of which each must succeed.
    pub async fn live(&self, steps: &[Step]) {
        for step in steps {
            match self.step(*step).await {
                Ok(Some(answer)) => assert_eq!(answer.exit_code, 0, "{step:?}: {}", answer.text),
                Ok(None) => {}
                Err(error) => panic!("{step:?}: {}", lakeshift::error::with_causes(&error)),
            }
        }
    }

    async fn status(&self) -> serde_json::Value {
        self.run(&["status", "SPEC"]).await.unwrap().json
    }
}

/// The life up to a command.
pub fn before(command: &str) -> &'static [Step] {
    let at = LIFE.iter().position(|step| matches!(step, Step::Command(words) if words[0] == command));
    &LIFE[..at.unwrap()]
}

#[rstest]
#[tokio::test]
async fn a_migration_lives_from_plan_to_completion(
    #[values(Target::Iceberg, Target::Delta, Target::DeltaInPlace, Target::IcebergSpliced)] target: Target,
) {
    let world = World::in_memory(target);
    world.live(before("sunset")).await;
    let status = world.status().await;
    assert_eq!(status["phase"], "grace");
    assert_eq!(status["live_side"], "new");
    let source = world.source_rows().await;
    assert_eq!(source.len(), 3 + 3 + 1 + 1, "the source has the rows that its writer wrote");
    assert_eq!(world.target_rows(target).await, source);
    world.live(&LIFE[before("sunset").len()..]).await;
    assert_eq!(world.target_rows(target).await, source);
    assert_eq!(world.status().await["phase"], "completed");
    let left = world.source_rows().await;
    match target {
        Target::DeltaInPlace => assert_eq!(left, source, "the new table's files must stay"),
        _ => assert_eq!(left, Vec::<String>::new(), "the old table's own files are purged"),
    }
}

#[tokio::test]
async fn files_that_the_new_table_adopted_from_elsewhere_survive_the_purge_of_the_old_one() {
    const NAME: &str = "a b+c=é%2F#?.parquet";
    let world = World::in_memory(Target::IcebergAdopted);
    world.put_day(1, NAME, DAY_1).await;
    world.put_day(2, "replaced +.parquet", DAY_2).await;
    let steps = |from: usize, to: usize| &LIFE[from..to];
    let [plan, mirror, sunset] = ["plan", "mirror", "sunset"].map(|command| before(command).len());
    world.live(steps(plan, plan + 3)).await;
    world.live(&[Step::Command(&["backfill", "SPEC"])]).await;
    world.put_day(2, "replaced +.parquet", LATE).await;
    world.live(steps(mirror, sunset)).await;
    assert_eq!(world.status().await["bytes_written"], 0);
    let source = world.source_rows().await;
    assert_eq!(source.len(), DAY_1.len() + LATE.len());
    assert_eq!(world.target_rows(Target::IcebergAdopted).await, source);
    world.live(&LIFE[sunset..]).await;
    assert_eq!(world.status().await["phase"], "completed");
    assert_eq!(world.target_rows(Target::IcebergAdopted).await, source);
}

#[rstest]
#[tokio::test]
async fn a_migration_lives_on_an_s3_server(#[values(Target::Iceberg, Target::DeltaInPlace)] target: Target) {
    let Some(store) = lakeshift_testkit::s3::s3_store().await else { return };
    let world = World::on(store, &format!("s3://lake/{target:?}-{}", std::process::id()), target);
    world.live(LIFE).await;
    assert_eq!(world.status().await["phase"], "completed");
    assert_eq!(world.target_rows(target).await.len(), 8);
}

#[rstest]
#[tokio::test]
async fn a_migration_lives_on_azure(#[values(Target::Iceberg, Target::DeltaInPlace)] target: Target) {
    let Some(server) = lakeshift_testkit::azure::shared().await else { return };
    let world = World::on(server.store().unwrap(), &format!("az://lake/{target:?}"), target);
    world.live(LIFE).await;
    assert_eq!(world.status().await["phase"], "completed");
    assert_eq!(world.target_rows(target).await.len(), 8);
}

/// The files have the column under different names, before and after dual write began.
#[rstest]
#[tokio::test]
async fn a_column_with_another_name_in_some_files_is_one_column(#[values(Target::Iceberg, Target::Delta)] target: Target) {
    let world = World::in_memory(target);
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    std::fs::write(world.spec(), spec.replace("format: hive\n", "format: hive\n  columns: {from: origin}\n")).unwrap();
    world.put_day(1, "a.parquet", DAY_1).await;
    world.put_renamed_day(2, "b.parquet", DAY_2).await;
    let commands = |words: &[&'static [&'static str]]| words.iter().map(|words| Step::Command(words)).collect::<Vec<_>>();
    world.live(&commands(&[&["plan", "SPEC"], &["approve", "SPEC"], &["dual-write", "SPEC"]])).await;
    world.put_renamed_day(3, "c.parquet", LATE).await;
    let rest: [&[&str]; 4] = [&["backfill", "SPEC"], &["mirror", "SPEC"], &["validate", "SPEC"], &["cutover", "SPEC"]];
    world.live(&commands(&rest)).await;
    let rows = world.target_rows(target).await;
    assert_eq!(rows.len(), DAY_1.len() + DAY_2.len() + LATE.len());
    assert_eq!(rows, world.source_rows().await);
}

#[tokio::test]
async fn a_plan_says_which_files_are_copied_undecoded_and_why() {
    let world = World::in_memory(Target::IcebergSpliced);
    world.live(&LIFE[..3]).await;
    let answer = world.run(&["plan", "SPEC"]).await.unwrap();
    assert!(answer.text.contains("splice") && !answer.text.contains("rewrite"), "{}", answer.text);
    assert!(answer.text.contains("column day stands only in the path"), "{}", answer.text);
}

#[tokio::test]
async fn an_adopted_table_costs_no_byte_and_a_rewritten_one_does() {
    for (target, writes) in [(Target::DeltaInPlace, false), (Target::Iceberg, true)] {
        let world = World::in_memory(target);
        world.live(before("validate")).await;
        assert_eq!(world.status().await["bytes_written"].as_u64().unwrap() > 0, writes, "{target:?}");
    }
}

#[tokio::test]
async fn a_dry_run_writes_nothing_at_all() {
    let world = World::in_memory(Target::Iceberg);
    world.live(&LIFE[..3]).await;
    let count = async || {
        let objects: Vec<_> = futures::TryStreamExt::try_collect(world.store.list(None)).await.unwrap();
        objects.len()
    };
    let before = count().await;
    let answer = world.run(&["plan", "SPEC", "--dry-run"]).await.unwrap();
    assert!(answer.text.contains("nothing was written"), "{}", answer.text);
    assert_eq!(count().await, before);
    assert!(matches!(world.run(&["status", "SPEC"]).await, Err(Error::Unknown { .. })));
}

#[tokio::test]
async fn a_changed_source_makes_the_certificate_stale_and_the_cutover_refused() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("cutover")).await;
    world.put_day(4, "a.parquet", LATE).await;
    let error = world.run(&["cutover", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("the old table has changed"), "{error}");
    assert_eq!(world.status().await["live_side"], "old");
    world
        .live(&[
            Step::Command(&["mirror", "SPEC"]),
            Step::Command(&["validate", "SPEC"]),
            Step::Command(&["cutover", "SPEC"]),
        ])
        .await;
}

#[tokio::test]
async fn a_damaged_target_file_fails_validation_and_blocks_the_cutover() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    let objects: Vec<object_store::ObjectMeta> = futures::TryStreamExt::try_collect(world.store.list(None)).await.unwrap();
    let mut data = objects.iter().map(|object| &object.location).filter(|path| path.as_ref().contains("/ls."));
    let (one, other) = (data.next().unwrap().clone(), data.next().unwrap().clone());
    object_store::ObjectStoreExt::copy(&world.store, &one, &other).await.unwrap();
    let answer = world.run(&["validate", "SPEC"]).await;
    match answer {
        Ok(answer) => assert_eq!(answer.exit_code, 1, "{}", answer.text),
        Err(error) => assert_eq!(error.exit_code(), 2, "a file that is not what was registered: {error}"),
    }
    assert_eq!(world.run(&["cutover", "SPEC"]).await.unwrap_err().exit_code(), 4);
}

#[tokio::test]
async fn abort_drops_what_the_migration_created_and_nothing_else() {
    for target in [Target::Iceberg, Target::DeltaInPlace] {
        let world = World::in_memory(target);
        world.live(before("validate")).await;
        let source = world.source_rows().await;
        world.run(&["abort", "SPEC", "--reason", "a test"]).await.unwrap();
        assert_eq!(world.source_rows().await, source);
        let objects: Vec<object_store::ObjectMeta> =
            futures::TryStreamExt::try_collect(world.store.list(None)).await.unwrap();
        let left: Vec<_> = objects
            .iter()
            .map(|object| object.location.to_string())
            .filter(|path| !path.contains("/control/") && !path.contains("/day="))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{target:?}");
        assert_eq!(world.status().await["phase"], "aborted");
    }
}

#[tokio::test]
async fn two_runners_at_once_are_one_too_many_and_the_second_is_told_who_is_first() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("backfill")).await;
    // Lease, heartbeat, fence, and the first unit's intent; then the process is dead.
    let store = FaultStore::new(world.store.clone(), FaultPlan::CrashAfter(4)).with_counted(Counted::Mutations);
    world.run_on(std::sync::Arc::new(store), &["backfill", "SPEC"]).await.unwrap_err();
    let held = world.run(&["backfill", "SPEC"]).await.unwrap_err();
    assert!(matches!(held, Error::Held { .. }), "{held}");
    assert_eq!(held.exit_code(), 5);
    assert!(held.to_string().contains("test@here:"), "{held}");
    world.wait(120);
    world.run(&["backfill", "SPEC"]).await.unwrap();
}

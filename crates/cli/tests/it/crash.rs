//! The crash matrix: the whole life, with every store operation failed in every way, ends in the same tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lakeshift::error::Error;
use lakeshift_testkit::{FaultPlan, FaultStore};
use rstest::rstest;

use crate::life::{LIFE, Step, before};
use crate::support::{Flight, Target, World};

const NEW: &[Flight] = &[(61, "ORD", Some(100)), (62, "ORD", None)];
const NEWER: &[Flight] = &[(63, "ORD", Some(101))];

/// After the cutover others write to the new table; what they wrote is carried back, by the reverse mirror and by the rollback.
const WRITES: &[Step] =
    &[Step::Write(1, 3, NEW, &[]), Step::Command(&["mirror", "SPEC"]), Step::Write(2, 9, NEWER, &["theirs-1.parquet"])];

/// Between the cutover that stays and the sunset.
const MORE_WRITES: &[Step] = &[Step::Write(3, 10, NEW, &[]), Step::Command(&["mirror", "SPEC"])];

/// The life of a target. One folder that is both tables cannot be carried back to.
fn life(target: Target) -> Vec<Step> {
    if target == Target::DeltaInPlace {
        return LIFE.to_vec();
    }
    let (until_cutover, rest) = LIFE.split_at(before("rollback").len());
    let (until_wait, end) = rest.split_at(rest.iter().position(|step| matches!(step, Step::Wait(_))).unwrap());
    [until_cutover, WRITES, until_wait, MORE_WRITES, end].concat()
}

/// Threads that run cases; each case is a world of its own.
const WORKERS: usize = 2;

/// Where the run of a life with one fault ended.
#[derive(Debug, PartialEq, Eq)]
struct End {
    rows: Vec<String>,
    phase: String,
    pointers: Vec<String>,
}

/// Lives once; the store fails by `plan`, counted over the whole life. After a crash the command is run again by a new
/// process on a sound store, as an operator would.
async fn live_with(target: Target, plan: FaultPlan) -> (End, u64) {
    let world = World::in_memory(target);
    in_three_stages(&world);
    let faulty = Arc::new(FaultStore::new(world.store.clone(), plan));
    let mut struck = false;
    for step in life(target) {
        let command = match step {
            Step::Command(command) => command,
            // What the tables' writers do is not this program's and never fails here.
            Step::Write(number, day, flights, remove) => {
                let remove: Vec<_> = remove.iter().map(|path| (*path).to_owned()).collect();
                world.write_new(target, number, day, flights, &remove).await;
                continue;
            }
            other => {
                world.step(other).await.unwrap();
                continue;
            }
        };
        let first = match struck {
            true => world.run(command).await,
            false => world.run_on(faulty.clone(), command).await,
        };
        let answer = match first {
            Ok(answer) => Ok(answer),
            Err(_) if faulty.has_struck() && !struck => {
                struck = true;
                // The dead runner's lease runs out.
                world.wait(120);
                world.run(command).await
            }
            Err(error) => Err(error),
        };
        match answer {
            // The dead process had listed the files already; the next stage has its own waiting time.
            Err(Error::NotDue { .. }) if struck && command[0] == "sunset" => {}
            Ok(answer) => assert_eq!(answer.exit_code, 0, "{plan:?} {command:?}: {}", answer.text),
            Err(error) => panic!("{plan:?} {command:?}: {}", lakeshift::error::with_causes(&error)),
        }
    }
    let status = world.run(&["status", "SPEC"]).await.unwrap().json;
    let end = End {
        rows: world.target_rows(target).await,
        phase: status["phase"].as_str().unwrap().to_owned(),
        pointers: world.pointers().await,
    };
    (end, faulty.operations())
}

/// Readers move in three groups.
fn in_three_stages(world: &World) {
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    let stages = "stages: [{name: canary, alias: canary}, {name: batch, alias: batch}]";
    std::fs::write(world.spec(), spec.replace("{alias: flights}", &format!("{{alias: flights, {stages}}}"))).unwrap();
}

#[rstest]
fn a_life_with_any_one_operation_failed_ends_in_the_same_tables(
    #[values(Target::Iceberg, Target::DeltaInPlace)] target: Target,
) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (sound, operations) = runtime().block_on(live_with(target, FaultPlan::None));
    let written = if target == Target::DeltaInPlace { 0 } else { NEWER.len() + NEW.len() };
    assert_eq!((sound.phase.as_str(), sound.rows.len()), ("completed", 8 + written));
    let plans: Vec<FaultPlan> = (1..=operations)
        .flat_map(|n| [FaultPlan::CrashBefore(n), FaultPlan::CrashAfter(n), FaultPlan::LostResponse(n)])
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let runtime = runtime();
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (end, _) = runtime.block_on(live_with(target, *plan));
                    assert_eq!(end, sound, "{target:?} {plan:?}");
                }
            });
        }
    });
    // Straight to standard error: the harness keeps what `println!` says to itself.
    let told =
        format!("crash matrix, {target:?}: {operations} store operations, {} fault points, all end alike", plans.len());
    std::io::Write::write_all(&mut std::io::stderr(), format!("{told}\n").as_bytes()).unwrap();
}

//! The crash matrix: the whole life, with every store operation failed in every way, ends in the same tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lakeshift::error::Error;
use lakeshift_testkit::{FaultPlan, FaultStore};
use rstest::rstest;

use crate::life::{LIFE, Step};
use crate::support::{Target, World};

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
    let faulty = Arc::new(FaultStore::new(world.store.clone(), plan));
    let mut struck = false;
    for step in LIFE {
        let Step::Command(command) = step else {
            // What the source's writer does is not this program's and never fails here.
            world.step(*step).await.unwrap();
            continue;
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

#[rstest]
fn a_life_with_any_one_operation_failed_ends_in_the_same_tables(
    #[values(Target::Iceberg, Target::DeltaInPlace)] target: Target,
) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (sound, operations) = runtime().block_on(live_with(target, FaultPlan::None));
    assert_eq!((sound.phase.as_str(), sound.rows.len()), ("completed", 8));
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

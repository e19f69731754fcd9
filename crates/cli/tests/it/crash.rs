//! The crash matrix: the whole life, with every store operation failed in every way, ends in the same tables.
//!
//! A life with a fault is lived from the command on in which it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lakeshift::error::Error;
use lakeshift_testkit::{FaultPlan, FaultStore, Operation};
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

/// Where a life begins: at its birth, or before a later command.
struct Beginning {
    world: World,
    /// Steps that are behind it.
    steps: usize,
    /// Store operations that are behind it.
    operations: u64,
}

impl Beginning {
    fn copy(&self) -> Self {
        Self { world: self.world.copy(), ..*self }
    }
}

/// What a life was.
struct Lived {
    end: End,
    history: Vec<Operation>,
    /// How it stood before every step.
    before: Vec<Beginning>,
}

/// Lives on from a beginning; the store fails by `plan`, counted over the whole life. After a crash the command is run again
/// by a new process on a sound store, as an operator would.
async fn live_with(target: Target, beginning: Beginning, plan: FaultPlan) -> Lived {
    let mut at = beginning;
    let faulty = Arc::new(FaultStore::new(at.world.store.clone(), plan.after(at.operations)));
    let (mut struck, mut before, begun) = (false, Vec::new(), at.operations);
    for step in life(target).into_iter().skip(at.steps) {
        if plan == FaultPlan::None {
            before.push(at.copy());
        }
        at.steps += 1;
        take(target, &at.world, (&faulty, plan), step, &mut struck).await;
        at.operations = begun + faulty.operations();
    }
    assert!(struck || plan == FaultPlan::None, "{plan:?} was not reached");
    let status = at.world.run(&["status", "SPEC"]).await.unwrap().json;
    let end = End {
        rows: at.world.target_rows(target).await,
        phase: status["phase"].as_str().unwrap().to_owned(),
        pointers: at.world.pointers().await,
    };
    Lived { end, history: faulty.history(), before }
}

/// Takes one step, by way of the failing store until that has `struck`.
async fn take(target: Target, world: &World, (faulty, plan): (&Arc<FaultStore>, FaultPlan), step: Step, struck: &mut bool) {
    let command = match step {
        Step::Command(command) => command,
        // What the tables' writers do is not this program's and never fails here.
        Step::Write(number, day, flights, remove) => {
            let remove: Vec<_> = remove.iter().map(|path| (*path).to_owned()).collect();
            return world.write_new(target, number, day, flights, &remove).await;
        }
        other => return drop(world.step(other).await.unwrap()),
    };
    let first = match *struck {
        true => world.run(command).await,
        false => world.run_on(faulty.clone(), command).await,
    };
    let strikes = faulty.has_struck() && !*struck;
    *struck |= strikes;
    if strikes {
        // The dead runner's lease runs out.
        world.wait(120);
    }
    let answer = match first {
        Err(_) if strikes => world.run(command).await,
        answer => answer,
    };
    match answer {
        // The dead process had listed the files already; the next stage has its own waiting time.
        Err(Error::NotDue { .. }) if *struck && command[0] == "sunset" => {}
        Ok(answer) => assert_eq!(answer.exit_code, 0, "{plan:?} {command:?}: {}", answer.text),
        Err(error) => panic!("{plan:?} {command:?}: {}", lakeshift::error::with_causes(&error)),
    }
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
    let birth = Beginning { world: World::in_memory(target), steps: 0, operations: 0 };
    in_three_stages(&birth.world);
    let sound = runtime().block_on(live_with(target, birth, FaultPlan::None));
    let written = if target == Target::DeltaInPlace { 0 } else { NEWER.len() + NEW.len() };
    assert_eq!((sound.end.phase.as_str(), sound.end.rows.len()), ("completed", 8 + written));
    let plans = FaultPlan::every(&sound.history);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let runtime = runtime();
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // What comes before the command that fails is as it was.
                    let before = |beginning: &&Beginning| Some(beginning.operations) < plan.number();
                    let beginning = sound.before.iter().rev().find(before).unwrap().copy();
                    let lived = runtime.block_on(live_with(target, beginning, *plan));
                    assert_eq!(lived.end, sound.end, "{target:?} {plan:?}");
                }
            });
        }
    });
    // Straight to standard error: the harness keeps what `println!` says to itself.
    let operations = sound.history.len();
    let told =
        format!("crash matrix, {target:?}: {operations} store operations, {} fault points, all end alike", plans.len());
    std::io::Write::write_all(&mut std::io::stderr(), format!("{told}\n").as_bytes()).unwrap();
}

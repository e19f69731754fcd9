//! Hooks: asked before, told after, at least once.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use lakeshift_core::migration::HookPayload;
use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use serde_json::Value;

use crate::life::{LIFE, before};
use crate::support::{Target, World};

/// A world whose spec has `hooks`; `FILE` in it is a file, whose path is given.
fn world(hooks: &str) -> (World, String) {
    let world = World::in_memory(Target::DeltaInPlace);
    let file = world.write_file("told.jsonl", "");
    let more = format!("hooks:\n{}\n", hooks.replace("FILE", &file));
    world.write_spec(Target::DeltaInPlace, &more);
    (world, file)
}

fn told(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn transitions(told: &[Value]) -> Vec<String> {
    let name =
        |payload: &Value| format!("{} {}", payload["moment"].as_str().unwrap(), payload["transition"].as_str().unwrap());
    told.iter().map(name).collect()
}

/// Appends the payload and a line's end.
const APPEND: &str = "command: [sh, -c, 'cat >> FILE; echo >> FILE']";

#[tokio::test]
async fn a_hook_on_everything_hears_of_a_whole_life_in_order() {
    let (world, file) = world(&format!("  - {{on: all, {APPEND}}}"));
    world.live(LIFE).await;
    let told = told(&file);
    let names = transitions(&told);
    let wanted =
        ["plan", "approve", "dual_write", "backfill", "validate", "cutover", "rollback", "validate", "cutover", "complete"];
    assert_eq!(names, wanted.map(|name| format!("after {name}")));
    let payloads: Vec<HookPayload> = told.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect();
    assert!(payloads.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "{payloads:?}");
    assert_eq!((told[5]["from"].as_str(), told[5]["to"].as_str()), (Some("validation"), Some("grace")));
}

#[tokio::test]
async fn a_command_finds_the_transition_in_its_environment_too() {
    let hook = "  - {on: [approve], command: [sh, -c, 'echo \"\\\"$LAKESHIFT_MIGRATION $LAKESHIFT_TRANSITION $LAKESHIFT_MOMENT \
                $LAKESHIFT_PHASE $LAKESHIFT_SEQUENCE $LAKESHIFT_CONTROL\\\"\" >> FILE']}";
    let (world, file) = world(hook);
    world.live(&LIFE[..5]).await;
    let control = format!("{}/control", world.root);
    assert_eq!(told(&file), [format!("flights approve after planned 5 {control}")]);
}

#[tokio::test]
async fn a_failing_hook_that_may_abort_refuses_the_transition_and_leaves_everything_as_it_was() {
    let (world, _) = world("  - {on: [cutover], on_failure: abort, command: [sh, -c, 'echo not on Fridays >&2; exit 7']}");
    world.live(before("cutover")).await;
    let error = world.run(&["cutover", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("exit code 7: not on Fridays"), "{error}");
    let status = world.run(&["status", "SPEC"]).await.unwrap().json;
    assert_eq!((&status["phase"], &status["live_side"]), (&"validation".into(), &"old".into()));
    assert_eq!(world.pointers().await.len(), 1, "the alias was not moved");
}

#[tokio::test]
async fn a_failing_hook_that_only_warns_is_named_in_the_journal_and_stops_nothing() {
    let (world, _) = world("  - {on: [validate], command: ['false']}");
    world.live(LIFE).await;
    let history = world.run(&["history", "SPEC"]).await.unwrap().text;
    assert!(history.contains("but for false"), "{history}");
}

#[tokio::test]
async fn a_hook_that_does_not_answer_is_ended_after_its_time() {
    let (world, _) = world("  - {on: [approve], on_failure: abort, timeout: 20s, command: [sleep, '600']}");
    world.live(&LIFE[..4]).await;
    let time = async {
        for _ in 0..40 {
            world.clock.advance(Duration::from_secs(1));
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    };
    let (asked, ()) = tokio::join!(world.run(&["approve", "SPEC"]), time);
    let error = asked.unwrap_err();
    assert!(error.to_string().contains("did not answer within 20 s"), "{error}");
}

/// The process dies before and after each mutation of an approval in turn: whatever was written, the hook hears of it.
#[tokio::test]
async fn a_transition_whose_runner_died_before_telling_is_told_by_the_next() {
    let mut again = 0;
    for point in 1.. {
        for fault in [FaultPlan::CrashBefore(point), FaultPlan::CrashAfter(point)] {
            let (world, file) = world(&format!("  - {{on: [approve], {APPEND}}}"));
            world.live(&LIFE[..4]).await;
            let store = FaultStore::new(world.store.clone(), fault).with_counted(Counted::Mutations);
            let store = std::sync::Arc::new(store);
            let died = world.run_on(store.clone(), &["approve", "SPEC"]).await.is_err();
            if !store.has_struck() {
                assert!(again > 0, "some runner died after telling and before it could say so");
                return;
            }
            if died {
                world.wait(120);
                world.run(&["approve", "SPEC"]).await.unwrap();
                // An approval that stands needs no runner; the next command that acts tells of it.
                world.run(&["dual-write", "SPEC"]).await.unwrap();
            }
            let told = told(&file);
            let same = told.iter().all(|payload| payload["sequence"] == told[0]["sequence"]);
            assert!(same && (1..=2).contains(&told.len()), "{fault:?}: {told:?}");
            again += told.len() - 1;
        }
    }
}

#[tokio::test]
async fn a_hook_that_comes_later_hears_of_nothing_that_was_before() {
    let (world, file) = world("  - {on: [rollback], command: ['true'], on_failure: abort}");
    world.live(before("mirror")).await;
    let more = format!("hooks:\n  - {{on: all, {}}}\n", APPEND.replace("FILE", &file));
    world.write_spec(Target::DeltaInPlace, &more);
    world.live(&LIFE[before("mirror").len()..before("cutover").len()]).await;
    assert_eq!(transitions(&told(&file)), ["after validate"]);
}

#[tokio::test]
async fn a_webhook_gets_the_payload_and_its_refusal_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        for answer in ["200 OK", "503 Service Unavailable"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                if body.len() >= length.unwrap().parse().unwrap() {
                    break body.to_owned();
                }
            };
            write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            bodies.push(serde_json::from_str::<Value>(&body).unwrap());
        }
        bodies
    });
    let (world, _) =
        world(&format!("  - {{on: [plan, approve], on_failure: abort, webhook: \"http://127.0.0.1:{port}/x\"}}"));
    world.live(&LIFE[..4]).await;
    let error = world.run(&["approve", "SPEC"]).await.unwrap_err();
    assert!(error.to_string().contains("answered 503"), "{error}");
    let bodies = server.join().unwrap();
    assert_eq!(transitions(&bodies), ["before plan", "before approve"]);
    assert_eq!(bodies[0]["format_version"], 1);
}

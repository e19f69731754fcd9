//! The phase function, explored: every state that any sequence of admitted commands reaches, and every command in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lakeshift_core::migration::{
    Command, Decision, Event, Evidence, Phase, PointerSwitch, Settled, Side, State, ValidationRecord, VerdictName, Work,
    decide,
};
use lakeshift_core::plan::{PlanRef, PlanSummary};
use lakeshift_core::table::{Format, TableVersion};

const SPEC: &str = "spec";

fn version(text: &str) -> TableVersion {
    TableVersion(text.to_owned())
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_000_000, 0).unwrap()
}

fn plan() -> PlanRef {
    let summary = PlanSummary { units: 2, ..PlanSummary::default() };
    PlanRef { digest: "0123456789abcdef".into(), source: version("s0"), summary }
}

fn switch(state: &State, side: Side) -> PointerSwitch {
    PointerSwitch {
        alias: "flights".into(),
        number: state.pointer.as_ref().map_or(1, |pointer| pointer.number + 1),
        side,
        format: Format::Hive,
        location: "file:///lake".into(),
        nonce: "n".into(),
        loses_writes: false,
    }
}

fn validated(verdict: VerdictName, partial: bool) -> Event {
    Event::Validated(ValidationRecord {
        verdict,
        source: version("s0"),
        target: version("t1"),
        partial,
        spec_digest: SPEC.into(),
        certificate_digest: "c".into(),
        report: "r".into(),
        at: start(),
    })
}

/// The events that a command writes when it does its work; several where it can end in several ways.
fn outcomes(state: &State, command: Command) -> Vec<Vec<Event>> {
    let number = state.next_commit();
    let intended = |work| Event::CommitIntended { number, work };
    let done = Event::CommitSettled { number, result: Settled::Done { version: version("t1"), files: 1, bytes: 1 } };
    match command {
        Command::Plan => {
            vec![vec![Event::Planned { plan: plan(), spec_digest: SPEC.into(), spec: serde_json::Value::Null }]]
        }
        Command::Approve => vec![vec![Event::Approved { plan_digest: plan().digest, by: "me".into() }]],
        Command::DualWrite => vec![vec![
            Event::BoundaryPinned { plan: plan() },
            Event::SwitchIntended(switch(state, Side::Old)),
            Event::Switched { number: 1 },
            Event::TargetCreated { version: version("t0") },
        ]],
        Command::Backfill => [1, 2]
            .into_iter()
            .filter(|unit| state.boundary.as_ref().is_some_and(|boundary| !boundary.done.contains(*unit)))
            .map(|unit| vec![intended(Work::Backfill { units: vec![unit] }), done.clone()])
            .collect(),
        Command::Mirror => {
            let round = Work::Mirror { round: 1, to: version("s0"), plan_digest: "p".into(), superseded_files: 0 };
            vec![vec![], vec![intended(round), done]]
        }
        Command::Validate => {
            use VerdictName as V;
            let whole = [V::Pass, V::Accepted, V::Fail, V::Inconclusive].map(|verdict| vec![validated(verdict, false)]);
            let partial = [V::Pass, V::Accepted].map(|verdict| vec![validated(verdict, true)]);
            whole.into_iter().chain(partial).collect()
        }
        Command::Cutover | Command::Rollback => {
            let side = if command == Command::Cutover { Side::New } else { Side::Old };
            let switch = switch(state, side);
            let number = switch.number;
            vec![vec![Event::SwitchIntended(switch), Event::Switched { number }]]
        }
        Command::Sunset if state.sunset.is_none() => {
            vec![vec![Event::Quarantined { manifest: "m".into(), files: 1, bytes: 1, kept: 0 }]]
        }
        Command::Sunset => vec![vec![Event::Purged { files: 1, bytes: 1 }, Event::Completed]],
        Command::Abort => vec![vec![Event::AbortIntended { reason: "r".into() }, Event::Aborted]],
    }
}

fn evidence(source: &str, target: &str, now: DateTime<Utc>) -> Evidence {
    let mut evidence = Evidence::new(now, SPEC);
    evidence.source = Some(version(source));
    evidence.target = Some(version(target));
    evidence.grace = Duration::from_secs(60);
    evidence.quarantine = Duration::from_secs(60);
    evidence
}

fn late() -> DateTime<Utc> {
    start() + TimeDelta::hours(1)
}

/// Every reachable state, with a shortest way to it. A prefix of a command's events is a state too: the runner was killed.
fn explore() -> BTreeMap<String, (State, Vec<Command>)> {
    let mut seen = BTreeMap::new();
    let mut queue = VecDeque::from([(State::default(), Vec::new())]);
    while let Some((state, path)) = queue.pop_front() {
        if seen.contains_key(&format!("{:?}", normal(&state))) || path.len() > 14 {
            continue;
        }
        seen.insert(format!("{:?}", normal(&state)), (state.clone(), path.clone()));
        for command in Command::ALL {
            if decide(&state, command, &evidence("s0", "t1", late())) != Decision::Proceed {
                continue;
            }
            for events in outcomes(&state, command) {
                for end in 1..=events.len() {
                    let mut next = state.clone();
                    events[..end].iter().for_each(|event| next.apply(event, start()));
                    let mut path = path.clone();
                    path.push(command);
                    queue.push_back((next, path));
                }
            }
        }
    }
    seen
}

/// A state without its counters, which grow for ever.
fn normal(state: &State) -> State {
    let mut state = state.clone();
    state.last_commit = Default::default();
    state.bytes_written = 0;
    state.files_added = 0;
    if let Some(mirror) = &mut state.mirror {
        mirror.plans.clear();
    }
    if let Some(pending) = &mut state.pending_commit {
        pending.number = Default::default();
    }
    for pointer in [&mut state.pointer, &mut state.pending_switch].into_iter().flatten() {
        pointer.number = 0;
    }
    state
}

#[test]
fn every_phase_is_reached_and_every_open_state_has_a_way_on() {
    let states = explore();
    let phases: BTreeSet<_> = states.values().map(|(state, _)| state.phase).collect();
    for phase in [
        Phase::Planned,
        Phase::DualWrite,
        Phase::Backfill,
        Phase::Validation,
        Phase::Grace,
        Phase::Sunset,
        Phase::Completed,
        Phase::Aborted,
    ] {
        assert!(phases.contains(&phase), "{phase} is never reached; {} states seen", states.len());
    }
    for (state, path) in states.values() {
        let ended = matches!(state.phase, Phase::Completed | Phase::Aborted);
        let way_on = Command::ALL
            .into_iter()
            .any(|command| decide(state, command, &evidence("s0", "t1", late())) == Decision::Proceed);
        assert_eq!(way_on, !ended, "after {path:?}: {state:?}");
    }
}

#[test]
fn readers_are_switched_only_on_a_pass_of_all_rows_of_exactly_the_present_versions() {
    let mut followed = Vec::new();
    for (state, path) in explore().values() {
        for (source, target) in [("s0", "t1"), ("s1", "t1"), ("s0", "t2")] {
            let decision = decide(state, Command::Cutover, &evidence(source, target, late()));
            if decision == Decision::Proceed {
                let record = state.validation.as_ref().unwrap();
                assert!(matches!(record.verdict, VerdictName::Pass | VerdictName::Accepted), "{path:?}");
                assert!(!record.partial, "{path:?}");
                followed.push(record.verdict);
                assert_eq!((record.source.0.as_str(), record.target.0.as_str()), (source, target), "{path:?}");
                assert!(state.backfill_is_done() && state.pending_commit.is_none(), "{path:?}");
            }
        }
    }
    for verdict in [VerdictName::Pass, VerdictName::Accepted] {
        assert!(followed.contains(&verdict), "no cutover ever follows {verdict:?}");
    }
}

#[test]
fn until_the_purge_one_command_goes_back_and_after_it_none_does() {
    for (state, path) in explore().values() {
        let rollback = decide(state, Command::Rollback, &evidence("s0", "t1", late()));
        let purged = state.sunset.as_ref().is_some_and(|sunset| sunset.purged);
        if state.phase == Phase::Grace {
            assert_eq!(rollback, Decision::Proceed, "{path:?}");
        }
        if purged {
            assert!(matches!(rollback, Decision::Refused(_)), "{path:?}");
        }
    }
}

#[test]
fn nothing_is_dropped_while_readers_need_it() {
    for (state, path) in explore().values() {
        let abort = decide(state, Command::Abort, &evidence("s0", "t1", late()));
        if state.live_side() == Side::New {
            assert_ne!(abort, Decision::Proceed, "{path:?}");
        }
        let early = decide(state, Command::Sunset, &evidence("s0", "t1", start() + TimeDelta::seconds(59)));
        assert!(early != Decision::Proceed, "sunset before its time after {path:?}");
        let rogue = decide(state, Command::Sunset, &evidence("s1", "t1", late()));
        if state.phase == Phase::Grace {
            assert!(matches!(rogue, Decision::Refused(_)), "sunset over unseen writes after {path:?}");
        }
    }
}

#[test]
fn another_spec_is_refused_by_every_command_that_moves_rows_or_readers() {
    for (state, path) in explore().values() {
        for command in
            [Command::DualWrite, Command::Backfill, Command::Mirror, Command::Validate, Command::Cutover, Command::Sunset]
        {
            let mut evidence = evidence("s0", "t1", late());
            evidence.spec_digest = "another".into();
            assert_ne!(decide(state, command, &evidence), Decision::Proceed, "{command:?} after {path:?}");
        }
    }
}

#[test]
fn commits_of_others_block_the_cutover_and_a_rollback_that_would_lose_them() {
    for (state, path) in explore().values() {
        let mut evidence = evidence("s0", "t1", late());
        evidence.foreign = vec![version("t1")];
        assert_ne!(decide(state, Command::Cutover, &evidence), Decision::Proceed, "{path:?}");
        if state.phase == Phase::Grace {
            assert!(matches!(decide(state, Command::Rollback, &evidence), Decision::Refused(_)), "{path:?}");
            evidence.accept_loss = true;
            assert_eq!(decide(state, Command::Rollback, &evidence), Decision::Proceed, "{path:?}");
        }
    }
}

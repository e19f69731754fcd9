//! The phase function, explored: every state that any sequence of admitted commands reaches, and every command in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lakeshift_core::control::Hold;
use lakeshift_core::migration::{
    Command, Decision, Event, Evidence, Gate, Phase, PointerSwitch, Reconcile, Settled, Side, State, ValidationRecord,
    VerdictName, Work, decide, may_switch,
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

/// The groups of readers, in order.
const GROUPS: [&str; 2] = ["canary", "flights"];

fn switch(state: &State, alias: &str, side: Side) -> PointerSwitch {
    let others = GROUPS.into_iter().filter(|group| *group != alias);
    PointerSwitch {
        alias: alias.into(),
        number: state.pointers.get(alias).map_or(1, |pointer| pointer.number + 1),
        completes: others.into_iter().all(|group| state.pointers.get(group).is_some_and(|pointer| pointer.side == side)),
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
    let done =
        Event::CommitSettled { number, result: Settled::Done { version: version("t1"), files: 1, bytes: 1, cost: None } };
    match command {
        Command::Plan => {
            vec![vec![Event::Planned { plan: plan(), spec_digest: SPEC.into(), spec: serde_json::Value::Null }]]
        }
        Command::Approve => vec![vec![Event::Approved { plan_digest: plan().digest, by: "me".into() }]],
        Command::DualWrite => vec![vec![
            Event::BoundaryPinned { plan: plan(), table: None },
            Event::SwitchIntended(switch(state, GROUPS[0], Side::Old)),
            Event::Switched { number: 1, readers: None },
            Event::SwitchIntended(switch(state, GROUPS[1], Side::Old)),
            Event::Switched { number: 1, readers: None },
            Event::TargetCreated { version: version("t0") },
        ]],
        Command::Backfill => [1, 2]
            .into_iter()
            .filter(|unit| state.boundary.as_ref().is_some_and(|boundary| !boundary.done.contains(*unit)))
            .map(|unit| vec![intended(Work::Backfill { units: vec![unit] }), done.clone()])
            .collect(),
        Command::Mirror if state.phase == Phase::Grace => {
            let round = Work::Reverse { round: 1, to: version("t1"), plan_digest: "p".into(), superseded_files: 0 };
            let followed = Event::Followed { side: Side::Old, to: version("s0") };
            vec![vec![], vec![intended(round), done, followed]]
        }
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
        Command::Cutover => cut_over(state),
        Command::Rollback => vec![rolled_back(state)],
        Command::Sunset if state.sunset.is_none() => {
            vec![vec![Event::Quarantined { manifest: "m".into(), files: 1, bytes: 1, kept: 0 }]]
        }
        Command::Sunset => {
            vec![vec![Event::PurgeIntended, Event::Purged { files: 1, bytes: 1 }, Event::Completed]]
        }
        Command::UndoSunset => vec![vec![Event::SunsetUndone { reason: "r".into(), by: "me".into() }]],
        Command::Reconcile => reconciled(state),
        Command::Repartition => vec![vec![intended(Work::Repartition { fields: vec!["day".into()] }), done]],
        Command::Abort => vec![vec![Event::AbortIntended { reason: "r".into() }, Event::Aborted]],
    }
}

fn step(switch: PointerSwitch) -> Vec<Event> {
    let number = switch.number;
    vec![Event::SwitchIntended(switch), Event::Switched { number, readers: None }]
}

/// One group after the other; each is well or is not, and then all go back.
fn cut_over(state: &State) -> Vec<Vec<Event>> {
    let mut ways = Vec::new();
    let (mut state, mut events) = (state.clone(), Vec::new());
    let go = |state: &mut State, events: &mut Vec<Event>, more: Vec<Event>| {
        more.iter().for_each(|event| state.apply(event, start()));
        events.extend(more);
    };
    for group in GROUPS {
        if !state.on_new().any(|alias| alias == group) {
            let more = step(switch(&state, group, Side::New));
            go(&mut state, &mut events, more);
        }
        if state.baked.contains(group) {
            continue;
        }
        let (mut ill, mut events_ill) = (state.clone(), events.clone());
        go(&mut ill, &mut events_ill, vec![Event::StageFailed { alias: group.into(), reason: "r".into() }]);
        let back = rolled_back(&ill);
        go(&mut ill, &mut events_ill, back);
        ways.push(events_ill);
        go(&mut state, &mut events, vec![Event::StagePassed { alias: group.into() }]);
    }
    ways.push(events);
    ways
}

fn rolled_back(state: &State) -> Vec<Event> {
    let (mut state, mut events) = (state.clone(), Vec::new());
    for group in GROUPS.into_iter().rev() {
        if state.on_new().any(|alias| alias == group) {
            let more = step(switch(&state, group, Side::Old));
            more.iter().for_each(|event| state.apply(event, start()));
            events.extend(more);
        }
    }
    events
}

/// What can be decided in this phase, as the engine records it.
fn reconciled(state: &State) -> Vec<Vec<Event>> {
    let event = |side, versions: &[&str], decision| Event::Reconciled {
        side,
        versions: versions.iter().map(|text| version(text)).collect(),
        decision,
        reason: "r".into(),
        by: "me".into(),
    };
    if state.phase != Phase::Grace {
        let undone = vec![
            event(Side::New, &["t1"], Reconcile::Reject),
            Event::CommitIntended { number: state.next_commit(), work: Work::Undo { versions: vec![version("t1")] } },
            Event::CommitSettled {
                number: state.next_commit(),
                result: Settled::Done { version: version("t2"), files: 0, bytes: 0, cost: None },
            },
        ];
        return vec![vec![event(Side::New, &["t1"], Reconcile::Adopt)], undone];
    }
    let number = state.next_commit();
    let round = Work::Mirror { round: 1, to: version("s1"), plan_digest: "p".into(), superseded_files: 0 };
    let carried = vec![
        Event::CommitIntended { number, work: round },
        Event::CommitSettled { number, result: Settled::Done { version: version("t1"), files: 1, bytes: 1, cost: None } },
        event(Side::Old, &["s1"], Reconcile::Adopt),
    ];
    vec![carried, vec![event(Side::Old, &["s1"], Reconcile::Reject)]]
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

/// Worlds that a runner may find: as it left it, and with somebody else's writes on either side.
fn views() -> [Evidence; 4] {
    let sound = evidence("s0", "t1", late());
    let late_writes = Evidence { source: Some(version("s1")), ..sound.clone() };
    let rogue = Evidence { foreign: vec![version("t1")], accept_loss: true, ..sound.clone() };
    let written = Evidence { foreign: vec![version("t1")], carries_back: true, ..sound.clone() };
    [sound, late_writes, rogue, written]
}

/// Every reachable state, with a shortest way to it. A prefix of a command's events is a state too: the runner was killed.
fn explore() -> &'static Explored {
    static STATES: LazyLock<Explored> = LazyLock::new(walk);
    &STATES
}

type Explored = BTreeMap<String, (State, Vec<Command>)>;

fn walk() -> Explored {
    let mut seen = BTreeMap::new();
    let mut queue = VecDeque::from([(State::default(), Vec::new())]);
    while let Some((state, path)) = queue.pop_front() {
        let key = format!("{:?}", normal(&state));
        if seen.contains_key(&key) || path.len() > 18 {
            continue;
        }
        seen.insert(key, (state.clone(), path.clone()));
        for command in Command::ALL {
            if views().iter().all(|evidence| decide(&state, command, evidence) != Decision::Proceed) {
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
    state.entries = 0;
    state.bytes_written = 0;
    state.costs.clear();
    state.files_added = 0;
    if let Some(mirror) = &mut state.mirror {
        mirror.plans.clear();
    }
    if let Some(pending) = &mut state.pending_commit {
        pending.number = Default::default();
    }
    for pointer in state.pointers.values_mut().chain(&mut state.pending_switch) {
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
        Phase::Cutover,
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
            let evidence = evidence(source, target, late());
            let may_begin = decide(state, Command::Cutover, &evidence) == Decision::Proceed;
            let may_move = may_switch(state, &evidence).is_ok() && matches!(state.phase, Phase::Validation | Phase::Cutover);
            assert!(may_begin || !may_move || state.phase != Phase::Validation, "{path:?}");
            if (may_begin && state.phase == Phase::Validation) || may_move {
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
        let mut loss = evidence("s0", "t1", late());
        loss.accept_loss = true;
        match state.phase {
            Phase::Grace if state.carried_late => {
                assert!(matches!(rollback, Decision::Refused(_)), "commits just before can no longer be told: {path:?}");
                assert_eq!(decide(state, Command::Rollback, &loss), Decision::Proceed, "{path:?}");
            }
            Phase::Cutover | Phase::Grace => assert_eq!(rollback, Decision::Proceed, "{path:?}"),
            _ => {}
        }
        if purged {
            assert!(matches!(rollback, Decision::Refused(_)), "{path:?}");
        }
        let undo = decide(state, Command::UndoSunset, &evidence("s0", "t1", late()));
        if state.phase == Phase::Sunset {
            let begun = state.sunset.as_ref().is_some_and(|sunset| sunset.purging);
            assert_eq!(undo == Decision::Proceed, !begun, "the way back from quarantine: {path:?}");
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
        let rogue = decide(state, Command::Sunset, &evidence("s2", "t1", late()));
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

#[test]
fn a_postponed_cutover_is_refused_whatever_else_is_in_order_and_nothing_else_is() {
    let hold = Hold { number: 1, by: "ann".into(), reason: "quarter end".into(), at: start() };
    for (state, path) in explore().values() {
        for command in Command::ALL {
            let evidence = evidence("s0", "t1", late());
            let held = Evidence { postponed: Some(hold.clone()), ..evidence.clone() };
            let decision = decide(state, command, &held);
            if command == Command::Cutover {
                assert_ne!(decision, Decision::Proceed, "{path:?}");
            } else {
                assert_eq!(decision, decide(state, command, &evidence), "{command:?} after {path:?}");
            }
        }
    }
}

#[test]
fn whatever_is_forced_no_reader_is_moved_past_rows_that_are_not_carried_over() {
    let mut seen = 0;
    for (state, path) in explore().values() {
        for (source, target, spec) in [("s0", "t1", SPEC), ("s1", "t1", SPEC), ("s0", "t2", SPEC), ("s0", "t1", "another")] {
            for held_by in [None, Some("another".to_owned())] {
                let mut evidence = evidence(source, target, late());
                evidence.spec_digest = spec.into();
                evidence.held_by = held_by;
                evidence.foreign = vec![version("t2")];
                evidence.forced = Gate::ALL.into_iter().filter(|gate| gate.can_be_forced()).collect();
                let admitted = decide(state, Command::Cutover, &evidence) == Decision::Proceed;
                if !admitted || may_switch(state, &evidence).is_err() {
                    continue;
                }
                seen += 1;
                assert!(matches!(state.phase, Phase::Validation | Phase::Cutover), "{path:?}");
                assert!(state.backfill_is_done() && state.pending_commit.is_none(), "{path:?}");
                assert_eq!(state.mirror.as_ref().map(|mirror| mirror.applied.0.as_str()), Some(source), "{path:?}");
                assert_eq!((spec, evidence.held_by), (SPEC, None), "{path:?}");
                evidence.forced = Vec::new();
                evidence.held_by = None;
                assert!(matches!(decide(state, Command::Cutover, &evidence), Decision::Refused(_)), "unforced: {path:?}");
                evidence.forced = vec![Gate::Mirror, Gate::Certificate, Gate::RogueWriter];
                assert!(matches!(decide(state, Command::Cutover, &evidence), Decision::Refused(_)), "forced: {path:?}");
            }
        }
    }
    assert!(seen > 0, "no cutover was ever forced");
}

#[test]
fn a_cutover_that_was_cut_off_goes_on_or_back_and_never_forward_past_a_group_that_was_not_well() {
    let mut between = 0;
    for (state, path) in explore().values() {
        let resume = Evidence { resume: true, ..evidence("s0", "t1", late()) };
        let resumed = decide(state, Command::Cutover, &resume);
        match (state.phase, &state.stage_failed) {
            (Phase::Cutover, Some(_)) => assert!(matches!(resumed, Decision::Refused(_)), "{path:?}"),
            (Phase::Cutover, None) => {
                between += 1;
                assert_eq!(resumed, Decision::Proceed, "{path:?}");
                assert_eq!(
                    decide(state, Command::Mirror, &resume),
                    Decision::Proceed,
                    "writers are on the old table: {path:?}"
                );
            }
            (Phase::Validation, _) if state.pending_switch.is_none() => {
                assert!(matches!(resumed, Decision::Refused(_)), "nothing is under way: {path:?}");
            }
            _ => {}
        }
        if state.stage_failed.is_some() {
            assert!(may_switch(state, &resume).is_err(), "{path:?}");
        }
    }
    assert!(between > 0, "no state between two groups was seen");
}

#[test]
fn late_writes_to_the_old_table_keep_it_until_they_are_adopted_or_rejected() {
    let mut decided = 0;
    for (state, path) in explore().values().filter(|(state, _)| state.phase == Phase::Grace) {
        for source in ["s0", "s1", "s2"] {
            let evidence = evidence(source, "t1", late());
            let at_rest = decide(state, Command::Sunset, &evidence) == Decision::Proceed;
            let applied = state.mirror.as_ref().map(|mirror| mirror.applied.0.as_str()) == Some(source);
            let rejected = state.rejected.as_ref().map(|version| version.0.as_str()) == Some(source);
            assert_eq!(at_rest, applied || rejected, "{source} after {path:?}");
            assert_eq!(
                decide(state, Command::Reconcile, &evidence) == Decision::AlreadyDone,
                at_rest,
                "{source} after {path:?}"
            );
            decided += usize::from(rejected);
        }
    }
    assert!(decided > 0, "nothing was ever rejected");
}

#[test]
fn commits_of_others_are_rejected_at_any_time_and_adopted_only_after_a_validation_of_them_passed() {
    let mut adopted = 0;
    let open = |state: &State| state.phase == Phase::Validation && !state.abort_intended;
    for (state, path) in explore().values().filter(|(state, _)| open(state)) {
        for decision in [Reconcile::Adopt, Reconcile::Reject] {
            let mut evidence = evidence("s0", "t1", late());
            evidence.foreign = vec![version("t1")];
            evidence.reconcile = Some(decision);
            let may = decide(state, Command::Reconcile, &evidence) == Decision::Proceed;
            let passed = state.fresh_pass(&version("s0"), &version("t1"), SPEC).is_some();
            assert_eq!(may, passed || decision == Reconcile::Reject, "{path:?}");
            adopted += usize::from(passed);
        }
    }
    assert!(adopted > 0, "nothing was ever adopted");
}

#[test]
fn from_every_state_an_end_can_be_reached() {
    let states = explore();
    let key = |state: &State| format!("{:?}", normal(state));
    let mut before: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for (from, (state, _)) in states {
        for command in Command::ALL {
            if views().iter().all(|evidence| decide(state, command, evidence) != Decision::Proceed) {
                continue;
            }
            for events in outcomes(state, command) {
                let mut next = state.clone();
                events.iter().for_each(|event| next.apply(event, start()));
                before.entry(key(&next)).or_default().push(from);
            }
        }
    }
    let ended = |state: &State| matches!(state.phase, Phase::Completed | Phase::Aborted);
    let mut queue: VecDeque<&String> = states.iter().filter(|(_, (state, _))| ended(state)).map(|(key, _)| key).collect();
    let mut reaches: BTreeSet<&String> = queue.iter().copied().collect();
    while let Some(at) = queue.pop_front() {
        for from in before.get(at).into_iter().flatten().copied() {
            if reaches.insert(from) {
                queue.push_back(from);
            }
        }
    }
    for (key, (state, path)) in states {
        assert!(reaches.contains(key), "no end can be reached after {path:?}: {state:?}");
    }
}

#[test]
fn a_cutover_that_holds_writers_off_begins_after_a_pass_and_moves_readers_on_a_fresh_one() {
    let mut begun = 0;
    for (state, path) in explore().values().filter(|(state, _)| state.phase == Phase::Validation) {
        let stale = Evidence { drains: true, ..evidence("s9", "t9", late()) };
        if decide(state, Command::Cutover, &stale) == Decision::Proceed {
            begun += 1;
            let record = state.validation.as_ref().unwrap();
            assert!(record.verdict.passes() && !record.partial && record.spec_digest == SPEC, "{path:?}");
        }
        assert!(may_switch(state, &stale).is_err(), "nothing was drained: {path:?}");
        let undrained = Evidence { drains: false, ..stale };
        assert!(matches!(decide(state, Command::Cutover, &undrained), Decision::Refused(_)), "{path:?}");
    }
    assert!(begun > 0, "no cutover ever began so");
}

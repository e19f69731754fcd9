//! Hooks and groups of readers in a spec.

use std::path::Path;

use lakeshift_core::migration::Transition;
use lakeshift_core::spec::{HookTransitions, OnFailure, Spec, SpecError};
use rstest::rstest;

const MINIMAL: &str = "\
apiVersion: lakeshift/v1
name: flights
control: /control
source: {format: hive, location: /lake/flights}
target: {format: iceberg, location: /lake/flights_iceberg}
";

fn read(more: &str) -> Result<Spec, SpecError> {
    let more = if more.contains("cutover") { more.to_owned() } else { format!("cutover: {{alias: flights}}\n{more}") };
    Spec::from_yaml(format!("{MINIMAL}{more}"), Path::new("/repo/migration.yaml"))
}

#[test]
fn a_hook_has_defaults_and_all_is_all() {
    let spec = read(
        "hooks:\n  - {on: all, command: [./tell.sh, now]}\n  - {on: [purge], webhook: 'https://a.b/c', on_failure: abort}\n",
    );
    let hooks = spec.unwrap().hooks;
    assert_eq!((hooks[0].timeout.as_seconds(), hooks[0].on_failure), (30, OnFailure::Warn));
    assert!(Transition::ALL.into_iter().all(|transition| hooks[0].on.contain(transition)));
    assert_eq!(hooks[1].on, HookTransitions::Only(vec![Transition::Purge]));
    let names = [hooks[0].name(), hooks[1].name()];
    assert_eq!(names, ["./tell.sh now", "https://a.b/c"]);
}

#[rstest]
#[case("hooks: [{on: all}]", "neither a command nor a webhook")]
#[case("hooks: [{on: all, command: [x], webhook: 'http://a/'}]", "both a command and a webhook")]
#[case("hooks: [{on: [], command: [x]}]", "at least one transition")]
#[case("hooks: [{on: sometimes, command: [x]}]", "`all` or a list of transitions")]
#[case("hooks: [{on: [cut], command: [x]}]", "`cut`")]
#[case("hooks: [{on: [pause], command: [x], on_failure: abort}]", "no hook can refuse `pause`")]
#[case("hooks: [{on: all, command: [x], timeout: 2h}]", "from 1s to 1h")]
#[case("hooks: [{on: all, command: ['']}]", "a program and its arguments")]
#[case("hooks: [{on: all, webhook: 'ftp://a/b'}]", "an address such as")]
#[case("cutover: {alias: a, stages: [{name: all, alias: b}]}", "two groups of readers are named `all`")]
#[case("cutover: {alias: a, stages: [{name: x, alias: a}]}", "two groups of readers resolve `a`")]
#[case("cutover: {alias: a, stages: [{name: x y, alias: b}]}", "cutover.stages.0.name")]
#[case("cutover: {alias: a, stages: [{name: x, alias: ../b}]}", "cutover.stages.0.alias")]
fn what_cannot_work_is_refused_by_name(#[case] more: &str, #[case] said: &str) {
    let error = read(more).unwrap_err().to_string();
    assert!(error.contains(said), "{error}");
}

#[rstest]
#[case("hooks: [{on: all, webhook: 'https://ann:secret@a.b/c'}]")]
#[case("hooks: [{on: all, webhook: 'ann:secret@a.b'}]")]
fn a_credential_in_an_address_is_refused_and_not_shown(#[case] more: &str) {
    let error = read(more).unwrap_err().to_string();
    assert!(error.contains("not shown") && !error.contains("secret"), "{error}");
}

#[test]
fn hooks_and_watching_are_how_it_is_run_and_groups_are_what_it_means() {
    let digest = |more: &str| read(more).unwrap().digest();
    let staged = "cutover: {alias: flights, stages: [{name: x, alias: b}]}";
    let plain = digest("");
    assert_eq!(digest("hooks: [{on: all, command: [x]}]"), plain);
    assert_eq!(digest("cutover: {alias: flights, bake: 1h, health: [x]}"), plain);
    assert_ne!(digest(staged), plain);
    assert_eq!(digest("cutover: {alias: flights, stages: [{name: y, alias: b, bake: 1h, health: [x]}]}"), digest(staged));
    assert_ne!(digest("cutover: {alias: flights, stages: [{name: x, alias: c}]}"), digest(staged));
    let canonical = read("").unwrap().to_canonical_json();
    assert!(canonical.contains(r#""cutover":{"alias":"flights"}"#), "as earlier versions wrote it: {canonical}");
    assert!(!canonical.contains("hooks"), "{canonical}");
}

#[test]
fn the_readers_of_the_alias_move_last() {
    let spec =
        read("cutover: {alias: flights, bake: 1h, stages: [{name: canary, alias: c, bake: 10m}, {name: batch, alias: b}]}");
    let groups = spec.unwrap().cutover.groups();
    let told: Vec<_> = groups.iter().map(|group| format!("{} {} {}", group.name, group.alias, group.bake)).collect();
    assert_eq!(told, ["canary c 10m", "batch b 0s", "all flights 1h"]);
}

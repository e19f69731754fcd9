//! The audit trail from outside.

use lakeshift::error::Error;

use crate::life::LIFE;
use crate::support::{Target, World};

fn entry(world: &World, number: u64) -> String {
    format!("{}/control/migrations/flights/journal/{number:020}.json", world.root)
}

#[tokio::test]
async fn a_whole_life_is_told_by_spec_and_by_name_as_text_json_and_page() {
    let world = World::in_memory(Target::DeltaInPlace);
    world.live(LIFE).await;
    let told = world.run(&["history", "SPEC"]).await.unwrap();
    assert!(told.text.lines().all(|line| line.chars().count() <= 80), "{}", told.text);
    for word in ["plan by test@here:", "PASS, certificate", "rollback by", "switched", "completed", "head "] {
        assert!(told.text.contains(word), "{word}: {}", told.text);
    }
    let control = format!("{}/control", world.root);
    let by_name = world.run(&["history", "flights", "--control", &control]).await.unwrap();
    assert_eq!(by_name, told);
    let numbers: Vec<_> = told.json["entries"].as_array().unwrap().iter().map(|entry| entry["sequence"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).map(Some).collect::<Vec<_>>());
    let file = world.write_file("history.html", "");
    world.run(&["history", "SPEC", "--html", &file]).await.unwrap();
    assert!(std::fs::read_to_string(file).unwrap().contains("<h2>rollback "));
}

#[tokio::test]
async fn an_altered_entry_is_an_error_that_names_it() {
    let world = World::in_memory(Target::DeltaInPlace);
    world.live(&LIFE[..6]).await;
    let altered = entry(&world, 4);
    let text = String::from_utf8(world.get(&altered).await.to_vec()).unwrap();
    assert!(text.contains("the operator"), "{text}");
    let forged = text.replace("the operator", "somebody");
    world.put("control/migrations/flights/journal/00000000000000000004.json", forged).await;
    let error = world.run(&["history", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let named = |number: u64| error.to_string().contains(&format!("{number:020}.json"));
    assert!(named(5) && named(4), "the one that does not follow, and the one that it does not follow: {error}");
}

#[tokio::test]
async fn what_is_no_migration_is_told_so() {
    let world = World::in_memory(Target::DeltaInPlace);
    let control = format!("{}/control", world.root);
    let unknown = world.run(&["history", "flights", "--control", &control]).await.unwrap_err();
    assert!(matches!(unknown, Error::Unknown { .. }), "{unknown}");
    for (words, what) in
        [(&["history", "../x", "--control", &control][..], "no migration's name"), (&["history", "x"], "--control")]
    {
        let error = world.run(words).await.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(what), "{error}");
    }
}

//! Readers that a user's own command moves, and the rehearsal.

use std::sync::Arc;

use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use serde_json::{Value, json};

use crate::life::{Step, before};
use crate::support::{Target, World, flat};

/// The command keeps the side in a file that is named like the alias. `broken` in the folder makes it fail.
const SCRIPT: &str = r#"
[ -e "$FOLDER/broken" ] && { echo "no permission" >&2; exit 3; }
at="$FOLDER/at.$LAKESHIFT_ALIAS"
[ -e "$at" ] || echo old > "$at"
echo "$LAKESHIFT_ACTION $LAKESHIFT_ALIAS $LAKESHIFT_SIDE $LAKESHIFT_FORMAT$LAKESHIFT_REHEARSAL" >> "$FOLDER/asked"
case "$LAKESHIFT_ACTION" in
  switch) echo "$LAKESHIFT_SIDE" > "$at" ;;
  check) [ "$(cat "$at")" = "$LAKESHIFT_SIDE" ] || { echo "they are not" >&2; exit 1; } ;;
esac
"#;

struct Readers {
    world: World,
    folder: std::path::PathBuf,
}

impl Readers {
    fn new(more: &str) -> Self {
        let world = World::in_memory(Target::Iceberg);
        let folder = world.spec().parent().unwrap().to_owned();
        let script = format!("FOLDER='{}'\n{SCRIPT}", folder.display());
        let path = world.write_file("move.sh", script);
        let spec = std::fs::read_to_string(world.spec()).unwrap();
        let cutover = format!("{{alias: flights, command: [sh, {path}]{more}}}");
        std::fs::write(world.spec(), spec.replace("{alias: flights}", &cutover)).unwrap();
        Self { world, folder }
    }

    fn at(&self) -> String {
        std::fs::read_to_string(self.folder.join("at.flights")).unwrap().trim().to_owned()
    }

    fn breaks(&self, is_broken: bool) {
        let file = self.folder.join("broken");
        if is_broken { std::fs::write(file, "").unwrap() } else { std::fs::remove_file(file).unwrap() }
    }

    async fn live(&self, words: &'static [&'static str]) {
        self.world.while_time_passes(self.world.live(&[Step::Command(words)])).await;
    }

    async fn status(&self) -> Value {
        self.world.run(&["status", "SPEC"]).await.unwrap().json
    }
}

#[tokio::test]
async fn a_command_moves_readers_forward_and_back_and_is_asked_where_they_are() {
    let readers = Readers::new("");
    readers.world.while_time_passes(readers.world.live(before("rollback"))).await;
    assert_eq!((readers.at().as_str(), &readers.status().await["live_side"]), ("new", &json!("new")));
    readers.live(&["rollback", "SPEC"]).await;
    assert_eq!((readers.at().as_str(), &readers.status().await["live_side"]), ("old", &json!("old")));
    let asked = std::fs::read_to_string(readers.folder.join("asked")).unwrap();
    let switches: Vec<_> = asked.lines().filter(|line| line.starts_with("switch")).collect();
    assert_eq!(switches, ["switch flights new iceberg", "switch flights old hive"]);
}

#[tokio::test]
async fn a_command_that_fails_leaves_readers_and_alias_where_they_are() {
    let readers = Readers::new("");
    readers.world.while_time_passes(readers.world.live(before("cutover"))).await;
    readers.breaks(true);
    let dry = readers.world.while_time_passes(readers.world.run(&["cutover", "SPEC", "--dry-run"])).await.unwrap();
    assert!(flat(&dry.text).contains("no permission"), "{}", dry.text);
    readers.breaks(false);
    let script = std::fs::read_to_string(readers.folder.join("move.sh")).unwrap();
    let fails = script.replace("switch) echo", "switch) echo 'no quota' >&2; exit 7; echo");
    std::fs::write(readers.folder.join("move.sh"), fails).unwrap();
    let refused = readers.world.while_time_passes(readers.world.run(&["cutover", "SPEC"])).await.unwrap_err();
    assert_eq!(refused.exit_code(), 4);
    assert!(refused.to_string().contains("exit code 7: no quota"), "{refused}");
    let status = readers.status().await;
    assert_eq!(
        (readers.at().as_str(), &status["live_side"], &status["phase"]),
        ("old", &json!("old"), &json!("validation"))
    );
    std::fs::write(readers.folder.join("move.sh"), script).unwrap();
    readers.live(&["cutover", "SPEC"]).await;
    assert_eq!(readers.at(), "new");
    // Somebody has moved them by hand, and readers are not where the journal says.
    readers.live(&["rollback", "SPEC"]).await;
    std::fs::write(readers.folder.join("at.flights"), "new").unwrap();
    readers.live(&["validate", "SPEC"]).await;
    let refused = readers.world.while_time_passes(readers.world.run(&["cutover", "SPEC"])).await.unwrap_err();
    assert!(refused.to_string().contains("they are not"), "{refused}");
}

/// The process dies before and after every mutation, the command among them: one more call ends what was begun, and the
/// readers are where the alias says.
#[tokio::test]
async fn a_switch_that_dies_anywhere_ends_with_readers_where_the_alias_points() {
    for point in 1.. {
        let mut struck = false;
        for fault in [FaultPlan::CrashBefore(point), FaultPlan::CrashAfter(point)] {
            let readers = Readers::new("");
            readers.world.while_time_passes(readers.world.live(before("cutover"))).await;
            let store = FaultStore::new(readers.world.store.clone(), fault).with_counted(Counted::Mutations);
            let store = Arc::new(store);
            let _ = readers.world.while_time_passes(readers.world.run_on(store.clone(), &["cutover", "SPEC"])).await;
            struck |= store.has_struck();
            readers.world.wait(120);
            readers.live(&["cutover", "SPEC"]).await;
            assert_eq!((readers.at().as_str(), &readers.status().await["live_side"]), ("new", &json!("new")), "{fault:?}");
            assert_eq!(readers.world.pointers().await.len(), 2, "{fault:?}");
        }
        if !struck {
            assert!(point > 4, "{point}");
            break;
        }
    }
}

#[tokio::test]
async fn a_rehearsal_goes_all_the_way_and_back_and_moves_no_reader() {
    let readers = Readers::new(", rehearsal: true");
    let world = &readers.world;
    world.while_time_passes(world.live(before("cutover"))).await;
    let refused = world.while_time_passes(world.run(&["cutover", "SPEC"])).await.unwrap_err();
    assert!(refused.to_string().contains("`cutover --rehearse` does it"), "{refused}");
    let told = world.while_time_passes(world.run(&["cutover", "SPEC", "--rehearse"])).await.unwrap();
    assert!(told.text.starts_with("rehearsed: ") && told.text.contains("no reader was moved"), "{}", told.text);
    assert_eq!((readers.at().as_str(), world.pointers().await.len()), ("old", 1));
    let asked = std::fs::read_to_string(readers.folder.join("asked")).unwrap();
    for step in ["switch flights.rehearsal new iceberg1", "switch flights.rehearsal old hive1"] {
        assert!(asked.lines().any(|line| line == step), "{asked}");
    }
    readers.live(&["cutover", "SPEC"]).await;
    assert_eq!(readers.at(), "new");
    // Another cutover wants another rehearsal.
    readers.live(&["rollback", "SPEC"]).await;
    readers.live(&["validate", "SPEC"]).await;
    assert_eq!(world.while_time_passes(world.run(&["cutover", "SPEC"])).await.unwrap_err().exit_code(), 4);
    let history = world.run(&["history", "SPEC"]).await.unwrap().text;
    assert!(history.contains("rehearsed"), "{history}");
}

/// What would stop the cutover stops the rehearsal.
#[tokio::test]
async fn a_rehearsal_is_refused_by_the_gates_and_by_a_command_that_fails() {
    let readers = Readers::new(", rehearsal: true");
    let world = &readers.world;
    world.while_time_passes(world.live(before("validate"))).await;
    let refused = world.while_time_passes(world.run(&["cutover", "SPEC", "--rehearse"])).await.unwrap_err();
    assert!(refused.to_string().contains("have not been validated"), "{refused}");
    readers.live(&["validate", "SPEC"]).await;
    let script = std::fs::read_to_string(readers.folder.join("move.sh")).unwrap();
    std::fs::write(readers.folder.join("move.sh"), script.replace("switch) echo", "switch) exit 9; echo")).unwrap();
    let refused = world.while_time_passes(world.run(&["cutover", "SPEC", "--rehearse"])).await.unwrap_err();
    assert!(refused.to_string().contains("exit code 9"), "{refused}");
    assert_eq!(world.while_time_passes(world.run(&["cutover", "SPEC"])).await.unwrap_err().exit_code(), 4);
}

/// A command that has moved readers before it failed has them back before anybody reads the error.
#[tokio::test]
async fn readers_that_a_failing_command_has_moved_are_taken_back() {
    let readers = Readers::new("");
    let world = &readers.world;
    world.while_time_passes(world.live(before("cutover"))).await;
    let script = std::fs::read_to_string(readers.folder.join("move.sh")).unwrap();
    let late = "esac\n[ \"$LAKESHIFT_ACTION $LAKESHIFT_SIDE\" = 'switch new' ] && exit 8; exit 0\n";
    std::fs::write(readers.folder.join("move.sh"), script.replace("esac\n", late)).unwrap();
    let refused = world.while_time_passes(world.run(&["cutover", "SPEC"])).await.unwrap_err();
    assert!(refused.to_string().contains("exit code 8; the alias is where it was"), "{refused}");
    assert_eq!((readers.at().as_str(), &readers.status().await["live_side"]), ("old", &json!("old")));
    // One that cannot do that either is told apart.
    std::fs::write(readers.folder.join("move.sh"), script.replace("switch) echo", "switch) exit 9; echo")).unwrap();
    let refused = world.while_time_passes(world.run(&["cutover", "SPEC"])).await.unwrap_err();
    assert!(refused.to_string().contains("could not be taken back to the old table"), "{refused}");
}

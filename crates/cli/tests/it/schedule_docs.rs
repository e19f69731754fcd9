//! The files of `docs/schedules`: each is what its scheduler reads, and says commands that the program has.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use lakeshift::args::Args;

use crate::life::before;
use crate::support::{Target, World};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schedules")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The commands of a file: words from `lakeshift` up to the end of the shell's command.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_program =
            |word: &&str| word.trim_start_matches(['"', '(']).rsplit(['/', '=', '(', '"']).next() == Some("lakeshift");
        for (at, _) in words.iter().enumerate().filter(|(_, word)| is_program(word)) {
            let rest = words[at + 1..].iter().take_while(|word| !word.starts_with(['>', '2', '|', ';']));
            let rest: Vec<String> = rest.map(|word| word.trim_matches(['"', ')', ';', ',']).to_owned()).collect();
            if rest.iter().any(|word| word == "grace") {
                found.push(rest);
            }
        }
    }
    found
}

#[test]
fn every_command_is_one_that_the_program_has() {
    let mut checked = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        // Kubernetes has the words as a list.
        let text = text.replace("[lakeshift, grace", "lakeshift grace").replace(", ", " ").replace(']', "");
        let commands = commands(&text);
        let has_none = path.extension().is_some_and(|extension| extension == "timer");
        assert_eq!(commands.is_empty(), has_none, "{}", path.display());
        for words in commands {
            let parsed = Args::try_parse_from(std::iter::once("lakeshift".to_owned()).chain(words.clone()));
            assert!(parsed.is_ok(), "{}: {words:?}: {}", path.display(), parsed.unwrap_err());
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked}");
}

#[test]
fn yaml_and_python_are_what_they_say() {
    let actions: serde_json::Value = serde_yaml::from_str(&text("github-actions.yml")).unwrap();
    assert_eq!(actions["jobs"]["grace"]["steps"].as_array().unwrap().len(), 2);
    let job: serde_json::Value = serde_yaml::from_str(&text("kubernetes-cronjob.yaml")).unwrap();
    assert_eq!(job["kind"], "CronJob");
    let container = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"][0], "lakeshift");
    let dag = folder().join("airflow_dag.py");
    let code = "import ast, sys; ast.parse(open(sys.argv[1]).read())";
    let parsed = Command::new("python3").args(["-c", code]).arg(dag).output().unwrap();
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
}

#[test]
fn systemd_takes_the_units() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else { return };
    assert!(version.status.success());
    let scratch = tempfile::tempdir().unwrap();
    for name in ["lakeshift-grace.service", "lakeshift-grace.timer"] {
        // Where the program is installed is not this machine's.
        let unit = text(name).replace("/usr/bin/lakeshift", env!("CARGO_BIN_EXE_lakeshift"));
        std::fs::write(scratch.path().join(name), unit).unwrap();
    }
    let timer = scratch.path().join("lakeshift-grace.timer");
    let verified = Command::new("systemd-analyze").arg("verify").arg(timer).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// The crontab's own line, run by a shell as cron does: silent while it is too early, and not when something blocks.
#[tokio::test]
async fn the_crontabs_line_is_silent_until_there_is_something_to_say() {
    let scratch = tempfile::tempdir().unwrap();
    let root = format!("file://{}", scratch.path().display());
    let store = std::sync::Arc::new(object_store::local::LocalFileSystem::new());
    let world = World::on(store, &root, Target::IcebergAdopted);
    world.live(before("rollback")).await;
    let migrations = scratch.path().join("migrations");
    std::fs::create_dir_all(migrations.join("flights")).unwrap();
    std::fs::copy(world.spec(), migrations.join("flights/migration.yaml")).unwrap();
    let crontab = text("crontab");
    let line = crontab.lines().find(|line| line.contains("grace check")).unwrap();
    let command = line.splitn(6, ' ').nth(5).unwrap();
    let run = || {
        let program = Path::new(env!("CARGO_BIN_EXE_lakeshift")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env("PATH", path).env("LAKESHIFT_MIGRATIONS", &migrations);
        String::from_utf8(shell.output().unwrap().stdout).unwrap()
    };
    // The world's time stands at the beginning of 2026; the program's is the machine's, so that the grace period is over.
    assert!(run().contains("flights: the sunset is due"), "{}", run());
    let spec = std::fs::read_to_string(world.spec()).unwrap().replace("grace: 1h", "grace: 90000h");
    std::fs::write(migrations.join("flights/migration.yaml"), spec).unwrap();
    assert_eq!(run(), "");
    world.put_day(9, "late.parquet", &[(1, "ORD", None)]).await;
    assert!(run().contains("somebody has written to the old table"), "{}", run());
}

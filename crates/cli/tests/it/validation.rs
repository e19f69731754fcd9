//! Validations from outside: what is read, taken over and proven; rules, ledger and range; certificates; `diff`.

use std::sync::Arc;

use lakeshift::error::{Error, with_causes};
use lakeshift::output::Answer;
use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::life::{Step, before};
use crate::support::{Flight, Target, World, day_file};

const DAY: &[Flight] = &[(10, "ATL", Some(3)), (10, "ATL", Some(3)), (700, "SFO", None), (1439, "JFK", Some(0))];

/// A test's key pair, of `core`'s tests.
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/it/data/signing-test-only.pem");
const PUBLIC_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/it/data/signing-test-only.pub.pem");
const ANOTHER_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/it/data/another.pub.pem");

impl World {
    /// Validates; the answer and the report.
    async fn validate(&self, flags: &[&str]) -> (Answer, Value) {
        let command: Vec<&str> = ["validate", "SPEC"].iter().chain(flags).copied().collect();
        let answer = self.run(&command).await.unwrap_or_else(|error| panic!("{}", with_causes(&error)));
        let report = self.json(answer.json["report"].as_str().unwrap()).await;
        (answer, report)
    }

    /// Compares the tables `one` and `two` below the root, which are Hive-style.
    async fn diff(&self, flags: &[&str]) -> Result<(Answer, Value), Error> {
        let tables = ["one", "two"].map(|table| format!("hive:{}/{table}", self.root));
        let report = format!("{}/report", self.root);
        let command: Vec<&str> =
            ["diff", &tables[0], &tables[1], "--report", &report].iter().chain(flags).copied().collect();
        let answer = self.run(&command).await?;
        let json = self.json(&format!("{report}/report.json")).await;
        Ok((answer, json))
    }

    async fn put_both(&self, one: &[Flight], two: &[Flight]) {
        self.put("one/day=2001-01-01/a.parquet", day_file(1, one)).await;
        self.put("two/day=2001-01-01/b.parquet", day_file(1, two)).await;
    }

    async fn objects(&self) -> usize {
        let objects: Vec<object_store::ObjectMeta> =
            futures::TryStreamExt::try_collect(self.store.list(None)).await.unwrap();
        objects.len()
    }
}

/// Files of a side that were told in one of the three ways.
fn files(report: &Value, side: &str, how: &str) -> u64 {
    report[side]["coverage"][how]["files"].as_u64().unwrap()
}

fn ways(report: &Value, side: &str) -> [u64; 3] {
    ["now", "earlier", "metadata"].map(|how| files(report, side, how))
}

#[tokio::test]
async fn a_second_validation_reads_only_what_is_new() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    let (_, first) = world.validate(&[]).await;
    assert_eq!(ways(&first, "old"), [3, 1, 0], "the backfill has read one file that the mirror has not replaced");
    assert_eq!(files(&first, "new", "now"), first["new"]["files"]);

    // One file is new, and one is gone: its sums are gone with it.
    world.put_day(9, "new.parquet", DAY).await;
    world.put_day(2, "a.parquet", &DAY[..2]).await;
    world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
    let (answer, second) = world.validate(&[]).await;
    assert_eq!((answer.exit_code, &second["verdict"]), (0, &json!("PASS")));
    assert_eq!(ways(&second, "old"), [2, 3, 0]);
    let [now, earlier, _] = ways(&second, "new");
    assert!(earlier > 0 && json!(now + earlier) == second["new"]["files"], "{}", second["new"]);
    assert_eq!(second["comparison"]["old"]["rows"], world.source_rows().await.len());
    assert_eq!(second["method"]["key"], first["method"]["key"]);
    let cells = second["cells"].as_array().unwrap();
    assert!(cells.iter().any(|cell| cell["old"]["earlier"] != json!(0)), "{cells:?}");
    assert!(cells.iter().any(|cell| cell["old"]["now"] != json!(0)), "{cells:?}");

    let (_, third) = world.validate(&["--read-all"]).await;
    assert_eq!(ways(&third, "old"), [5, 0, 0]);
    assert_ne!(third["method"]["key"], first["method"]["key"], "what is read anew is read under a new key");
    assert_eq!(third["verdict"], "PASS");
}

#[tokio::test]
async fn another_rule_takes_nothing_from_earlier_readings() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    world.validate(&[]).await;
    world.write_spec(Target::Iceberg, "validation: {columns: {origin: {ignore_case: true}}}");
    let (_, report) = world.validate(&[]).await;
    assert_eq!(ways(&report, "old"), [4, 0, 0]);
}

#[tokio::test]
async fn a_difference_is_found_though_everything_was_read_before() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    world.validate(&[]).await;
    // The old table loses a row, and its mirror is not told.
    world.put_day(1, "a.parquet", &DAY[..1]).await;
    let (answer, report) = world.validate(&[]).await;
    assert_eq!(answer.exit_code, 3, "what was mirrored is gone: {}", answer.text);
    assert_eq!(report["reasons"][0]["reason"], "incomplete");
}

#[rstest]
#[tokio::test]
async fn files_that_both_tables_register_are_proven_without_being_read(
    #[values(Target::DeltaInPlace, Target::IcebergAdopted)] target: Target,
) {
    let world = World::in_memory(target);
    world.live(before("validate")).await;
    let (answer, report) = world.validate(&[]).await;
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    assert_eq!([ways(&report, "old"), ways(&report, "new")], [[0, 0, 4]; 2]);
    assert_eq!(report["proven"].as_array().unwrap().len(), 3, "one entry a partition");
    let (answer, report) = world.validate(&["--read-all"]).await;
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    assert_eq!([ways(&report, "old"), ways(&report, "new")], [[4, 0, 0]; 2]);
}

/// Wherever the process dies, the next one ends the validation, and takes over what was kept.
#[tokio::test]
async fn an_interrupted_validation_goes_on_with_what_it_has_read() {
    let (mut taken_over, mut struck) = (0, true);
    let waiting = World::in_memory(Target::Iceberg);
    waiting.live(before("validate")).await;
    for n in 1.. {
        let world = waiting.copy();
        let plan = FaultPlan::CrashBefore(n);
        let store = Arc::new(FaultStore::new(world.store.clone(), plan).with_counted(Counted::Mutations));
        if world.run_on(store, &["validate", "SPEC"]).await.is_ok() {
            assert!(n > 5, "a validation writes at least its sums and its report");
            struck = false;
        }
        world.wait(120);
        let (answer, report) = world.validate(&[]).await;
        assert_eq!(answer.exit_code, 0, "{n}: {}", answer.text);
        taken_over += files(&report, "old", "earlier").min(1);
        if !struck {
            break;
        }
    }
    assert!(taken_over > 1, "at least the old side's sums are kept before the report is written");
}

#[tokio::test]
async fn a_certificate_is_checked_offline_and_by_reading_again() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    let (answer, _) = world.validate(&["--signing-key", KEY]).await;
    let bytes = world.get(answer.json["certificate"].as_str().unwrap()).await;
    let file = world.write_file("certificate.json", &bytes);
    let verify = async |file: &str, flags: &[&str]| {
        let command: Vec<&str> = ["certificate", "verify", file].iter().chain(flags).copied().collect();
        world.run(&command).await.unwrap_or_else(|error| panic!("{}", with_causes(&error)))
    };
    for (flags, exit_code) in [
        (&[][..], 0),
        (&["--public-key", PUBLIC_KEY], 0),
        (&["--public-key", ANOTHER_KEY], 1),
        (&["--public-key", ANOTHER_KEY, "--public-key", PUBLIC_KEY], 0),
        (&["--replay", "SPEC"], 0),
    ] {
        let answer = verify(&file, flags).await;
        assert_eq!(answer.exit_code, exit_code, "{flags:?}: {}", answer.text);
    }

    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let tampered = world.write_file("tampered.json", text.replacen("\"rows\":8", "\"rows\":9", 1));
    let answer = verify(&tampered, &[]).await;
    assert_eq!(answer.exit_code, 1);
    assert!(answer.text.starts_with("BROKEN") && answer.text.contains("changed after it was sealed"), "{}", answer.text);

    // Sums that are well formed and wrong are found by reading the tables again.
    let mut other = lakeshift_core::equivalence::Certificate::read(&bytes).unwrap();
    other.signature = None;
    let moved = |sum: &mut lakeshift_core::equivalence::CellSum| sum.sum = sum.sum.wrapping_add(1);
    moved(&mut other.cells[0].old);
    moved(&mut other.cells[0].new);
    moved(&mut other.source_total);
    moved(&mut other.target_total);
    other.digest = String::new();
    other.digest = format!("{:x}", Sha256::digest(other.to_json().unwrap()));
    let forged = world.write_file("forged.json", other.to_json().unwrap());
    assert_eq!(verify(&forged, &[]).await.exit_code, 0, "nothing in it contradicts itself");
    let answer = verify(&forged, &["--replay", "SPEC"]).await;
    assert_eq!(answer.exit_code, 1);
    assert!(answer.text.contains("replay: 1 cells come to other sums"), "{}", answer.text);
}

#[tokio::test]
async fn the_self_test_finds_what_the_rules_let_through() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    let answer = world.run(&["validate", "SPEC", "--self-test"]).await.unwrap();
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    assert!(answer.text.starts_with("PASS") && answer.text.contains("fingerprints"), "{}", answer.text);
    let ledger = "validation:\n  accept:\n    - {id: any, owner: me, reason: a test, expires: 2099-01-01, max_rows: 1000}\n";
    world.write_spec(Target::Iceberg, ledger);
    let answer = world.run(&["validate", "SPEC", "--self-test"]).await.unwrap();
    assert_eq!(answer.exit_code, 1, "{}", answer.text);
    assert!(answer.text.starts_with("FAIL") && answer.text.contains("NOTHING"), "{}", answer.text);
    let report = format!("{}/control/migrations/flights/readings", world.root);
    assert!(!answer.text.contains(&report), "a self-test leaves nothing behind");
}

#[tokio::test]
async fn two_tables_of_the_same_rows_pass_whatever_their_layout() {
    let world = World::in_memory(Target::Iceberg);
    world.put_both(DAY, &[DAY[3], DAY[0], DAY[2]]).await;
    world.put("two/day=2001-01-01/deeper/c.parquet", day_file(1, &DAY[1..2])).await;
    let objects = world.objects().await;
    let tables = ["one", "two"].map(|table| format!("hive:{}/{table}", world.root));
    let answer = world.run(&["diff", &tables[0], &tables[1]]).await.unwrap();
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    assert!(answer.text.starts_with("**PASS**"), "{}", answer.text);
    assert_eq!(world.objects().await, objects, "without a folder nothing is written");
}

#[tokio::test]
async fn a_table_is_compared_with_what_became_of_it() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    let tables = ["hive:memory:///lake/flights", "iceberg:memory:///lake/flights_iceberg"];
    let answer = world.run(&["diff", tables[0], tables[1]]).await.unwrap();
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    world.put_day(3, "more.parquet", DAY).await;
    let answer = world.run(&["diff", tables[0], tables[1]]).await.unwrap();
    assert_eq!(answer.exit_code, 1, "{}", answer.text);
}

#[tokio::test]
async fn differing_rows_are_told_by_key_and_masked_unless_asked() {
    let world = World::in_memory(Target::Iceberg);
    let changed = [DAY[0], DAY[1], DAY[2], (1439, "JFK", Some(60))];
    world.put_both(DAY, &changed).await;
    let (answer, report) = world.diff(&["--key", "at,origin"]).await.unwrap();
    assert_eq!((answer.exit_code, &report["verdict"]), (1, &json!("FAIL")));
    assert_eq!([&report["rows"]["missing"], &report["rows"]["extra"], &report["rows"]["changed"]], [0, 0, 1]);
    let unequal: Vec<&Value> =
        report["rows"]["columns"].as_array().unwrap().iter().filter(|column| column["unequal"] != json!(0)).collect();
    assert_eq!(unequal.len(), 1, "{unequal:?}");
    assert_eq!((&unequal[0]["column"], &unequal[0]["largest_absolute"]), (&json!("delay"), &json!(60.0)));
    assert!(!report["rows"]["sample"].to_string().contains("JFK"), "{}", report["rows"]["sample"]);
    for file in ["report.md", "report.html", "report.junit.xml"] {
        let text = world.get(&format!("{}/report/{file}", world.root)).await;
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains("FAIL") || text.contains("<failure"), "{file}");
        assert!(!text.contains("JFK"), "{file} shows a value");
    }
    let export = world.get(&format!("{}/report/differences.parquet", world.root)).await;
    assert_eq!(crate::support::rows_of(export).len(), 1);

    let (_, report) = world.diff(&["--key", "at,origin", "--show-values"]).await.unwrap();
    assert!(report["rows"]["sample"].to_string().contains("60"), "{}", report["rows"]["sample"]);

    // Without a key the row is missing on one side and extra on the other.
    let (_, report) = world.diff(&[]).await.unwrap();
    assert_eq!([&report["rows"]["missing"], &report["rows"]["extra"], &report["rows"]["changed"]], [1, 1, 0]);

    // Where the condition leaves the row out, the rest is equal.
    let (answer, report) = world.diff(&["--where", "origin <> 'JFK'"]).await.unwrap();
    assert_eq!((answer.exit_code, &report["comparison"]["old"]["rows"]), (0, &json!(3)));
    assert_eq!(report["run"]["range"], "origin <> 'JFK'");
}

/// Rules under which the tables are equal, and the same without one of them, where they are not.
#[rstest]
#[case::case("columns: {origin: {ignore_case: true}}", (5, "atl", Some(1)), (5, "ATL", Some(1)))]
#[case::trim("columns: {origin: {trim: true}}", (5, "ATL ", Some(1)), (5, "ATL", Some(1)))]
#[case::unit("columns: {at: {unit: hour}}", (5, "ATL", Some(1)), (6, "ATL", Some(1)))]
#[case::expression("columns: {delay: {old: 'delay * 60'}}", (5, "ATL", Some(2)), (5, "ATL", Some(120)))]
#[case::expression_on_the_new_side("columns: {delay: {new: 'delay / 60'}}", (5, "ATL", Some(2)), (5, "ATL", Some(120)))]
#[case::tolerance("columns: {delay: {absolute: 2}}", (5, "ATL", Some(1)), (5, "ATL", Some(3)))]
#[case::relative("columns: {delay: {relative: 0.5}}", (5, "ATL", Some(2)), (5, "ATL", Some(3)))]
#[tokio::test]
async fn a_rule_makes_rows_equal_that_are_not_without_it(#[case] rule: &str, #[case] old: Flight, #[case] new: Flight) {
    let world = World::in_memory(Target::Iceberg);
    world.put_both(&[old], &[new]).await;
    let rules = world.write_file("rules.yaml", format!("validation:\n  key: [origin]\n  {rule}\n"));
    let (answer, report) = world.diff(&["--rules", &rules]).await.unwrap();
    assert_eq!((answer.exit_code, &report["verdict"]), (0, &json!("PASS")), "{}", answer.text);
    let (answer, _) = world.diff(&["--key", "origin"]).await.unwrap();
    assert_eq!(answer.exit_code, 1, "{}", answer.text);
}

#[tokio::test]
async fn a_tolerance_ends_where_it_says() {
    let world = World::in_memory(Target::Iceberg);
    world.put_both(&[(5, "ATL", Some(1)), (6, "ATL", Some(1))], &[(5, "ATL", Some(3)), (6, "ATL", Some(4))]).await;
    let rules = world.write_file("rules.yaml", "validation: {key: [at], columns: {delay: {absolute: 2}}}");
    let (answer, report) = world.diff(&["--rules", &rules]).await.unwrap();
    assert_eq!(answer.exit_code, 1, "{}", answer.text);
    assert_eq!([&report["rows"]["tolerated"], &report["rows"]["changed"]], [1, 1]);
}

#[rstest]
#[case::holds("kind: extra, expires: 2026-01-01, max_rows: 1", &[], 0, "ACCEPTED")]
#[case::strict("kind: extra, expires: 2026-01-01, max_rows: 1", &["--strict"], 4, "ACCEPTED")]
#[case::expired("kind: extra, expires: 2025-12-31, max_rows: 1", &[], 1, "FAIL")]
#[case::another_kind("kind: missing, expires: 2026-01-01, max_rows: 1", &[], 1, "FAIL")]
#[case::another_row("where: origin = 'SFO', expires: 2026-01-01, max_rows: 1", &[], 1, "FAIL")]
#[tokio::test]
async fn the_ledger_absorbs_what_it_lists_and_no_more(
    #[case] entry: &str,
    #[case] flags: &[&str],
    #[case] exit_code: u8,
    #[case] verdict: &str,
) {
    let world = World::in_memory(Target::Iceberg);
    world.put_both(&DAY[..2], &DAY[1..]).await;
    world.put("one/day=2001-01-01/rest.parquet", day_file(1, &DAY[2..3])).await;
    let rules = format!("validation:\n  accept:\n    - {{id: late, owner: me, reason: a test, {entry}}}\n");
    let rules = world.write_file("rules.yaml", rules);
    let flags: Vec<&str> = ["--rules", &rules].iter().chain(flags).copied().collect();
    // The old table has the ATL row twice and the new one once; the new one alone has JFK.
    world.put("two/day=2001-01-01/second.parquet", day_file(1, &DAY[..1])).await;
    let (answer, report) = world.diff(&flags).await.unwrap();
    assert_eq!((answer.exit_code, report["verdict"].as_str().unwrap()), (exit_code, verdict), "{}", answer.text);
}

#[tokio::test]
async fn a_full_ledger_fails() {
    let world = World::in_memory(Target::Iceberg);
    world.put_both(&DAY[..1], DAY).await;
    let entry = "validation: {accept: [{id: late, owner: me, reason: a test, expires: 2099-01-01, max_rows: 2}]}";
    let rules = world.write_file("rules.yaml", entry);
    let (answer, report) = world.diff(&["--rules", &rules]).await.unwrap();
    assert_eq!(answer.exit_code, 1, "{}", answer.text);
    assert_eq!(report["reasons"][0]["reason"], "acceptance_failed", "{}", report["reasons"]);
    assert_eq!(report["rows"]["accepted"][0]["rows"], 3);
}

#[tokio::test]
async fn rules_that_cannot_work_are_refused_before_anything_is_read() {
    let world = World::in_memory(Target::Iceberg);
    world.put_both(DAY, DAY).await;
    let objects = world.objects().await;
    for (text, says) in [
        ("validation: {columns: {delay: {absolute: 2}}}", "without a key"),
        ("validation: {columns: {dely: {trim: true}}}", "dely"),
        ("validation: {columns: {delay: {old: 'no_such + 1'}}}", "no_such"),
        ("validation: {range: 'no_such > 1'}", "no_such"),
        ("columns: {delay: {absolute: 2}}", "rules.yaml"),
    ] {
        let rules = world.write_file("rules.yaml", text);
        let error = with_causes(&world.diff(&["--rules", &rules]).await.map(drop).unwrap_err());
        assert!(error.contains(says), "{text}: {error}");
    }
    let error = world.run(&["diff", "one", "two"]).await.unwrap_err();
    assert!(with_causes(&error).contains("delta:/lake/a"), "{}", with_causes(&error));
    assert_eq!(world.objects().await, objects);
}

#[tokio::test]
async fn a_partial_validation_opens_no_cutover() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    world.write_spec(Target::Iceberg, "validation: {range: \"origin = 'ATL'\"}");
    let (answer, report) = world.validate(&[]).await;
    assert_eq!((answer.exit_code, &report["verdict"]), (0, &json!("PASS")), "{}", answer.text);
    assert!(report["comparison"]["old"]["rows"].as_u64().unwrap() < 8);
    let error = world.run(&["cutover", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
}

//! The audit trail: a journal as people read it.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use lakeshift_core::migration::{Event, PointerSwitch, Settled, Side, Timeline, ValidationRecord, VerdictName, Work};
use lakeshift_core::plan::{PlanRef, PlanSummary, StrategyTotals};
use lakeshift_core::table::{CommitNumber, Format, MigrationId, TableVersion};
use lakeshift_journal::{Digest, Entry, Epoch, Sequence};

use crate::report::browser;

fn entries(events: Vec<(u64, Event)>) -> Vec<Entry<Event>> {
    let start: DateTime<Utc> = DateTime::from_timestamp(1_767_225_540, 0).unwrap();
    let numbered = (1..).zip(events);
    numbered
        .map(|(number, (epoch, event))| Entry {
            sequence: Sequence(number),
            epoch: Epoch(epoch),
            at: start + TimeDelta::seconds(17 * number.cast_signed()),
            writer: "ann@host:17".into(),
            previous: Digest::of(b"before"),
            digest: Digest::of(&number.to_le_bytes()),
            event,
        })
        .collect()
}

fn life(by: &str) -> Vec<Entry<Event>> {
    let version = |text: &str| TableVersion(text.to_owned());
    let total = StrategyTotals { files: 6, rows: 600, bytes: 12_345 };
    let summary = PlanSummary { units: 2, total, ..PlanSummary::default() };
    let plan = PlanRef { digest: "0123456789abcdef".into(), source: version(&format!("hive:{}", "ab".repeat(32))), summary };
    let taken = |command: &str| Event::LeaseTaken { command: command.into(), hooks: false };
    let number = CommitNumber(1);
    let switch = PointerSwitch {
        alias: "flights".into(),
        number: 2,
        side: Side::New,
        format: Format::Iceberg,
        location: format!("s3://lake/{}", "deep/".repeat(30)),
        nonce: "n".into(),
        loses_writes: false,
        completes: true,
    };
    let record = ValidationRecord {
        verdict: VerdictName::Pass,
        source: version("s"),
        target: version("t"),
        partial: false,
        spec_digest: "d".into(),
        certificate_digest: "c".repeat(64),
        report: "reports/20260101T000000Z-e3".into(),
        at: DateTime::UNIX_EPOCH,
    };
    entries(vec![
        (1, taken("plan")),
        (1, Event::Planned { plan: plan.clone(), spec_digest: "d".into(), spec: serde_json::json!({"name": "flights"}) }),
        (2, taken("approve")),
        (2, Event::Approved { plan_digest: plan.digest.clone(), by: by.into() }),
        (3, taken("dual-write")),
        (3, Event::BoundaryPinned { plan, table: None }),
        (3, Event::TargetCreated { version: version("iceberg:none") }),
        (4, taken("backfill")),
        (4, Event::CommitIntended { number, work: Work::Backfill { units: vec![1] } }),
        (
            4,
            Event::CommitSettled {
                number,
                result: Settled::Done { version: version("iceberg:17"), files: 1, bytes: 999, cost: None },
            },
        ),
        (5, Event::Validated(record)),
        (6, taken("cutover")),
        (6, Event::SwitchIntended(switch)),
        (6, Event::Switched { number: 2, readers: None }),
    ])
}

fn timeline(by: &str) -> Timeline {
    Timeline::new(&MigrationId("flights".into()), &life(by))
}

#[test]
fn a_timeline_reads_well_and_fits_80_columns() {
    let text = timeline("Ann of data-platform").to_text();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn foreign_text_neither_moves_the_cursor_nor_becomes_markup() {
    let timeline = timeline("\u{1b}[2J<script>alert(1)</script>\n{{runs}}");
    assert!(!timeline.to_text().contains('\u{1b}'));
    let html = timeline.to_html();
    assert!(!html.contains("<script"), "the page has no script, and nobody else's");
    assert_eq!(html.matches("{{").count(), 1, "the approver's own words");
    for absent in ["http://", "https://", "<img", "src=", "url("] {
        assert!(!html.contains(absent), "{absent}");
    }
}

#[test]
fn the_json_has_every_event_as_it_was_recorded() {
    let json = serde_json::to_value(timeline("ann")).unwrap();
    assert_eq!(json["format_version"], 1);
    assert_eq!(json["phase"], "grace");
    assert_eq!(json["entries"].as_array().unwrap().len(), 14);
    assert_eq!(json["entries"][3]["event"]["by"], "ann");
    assert_eq!(json["entries"][13]["kind"], "switched");
    assert_eq!(json["head"], json["entries"][13]["digest"]);
}

/// The phone is a frame of 390 pixels, as in the report's test; the page itself allows no script, so its policy is taken out.
#[test]
fn nothing_of_the_page_is_wider_than_a_phone() {
    let Some(browser) = browser::browser() else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("history");
    std::fs::create_dir_all(&folder).unwrap();
    let script = "<script>
        const out = (node) => node.getBoundingClientRect().right > innerWidth + 1;
        const wide = [...document.querySelectorAll('body *')].filter(out).map((node) => node.tagName);
        parent.postMessage(innerWidth + ' ' + (wide.join(' ') || 'nothing'), '*');</script></body>";
    let html = timeline("ann").to_html().replace("Content-Security-Policy", "x-removed").replace("</body>", script);
    std::fs::write(folder.join("history.html"), html).unwrap();
    let phone = "<!doctype html><body><iframe src='history.html' style='width:390px;height:844px;border:0'></iframe>
        <script>onmessage = (event) => { document.body.dataset.wide = event.data; };</script></body>";
    let page = folder.join("phone.html");
    std::fs::write(&page, phone).unwrap();
    let dom = browser::dump(browser, &folder, &page);
    assert!(dom.contains("data-wide=\"390 nothing\""), "{dom}");
}

#[test]
fn entries_of_earlier_versions_are_read_and_those_that_say_no_more_are_written_as_they_were() {
    let switch = r#"{"kind":"switch_intended","alias":"a","number":1,"side":"new","format":"iceberg","location":"l","nonce":"n","loses_writes":false}"#;
    for text in [r#"{"kind":"lease_taken","command":"plan"}"#, switch] {
        let event: Event = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
        assert!(!matches!(event, Event::SwitchIntended(switch) if !switch.completes), "one group was every group");
    }
}

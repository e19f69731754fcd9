//! The report as people read it.

use std::collections::BTreeMap;

use chrono::DateTime;
use lakeshift_core::equivalence::{
    CellKey, CellSum, ColumnDiff, DiffMode, DifferenceKind, Encoding, Fingerprint, FingerprintShape, PinnedSide, Reason,
    Refinement, RowDiff, SampleColumn, SampleRow, ValidationKey, compare, compare_schemas,
};
use lakeshift_core::partition::{PartitionField, Transform};
use lakeshift_core::report::{MARKDOWN_BYTES_MAX, Method, ReportParts, RunFacts, SideFacts, ValidationReport};
use lakeshift_core::schema::{DataType as T, Field, TableSchema};
use lakeshift_core::table::{Format, MigrationId, TableVersion};
use lakeshift_core::value::Value;

const DAY: i32 = 11_323;

fn schema(n: T) -> TableSchema {
    TableSchema {
        fields: vec![
            Field::new("flight_date", T::Date, false),
            Field::new("origin", T::String, true),
            Field::new("n", n, true),
        ],
    }
}

fn shape() -> FingerprintShape {
    FingerprintShape {
        encoding: Encoding::default(),
        key: ValidationKey::new([0xab; 16]),
        columns: ["flight_date", "origin", "n"].map(str::to_owned).to_vec(),
        fields: vec![
            PartitionField::new("flight_date", Transform::Identity),
            PartitionField::new("origin", Transform::Bucket(4)),
        ],
    }
}

/// `days` cells of 1000 rows; `change` says what becomes of a day.
fn table(days: i32, change: impl Fn(i32) -> Option<CellSum>) -> Fingerprint {
    let mut table = Fingerprint::empty(shape());
    for day in 0..days {
        let cell = CellKey::new(vec![Some(Value::Date(DAY + day)), Some(Value::Int(i64::from(day % 4)))]);
        if let Some(sum) = change(day) {
            table.add_cell(&cell, sum);
        }
    }
    table
}

fn whole(days: i32) -> Fingerprint {
    table(days, |day| Some(CellSum { rows: 1000, sum: day.unsigned_abs().into() }))
}

fn side(format: Format, location: &str, version: &str) -> SideFacts {
    let pinned = PinnedSide { format, location: location.into(), version: TableVersion(version.into()) };
    SideFacts { pinned, files: 31, bytes: 1_300_000 }
}

fn parts(old: &Fingerprint, new: &Fingerprint) -> ReportParts {
    ReportParts {
        run: RunFacts {
            migration: MigrationId("flights-to-iceberg".into()),
            scope: None,
            spec_digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            tool_version: "lakeshift 0.1.0".into(),
            started_at: DateTime::from_timestamp(1_780_000_000, 0).unwrap(),
            duration_ms: 12_345,
            reproduce: vec!["make validate MIGRATION=flights-to-iceberg".into()],
        },
        old: side(Format::Hive, "file:///lake/flights", "inventory-1f2e"),
        new: side(Format::Iceberg, "file:///lake/flights_iceberg", "7052839118736112"),
        method: Method {
            encoding: Encoding::default(),
            key: ValidationKey::new([0xab; 16]),
            refinement: Refinement { fields: shape().fields, dropped: Vec::new() },
        },
        schema: compare_schemas(&schema(T::Int32), &schema(T::Int64), &BTreeMap::new()),
        comparison: Some(compare(old, new).unwrap()),
        rows: None,
        obstacles: Vec::new(),
    }
}

fn sample(kind: DifferenceKind, old: Option<&str>, new: Option<&str>) -> SampleRow {
    let column = SampleColumn { column: "n".into(), old: old.map(str::to_owned), new: new.map(str::to_owned) };
    SampleRow { kind, copies: 1, cell: "flight_date=2001-01-03, origin_bucket=2".into(), columns: vec![column] }
}

#[test]
fn a_pass() {
    insta::assert_snapshot!(ValidationReport::new(parts(&whole(31), &whole(31))).to_markdown());
}

#[test]
fn a_fail_by_key() {
    let damaged = table(31, |day| match day {
        2 => Some(CellSum { rows: 1000, sum: 99 }),
        5 => Some(CellSum { rows: 990, sum: 5 }),
        7 => None,
        day => Some(CellSum { rows: 1000, sum: day.unsigned_abs().into() }),
    });
    let rows = RowDiff {
        mode: DiffMode::Keyed { columns: vec!["flight_date".into(), "origin".into()] },
        old_rows: 3000,
        new_rows: 1990,
        missing: 1011,
        extra: 1,
        changed: 3,
        duplicate_keys: 1,
        columns: vec![
            ColumnDiff { column: "flight_date".into(), unequal: 0 },
            ColumnDiff { column: "n".into(), unequal: 3 },
        ],
        sample: vec![
            sample(DifferenceKind::Changed, Some("integer#01234567"), Some("integer#89abcdef")),
            sample(DifferenceKind::Missing, Some("integer#00000000"), None),
        ],
        masked: true,
    };
    let report = ValidationReport::new(ReportParts { rows: Some(rows), ..parts(&whole(31), &damaged) });
    assert_eq!(report.exit_code, 1);
    insta::assert_snapshot!(report.to_markdown());
}

#[test]
fn an_inconclusive() {
    let schema = compare_schemas(&schema(T::Int32), &schema(T::String), &BTreeMap::new());
    let report = ValidationReport::new(ReportParts { schema, ..parts(&whole(31), &whole(31)) });
    assert_eq!(report.exit_code, 3);
    insta::assert_snapshot!(report.to_markdown());
}

#[test]
fn an_interrupted_validation_says_so_and_skips_the_checks() {
    let obstacles = vec![Reason::Incomplete { why: "it was interrupted by Ctrl-C".into() }];
    let report = ValidationReport::new(ReportParts { comparison: None, obstacles, ..parts(&whole(1), &whole(1)) });
    assert_eq!(report.exit_code, 3);
    let text = report.to_markdown();
    assert!(text.starts_with("**INCONCLUSIVE**"), "{text}");
    assert!(text.contains("interrupted by Ctrl-C") && text.contains("| fingerprints | skipped |"), "{text}");
}

#[test]
fn the_json_reads_back() {
    let report = ValidationReport::new(parts(&whole(3), &whole(2)));
    let json = report.to_json().unwrap();
    assert!(json.contains("\"schema_version\": 1") && json.contains("\"verdict\": \"FAIL\""), "{json}");
    assert_eq!(serde_json::from_str::<ValidationReport>(&json).unwrap(), report);
}

/// As much as there can be of everything, in text of four bytes a character.
fn monster() -> ValidationReport {
    let wide = |index: usize| format!("{}{index}", "🦀".repeat(300));
    let fields = (0..2000).map(|index| Field::new(wide(index), T::String, true)).collect();
    let columns = TableSchema { fields };
    let mut parts = parts(&whole(5000), &table(5000, |_| None));
    parts.schema = compare_schemas(&columns, &TableSchema::default(), &BTreeMap::new());
    parts.run.scope = Some(wide(0).repeat(50));
    parts.run.reproduce = (0..50).map(wide).collect();
    let column = |index| SampleColumn { column: wide(index), old: Some(wide(index)), new: Some(wide(index + 1)) };
    let row = |_| SampleRow { columns: (0..100).map(column).collect(), ..sample(DifferenceKind::Changed, None, None) };
    parts.rows = Some(RowDiff {
        mode: DiffMode::Keyed { columns: (0..500).map(wide).collect() },
        old_rows: 5_000_000,
        new_rows: 0,
        missing: 5_000_000,
        extra: u64::MAX / 2,
        changed: 0,
        duplicate_keys: 0,
        columns: (0..2000).map(|index| ColumnDiff { column: wide(index), unequal: 1 }).collect(),
        sample: (0..100).map(row).collect(),
        masked: false,
    });
    ValidationReport::new(parts)
}

#[test]
fn the_markdown_is_bounded_and_names_what_it_leaves_out() {
    let text = monster().to_markdown();
    assert!(text.len() <= MARKDOWN_BYTES_MAX, "{} bytes", text.len());
    assert!(text.starts_with("**FAIL**") && text.contains("### Checks"), "the verdict and the checks are always there");
    assert!(text.contains("Left out for length"), "{}", &text[text.len() - 500..]);
}

#[test]
fn names_and_values_cannot_leave_their_place() {
    let hostile = "x`|\n</details><img src=x>@everyone";
    let row = SampleRow {
        columns: vec![SampleColumn { column: hostile.into(), old: Some(hostile.into()), new: None }],
        ..sample(DifferenceKind::Missing, None, None)
    };
    let rows = RowDiff {
        mode: DiffMode::Bag,
        old_rows: 1,
        new_rows: 0,
        missing: 1,
        extra: 0,
        changed: 0,
        duplicate_keys: 0,
        columns: Vec::new(),
        sample: vec![row],
        masked: false,
    };
    let mut parts = ReportParts { rows: Some(rows), ..parts(&whole(1), &whole(2)) };
    parts.schema = compare_schemas(
        &TableSchema { fields: vec![Field::new(hostile, T::Int32, true)] },
        &TableSchema::default(),
        &BTreeMap::new(),
    );
    let text = ValidationReport::new(parts).to_markdown();
    for line in text.lines().filter(|line| line.contains("img")) {
        let unescaped = ["\\`", "\\<", "\\>", "\\|"].iter().fold(line.to_owned(), |line, escape| line.replace(escape, ""));
        assert_eq!(unescaped.matches('`').count() % 2, 0, "{line}");
        let outside: String = unescaped.split('`').step_by(2).collect();
        assert!(!outside.replace("<details><summary>", "").contains('<'), "{line}");
        assert!(!outside.contains("@e"), "a mention: {line}");
    }
}

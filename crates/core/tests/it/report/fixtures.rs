//! Reports for the tests: a small lake of flights, whole and damaged.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use lakeshift_core::equivalence::{
    AcceptRule, AcceptedUse, Amount, Cause, CellKey, CellPrint, CellSum, ColumnDiff, ColumnSums, DiffMode, DifferenceKind,
    Encoding, Fingerprint, FingerprintShape, PinnedSide, ProvenFiles, Readings, Refinement, RowDiff, SampleColumn,
    SampleRow, SideCoverage, ValidationKey, compare, compare_schemas, coverage, metadata_digest,
};
use lakeshift_core::partition::{PartitionField, Transform};
use lakeshift_core::report::{Method, ReportParts, RunFacts, SideFacts, ValidationReport};
use lakeshift_core::schema::{DataType as T, Field, TableSchema};
use lakeshift_core::spec::ColumnRule;
use lakeshift_core::table::{Format, MigrationId, TableVersion};
use lakeshift_core::value::Value;

/// 2001-01-01.
pub(super) const DAY: i32 = 11_323;

/// Text that would leave its place wherever it is not escaped.
pub(super) const HOSTILE: &str = "x`|\n</details></script><!--<script>window.hacked=1</script><img src=x onerror=\"window.hacked=1\">]]>&'\u{1}\u{2028}@everyone";

pub(super) fn schema(n: T) -> TableSchema {
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

/// Rows of a cell; `changed` says whether the last column's values are others.
pub(super) fn print(rows: u64, day: i32, changed: bool) -> Option<CellPrint> {
    let day = u64::from(day.unsigned_abs());
    let sum = CellSum { rows, sum: (day + if changed { 1 << 40 } else { 0 }).into() };
    Some(CellPrint { sum, columns: ColumnSums(vec![day, day, day + u64::from(changed)]) })
}

/// `days` cells; `change` says what lies in one.
pub(super) fn table(days: i32, change: impl Fn(i32) -> Option<CellPrint>) -> Fingerprint {
    let mut table = Fingerprint::empty(shape());
    for day in 0..days {
        let cell = CellKey::new(vec![Some(Value::Date(DAY + day)), Some(Value::Int(i64::from(day % 4)))]);
        if let Some(print) = change(day) {
            table.add_cell(&cell, &print);
        }
    }
    table
}

pub(super) fn whole(days: i32) -> Fingerprint {
    table(days, |day| print(1000, day, false))
}

/// The third day has other values, the sixth fewer rows, the eighth none.
pub(super) fn damaged(days: i32) -> Fingerprint {
    table(days, |day| match day {
        2 => print(1000, day, true),
        5 => print(990, day, true),
        7 => None,
        day => print(1000, day, false),
    })
}

fn side(format: Format, location: &str, version: &str, rows: u64) -> SideFacts {
    let pinned = PinnedSide {
        format,
        location: location.into(),
        version: TableVersion(version.into()),
        metadata_digest: metadata_digest([]),
    };
    let now = Amount { files: 31, rows, bytes: 1_300_000 };
    SideFacts { pinned, files: 31, bytes: 1_300_000, coverage: SideCoverage { now, ..SideCoverage::default() } }
}

/// Both sides read now.
pub(super) fn parts(old: &Fingerprint, new: &Fingerprint) -> ReportParts {
    let nothing = Fingerprint::empty(shape());
    let now = |print: &Fingerprint| Readings { now: print.clone(), earlier: nothing.clone() };
    parts_of(&now(old), &now(new), (old, new))
}

/// What was read now and what was read earlier.
pub(super) fn parts_of(old: &Readings, new: &Readings, all: (&Fingerprint, &Fingerprint)) -> ReportParts {
    let comparison = compare(all.0, all.1).unwrap();
    ReportParts {
        run: RunFacts {
            migration: MigrationId("flights-to-iceberg".into()),
            scope: None,
            range: None,
            spec_digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            tool_version: "lakeshift 0.1.0".into(),
            started_at: DateTime::from_timestamp(1_780_000_000, 0).unwrap(),
            duration_ms: 12_345,
            reproduce: vec!["make validate MIGRATION=flights-to-iceberg".into()],
        },
        old: side(Format::Hive, "file:///lake/flights", "inventory-1f2e", all.0.total().rows),
        new: side(Format::Iceberg, "file:///lake/flights_iceberg", "7052839118736112", all.1.total().rows),
        method: Method {
            encoding: Encoding::default(),
            key: ValidationKey::new([0xab; 16]),
            refinement: Refinement { fields: shape().fields, dropped: Vec::new() },
        },
        schema: compare_schemas(&schema(T::Int32), &schema(T::Int64), &BTreeMap::new()),
        cells: coverage(&comparison, old, new),
        comparison: Some(comparison),
        proven: Vec::new(),
        rules: BTreeMap::new(),
        rows: None,
        obstacles: Vec::new(),
    }
}

pub(super) fn no_rows() -> RowDiff {
    RowDiff {
        mode: DiffMode::Bag,
        old_rows: 0,
        new_rows: 0,
        missing: 0,
        extra: 0,
        changed: 0,
        duplicate_keys: 0,
        tolerated: 0,
        accepted: Vec::new(),
        columns: Vec::new(),
        sample: Vec::new(),
        masked: false,
        export: None,
    }
}

pub(super) fn sample(kind: DifferenceKind, old: Option<&str>, new: Option<&str>) -> SampleRow {
    let column = SampleColumn { column: "n".into(), old: old.map(str::to_owned), new: new.map(str::to_owned) };
    SampleRow {
        kind,
        copies: 1,
        cell: "flight_date=2001-01-03, origin_bucket=2".into(),
        row: None,
        accepted_by: None,
        columns: vec![column],
    }
}

pub(super) fn entry(id: &str, rows: u64, max_rows: u64) -> AcceptedUse {
    let rule = AcceptRule {
        id: id.into(),
        kind: Some(DifferenceKind::Missing),
        columns: Vec::new(),
        filter: Some("origin = 'XXX'".into()),
        owner: "data-platform".into(),
        reason: "test flights are not carried over (DATA-17)".into(),
        expires: NaiveDate::from_ymd_opt(2026, 12, 31).unwrap(),
        max_rows,
    };
    AcceptedUse { rule, rows, expired: false }
}

/// A difference by key, with everything that a report can say of rows.
pub(super) fn fail_by_key() -> ValidationReport {
    let row = |kind, old, new, row| SampleRow { row: Some(row), ..sample(kind, old, new) };
    let rows = RowDiff {
        mode: DiffMode::Keyed { columns: vec!["flight_date".into(), "origin".into()] },
        old_rows: 3000,
        new_rows: 1990,
        missing: 1009,
        extra: 1,
        changed: 3,
        duplicate_keys: 1,
        tolerated: 40,
        accepted: vec![entry("test-flights", 2, 10), entry("unused", 0, 5)],
        columns: vec![
            ColumnDiff { column: "flight_date".into(), ..ColumnDiff::default() },
            ColumnDiff {
                column: "n".into(),
                unequal: 3,
                null_flips: 1,
                tolerated: 40,
                largest_absolute: Some(3600.0),
                largest_relative: Some(0.012_345_678_9),
                cause: Some(Cause::TimeShift { seconds: -3600 }),
            },
        ],
        sample: vec![
            row(DifferenceKind::Changed, Some("integer#01234567"), Some("integer#89abcdef"), 7),
            row(DifferenceKind::Missing, Some("integer#00000000"), None, 8),
            SampleRow {
                accepted_by: Some("test-flights".into()),
                ..row(DifferenceKind::Missing, Some("integer#11111111"), None, 9)
            },
        ],
        masked: true,
        export: Some("differences.parquet".into()),
    };
    let rules = BTreeMap::from([("n".to_owned(), ColumnRule { absolute: Some(0.5), ..ColumnRule::default() })]);
    ValidationReport::new(ReportParts { rows: Some(rows), rules, ..parts(&whole(31), &damaged(31)) })
}

/// Everything that differs is within a tolerance or in the ledger.
pub(super) fn accepted() -> ValidationReport {
    let rows = RowDiff {
        mode: DiffMode::Keyed { columns: vec!["flight_date".into()] },
        old_rows: 3000,
        new_rows: 1990,
        tolerated: 5,
        accepted: vec![entry("test-flights", 1010, 2000)],
        ..no_rows()
    };
    let rule = ColumnRule {
        old: Some("round(n, 2)".into()),
        absolute: Some(0.5),
        relative: Some(1e-9),
        trim: true,
        ..ColumnRule::default()
    };
    let rules = BTreeMap::from([("n".to_owned(), rule)]);
    ValidationReport::new(ReportParts { rows: Some(rows), rules, ..parts(&whole(31), &damaged(31)) })
}

/// A second validation: two days were read again, the first ten days of February are the same files.
pub(super) fn revalidated() -> ValidationReport {
    let fresh = |day| day == 4 || day == 30;
    let readings = Readings {
        now: table(31, |day| if fresh(day) { print(1000, day, false) } else { None }),
        earlier: table(31, |day| if fresh(day) { None } else { print(1000, day, false) }),
    };
    let mut parts = parts_of(&readings, &readings, (&whole(31), &whole(31)));
    let amount = |files, rows| Amount { files, rows, bytes: files * 40_000 };
    for side in [&mut parts.old, &mut parts.new] {
        side.files = 41;
        side.coverage = SideCoverage { now: amount(2, 2000), earlier: amount(29, 29_000), metadata: amount(10, 10_000) };
    }
    let proven = |day| ProvenFiles { partition: format!("flight_date=2001-02-{day:02}"), amount: amount(1, 1000) };
    parts.proven = (1..=10).map(proven).collect();
    ValidationReport::new(parts)
}

/// As much as there can be of everything, in text of four bytes a character.
pub(super) fn monster() -> ValidationReport {
    let wide = |index: usize| format!("{}{index}", "🦀".repeat(300));
    let fields = (0..2000).map(|index| Field::new(wide(index), T::String, true)).collect();
    let columns = TableSchema { fields };
    let mut parts = parts(&whole(5000), &table(5000, |_| None));
    parts.schema = compare_schemas(&columns, &TableSchema::default(), &BTreeMap::new());
    parts.run.scope = Some(wide(0).repeat(50));
    parts.run.range = Some(wide(1).repeat(50));
    parts.run.reproduce = (0..50).map(wide).collect();
    parts.proven = (0..3000).map(|index| ProvenFiles { partition: wide(index), amount: Amount::default() }).collect();
    let rule = |index| ColumnRule { old: Some(wide(index)), new: Some(wide(index)), ulps: Some(1), ..ColumnRule::default() };
    parts.rules = (0..500).map(|index| (wide(index), rule(index))).collect();
    let column = |index| SampleColumn { column: wide(index), old: Some(wide(index)), new: Some(wide(index + 1)) };
    let row = |_| SampleRow { columns: (0..100).map(column).collect(), ..sample(DifferenceKind::Changed, None, None) };
    let entry = |index| {
        let mut used = entry(&wide(index), 7, 1);
        (used.rule.owner, used.rule.reason) = (wide(index), wide(index));
        used
    };
    parts.rows = Some(RowDiff {
        mode: DiffMode::Keyed { columns: (0..500).map(wide).collect() },
        missing: 5_000_000,
        extra: u64::MAX / 2,
        accepted: (0..500).map(entry).collect(),
        columns: (0..2000).map(|index| ColumnDiff { column: wide(index), unequal: 1, ..ColumnDiff::default() }).collect(),
        sample: (0..1000).map(row).collect(),
        export: Some(wide(0)),
        ..no_rows()
    });
    ValidationReport::new(parts)
}

/// [`HOSTILE`] as every foreign text there is.
pub(super) fn hostile() -> ValidationReport {
    let text = || HOSTILE.to_owned();
    let row = SampleRow {
        columns: vec![SampleColumn { column: text(), old: Some(text()), new: None }],
        cell: text(),
        row: Some(1),
        accepted_by: Some(text()),
        ..sample(DifferenceKind::Missing, None, None)
    };
    let mut used = entry(HOSTILE, 1, 0);
    (used.rule.owner, used.rule.reason) = (text(), text());
    let rows = RowDiff {
        mode: DiffMode::Keyed { columns: vec![text()] },
        missing: 1,
        accepted: vec![used],
        columns: vec![ColumnDiff { column: text(), unequal: 1, ..ColumnDiff::default() }],
        sample: vec![row],
        export: Some(text()),
        ..no_rows()
    };
    let mut parts = ReportParts { rows: Some(rows), ..parts(&whole(1), &whole(2)) };
    parts.schema = compare_schemas(
        &TableSchema { fields: vec![Field::new(HOSTILE, T::Int32, true)] },
        &TableSchema::default(),
        &BTreeMap::new(),
    );
    parts.rules = BTreeMap::from([(text(), ColumnRule { old: Some(text()), ..ColumnRule::default() })]);
    parts.proven = vec![ProvenFiles { partition: text(), amount: Amount::default() }];
    (parts.run.scope, parts.run.range, parts.run.reproduce) = (Some(text()), Some(text()), vec![text()]);
    (parts.run.migration, parts.old.pinned.location) = (MigrationId(text()), text());
    ValidationReport::new(parts)
}

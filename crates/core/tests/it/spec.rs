//! The migration spec: what it takes, what it refuses and in which words, and what it keeps to itself.

use std::fmt::Write;
use std::path::Path;

use lakeshift_core::partition::{PartitionField, Transform};
use lakeshift_core::schema::DataType;
use lakeshift_core::spec::{
    BackfillOrder, ByteSize, Location, Place, Span, Spec, SpecError, Strategy, SunsetDisposition, TargetColumn, Validation,
};
use proptest::prelude::{any, prop};
use rstest::rstest;

use crate::spec_catalog::{REST, SQL, catalogued};

const FILE: &str = "/repo/migrations/flights/migration.yaml";

pub const MINIMAL: &str = "\
apiVersion: lakeshift/v1
name: flights
control: ../../control
source:
  format: hive
  location: ../../lake/flights
target:
  format: iceberg
  location: ../../lake/flights_iceberg
cutover:
  alias: flights
";

const FULL: &str = "\
apiVersion: lakeshift/v1
name: flights-to-iceberg
description: \"Flights, by month and origin: 2001\"
control: s3://lake/control/
source:
  format: hive
  location: ../../lake/./x/../flights/
  partitions:
    - {name: flight_date, type: date}
    - {name: carrier, type: string}
  columns:
    Origin: origin
  storage:
    region: eu-central-1
target:
  format: iceberg
  location: s3://lake/flights
  partitioning: [month(flight_date), \"bucket(16, origin)\", carrier, 'truncate(4, tail)']
  sort: [origin, 'flight_date desc']
  format_version: 3
  snapshots: {keep: 20, max_age: 7d}
  properties: {write.format.default: parquet}
  parquet: {compression: zstd(1), bloom_filters: [carrier], page_index: false, row_group_size: 64MiB}
transform:
  sql: SELECT *, upper(origin) AS o FROM source
scope:
  where: flight_date >= DATE '2001-01-01'
dual_write: {interval: 10s, max_lag_files: 5, max_lag: 2m}
backfill:
  order: oldest_first
  concurrency: 4
  memory: 1GiB
  bytes_per_second: 100MB
  target_file_size: 64MiB
  unit_size: 64MiB
  strategy: rewrite
validation:
  key: [flight_date, tail]
  max_differences_shown: 5
  mask: false
  freshness: 6h
  range: flight_date < DATE '2002-01-01'
  float_zeros: equal
  map_order: ignored
  columns:
    fare: {absolute: 0.5, relative: 1e-9, ulps: 4}
    dep.time: {old: departure, unit: millisecond}
    carrier: {new: upper(carrier), trim: true, ignore_case: true}
  accept:
    - {id: fares, kind: changed, columns: [fare], where: fare < 100, owner: pricing, reason: rounding, expires: 2030-12-31, max_rows: 7}
    - {id: any, owner: pricing, reason: known, expires: 2030-12-31, max_rows: 1}
cutover: {alias: lake.flights}
sunset: {grace: 30d, quarantine: 12h, disposition: purge}
storage:
  endpoint: http://127.0.0.1:8333
  region: us-east-1
  access_key_id: ${AWS_KEY}
  secret_access_key: ${AWS_SECRET}
";

pub fn read(text: &str) -> Result<Spec, SpecError> {
    Spec::from_yaml(text, Path::new(FILE))
}

/// The minimal spec with one piece replaced.
pub fn edited(from: &str, to: &str) -> String {
    assert_eq!(MINIMAL.matches(from).count(), 1, "{from}");
    MINIMAL.replacen(from, to, 1)
}

#[test]
fn a_minimal_spec_has_the_defaults_and_locations_from_its_own_folder() {
    let spec = read(MINIMAL).unwrap();
    assert_eq!(spec.control.as_str(), "file:///repo/control");
    assert_eq!(spec.target.location.as_str(), "file:///repo/lake/flights_iceberg");
    assert_eq!((spec.backfill.order, spec.backfill.strategy), (BackfillOrder::NewestFirst, Strategy::Auto));
    assert_eq!((spec.backfill.concurrency, spec.backfill.memory.to_string()), (2, "512MiB".to_owned()));
    assert_eq!(spec.sunset.disposition, SunsetDisposition::Keep);
    assert!(spec.validation.mask);
    assert!(spec.target.partitioning.fields.is_empty());
}

#[test]
fn every_setting_arrives() {
    let spec = read(FULL).unwrap();
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&spec.to_canonical_json()).unwrap())
            .unwrap()
    );
    assert_eq!(spec.target.partitioning.fields[1], PartitionField::new("origin", Transform::Bucket(16)));
}

#[test]
fn an_empty_section_means_its_defaults() {
    let spec = read(&format!("{MINIMAL}backfill:\nvalidation: {{}}\n")).unwrap();
    assert_eq!(spec, read(MINIMAL).unwrap());
}

#[test]
fn the_json_schema_is_this() {
    insta::assert_json_snapshot!(Spec::json_schema());
}

/// The minimal spec with columns of the target.
fn columns(text: &str) -> String {
    edited("  location: ../../lake/flights_iceberg\n", &format!("  location: ../../lake/flights_iceberg\n  {text}\n"))
}

#[test]
fn the_targets_columns_are_names_and_mappings_and_read_back() {
    let text = "columns: [id, {name: airport, from: origin}, '*', {name: n, type: 'decimal(10,2)', default: 1.5}, \
                {name: d, type: date, default: 2001-01-01}, {name: b, default: true}, {name: i, default: -1}]\n  drop: [tail]";
    let spec = read(&columns(text)).unwrap();
    let told: Vec<String> = spec.target.columns.iter().map(|column| format!("{column:?}")).collect();
    assert_eq!(told.len(), 7);
    assert_eq!(spec.target.columns[0], TargetColumn::named("id"));
    assert!(spec.target.columns[2].is_rest());
    assert_eq!(spec.target.columns[3].data_type, Some(DataType::Decimal { precision: 10, scale: 2 }));
    let defaults: Vec<String> =
        spec.target.columns.iter().filter_map(|column| Some(column.default.as_ref()?.to_string())).collect();
    assert_eq!(defaults, ["1.5", "'2001-01-01'", "true", "-1"]);
    assert_eq!(spec.target.drop, ["tail"]);
    assert_eq!(read(&spec.to_canonical_json()).unwrap(), spec);
    assert_ne!(spec.digest(), read(MINIMAL).unwrap().digest(), "what the columns are is what the migration means");
}

#[rstest]
#[case("columns: [id, id]", "names the column `id` twice")]
#[case("columns: [{name: '*', default: 0}]", "stands for all other columns")]
#[case("columns: [{name: id, form: x}]", "form")]
#[case("columns: [{name: id, type: tinyint}]", "tinyint")]
#[case("columns: [{name: id, default: [1]}]", "default")]
#[case("columns: [3]", "columns")]
#[case("drop: [a, a]", "names the column `a` twice")]
fn columns_that_cannot_be_meant_are_refused_at_their_place(#[case] text: &str, #[case] expected: &str) {
    let error = read(&columns(text)).unwrap_err();
    assert!(error.to_string().contains(expected) && error.line == 10, "{error} {}", error.line);
}

#[rstest]
#[case("delta.enableDeletionVectors: 'true'", false)]
#[case("delta.feature.rowTracking: supported", false)]
#[case("delta.minReaderVersion: '3'", false)]
#[case("delta.appendOnly: 'true'", true)]
#[case("delta.columnMapping.mode: name", true)]
#[case("owner: me", true)]
fn a_property_that_would_need_a_higher_delta_protocol_is_refused(#[case] property: &str, #[case] taken: bool) {
    let text = columns(&format!("properties: {{{property}}}")).replace("format: iceberg", "format: delta");
    let spec = read(&text);
    assert_eq!(spec.is_ok(), taken, "{spec:?}");
    assert!(read(&columns(&format!("properties: {{{property}}}"))).is_ok(), "to Iceberg it is a property like any other");
}

/// The minimal spec with a key and one rule for a column.
fn rule(text: &str) -> String {
    format!("{MINIMAL}validation:\n  key: [k]\n  columns:\n    {text}\n")
}

/// The minimal spec with a key and a ledger of one entry, of which a piece is replaced.
fn accept(from: &str, to: &str) -> String {
    let ledger = "  accept:\n  - id: x\n    owner: me\n    reason: known\n    expires: 2030-12-31\n    max_rows: 5\n";
    assert_eq!(ledger.matches(from).count(), 1, "{from}");
    format!("{MINIMAL}validation:\n  key: [k]\n{}", ledger.replacen(from, to, 1))
}

#[test]
fn the_rules_and_ledgers_that_the_mistakes_are_made_from_are_sound() {
    for text in [rule("a: {trim: true}"), accept("id: x", "id: y"), accept("max_rows: 5", "max_rows: 5\n    columns: [a]")] {
        read(&text).unwrap();
    }
}

// What mistakes read like: the snapshot is what to review.
fn mistakes() -> Vec<(&'static str, String)> {
    vec![
        ("unknown_key", format!("{MINIMAL}backfill:\n  order: newest_first\n  stratgy: adopt\n")),
        ("unknown_key_of_the_spec", format!("{MINIMAL}partitioning: [a]\n")),
        ("unknown_choice", format!("{MINIMAL}backfill: {{order: newest}}\n")),
        ("hive_as_target", edited("format: iceberg", "format: hive")),
        ("hudi_as_target", edited("format: iceberg", "format: hudi")),
        ("other_version", edited("lakeshift/v1", "lakeshift/v2")),
        ("missing_key", edited("control: ../../control\n", "")),
        ("missing_location", edited("  location: ../../lake/flights\n", "")),
        ("duplicate_key", format!("{MINIMAL}name: again\n")),
        ("duplicate_in_section", edited("  format: iceberg", "  format: iceberg\n  format: delta")),
        ("size_without_unit", format!("{MINIMAL}backfill: {{memory: 512}}\n")),
        ("size_overflow", format!("{MINIMAL}backfill: {{memory: 99999999TiB}}\n")),
        ("span_without_unit", format!("{MINIMAL}sunset:\n  grace: 14\n")),
        ("negative_number", format!("{MINIMAL}dual_write: {{max_lag_files: -1}}\n")),
        ("list_for_mapping", format!("{MINIMAL}backfill: [1]\n")),
        ("text_for_bool", format!("{MINIMAL}validation: {{mask: yes please}}\n")),
        ("mapping_for_list", format!("{MINIMAL}validation:\n  key: {{a: b}}\n")),
        ("bad_partition_field", edited("format: iceberg", "format: iceberg\n  partitioning: [month(d), weekly(d)]")),
        ("bucket_without_number", edited("format: iceberg", "format: iceberg\n  partitioning:\n    - bucket(origin)")),
        ("bad_partition_type", edited("format: hive", "format: hive\n  partitions:\n    - {name: d, type: datum}")),
        ("bad_name", edited("name: flights", "name: flights/2001")),
        ("bad_alias", edited("alias: flights", "alias: ../flights")),
        ("delta_with_month", edited("format: iceberg", "format: delta\n  partitioning: [a, month(d)]")),
        ("twice_in_time", edited("format: iceberg", "format: iceberg\n  partitioning: [month(d), day(d)]")),
        ("partition_twice", edited("format: iceberg", "format: iceberg\n  partitioning: [a, A]")),
        ("sort_twice", edited("format: iceberg", "format: iceberg\n  sort: [a, A desc]")),
        ("sort_by_nothing", edited("format: iceberg", "format: iceberg\n  sort: ['']")),
        ("old_format_version", edited("format: iceberg", "format: iceberg\n  format_version: 1")),
        ("format_version_of_delta", edited("format: iceberg", "format: delta\n  format_version: 3")),
        ("snapshots_of_delta", edited("format: iceberg", "format: delta\n  snapshots: {keep: 1, max_age: 1d}")),
        ("no_snapshot", edited("format: iceberg", "format: iceberg\n  snapshots:\n    keep: 0\n    max_age: 1d")),
        ("young_snapshots", edited("format: iceberg", "format: iceberg\n  snapshots:\n    keep: 9\n    max_age: 59m")),
        ("half_a_snapshot_rule", edited("format: iceberg", "format: iceberg\n  snapshots: {keep: 9}")),
        (
            "hive_partition_twice",
            edited("format: hive", "format: hive\n  partitions: [{name: d, type: date}, {name: D, type: date}]"),
        ),
        ("key_twice", format!("{MINIMAL}validation:\n  key:\n    - a\n    - b\n    - a\n")),
        ("one_folder", edited("lake/flights_iceberg", "lake/flights")),
        ("nested_folders", edited("lake/flights_iceberg", "lake/flights/iceberg")),
        ("control_in_source", edited("../../control", "../../lake/flights/_control")),
        ("partitions_of_delta", edited("format: hive", "format: delta\n  partitions: [{name: d, type: date}]")),
        ("adopt_with_transform", format!("{MINIMAL}transform: {{sql: SELECT 1}}\nbackfill: {{strategy: adopt}}\n")),
        (
            "renamed_partition",
            edited("format: hive", "format: hive\n  partitions: [{name: d, type: date}]\n  columns: {d: e}"),
        ),
        ("empty_sql", format!("{MINIMAL}transform:\n  sql: ''\n")),
        ("no_concurrency", format!("{MINIMAL}backfill:\n  concurrency: 0\n")),
        ("little_memory", format!("{MINIMAL}backfill:\n  concurrency: 64\n")),
        ("small_units", format!("{MINIMAL}backfill:\n  unit_size: 1MiB\n")),
        ("lag_below_interval", format!("{MINIMAL}dual_write:\n  max_lag: 5s\n")),
        ("quarantine_without_purge", format!("{MINIMAL}sunset:\n  quarantine: 30d\n")),
        ("own_property", edited("format: iceberg", "format: iceberg\n  properties: {lakeshift.migration: x}")),
        ("variable_outside_storage", edited("../../lake/flights\n", "${LAKE}/flights\n")),
        ("credential_in_file", format!("{MINIMAL}storage:\n  region: x\n  secret_access_key: hunter2\n")),
        ("broken_variable", format!("{MINIMAL}storage: {{region: \"${{hunter2\"}}\n")),
        ("credential_in_url", edited("../../lake/flights\n", "s3://key:hunter2@lake/flights\n")),
        ("token_in_query", edited("../../lake/flights\n", "az://lake/flights?sig=hunter2\n")),
        ("unknown_store", edited("../../lake/flights\n", "s3a://lake/flights\n")),
        ("one_slash", edited("../../lake/flights\n", "s3:/lake/flights\n")),
        ("dots_in_url", edited("../../lake/flights\n", "s3://lake/a/%2e%2e/b\n")),
        ("host_in_file_url", edited("../../lake/flights\n", "file://lake/flights\n")),
        ("home", edited("../../lake/flights\n", "~/lake\n")),
        ("empty_location", edited("../../lake/flights\n", "\n")),
        ("blank_range", format!("{MINIMAL}validation:\n  range: ' '\n")),
        ("rule_says_nothing", rule("a: {}")),
        ("rule_with_false_only", rule("a.b: {trim: false}")),
        ("rule_blank_name", rule("' ': {trim: true}")),
        ("rule_blank_old", rule("a: {old: ''}")),
        ("rule_blank_new", rule("a.b: {new: ' '}")),
        ("rule_negative", rule("a: {absolute: -0.5}")),
        ("rule_zero", rule("a: {relative: 0}")),
        ("rule_infinite", rule("a: {absolute: .inf}")),
        ("rule_nan", rule("a: {relative: .nan}")),
        ("rule_no_ulps", rule("a: {ulps: 0}")),
        ("rule_unknown_unit", rule("a: {unit: week}")),
        ("rule_unit_and_trim", rule("a: {unit: day, trim: true}")),
        ("rule_tolerance_and_case", rule("a: {ulps: 1, ignore_case: true}")),
        ("rule_tolerance_of_key", rule("k: {ulps: 1}")),
        ("rule_tolerance_without_key", rule("a: {absolute: 0.01}").replace("key: [k]", "mask: true")),
        ("rule_unknown_setting", rule("a: {epsilon: 1}")),
        ("accept_blank_id", accept("id: x", "id: ''")),
        ("accept_blank_owner", accept("owner: me", "owner: ' '")),
        ("accept_blank_reason", accept("reason: known", "reason: ''")),
        ("accept_without_owner", accept("    owner: me\n", "")),
        ("accept_no_rows", accept("max_rows: 5", "max_rows: 0")),
        ("accept_blank_where", accept("max_rows: 5", "max_rows: 5\n    where: ''")),
        ("accept_no_date", accept("2030-12-31", "2030-12-32")),
        ("accept_other_kind", accept("max_rows: 5", "max_rows: 5\n    kind: moved")),
        ("accept_columns_of_missing", accept("max_rows: 5", "max_rows: 5\n    columns: [a]\n    kind: missing")),
        ("accept_column_twice", accept("max_rows: 5", "max_rows: 5\n    columns: [a, A]")),
        (
            "accept_columns_without_key",
            accept("max_rows: 5", "max_rows: 5\n    columns: [a]").replace("key: [k]", "mask: true"),
        ),
        (
            "accept_changed_without_key",
            accept("max_rows: 5", "max_rows: 5\n    kind: changed").replace("key: [k]", "mask: true"),
        ),
        (
            "accept_twice",
            accept("max_rows: 5", "max_rows: 5\n  - {id: x, owner: a, reason: b, expires: 2030-01-01, max_rows: 1}"),
        ),
        ("catalog_of_delta", catalogued(REST).replace("format: iceberg", "format: delta")),
        ("catalog_of_a_hive_source", edited("format: hive", &format!("format: hive\n  catalog: {{{REST}}}"))),
        ("catalog_without_table", catalogued("type: rest, uri: https://c")),
        ("catalog_unknown_type", catalogued("type: glue, uri: https://c, table: a.b")),
        ("catalog_table_without_namespace", catalogued(&REST.replace("a.b.flights", "flights"))),
        ("catalog_table_with_an_empty_level", catalogued(&REST.replace("a.b.flights", "a..flights"))),
        ("catalog_name_of_rest", catalogued(&format!("{REST}, name: prod"))),
        ("catalog_token_of_sql", catalogued(&format!("{SQL}, token: \"${{T}}\""))),
        ("catalog_sql_without_name", catalogued(&SQL.replace("name: prod, ", ""))),
        ("catalog_password_in_the_file", catalogued(&format!("{SQL}, user: me, password: hunter2"))),
        ("catalog_secret_in_the_file", catalogued(&format!("{REST}, credential: \"me:hunter2\""))),
        ("catalog_secret_half_in_the_file", catalogued(&format!("{REST}, credential: \"hunter2:${{S}}\""))),
        ("catalog_credential_and_token", catalogued(&format!("{REST}, credential: \"${{C}}\", token: \"${{T}}\""))),
        ("catalog_password_without_user", catalogued(&format!("{SQL}, password: \"${{P}}\""))),
        ("catalog_uri_with_password", catalogued(&SQL.replace("db:5432", "me:hunter2@db:5432"))),
        ("catalog_uri_with_user", catalogued(&REST.replace("catalog/api", "hunter2@catalog/api"))),
        ("catalog_uri_with_password_parameter", catalogued(&SQL.replace("sslmode=require", "password=hunter2"))),
        ("catalog_uri_of_a_driver", catalogued(&SQL.replace("postgresql:", "postgresql+psycopg2:"))),
        ("catalog_uri_with_query", catalogued(&REST.replace("/api", "/api?token=hunter2"))),
        ("catalog_uri_without_scheme", catalogued(&REST.replace("https://catalog/api", "hunter2"))),
        ("catalog_sqlite_in_memory", catalogued("type: sql, name: n, table: a.t, uri: \"sqlite://\"")),
        ("catalog_sqlite_with_user", catalogued("type: sql, name: n, table: a.t, uri: \"sqlite:////c.db\", user: me")),
        ("catalog_variable_in_the_uri", catalogued(&REST.replace("https://catalog/api", "\"https://${HOST}\""))),
        ("tab", edited("  alias", "\talias")),
        ("colon_in_value", edited("name: flights", "name: flights\ndescription: old: new")),
        ("two_documents", format!("{MINIMAL}---\n{MINIMAL}")),
        ("tag", edited("name: flights", "name: !Name flights")),
        ("empty_file", "".to_owned()),
        ("text_only", "flights".to_owned()),
    ]
}

#[test]
fn a_mistake_is_told_with_its_place_and_a_hint() {
    let mut all = String::new();
    for (name, text) in mistakes() {
        let error = read(&text).map(|_| name).unwrap_err().to_string();
        writeln!(all, "{name}\n{error}\n").unwrap();
    }
    assert!(!all.contains("hunter2"), "{all}");
    insta::assert_snapshot!(all);
}

/// Its files cannot be told from those of other branches, so they stay.
#[test]
fn a_branch_is_of_an_iceberg_table_and_its_old_files_stay() {
    let iceberg = edited("format: hive", "format: iceberg\n  ref: audit");
    assert_eq!(read(&iceberg).unwrap().source.reference.as_deref(), Some("audit"));
    let refused = [
        (edited("format: hive", "format: hive\n  ref: audit"), "source.ref is for iceberg sources"),
        (iceberg.replace("audit", "' '"), "source.ref"),
        (format!("{iceberg}sunset: {{disposition: purge}}\n"), "may be those of others"),
    ];
    for (text, told) in refused {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn rules_without_a_spec_are_read_and_checked_as_in_one() {
    let rules = |text: &str, key: &[&str]| {
        let adjust = |rules: &mut Validation| rules.key.extend(key.iter().map(|key| (*key).to_owned()));
        Validation::from_yaml(text, Path::new("rules.yaml"), adjust)
    };
    let tolerant = "validation:\n  columns:\n    delay: {absolute: 0.5}\n";
    assert_eq!(rules("{}", &[]).unwrap(), Validation::default());
    assert_eq!(rules(tolerant, &["id"]).unwrap().columns["delay"].absolute, Some(0.5));
    let error = rules(tolerant, &[]).unwrap_err().to_string();
    assert!(error.starts_with("rules.yaml:3:") && error.contains("has a tolerance, and without a key"), "{error}");
    let error = rules("columns: {delay: {absolute: 0.5}}", &[]).unwrap_err().to_string();
    assert!(error.contains("columns") && error.contains("one of: validation"), "{error}");
    assert!(rules("validation: {key: [a, a]}", &[]).is_err());
}

#[rstest]
#[case("512MiB", 536_870_912, "512MiB")]
#[case("1024 MiB", 1 << 30, "1GiB")]
#[case("1500MB", 1_500_000_000, "1500MB")]
#[case("1B", 1, "1B")]
fn a_size_reads_and_prints(#[case] text: &str, #[case] bytes: u64, #[case] printed: &str) {
    let size: ByteSize = text.parse().unwrap();
    assert_eq!((size.bytes(), size.to_string()), (bytes, printed.to_owned()));
}

#[rstest]
#[case("14d", 14 * 86_400, "14d")]
#[case("48h", 172_800, "2d")]
#[case("90s", 90, "90s")]
#[case("0s", 0, "0s")]
fn a_span_reads_and_prints(#[case] text: &str, #[case] seconds: u64, #[case] printed: &str) {
    let span: Span = text.parse().unwrap();
    assert_eq!((span.as_seconds(), span.to_string()), (seconds, printed.to_owned()));
}

#[rstest]
fn nonsense_is_no_size_and_no_span(
    #[values("", "d", "-1d", "1.5GiB", "1 w", "0B", "1gib", "99999999999999999999B", "36501d")] text: &str,
) {
    assert!(text.parse::<ByteSize>().is_err() && text.parse::<Span>().is_err());
}

#[rstest]
#[case("/lake/a b/", "file:///lake/a%20b")]
#[case("../../../../../x", "file:///x")]
#[case("s3://Lake/Flights//", "s3://Lake/Flights")]
#[case("s3://lake", "s3://lake")]
#[case("abfss://lake@account.dfs.core.windows.net/flights", "abfss://lake@account.dfs.core.windows.net/flights")]
#[case("memory:///lake", "memory:///lake")]
#[case("file:///lake", "file:///lake")]
fn a_location_becomes_a_url(#[case] text: &str, #[case] url: &str) {
    let spec = read(&edited("../../lake/flights_iceberg", text)).unwrap();
    assert_eq!(spec.target.location.as_str(), url);
    assert_eq!(Location::from_url(url).unwrap(), spec.target.location);
}

#[test]
fn a_folder_whose_name_begins_alike_is_another_folder() {
    assert!(read(MINIMAL).is_ok(), "lake/flights and lake/flights_iceberg");
    let (a, b) = (Location::from_url("s3://lake/a").unwrap(), Location::from_url("s3://lake/a/b").unwrap());
    assert!(b.is_within(&a) && a.is_within(&a) && !a.is_within(&b));
    assert!(!Location::from_url("s3://lake/ab").unwrap().is_within(&a));
}

#[test]
fn hive_to_delta_works_in_place_and_only_so_far_as_it_can() {
    let in_place = edited("lake/flights_iceberg", "lake/flights").replace("format: iceberg", "format: delta");
    assert!(read(&in_place).is_ok());
    for (more, key) in [
        ("backfill: {strategy: rewrite}", "write files"),
        ("backfill: {strategy: splice}", "write files"),
        ("transform: {sql: SELECT 1}", "transform"),
        ("sunset: {disposition: purge}", "removed"),
    ] {
        let error = read(&format!("{in_place}{more}\n")).unwrap_err().to_string();
        assert!(error.contains("in place") && error.contains(key), "{error}");
    }
}

#[test]
fn storage_options_take_variables_and_the_tables_own_go_first() {
    let spec = read(FULL).unwrap();
    let env = |name: &str| (name != "UNSET").then(|| format!("value of {name}"));
    let source = spec.storage_options(Place::Source, env).unwrap();
    assert_eq!((source["region"].as_str(), source["secret_access_key"].as_str()), ("eu-central-1", "value of AWS_SECRET"));
    assert_eq!(spec.storage_options(Place::Target, env).unwrap()["region"], "us-east-1");
    let error = spec.storage_options(Place::Control, |_| None).unwrap_err();
    assert_eq!((error.variable.as_str(), error.option.as_str()), ("AWS_KEY", "access_key_id"));
}

#[rstest]
#[case("aws_secret_access_key", true)]
#[case("session_token", true)]
#[case("azure_storage_account_key", true)]
#[case("azure_storage_sas_token", true)]
#[case("service_account_key", true)]
#[case("access_key_id", false)]
#[case("federated_token_file", false)]
#[case("sse_kms_key_id", false)]
#[case("skip_signature", false)]
#[case("endpoint", false)]
fn a_credential_comes_from_the_environment_alone(#[case] option: &str, #[case] credential: bool) {
    assert_eq!(read(&format!("{MINIMAL}storage: {{{option}: literal}}\n")).is_err(), credential);
    assert_eq!(read(&format!("{MINIMAL}storage: {{{option}: \"a${{NAME}}\"}}\n")).is_err(), credential);
    assert!(read(&format!("{MINIMAL}storage: {{{option}: \"${{NAME}}\"}}\n")).is_ok());
}

#[test]
fn an_anchor_that_multiplies_nothing_is_fine() {
    let text = edited("name: flights\n", "name: &n flights\ndescription: *n\n");
    assert_eq!(read(&text).unwrap().description.as_deref(), Some("flights"));
}

#[test]
fn no_print_of_a_spec_has_an_option_and_its_digest_does_not_depend_on_one() {
    let spec = read(FULL).unwrap();
    for text in [format!("{spec:?}"), spec.to_canonical_json(), serde_yaml::to_string(&spec).unwrap()] {
        assert!(text.contains("***") && !text.contains("AWS_SECRET") && !text.contains("8333"), "{text}");
    }
    let other = read(&FULL.replace("${AWS_SECRET}", "${OTHER}")).unwrap();
    assert_eq!(spec.to_canonical_json(), other.to_canonical_json());
    assert_eq!(spec.digest(), other.digest());
    assert_eq!(spec.digest().len(), 64);
}

#[test]
fn the_digest_knows_the_meaning_and_neither_the_layout_nor_the_pace() {
    let digest = |text: &str| read(text).unwrap().digest();
    let same = format!("# a comment\n{}backfill: {{memory: 0512 MiB}}\n", edited("../../control", "\"/repo/control/\""));
    assert_eq!(digest(MINIMAL), digest(&same));
    assert_eq!(digest(MINIMAL), digest(&format!("{MINIMAL}backfill: {{memory: 513MiB}}\n")));
    assert_ne!(digest(MINIMAL), digest(&format!("{MINIMAL}scope: {{where: a = 1}}\n")));
    let target = |more: &str| digest(&edited("format: iceberg", &format!("format: iceberg\n  {more}")));
    assert_eq!(digest(MINIMAL), target("snapshots: {keep: 1, max_age: 1d}"));
    assert_ne!(digest(MINIMAL), target("format_version: 3"));
    assert_ne!(digest(MINIMAL), target("sort: [a]"));
}

#[test]
fn the_canonical_json_reads_back_as_the_same_spec() {
    let spec = read(MINIMAL).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&spec.to_canonical_json()).unwrap(), spec);
    assert_eq!(read(&spec.to_canonical_json()).unwrap(), spec);
}

/// A list of ten references to a list of ten references … to a text.
fn laughs() -> String {
    (1..9).fold("a0: &a0 haha\n".to_owned(), |mut text, n| {
        let references = vec![format!("*a{}", n - 1); 10].join(", ");
        writeln!(text, "a{n}: &a{n} [{references}]").unwrap();
        text
    })
}

#[rstest]
#[case::laughs(laughs(), "anchors")]
#[case::long_text_often(format!("description: &d {}\nvalidation: {{key: [{}]}}\n", "x".repeat(500_000), "*d, ".repeat(100_000)), "anchors")]
#[case::itself("a: &a [*a]\n".to_owned(), "")]
#[case::brackets("[".repeat(1 << 20), "brackets")]
#[case::deep("[".repeat(4000), "")]
#[case::indentation((0..1400).map(|n| format!("{}a:\n", " ".repeat(n))).collect(), "")]
#[case::dashes("- ".repeat(500_000), "")]
#[case::questions("? ".repeat(500_000), "")]
#[case::keys((0..100_000).map(|n| format!("k{n}: 1\n")).collect(), "unknown key")]
#[case::too_long("#".repeat((1 << 20) + 1), "bytes")]
fn a_bomb_is_refused(#[case] text: String, #[case] reason: &str) {
    let error = read(&text).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
    assert!(error.len() < 2000, "{error}");
}

#[test]
fn bytes_that_are_no_text_are_refused_at_their_place() {
    let error = Spec::from_yaml(b"name: a\nb: \xff", Path::new("x.yaml")).unwrap_err();
    assert_eq!((error.line, error.column), (2, 4));
}

#[test]
fn an_error_shows_no_control_characters_and_no_long_text() {
    let error = read(&format!("{MINIMAL}\"\\e[2J{}\": 1\n", "x".repeat(900))).unwrap_err().to_string();
    assert!(!error.contains('\u{1b}') && error.contains("\\u{1b}[2J") && error.len() < 600, "{error}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Spec::from_yaml(&bytes, Path::new(FILE));
    }

    #[test]
    fn no_change_of_a_spec_panics(at in 0..FULL.len(), length in 0..40_usize, put in "[-:{}\\[\\]&*!|>'\"%@`#?, \n\\ta-z0-9$é\u{0}]{0,12}") {
        let mut bytes = FULL.as_bytes().to_vec();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, put.into_bytes());
        if let Err(error) = Spec::from_yaml(&bytes, Path::new(FILE)) {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 2;
            assert!((1..=lines).contains(&error.line) && error.column >= 1, "{error}");
        }
    }
}

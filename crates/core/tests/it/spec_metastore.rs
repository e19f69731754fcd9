//! `cutover.metastore`: what it takes, and in which words it refuses.

use std::path::Path;

use lakeshift_core::spec::{Spec, SpecError};
use rstest::rstest;

fn read(metastore: &str) -> Result<Spec, SpecError> {
    let text = format!(
        "apiVersion: lakeshift/v1\nname: flights\ncontrol: control\nsource: {{format: hive, location: flights}}\n\
         target: {{format: iceberg, location: flights_iceberg}}\ncutover:\n  alias: flights\n  metastore: {{{metastore}}}\n"
    );
    Spec::from_yaml(text, Path::new("/repo/migration.yaml"))
}

#[rstest]
#[case("uri: 'thrift://hms:9083', table: Lake.flights", ("hms", 9083), ("Lake", "flights"))]
#[case("uri: 'thrift://hms/', view: lake.flights, query: SELECT 1 AS a", ("hms", 9083), ("lake", "flights"))]
#[case("uri: 'thrift://[::1]:9', table: lake.flights", ("::1", 9), ("lake", "flights"))]
fn a_table_or_a_view_of_a_metastore_is_taken(#[case] text: &str, #[case] address: (&str, u16), #[case] entry: (&str, &str)) {
    let metastore = read(text).unwrap().cutover.metastore.unwrap();
    assert_eq!((metastore.address(), metastore.entry()), ((address.0.to_owned(), address.1), entry));
}

#[rstest]
#[case("uri: 'thrift://hms:9083'", "names neither a `table` nor a `view`")]
#[case("uri: 'thrift://hms:9083', table: a.b, view: a.c, query: SELECT 1", "both a `table` and a `view`")]
#[case("uri: 'thrift://hms:9083', table: flights", "a database and a name")]
#[case("uri: 'thrift://hms:9083', table: a.b.c", "a database and a name")]
#[case("uri: 'thrift://hms:9083', table: 'a.b;c'", "a database and a name")]
#[case("uri: 'thrift://hms:9083', table: a.b, query: SELECT 1", "is the text of a view")]
#[case("uri: 'thrift://hms:9083', view: a.b", "lacks the `query`")]
#[case("uri: 'thrift://hms:9083', view: a.b, query: ' '", "a SELECT statement")]
#[case("uri: 'thrift://hms:9083', table: a.b, name: c", "name")]
#[case("uri: 'hms:9083', table: a.b", "does not begin with thrift://")]
#[case("uri: 'thrift://a:1,thrift://b:1', table: a.b", "cutover.metastore.uri")]
#[case("uri: 'thrift://me:hunter2@hms:9083', table: a.b", "names a user or a password")]
#[case("uri: 'thrift://hms:9083/db?token=hunter2', table: a.b", "more than a host and a port")]
#[case("table: a.b", "uri")]
fn what_cannot_be_meant_is_refused_by_name(#[case] text: &str, #[case] told: &str) {
    let error = read(text).unwrap_err().to_string();
    assert!(error.contains(told) && !error.contains("hunter2"), "{error}");
    assert!(error.contains("migration.yaml:8") || error.contains("line 8"), "{error}");
}

/// Which readers move is part of what was approved.
#[test]
fn another_entry_is_another_spec() {
    let digest = |text: &str| read(text).unwrap().digest();
    let one = digest("uri: 'thrift://hms:9083', table: a.b");
    assert_eq!(one, digest("table: a.b, uri: 'thrift://hms:9083'"));
    assert_ne!(one, digest("uri: 'thrift://hms:9083', table: a.c"));
}

//! Catalogues in the migration spec, and their credentials.

use lakeshift_core::spec::{Place, Spec};
use rstest::rstest;

use crate::spec::{MINIMAL, edited, read};

/// The minimal spec with a target in a catalogue of these keys.
pub fn catalogued(keys: &str) -> String {
    edited("flights_iceberg\n", &format!("flights_iceberg\n  catalog: {{{keys}}}\n"))
}

pub const SQL: &str = "type: sql, uri: \"postgresql://db:5432/lake?sslmode=require\", name: prod, table: lake.flights";
pub const REST: &str = "type: rest, uri: https://catalog/api, table: a.b.flights, warehouse: w";

#[test]
fn a_catalogue_is_named_with_its_table_and_credentials_that_the_spec_does_not_hold() {
    let text = catalogued(&format!("{SQL}, user: lakeshift, password: \"${{PASSWORD}}\""));
    let spec = read(&text).unwrap();
    let credentials = spec.catalog_credentials(Place::Target, |name| Some(format!("value of {name}"))).unwrap();
    assert_eq!(
        (credentials.user.as_deref(), credentials.password.as_deref()),
        (Some("lakeshift"), Some("value of PASSWORD"))
    );
    assert_eq!(format!("{credentials:?}"), "CatalogCredentials(***)");
    let error = spec.catalog_credentials(Place::Target, |_| None).unwrap_err();
    assert_eq!((error.variable.as_str(), error.option.as_str()), ("PASSWORD", "catalog.password"));
    for text in [format!("{spec:?}"), spec.to_canonical_json()] {
        assert!(text.contains("***") && !text.contains("PASSWORD") && !text.contains("lakeshift\""), "{text}");
    }
    let rest = read(&catalogued(&format!("{REST}, credential: \"${{ID}}:${{SECRET}}\""))).unwrap();
    assert_eq!(rest.catalog(Place::Target).unwrap().identifier(), (vec!["a", "b"], "flights"));
    assert_eq!(rest.catalog(Place::Source), None);
}

#[test]
fn who_asks_a_catalogue_is_no_part_of_the_digest_and_which_one_is_asked_is() {
    let digest = |keys: String| read(&catalogued(&keys)).unwrap().digest();
    let plain = digest(REST.to_owned());
    assert_eq!(plain, digest(format!("{REST}, token: \"${{TOKEN}}\"")));
    assert_ne!(plain, digest(REST.replace("flights", "others")));
    assert_ne!(plain, read(MINIMAL).unwrap().digest());
}

#[rstest]
#[case("sqlite:///../../catalog.db", "sqlite:////repo/catalog.db")]
#[case("sqlite:////lake/a b.db", "sqlite:////lake/a b.db")]
fn a_sqlite_database_is_found_from_the_specs_folder(#[case] uri: &str, #[case] resolved: &str) {
    let spec = read(&catalogued(&format!("type: sql, name: n, table: a.t, uri: \"{uri}\""))).unwrap();
    assert_eq!(spec.catalog(Place::Target).unwrap().uri, resolved);
    assert_eq!(serde_json::from_str::<Spec>(&spec.to_canonical_json()).unwrap(), spec);
}

#[test]
fn a_spec_from_a_journal_takes_the_credentials_of_the_same_catalogue_alone() {
    let own = read(&catalogued(&format!("{REST}, token: \"${{TOKEN}}\""))).unwrap();
    let mut other = read(&catalogued(&REST.replace("flights", "others"))).unwrap();
    let catalog = other.target.catalog.as_mut().unwrap();
    catalog.take_credentials(own.target.catalog.as_ref());
    assert!(catalog.token.is_some());
    catalog.uri = "https://elsewhere".to_owned();
    catalog.take_credentials(own.target.catalog.as_ref());
    assert_eq!(catalog.token, None);
}

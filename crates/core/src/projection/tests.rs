use rstest::rstest;

use super::*;
use crate::schema::TimeUnit;

fn input() -> TableSchema {
    let columns = [("id", DataType::Int32), ("origin", DataType::String), ("at", DataType::Date)];
    TableSchema { fields: columns.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec() }
}

fn column(name: &str) -> TargetColumn {
    TargetColumn::named(name)
}

fn from(name: &str, from: &str) -> TargetColumn {
    TargetColumn { from: Some(from.to_owned()), ..column(name) }
}

fn settle(columns: &[TargetColumn], drop: &[&str]) -> Result<Projection, Vec<String>> {
    let drop: Vec<String> = drop.iter().map(|name| (*name).to_owned()).collect();
    Projection::settle(ProjectionSpec { columns, drop: &drop }, &input())
}

fn names(projection: &Projection) -> Vec<&str> {
    projection.columns.iter().map(|column| column.name.as_str()).collect()
}

#[test]
fn a_list_gives_order_and_names_and_a_star_stands_for_the_others() {
    let projection = settle(&[from("airport", "origin"), column("*")], &["at"]).unwrap();
    assert_eq!(names(&projection), ["airport", "id"]);
    assert_eq!(projection.dropped, ["at"]);
    assert_eq!(projection.change().unwrap(), "target.columns makes airport from origin");

    let reordered = settle(&[column("at"), column("*")], &[]).unwrap();
    assert_eq!((names(&reordered), reordered.change()), (vec!["at", "id", "origin"], None));
    assert!(reordered.dropped.is_empty());

    let dropped = settle(&[], &["origin"]).unwrap();
    assert_eq!((names(&dropped), dropped.change().unwrap().as_str()), (vec!["id", "at"], "target.drop leaves origin out"));
}

#[test]
fn names_may_change_places() {
    let swapped = settle(&[from("id", "origin"), from("origin", "id"), column("*")], &[]).unwrap();
    let pairs: Vec<_> = swapped.columns.iter().map(|one| (one.name.as_str(), one.from.as_deref().unwrap())).collect();
    assert_eq!(pairs, [("id", "origin"), ("origin", "id"), ("at", "at")]);
}

#[rstest]
#[case(&[column("id"), column("origin")], &[], "no place for at")]
#[case(&[column("id"), column("*")], &["nope"], "target.drop: nope is no column")]
#[case(&[column("id"), column("*")], &["id"], "name it in one of them")]
#[case(&[from("id", "origin"), column("*"), column("id")], &[], "two columns are named id")]
#[case(&[column("nope"), column("*")], &[], "nope is made from nope, which is no column (there are id, origin, at)")]
#[case(&[TargetColumn { data_type: Some(DataType::Boolean), ..column("id") }, column("*")], &[], "id is int32 and cannot be made boolean")]
#[case(&[TargetColumn { default: Some(Literal::Boolean(true)), ..column("id") }, column("*")], &[], "the default of id is no int32")]
fn what_cannot_be_done_is_refused_by_name(#[case] columns: &[TargetColumn], #[case] drop: &[&str], #[case] expected: &str) {
    let refused = settle(columns, drop).unwrap_err();
    assert!(refused.iter().any(|reason| reason.contains(expected)), "{refused:?}");
}

#[test]
fn every_refusal_is_told_not_only_the_first() {
    let refused = settle(&[column("nope"), from("x", "y")], &["z"]).unwrap_err();
    assert_eq!(refused.len(), 6, "{refused:#?}");
}

#[test]
fn a_default_fills_nulls_or_makes_a_column() {
    let zero = TargetColumn { default: Some(Literal::Integer(0)), ..column("id") };
    let day = TargetColumn {
        data_type: Some(DataType::Date),
        default: Some(Literal::Text("2001-01-01".to_owned())),
        ..column("loaded")
    };
    let projection = settle(&[zero, column("*"), day], &[]).unwrap();
    assert_eq!(projection.columns[0].change().unwrap(), "0 in place of NULL");
    assert_eq!(projection.columns[3].from, None);
    assert_eq!(projection.columns[3].change().unwrap(), "new, date, '2001-01-01' in every row");
}

#[rstest]
#[case(DataType::Int64, DataType::Float64, true)]
#[case(DataType::Float64, DataType::Int8, true)]
#[case(DataType::String, DataType::Date, true)]
#[case(DataType::String, DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, false)]
#[case(DataType::Timestamp { unit: TimeUnit::Nanos, utc: true }, DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, true)]
#[case(DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, DataType::Timestamp { unit: TimeUnit::Micros, utc: false }, false)]
#[case(DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, DataType::Date, false)]
#[case(DataType::Boolean, DataType::Int32, false)]
#[case(DataType::Uuid, DataType::String, false)]
fn only_casts_that_can_be_undone_are_offered(#[case] from: DataType, #[case] to: DataType, #[case] expected: bool) {
    assert_eq!(is_castable(&from, &to), expected);
}

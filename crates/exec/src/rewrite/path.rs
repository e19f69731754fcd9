//! The folders of data files: `data/date_month=2001-02/origin_bucket=3`.
//!
//! They are for people and for listings; no reader of Delta or Iceberg takes values from them.

use lakeshift_core::partition::{HIVE_NULL, PartitionSpec, hive_text};
use lakeshift_core::value::Value;

/// Bytes of an encoded value in a folder's name, at most: names on disk end at 255.
const VALUE_BYTES_MAX: usize = 120;

/// The folder of a partition, relative to the table's location; `data` where there are no partition fields.
pub fn partition_folder(spec: &PartitionSpec, key: &[Option<Value>]) -> String {
    let mut folder = "data".to_owned();
    for (field, value) in spec.fields.iter().zip(key) {
        let value = match value {
            None => HIVE_NULL.to_owned(),
            Some(value) => match encode(&field.transform.display(Some(value))) {
                // The text that reads like null is spelled so that it does not.
                text if text == HIVE_NULL => text.replacen('_', "%5F", 1),
                text => text,
            },
        };
        folder.push('/');
        folder.push_str(&visible(&encode(&field.name)));
        folder.push('=');
        folder.push_str(&value);
    }
    folder
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for piece in hive_text(text) {
        if encoded.len() + piece.len() > VALUE_BYTES_MAX {
            break;
        }
        encoded.push_str(piece);
    }
    encoded
}

/// Folders that start with `_` or `.` are hidden from Hive, Spark and Delta.
fn visible(name: &str) -> String {
    match name.strip_prefix(['_', '.']) {
        Some(rest) => format!("{}{rest}", if name.starts_with('_') { "%5F" } else { "%2E" }),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use lakeshift_core::partition::{PartitionField, Transform};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("place", Some("a/b c=d%+é"), "data/place=a%2Fb%20c%3Dd%25%2B%C3%A9")]
    #[case("place", None, "data/place=__HIVE_DEFAULT_PARTITION__")]
    #[case("place", Some("__HIVE_DEFAULT_PARTITION__"), "data/place=%5F_HIVE_DEFAULT_PARTITION__")]
    #[case("_delta_log", Some(""), "data/%5Fdelta_log=")]
    #[case("place", Some(".."), "data/place=..")]
    fn a_folder_names_the_value_in_hive_style(#[case] column: &str, #[case] value: Option<&str>, #[case] folder: &str) {
        let spec = PartitionSpec { fields: vec![PartitionField::new(column, Transform::Identity)] };
        assert_eq!(partition_folder(&spec, &[value.map(|text| Value::String(text.to_owned()))]), folder);
    }

    #[test]
    fn a_long_value_is_cut_and_times_read_as_dates() {
        let spec = PartitionSpec {
            fields: vec![PartitionField::new("a", Transform::Identity), PartitionField::new("d", Transform::Month)],
        };
        let folder = partition_folder(&spec, &[Some(Value::String("é".repeat(500))), Some(Value::Int(373))]);
        let segments = folder.split('/').collect::<Vec<_>>();
        assert!(segments[1].len() < 150, "{folder}");
        assert_eq!(segments[2], "d_month=2001-02");
    }
}

//! The rules of which delete applies to which data file.

use std::sync::Arc;

use iceberg::spec::{
    DataFileBuilder, Datum, Literal, NestedField, PrimitiveType, Struct, Transform, Type, UnboundPartitionField,
};
use lakeshift_core::storage::Storage;
use object_store::memory::InMemory;
use object_store::path::Path;
use rstest::rstest;
use url::Url;

use super::*;

const POSITIONS: DataContentType = DataContentType::PositionDeletes;
const EQUALITY: DataContentType = DataContentType::EqualityDeletes;

fn places() -> Places {
    let url = Url::parse("memory:///lake/t").unwrap();
    Places::new(Storage::new(url, Arc::new(InMemory::new()), Path::from("lake/t")))
}

/// A table by day, or not partitioned any more.
fn spec(by_day: bool) -> (PartitionSpec, Schema) {
    let day = NestedField::optional(1, "day", Type::Primitive(PrimitiveType::Date));
    let schema = Schema::builder().with_fields([Arc::new(day)]).build().unwrap();
    let transform = if by_day { Transform::Identity } else { Transform::Void };
    let field = UnboundPartitionField { source_id: 1, field_id: Some(1000), name: "by_day".to_owned(), transform };
    let builder = PartitionSpec::builder(schema.clone()).with_spec_id(i32::from(!by_day));
    (builder.add_unbound_fields([field]).unwrap().build().unwrap(), schema)
}

fn file(content: DataContentType, path: &str, day: Option<i32>) -> DataFile {
    let (named, format) = match path.split_once(" of ") {
        Some((kind, path)) => (Some(format!("memory:///lake/t/{path}")), kind),
        None => (None, path),
    };
    let format = if format.starts_with("dv") { DataFileFormat::Puffin } else { DataFileFormat::Parquet };
    DataFileBuilder::default()
        .content(content)
        .file_path(format!("memory:///lake/t/{}", path.replace(' ', "-")))
        .file_format(format)
        .partition(Struct::from_iter([day.map(Literal::date)]))
        .record_count(2)
        .file_size_in_bytes(70)
        .equality_ids((content == EQUALITY).then(|| vec![7, 3]))
        .referenced_data_file(named)
        .content_offset((format == DataFileFormat::Puffin).then_some(4))
        .content_size_in_bytes((format == DataFileFormat::Puffin).then_some(44))
        .build()
        .unwrap()
}

/// The deletes of these files, all of sequence 5, and what applies to the data file `a` of day 1.
fn applied(deletes: &[DataFile], sequence: i64) -> Result<Option<Applied>, TableError> {
    let mut index = Index::default();
    for file in deletes {
        let by_day = file.partition().fields()[0].is_some();
        let (spec, schema) = spec(by_day);
        let scope = Scopes::new("t", &spec, &schema).unwrap().of(file).unwrap();
        index.add(&places(), spec.is_unpartitioned(), Delete { sequence: 5, scope, file })?;
    }
    let (spec, schema) = spec(true);
    let mut data = file(DataContentType::Data, "a", Some(1));
    data = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(data.file_path().to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(data.partition().clone())
        .record_count(9)
        .file_size_in_bytes(100)
        .build()
        .unwrap();
    index.applied(&places(), &Scopes::new("t", &spec, &schema).unwrap(), &data, sequence)
}

#[rstest]
#[case::position_of_its_own_commit(POSITIONS, "d", Some(1), 5, true)]
#[case::position_before_the_file(POSITIONS, "d", Some(1), 6, false)]
#[case::position_of_another_partition(POSITIONS, "d", Some(2), 4, false)]
#[case::position_of_an_unpartitioned_spec(POSITIONS, "d", None, 4, false)]
#[case::position_that_names_the_file(POSITIONS, "d of a", Some(1), 5, true)]
#[case::position_that_names_another(POSITIONS, "d of b", Some(1), 4, false)]
#[case::vector_of_its_own_commit(POSITIONS, "dv of a", Some(1), 5, true)]
#[case::vector_before_the_file(POSITIONS, "dv of a", Some(1), 6, false)]
#[case::vector_of_another(POSITIONS, "dv of b", Some(1), 4, false)]
#[case::equality_after_the_file(EQUALITY, "d", Some(1), 4, true)]
#[case::equality_of_its_own_commit(EQUALITY, "d", Some(1), 5, false)]
#[case::equality_of_another_partition(EQUALITY, "d", Some(2), 4, false)]
#[case::equality_everywhere(EQUALITY, "d", None, 4, true)]
#[case::equality_everywhere_of_its_own_commit(EQUALITY, "d", None, 5, false)]
fn a_delete_applies_as_the_specification_says(
    #[case] content: DataContentType,
    #[case] path: &str,
    #[case] day: Option<i32>,
    #[case] sequence: i64,
    #[case] applies: bool,
) {
    let found = applied(&[file(content, path, day)], sequence).unwrap();
    assert_eq!(found.is_some(), applies, "{found:?}");
}

#[test]
fn a_vector_stands_for_all_positional_deletes_and_for_no_equality_delete() {
    let [vector, other] = ["dv of a", "d"].map(|path| file(POSITIONS, path, Some(1)));
    let found = applied(&[vector, other, file(EQUALITY, "e", Some(1))], 4).unwrap().unwrap();
    let stored = StoredVector { path: "dv-of-a".to_owned(), offset: 4, size_bytes: 44, rows: 2 };
    assert_eq!((found.vector.as_ref(), &found.positional), (Some(&stored), &vec![]));
    let files = vec![DeleteFile { path: "e".to_owned(), size_bytes: 70, rows: 2 }];
    assert_eq!(found.equality, [ByColumns { ids: vec![3, 7], files }]);
    assert_eq!(found.rows_left("a").unwrap(), None, "equality deletes are not counted");
    let vector = applied(&[file(POSITIONS, "dv of a", Some(1))], 4).unwrap().unwrap();
    assert_eq!(vector.rows_left("a").unwrap(), Some(7));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let two = [file(POSITIONS, "dv of a", Some(1)), file(POSITIONS, "dv2 of a", Some(1))];
    assert!(applied(&two, 4).unwrap_err().to_string().contains("two deletion vectors"));
    let elsewhere = applied(&[file(POSITIONS, "d of a", Some(2))], 4).unwrap_err();
    assert!(elsewhere.to_string().contains("another partition"), "{elsewhere}");
    let nameless = applied(&[file(POSITIONS, "dv", Some(1))], 4).unwrap_err();
    assert!(nameless.to_string().contains("does not name its data file"), "{nameless}");
}

#[test]
fn more_delete_files_than_are_read_are_refused() {
    let deletes =
        |count: usize| (0..count).map(|number| file(POSITIONS, &format!("d{number}"), Some(1))).collect::<Vec<_>>();
    assert!(applied(&deletes(DELETE_FILES_MAX), 4).is_ok());
    assert!(matches!(applied(&deletes(DELETE_FILES_MAX + 1), 4), Err(TableError::Unsupported { .. })));
}

#[test]
fn bounds_that_are_one_path_name_the_file() {
    let with = |lower: &str, upper: &str| {
        let bound = |path: &str| HashMap::from([(RESERVED_FIELD_ID_DELETE_FILE_PATH, Datum::string(path))]);
        let mut builder = DataFileBuilder::default();
        builder.content(POSITIONS).file_path("d".to_owned()).file_format(DataFileFormat::Parquet).record_count(1);
        builder.file_size_in_bytes(1).lower_bounds(bound(lower)).upper_bounds(bound(upper)).build().unwrap()
    };
    assert_eq!(named(&with("memory:///lake/t/a", "memory:///lake/t/a")).as_deref(), Some("memory:///lake/t/a"));
    assert_eq!(named(&with("memory:///lake/t", "memory:///lake/u")), None);
}

/// A column that was widened has narrower values in older manifests; the partition is the same.
#[test]
fn a_partition_is_the_same_after_its_column_was_widened() {
    let scope = |kind: PrimitiveType, literal: Literal| {
        let field = NestedField::optional(1, "n", Type::Primitive(kind));
        let schema = Schema::builder().with_fields([Arc::new(field)]).build().unwrap();
        let spec = PartitionSpec::builder(schema.clone()).with_spec_id(0);
        let spec = spec.add_partition_field("n", "n", Transform::Identity).unwrap().build().unwrap();
        let mut builder = DataFileBuilder::default();
        builder.content(POSITIONS).file_path("d".to_owned()).file_format(DataFileFormat::Parquet).record_count(1);
        let file = builder.file_size_in_bytes(1).partition(Struct::from_iter([Some(literal)])).build().unwrap();
        Scopes::new("t", &spec, &schema).unwrap().of(&file).unwrap()
    };
    assert_eq!(scope(PrimitiveType::Int, Literal::int(5)), scope(PrimitiveType::Long, Literal::long(5)));
    assert_ne!(scope(PrimitiveType::Int, Literal::int(5)), scope(PrimitiveType::Int, Literal::int(6)));
}

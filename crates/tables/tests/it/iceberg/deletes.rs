//! Rows deleted from files that stay: what is written, what goes with the data file, and who was first.

use ::iceberg::spec::{DataContentType, DataFile, DataFileFormat, ManifestContentType};
use bytes::Bytes;
use deltalake::arrow::array::AsArray;
use deltalake::arrow::datatypes::Int64Type;
use lakeshift_core::table::{CommitOutcome, CommitRequest, MigrationId, TableError, TableFormat};
use lakeshift_tables::iceberg::IcebergTable;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use roaring::RoaringTreemap;
use rstest::rstest;

use super::fixture::*;

const A: &str = "data/a.parquet";
const B: &str = "data/b.parquet";

/// A table with the files a (4 rows) and b (2 rows), at metadata version 2.
async fn two_files(format_version: u8) -> (Lake, IcebergTable) {
    let (lake, table) = created_as(Some(format_version)).await;
    let first = lake.file(A, Some(DAY), &[(1, None), (2, None), (3, None), (4, None)]).await;
    let second = lake.file(B, Some(DAY + 1), &[(5, None), (6, None)]).await;
    committed(&table, &request(1, vec![first, second], &[])).await;
    (lake, table)
}

fn bytes_of(file: &DataFile) -> Bytes {
    std::fs::read(file.file_path().strip_prefix("file://").unwrap()).unwrap().into()
}

/// What a positional delete file says: paths and positions.
fn positions(file: &DataFile) -> Vec<(String, i64)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes_of(file)).unwrap().build().unwrap();
    let rows = |batch: deltalake::arrow::array::RecordBatch| {
        let (paths, rows) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        paths.iter().zip(rows.values()).map(|(path, row)| (path.unwrap().to_owned(), *row)).collect::<Vec<_>>()
    };
    reader.flat_map(|batch| rows(batch.unwrap())).collect()
}

/// The rows of a deletion vector, read as the Puffin specification says.
fn vector(file: &DataFile) -> Vec<u64> {
    let bytes = bytes_of(file);
    assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (b"PFA1".as_slice(), b"PFA1".as_slice()));
    let start = usize::try_from(file.content_offset().unwrap()).unwrap();
    let blob = &bytes[start..start + usize::try_from(file.content_size_in_bytes().unwrap()).unwrap()];
    let (length, rest) = blob.split_at(4);
    let (vector, checksum) = rest.split_at(rest.len() - 4);
    assert_eq!(length, u32::try_from(vector.len()).unwrap().to_be_bytes());
    assert_eq!(checksum, crc32fast::hash(vector).to_be_bytes());
    assert_eq!(vector[..4], [0xD1, 0xD3, 0x39, 0x64]);
    RoaringTreemap::deserialize_from(&vector[4..]).unwrap().into_iter().collect()
}

fn delete_files(lake: &Lake, number: u64) -> Vec<DataFile> {
    lake.files_in(number, ManifestContentType::Deletes).into_iter().map(|(_, file)| file).collect()
}

async fn with_deletes(table: &IcebergTable) -> Vec<(String, bool)> {
    live(table).await.into_iter().map(|file| (file.path, file.has_deletes)).collect()
}

#[tokio::test]
async fn version_2_has_a_positional_delete_file_for_each_data_file() {
    let (lake, table) = two_files(2).await;
    committed(&table, &deleting(2, &[(A, &[0, 2, 3]), (B, &[1])])).await;
    let (files, data) = (delete_files(&lake, 3), lake.files_in(3, ManifestContentType::Data));
    assert_eq!(files.len(), 2);
    for (file, (expected, rows)) in files.iter().zip([(&data[0].1, vec![0, 2, 3]), (&data[1].1, vec![1])]) {
        let path = expected.file_path().to_owned();
        assert_eq!((file.content_type(), file.file_format()), (DataContentType::PositionDeletes, DataFileFormat::Parquet));
        assert_eq!(file.referenced_data_file().as_ref(), Some(&path));
        assert_eq!((file.partition(), file.record_count()), (expected.partition(), rows.len() as u64));
        let bound = |bounds: &std::collections::HashMap<i32, ::iceberg::spec::Datum>, id| bounds[&id].to_string();
        for bounds in [file.lower_bounds(), file.upper_bounds()] {
            assert_eq!(bound(bounds, 2_147_483_546), format!("{path:?}"));
        }
        assert_eq!(bound(file.upper_bounds(), 2_147_483_545), rows[rows.len() - 1].to_string());
        assert_eq!(positions(file), rows.into_iter().map(|row| (path.clone(), row)).collect::<Vec<_>>());
        let footer = SerializedFileReader::new(bytes_of(file)).unwrap();
        let columns = footer.metadata().file_metadata().schema().get_fields();
        assert_eq!(columns.iter().map(|one| one.get_basic_info().id()).collect::<Vec<_>>(), [2_147_483_546, 2_147_483_545]);
        assert_eq!(file.file_size_in_bytes(), bytes_of(file).len() as u64);
    }
    assert_eq!(with_deletes(&table).await, [(A.to_owned(), true), (B.to_owned(), true)]);
    let summary = lake.metadata(3)["snapshots"][1]["summary"].clone();
    let expected = [
        ("operation", "delete"),
        ("added-delete-files", "2"),
        ("added-position-delete-files", "2"),
        ("added-position-deletes", "4"),
        ("total-delete-files", "2"),
        ("total-position-deletes", "4"),
        ("total-records", "6"),
    ];
    for (key, value) in expected {
        assert_eq!(summary[key], value, "{key}");
    }
    // Nothing is rewritten: further rows are a further file.
    committed(&table, &deleting(3, &[(A, &[1])])).await;
    assert_eq!(delete_files(&lake, 4).len(), 3);
}

/// A mirror that runs for days deletes rows of one file again and again.
#[tokio::test]
async fn many_positional_delete_files_of_one_data_file_become_one() {
    let (lake, table) = created().await;
    let rows: Vec<(i64, Option<&str>)> = (0..40).map(|id| (id, None)).collect();
    let files = vec![lake.file(A, Some(DAY), &rows).await, lake.file(B, Some(DAY), &rows).await];
    committed(&table, &request(1, files, &[])).await;
    committed(&table, &deleting(2, &[(B, &[7])])).await;
    for number in 3..=30 {
        committed(&table, &deleting(number, &[(A, &[number])])).await;
        let files = delete_files(&lake, number + 1);
        assert!(files.len() <= 11, "{} delete files", files.len());
        let mut all: Vec<i64> = files.iter().flat_map(positions).map(|(_, row)| row).collect();
        all.sort_unstable();
        let expected: Vec<i64> = (3..=number as i64).collect();
        assert_eq!(all.iter().filter(|row| **row != 7).count(), expected.iter().filter(|row| **row != 7).count());
        assert!(expected.iter().all(|row| all.contains(row)), "{all:?}");
    }
    assert!(delete_files(&lake, 31).iter().any(|file| file.referenced_data_file().unwrap().ends_with(B)));
}

#[tokio::test]
async fn version_3_has_one_deletion_vector_a_file_which_holds_what_the_former_held() {
    let (lake, table) = two_files(3).await;
    committed(&table, &deleting(2, &[(A, &[0, 3]), (B, &[1])])).await;
    committed(&table, &deleting(3, &[(A, &[1, 3])])).await;
    let files = delete_files(&lake, 4);
    let of = |name: &str| {
        let file = files.iter().find(|file| file.referenced_data_file().unwrap().ends_with(name));
        file.unwrap_or_else(|| panic!("{name} has no vector"))
    };
    assert_eq!(files.len(), 2);
    assert_eq!((vector(of(A)), vector(of(B))), (vec![0, 1, 3], vec![1]));
    assert_eq!((of(A).record_count(), of(A).file_format()), (3, DataFileFormat::Puffin));
    let summary = lake.metadata(4)["snapshots"][2]["summary"].clone();
    let expected =
        [("added-dvs", "1"), ("removed-dvs", "1"), ("removed-position-deletes", "2"), ("total-position-deletes", "4")];
    for (key, value) in expected {
        assert_eq!(summary[key], value, "{key}");
    }
    // The footer says the same of the blob as the manifest.
    let io = ::iceberg::io::FileIO::new_with_memory();
    io.new_output("p").unwrap().write(bytes_of(of(A))).await.unwrap();
    let puffin = ::iceberg::puffin::PuffinReader::new(io.new_input("p").unwrap());
    let blob = &puffin.file_metadata().await.unwrap().blobs()[0];
    assert_eq!(Some(blob.offset()), of(A).content_offset().map(i64::unsigned_abs));
    assert_eq!((blob.blob_type(), blob.snapshot_id(), blob.sequence_number()), ("deletion-vector-v1", -1, -1));
    assert_eq!(blob.properties()["cardinality"], "3");
    assert_eq!(Some(&blob.properties()["referenced-data-file"]), of(A).referenced_data_file().as_ref());
}

#[rstest]
#[tokio::test]
async fn a_file_is_added_with_its_deletes_and_both_leave_together(#[values(2, 3)] format_version: u8) {
    let (lake, table) = two_files(format_version).await;
    let file = lake.file("data/c.parquet", Some(DAY), &[(7, None), (8, None)]).await;
    let adding = CommitRequest { add: vec![file.clone()], ..deleting(2, &[("data/c.parquet", &[0])]) };
    committed(&table, &adding).await;
    assert_eq!(with_deletes(&table).await[2], ("data/c.parquet".to_owned(), true));
    assert_eq!(lake.metadata(3)["snapshots"][1]["summary"]["operation"], "overwrite");
    committed(&table, &request(3, vec![], &["data/c.parquet"])).await;
    assert!(delete_files(&lake, 4).is_empty());
    assert_eq!(lake.metadata(4)["snapshots"][2]["summary"]["total-position-deletes"], "0");
    // The same path anew has all its rows.
    committed(&table, &request(4, vec![file.clone()], &[])).await;
    assert_eq!(with_deletes(&table).await[2], ("data/c.parquet".to_owned(), false));
    // Taken out and added in one commit, it has the deletes of this commit alone.
    committed(&table, &deleting(5, &[("data/c.parquet", &[0])])).await;
    let again =
        CommitRequest { add: vec![file], remove: vec!["data/c.parquet".into()], ..deleting(6, &[("data/c.parquet", &[1])]) };
    committed(&table, &again).await;
    let files = delete_files(&lake, 7);
    assert_eq!(files.len(), 1);
    let rows = if format_version == 2 {
        positions(&files[0]).into_iter().map(|(_, row)| row as u64).collect()
    } else {
        vector(&files[0])
    };
    assert_eq!(rows, [1]);
}

#[tokio::test]
async fn deletes_that_do_not_fit_leave_the_table_as_it_was() {
    let (lake, table) = two_files(2).await;
    let gone = table.commit(&deleting(2, &[("data/gone.parquet", &[0])])).await.unwrap();
    assert!(matches!(gone, CommitOutcome::Conflict { .. }), "{gone:?}");
    let leaving = CommitRequest { remove: vec![A.to_owned()], ..deleting(2, &[(A, &[0])]) };
    assert!(matches!(table.commit(&leaving).await.unwrap(), CommitOutcome::Conflict { .. }));
    let beyond = table.commit(&deleting(2, &[(A, &[4])])).await;
    assert!(matches!(beyond, Err(TableError::Corrupt { .. })), "{beyond:?}");
    assert!(!lake.path("metadata/v3.metadata.json").exists());
}

#[rstest]
#[tokio::test]
async fn a_file_is_not_removed_once_somebody_else_has_deleted_rows_of_it(#[values(2, 3)] format_version: u8) {
    let (lake, table) = two_files(format_version).await;
    let rogue = MigrationId("rogue".to_owned());
    committed(&table, &deleting(2, &[(A, &[0]), (B, &[0])])).await;
    let theirs = CommitRequest { migration: rogue, ..deleting(1, &[(A, &[1])]) };
    committed(&lake.table(2), &theirs).await;
    let lost = table.commit(&request(3, vec![], &[A])).await.unwrap();
    let CommitOutcome::Conflict { reason } = lost else { panic!("{lost:?}") };
    assert!(reason.contains(A) && reason.contains("somebody"), "{reason}");
    // A file that only the migration itself has deleted rows of is removed as ever.
    committed(&table, &request(3, vec![], &[B])).await;
    // And what was there before the migration's last commit is known.
    committed(&table, &request(4, vec![], &[A])).await;
    assert!(paths(&table).await.is_empty());
}

/// What the deletes of both leave is deleted, whoever was first.
#[tokio::test]
async fn vectors_of_two_writers_are_one() {
    let (lake, table) = two_files(3).await;
    let theirs = CommitRequest { migration: MigrationId("rogue".to_owned()), ..deleting(1, &[(A, &[1])]) };
    committed(&lake.table(2), &theirs).await;
    committed(&table, &deleting(2, &[(A, &[3])])).await;
    let files = delete_files(&lake, 4);
    assert_eq!(files.iter().map(vector).collect::<Vec<_>>(), [vec![1, 3]]);
}

#[tokio::test]
async fn a_damaged_vector_is_not_replaced_by_one_without_its_rows() {
    let (lake, table) = two_files(3).await;
    committed(&table, &deleting(2, &[(A, &[1])])).await;
    let file = delete_files(&lake, 3).remove(0);
    let path = file.file_path().strip_prefix("file://").unwrap().to_owned();
    let mut bytes = bytes_of(&file).to_vec();
    bytes[file.content_offset().unwrap() as usize + 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refused = table.commit(&deleting(3, &[(A, &[3])])).await;
    assert!(matches!(refused, Err(TableError::Corrupt { .. })), "{refused:?}");
    assert!(!lake.path("metadata/v4.metadata.json").exists());
}

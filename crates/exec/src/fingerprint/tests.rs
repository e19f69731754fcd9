//! The sums of a stream against their definition, row by row and cell by cell.

use arrow::array::{Date32Array, Int64Array, StringArray, StringViewArray};
use arrow::compute::concat_batches;
use lakeshift_core::equivalence::{CellPrint, CellSum, ColumnSums, Encoding, ValidationKey};
use lakeshift_core::partition::{PartitionField, Transform};
use proptest::prelude::*;

use super::*;

type Row = (Option<i64>, Option<String>, Option<i32>);

/// Rows whose cells change from row to row or stay for long.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (prop::option::of(-3..3_i64), prop::option::of("[ab]{0,14}"), prop::option::of(-70..70_i32));
    (prop::collection::vec(row, 1..40), 1_usize..80, any::<bool>()).prop_map(|(rows, times, sorted)| {
        let mut rows: Vec<Row> = rows.into_iter().flat_map(|row| std::iter::repeat_n(row, times)).collect();
        if !sorted {
            let half = rows.len() / 2;
            let (front, back) = rows.split_at(half);
            rows = front.iter().zip(back).flat_map(|(a, b)| [a.clone(), b.clone()]).chain(back[half..].to_vec()).collect();
        }
        rows
    })
}

fn batch(rows: &[Row], view: bool) -> RecordBatch {
    let text: ArrayRef = match view {
        true => Arc::new(StringViewArray::from_iter(rows.iter().map(|row| row.1.clone()))),
        false => Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.clone()))),
    };
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))) as ArrayRef, true),
        ("text", text, true),
        ("day", Arc::new(Date32Array::from_iter(rows.iter().map(|row| row.2))) as ArrayRef, true),
    ])
    .unwrap()
}

/// As `docs/equivalence.md` has it: every row's cells encoded, hashed and added up, the sum enciphered.
fn by_definition(request: &FingerprintRequest, batch: &RecordBatch) -> Fingerprint {
    let hasher = RowHasher::new(request.shape.key);
    let cipher = RowCipher::new(&hasher);
    let keys: Vec<ColumnKeys> = (0..request.columns.len()).map(|column| ColumnKeys::new(&hasher, column)).collect();
    let encoder = RowEncoder::new(batch, &request.columns, request.shape.encoding).unwrap();
    let assigner = CellAssigner::new(&request.shape.fields, &request.shape.columns).unwrap();
    let mut print = Fingerprint::empty(request.shape.clone());
    for row in 0..batch.num_rows() {
        let hash = |(column, keys): (usize, &ColumnKeys)| {
            let mut cell = Vec::new();
            encoder.encode_cell(column, row, &mut cell);
            keys.encoded(&cell)
        };
        let hashes: Vec<u128> = keys.iter().enumerate().map(hash).collect();
        let mut image = [hashes.iter().fold(0, |sum: u128, hash| sum.wrapping_add(*hash))];
        cipher.permute(&mut image);
        let mut sum = CellSum::default();
        sum.add_row(image[0]);
        let columns = ColumnSums(keys.iter().zip(&hashes).map(|(keys, hash)| keys.mixers().mixed(*hash)).collect());
        let mut deciding = Vec::new();
        assigner.cell_bytes(&encoder, row, &mut deciding);
        print.add_cell(&assigner.cell(&deciding).unwrap(), &CellPrint { sum, columns });
    }
    print
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn sums_are_those_of_the_definition(
        rows in rows(), key in any::<[u8; 16]>(), count in 0_usize..4, view in any::<bool>(), size in 1_usize..4000,
    ) {
        let fields = [
            PartitionField::new("day", Transform::Month),
            PartitionField::new("n", Transform::Identity),
            PartitionField::new("text", Transform::Truncate(1)),
        ];
        let fields = fields[..count].to_vec();
        let columns: Vec<String> = ["n", "text", "day"].map(str::to_owned).to_vec();
        let shape = FingerprintShape {
            encoding: Encoding::default(), key: ValidationKey::new(key), columns: columns.clone(), fields,
        };
        let request = FingerprintRequest { shape, columns, cells_max: usize::MAX, parallel_max: 1 };
        let batches: Vec<RecordBatch> = rows.chunks(size).map(|rows| batch(rows, view)).collect();
        let mut accumulator = Accumulator::new(&request).unwrap();
        for batch in &batches {
            accumulator.push(batch).unwrap();
        }
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        prop_assert_eq!(accumulator.finish(), by_definition(&request, &all));
    }
}

//! The loops of this module against the slow way, for every Arrow type: encode the cell, then hash its bytes.

use arrow::array::{
    BinaryArray, BinaryViewArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray, LargeBinaryArray,
    LargeListArray, LargeStringArray, ListArray, MapArray, NullArray, StringArray, StringViewArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{ArrowDictionaryKeyType, Field, Fields, i256};
use lakeshift_core::equivalence::{MapOrder, ValidationKey};
use proptest::prelude::*;

use super::super::hash::RowHasher;
use super::*;

type Seeds = Vec<Option<i128>>;

/// Numbers at the edges of all widths, multiples of powers of ten, and others.
fn seed() -> impl Strategy<Value = i128> {
    let decimal = (-1_000_i128..1_000, 0_u32..16).prop_map(|(number, power)| number * 10_i128.pow(power));
    let edge = (0_u32..128, -1_i128..2).prop_map(|(shift, more)| (1_i128 << shift).wrapping_add(more));
    prop_oneof![-3_i128..300, decimal, edge, any::<i64>().prop_map(i128::from), any::<i128>()]
}

fn seeds() -> impl Strategy<Value = Seeds> {
    let with_nulls = prop::collection::vec(prop::option::weighted(0.8, seed()), 1..24);
    prop_oneof![with_nulls, prop::collection::vec(seed().prop_map(Some), 1..24)]
}

fn primitive_of<T: ArrowPrimitiveType>(seeds: &Seeds, value: impl Fn(i128) -> T::Native) -> PrimitiveArray<T> {
    seeds.iter().map(|seed| seed.map(&value)).collect()
}

/// `primitive!(Int8Type, seeds)`: the seeds, cut to the type's width.
macro_rules! primitive {
    ($type:ident, $seeds:expr) => {
        primitive_of::<types::$type>($seeds, |seed| seed as _)
    };
}

fn numbers(seeds: &Seeds) -> Vec<ArrayRef> {
    let mut all: Vec<ArrayRef> = vec![
        Arc::new(primitive!(Int8Type, seeds)),
        Arc::new(primitive!(Int16Type, seeds)),
        Arc::new(primitive!(Int32Type, seeds)),
        Arc::new(primitive!(Int64Type, seeds)),
        Arc::new(primitive!(UInt8Type, seeds)),
        Arc::new(primitive!(UInt16Type, seeds)),
        Arc::new(primitive!(UInt32Type, seeds)),
        Arc::new(primitive!(UInt64Type, seeds)),
        // By their bits: all kinds of NaN, both zeros, infinities, subnormal numbers.
        Arc::new(primitive_of::<types::Float32Type>(seeds, |seed| f32::from_bits(seed as u32))),
        Arc::new(primitive_of::<types::Float64Type>(seeds, |seed| f64::from_bits(seed as u64))),
        Arc::new(primitive_of::<types::Float64Type>(seeds, |seed| [0.0, -0.0, f64::NAN, 1.5][(seed & 3) as usize])),
        Arc::new(primitive_of::<types::Float16Type>(seeds, |seed| {
            <types::Float16Type as ArrowPrimitiveType>::Native::from_bits(seed as u16)
        })),
        Arc::new(BooleanArray::from_iter(seeds.iter().map(|seed| seed.map(|seed| seed & 1 == 1)))),
        Arc::new(NullArray::new(seeds.len())),
    ];
    for scale in [-3, 0, 1, 2, 3, 4, 5, 6, 9, 18, 19, 38] {
        let narrow = scale.min(9);
        let decimal32 = primitive!(Decimal32Type, seeds).with_data_type(DataType::Decimal32(9, narrow));
        let decimal64 = primitive!(Decimal64Type, seeds).with_data_type(DataType::Decimal64(18, scale.min(18)));
        let decimal128 = primitive!(Decimal128Type, seeds).with_data_type(DataType::Decimal128(38, scale));
        let wide = primitive_of::<types::Decimal256Type>(seeds, |seed| i256::from_parts(seed as u128, seed >> 3));
        let same = primitive_of::<types::Decimal256Type>(seeds, i256::from_i128);
        let decimal256 = |array: PrimitiveArray<types::Decimal256Type>| -> ArrayRef {
            Arc::new(array.with_data_type(DataType::Decimal256(76, scale)))
        };
        all.extend([Arc::new(decimal32) as ArrayRef, Arc::new(decimal64), Arc::new(decimal128)]);
        all.extend([decimal256(wide), decimal256(same)]);
    }
    all
}

fn times(seeds: &Seeds) -> Vec<ArrayRef> {
    let mut all: Vec<ArrayRef> = vec![
        Arc::new(primitive!(Date32Type, seeds)),
        Arc::new(primitive!(Time32SecondType, seeds)),
        Arc::new(primitive!(Time32MillisecondType, seeds)),
        Arc::new(primitive!(Time64MicrosecondType, seeds)),
        Arc::new(primitive!(Time64NanosecondType, seeds)),
    ];
    for zone in [None, Some("UTC"), Some("+02:00")] {
        all.extend([
            Arc::new(primitive!(TimestampSecondType, seeds).with_timezone_opt(zone)) as ArrayRef,
            Arc::new(primitive!(TimestampMillisecondType, seeds).with_timezone_opt(zone)),
            Arc::new(primitive!(TimestampMicrosecondType, seeds).with_timezone_opt(zone)),
            Arc::new(primitive!(TimestampNanosecondType, seeds).with_timezone_opt(zone)),
        ]);
    }
    all
}

/// Texts of all lengths that a loop might treat apart: none, parts of a word, within a view, about the longest that is
/// hashed word by word, and beyond.
fn text(seed: i128) -> String {
    let lengths = [0, 1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 16, 31, 252, 255, 256, 257, 300];
    let length = lengths[seed.unsigned_abs() as usize % lengths.len()];
    format!("{:x}", seed as u128).chars().cycle().take(length).collect()
}

fn texts(seeds: &Seeds) -> Vec<ArrayRef> {
    let owned: Vec<Option<String>> = seeds.iter().map(|seed| seed.map(text)).collect();
    let texts = || owned.iter().map(Option::as_deref);
    let bytes = || texts().map(|text| text.map(str::as_bytes));
    let fixed = |width| {
        let values = seeds.iter().map(|seed| seed.map(|seed| seed.to_le_bytes().repeat(20)[..width as usize].to_vec()));
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, width).unwrap())
    };
    vec![
        Arc::new(StringArray::from_iter(texts())),
        Arc::new(LargeStringArray::from_iter(texts())),
        Arc::new(StringViewArray::from_iter(texts())),
        Arc::new(BinaryArray::from_iter(bytes())),
        Arc::new(LargeBinaryArray::from_iter(bytes())),
        Arc::new(BinaryViewArray::from_iter(bytes())),
        fixed(3),
        fixed(16),
        fixed(300),
    ]
}

/// A dictionary of `values`, which has nulls among its keys as well as, perhaps, among its values.
fn dictionary<K: ArrowDictionaryKeyType<Native: TryFrom<usize>>>(seeds: &Seeds, values: &ArrayRef) -> ArrayRef {
    let key = |seed: i128| K::Native::try_from(seed.unsigned_abs() as usize % values.len()).ok().unwrap();
    let keys: PrimitiveArray<K> = seeds.iter().map(|seed| seed.map(key)).collect();
    Arc::new(DictionaryArray::new(keys, Arc::clone(values)))
}

fn dictionaries(seeds: &Seeds) -> Vec<ArrayRef> {
    let values = [texts(seeds), vec![Arc::new(primitive!(Int64Type, seeds)), Arc::new(primitive!(Decimal128Type, seeds))]];
    let mut all = Vec::new();
    for values in values.iter().flatten() {
        all.push(dictionary::<types::Int32Type>(seeds, values));
        all.push(dictionary::<types::UInt8Type>(seeds, values));
        all.push(dictionary::<types::Int64Type>(seeds, values));
    }
    let no_value: ArrayRef = Arc::new(StringArray::from_iter_values::<&str, _>([]));
    let null_keys: PrimitiveArray<types::Int32Type> = seeds.iter().map(|_| None).collect();
    all.push(Arc::new(DictionaryArray::new(null_keys, Arc::clone(&no_value))));
    let null_keys: PrimitiveArray<types::Int8Type> = seeds.iter().map(|_| None).collect();
    all.push(Arc::new(DictionaryArray::new(null_keys, no_value)));
    all
}

/// Rows of as many elements as their seed says, over `elements` again and again.
fn nested(seeds: &Seeds, elements: &ArrayRef) -> Vec<ArrayRef> {
    let rows = seeds.len();
    let nulls = || Some(NullBuffer::from_iter(seeds.iter().map(Option::is_some)));
    let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let bounds = |width: usize| (0..=rows).map(move |row| (row * width).min(rows)).collect::<Vec<_>>();
    let narrow = || OffsetBuffer::new(bounds(1).into_iter().map(|bound| bound as i32).collect());
    let wide = OffsetBuffer::new(bounds(2).into_iter().map(|bound| bound as i64).collect());
    let element = field("element", elements);
    let keys: ArrayRef = Arc::new(primitive_of::<types::Int32Type>(&vec![Some(7); rows], |seed| seed as i32));
    let entry_fields: Fields = vec![Arc::new(Field::new("key", DataType::Int32, false)), field("value", elements)].into();
    let entries = StructArray::new(entry_fields.clone(), vec![keys, Arc::clone(elements)], None);
    let members: Fields = vec![field("a", elements), field("b", elements)].into();
    let map_field = Arc::new(Field::new("entries", DataType::Struct(entry_fields), false));
    vec![
        Arc::new(ListArray::new(Arc::clone(&element), narrow(), Arc::clone(elements), nulls())),
        Arc::new(LargeListArray::new(Arc::clone(&element), wide, Arc::clone(elements), nulls())),
        Arc::new(FixedSizeListArray::new(element, 1, Arc::clone(elements), nulls())),
        Arc::new(StructArray::new(members, vec![Arc::clone(elements), Arc::clone(elements)], nulls())),
        Arc::new(MapArray::new(map_field, narrow(), entries, nulls(), false)),
    ]
}

fn all_types(seeds: &Seeds) -> Vec<ArrayRef> {
    let mut all = numbers(seeds);
    all.extend(times(seeds));
    all.extend(texts(seeds));
    all.extend(dictionaries(seeds));
    let leaves = [&texts(seeds)[2], &numbers(seeds)[3], &dictionaries(seeds)[0]].map(Arc::clone);
    all.extend(leaves.iter().flat_map(|elements| nested(seeds, elements)));
    all
}

fn encodings() -> impl Strategy<Value = Encoding> {
    let zeros = prop_oneof![Just(FloatZeros::Distinct), Just(FloatZeros::Equal)];
    let order = prop_oneof![Just(MapOrder::Counts), Just(MapOrder::Ignored)];
    (zeros, order).prop_map(|(float_zeros, map_order)| Encoding { float_zeros, map_order, ..Encoding::default() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_columns_hashes_are_those_of_its_encoded_cells(
        seeds in seeds(), start in any::<prop::sample::Index>(), end in any::<prop::sample::Index>(),
        encoding in encodings(), key in any::<[u8; 16]>(),
    ) {
        let keys = ColumnKeys::new(&RowHasher::new(ValidationKey::new(key)), 3);
        let (start, end) = (start.index(seeds.len()), end.index(seeds.len()) + 1);
        let (start, end) = (start.min(end), start.max(end));
        for array in all_types(&seeds) {
            // Once as a range of the array, once as all of a slice.
            for (array, rows) in [(Arc::clone(&array), start..end), (array.slice(start, end - start), 0..end - start)] {
                let mut hasher = ColumnHasher::new("c", keys.clone(), encoding);
                let encoder = CellEncoder::new("c", array.as_ref(), encoding).unwrap();
                let slowly: Vec<u128> = rows.clone().map(|row| {
                    let mut cell = Vec::new();
                    encoder.encode(row, &mut cell);
                    keys.encoded(&cell)
                }).collect();
                // Twice: the second time dictionaries are known.
                for _ in 0..2 {
                    let mut quickly = vec![0; rows.len()];
                    hasher.hash(&array, rows.clone(), &mut Added(&mut quickly)).unwrap();
                    prop_assert_eq!(&quickly, &slowly, "{}, rows {:?}", array.data_type(), &rows);
                }
            }
        }
    }
}

/// The hashes of a dictionary are kept for the next batch, and not for a batch with another dictionary.
#[test]
fn another_dictionary_is_hashed_anew() {
    let keys = ColumnKeys::new(&RowHasher::new(ValidationKey::new([1; 16])), 0);
    let mut hasher = ColumnHasher::new("c", keys.clone(), Encoding::default());
    for value in ["x", "y"] {
        let array: ArrayRef = Arc::new([value].into_iter().collect::<DictionaryArray<types::Int32Type>>());
        let mut hashes = [0];
        hasher.hash(&array, 0..1, &mut Added(&mut hashes)).unwrap();
        assert_eq!(hashes, [keys.payload(tag::TEXT, value.as_bytes())]);
    }
}

#[test]
fn a_type_without_canonical_form_is_refused() {
    let keys = ColumnKeys::new(&RowHasher::new(ValidationKey::new([1; 16])), 0);
    let array: ArrayRef = Arc::new(primitive_of::<types::Date64Type>(&vec![Some(1)], |seed| seed as i64));
    let refused = ColumnHasher::new("c", keys, Encoding::default()).hash(&array, 0..1, &mut Added(&mut [0]));
    assert_eq!(refused, Err(EncodeError::Unsupported { column: "c".to_owned(), data_type: "Date64".to_owned() }));
}

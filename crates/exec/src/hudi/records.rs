//! The records of a slice's log files, one for each key: what the base file's rows are merged with.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use lakeshift_core::avro::{self, Schema, Value};
use lakeshift_core::hudi::MergeRule;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Type as PhysicalType;

use super::columns::{Columns, Deletes, keys};
use super::decode::{from_avro, from_batch};
use super::error::{HudiError, damaged, row, unsupported};
use super::log::{Block, Key, Kind};
use super::ordering::{Pair, Rank, Ranks, Stays, of_delete, stays};

/// Rows that are decoded at once.
const ROWS: usize = 1024;
/// What a key takes in memory beside its text, in bytes.
const KEY_BYTES: usize = 128;
/// The versions of a data block's content that are read: they hold records alike.
const DATA_VERSIONS: [u32; 2] = [2, 3];
/// The version of a delete block's content that is read; earlier ones are serialized Java objects.
const DELETE_VERSION: u32 = 3;
/// What version 3 of a delete block holds, as Hudi's specification has it.
const DELETES: &str = include_str!("deletes.avsc");

/// Where a row stands among the batches of log records.
pub(super) type Place = (usize, usize);

/// What the logs say of a key.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// The row that it is; none where it is deleted.
    pub(super) place: Option<Place>,
    pub(super) rank: Rank,
    /// Whether it came after a delete that no ordering value holds back: no earlier row of its key is left.
    pub(super) is_revived: bool,
    /// Whether a row of the base file has met it.
    pub(super) is_used: bool,
}

/// How records are read and merged.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) rule: MergeRule,
    pub(super) columns: Columns,
}

/// The records of a slice's log files.
#[derive(Debug)]
pub(super) struct Records {
    rules: Arc<Rules>,
    memory: MemoryReservation,
    /// In the table's own columns.
    pub(super) batches: Vec<RecordBatch>,
    pub(super) by_key: HashMap<Box<str>, Record>,
}

impl Records {
    pub(super) fn new(rules: Arc<Rules>, memory: MemoryReservation) -> Self {
        Self { rules, memory, batches: Vec::new(), by_key: HashMap::new() }
    }

    /// Applies a block of `file`, whose bytes are `bytes`.
    pub(super) fn apply(&mut self, file: &str, kind: Kind, block: &Block, bytes: &bytes::Bytes) -> Result<(), HudiError> {
        let content = bytes.slice(block.content.clone());
        match kind {
            Kind::Avro => self.apply_avro(file, block, &content),
            Kind::Parquet => self.apply_parquet(file, content),
            Kind::Delete => self.apply_deletes(file, &content),
            Kind::Command => Ok(()),
        }
    }

    fn apply_avro(&mut self, file: &str, block: &Block, content: &[u8]) -> Result<(), HudiError> {
        let invalid = |error: avro::AvroError| damaged(file, error.to_string());
        let ends = || damaged(file, "a block's records end too early");
        let json = block.get(Key::Schema).ok_or_else(|| damaged(file, "a block of records has no schema"))?;
        let schema = Schema::parse(json).map_err(invalid)?;
        if schema.fields().iter().any(|(name, _)| name == "_hoodie_operation") {
            return Err(unsupported(file, "records that are changes (_hoodie_operation)"));
        }
        let (version, rest) = number(content).ok_or_else(ends)?;
        if !DATA_VERSIONS.contains(&version) {
            return Err(unsupported(file, format!("Avro log blocks of the version {version}")));
        }
        let (mut left, mut rest) = number(rest).ok_or_else(ends)?;
        while left > 0 {
            let mut records = Vec::new();
            while left > 0 && records.len() < ROWS {
                let (length, after) = number(rest).ok_or_else(ends)?;
                let length = usize::try_from(length).map_err(|_| ends())?;
                let (record, after) = after.split_at_checked(length).ok_or_else(ends)?;
                records.push(avro::decode(&schema, record).map_err(invalid)?);
                (left, rest) = (left - 1, after);
            }
            let batch = from_avro(&records, &schema, &self.rules.columns.wide_arrow).map_err(row(file))?;
            self.add(file, &batch)?;
        }
        if rest.is_empty() { Ok(()) } else { Err(damaged(file, "a block has bytes behind its records")) }
    }

    fn apply_parquet(&mut self, file: &str, content: bytes::Bytes) -> Result<(), HudiError> {
        // The decoder asserts on some malformed files; such a file is an error of its own and nothing else's.
        let broken = || damaged(file, "the Parquet file in a block cannot be decoded");
        let guarded = |decode: &mut dyn FnMut() -> Result<Option<RecordBatch>, HudiError>| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(broken()))
        };
        let mut reader = None;
        guarded(&mut || {
            let builder = ParquetRecordBatchReaderBuilder::try_new(content.clone()).map_err(|_| broken())?;
            let leaves = builder.parquet_schema().columns();
            if leaves.iter().any(|leaf| leaf.physical_type() == PhysicalType::INT96) {
                return Err(unsupported(file, "INT96 timestamps in log blocks"));
            }
            reader = Some(builder.with_batch_size(ROWS).build().map_err(|_| broken())?);
            Ok(None)
        })?;
        let Some(mut reader) = reader else { return Err(broken()) };
        while let Some(batch) = guarded(&mut || reader.next().transpose().map_err(row(file)))? {
            if batch.schema_ref().field_with_name("_hoodie_operation").is_ok() {
                return Err(unsupported(file, "records that are changes (_hoodie_operation)"));
            }
            self.add(file, &from_batch(&batch, &self.rules.columns.wide_arrow).map_err(row(file))?)?;
        }
        Ok(())
    }

    fn apply_deletes(&mut self, file: &str, content: &[u8]) -> Result<(), HudiError> {
        let broken = || damaged(file, "a block of deletes is not as it should be");
        let (version, rest) = number(content).ok_or_else(broken)?;
        if version != DELETE_VERSION {
            return Err(unsupported(file, format!("delete blocks of the version {version}")));
        }
        let (length, rest) = number(rest).ok_or_else(broken)?;
        if usize::try_from(length) != Ok(rest.len()) {
            return Err(broken());
        }
        let schema = Schema::parse(DELETES).map_err(|error| damaged(file, error.to_string()))?;
        let value = avro::decode(&schema, rest).map_err(|error| damaged(file, error.to_string()))?;
        let Value::Record(list) = &value else { return Err(broken()) };
        let ([Value::Array(deletes)], [(_, Schema::Array(item))]) = (&list[..], schema.fields()) else {
            return Err(broken());
        };
        let types = self.rules.columns.ordering_types(&self.rules.rule);
        let by_arrival = self.rules.rule.order == lakeshift_core::hudi::MergeOrder::CommitTime;
        for delete in deletes {
            let Value::Record(members) = delete else { return Err(broken()) };
            let ([Value::String(key), _, ordering], [_, _, (_, union)]) = (&members[..], item.fields()) else {
                return Err(broken());
            };
            let rank = if by_arrival { Rank::Arrival } else { of_delete(file, union, ordering, &types)? };
            self.put(file, key, None, rank)?;
        }
        Ok(())
    }

    /// Adds a batch of all columns.
    fn add(&mut self, file: &str, batch: &RecordBatch) -> Result<(), HudiError> {
        let rules = Arc::clone(&self.rules);
        let (keys, deletes) = (keys(file, &rules.rule, batch)?, Deletes::new(file, &rules.rule, batch)?);
        let ranks = Ranks::new(file, &rules.rule, batch)?;
        let index = self.batches.len();
        let own = self.rules.columns.own(batch).map_err(row(file))?;
        self.grow(file, own.get_array_memory_size())?;
        self.batches.push(own);
        for row in 0..batch.num_rows() {
            let is_delete = deletes.has(row);
            let place = (!is_delete).then_some((index, row));
            self.put(file, keys.value(row), place, ranks.of(row, is_delete)?)?;
        }
        Ok(())
    }

    /// A record that came after all others so far.
    fn put(&mut self, file: &str, key: &str, place: Option<Place>, rank: Rank) -> Result<(), HudiError> {
        self.grow(file, key.len() + KEY_BYTES)?;
        let mut record = Record { place, rank, is_revived: false, is_used: false };
        match self.by_key.entry(key.into()) {
            Entry::Vacant(vacant) => drop(vacant.insert(record)),
            Entry::Occupied(mut known) => {
                let older = known.get();
                let by_arrival = older.place.is_none() && older.rank == Rank::Arrival;
                // A delete by arrival is not taken back by a delete with a value.
                let keeps = by_arrival && record.place.is_none();
                record.is_revived = record.place.is_some() && (by_arrival || older.is_revived);
                let order = self.rules.rule.order;
                if !keeps && stays(file, order, Pair::Logs, &older.rank, &record.rank)? == Stays::Newer {
                    known.insert(record);
                }
            }
        }
        Ok(())
    }

    /// Takes memory for `bytes` more, or refuses the slice.
    pub(super) fn grow(&self, file: &str, bytes: usize) -> Result<(), HudiError> {
        let grown = self.memory.try_grow(bytes);
        grown.map_err(|source| HudiError::Memory { file: file.to_owned(), source })
    }
}

/// A big-endian number at the start.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

//! Inventories on storage: `<digest>.parquet`, create-only, checked when written and when read.

use std::sync::Arc;

use bytes::Bytes;
use deltalake::arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use lakeshift_core::schema::{Field, TableSchema};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Disposition, FileEntry, TableError, TableVersion};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use super::Declared;
use super::inventory::{self, Inventory, InventoryFile, Quarantined};
use super::partition;
use crate::footer::corrupt;
use crate::storage::{outside_error, store_error};

const HEADER_KEY: &str = "lakeshift.inventory";
const FORMAT_VERSION: u32 = 2;

/// What the Parquet file's own metadata say.
#[derive(Serialize, Deserialize)]
struct Header {
    format_version: u32,
    version: TableVersion,
    schema: TableSchema,
    partition_columns: Vec<Field>,
    schemas: Vec<TableSchema>,
    declared: String,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Saves an inventory; one that is there already is checked instead. What is there afterwards has been read back.
pub(super) async fn save(storage: &Storage, inventory: &Inventory, declared: &Declared) -> Result<(), TableError> {
    let path = object(storage, &inventory.version)?;
    let bytes =
        encode(inventory, declared).map_err(|source| damaged(&path, "it could not be written as Parquet", source))?;
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match storage.store().put_opts(&path, bytes.into(), options).await {
        Ok(_) | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
        Err(error) => return Err(store_error("write", path.as_ref(), error)),
    }
    match load(storage, &inventory.version, declared).await? {
        Some(read) if read.files.len() == inventory.files.len() => Ok(()),
        _ => Err(corrupt(path.as_ref(), "the inventory reads back otherwise than it was written".to_owned())),
    }
}

/// The saved inventory of a version; `None` when none was saved, or under other declarations.
pub(super) async fn load(
    storage: &Storage,
    version: &TableVersion,
    declared: &Declared,
) -> Result<Option<Inventory>, TableError> {
    let path = object(storage, version)?;
    let failed = |error| store_error("read", path.as_ref(), error);
    let bytes = match storage.store().get(&path).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let (inventory, text) = decode(bytes).map_err(|source| damaged(&path, "the inventory cannot be read", source))?;
    let files = inventory.files.iter().map(|file| &file.entry);
    let files = files.map(|entry| (entry.path.as_str(), entry.size_bytes, entry.identity.as_str()));
    if inventory.version != *version || inventory::digest(files, &inventory.quarantine, &text) != *version {
        return Err(corrupt(path.as_ref(), "the inventory is not the one that its name says".to_owned()));
    }
    Ok((text == declared.text()).then_some(inventory))
}

/// Where a version's inventory lies. A version that no inventory can have is refused: it becomes a name.
fn object(storage: &Storage, version: &TableVersion) -> Result<Path, TableError> {
    let digest = version.0.strip_prefix("hive:").filter(|digest| {
        digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    });
    match digest {
        Some(digest) => storage.resolve(&format!("{digest}.parquet")).map_err(outside_error),
        None => Err(TableError::VersionGone {
            location: storage.location().to_owned(),
            version: version.clone(),
            reason: "it is no version of a Hive-style folder".to_owned(),
        }),
    }
}

fn damaged(path: &Path, reason: &str, source: BoxError) -> TableError {
    TableError::Corrupt { object: path.to_string(), reason: reason.to_owned(), source: Some(source) }
}

fn encode(inventory: &Inventory, declared: &Declared) -> Result<Vec<u8>, BoxError> {
    let visible: Vec<_> = inventory.quarantine.iter().filter(|other| other.disposition != Disposition::Hidden).collect();
    let batch = batch(inventory, &visible)?;
    let header = serde_json::to_string(&Header {
        format_version: FORMAT_VERSION,
        version: inventory.version.clone(),
        schema: inventory.schema.clone(),
        partition_columns: inventory.partition_columns.clone(),
        schemas: inventory.schemas.clone(),
        declared: declared.text(),
    })?;
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None)?;
    writer.append_key_value_metadata(KeyValue::new(HEADER_KEY.to_owned(), header));
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// Data files first, then what is quarantined.
fn batch(inventory: &Inventory, others: &[&Quarantined]) -> Result<RecordBatch, BoxError> {
    let files = || inventory.files.iter().map(|file| &file.entry);
    let none = others.len();
    let texts = |data: &mut dyn Iterator<Item = String>, rest: &dyn Fn(&Quarantined) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(data.chain(others.iter().map(|other| rest(other)))))
    };
    let disposition = |disposition: Disposition| {
        serde_json::to_value(disposition).map(|name| name.as_str().unwrap_or_default().to_owned())
    };
    let dispositions = files()
        .map(|_| disposition(Disposition::Data))
        .chain(others.iter().map(|other| disposition(other.disposition)))
        .collect::<Result<Vec<_>, _>>()?;
    let sizes = files().map(|entry| entry.size_bytes).chain(others.iter().map(|other| other.size_bytes));
    let modified = files().map(|entry| Some(entry.modified_ms)).chain(std::iter::repeat_n(None, none));
    let rows = files().map(|entry| entry.rows).chain(std::iter::repeat_n(None, none));
    let schemas = inventory.files.iter().map(|file| u32::try_from(file.schema).ok()).chain(std::iter::repeat_n(None, none));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("path", texts(&mut files().map(|entry| entry.path.clone()), &|other| other.path.clone())),
        ("size_bytes", Arc::new(UInt64Array::from_iter_values(sizes))),
        ("identity", texts(&mut files().map(|entry| entry.identity.clone()), &|other| other.identity.clone())),
        ("modified_ms", Arc::new(Int64Array::from_iter(modified))),
        ("rows", Arc::new(UInt64Array::from_iter(rows))),
        ("schema", Arc::new(UInt32Array::from_iter(schemas))),
        ("disposition", Arc::new(StringArray::from_iter_values(dispositions))),
        ("reason", texts(&mut files().map(|_| String::new()), &|other| other.reason.clone())),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn decode(bytes: Bytes) -> Result<(Inventory, String), BoxError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let metadata = builder.metadata().file_metadata().key_value_metadata();
    let header = metadata.and_then(|pairs| pairs.iter().find(|pair| pair.key == HEADER_KEY)?.value.clone());
    let header: Header = serde_json::from_str(&header.ok_or("it has no header")?)?;
    if header.format_version != FORMAT_VERSION {
        return Err(format!("its format version is {}; this program reads {FORMAT_VERSION}", header.format_version).into());
    }
    let mut inventory = Inventory {
        version: header.version,
        schema: header.schema,
        partition_columns: header.partition_columns,
        files: Vec::new(),
        schemas: header.schemas,
        quarantine: Vec::new(),
    };
    for batch in builder.build()? {
        read_batch(&batch?, &mut inventory)?;
    }
    Ok((inventory, header.declared))
}

fn read_batch(batch: &RecordBatch, inventory: &mut Inventory) -> Result<(), BoxError> {
    let (paths, identities) = (column::<StringArray>(batch, "path")?, column::<StringArray>(batch, "identity")?);
    let (sizes, rows) = (column::<UInt64Array>(batch, "size_bytes")?, column::<UInt64Array>(batch, "rows")?);
    let (modified, schemas) = (column::<Int64Array>(batch, "modified_ms")?, column::<UInt32Array>(batch, "schema")?);
    let (dispositions, reasons) = (column::<StringArray>(batch, "disposition")?, column::<StringArray>(batch, "reason")?);
    for row in 0..batch.num_rows() {
        let (path, identity, size_bytes) = (paths.value(row).to_owned(), identities.value(row).to_owned(), sizes.value(row));
        let disposition: Disposition = serde_json::from_value(dispositions.value(row).into())?;
        if disposition != Disposition::Data {
            let reason = reasons.value(row).to_owned();
            inventory.quarantine.push(Quarantined { path, size_bytes, identity, disposition, reason });
            continue;
        }
        let schema = schemas.value(row) as usize;
        if schema >= inventory.schemas.len() {
            return Err("a file points to a schema that it does not have".into());
        }
        let partition = partition::typed(&path, &partition::of_path(&path)?, &inventory.partition_columns)?;
        let entry = FileEntry {
            path,
            size_bytes,
            identity,
            modified_ms: modified.value(row),
            rows: (!rows.is_null(row)).then(|| rows.value(row)),
            partition,
            has_deletes: false,
        };
        inventory.files.push(InventoryFile { entry, schema });
    }
    Ok(())
}

fn column<'a, A: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A, BoxError> {
    let found = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<A>());
    found.ok_or_else(|| format!("its column {name} is missing or of another type").into())
}

//! [`Listing`]: the files of a table by partition of the graph; what of a source has moved, and which computed partitions are not
//! as they were left.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDateTime};
use futures::TryStreamExt;
use lakeshift_core::graph::{
    Change, EntityId, Fingerprint, Grain, Key, LogicId, Outcome, Reach, TIMELESS, Table, TableId, Versions,
};
use lakeshift_core::partition::{PartitionSpec, Transform};
use lakeshift_core::table::{FileEntry, NewFile, Snapshot, TableError, TableFormat};
use lakeshift_core::value::Value;
use sha2::{Digest, Sha256};

use super::file::{GraphFile, refused};
use super::ledger::{Ledger, Stored};
use crate::error::Error;

/// A table's files at one version, by period and entity.
#[derive(Debug)]
pub struct Listing {
    pub(super) snapshot: Snapshot,
    pub(super) files: BTreeMap<(i32, String), Vec<FileEntry>>,
}

impl Listing {
    /// Lists a table as it is now.
    pub(super) async fn read(table: &Table, format: &dyn TableFormat) -> Result<Self, Error> {
        let snapshot = format.snapshot(None).await?;
        let places = Places::of(table, &snapshot.partition)?;
        let mut files: BTreeMap<(i32, String), Vec<FileEntry>> = BTreeMap::new();
        let mut all = format.files(&snapshot);
        while let Some(file) = all.try_next().await? {
            files.entry(places.partition(table, &file)?).or_default().push(file);
        }
        drop(all);
        Ok(Self { snapshot, files })
    }

    /// The files of the partitions in reach; `entity` is the reach's name.
    pub(super) fn reached(&self, reach: Reach, entity: Option<&str>) -> Vec<FileEntry> {
        let periods = self.files.range((reach.from, String::new())..);
        let periods = periods.take_while(|((period, _), _)| *period <= reach.to);
        let wanted = periods.filter(|((_, name), _)| entity.is_none_or(|entity| entity == name));
        wanted.flat_map(|(_, files)| files.iter().cloned()).collect()
    }

    /// The files of one partition.
    pub(super) fn of(&self, period: i32, entity: &str) -> &[FileEntry] {
        self.files.get(&(period, entity.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// What a partition of a source is, told by its files.
    fn content(files: &[FileEntry]) -> (Fingerprint, u64, u64) {
        let mut lines: Vec<String> =
            files.iter().map(|file| format!("{:?} {} {:?}", file.path, file.size_bytes, file.identity)).collect();
        lines.sort();
        let digest = Fingerprint(Sha256::digest(lines.join("\n")).into());
        let rows = files.iter().filter_map(|file| file.rows).sum();
        (digest, rows, files.iter().map(|file| file.size_bytes).sum())
    }
}

/// Where a file's partition values tell period and entity.
struct Places {
    time: Option<(usize, Grain)>,
    entity: Option<usize>,
}

impl Places {
    fn of(table: &Table, spec: &PartitionSpec) -> Result<Self, Error> {
        let place = |column: &str| {
            let found =
                spec.fields.iter().position(|field| field.column == column && field.transform == Transform::Identity);
            found.ok_or_else(|| {
                let problem =
                    format!("table {} is not partitioned by its column {column}, as the graph says it is", table.name);
                refused(problem, "name a column whose values are in the table's partitions, or leave time and entity away")
            })
        };
        let time = table.spec.time.as_ref().map(|time| Ok::<_, Error>((place(&time.column)?, time.grain))).transpose()?;
        let entity = table.spec.entity.as_ref().map(|entity| place(&entity.column)).transpose()?;
        Ok(Self { time, entity })
    }

    fn partition(&self, table: &Table, file: &FileEntry) -> Result<(i32, String), Error> {
        let odd = || {
            let problem = format!("file {} of table {} lies in a partition without a date or name", file.path, table.name);
            refused(problem, "give its rows a value in the partition columns, or take the file out of the table")
        };
        let value = |place: usize| file.partition.get(place).and_then(Option::as_ref).ok_or_else(odd);
        let period = match self.time {
            None => TIMELESS,
            Some((place, grain)) => grain.at(moment(value(place)?).ok_or_else(odd)?),
        };
        let entity = self.entity.map(|place| value(place).map(ToString::to_string)).transpose()?.unwrap_or_default();
        Ok((period, entity))
    }
}

fn moment(value: &Value) -> Option<NaiveDateTime> {
    match value {
        Value::Date(days) => Some(DateTime::from_timestamp(i64::from(*days) * 86_400, 0)?.naive_utc()),
        Value::Timestamp(micros) => Some(DateTime::from_timestamp_micros(*micros)?.naive_utc()),
        Value::String(text) => text.parse::<chrono::NaiveDate>().ok()?.and_hms_opt(0, 0, 0),
        _ => None,
    }
}

/// A digest of a computed partition's files, as they are in its table.
pub(super) fn digest_of(files: &[FileEntry]) -> String {
    digest(files.iter().map(|file| (file.path.as_str(), file.size_bytes, file.has_deletes)))
}

/// The same of files that are about to be committed.
pub(super) fn digest_of_new(files: &[NewFile]) -> String {
    digest(files.iter().map(|file| (file.path.as_str(), file.size_bytes, false)))
}

fn digest<'a>(files: impl Iterator<Item = (&'a str, u64, bool)>) -> String {
    let mut lines: Vec<String> = files.map(|(path, bytes, deletes)| format!("{path:?} {bytes} {deletes}")).collect();
    lines.sort();
    let digest = Sha256::digest(lines.join("\n"));
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The tables as they are now, those that are not there yet left out; and what of them is not on record, already in `versions`,
/// which are the ledger's.
pub(super) async fn look(
    file: &GraphFile,
    ledger: &Ledger,
) -> Result<(BTreeMap<TableId, Listing>, Versions, Vec<Stored>), Error> {
    let (mut listings, mut versions, mut moved) = (BTreeMap::new(), ledger.versions().clone(), Vec::new());
    for (id, table) in file.graph.ids() {
        let listing = match Listing::read(table, file.place(id).table.as_ref()).await {
            Err(Error::Table(TableError::NotFound { .. })) if !table.is_source() => continue,
            listing => listing?,
        };
        let known = versions.partitions(id).map(|(key, _)| (key.period, versions.entity_name(key.entity).to_owned()));
        let all: BTreeSet<(i32, String)> = known.chain(listing.files.keys().cloned()).collect();
        for (period, name) in all {
            let files = listing.of(period, &name);
            let entity = if name.is_empty() { EntityId::NONE } else { versions.entity(&name) };
            let key = Key { period, entity };
            if !table.is_source() && (ledger.is_pending(id, period, &name) || is_as_left(ledger, id, key, files)) {
                continue;
            }
            // No logic of the graph gave these rows.
            let read_at = versions.get(id, key).map_or(versions.sequence(), |state| state.read_at);
            let (fingerprint, rows, bytes) = Listing::content(files);
            let outcome = Outcome { fingerprint, rows, bytes, logic: LogicId::NONE, read_at };
            if let Change::Moved(_) = versions.record(id, key, outcome)
                && let Some(state) = versions.get(id, key)
            {
                let stored = ledger.stored(id, period, &name, state, "");
                moved.push(if table.is_source() { stored } else { stored.of_files(digest_of(files)) });
            }
        }
        listings.insert(id, listing);
    }
    Ok((listings, versions, moved))
}

/// Whether a computed partition has the files that the graph left there.
pub(super) fn is_as_left(ledger: &Ledger, table: TableId, key: Key, files: &[FileEntry]) -> bool {
    match ledger.versions().get(table, key) {
        None => files.is_empty(),
        Some(_) => ledger.files_of(table, key).is_none_or(|left| left == digest_of(files)),
    }
}

/// The versions with the tables as they are now; writes nothing.
///
/// # Errors
/// A table that cannot be read, or is not partitioned as the graph says.
pub async fn current(file: &GraphFile, ledger: &Ledger) -> Result<Versions, Error> {
    Ok(look(file, ledger).await?.1)
}

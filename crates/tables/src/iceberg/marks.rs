//! What a migration leaves in table metadata: its commit number, its fencing epoch, and its name on its snapshots.
//!
//! Number and epoch are table properties, so that they are in the same metadata file as the commit that they describe,
//! and a commit that only fences can write them without a snapshot.

use iceberg::spec::{SnapshotRef, TableMetadata};
use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, Marks, MigrationId, TableError, TableVersion};
use lakeshift_journal::Epoch;

use super::fault::corrupt;

/// Begins every property that is Lakeshift's.
pub(super) const PREFIX: &str = "lakeshift.";
/// The snapshot summary's and the table's name of the migration.
pub(super) const MIGRATION: &str = "lakeshift.migration";
/// The snapshot summary's commit number.
pub(super) const COMMIT: &str = "lakeshift.commit";
/// The snapshot summary's epoch.
pub(super) const EPOCH: &str = "lakeshift.epoch";

/// The table property of the migration's highest commit number.
pub(super) fn commit_key(migration: &MigrationId) -> String {
    format!("lakeshift.{migration}.commit")
}

/// The table property of the migration's highest epoch.
pub(super) fn epoch_key(migration: &MigrationId) -> String {
    format!("lakeshift.{migration}.epoch")
}

/// The table property of where a stream's source is read on from.
pub(super) fn position_key(migration: &MigrationId, source: &str) -> String {
    format!("lakeshift.{migration}.at.{source}")
}

/// The table property that makes every metadata file of the migration unlike any other.
pub(super) fn nonce_key(migration: &MigrationId) -> String {
    format!("lakeshift.{migration}.nonce")
}

/// The version of a table whose current snapshot is this.
pub(super) fn version(snapshot: Option<i64>) -> TableVersion {
    TableVersion(snapshot.map_or_else(|| "iceberg:none".to_owned(), |id| format!("iceberg:{id}")))
}

/// Numbers that the migration has left.
pub(super) fn numbers(
    table: &str,
    metadata: &TableMetadata,
    migration: &MigrationId,
) -> Result<(Option<CommitNumber>, Option<Epoch>), TableError> {
    let number = |key: String| -> Result<Option<u64>, TableError> {
        let Some(text) = metadata.properties().get(&key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| corrupt(table, format!("its property {key} is not a number")))
    };
    Ok((number(commit_key(migration))?.map(CommitNumber), number(epoch_key(migration))?.map(Epoch)))
}

/// Whether the table's own state already answers a request. A fenced runner hears that first, whatever it asks; a fence has no
/// number that could be there.
pub(super) fn answer(
    table: &str,
    metadata: &TableMetadata,
    request: &CommitRequest,
) -> Result<Option<CommitOutcome>, TableError> {
    let (number, epoch) = numbers(table, metadata, &request.migration)?;
    if let Some(current) = epoch.filter(|epoch| *epoch > request.epoch) {
        return Ok(Some(CommitOutcome::Fenced { current }));
    }
    let done = !request.is_fence() && number.is_some_and(|number| number >= request.number);
    Ok(done.then(|| CommitOutcome::AlreadyCommitted(version(metadata.current_snapshot_id()))))
}

/// Whether the migration created the table.
pub(super) fn is_created_by(metadata: &TableMetadata, migration: &MigrationId) -> bool {
    metadata.properties().get(MIGRATION) == Some(&migration.0)
}

/// The sequence number of the migration's last snapshot: what others have committed since has a greater one. `None` where the
/// migration has done nothing yet, so that the table's history is its own.
pub(super) fn last_sequence(metadata: &TableMetadata, migration: &MigrationId) -> Option<i64> {
    let ours = metadata.snapshots().filter(|snapshot| is_of(snapshot, migration));
    let last = ours.map(|snapshot| snapshot.sequence_number()).max();
    last.or_else(|| is_created_by(metadata, migration).then_some(0))
}

fn is_of(snapshot: &SnapshotRef, migration: &MigrationId) -> bool {
    snapshot.summary().additional_properties.get(MIGRATION) == Some(&migration.0)
}

/// The migration's marks.
pub(super) fn marks(table: &str, metadata: &TableMetadata, migration: &MigrationId) -> Result<Marks, TableError> {
    let (number, epoch) = numbers(table, metadata, migration)?;
    Ok(Marks { number, epoch, foreign: foreign(metadata, migration) })
}

/// Snapshots that others have put on top of the migration's last one, oldest first. When the migration's last one is no
/// ancestor of the current snapshot, somebody has set the table back: then the current snapshot is foreign too.
fn foreign(metadata: &TableMetadata, migration: &MigrationId) -> Vec<TableVersion> {
    let is_ours = |snapshot: &SnapshotRef| is_of(snapshot, migration);
    let last_ours =
        metadata.snapshots().filter(|snapshot| is_ours(snapshot)).max_by_key(|snapshot| snapshot.sequence_number());
    if last_ours.is_none() && !is_created_by(metadata, migration) {
        // The migration has done nothing here yet: the table's history is its own.
        return Vec::new();
    }
    let last_ours = last_ours.map(|snapshot| snapshot.snapshot_id());
    let (mut found, mut reached) = (Vec::new(), false);
    let mut next = metadata.current_snapshot();
    for _ in 0..metadata.snapshots().len() {
        let Some(snapshot) = next else { break };
        reached = Some(snapshot.snapshot_id()) == last_ours;
        if reached {
            break;
        }
        if !is_ours(snapshot) {
            found.push(version(Some(snapshot.snapshot_id())));
        }
        next = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    found.reverse();
    let current = version(metadata.current_snapshot_id());
    if last_ours.is_some() && !reached && !found.contains(&current) {
        found.push(current);
    }
    found
}

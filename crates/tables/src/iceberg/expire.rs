//! Which snapshots a table's rule drops from its metadata.
//!
//! Only metadata gets shorter. Data files, delete files, manifests and lists of a dropped snapshot stay where they are: the
//! old table may share the data files, and which manifests nobody needs is told safely only by all metadata at once. The
//! table's own maintenance (`remove_orphan_files`) may take them once the old table is gone.

use std::collections::BTreeSet;

use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use lakeshift_core::spec::SnapshotRule;
use lakeshift_core::table::TableError;

use super::fault::bad_json;

/// Drops, from the metadata that follows `before` by one snapshot, the snapshots that the rule drops.
pub(super) fn apply(
    builder: TableMetadataBuilder,
    table: &str,
    before: &TableMetadata,
    rule: &SnapshotRule,
    now_ms: i64,
) -> Result<TableMetadataBuilder, TableError> {
    let dropped = expired(before, &named(table, before)?, rule, now_ms);
    let without_statistics = dropped
        .iter()
        .fold(builder, |builder, snapshot| builder.remove_statistics(*snapshot).remove_partition_statistics(*snapshot));
    Ok(without_statistics.remove_snapshots(&dropped))
}

/// Snapshots that are neither among the newest nor young, and that no branch or tag names. The snapshot that is about to be
/// added is the newest of all.
fn expired(before: &TableMetadata, named: &BTreeSet<i64>, rule: &SnapshotRule, now_ms: i64) -> Vec<i64> {
    let mut snapshots: Vec<_> = before.snapshots().collect();
    snapshots.sort_by_key(|snapshot| std::cmp::Reverse((snapshot.sequence_number(), snapshot.timestamp_ms())));
    let max_age_ms = i64::try_from(rule.max_age.as_seconds()).map_or(i64::MAX, |seconds| seconds.saturating_mul(1_000));
    let old = |timestamp_ms: i64| now_ms.saturating_sub(timestamp_ms) > max_age_ms;
    let beyond = snapshots.into_iter().skip((rule.keep as usize).saturating_sub(1));
    beyond
        .filter(|snapshot| old(snapshot.timestamp_ms()) && !named.contains(&snapshot.snapshot_id()))
        .map(|snapshot| snapshot.snapshot_id())
        .collect()
}

/// The snapshots that branches other than main and tags name. The library tells references only by name.
fn named(table: &str, metadata: &TableMetadata) -> Result<BTreeSet<i64>, TableError> {
    let json = serde_json::to_value(metadata).map_err(|error| bad_json(table, error))?;
    let references = json["refs"].as_object().into_iter().flatten();
    let others = references.filter(|(name, _)| name.as_str() != iceberg::spec::MAIN_BRANCH);
    Ok(others.filter_map(|(_, reference)| reference["snapshot-id"].as_i64()).collect())
}

//! Row lineage of version 3: which `first_row_id` a data file has by inheritance, and how it is kept when its entry moves to
//! another manifest.
//!
//! A manifest's `first_row_id` stands in the manifest list. Live entries without one of their own take theirs from it, one
//! after the other; so an entry that moves must carry its own from then on, or its rows would change their ids.

use iceberg::spec::{DataFile, DataFileBuilder, ManifestStatus};

use super::fault::corrupt;
use super::manifests::Loaded;
use lakeshift_core::table::TableError;

/// For each of a manifest's entries, live or not, the `first_row_id` of its data file; `None` where it has none (a table that
/// was upgraded to version 3 and not written to since).
pub(super) fn first_row_ids(manifest: &Loaded) -> Vec<Option<i64>> {
    let mut next = manifest.file.first_row_id.and_then(|first| i64::try_from(first).ok()).filter(|_| manifest.is_data());
    let inherited = |entry: &iceberg::spec::ManifestEntry| {
        let file = entry.data_file();
        if file.first_row_id().is_some() || entry.status() == ManifestStatus::Deleted {
            return file.first_row_id();
        }
        let first = next?;
        next = i64::try_from(file.record_count()).ok().and_then(|rows| first.checked_add(rows));
        Some(first)
    };
    manifest.entries.iter().map(inherited).collect()
}

/// The same file with its `first_row_id` written down.
pub(super) fn with_first_row_id(file: &DataFile, first_row_id: Option<i64>) -> Result<DataFile, TableError> {
    if file.first_row_id() == first_row_id {
        return Ok(file.clone());
    }
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(first_row_id)
        .referenced_data_file(file.referenced_data_file())
        .content_offset(file.content_offset())
        .content_size_in_bytes(file.content_size_in_bytes());
    if let Some(order) = file.sort_order_id() {
        builder.sort_order_id(order);
    }
    builder.build().map_err(|error| corrupt(file.file_path(), format!("its description is incomplete: {error}")))
}

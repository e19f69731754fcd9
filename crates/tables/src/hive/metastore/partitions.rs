//! Partitions of the old table that its entry does not know of: the reverse mirror makes folders while readers are on the new
//! table, and readers of a Metastore see no folder that is not registered.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use lakeshift_core::table::{Format, TableError};

use super::MetastorePointer;
use super::entry::Entry;

/// Partitions that one request registers.
const BATCH: usize = 500;

/// Registers the partition folders of the old table that are not, for the entry as it was in `state`. Before the entry goes back,
/// so that no reader of it misses a row. Safe to repeat.
pub(super) async fn register(pointer: &MetastorePointer, state: &Entry) -> Result<(), TableError> {
    let keys = state.partition_keys();
    if keys.is_empty() || pointer.old.format() != Format::Hive {
        return Ok(());
    }
    let snapshot = pointer.old.snapshot(None).await?;
    let mut folders = BTreeSet::new();
    let mut files = pointer.old.files(&snapshot);
    while let Some(file) = files.try_next().await? {
        if let Some((folder, _)) = file.path.rsplit_once('/')
            && !folders.contains(folder)
        {
            folders.insert(folder.to_owned());
        }
    }
    let state = state.clone();
    pointer
        .blocking("register partitions of", move |client, name| {
            let known = client.partition_names(&name)?;
            let missing = folders.iter().filter(|folder| !known.contains(*folder));
            let missing: Vec<_> =
                missing.filter_map(|folder| state.partition(&name, folder, &values(folder, &keys)?)).collect();
            for batch in missing.chunks(BATCH) {
                client.add_partitions(&name, batch.to_vec())?;
            }
            Ok(())
        })
        .await
}

/// The values of a folder `key=value/key=value`; `None` where its keys are not those of the entry, whose readers then never saw it.
fn values(folder: &str, keys: &[String]) -> Option<Vec<String>> {
    let parts: Vec<(&str, &str)> = folder.split('/').map(|part| part.split_once('=')).collect::<Option<_>>()?;
    let is_key = |((name, _), key): (&(&str, &str), &String)| name.eq_ignore_ascii_case(key);
    if parts.len() != keys.len() || !parts.iter().zip(keys).all(is_key) {
        return None;
    }
    let decoded = |value: &str| percent_encoding::percent_decode_str(value).decode_utf8().ok().map(|text| text.into_owned());
    parts.into_iter().map(|(_, value)| decoded(value)).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("day=2001-01-01", &["day"], Some(vec!["2001-01-01"]))]
    #[case("Day=1/o=a%2Fb", &["day", "o"], Some(vec!["1", "a/b"]))]
    #[case("o=a/day=1", &["day", "o"], None)]
    #[case("day=1", &["day", "o"], None)]
    #[case("loose", &["day"], None)]
    fn a_folder_is_a_partition_by_its_keys(
        #[case] folder: &str,
        #[case] keys: &[&str],
        #[case] expected: Option<Vec<&str>>,
    ) {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let expected = expected.map(|values| values.into_iter().map(str::to_owned).collect());
        assert_eq!(values(folder, &keys), expected);
    }
}

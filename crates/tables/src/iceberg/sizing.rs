//! How many manifests there are and how large they become: new files are cut into manifests, and small ones are merged.

use iceberg::spec::DataFile;

use super::manifests::Loaded;

/// Manifests of one content beyond this number are merged.
const MANIFESTS_MAX: usize = 100;
/// Manifests from this size on are not merged, and new ones end at about it.
const MANIFEST_BYTES_TARGET: i64 = 8 * 1024 * 1024;

/// An entry without its path, partition values and metrics.
const ENTRY_BYTES: usize = 80;
/// A partition value; an offset of a row group.
const VALUE_BYTES: usize = 8;
/// A column's size or count: its id and a number.
const COUNT_BYTES: usize = 6;
/// A column's bound: its id, a length, and at most so many bytes of text (see [`super::values`]).
const BOUND_BYTES: usize = 14;

/// New files in groups, each of which makes a manifest of about the target's size. What an entry takes is estimated.
pub(super) fn split(files: &[DataFile]) -> Vec<&[DataFile]> {
    let (mut groups, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, file) in files.iter().enumerate() {
        bytes += entry_bytes(file);
        if bytes >= MANIFEST_BYTES_TARGET as usize {
            groups.push(&files[start..=index]);
            (start, bytes) = (index + 1, 0);
        }
    }
    if start < files.len() {
        groups.push(&files[start..]);
    }
    groups
}

fn entry_bytes(file: &DataFile) -> usize {
    let values = file.partition().fields().len() + file.split_offsets().map_or(0, <[i64]>::len);
    let counts = file.column_sizes().len() + file.value_counts().len() + file.null_value_counts().len();
    let bounds = file.lower_bounds().len() + file.upper_bounds().len();
    ENTRY_BYTES + file.file_path().len() + values * VALUE_BYTES + counts * COUNT_BYTES + bounds * BOUND_BYTES
}

/// Groups of small manifests of one content, spec and schema to merge, where a content has too many.
pub(super) fn mergeable<'a>(carried: &[&'a Loaded]) -> Vec<Vec<&'a Loaded>> {
    let (data, deletes): (Vec<&Loaded>, Vec<&Loaded>) =
        carried.iter().filter(|loaded| loaded.file.manifest_length < MANIFEST_BYTES_TARGET).partition(|one| one.is_data());
    [data, deletes].into_iter().filter(|small| small.len() > MANIFESTS_MAX).flat_map(grouped).collect()
}

fn grouped(small: Vec<&Loaded>) -> Vec<Vec<&Loaded>> {
    let mut groups: Vec<(i64, Vec<&Loaded>)> = Vec::new();
    for loaded in small {
        let alike = |first: &&Loaded| {
            first.file.partition_spec_id == loaded.file.partition_spec_id
                && first.metadata.schema_id == loaded.metadata.schema_id
        };
        let open =
            |(bytes, group): &&mut (i64, Vec<&Loaded>)| *bytes < MANIFEST_BYTES_TARGET && group.first().is_some_and(&alike);
        match groups.iter_mut().find(open) {
            Some((bytes, group)) => {
                *bytes += loaded.file.manifest_length;
                group.push(loaded);
            }
            None => groups.push((loaded.file.manifest_length, vec![loaded])),
        }
    }
    groups.into_iter().map(|(_, group)| group).filter(|group| group.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use iceberg::io::FileIO;
    use iceberg::spec::{
        DataContentType, DataFileBuilder, DataFileFormat, Datum, ManifestWriterBuilder, NestedField, PartitionSpec,
        PrimitiveType, Schema, Type,
    };

    use super::*;

    const COLUMNS: i32 = 60;

    /// A file with metrics of so many columns, half of them texts.
    fn file(number: usize) -> DataFile {
        let counts = |count: u64| (1..=COLUMNS).map(|id| (id, count * 1_000 + number as u64)).collect::<HashMap<_, _>>();
        let bound = |id: i32| if id % 2 == 0 { Datum::string("sixteen letters.") } else { Datum::long(number as i64) };
        let bounds = || (1..=COLUMNS).map(|id| (id, bound(id))).collect::<HashMap<_, _>>();
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(format!("s3://lake/flights/data/month=2001-01/ls.flights.b000001.e1-{number:05}.parquet"))
            .file_format(DataFileFormat::Parquet)
            .record_count(1)
            .file_size_in_bytes(1)
            .column_sizes(counts(3))
            .value_counts(counts(2))
            .null_value_counts(counts(0))
            .lower_bounds(bounds())
            .upper_bounds(bounds())
            .split_offsets(Some(vec![4]))
            .build()
            .unwrap()
    }

    #[test]
    fn the_files_of_a_large_commit_make_manifests_near_the_target() {
        let files: Vec<DataFile> = (0..5_000).map(file).collect();
        let groups = split(&files);
        assert_eq!(groups.iter().map(|group| group.len()).sum::<usize>(), files.len());
        assert!(groups.len() > 1 && groups.windows(2).all(|pair| pair[0].last() != pair[1].first()));
        let target = MANIFEST_BYTES_TARGET as usize;
        assert!(groups.iter().rev().skip(1).all(|group| group.iter().map(entry_bytes).sum::<usize>() >= target));
        assert_eq!(split(&[]), Vec::<&[DataFile]>::new());
    }

    #[tokio::test]
    async fn what_an_entry_takes_is_estimated_well() {
        let column = |id: i32| {
            let kind = if id % 2 == 0 { PrimitiveType::String } else { PrimitiveType::Long };
            Arc::new(NestedField::optional(id, format!("c{id}"), Type::Primitive(kind)))
        };
        let schema = Arc::new(Schema::builder().with_fields((1..=COLUMNS).map(column)).build().unwrap());
        let output = FileIO::new_with_memory().new_output("m").unwrap();
        let spec = PartitionSpec::unpartition_spec();
        let mut manifest = ManifestWriterBuilder::new(output, Some(1), schema, spec).build_v2_data();
        let files: Vec<DataFile> = (0..100).map(file).collect();
        for file in &files {
            manifest.add_file(file.clone(), -1).unwrap();
        }
        let written = manifest.write_manifest_file().await.unwrap().manifest_length as f64;
        let estimated = files.iter().map(entry_bytes).sum::<usize>() as f64;
        assert!((0.7..1.4).contains(&(estimated / written)), "estimated {estimated}, written {written}");
    }
}

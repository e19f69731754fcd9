//! Row-level deletes that a commit writes: positional delete files for version 2 of the format, deletion vectors for
//! version 3. Each is of one data file and says so, so that it goes with the file.

mod positions;
mod vectors;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, ManifestContentType, ManifestFile, PartitionSpec, SchemaRef,
};
use lakeshift_core::plan::data_file_stem;
use lakeshift_core::table::{CommitRequest, DeletedRows, TableError, UnitId};
use roaring::RoaringTreemap;

use super::fault::corrupt;
use super::location::Places;
use super::manifests::Writer;

/// In the names of delete files, where data files have the unit that wrote them.
const UNIT: &str = "deletes";

/// A data file from which rows are deleted.
#[derive(Debug, Clone)]
pub(super) struct Marked<'a> {
    pub file: &'a DataFile,
    /// The spec that the file's partition values are of.
    pub spec: &'a PartitionSpec,
    pub rows: &'a DeletedRows,
    /// The sequence number of the file, once it has one: older deletes do not apply to it.
    pub sequence: Option<i64>,
    /// Delete files of this data file alone, whose rows the new one takes over.
    pub earlier: Vec<&'a DataFile>,
}

impl Marked<'_> {
    /// Refuses positions that the file does not have.
    pub fn check(&self) -> Result<(), TableError> {
        let end = self.rows.ranges().last().map_or(0, |range| range.end);
        match end > self.file.record_count() {
            true => {
                let rows = self.file.record_count();
                let reason = format!("row {} of it was to be deleted, and it has {rows} rows; nothing was changed", end - 1);
                Err(corrupt(self.file.file_path(), reason))
            }
            false => Ok(()),
        }
    }

    /// All rows that the new delete file deletes.
    async fn all_rows(&self, places: &Places) -> Result<RoaringTreemap, TableError> {
        let mut rows = RoaringTreemap::new();
        for range in self.rows.ranges() {
            rows.insert_range(range.clone());
        }
        for delete in &self.earlier {
            let of = self.file.file_path();
            rows |= match delete.file_format() {
                DataFileFormat::Puffin => vectors::read(places, of, delete).await?,
                _ => positions::read(places, of, delete).await?,
            };
        }
        Ok(rows)
    }

    /// What every delete file of it says.
    fn describe(&self, path: String, format: DataFileFormat, rows: u64, size_bytes: u64) -> DataFileBuilder {
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::PositionDeletes)
            .file_path(path)
            .file_format(format)
            .partition(self.file.partition().clone())
            .partition_spec_id(self.spec.spec_id())
            .record_count(rows)
            .file_size_in_bytes(size_bytes)
            .referenced_data_file(Some(self.file.file_path().to_owned()));
        builder
    }
}

/// Delete files of one partition spec.
type OfSpec<'a> = (&'a PartitionSpec, Vec<DataFile>);

/// Writes the delete files of a commit and their manifests. Returns both.
pub(super) async fn write(
    writer: &mut Writer<'_>,
    places: &Places,
    request: &CommitRequest,
    schema: &SchemaRef,
    marked: &[Marked<'_>],
) -> Result<(Vec<DataFile>, Vec<ManifestFile>), TableError> {
    if marked.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let unit = UnitId(UNIT.to_owned());
    let stem = format!("data/{}", data_file_stem(&request.migration, &unit, request.epoch));
    let files = match writer.writes_vectors() {
        true => vectors::write(writer, places, &stem, marked).await?,
        false => positions::write(writer, places, &stem, marked).await?,
    };
    let mut of_specs: Vec<OfSpec<'_>> = Vec::new();
    for (file, marked) in files.iter().zip(marked) {
        match of_specs.iter_mut().find(|(spec, _)| spec.spec_id() == marked.spec.spec_id()) {
            Some((_, group)) => group.push(file.clone()),
            None => of_specs.push((marked.spec, vec![file.clone()])),
        }
    }
    let mut manifests = Vec::new();
    for (spec, group) in of_specs {
        manifests.push(writer.added(ManifestContentType::Deletes, schema.clone(), spec, group).await?);
    }
    Ok((files, manifests))
}

fn built(builder: &DataFileBuilder) -> Result<DataFile, TableError> {
    builder.build().map_err(|error| corrupt("a delete file", format!("its description is incomplete: {error}")))
}

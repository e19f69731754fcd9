//! Batches in a temporary file, as an Arrow IPC stream. DataFusion's disk manager makes the file, bounds the space of all
//! of them, and deletes it when the last handle is dropped, on an error too.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::spill_file::{SpillFile, SpillWriter};

use super::DiffError;
use super::error::SpillError;

fn not_written(source: impl Into<SpillError>) -> DiffError {
    DiffError::Spill { action: "written to", source: source.into() }
}

fn not_read(source: impl Into<SpillError>) -> DiffError {
    DiffError::Spill { action: "read from", source: source.into() }
}

/// A file that is being written.
pub(super) struct Spilling {
    file: Arc<dyn SpillFile>,
    writer: StreamWriter<BufWriter<Box<dyn SpillWriter>>>,
}

impl Spilling {
    pub(super) fn create(disk: &Arc<DiskManager>, schema: &Schema) -> Result<Self, DiffError> {
        let file = disk.create_tmp_file("spilling the row difference").map_err(not_written)?;
        let sink = file.open_writer().map_err(not_written)?;
        let writer = StreamWriter::try_new_buffered(sink, schema).map_err(not_written)?;
        Ok(Self { file, writer })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), DiffError> {
        self.writer.write(batch).map_err(not_written)
    }

    pub(super) fn finish(mut self) -> Result<Spilled, DiffError> {
        self.writer.finish().map_err(not_written)?;
        Ok(Spilled(self.file))
    }
}

/// A finished file.
pub(super) struct Spilled(Arc<dyn SpillFile>);

impl Spilled {
    /// The batches, in the order in which they were written. The file is deleted with the iterator.
    pub(super) fn read(self) -> Result<Batches, DiffError> {
        let path = self.0.path().ok_or_else(|| not_read(SpillError::NotLocal))?;
        let reader = StreamReader::try_new_buffered(File::open(path).map_err(not_read)?, None).map_err(not_read)?;
        Ok(Batches { reader, _file: self.0 })
    }
}

/// The batches of a file.
pub(super) struct Batches {
    reader: StreamReader<BufReader<File>>,
    _file: Arc<dyn SpillFile>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, DiffError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.reader.next()?.map_err(|source: ArrowError| not_read(source)))
    }
}

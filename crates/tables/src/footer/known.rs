//! The schema of the footer that a thread has read last: files of one table have the same one, and understanding it takes longer
//! than the rest of a small footer.

use std::cell::RefCell;
use std::sync::Arc;

use parquet::schema::types::SchemaDescPtr;

use super::schema::{Converted, Int96};

thread_local! {
    static LAST: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// A schema, byte for byte, and what it means.
#[derive(Clone)]
pub(super) struct Known {
    bytes: Arc<[u8]>,
    int96: Int96,
    descriptor: SchemaDescPtr,
    converted: Arc<Converted>,
}

impl Known {
    /// As the Parquet library has it.
    pub(super) fn descriptor(&self) -> &SchemaDescPtr {
        &self.descriptor
    }

    /// As [`schema::convert`](super::schema::convert) has it.
    pub(super) fn converted(self) -> Arc<Converted> {
        self.converted
    }
}

/// What these bytes mean, if they were the last ones.
pub(super) fn find(schema: &[u8], int96: Int96) -> Option<Known> {
    LAST.with_borrow(|last| last.as_ref().filter(|known| *known.bytes == *schema && known.int96 == int96).cloned())
}

/// Remembers what these bytes mean.
pub(super) fn keep(schema: &[u8], int96: Int96, descriptor: SchemaDescPtr, converted: &Arc<Converted>) {
    let known = Known { bytes: schema.into(), int96, descriptor, converted: Arc::clone(converted) };
    LAST.set(Some(known));
}

#[cfg(test)]
mod tests {
    use lakeshift_core::schema::{DataType, TimeUnit};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::footer::parse_footer_with;

    fn footer(schema: &str) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut file = Vec::new();
        SerializedFileWriter::new(&mut file, schema, Default::default()).unwrap().close().unwrap();
        let end = file.len() - 8;
        let length = u32::from_le_bytes(file[end..end + 4].try_into().unwrap()) as usize;
        file[end - length..end].to_vec()
    }

    #[test]
    fn what_was_understood_holds_for_the_same_bytes_under_the_same_declaration_alone() {
        let (old, new) = (footer("message m { optional int96 at; }"), footer("message m { optional int64 at; }"));
        let read = |footer: &[u8], int96| {
            let read = parse_footer_with("a.parquet", footer, 1000, int96);
            read.map(|footer| footer.schema.fields[0].data_type.clone()).ok()
        };
        let instants = |unit| Some(DataType::Timestamp { unit, utc: true });
        for _ in 0..2 {
            assert_eq!(read(&old, Int96::Instants), instants(TimeUnit::Nanos));
            assert_eq!(read(&old, Int96::InstantsAsRead), instants(TimeUnit::Micros));
            assert_eq!(read(&old, Int96::Refused), None);
            assert_eq!(read(&new, Int96::Refused), Some(DataType::Int64));
            assert_eq!(read(&old, Int96::Refused), None);
        }
    }
}

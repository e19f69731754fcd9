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

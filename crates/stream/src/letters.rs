//! [`DeadLetters`]: where records go that could not be read. The default, [`ObjectLetters`], needs nothing but an object store.
//!
//! A letter is kept before the journal accounts for its offset, so none is lost; a process that dies between the two, or whose
//! commit is refused, keeps it again when it reads on. Whoever reads letters tells doubles by partition and offset.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lakeshift_journal::{Rng, RngExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::StreamError;
use crate::offsets::SourcePartition;

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where it came from.
    pub partition: SourcePartition,
    /// Its offset there.
    pub offset: i64,
    /// Why it could not be read, without its content.
    pub reason: String,
    /// Its content.
    pub payload: Bytes,
}

/// Keeps letters.
#[async_trait]
pub trait DeadLetters: Debug + Send + Sync {
    /// Keeps the letters of one reading, of which there is at least one; `after` is the journal's last entry. When this returns they
    /// are where no crash takes them. Tells where, for the journal.
    ///
    /// # Errors
    /// [`StreamError::Letters`]; some of the letters may have been kept.
    async fn keep(&self, letters: &[Letter], after: u64) -> Result<String, StreamError>;
}

/// Letters in objects, one a reading.
#[derive(Debug, Clone)]
pub struct ObjectLetters {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// Below which folder.
    pub folder: Path,
    /// Names objects.
    pub rng: Arc<dyn Rng>,
}

#[async_trait]
impl DeadLetters for ObjectLetters {
    async fn keep(&self, letters: &[Letter], after: u64) -> Result<String, StreamError> {
        let name = format!("{after:020}-{:016x}.json", self.rng.nonce());
        let path = self.folder.clone().join(name.as_str());
        let records: Vec<_> = letters.iter().map(record).collect();
        let text = serde_json::json!({ "format_version": 1, "records": records }).to_string();
        let failed = |source: object_store::Error| StreamError::Letters { to: path.to_string(), reason: source.to_string() };
        self.store.put(&path, Bytes::from(text).into()).await.map_err(failed)?;
        Ok(name)
    }
}

fn record(letter: &Letter) -> serde_json::Value {
    let hex: String = letter.payload.iter().map(|byte| format!("{byte:02x}")).collect();
    let Letter { partition, offset, reason, .. } = letter;
    serde_json::json!({ "partition": partition, "offset": offset, "reason": reason, "payload_hex": hex })
}

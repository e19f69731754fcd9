//! The digest of a plan.

use lakeshift_core::plan::PlannedFile;
use lakeshift_core::table::TableVersion;
use lakeshift_core::value::Value;
use sha2::{Digest, Sha256};

/// SHA-256 over the spec's digest, the source version and every planned file, in order. Each part is preceded by its
/// length and each value by its kind, so that different plans never give the same bytes.
#[derive(Debug, Clone)]
pub struct PlanDigest {
    hash: Sha256,
}

impl PlanDigest {
    /// The beginning: what the files were planned from.
    pub fn new(spec_digest: &str, source: &TableVersion) -> Self {
        let mut digest = Self { hash: Sha256::new() };
        digest.text("lakeshift plan 1");
        digest.text(spec_digest);
        digest.text(&source.0);
        digest
    }

    /// The next file.
    pub fn add(&mut self, file: &PlannedFile) {
        for text in [&file.unit.0, &file.strategy.to_string(), &file.reason, &file.path, &file.identity] {
            self.text(text);
        }
        self.number(file.size_bytes);
        self.number(file.rows);
        self.values(&file.partition);
        match &file.target_partition {
            None => self.hash.update([0]),
            Some(values) => {
                self.hash.update([1]);
                self.values(values);
            }
        }
    }

    /// The digest in hex.
    pub fn finish(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn values(&mut self, values: &[Option<Value>]) {
        self.number(values.len() as u64);
        for value in values {
            self.value(value.as_ref());
        }
    }

    fn value(&mut self, value: Option<&Value>) {
        let Some(value) = value else { return self.hash.update([0]) };
        match value {
            Value::Boolean(value) => self.hash.update([1, u8::from(*value)]),
            Value::Int(value) => self.tagged(2, &value.to_be_bytes()),
            Value::Float(value) => self.tagged(3, &value.to_bits().to_be_bytes()),
            Value::Decimal { unscaled, scale } => {
                self.tagged(4, &unscaled.to_be_bytes());
                self.hash.update([*scale]);
            }
            Value::Date(value) => self.tagged(5, &value.to_be_bytes()),
            Value::Time(value) => self.tagged(6, &value.to_be_bytes()),
            Value::Timestamp(value) => self.tagged(7, &value.to_be_bytes()),
            Value::String(value) => {
                self.hash.update([8]);
                self.text(value);
            }
            Value::Binary(value) => {
                self.hash.update([9]);
                self.number(value.len() as u64);
                self.hash.update(value);
            }
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.hash.update([tag]);
        self.hash.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.hash.update(text);
    }

    fn number(&mut self, number: u64) {
        self.hash.update(number.to_be_bytes());
    }
}

//! The part of Apache Avro that Hudi writes: schemas ([`Schema`]), binary values ([`decode`]) and container files
//! ([`container`]), for timelines and logs.
//!
//! Not a general library. The bytes are an outsider's, and a damaged file must be an error: nothing is allocated for a
//! length that the input cannot hold, the count of values is bounded by the input's size, and input that ends early is
//! never taken for a null (which is why this is not apache-avro: it reserves whatever an array claims, and reads null where
//! the bytes end).

mod read;
mod schema;
mod table;

pub use read::{Value, container, decode, decode_prefix, json};
pub use schema::{Logical, Schema};

/// Why bytes or a schema are not what Avro says they should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AvroError {
    /// The schema is no Avro schema, or one that is nested or repeated beyond reason.
    #[error("its Avro schema is not valid: {0}")]
    Schema(String),
    /// The bytes are no values of the schema.
    #[error("its Avro bytes are not valid: {0}")]
    Bytes(&'static str),
    /// A type that no logical type stands for.
    #[error("column {column} has the Avro type {found}, which has no lossless logical type")]
    Type {
        /// The column's path.
        column: String,
        /// The Avro type.
        found: String,
    },
    /// A container's blocks are compressed in a way that Hudi's timeline is not.
    #[error("its blocks are compressed by {0}, which is not read")]
    Codec(String),
}

#[cfg(test)]
mod tests;

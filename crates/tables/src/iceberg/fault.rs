//! Shorthands for the kinds of [`TableError`] that this format meets.

use lakeshift_core::table::TableError;

use crate::storage::store_error;

/// Metadata that contradicts itself or the file that it describes.
pub(super) fn corrupt(object: impl Into<String>, reason: impl Into<String>) -> TableError {
    TableError::Corrupt { object: object.into(), reason: reason.into(), source: None }
}

/// Metadata that the format's library refuses.
pub(super) fn damaged(object: impl Into<String>, reason: &str, source: iceberg::Error) -> TableError {
    TableError::Corrupt { object: object.into(), reason: reason.to_owned(), source: Some(Box::new(source)) }
}

/// JSON that does not parse.
pub(super) fn bad_json(object: impl Into<String>, source: serde_json::Error) -> TableError {
    TableError::Corrupt {
        object: object.into(),
        reason: "it is not the JSON that the Iceberg specification describes".to_owned(),
        source: Some(Box::new(source)),
    }
}

/// A feature that Lakeshift does not carry.
pub(super) fn unsupported(object: impl Into<String>, feature: impl Into<String>, advice: impl Into<String>) -> TableError {
    TableError::Unsupported { object: object.into(), feature: feature.into(), advice: advice.into() }
}

/// A read of an object that metadata names: where it is gone, reading again will not help.
pub(super) fn unreadable(object: &str, error: object_store::Error) -> TableError {
    match error {
        object_store::Error::NotFound { .. } => TableError::Corrupt {
            object: object.to_owned(),
            reason: "the table's metadata names it, but the store does not have it (deleted by somebody?)".to_owned(),
            source: Some(Box::new(error)),
        },
        other => store_error("read", object, other),
    }
}

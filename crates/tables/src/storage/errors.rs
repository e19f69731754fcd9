//! From the store's errors to [`TableError`].

use std::error::Error as StdError;

use lakeshift_core::storage::OutsideError;
use lakeshift_core::table::TableError;

/// The error of an `action` (read, write, list, delete) on `object`. A path that left its location keeps its own kind.
pub(crate) fn store_error(action: &'static str, object: &str, error: object_store::Error) -> TableError {
    match outside(&error) {
        Some(OutsideError { path, location }) => TableError::Outside { path: path.clone(), location: location.clone() },
        None => TableError::Store { action, object: object.to_owned(), source: Box::new(error) },
    }
}

/// As [`store_error`] for a read, where an object that is gone means that metadata names what is not there.
pub(crate) fn read_error(object: &str, error: object_store::Error) -> TableError {
    match error {
        object_store::Error::NotFound { .. } => TableError::Corrupt {
            object: object.to_owned(),
            reason: "it is listed, but the store does not have it (deleted meanwhile?); nothing was changed".to_owned(),
            source: Some(Box::new(error)),
        },
        other => store_error("read", object, other),
    }
}

/// The error of a path that does not stay in its location.
pub(crate) fn outside_error(error: OutsideError) -> TableError {
    TableError::Outside { path: error.path, location: error.location }
}

fn outside<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a OutsideError> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<OutsideError>() {
            return Some(found);
        }
        next = current.source();
    }
    None
}

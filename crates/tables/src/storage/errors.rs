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

/// Whether the object was deleted or replaced since it was listed; listing again helps.
pub(crate) fn changed_since_listed(error: &TableError) -> bool {
    use object_store::Error as E;
    let TableError::Store { source, .. } = error else { return false };
    let source = source.downcast_ref::<E>();
    matches!(source, Some(E::NotFound { .. } | E::Precondition { .. }))
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

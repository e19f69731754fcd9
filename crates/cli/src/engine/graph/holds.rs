//! [`holds`]: the tables of a graph that a migration under the same control root is filling.

use lakeshift_core::graph::{Hold, Table};
use lakeshift_core::migration::{Phase, State, VerdictName};
use lakeshift_core::table::MigrationId;

use super::file::GraphFile;
use crate::error::Error;
use crate::session;

/// The tables that are the new table of a migration and have not passed its validation: what is computed from them waits. The
/// old table of a migration is what it was, and holds nothing.
///
/// # Errors
/// A migration's journal cannot be read.
pub async fn holds(file: &GraphFile) -> Result<Vec<Hold>, Error> {
    let folder = file.control.child("migrations");
    let object = folder.location().to_owned();
    let listed = folder.store().list_with_delimiter(Some(folder.prefix())).await;
    let listed = listed.map_err(|source| Error::Store { action: "list", object, source })?;
    let mut holds = Vec::new();
    for path in listed.common_prefixes {
        let Some(name) = path.filename() else { continue };
        let (state, spec) = session::read_only(&file.context, &folder.child(name)).await?;
        let Some(spec) = spec.filter(|_| is_filling(&state)) else { continue };
        let target = spec.target.location.as_str().trim_end_matches('/');
        // In place, the old table lies there too, in another format.
        let is_it =
            |table: &Table| table.spec.format == spec.target.format && table.spec.location.trim_end_matches('/') == target;
        let held = file.graph.ids().filter(|(_, table)| is_it(table));
        let MigrationId(by) = spec.name.clone();
        holds.extend(held.map(|(table, _)| Hold { table, periods: (i32::MIN, i32::MAX), entity: None, by: by.clone() }));
    }
    Ok(holds)
}

/// Whether the new table is there, and is not yet known to be what the old one is.
fn is_filling(state: &State) -> bool {
    match state.phase {
        Phase::DualWrite | Phase::Backfill => true,
        Phase::Validation => !state.validation.as_ref().is_some_and(|validation| validation.verdict == VerdictName::Pass),
        _ => false,
    }
}

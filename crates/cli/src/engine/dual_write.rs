//! The boundary: S0 is pinned, readers get an alias, the target is created, and the first changes are carried over.

use lakeshift_core::migration::{Event, Side};
use lakeshift_core::table::{CreateOutcome, CreateRequest};

use super::planning::{plan, target_columns};
use super::rows::Rows;
use super::tables::Tables;
use super::{mirror, plans, switch};
use crate::error::Error;
use crate::session::Session;

/// Begins dual writing, from wherever an earlier attempt ended.
///
/// # Errors
/// [`Error::PlanRefused`] when the source has become something that the target cannot have; [`Error::ForeignTable`].
pub async fn run(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<(), Error> {
    if session.state.boundary.is_none() {
        pin(session, tables, rows).await?;
    }
    for group in session.spec.cutover.groups() {
        if !session.state.pointers.contains_key(&group.alias) {
            switch::switch(session, tables, &group.alias, Side::Old, false).await?;
        }
    }
    if !session.state.target_created {
        create(session, tables, rows).await?;
    }
    mirror::round(session, tables, rows).await?;
    Ok(())
}

/// Plans anew for the source as it is now, and makes that version S0. What was approved is the mapping and the layout,
/// which the spec's digest and the refusals guard; files that came since are planned like the others.
async fn pin(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<(), Error> {
    let source = tables.source.snapshot(None).await?;
    let planning = plan(&session.spec, tables, rows, &source).await?;
    tables.source.pin(&source).await?;
    plans::write(session, &planning.plan.digest, &planning.files).await?;
    let table = tables.source.identity().await?;
    session.record(Event::BoundaryPinned { plan: planning.plan, table }).await
}

async fn create(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<(), Error> {
    let Some(boundary) = &session.state.boundary else { return Ok(()) };
    let source = tables.source.snapshot(Some(&boundary.plan.source)).await?;
    let schema = target_columns(&session.spec, rows, &source).await?.schema;
    let request = CreateRequest {
        migration: session.id().clone(),
        epoch: session.epoch(),
        schema,
        partition: session.spec.target.partitioning.clone(),
        sort: session.spec.target.sort.clone(),
        format_version: session.spec.target.format_version,
        properties: session.spec.target.properties.clone(),
    };
    match tables.target.create(&request).await? {
        CreateOutcome::Created(version) | CreateOutcome::AlreadyCreated(version) => {
            session.record(Event::TargetCreated { version }).await
        }
        CreateOutcome::Foreign { found } => {
            Err(Error::ForeignTable { location: tables.target.location().to_owned(), found })
        }
    }
}

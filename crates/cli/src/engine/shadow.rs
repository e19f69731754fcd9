//! Shadow reads: queries of the readers, asked of both tables before anybody is moved, and of the new one afterwards.
//!
//! In the queries the table has the name that readers resolve: the alias. Both tables are read by the same engine, so that what
//! it takes tells what the files make of it, not what another engine would.

use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use lakeshift_exec::engine::Engine;
use lakeshift_exec::scan::{Deletes, ScanRequest, scan};
use lakeshift_exec::shadow::{Difference, Reply, ShadowQuery, ask};

use super::compare::Pinned;
use super::rows::{Rows, deletes_of};
use super::tables::Tables;
use super::validation::pin_both;
use crate::error::Error;
use crate::session::Session;

/// One query as both tables answered it.
#[derive(Debug)]
pub struct Shadowed {
    /// The query's name.
    pub query: String,
    /// Rows of the old and of the new reply.
    pub rows: [u64; 2],
    /// Median time of the old and of the new replies.
    pub took: [Duration; 2],
    /// How the replies differ; `None` where they are the same.
    pub difference: Option<Difference>,
}

/// The versions that were asked, and what came of it.
#[derive(Debug)]
pub struct Shadow {
    /// Versions of the old and of the new table.
    pub versions: [String; 2],
    /// Each query.
    pub queries: Vec<Shadowed>,
}

/// Asks both tables every query `runs` times, in turns. The old table is read as the mirror has carried it over; after the
/// cutover, when it may be behind, as it is.
///
/// # Errors
/// Tables that cannot be read, and queries that cannot be run.
pub async fn run(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    queries: &[ShadowQuery],
    (runs, tolerance): (u32, f64),
) -> Result<Shadow, Error> {
    let applied = session.state.mirror.as_ref().map(|mirror| &mirror.applied);
    let applied = applied.filter(|_| session.state.on_new().next().is_none());
    let (old, new) = pin_both(session, tables, [applied, None]).await?;
    let alias = &session.spec.cutover.alias;
    let mut done = Vec::with_capacity(queries.len());
    for query in queries {
        let (mut replies, mut took) = ([None, None], [Vec::new(), Vec::new()]);
        for _ in 0..runs.max(1) {
            for (index, side) in [&old, &new].into_iter().enumerate() {
                let began = session.context.clock.elapsed();
                let reply = asked(rows.engine(), side, query, alias).await?;
                took[index].push(session.context.clock.elapsed().saturating_sub(began));
                replies[index].get_or_insert(reply);
            }
        }
        let [Some(old), Some(new)] = replies else { continue };
        done.push(Shadowed {
            query: query.name.clone(),
            rows: [old.rows(), new.rows()],
            took: took.map(median),
            difference: old.compare(&new, query, tolerance)?,
        });
    }
    Ok(Shadow { versions: [old, new].map(|side| side.snapshot.version.0), queries: done })
}

/// Whether the new table answers a health query with nothing but true.
///
/// # Errors
/// As [`run`].
pub async fn is_well(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    (name, sql, alias): (&str, &str, &str),
) -> Result<bool, Error> {
    let (_, new) = pin_both(session, tables, [None, None]).await?;
    let query = ShadowQuery { name: name.to_owned(), sql: sql.to_owned() };
    Ok(asked(rows.engine(), &new, &query, alias).await?.is_true())
}

async fn asked(engine: &Engine, side: &Pinned<'_>, query: &ShadowQuery, alias: &str) -> Result<Reply, Error> {
    Ok(ask(engine, query, alias, plans(engine, side).await?).await?)
}

/// Scans of all files of a side: those in its own folder, and those elsewhere.
async fn plans(engine: &Engine, side: &Pinned<'_>) -> Result<Vec<Arc<dyn ExecutionPlan>>, Error> {
    let (far, near): (Vec<_>, Vec<_>) = side.files.iter().cloned().partition(|file| file.path.contains("://"));
    let mut places = vec![(side.storage, near)];
    if !far.is_empty() {
        places.push((side.elsewhere, far));
    }
    let mut plans = Vec::with_capacity(places.len());
    for (storage, files) in places {
        let none = Deletes::new();
        let format = side.table.format();
        let request = ScanRequest { storage, format, snapshot: &side.snapshot, files: &files, deletes: &none };
        let deletes = deletes_of(engine, side.table, &request, &[side.storage, side.elsewhere]).await?;
        plans.push(scan(engine, &ScanRequest { deletes: &deletes, ..request })?);
    }
    Ok(plans)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

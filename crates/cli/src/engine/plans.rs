//! The migration's plans as files: `plans/<digest>.parquet`, verified against their digest when they are read.

use futures::StreamExt;
use futures::stream::BoxStream;
use lakeshift_core::plan::PlannedFile;
use lakeshift_core::table::TableVersion;
use lakeshift_exec::plan_file::{self, PlanDigest, PlanFileError};

use crate::error::Error;
use crate::session::Session;

/// The digest of a plan.
pub fn digest(spec_digest: &str, source: &TableVersion, files: &[PlannedFile]) -> String {
    let mut digest = PlanDigest::new(spec_digest, source);
    files.iter().for_each(|file| digest.add(file));
    digest.finish()
}

/// Saves a plan. Its name is its content, so that saving it again changes nothing.
///
/// # Errors
/// The store fails.
pub async fn write(session: &Session, digest: &str, files: &[PlannedFile]) -> Result<(), Error> {
    let rows = futures::stream::iter(files.iter().cloned()).map(Ok::<_, PlanFileError>);
    plan_file::write_plan(&session.folder, &name(digest), rows).await?;
    Ok(())
}

/// A plan's files in order, and an error at the end if they are not the ones that were planned.
pub fn read(
    session: &Session,
    digest: &str,
    source: &TableVersion,
) -> BoxStream<'static, Result<PlannedFile, PlanFileError>> {
    let name = name(digest);
    let rows = plan_file::read_plan(&session.folder, &name);
    plan_file::verified(rows, PlanDigest::new(&session.spec.digest(), source), &name, digest)
}

fn name(digest: &str) -> String {
    format!("plans/{digest}.parquet")
}

//! `history`: everything that happened to a migration, from its journal alone.

use std::path::Path;

use lakeshift_core::migration::{Event, Timeline};
use lakeshift_core::spec::Place;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::MigrationId;

use super::init::as_url;
use super::opened::read_spec;
use crate::context::Context;
use crate::error::Error;
use crate::output::Answer;

/// `migration` is a spec's file or folder, or, where no such file is, the name of a migration under `control`.
pub async fn run(context: &Context, migration: &str, control: Option<&str>, html: Option<&Path>) -> Result<Answer, Error> {
    let (id, control) = find(context, migration, control)?;
    let folder = control.child("migrations").child(&id.0);
    let journal = context.journal::<Event>(&folder).await?;
    if journal.entries().is_empty() {
        return Err(Error::Unknown { migration: id, control: control.location().to_owned() });
    }
    let timeline = Timeline::new(&id, journal.entries());
    let Some(file) = html else { return Ok(Answer::done(timeline.to_text(), &timeline)) };
    let path = file.display().to_string();
    std::fs::write(file, timeline.to_html()).map_err(|source| Error::WriteFile { path: path.clone(), source })?;
    let entries = timeline.entries.len();
    let json = serde_json::json!({ "migration": id, "html": path, "entries": entries, "head": timeline.head });
    Ok(Answer::done(format!("{entries} entries, every hash checked: {path}"), json))
}

fn find(context: &Context, migration: &str, control: Option<&str>) -> Result<(MigrationId, Storage), Error> {
    if Path::new(migration).exists() {
        let spec = read_spec(Path::new(migration))?;
        let control = context.open(&spec, Place::Control)?;
        return Ok((spec.name, control));
    }
    let unusable = |reason: &str| Error::Argument { text: migration.to_owned(), reason: reason.to_owned() };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if migration.is_empty() || !migration.chars().all(is_name) {
        return Err(unusable("there is no such file, and it is no migration's name"));
    }
    let control =
        control.ok_or_else(|| unusable("there is no such file; to find a migration by its name, say --control"))?;
    Ok((MigrationId(migration.to_owned()), context.stores.open(&as_url(control)?)?))
}

//! `init`: a commented spec for an existing table.

use std::path::Path;

use futures::TryStreamExt;
use lakeshift_core::spec::{TemplateInput, template};
use lakeshift_core::table::Format;
use url::Url;

use crate::context::Context;
use crate::engine::tables::open;
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, format: Format, location: &str) -> Result<Answer, Error> {
    let storage = context.stores.open(&as_url(location)?)?;
    let table = open(format, context, storage.clone(), &storage);
    let snapshot = table.snapshot(None).await?;
    let files = table.files(&snapshot).try_fold(0_u64, |count, _| std::future::ready(Ok(count + 1))).await?;
    context.progress.say(format!("{} files, {} columns", files, snapshot.schema.fields.len()));
    let name = table.location().rsplit('/').next().unwrap_or("table");
    let target_format = if format == Format::Iceberg { Format::Delta } else { Format::Iceberg };
    let text = template(&TemplateInput {
        name,
        control: "control",
        source_format: format,
        source_location: table.location(),
        schema: &snapshot.schema,
        partition: &snapshot.partition,
        target_format,
        target_location: &format!("{}-{target_format}", table.location()),
    });
    Ok(Answer::done(text.clone(), serde_json::json!({ "spec": text })))
}

/// A location given on the command line as a URL; a path is taken relative to the working folder.
pub fn as_url(location: &str) -> Result<String, Error> {
    if location.contains("://") {
        return Ok(location.to_owned());
    }
    let unusable = |reason: String| Error::Argument { text: location.to_owned(), reason };
    let path = std::path::absolute(Path::new(location)).map_err(|error| unusable(error.to_string()))?;
    let url = Url::from_file_path(&path).map_err(|()| unusable("it is no path".to_owned()))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

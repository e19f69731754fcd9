//! Tables that a command computes: it writes a partition's rows as Parquet files into a scratch folder, whose rows then go the
//! way of a query's.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use lakeshift_core::graph::TableSpec;
use lakeshift_core::schema::TableSchema;
use lakeshift_core::table::{FileEntry, Format, TableFormat};
use lakeshift_exec::engine::Engine;
use lakeshift_exec::query::Query;
use lakeshift_exec::scan::{Deletes, ScanRequest, scan};
use lakeshift_journal::RngExt;
use lakeshift_tables::hive::HiveTable;
use url::Url;

use super::file::{GraphFile, refused};
use super::task::Job;
use crate::error::Error;
use crate::hooks;

/// The name of what the command wrote, in its query.
const OUTPUT: &str = "output";

/// The query over what a table's command writes: its columns as they are.
pub(super) async fn query(engine: &Engine, name: &str, table: &TableSpec) -> Result<Query, Error> {
    let written = [(OUTPUT.to_owned(), declared(engine, name, table).await?)];
    let names: Vec<String> = declared_columns(table).map(|(column, _)| quoted(column)).collect();
    let time = table.time.as_ref().map(|time| time.column.as_str());
    Ok(Query::new(engine, name, &format!("SELECT {} FROM {OUTPUT}", names.join(", ")), &written, time).await?)
}

/// The columns that a table is said to have.
pub(super) async fn declared(engine: &Engine, name: &str, table: &TableSpec) -> Result<TableSchema, Error> {
    let cast = |(column, sql): (&str, &str)| format!("CAST(NULL AS {sql}) AS {}", quoted(column));
    let casts: Vec<String> = declared_columns(table).map(cast).collect();
    let typed = Query::new(engine, name, &format!("SELECT {}", casts.join(", ")), &[], None).await?;
    Ok(typed.output_schema().clone())
}

fn declared_columns(table: &TableSpec) -> impl Iterator<Item = (&str, &str)> {
    table.columns.iter().filter_map(|column| column.trim().split_once(' '))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A folder that goes when nobody needs it.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "could not delete a scratch folder; delete it");
        }
    }
}

/// Runs the command of a job, and gives a scan of what it wrote, which lasts as long as the folder.
pub(super) async fn run(
    file: &GraphFile,
    query: &Query,
    job: &Job,
    command: &[String],
) -> Result<(Scratch, Vec<(String, Arc<dyn ExecutionPlan>)>), Error> {
    let folder = std::env::temp_dir().join(format!("lakeshift-{:032x}", file.context.rng.nonce128()));
    let path = folder.display().to_string();
    std::fs::create_dir(&folder).map_err(|source| Error::WriteFile { path: path.clone(), source })?;
    let scratch = Scratch(folder);
    let name = &file.graph.table(job.table).name;
    let variables = [("LAKESHIFT_OUTPUT", path.clone())];
    hooks::run_command(command, &variables, Some(job.unit.clone())).await.map_err(|reason| {
        refused(
            format!("the command of table {name} {reason}"),
            "its partition was left as it was; run the unit by hand to see more",
        )
    })?;
    let url = Url::from_directory_path(&scratch.0).map_err(|()| {
        refused(format!("the folder for temporary files, {path}, is no absolute path"), "set TMPDIR to one")
    })?;
    let storage = file.context.stores.open(url.as_str())?;
    let written = HiveTable::new(storage.clone());
    let snapshot = written.snapshot(None).await.map_err(|error| {
        let problem = format!("what the command of table {name} wrote cannot be read: {error}");
        refused(
            problem,
            "let it write Parquet files into the folder LAKESHIFT_OUTPUT, one without rows where there are none",
        )
    })?;
    for wanted in &query.output_schema().fields {
        let found = snapshot.schema.fields.iter().find(|field| field.name == wanted.name);
        if found.is_none_or(|found| found.data_type != wanted.data_type) {
            let is = found.map_or("is missing".to_owned(), |found| format!("is {}", found.data_type));
            let problem = format!("column {} of what the command of table {name} wrote {is}", wanted.name);
            return Err(refused(problem, format!("write it as {}, or correct `columns`", wanted.data_type)));
        }
    }
    let files: Vec<FileEntry> = written.files(&snapshot).try_collect().await?;
    let none = Deletes::new();
    let request =
        ScanRequest { storage: &storage, format: Format::Hive, snapshot: &snapshot, files: &files, deletes: &none };
    Ok((scratch, vec![(OUTPUT.to_owned(), scan(&file.engine, &request)?)]))
}

//! [`GraphFile`]: a `graph.yaml` read, its tables and their queries at hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lakeshift_core::graph::{EntityMapping, Grain, Graph, GraphSpec, Inferred, Table, TableId, TableSpec};
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{CreateOutcome, CreateRequest, FileEntry, Format, MigrationId, TableError, TableFormat};
use lakeshift_exec::engine::{Engine, EngineSettings};
use lakeshift_exec::query::{PartitionedBy, Query};
use lakeshift_tables::hive::HiveTable;
use lakeshift_tables::hudi::HudiTable;

use super::command;
use super::ledger::Ledger;
use crate::context::Context;
use crate::engine::tables;
use crate::error::Error;

/// A table's adapter and where it lies.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) table: Arc<dyn TableFormat>,
    pub(super) storage: Storage,
    /// Where files lie that it has registered and that are not below `storage`.
    elsewhere: Option<Storage>,
}

impl Place {
    /// Where its files lie.
    pub(super) fn all(&self) -> Vec<&Storage> {
        std::iter::once(&self.storage).chain(&self.elsewhere).collect()
    }

    /// Whether files of the table of this name lie where its files lie.
    ///
    /// # Errors
    /// [`Error::GraphRefused`] for the first that does not.
    pub(super) fn holds(&self, name: &str, files: &[FileEntry]) -> Result<(), Error> {
        let is_here = |file: &FileEntry| self.all().iter().any(|storage| storage.resolve(&file.path).is_ok());
        let Some(file) = files.iter().find(|file| !is_here(file)) else { return Ok(()) };
        let problem = format!("a file of table {name} lies outside of its location: {}", file.path);
        let hint = format!("where a migration to iceberg adopted it, name the old table's folder in tables.{name}.files_in");
        Err(refused(problem, hint))
    }
}

/// A graph opened.
#[derive(Debug)]
pub struct GraphFile {
    /// The outside.
    pub context: Context,
    /// The graph.
    pub graph: Graph,
    /// The control root.
    pub(super) control: Storage,
    /// `<control>/graphs/<name>`.
    pub folder: Storage,
    pub(super) engine: Engine,
    places: Vec<Place>,
    queries: Vec<Option<Query>>,
}

impl GraphFile {
    /// Reads a graph: a file, or the `graph.yaml` of a folder; and the columns of its sources, over which the SQL is planned
    /// and its mappings are inferred. Writes nothing.
    ///
    /// # Errors
    /// A file that cannot be read or is no graph; a location that no store serves; a source that cannot be read; SQL that
    /// cannot be planned, or reads what its mapping leaves out.
    pub async fn open(context: &Context, path: &Path) -> Result<Self, Error> {
        let file = if path.is_dir() { path.join("graph.yaml") } else { path.to_owned() };
        let mut spec = read(&file)?;
        spec.resolve_locations(&file)?;
        let name = file.display().to_string();
        let Some(control) = spec.control.clone() else {
            return Err(refused(format!("{name} has no control root"), "add `control:`, the folder of the graph's journal"));
        };
        let order = Graph::order(&spec)?;
        let control = context.stores.open(&control)?;
        let folder = control.child("graphs").child(&spec.graph);
        let mut places = Vec::with_capacity(order.len());
        for name in &order {
            let table = &spec.tables[*name];
            let storage = context.stores.open(&table.location)?;
            let elsewhere = table.files_in.as_ref().map(|folder| context.stores.open(folder)).transpose()?;
            let adapter = adapter(context, table, &storage, elsewhere.as_ref().unwrap_or(&storage), &folder);
            places.push(Place { table: adapter, storage, elsewhere });
        }
        let engine = Engine::builder().with_settings(EngineSettings::default()).build()?;
        let (queries, inferred) = plan_all(&engine, &spec, &order, &places).await?;
        let graph = Graph::build(&spec, &inferred)?;
        for table in graph.tables.iter().filter(|table| !table.is_source()) {
            check_runnable(table)?;
        }
        Ok(Self { context: context.clone(), graph, control, folder, engine, places, queries })
    }

    pub(super) fn place(&self, table: TableId) -> &Place {
        &self.places[table.index()]
    }

    /// The name under which the graph commits to its tables.
    pub fn id(&self) -> MigrationId {
        MigrationId(format!("graph-{}", self.graph.name))
    }

    /// The query of a computed table.
    pub(super) fn query(&self, table: TableId) -> Option<&Query> {
        self.queries[table.index()].as_ref()
    }

    /// Creates the computed tables that are not there.
    ///
    /// # Errors
    /// [`Error::ForeignTable`]; a table that is gone though its partitions are on record, or that has other columns.
    pub(super) async fn create(&self, ledger: &Ledger) -> Result<(), Error> {
        for ((id, table), query) in self.graph.ids().zip(&self.queries) {
            let Some(query) = query else { continue };
            let place = self.place(id);
            let request = CreateRequest {
                migration: self.id(),
                epoch: ledger.epoch(),
                schema: columns(query),
                partition: partitioning(table),
                sort: Vec::new(),
                format_version: None,
                properties: BTreeMap::new(),
            };
            if ledger.versions().partitions(id).next().is_some() && !self.exists(id).await? {
                let location = place.table.location();
                let problem = format!("there is no table {} at {location}, and its partitions are on record", table.name);
                return Err(refused(problem, "bring it back, or give the graph another name and run it all"));
            }
            match place.table.create(&request).await? {
                CreateOutcome::Created(_) | CreateOutcome::AlreadyCreated(_) => {}
                CreateOutcome::Foreign { found } => {
                    return Err(Error::ForeignTable { location: place.table.location().to_owned(), found });
                }
            }
            let there = place.table.snapshot(None).await?.schema;
            if shape(&there) != shape(&request.schema) {
                let problem = format!(
                    "the sql of table {} gives other columns than the table at {} has",
                    table.name,
                    place.table.location()
                );
                return Err(refused(
                    problem,
                    "keep the columns, or give the table another location and name; it was left as it was",
                ));
            }
        }
        Ok(())
    }

    /// Whether a computed table is there already.
    pub(super) async fn exists(&self, table: TableId) -> Result<bool, Error> {
        match self.place(table).table.snapshot(None).await {
            Ok(_) => Ok(true),
            Err(TableError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A graph is refused; nothing was changed.
pub(super) fn refused(problem: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::GraphRefused { problem: problem.into(), hint: hint.into() }
}

fn read(file: &Path) -> Result<GraphSpec, Error> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| Error::ReadSpec { path: path.display().to_string(), source })
    };
    let mut spec = GraphSpec::from_yaml(&read(file)?, &file.display().to_string())?;
    for table in spec.tables.values_mut() {
        // With both, `Graph::build` refuses.
        if let (Some(sql_file), None) = (table.sql_file.clone(), &table.sql) {
            table.sql = Some(read(&file.parent().unwrap_or(file).join(sql_file))?);
            table.sql_file = None;
        }
    }
    Ok(spec)
}

/// The query of each computed table, upstreams first, and what the SQL proves of what it reads.
async fn plan_all(
    engine: &Engine,
    spec: &GraphSpec,
    order: &[&str],
    places: &[Place],
) -> Result<(Vec<Option<Query>>, Inferred), Error> {
    let mut schemas: BTreeMap<&str, TableSchema> = BTreeMap::new();
    let (mut queries, mut inferred) = (Vec::with_capacity(order.len()), Inferred::new());
    for (name, place) in order.iter().copied().zip(places) {
        let table = &spec.tables[name];
        let Some(sql) = &table.sql else {
            if table.is_source() {
                schemas.insert(name, place.table.snapshot(None).await?.schema);
                queries.push(None);
            } else {
                let query = command::query(engine, name, table).await?;
                schemas.insert(name, columns(&query));
                queries.push(Some(query));
            }
            continue;
        };
        if !table.columns.is_empty() {
            // It reads itself.
            schemas.insert(name, command::declared(engine, name, table).await?);
        }
        let upstreams: Vec<_> = table.after.keys().map(|up| (up.clone(), schemas[up.as_str()].clone())).collect();
        let query = Query::new(engine, name, sql, &upstreams, partitioned_by(table).time.as_deref()).await?;
        let by: Vec<_> = table.after.keys().map(|up| (up.clone(), partitioned_by(&spec.tables[up]))).collect();
        for (upstream, proof) in query.proofs(&partitioned_by(table), &by) {
            inferred.insert((name.to_owned(), upstream), proof);
        }
        check_declared(name, schemas.get(name), &columns(&query))?;
        schemas.insert(name, columns(&query));
        queries.push(Some(query));
    }
    Ok((queries, inferred))
}

fn partitioned_by(table: &TableSpec) -> PartitionedBy {
    PartitionedBy {
        time: table.time.as_ref().map(|time| time.column.clone()),
        entity: table.entity.as_ref().map(|entity| entity.column.clone()),
    }
}

/// The columns that a table which reads itself was said to have are those that it gets.
fn check_declared(name: &str, declared: Option<&TableSchema>, found: &TableSchema) -> Result<(), Error> {
    match declared {
        Some(declared) if shape(declared) != shape(found) => {
            let problem =
                format!("the sql of table {name} gives {}, and its columns are said to be", shape(found).join(", "));
            Err(refused(format!("{problem} {}", shape(declared).join(", ")), "write under `columns` what the sql gives"))
        }
        _ => Ok(()),
    }
}

/// Names and types, in no order.
fn shape(schema: &TableSchema) -> Vec<String> {
    let mut shape: Vec<_> = schema.fields.iter().map(|field| format!("{} {:?}", field.name, field.data_type)).collect();
    shape.sort();
    shape
}

fn check_runnable(table: &Table) -> Result<(), Error> {
    let name = &table.name;
    if matches!(table.spec.format, Format::Hive | Format::Hudi) {
        let problem = format!("table {name} is computed and its format is {}", table.spec.format);
        return Err(refused(problem, "partitions are replaced at once in delta and iceberg only; write one of these"));
    }
    if table.grain() == Some(Grain::Hour) {
        let problem = format!("table {name} is computed by the hour, and its column of time is a date");
        return Err(refused(problem, "compute it by the day, or by a coarser grain"));
    }
    // The entities of an upstream that has the same are known once it has partitions.
    let told = table.after.iter().any(|edge| edge.drives && edge.mapping.entity == EntityMapping::Same);
    if !told && table.spec.entity.as_ref().is_some_and(|entity| entity.values.is_empty()) {
        let problem =
            format!("table {name} is computed by entity, and neither names them nor reads a table that has the same");
        return Err(refused(problem, "list them under `entity.values`"));
    }
    Ok(())
}

fn adapter(
    context: &Context,
    table: &TableSpec,
    storage: &Storage,
    elsewhere: &Storage,
    folder: &Storage,
) -> Arc<dyn TableFormat> {
    let inventories = folder.child("inventories");
    match table.format {
        Format::Hive => Arc::new(HiveTable::new(storage.clone()).with_inventories(inventories)),
        Format::Hudi => Arc::new(HudiTable::new(storage.clone()).with_states(inventories)),
        format => tables::open(format, context, storage.clone(), elsewhere),
    }
}

/// How a computed table is partitioned: by its columns of time and entity.
fn partitioning(table: &Table) -> PartitionSpec {
    let time = table.spec.time.iter().map(|time| &time.column);
    let columns = time.chain(table.spec.entity.iter().map(|entity| &entity.column));
    PartitionSpec { fields: columns.map(|column| PartitionField::new(column.clone(), Transform::Identity)).collect() }
}

/// The columns of a table that a query computes. Whether a column may be null is the query planner's guess, and another query
/// may guess otherwise.
fn columns(query: &Query) -> TableSchema {
    let mut schema = query.output_schema().clone();
    schema.fields.iter_mut().for_each(|field| field.nullable = true);
    schema
}

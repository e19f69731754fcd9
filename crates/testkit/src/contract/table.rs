//! The suite of tables: what a migration relies on in a format and its catalogue, whatever they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::table::{
    CommitNumber, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, MigrationId, NewFile, TableFormat,
    TableVersion,
};
use lakeshift_journal::Epoch;

/// A place for one table that is not there yet.
#[async_trait]
pub trait TableWorld: Send + Sync {
    /// The table as a new process opens it.
    fn open(&self) -> Arc<dyn TableFormat>;

    /// The table as a process opens it that does not hear the answer to the swap of its next commit, which adds one file;
    /// `None` where there is no answer that could be lost.
    async fn open_deaf(&self) -> Option<Deaf>;

    /// Writes a data file of so many rows, with the columns `id` and `name` of [`table_contract`]'s table, and describes it
    /// as one of the partition of day 0.
    async fn file(&self, path: &str, rows: i64) -> NewFile;
}

/// See [`TableWorld::open_deaf`].
pub struct Deaf {
    /// The table.
    pub table: Arc<dyn TableFormat>,
    /// Whether an answer was lost.
    pub has_struck: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Rounds of a race.
const ROUNDS: u64 = 4;

/// A table is created once, by one migration; commits are done once, in order, fenced, and validated against what others did.
/// `fresh` gives a new world for a scenario's name.
pub async fn table_contract<W: TableWorld + 'static>(fresh: impl AsyncFn(&str) -> W) {
    is_created_once(&fresh("create").await).await;
    commits_a_number_once(&created(fresh("number").await).await).await;
    fences_a_lower_epoch(&created(fresh("fence").await).await).await;
    has_a_commit_or_shuts_it_out_after_a_fence(&created(fresh("race-for-a-number").await).await).await;
    keeps_the_files_of_both_racers(&created(fresh("race").await).await).await;
    replaces_files_and_finds_that_one_is_gone(&created(fresh("replace").await).await).await;
    gets_new_columns_once(&created(fresh("columns").await).await).await;
    tells_whose_commits_came_after(&created(fresh("foreign").await).await).await;
    knows_its_own_commit_after_a_lost_answer(&created(fresh("lost").await).await).await;
}

async fn is_created_once(world: &dyn TableWorld) {
    let created = world.open().create(&create_request("a")).await.expect("create");
    assert!(matches!(created, CreateOutcome::Created(_)), "{created:?}");
    let again = world.open().create(&create_request("a")).await.expect("create again");
    assert!(matches!(again, CreateOutcome::AlreadyCreated(_)), "{again:?}");
    let other = world.open().create(&create_request("b")).await.expect("create for another migration");
    assert!(matches!(other, CreateOutcome::Foreign { .. }), "{other:?}");
    let snapshot = world.open().snapshot(None).await.expect("the new table");
    let names: Vec<&str> = snapshot.schema.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["id", "list", "day", "name"]);
    let misnamed = snapshot.schema.fields.iter().find(|field| field.aliases.iter().any(|alias| *alias != field.name));
    assert_eq!(misnamed, None, "files without field ids are read by the table's own names");
    assert_eq!(snapshot.partition, create_request("a").partition);
    assert_eq!(paths(world).await, Vec::<String>::new(), "a new table has no files");
    let marks = world.open().marks(&MigrationId("a".to_owned())).await.expect("marks");
    assert_eq!((marks.number, marks.foreign), (None, vec![]));
}

async fn commits_a_number_once(world: &dyn TableWorld) {
    let file = world.file("data/a.parquet", 2).await;
    let version = committed(world.open().commit(&request("a", 2, 1, vec![file.clone()], &[])).await);
    for number in [1, 2] {
        let again = world.open().commit(&request("a", number, 1, vec![file.clone()], &[])).await.expect("commit again");
        assert_eq!(again, CommitOutcome::AlreadyCommitted(version.clone()), "number {number}");
    }
    assert_eq!(paths(world).await, ["data/a.parquet"]);
    let entry = world.open().snapshot(None).await.expect("snapshot");
    assert_eq!(entry.version, version);
    let marks = world.open().marks(&MigrationId("a".to_owned())).await.expect("marks");
    assert_eq!((marks.number, marks.epoch, marks.foreign), (Some(CommitNumber(2)), Some(Epoch(1)), vec![]));
}

async fn fences_a_lower_epoch(world: &dyn TableWorld) {
    let first = world.file("data/a.parquet", 1).await;
    committed(world.open().commit(&request("a", 1, 1, vec![first], &[])).await);
    committed(world.open().commit(&request("a", 2, 5, vec![], &[])).await);
    let late = world.file("data/late.parquet", 1).await;
    for number in [2, 3] {
        let stale = world.open().commit(&request("a", number, 1, vec![late.clone()], &[])).await.expect("a stale commit");
        assert_eq!(stale, CommitOutcome::Fenced { current: Epoch(5) }, "number {number}");
    }
    assert_eq!(paths(world).await, ["data/a.parquet"]);
    let marks = world.open().marks(&MigrationId("a".to_owned())).await.expect("marks");
    assert_eq!((marks.number, marks.epoch, marks.foreign), (Some(CommitNumber(1)), Some(Epoch(5)), vec![]));
    // Whose answer was lost asks again, and learns that it holds.
    committed(world.open().commit(&request("a", 2, 5, vec![], &[])).await);
    committed(world.open().commit(&request("a", 2, 5, vec![late], &[])).await);
    let marks = world.open().marks(&MigrationId("a".to_owned())).await.expect("marks");
    assert_eq!(marks.number, Some(CommitNumber(2)), "a fence has not taken the number");
}

/// A runner that was thought dead commits while its successor fences: after the fence the number is in the table together
/// with the work, or neither is, for good, however their reads and writes fall.
async fn has_a_commit_or_shuts_it_out_after_a_fence(world: &dyn TableWorld) {
    for round in 1..=ROUNDS {
        let (old, new) = (2 * round, 2 * round + 1);
        let path = format!("data/{round}.parquet");
        let work = request("a", round, old, vec![world.file(&path, 1).await], &[]);
        let fence = request("a", round, new, vec![], &[]);
        let (sleeper, successor) = (world.open(), world.open());
        let sleeper = tokio::spawn(async move { sleeper.commit(&work).await.expect("the sleeper's commit") });
        let successor = tokio::spawn(async move { successor.commit(&fence).await.expect("the successor's fence") });
        let (slept, fenced) = (sleeper.await.expect("the sleeper"), successor.await.expect("the successor"));
        let is_there = paths(world).await.contains(&path);
        assert!(matches!(fenced, CommitOutcome::Committed(_)), "round {round}: {fenced:?}");
        match slept {
            CommitOutcome::Committed(_) => assert!(is_there, "round {round}"),
            CommitOutcome::Fenced { .. } => assert!(!is_there, "round {round}"),
            other => panic!("round {round}: {other:?}"),
        }
        let marks = world.open().marks(&MigrationId("a".to_owned())).await.expect("marks");
        assert_eq!(marks.epoch, Some(Epoch(new)), "round {round}");
        assert_eq!(marks.number == Some(CommitNumber(round)), is_there, "round {round}: {marks:?}");
    }
}

async fn keeps_the_files_of_both_racers(world: &dyn TableWorld) {
    let mut expected = Vec::new();
    for round in 1..=ROUNDS {
        let mut racers = Vec::new();
        for racer in ["a", "b"] {
            let path = format!("data/{racer}{round}.parquet");
            let commit = request(racer, round, 1, vec![world.file(&path, 1).await], &[]);
            let table = world.open();
            racers.push((path, tokio::spawn(async move { table.commit(&commit).await.expect("a racer's commit") })));
        }
        for (path, racer) in racers {
            match racer.await.expect("a racer") {
                CommitOutcome::Committed(_) => expected.push(path),
                CommitOutcome::Conflict { .. } => {}
                other => panic!("round {round}: {other:?}"),
            }
        }
        expected.sort();
        assert_eq!(paths(world).await, expected, "round {round}: what was committed is there, and nothing else");
    }
    assert!(expected.len() as u64 > ROUNDS, "somebody wins every round, and not always one alone: {expected:?}");
}

async fn replaces_files_and_finds_that_one_is_gone(world: &dyn TableWorld) {
    let first = world.file("data/a.parquet", 1).await;
    let second = world.file("data/b.parquet", 2).await;
    committed(world.open().commit(&request("a", 1, 1, vec![first, second], &[])).await);
    let before = world.open().snapshot(None).await.expect("snapshot");
    let third = world.file("data/c.parquet", 3).await;
    committed(world.open().commit(&request("a", 2, 1, vec![third], &["data/a.parquet"])).await);
    assert_eq!(paths(world).await, ["data/b.parquet", "data/c.parquet"]);
    let (table, fourth) = (world.open(), world.file("data/d.parquet", 4).await);
    let gone = table.commit(&request("a", 3, 1, vec![fourth], &["data/a.parquet"])).await.expect("commit");
    assert!(matches!(gone, CommitOutcome::Conflict { .. }), "{gone:?}");
    assert_eq!(paths(world).await, ["data/b.parquet", "data/c.parquet"], "nothing was changed");
    let now = table.snapshot(None).await.expect("snapshot");
    let changes = table.changes(&before, &now).await.expect("changes");
    let names = |files: &[lakeshift_core::table::FileEntry]| files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&changes.removed), names(&changes.added)),
        (vec!["data/a.parquet".into()], vec!["data/c.parquet".into()])
    );
}

async fn gets_new_columns_once(world: &dyn TableWorld) {
    let first = world.file("data/a.parquet", 1).await;
    let before = committed(world.open().commit(&request("a", 1, 1, vec![first], &[])).await);
    let inner = DataType::Struct { fields: vec![Field::new("row", DataType::Int32, true)] };
    let columns = [Field::new("gate", DataType::String, true), Field::new("seat", inner, true)];
    let evolve =
        |number, columns: &[Field]| CommitRequest { evolve: columns.to_vec(), ..request("a", number, 1, vec![], &[]) };
    let after = committed(world.open().commit(&evolve(2, &columns)).await);
    assert_ne!(before, after, "a version has one set of columns");
    // A runner that has not heard of it asks for what is there, and for one more.
    let again = [columns[0].clone(), Field::new("row", DataType::Int64, true)];
    committed(world.open().commit(&evolve(3, &again)).await);
    let snapshot = world.open().snapshot(None).await.expect("snapshot");
    let names: Vec<&str> = snapshot.schema.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["id", "list", "day", "name", "gate", "seat", "row"]);
    let misnamed = snapshot.schema.fields.iter().find(|field| field.aliases.iter().any(|alias| *alias != field.name));
    assert_eq!(misnamed, None, "files without field ids are read by the table's own names");
    let old = world.open().snapshot(Some(&before)).await.expect("the version before");
    assert_eq!(old.schema.fields.len(), 4, "an older version keeps its columns");
    for (number, field) in [(4, Field::new("gate", DataType::Date, true)), (4, Field::new("must", DataType::Date, false))] {
        let refused = world.open().commit(&evolve(number, std::slice::from_ref(&field))).await.expect("commit");
        assert!(matches!(&refused, CommitOutcome::Conflict { reason } if reason.contains(&field.name)), "{refused:?}");
    }
    // Files of the time before stay, and more without the columns may come.
    let second = world.file("data/b.parquet", 2).await;
    committed(world.open().commit(&request("a", 4, 1, vec![second], &[])).await);
    assert_eq!(paths(world).await, ["data/a.parquet", "data/b.parquet"]);
    let now = world.open().snapshot(None).await.expect("snapshot");
    let changes = world.open().changes(&old, &now).await.expect("changes");
    assert_eq!((changes.added.len(), changes.removed.len(), changes.commits), (1, 0, Some(3)));
}

async fn tells_whose_commits_came_after(world: &dyn TableWorld) {
    committed(world.open().commit(&request("a", 1, 1, vec![world.file("data/a.parquet", 1).await], &[])).await);
    let foreign =
        committed(world.open().commit(&request("b", 1, 1, vec![world.file("data/b.parquet", 1).await], &[])).await);
    let marks = world.open().marks(&MigrationId("a".to_owned())).await.expect("marks");
    assert_eq!(marks.foreign, vec![foreign]);
    committed(world.open().commit(&request("a", 2, 1, vec![world.file("data/c.parquet", 1).await], &[])).await);
    let marks = world.open().marks(&MigrationId("a".to_owned())).await.expect("marks");
    assert_eq!(marks.foreign, vec![], "its own commit takes note of them");
}

async fn knows_its_own_commit_after_a_lost_answer(world: &dyn TableWorld) {
    let Some(deaf) = world.open_deaf().await else { return };
    let commit = request("a", 1, 1, vec![world.file("data/a.parquet", 1).await], &[]);
    let outcome = deaf.table.commit(&commit).await.expect("a commit whose answer is lost");
    assert!((deaf.has_struck)(), "no answer was lost, so nothing was tested");
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    assert_eq!(paths(world).await, ["data/a.parquet"]);
    let again = world.open().commit(&commit).await.expect("commit again");
    assert!(matches!(again, CommitOutcome::AlreadyCommitted(_)), "{again:?}");
}

async fn created<W: TableWorld>(world: W) -> W {
    let created = world.open().create(&create_request("a")).await.expect("create");
    assert!(matches!(created, CreateOutcome::Created(_)), "{created:?}");
    world
}

fn committed(outcome: Result<CommitOutcome, lakeshift_core::table::TableError>) -> TableVersion {
    match outcome.expect("commit") {
        CommitOutcome::Committed(version) => version,
        other => panic!("not committed: {other:?}"),
    }
}

/// The live files as a new process sees them.
async fn paths(world: &dyn TableWorld) -> Vec<String> {
    let table = world.open();
    let snapshot = table.snapshot(None).await.expect("snapshot");
    let files: Vec<_> = table.files(&snapshot).try_collect().await.expect("files");
    files.into_iter().map(|file| file.path).collect()
}

fn create_request(migration: &str) -> CreateRequest {
    let list = DataType::List { element: Box::new(Field::new("element", DataType::Int32, true)) };
    CreateRequest {
        migration: MigrationId(migration.to_owned()),
        epoch: Epoch(1),
        schema: TableSchema {
            fields: vec![
                Field::new("id", DataType::Int64, true),
                // Servers number what is nested, and what comes after it, in orders of their own.
                Field::new("list", list, true),
                Field::new("day", DataType::Date, true),
                Field::new("name", DataType::String, true),
            ],
        },
        partition: PartitionSpec { fields: vec![PartitionField::new("day", Transform::Identity)] },
        properties: BTreeMap::new(),
        format_version: None,
        sort: Vec::new(),
    }
}

fn request(migration: &str, number: u64, epoch: u64, add: Vec<NewFile>, remove: &[&str]) -> CommitRequest {
    CommitRequest {
        add,
        remove: remove.iter().map(|path| (*path).to_owned()).collect(),
        ..CommitRequest::fence(MigrationId(migration.to_owned()), CommitNumber(number), Epoch(epoch))
    }
}

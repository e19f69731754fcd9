//! Committing what was computed: an intent in the journal, an atomic replace in the table, the settling in the journal. A
//! runner that was killed between these is settled by the next one, which fences the table first.

use std::collections::BTreeMap;

use lakeshift_core::graph::{LogicId, State};
use lakeshift_core::table::{CommitOutcome, CommitRequest, FileEntry, NewFile};
use serde_json::json;

use super::ledger::{GraphEvent, Pending, Stored};
use super::listing::{digest_of, digest_of_new, is_as_left};
use super::run::{RunReport, Runner};
use super::task::{Computed, Job, Listings, discard};
use crate::error::Error;

/// What a commit says of the partitions that it replaces, as a JSON array, to whoever reads the table's history alone.
const NOTE: &str = "lakeshift.graph.partitions";

/// One commit of several partitions, while it is gathered.
#[derive(Default)]
struct Batch {
    replaced: Vec<Stored>,
    notes: Vec<serde_json::Value>,
    add: Vec<NewFile>,
    remove: Vec<String>,
    /// Rows, bytes.
    written: (u64, u64),
    /// Partitions that came out as they were, or have no row and had none.
    unchanged: Vec<Stored>,
    /// What was written for them.
    unneeded: Vec<NewFile>,
    /// What is told once it is done.
    told: Vec<String>,
}

impl Runner<'_> {
    /// Commits and records what partitions of one table came to; of each whether its content changed.
    pub(super) async fn settle_batch(
        &mut self,
        computed: Vec<(Job, Computed)>,
        listings: &mut Listings,
        report: &mut RunReport,
    ) -> Result<Vec<bool>, Error> {
        let Some(table) = computed.first().map(|(job, _)| job.table) else { return Ok(Vec::new()) };
        let (file, listing) = (self.file, listings.get(self.file, table).await?);
        let mut batch = Batch::default();
        let mut sequence = self.ledger.versions().sequence();
        let mut changed = Vec::with_capacity(computed.len());
        for (job, computed) in computed {
            let old = listing.of(job.key.period, &job.entity);
            changed.push(self.gather(&mut batch, &mut sequence, &job, computed, old));
        }
        drop(listing);
        discard(file, table, &batch.unneeded).await;
        if !batch.unchanged.is_empty() {
            report.unchanged += batch.unchanged.len() as u64;
            self.ledger.record(GraphEvent::Computed { partitions: batch.unchanged }).await?;
        }
        if !batch.replaced.is_empty() {
            let (count, number) = (batch.replaced.len() as u64, self.ledger.next_number());
            self.ledger.record(GraphEvent::CommitIntended { number, partitions: batch.replaced }).await?;
            let notes = BTreeMap::from([(NOTE.to_owned(), json!(batch.notes).to_string())]);
            let request = CommitRequest { notes, ..self.request(batch.add, batch.remove) };
            let outcome = self.ledger.while_renewing(file.place(table).table.commit(&request)).await??;
            listings.forget(table);
            match outcome {
                CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => {
                    self.ledger.record(GraphEvent::CommitSettled { number, done: true }).await?;
                }
                CommitOutcome::Conflict { reason } => {
                    self.ledger.record(GraphEvent::CommitSettled { number, done: false }).await?;
                    discard(file, table, &request.add).await;
                    return Err(Error::Conflict { reason });
                }
                CommitOutcome::Fenced { current } => return Err(Error::Fenced { current }),
            }
            report.replaced += count;
            (report.rows, report.bytes) = (report.rows + batch.written.0, report.bytes + batch.written.1);
        }
        batch.told.into_iter().for_each(|line| file.context.progress.say(line));
        Ok(changed)
    }

    /// Adds a partition to a batch; whether its content changed. `sequence` is the last version that was drawn.
    fn gather(&self, batch: &mut Batch, sequence: &mut u64, job: &Job, computed: Computed, old: &[FileEntry]) -> bool {
        let graph = &self.file.graph;
        let logic = graph.table(job.table).logic.clone().unwrap_or_default();
        let before = self.ledger.versions().get(job.table, job.key).copied();
        // What is on record and is not in the table any more, or not alone, is written again.
        let is_there = |before: &State| before.rows == 0 || !old.is_empty();
        let is_there = |before: &State| is_there(before) && is_as_left(self.ledger, job.table, job.key, old);
        let same = before.filter(|before| before.fingerprint == computed.fingerprint && is_there(before));
        let Computed { files, fingerprint, rows, bytes, took } = computed;
        let bytes = same.map_or(bytes, |before| before.bytes);
        let version = same.map_or_else(
            || {
                *sequence += 1;
                *sequence
            },
            |before| before.version,
        );
        let state = State { version, read_at: job.read_at, logic: LogicId::NONE, fingerprint, rows, bytes };
        let partition = self.ledger.stored(job.table, job.key.period, &job.entity, &state, &logic).taking(took);
        let shown = graph.show(self.ledger.versions(), job.table, job.key);
        if same.is_some() || (files.is_empty() && old.is_empty()) {
            batch.unchanged.push(partition.of_files(digest_of(old)));
            batch.unneeded.extend(files);
            batch.told.push(format!("{shown}: {rows} rows, as before"));
            return same.is_none();
        }
        batch.notes.push(self.note(job, &shown, version, &logic));
        batch.replaced.push(partition.of_files(digest_of_new(&files)));
        batch.add.extend(files);
        batch.remove.extend(old.iter().map(|file| file.path.clone()));
        batch.written = (batch.written.0 + rows, batch.written.1 + bytes);
        batch.told.push(format!("{shown}: {rows} rows"));
        true
    }

    fn note(&self, job: &Job, shown: &str, version: u64, logic: &str) -> serde_json::Value {
        let graph = &self.file.graph;
        // A logic that no partition was recorded with is another than theirs.
        let id = self.ledger.versions().logic_id(logic).unwrap_or(LogicId(u32::MAX));
        let mixes = self.ledger.history().mixes_of(graph, job.table, job.key, id, job.read_at);
        let mixes: Vec<&str> = mixes.into_iter().map(|table| graph.table(table).name.as_str()).collect();
        json!({ "partition": shown, "version": version, "read_up_to": job.read_at, "logic": logic, "mixes_logics_of": mixes })
    }

    /// Settles the commit that an earlier runner left without an end: an empty commit of this epoch keeps it from coming
    /// late, then the table tells whether it came.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        let Some(Pending { number, partitions }) = self.ledger.pending.clone() else { return Ok(()) };
        let file = self.file;
        let Some(table) = partitions.first().and_then(|partition| file.graph.table_id(&partition.table)) else {
            // The graph no longer has the table, and what it holds is nobody's business here.
            return self.ledger.record(GraphEvent::CommitSettled { number, done: false }).await;
        };
        let mut done = false;
        if file.exists(table).await? {
            let fence = self.request(Vec::new(), Vec::new());
            match file.place(table).table.commit(&fence).await? {
                CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => {}
                CommitOutcome::Conflict { reason } => return Err(Error::Conflict { reason }),
                CommitOutcome::Fenced { current } => return Err(Error::Fenced { current }),
            }
            done = file.place(table).table.marks(&file.id()).await?.number.is_some_and(|highest| highest >= number);
        }
        tracing::info!(%number, done, "settled a commit that an earlier run left open");
        self.ledger.record(GraphEvent::CommitSettled { number, done }).await
    }

    fn request(&self, add: Vec<NewFile>, remove: Vec<String>) -> CommitRequest {
        let number = self.ledger.pending.as_ref().map_or(self.ledger.next_number(), |pending| pending.number);
        CommitRequest { add, remove, ..CommitRequest::fence(self.file.id(), number, self.ledger.epoch()) }
    }
}

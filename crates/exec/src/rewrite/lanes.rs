//! Encoders that work side by side, each in a task of its own with files of its own. A partition belongs to one lane, so
//! that its rows keep their order.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use lakeshift_core::table::NewFile;
use lakeshift_core::value::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::RewriteError;
use super::chunk::Piece;
use super::conform::Conform;
use super::files::Files;
use crate::partition::GroupId;

/// What a lane is told.
enum Order {
    /// Append rows to the file of a partition that has this key.
    Write { group: GroupId, key: Arc<[Option<Value>]>, piece: Piece },
    /// Close the file of a partition, or all that are open.
    Close(Option<GroupId>),
    /// Close them and stop. A lane that is told no more without it gives them up.
    End,
}

struct Lane {
    orders: UnboundedSender<Order>,
    task: SpawnedTask<(Files, Result<(), RewriteError>)>,
    rows: u64,
}

/// The lanes of one rewrite. What waits in their queues is bounded by the memory that its pieces hold.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// The lane of each group.
    assigned: HashMap<GroupId, usize>,
}

/// A lane has failed; [`Lanes::end`] tells why.
pub(super) struct Failed;

impl Lanes {
    /// One lane for each of `files`.
    pub(super) fn new(files: Vec<Files>, conform: &Arc<Conform>) -> Self {
        let start = |files: Files| {
            let (orders, received) = unbounded_channel();
            let task = SpawnedTask::spawn(work(files, Arc::clone(conform), received));
            Lane { orders, task, rows: 0 }
        };
        Self { lanes: files.into_iter().map(start).collect(), assigned: HashMap::new() }
    }

    /// Appends rows to their partition's file. A new partition goes to the lane that has had the fewest rows.
    pub(super) fn write(&mut self, group: GroupId, key: &Arc<[Option<Value>]>, piece: Piece) -> Result<(), Failed> {
        let lanes = &self.lanes;
        let least = || (0..lanes.len()).min_by_key(|lane| lanes[*lane].rows).unwrap_or(0);
        let lane = *self.assigned.entry(group).or_insert_with(least);
        self.lanes[lane].rows += piece.row_count() as u64;
        self.lanes[lane].orders.send(Order::Write { group, key: Arc::clone(key), piece }).map_err(|_| Failed)
    }

    /// Closes the file of a partition; rows that come later go to a new one.
    pub(super) fn close(&mut self, group: GroupId) -> Result<(), Failed> {
        let lane = self.assigned.get(&group).map(|lane| &self.lanes[*lane]);
        lane.map_or(Ok(()), |lane| lane.orders.send(Order::Close(Some(group))).map_err(|_| Failed))
    }

    /// Closes all files.
    pub(super) fn close_files(&mut self) -> Result<(), Failed> {
        self.lanes.iter().try_for_each(|lane| lane.orders.send(Order::Close(None)).map_err(|_| Failed))
    }

    /// Ends all lanes and tells the files that are whole, sorted by path: with `finish` also those that were open, which
    /// are given up otherwise.
    pub(super) async fn end(self, finish: bool) -> Result<Vec<NewFile>, RewriteError> {
        let mut tasks = Vec::with_capacity(self.lanes.len());
        for lane in self.lanes {
            if finish {
                // A lane that is gone has failed, and says so below.
                let _ = lane.orders.send(Order::End);
            }
            tasks.push(lane.task);
        }
        let (mut written, mut failure) = (Vec::new(), None);
        for task in tasks {
            let stopped = |error| RewriteError::Read { source: DataFusionError::External(Box::new(error)) };
            let (files, result) = task.join_unwind().await.map_err(stopped)?;
            written.extend(files.into_written());
            failure = failure.or(result.err());
        }
        written.sort_by(|a, b| a.path.cmp(&b.path));
        failure.map_or(Ok(written), Err)
    }
}

/// One lane: until its end, its failure, or until nobody tells it more.
async fn work(
    mut files: Files,
    conform: Arc<Conform>,
    mut orders: UnboundedReceiver<Order>,
) -> (Files, Result<(), RewriteError>) {
    let result = loop {
        let done = match orders.recv().await {
            Some(Order::Write { group, key, piece }) => append(&mut files, &conform, group, &key, piece).await,
            Some(Order::Close(Some(group))) => files.finish(group).await,
            Some(Order::Close(None)) => files.finish_all().await,
            Some(Order::End) => break files.finish_all().await,
            None => break Ok(()),
        };
        if done.is_err() {
            break done;
        }
        // Others of this thread may have waited long.
        tokio::task::yield_now().await;
    };
    files.abort().await;
    (files, result)
}

async fn append(
    files: &mut Files,
    conform: &Conform,
    group: GroupId,
    key: &[Option<Value>],
    piece: Piece,
) -> Result<(), RewriteError> {
    let batches = piece.batches().map_err(|source| RewriteError::Row { source })?;
    drop(piece);
    for batch in batches {
        files.write(group, &conform.to_file(&batch)?, key).await?;
    }
    Ok(())
}

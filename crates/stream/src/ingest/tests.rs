//! What a step makes of locks that come while its files are written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::TryStreamExt;
use lakeshift_core::table::{NewFile, UnitId};
use lakeshift_journal::Epoch;
use object_store::path::Path;
use rstest::rstest;

use crate::simulation::small::Small;
use crate::simulation::table::{Row, SimSink};
use crate::{Ask, Mode, Positions, Range, Sink, StreamError};

/// A sink under whose first write a backfill locks a range.
#[derive(Debug)]
struct LockedUnderway {
    small: Small,
    inner: SimSink,
    ask: Ask,
    writes: Arc<AtomicUsize>,
}

#[async_trait]
impl Sink for LockedUnderway {
    type Rows = Vec<Row>;

    async fn write(&self, rows: &Vec<Row>, kept: &[u32], unit: &UnitId, epoch: Epoch) -> Result<Vec<NewFile>, StreamError> {
        let files = self.inner.write(rows, kept, unit, epoch).await?;
        if self.writes.fetch_add(1, Ordering::Relaxed) == 0 {
            drop(self.small.lock(&self.ask).await);
        }
        Ok(files)
    }

    async fn discard(&self, files: &[NewFile]) {
        self.inner.discard(files).await;
    }
}

#[rstest]
#[case::of_other_days(Range { from: 7, to: 96, entity: None }, Mode::Park, 3, 1)]
#[case::that_lets_newer_events_by(Range { from: 5, to: 6, entity: None }, Mode::Priority, 3, 1)]
#[case::of_a_day_that_was_read(Range { from: 6, to: 6, entity: None }, Mode::Park, 2, 2)]
#[case::of_every_day_that_was_read(Range { from: 5, to: 6, entity: None }, Mode::Park, 0, 1)]
#[tokio::test]
async fn files_are_kept_when_a_lock_comes_that_leaves_their_rows_as_they_are(
    #[case] range: Range,
    #[case] mode: Mode,
    #[case] rows: u64,
    #[case] writes: usize,
) {
    let (small, written) = (Small::new(), Arc::new(AtomicUsize::new(0)));
    let ask = Ask { name: "b".to_owned(), range, mode, cut_off: Positions::new() };
    let sink = LockedUnderway { small: small.clone(), inner: small.sink(), ask, writes: written.clone() };
    let mut ingest = small.ingest(sink).await;
    let step = ingest.step().await.unwrap().unwrap();
    assert_eq!((step.records, step.rows, step.commit.is_some()), (4, rows, rows > 0));
    assert_eq!(written.load(Ordering::Relaxed), writes);
    let ledger = ingest.register().ledger();
    assert_eq!((ledger.rows(), ledger.locks_seen()), (rows, 1));

    let live = small.table().standing().await.unwrap().live;
    let mut there = small.store().list(Some(&Path::from("table/data"))).map_ok(|object| object.location);
    let mut left = Vec::new();
    while let Some(path) = there.try_next().await.unwrap() {
        left.push(path.to_string().trim_start_matches("table/data/").to_owned());
    }
    left.sort();
    assert_eq!(left, live.into_keys().collect::<Vec<_>>(), "files that no commit refers to are gone");
    let mut in_table = 0;
    for path in &left {
        in_table += small.table().rows(path).await.len() as u64;
    }
    assert_eq!(in_table, rows);
}

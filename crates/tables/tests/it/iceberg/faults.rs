//! Crashes and lost responses at every store operation of a create and a commit.

use std::sync::Arc;

use lakeshift_core::table::{CommitOutcome, CreateOutcome, TableFormat};
use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use rstest::rstest;

use super::fixture::*;

#[tokio::test]
async fn a_lost_response_to_the_swap_is_known_as_ones_own_commit() {
    let (lake, _) = created().await;
    let file = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    // The mutations of an append: its manifest, the list, the metadata file, the hint.
    let store =
        Arc::new(FaultStore::new(lake.storage.store().clone(), FaultPlan::LostResponse(3)).with_counted(Counted::Mutations));
    let table = adapter(lake.behind(store.clone()), 2);
    let outcome = table.commit(&request(1, vec![file], &[])).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    assert!(store.has_struck());
    assert!(lake.path("metadata/v2.metadata.json").exists() && !lake.path("metadata/v3.metadata.json").exists());
}

#[tokio::test]
async fn a_hint_that_lags_or_is_gone_misleads_nobody() {
    let (lake, table) = created().await;
    for number in 1..=3 {
        let file = lake.file(&format!("data/{number}.parquet"), Some(DAY), &[(1, None)]).await;
        committed(&table, &request(number, vec![file], &[])).await;
    }
    for hint in [Some("1"), Some("99"), Some("nonsense"), None] {
        match hint {
            Some(text) => std::fs::write(lake.path("metadata/version-hint.text"), text).unwrap(),
            None => std::fs::remove_file(lake.path("metadata/version-hint.text")).unwrap(),
        }
        assert_eq!(paths(&lake.table(7)).await.len(), 3, "{hint:?}");
    }
}

/// After a fault at any operation, trying again reaches the same table, and nothing is registered twice.
#[rstest]
#[case::crash_before(FaultPlan::CrashBefore)]
#[case::crash_after(FaultPlan::CrashAfter)]
#[case::lost_response(FaultPlan::LostResponse)]
#[case::failed_once(FaultPlan::FailOnce)]
#[tokio::test]
async fn a_flow_that_is_broken_off_anywhere_is_taken_up_again(#[case] plan: fn(u64) -> FaultPlan) {
    for point in 1.. {
        let lake = Lake::new();
        let store = Arc::new(FaultStore::new(lake.storage.store().clone(), plan(point)));
        let files = [
            lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await,
            lake.file("data/b.parquet", Some(DAY), &[(2, None), (3, None)]).await,
        ];
        let broken = adapter(lake.behind(store.clone()), point);
        let _ = flow(&broken, &files).await;
        if !store.has_struck() {
            assert!(point > 20, "the flow has only {point} operations");
            return;
        }
        flow(&lake.table(1_000 + point), &files).await.unwrap_or_else(|error| panic!("at operation {point}: {error:?}"));
        let files = live(&lake.table(1)).await;
        let found: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.has_deletes)).collect();
        assert_eq!(found, [("data/b.parquet", true)], "at operation {point}");
        assert_eq!(lake.metadata(4)["snapshots"].as_array().unwrap().len(), 3, "at operation {point}");
        assert!(!lake.path("metadata/v5.metadata.json").exists(), "at operation {point}");
    }
}

async fn flow(table: &dyn TableFormat, files: &[lakeshift_core::table::NewFile; 2]) -> Result<(), String> {
    let text = |error: lakeshift_core::table::TableError| format!("{error:?}");
    match table.create(&create_request()).await.map_err(text)? {
        CreateOutcome::Created(_) | CreateOutcome::AlreadyCreated(_) => {}
        other @ CreateOutcome::Foreign { .. } => return Err(format!("{other:?}")),
    }
    let replace = request(2, vec![files[1].clone()], &["data/a.parquet"]);
    for commit in [request(1, vec![files[0].clone()], &[]), replace, deleting(3, &[("data/b.parquet", &[1])])] {
        match table.commit(&commit).await.map_err(text)? {
            CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => {}
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(())
}

//! Which log blocks count, and in which order they apply.

use std::collections::{BTreeMap, BTreeSet};

use lakeshift_core::hudi::LoggedSlice;

use super::error::{HudiError, damaged, unsupported};
use super::log::{Block, Key, Kind};

/// The header's text of a rollback.
const ROLLBACK: &str = "0";

/// A block that counts: its log file's position in the slice, and itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) file: usize,
    pub(super) kind: Kind,
    pub(super) block: Block,
}

/// The blocks of `slice` that count, in the order in which they apply; `files` has the blocks of each of its log files.
///
/// A block counts if its instant is one of the slice's, and no rollback takes it back. Blocks of one instant apply together,
/// where the first of them stands. Where log compaction wrote several instants' blocks into one, that one stands for them.
///
/// # Errors
/// [`HudiError::Unsupported`] for blocks that count and are not read.
pub(super) fn counted(slice: &LoggedSlice, files: Vec<Vec<Block>>) -> Result<Vec<Counted>, HudiError> {
    let mut order: Vec<String> = Vec::new();
    let mut blocks: BTreeMap<String, Vec<Counted>> = BTreeMap::new();
    for (file, found) in files.into_iter().enumerate() {
        let log = &slice.logs[file];
        for block in found {
            if block.kind == Ok(Kind::Command) {
                let target = rolled_back(&log.path, &block)?;
                order.retain(|instant| instant != target);
                blocks.remove(target);
                continue;
            }
            let instant = block.get(Key::Instant).ok_or_else(|| damaged(&log.path, "a block has no instant"))?;
            if log.instant.as_deref().is_some_and(|own| own != instant) {
                return Err(unsupported(&log.path, "log blocks of another instant than their file's"));
            }
            if !slice.counts(instant) {
                continue;
            }
            let kind = block.kind.map_err(|name| unsupported(&log.path, name))?;
            if block.get(Key::Partial).is_some_and(|text| text.eq_ignore_ascii_case("true")) {
                return Err(unsupported(&log.path, "partial updates"));
            }
            let instant = instant.to_owned();
            let group = blocks.entry(instant.clone()).or_default();
            if group.is_empty() {
                order.push(instant);
            }
            group.push(Counted { file, kind, block });
        }
    }
    compacted(slice, order, blocks)
}

fn rolled_back<'a>(file: &str, block: &'a Block) -> Result<&'a str, HudiError> {
    match (block.get(Key::Command), block.get(Key::Target)) {
        (Some(ROLLBACK), Some(target)) => Ok(target),
        (Some(ROLLBACK), None) => Err(damaged(file, "a rollback names no instant")),
        (other, _) => Err(unsupported(file, format!("the log command {}", other.unwrap_or("without a name")))),
    }
}

/// From the newest to the oldest: a compacted block is put where the newest of the instants that it stands for was.
fn compacted(
    slice: &LoggedSlice,
    order: Vec<String>,
    mut blocks: BTreeMap<String, Vec<Counted>>,
) -> Result<Vec<Counted>, HudiError> {
    let mut stands_for: BTreeMap<String, String> = BTreeMap::new();
    let mut unplaced: BTreeSet<String> = BTreeSet::new();
    let mut newest_first: Vec<Vec<Counted>> = Vec::new();
    for instant in order.iter().rev() {
        let times = blocks
            .get(instant)
            .and_then(|group| group.first())
            .and_then(|first| first.block.get(Key::Compacted))
            .map(str::to_owned);
        match (times, stands_for.get(instant).cloned()) {
            (Some(times), by) => {
                let by = by.unwrap_or_else(|| {
                    unplaced.insert(instant.clone());
                    instant.clone()
                });
                stands_for.extend(times.split(',').map(|time| (time.trim().to_owned(), by.clone())));
            }
            (None, Some(by)) => {
                if unplaced.remove(&by) {
                    newest_first.extend(blocks.remove(&by));
                }
            }
            (None, None) => newest_first.extend(blocks.remove(instant)),
        }
    }
    match unplaced.first() {
        // Its originals are gone: where it belongs is not told.
        Some(_) => Err(unsupported(&slice.logs[0].path, "compacted log blocks without the blocks that they stand for")),
        None => Ok(newest_first.into_iter().rev().flatten().collect()),
    }
}

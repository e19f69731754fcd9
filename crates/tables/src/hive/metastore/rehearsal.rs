//! The rehearsal: the whole way there and back on a copy of the entry that nobody asks for.

use lakeshift_core::migration::Side;
use lakeshift_core::table::TableError;

use super::client::{Client, Name};
use super::entry::{Entry, Mark};
use super::error::MetastoreError;
use super::{Exchange, MetastorePointer, exchange};

/// Ends the name of the copy.
const SUFFIX: &str = "_lakeshift_rehearsal";
/// Characters that a Metastore's names have at most.
const NAME_CHARS_MAX: usize = 128;

/// Makes a copy of the entry, moves it as [`point`](lakeshift_core::pointer::ReaderPointer::point) would, compares, and takes
/// it out. It is external: no file goes with it. The way back needs no rehearsal of its own.
pub(super) async fn run(pointer: &MetastorePointer, side: Side) -> Result<(), TableError> {
    if side == Side::Old {
        return Ok(());
    }
    let entry = pointer.look().await?;
    pointer.side_of(&entry).map_err(|error| pointer.fault("rehearse with", error))?;
    let before = entry.digest().map_err(|error| pointer.fault("rehearse with", unwritten(pointer, error)))?;
    let new = pointer.new_table().await?;
    let mark = Mark { migration: pointer.migration.0.clone(), before };
    let name = pointer.entry_name();
    pointer
        .blocking("rehearse with", move |client, of| {
            let length = of.table.chars().count().min(NAME_CHARS_MAX - SUFFIX.len());
            let table = format!("{}{SUFFIX}", of.table.chars().take(length).collect::<String>());
            let copy = Name { database: of.database.clone(), table };
            let shadow = entry.shadow(&copy.table);
            // One that was killed may have left its own.
            client.forget(&copy)?;
            client.create(shadow.clone().into_value())?;
            let result = there_and_back(&client, &copy, &name, &shadow, &shadow.moved(&new, &mark));
            client.forget(&copy)?;
            result
        })
        .await
}

fn there_and_back(client: &Client, copy: &Name, entry: &str, old: &Entry, new: &Entry) -> Result<(), MetastoreError> {
    let found = |entry: &str| MetastoreError::Overwritten { entry: format!("the rehearsal's copy of {entry}") };
    let look = || client.table(copy)?.and_then(Entry::of).ok_or_else(|| found(entry));
    let made = look()?;
    if !made.has_become(old) {
        return Err(found(entry));
    }
    for (expected, wanted) in [(&made, new), (new, &made)] {
        let expected = if std::ptr::eq(expected, new) { &look()? } else { expected };
        match exchange(client, copy, entry, expected, wanted)? {
            Exchange::Done => {}
            Exchange::Changed | Exchange::Locked => return Err(found(entry)),
        }
    }
    match look()?.is_same(&made) {
        true => Ok(()),
        false => Err(found(entry)),
    }
}

fn unwritten(pointer: &MetastorePointer, error: thrift::Error) -> MetastoreError {
    MetastoreError::Nonsense { address: pointer.client.address(), call: "get_table", reason: error.to_string() }
}

//! Which files of one table hold the rows of which files of the other.
//!
//! A unit's files on one side hold the rows of its files on the other. On the side that it read they stand in its plan; on the
//! side that it wrote their names tell it, and an adopted file is itself on both. The latest plan that lists a file owns it,
//! whoever wrote it. So every file of both tables has one owner, both ways are served by one rule, and what one way has
//! carried over is not carried back by the other.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt, TryStreamExt};
use lakeshift_core::migration::{SavedPlan, Side};
use lakeshift_core::plan::{Strategy, unit_of_path};
use lakeshift_core::table::{FileEntry, Snapshot, TableFormat, UnitId};
use lakeshift_stream::Batch;

use super::tables::Tables;
use super::{carry, plans};
use crate::error::Error;
use crate::session::Session;

/// A file's path and identity.
type Key = (String, String);

/// What a change of one side means for the other.
#[derive(Debug, Default)]
pub struct Meaning {
    /// Files that somebody else has added.
    pub added: Vec<FileEntry>,
    /// Files that somebody else has removed or replaced.
    pub removed: Vec<FileEntry>,
    /// Files of the other side whose rows are gone.
    pub remove: Vec<String>,
    /// Files of this side whose rows go with [`Self::remove`], and are to be carried over anew.
    pub again: Vec<FileEntry>,
}

impl Meaning {
    /// Whether there is nothing to carry over: all of it was this migration's own doing.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// A file's unit, and the plan that says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Owner {
    plan: usize,
    unit: UnitId,
}

/// What the plans list of a side.
type Listings = HashMap<Key, (Owner, Strategy)>;

/// One look at a side.
struct Look<'a> {
    session: &'a Session,
    tables: &'a Tables,
    from: Side,
    plans: Vec<SavedPlan>,
}

/// What the changes of side `from` mean for the other one. `tables` as they were opened.
///
/// # Errors
/// A table or a plan that cannot be read.
pub async fn meaning(session: &Session, tables: &Tables, from: Side, batch: &Batch) -> Result<Meaning, Error> {
    let look = Look { session, tables, from, plans: saved_plans(session) };
    let gone: HashSet<&str> = batch.changes.removed.iter().map(|file| file.path.as_str()).collect();
    let added = batch.changes.added.iter();
    // Our own file that somebody has changed is not as we left it.
    let added = added.filter(|file| gone.contains(file.path.as_str()) || !look.is_ours(file)).cloned().collect();
    let mut meaning = Meaning { added, ..Meaning::default() };
    if !batch.changes.removed.is_empty() {
        look.removals(batch, &mut meaning).await?;
    }
    Ok(meaning)
}

/// The plans that own files, oldest first: S0's, then each round's.
fn saved_plans(session: &Session) -> Vec<SavedPlan> {
    let state = &session.state;
    let s0 = state.boundary.iter().map(|boundary| SavedPlan {
        digest: boundary.plan.digest.clone(),
        side: Side::Old,
        source: boundary.plan.source.clone(),
    });
    s0.chain(state.mirror.iter().flat_map(|mirror| mirror.plans.clone())).collect()
}

fn other(side: Side) -> Side {
    match side {
        Side::Old => Side::New,
        Side::New => Side::Old,
    }
}

fn key(file: &FileEntry) -> Key {
    (file.path.clone(), file.identity.clone())
}

impl Look<'_> {
    fn table(&self, side: Side) -> &dyn TableFormat {
        match side {
            Side::Old => self.tables.source.as_ref(),
            Side::New => self.tables.target.as_ref(),
        }
    }

    /// Whether a file of side `from` was put there by the way from the other side.
    fn is_ours(&self, file: &FileEntry) -> bool {
        self.writer_of(file).is_some() || self.adopted_from(file).is_some()
    }

    /// The unit that wrote a file of side `from`.
    fn writer_of(&self, file: &FileEntry) -> Option<Owner> {
        let unit = unit_of_path(self.session.id(), &file.path)?;
        let plan = self.plan_of(&unit)?;
        (self.plans[plan].side == other(self.from)).then_some(Owner { plan, unit })
    }

    /// The file of the old table that a file of the new one is.
    fn adopted_from(&self, file: &FileEntry) -> Option<String> {
        if self.from == Side::Old || !file.path.contains("://") {
            return None;
        }
        let storage = &self.tables.source_storage;
        storage.relative(&storage.resolve(&file.path).ok()?)
    }

    /// The plan of a unit: the number of its round stands in its id.
    fn plan_of(&self, unit: &UnitId) -> Option<usize> {
        if unit.0.starts_with('b') {
            return (!self.plans.is_empty()).then_some(0);
        }
        let (side, rest) = match unit.0.split_at_checked(1)? {
            ("m", rest) => (Side::Old, rest),
            ("r", rest) => (Side::New, rest),
            _ => return None,
        };
        let round: usize = rest.split('-').next()?.parse().ok()?;
        let of_side = self.plans.iter().enumerate().skip(1).filter(|(_, plan)| plan.side == side);
        of_side.map(|(index, _)| index).nth(round.checked_sub(1)?)
    }

    /// Units of a round are committed with it; units of S0 one by one.
    fn in_table(&self, owner: &Owner) -> bool {
        let number = owner.unit.0.strip_prefix('b').and_then(|digits| digits.parse().ok());
        match (owner.plan, number, &self.session.state.boundary) {
            (0, Some(number), Some(boundary)) => boundary.done.contains(number),
            (plan, ..) => plan > 0,
        }
    }

    /// The latest listings of `side`'s files that are in `wanted`, or of the `units`.
    async fn listings(&self, side: Side, wanted: &HashSet<Key>, units: &HashSet<Owner>) -> Result<Listings, Error> {
        let mut listings = Listings::new();
        if wanted.is_empty() && units.is_empty() {
            return Ok(listings);
        }
        for (plan, saved) in self.plans.iter().enumerate().filter(|(_, saved)| saved.side == side) {
            let mut files = plans::read(self.session, &saved.digest, &saved.source);
            while let Some(file) = files.try_next().await? {
                let (key, owner) = ((file.path, file.identity), Owner { plan, unit: file.unit });
                if wanted.contains(&key) || units.contains(&owner) || listings.contains_key(&key) {
                    listings.insert(key, (owner, file.strategy));
                }
            }
        }
        Ok(listings)
    }

    /// What the removed files mean: the units that they were of, taken out whole, and adopted files.
    async fn removals(&self, batch: &Batch, meaning: &mut Meaning) -> Result<(), Error> {
        let removed: HashSet<Key> = batch.changes.removed.iter().map(key).collect();
        let listed = self.listings(self.from, &removed, &HashSet::new()).await?;
        let mut owned = Vec::with_capacity(removed.len());
        for file in &batch.changes.removed {
            let owner = match listed.get(&key(file)) {
                Some((owner, Strategy::Adopt)) => {
                    Owned::Adopted(carry::adopted_path(self.tables, &file.path), owner.clone())
                }
                Some((owner, _)) => Owned::Read(owner.clone()),
                None => match (self.writer_of(file), self.adopted_from(file)) {
                    (Some(owner), _) => Owned::Written(owner),
                    (None, Some(path)) => Owned::Original(path),
                    (None, None) => Owned::Unknown,
                },
            };
            owned.push((file, owner));
        }
        let there = self.there(&owned).await?;
        for (file, owner) in owned {
            // What its rows were has left the other side before, or never was there.
            let settled = match &owner {
                Owned::Unknown => false,
                Owned::Adopted(_, owner) | Owned::Read(owner) | Owned::Written(owner) if !self.in_table(owner) => false,
                Owned::Adopted(path, _) | Owned::Original(path) => !there.adopted.contains_key(path),
                Owned::Read(owner) | Owned::Written(owner) => !there.units.contains_key(owner),
            };
            if !settled {
                meaning.removed.push(file.clone());
            }
        }
        let changed = batch.changes.added.iter().map(key).chain(removed).collect();
        meaning.again = self.remaining(&batch.to, &there, &changed).await?;
        meaning.remove = there.adopted.into_values().chain(there.units.into_values().flatten()).collect();
        meaning.remove.sort_unstable();
        Ok(())
    }

    /// The files of the other side that hold rows of `owned`.
    async fn there(&self, owned: &[(&FileEntry, Owned)]) -> Result<There, Error> {
        let side = other(self.from);
        let (mut adopted, mut read, mut written) = (BTreeMap::new(), HashMap::new(), HashSet::new());
        for (_, owner) in owned {
            match owner {
                Owned::Adopted(path, owner) if self.in_table(owner) => {
                    drop(adopted.insert(self.plain(path), path.clone()));
                }
                Owned::Original(path) => drop(adopted.insert(self.plain(path), path.clone())),
                Owned::Read(owner) if self.in_table(owner) => drop(read.insert(owner.unit.clone(), owner.clone())),
                Owned::Written(owner) => drop(written.insert(owner.clone())),
                _ => {}
            }
        }
        let mut there = There::default();
        if adopted.is_empty() && read.is_empty() && written.is_empty() {
            return Ok(there);
        }
        let planned = self.listings(side, &HashSet::new(), &written).await?;
        let snapshot = self.table(side).snapshot(None).await?;
        let mut files = self.table(side).files(&snapshot);
        // Files whose owner is told by their name or by their place, unless a plan of their own side lists them.
        let mut told: Vec<(FileEntry, Told)> = Vec::new();
        while let Some(file) = files.next().await.transpose()? {
            let owner = planned.get(&key(&file)).map(|(owner, _)| owner);
            if let Some(owner) = owner.filter(|owner| written.contains(owner)) {
                there.units.entry(owner.clone()).or_default().push(file.path);
            } else if let Some(path) = adopted.get(&self.plain(&file.path)) {
                told.push((file, Told::Adopted(path.clone())));
            } else if let Some(owner) = unit_of_path(self.session.id(), &file.path).and_then(|unit| read.get(&unit).cloned())
            {
                told.push((file, Told::Written(owner)));
            }
        }
        let keys = told.iter().map(|(file, _)| key(file)).collect();
        let listed = self.listings(side, &keys, &HashSet::new()).await?;
        for (file, owner) in told {
            match (owner, listed.get(&key(&file))) {
                (Told::Adopted(path), Some((_, Strategy::Adopt))) => drop(there.adopted.insert(path, file.path)),
                // The new table's plans list what was changed there since; the old one's list every original.
                (Told::Adopted(path), None) if self.from == Side::Old => drop(there.adopted.insert(path, file.path)),
                (Told::Written(owner), None) => there.units.entry(owner).or_default().push(file.path),
                _ => {}
            }
        }
        Ok(there)
    }

    /// The files of side `from` whose rows go with those of `there`, but for those that have changed.
    async fn remaining(&self, now: &Snapshot, there: &There, changed: &HashSet<Key>) -> Result<Vec<FileEntry>, Error> {
        let units: HashSet<Owner> = there.units.keys().cloned().collect();
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let planned = self.listings(self.from, &HashSet::new(), &units).await?;
        let (mut again, mut told) = (Vec::new(), Vec::new());
        let mut files = self.table(self.from).files(now);
        while let Some(file) = files.next().await.transpose()? {
            let key = key(&file);
            if changed.contains(&key) {
                continue;
            }
            match planned.get(&key) {
                Some((owner, _)) if units.contains(owner) => again.push(file),
                Some(_) => {}
                None if self.writer_of(&file).is_some_and(|owner| units.contains(&owner)) => told.push(file),
                None => {}
            }
        }
        let keys = told.iter().map(key).collect();
        let listed = self.listings(self.from, &keys, &HashSet::new()).await?;
        again.extend(told.into_iter().filter(|file| !listed.contains_key(&key(file))));
        Ok(again)
    }

    /// A path of the other side, however it is spelled.
    fn plain(&self, path: &str) -> String {
        match self.from {
            Side::Old => self.tables.target_storage.plain_url_of(path),
            Side::New => self.tables.source_storage.plain_url_of(path),
        }
    }
}

/// Whose a removed file was.
#[derive(Debug)]
enum Owned {
    /// A file that the new table registered: its path there, and the unit.
    Adopted(String, Owner),
    /// A file of the new table that is one of the old: its path there.
    Original(String),
    /// A unit has read it, and written files of the other side.
    Read(Owner),
    /// A unit has written it, from files of the other side.
    Written(Owner),
    /// Nobody's: its unit is still to come, or there never was one.
    Unknown,
}

enum Told {
    Adopted(String),
    Written(Owner),
}

/// Files of the other side.
#[derive(Debug, Default)]
struct There {
    /// By what [`Owned::Adopted`] and [`Owned::Original`] call them.
    adopted: BTreeMap<String, String>,
    units: HashMap<Owner, Vec<String>>,
}

//! What dual writing is expected to ask of stores: what the program's own meter counted on tables of a few files and some ten
//! versions, by adapter (`crates/cli/tests/it/cost.rs` holds the two against each other). Of Hudi sources it is an estimate.
//!
//! What is not in it: a Delta log is read from its last checkpoint, so that each version since then is a GET more; manifests of
//! Iceberg tables grow by a commit each until they are merged; what a catalogue asks of its database.

use serde::{Deserialize, Serialize};

use super::Strategy;
use crate::migration::Requests;
use crate::table::Format;

/// The forecast.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RequestForecast {
    /// Of a round that carries over one commit of one file, from the look to the commit.
    pub round: Requests,
    /// Of each further file of a round.
    pub file: Requests,
    /// Of a look that finds nothing.
    pub look: Requests,
    /// Looks of a follower in a day.
    pub looks_per_day: u64,
    /// What a follower asks of the control root in a day, without rounds.
    pub control_per_day: Requests,
    /// What a follower's day costs in which nothing comes, in U.S. dollars.
    pub idle_usd_per_day: f64,
    /// What a round of one file costs more, in U.S. dollars.
    pub usd_per_round: f64,
}

/// What a forecast rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DualWriteShape {
    /// The old table.
    pub source: Format,
    /// The new table.
    pub target: Format,
    /// How most bytes move.
    pub strategy: Strategy,
    /// Pause between two looks of a follower, in seconds.
    pub interval_s: u64,
    /// Price of a thousand PUT, COPY or LIST requests, in U.S. dollars.
    pub put_usd_per_1000: f64,
    /// Price of a thousand GET or HEAD requests, in U.S. dollars.
    pub get_usd_per_1000: f64,
}

/// Seconds in a day.
const DAY_S: u64 = 86_400;
/// Pause between two looks of a runner for requests of operators, in seconds.
const CONTROL_INTERVAL_S: u64 = 6;
/// Pause between two renewals of a runner's lease, in seconds.
const RENEWAL_INTERVAL_S: u64 = 20;

/// Requests of each kind: PUT, GET, LIST, HEAD.
const fn of(puts: u64, gets: u64, lists: u64, heads: u64) -> Requests {
    Requests { puts, gets, lists, heads, deletes: 0 }
}

/// A look at a table that is as it was.
fn look(source: Format) -> Requests {
    match source {
        Format::Hive => of(0, 0, 1, 0),
        Format::Delta => of(0, 12, 2, 0),
        Format::Iceberg => of(0, 4, 0, 6),
        Format::Hudi => of(0, 1, 2, 0),
    }
}

/// What a look asks more that finds a commit: both versions' files are listed and compared.
fn changes(source: Format) -> Requests {
    match source {
        Format::Hive | Format::Hudi => of(0, 0, 0, 0),
        Format::Delta => of(0, 23, 3, 0),
        Format::Iceberg => of(0, 0, 0, 6),
    }
}

/// A file that is read, and what is made of it.
fn file(shape: &DualWriteShape) -> Requests {
    let identity = if shape.source == Format::Hive { of(0, 0, 0, 1) } else { Requests::default() };
    let mut file = match (shape.strategy, shape.target) {
        (Strategy::Adopt, _) => of(0, 2, 0, 0),
        (Strategy::Splice | Strategy::Rewrite, Format::Delta) => of(1, 9, 1, 0),
        (Strategy::Splice | Strategy::Rewrite, _) => of(1, 5, 0, 3),
    };
    file += identity;
    file
}

/// A commit to the new table.
fn commit(target: Format) -> Requests {
    match target {
        Format::Delta => of(1, 29, 4, 0),
        _ => of(4, 8, 1, 6),
    }
}

/// The forecast of a migration.
pub fn forecast(shape: &DualWriteShape) -> RequestForecast {
    let mut round = look(shape.source);
    let each = file(shape);
    for part in [changes(shape.source), each, commit(shape.target)] {
        round += part;
    }
    let looks_per_day = DAY_S / shape.interval_s.max(1);
    let renewals = DAY_S / RENEWAL_INTERVAL_S;
    let control_per_day = of(renewals, renewals, DAY_S / CONTROL_INTERVAL_S + renewals, 0);
    let usd = |requests: Requests| {
        (requests.puts + requests.lists) as f64 * shape.put_usd_per_1000 / 1000.0
            + (requests.gets + requests.heads) as f64 * shape.get_usd_per_1000 / 1000.0
    };
    let look = look(shape.source);
    RequestForecast {
        round,
        file: each,
        look,
        looks_per_day,
        control_per_day,
        idle_usd_per_day: usd(look.times(looks_per_day)) + usd(control_per_day),
        usd_per_round: usd(round),
    }
}

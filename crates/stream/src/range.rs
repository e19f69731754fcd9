//! What a lock covers: a [`Range`] of the table's periods, for one entity or for all; an event has its [`Place`] in the table.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where in the table an event's row belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The period of time, counted as `lakeshift_core::graph::Grain` counts.
    pub period: i32,
    /// The entity, where the stream's spec names a column of entities.
    pub entity: Option<Arc<str>>,
}

/// Periods `from` to `to`, both in it, of one entity or of all. One range covers ninety days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// First period.
    pub from: i32,
    /// Last period.
    pub to: i32,
    /// Only this entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
}

impl Range {
    /// Whether a place is in it.
    pub fn contains(&self, place: &Place) -> bool {
        let of_entity = match (&self.entity, &place.entity) {
            (None, _) => true,
            (Some(own), Some(other)) => **own == **other,
            (Some(_), None) => false,
        };
        (self.from..=self.to).contains(&place.period) && of_entity
    }

    /// Whether some place may be in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let one_entity = match (&self.entity, &other.entity) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        self.from <= other.to && other.from <= self.to && one_entity
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "periods {} to {}", self.from, self.to)?;
        self.entity.as_ref().map_or(Ok(()), |entity| write!(f, " of {entity}"))
    }
}

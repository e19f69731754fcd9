//! [`Mapping`]: which partitions of an upstream a partition needs, and which it feeds; two views of one relation.
//!
//! Both come as one [`Reach`], a range of periods times one entity or all, however many partitions that is: there is no
//! limit of fan-in.

use serde::{Deserialize, Serialize};

use super::time::{Grain, TIMELESS};
use super::versions::EntityId;

/// A partition within its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The period, in the table's grain; [`TIMELESS`] where it has no time.
    pub period: i32,
    /// The entity; [`EntityId::NONE`] where the table has none.
    pub entity: EntityId,
}

/// Partitions of one table: periods `from` to `to`, both included, of one entity or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reach {
    /// The first period; `i32::MIN` is without bound.
    pub from: i32,
    /// The last period; `i32::MAX` is without bound.
    pub to: i32,
    /// The entity; `None` is all.
    pub entity: Option<EntityId>,
}

impl Reach {
    /// Whether a partition lies in it.
    pub fn contains(&self, key: Key) -> bool {
        (self.from..=self.to).contains(&key.period) && self.entity.is_none_or(|entity| entity == key.entity)
    }
}

/// How periods of two tables relate, resolved: all words of the spec come to one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeMapping {
    /// Every period needs every period. The only one where a table has no time.
    All,
    /// A period needs what overlaps the periods `first` to `last` away from it, in the downstream's grain: `0..0` is the
    /// same (or the roll-up, or the split), `-6..0` looks back by six, `-1..-1` is the one before.
    Offsets {
        /// Offset of the first period, in periods of the downstream.
        first: i32,
        /// Offset of the last period, in periods of the downstream; not less than `first`.
        last: i32,
    },
}

impl TimeMapping {
    /// Whether it leaves out nothing that another one has.
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Offsets { .. }, Self::All) => false,
            (Self::Offsets { first, last }, Self::Offsets { first: other_first, last: other_last }) => {
                first <= other_first && other_last <= last
            }
        }
    }

    /// As people read it, between an upstream's grain and a table's: `same day`, `day to month`, `days -6 to +0`.
    pub fn told(self, grains: (Option<Grain>, Option<Grain>)) -> String {
        match (self, grains) {
            (Self::Offsets { first: 0, last: 0 }, (Some(up), Some(down))) if up == down => format!("same {down}"),
            (Self::Offsets { first: 0, last: 0 }, (Some(up), Some(down))) => format!("{up} to {down}"),
            (Self::Offsets { first, last }, (Some(_), Some(down))) => format!("{down}s {first:+} to {last:+}"),
            _ => "all periods".to_owned(),
        }
    }
}

/// How entities of two tables relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityMapping {
    /// An entity needs the entity of the same name.
    Same,
    /// Every entity needs every entity: fan-in where the downstream has none, fan-out where the upstream has none.
    All,
}

/// The partition mapping of one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// How periods relate.
    pub time: TimeMapping,
    /// How entities relate.
    pub entity: EntityMapping,
    /// The upstream's grain; `None` where it has no time.
    pub upstream: Option<Grain>,
    /// The downstream's grain; `None` where it has no time.
    pub downstream: Option<Grain>,
}

impl Mapping {
    /// The upstream partitions that a downstream partition is computed from.
    pub fn needs(&self, downstream: Key) -> Reach {
        let (from, to) = self.needs_periods(downstream.period);
        Reach { from, to, entity: self.entity_of(downstream) }
    }

    /// The downstream partitions that are computed from an upstream partition: a look-back widens forward.
    pub fn feeds(&self, upstream: Key) -> Reach {
        let (from, to) = self.feeds_periods((upstream.period, upstream.period));
        Reach { from, to, entity: self.entity_of(upstream) }
    }

    /// First and last period of the upstream that a downstream period needs. Neither falls as the period rises.
    pub fn needs_periods(&self, period: i32) -> (i32, i32) {
        match (self.time, self.downstream, self.upstream) {
            (TimeMapping::Offsets { first, last }, Some(downstream), Some(upstream)) => {
                downstream.overlapping((period.saturating_add(first), period.saturating_add(last)), upstream)
            }
            (_, _, upstream) => unbounded(upstream),
        }
    }

    /// First and last period of the downstream that any of these upstream periods feeds.
    pub fn feeds_periods(&self, periods: (i32, i32)) -> (i32, i32) {
        self.offset_feeds(periods, self.time)
    }

    /// As [`Self::feeds_periods`], by the window's one period that is nearest to the downstream's own: a look-back does not
    /// make the partitions after the end of the data expected.
    pub fn drives_periods(&self, periods: (i32, i32)) -> (i32, i32) {
        let nearest = match self.time {
            TimeMapping::Offsets { first, last } => {
                let offset = 0.clamp(first, last);
                TimeMapping::Offsets { first: offset, last: offset }
            }
            TimeMapping::All => TimeMapping::All,
        };
        self.offset_feeds(periods, nearest)
    }

    fn offset_feeds(&self, periods: (i32, i32), time: TimeMapping) -> (i32, i32) {
        match (time, self.upstream, self.downstream) {
            (TimeMapping::Offsets { first, last }, Some(upstream), Some(downstream)) => {
                let (from, to) = upstream.overlapping(periods, downstream);
                let from = if from == i32::MIN { from } else { from.saturating_sub(last) };
                let to = if to == i32::MAX { to } else { to.saturating_sub(first) };
                (from, to)
            }
            (_, _, downstream) => unbounded(downstream),
        }
    }

    fn entity_of(&self, key: Key) -> Option<EntityId> {
        (self.entity == EntityMapping::Same).then_some(key.entity)
    }
}

fn unbounded(grain: Option<Grain>) -> (i32, i32) {
    if grain.is_some() { (i32::MIN, i32::MAX) } else { (TIMELESS, TIMELESS) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grain() -> impl Strategy<Value = Option<Grain>> {
        use Grain::{Day, Hour, Month, Quarter, Week, Year};
        prop::sample::select(vec![None, Some(Hour), Some(Day), Some(Week), Some(Month), Some(Quarter), Some(Year)])
    }

    fn mapping() -> impl Strategy<Value = Mapping> {
        let time = prop_oneof![
            Just(TimeMapping::All),
            (-9..9, 0..9).prop_map(|(first, width)| TimeMapping::Offsets { first, last: first + width }),
        ];
        let entity = prop::sample::select(vec![EntityMapping::Same, EntityMapping::All]);
        (time, entity, grain(), grain()).prop_map(|(time, entity, upstream, downstream)| Mapping {
            time,
            entity,
            upstream,
            downstream,
        })
    }

    /// A key of a table of `grain` about a day near 2001, so that keys of two grains often relate.
    fn key(grain: Option<Grain>, hours: i64, entity: u32) -> Key {
        let period = grain.map_or(TIMELESS, |grain| grain.at_hours(272_000 + hours));
        Key { period, entity: EntityId(entity) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn needs_and_feeds_are_inverse(
            mapping in mapping(),
            (down, up) in (0_i64..2000, 0_i64..2000),
            (e, f) in (0_u32..2, 0_u32..2),
        ) {
            let (down, up) = (key(mapping.downstream, down, e), key(mapping.upstream, up, f));
            prop_assert_eq!(mapping.needs(down).contains(up), mapping.feeds(up).contains(down));
        }
    }

    #[test]
    fn a_look_back_of_six_days_widens_a_change_forward_by_six() {
        let time = TimeMapping::Offsets { first: -6, last: 0 };
        let mapping = Mapping { time, entity: EntityMapping::All, upstream: Some(Grain::Day), downstream: Some(Grain::Day) };
        let key = Key { period: 10, entity: EntityId::NONE };
        assert_eq!(mapping.needs(key), Reach { from: 4, to: 10, entity: None });
        assert_eq!(mapping.feeds(key), Reach { from: 10, to: 16, entity: None });
        assert_eq!(mapping.drives_periods((10, 10)), (10, 10));
    }
}

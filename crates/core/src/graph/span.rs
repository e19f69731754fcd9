//! [`Span`]: how far from a date the dates lie that it was computed from; what SQL does to dates, as arithmetic on spans.
//!
//! Every operation may widen and never narrows: what a span leaves out has no part in the date's row.

use super::spec::{Previous, TimeRule, TimeWord, Window};
use super::time::Grain;

/// The periods `first` to `last` of `grain`, counted from the one that holds a date: `(Day, -6, 0)` is the date and the six
/// days before it, `(Month, 0, 0)` all of its month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The grain; [`Grain::Day`] is the finest.
    pub grain: Grain,
    /// Offset of the first period.
    pub first: i64,
    /// Offset of the last period, not less than `first`.
    pub last: i64,
}

impl Span {
    /// The date itself.
    pub const DATE: Self = Self { grain: Grain::Day, first: 0, last: 0 };

    /// The span about the beginning of the date's period; it is also the span about a date of which only that beginning
    /// had it. `None` where the two grains do not nest.
    pub fn truncated(self, grain: Grain) -> Option<Self> {
        if grain.nests_in(self.grain) { Some(self) } else { self.lifted(grain) }
    }

    /// The span about a date that is `from` to `to` days before the one that has this span.
    pub fn days_before(self, from: i64, to: i64) -> Option<Self> {
        self.plus(Self { grain: Grain::Day, first: from, last: to }.lifted(self.grain)?)
    }

    /// The span about a date that is `months` months before the one that has this span, by the calendar: the 31st may have
    /// become the 28th on the way.
    pub fn months_before(self, months: i64) -> Option<Self> {
        let months = Self { grain: Grain::Month, first: months, last: months };
        let own = if self.grain < Grain::Month { self.lifted(Grain::Month)? } else { self };
        own.plus(months.lifted(own.grain)?)
    }

    /// What holds both. `None` where the two grains do not nest.
    pub fn hull(self, other: Self) -> Option<Self> {
        let grain = self.grain.max(other.grain);
        let (one, two) = (self.lifted(grain)?, other.lifted(grain)?);
        Some(Self { grain, first: one.first.min(two.first), last: one.last.max(two.last) })
    }

    /// The tighter of two that both hold.
    pub fn tighter(self, other: Self) -> Self {
        let width = |span: &Self| (span.grain, span.last - span.first);
        std::cmp::min_by_key(self, other, width)
    }

    /// As the mapping from an upstream's partitions to a table's, both of these grains. `None` where the grains do not nest, or
    /// the span is wider than any mapping.
    pub fn rule(self, upstream: Grain, downstream: Grain) -> Option<TimeRule> {
        let (first, last) = if self.grain.nests_in(downstream) {
            let lifted = self.lifted(downstream)?;
            (lifted.first, lifted.last)
        } else if (self.first, self.last) == (0, 0) && downstream.nests_in(self.grain) && self.grain.nests_in(upstream) {
            (0, 0)
        } else {
            self.split(downstream)?
        };
        let count = |periods: i64| u32::try_from(periods).ok();
        Some(match (first, last) {
            (0, 0) => TimeRule::Word(match upstream.cmp(&downstream) {
                std::cmp::Ordering::Equal => TimeWord::Same,
                std::cmp::Ordering::Less => TimeWord::RollUp,
                std::cmp::Ordering::Greater => TimeWord::Split,
            }),
            (first, last) if last < 0 => TimeRule::Previous(Previous { previous: count(-first)? }),
            (first, last) => TimeRule::Window(Window { back: count(-first.min(0))?, ahead: count(last)? }),
        })
    }

    fn plus(self, other: Self) -> Option<Self> {
        let first = self.first.checked_add(other.first)?;
        Some(Self { grain: self.grain, first, last: self.last.checked_add(other.last)? })
    }

    /// In periods of a grain that this one nests in.
    fn lifted(self, grain: Grain) -> Option<Self> {
        let (shortest, longest) = lengths(self.grain, grain)?;
        let first = if self.first < 0 { self.first.div_euclid(shortest) } else { self.first / longest };
        let last = if self.last > 0 { -(-self.last).div_euclid(shortest) } else { -(-self.last / longest) };
        Some(Self { grain, first, last })
    }

    /// In periods of a grain that nests in this one, whichever of them the date is in.
    fn split(self, grain: Grain) -> Option<(i64, i64)> {
        let (shortest, longest) = lengths(grain, self.grain)?;
        let first = match self.first {
            first if first <= 0 => first * longest - (longest - 1),
            first => (first - 1) * shortest + 1,
        };
        let last = match self.last {
            last if last >= 0 => last * longest + (longest - 1),
            last => (last + 1) * shortest - 1,
        };
        Some((first, last))
    }
}

/// The fewest and most periods of `fine` in one of `coarse`; `None` where they do not nest.
fn lengths(fine: Grain, coarse: Grain) -> Option<(i64, i64)> {
    use Grain::{Day, Hour, Month, Quarter, Week, Year};
    Some(match (fine, coarse) {
        (one, other) if one == other => (1, 1),
        (Hour, coarse) => {
            let (shortest, longest) = lengths(Day, coarse)?;
            (24 * shortest, 24 * longest)
        }
        (Day, Week) => (7, 7),
        (Day, Month) => (28, 31),
        (Day, Quarter) => (90, 92),
        (Day, Year) => (365, 366),
        (Month, Quarter) => (3, 3),
        (Month, Year) => (12, 12),
        (Quarter, Year) => (4, 4),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use chrono::{Days, Months, NaiveDate};
    use proptest::prelude::*;

    use super::super::build::resolve_time;
    use super::super::mapping::{EntityMapping, Mapping};
    use super::*;

    const GRAINS: [Grain; 5] = [Grain::Day, Grain::Week, Grain::Month, Grain::Quarter, Grain::Year];

    /// What a query does to a date.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Truncate(Grain),
        AddDays(i64),
        AddMonths(i32),
        /// A join: another date, so many days before this one at least and at most.
        Within(i64, i64),
        /// A join on the beginning of the period: any other date in it.
        SamePeriod(Grain, i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let grain = || prop::sample::select(GRAINS.to_vec());
        prop_oneof![
            grain().prop_map(Step::Truncate),
            (-40_i64..40).prop_map(Step::AddDays),
            (-14..14).prop_map(Step::AddMonths),
            (-40_i64..40, 0_i64..40).prop_map(|(from, width)| Step::Within(from, from + width)),
            (grain(), 0_i64..400).prop_map(|(grain, pick)| Step::SamePeriod(grain, pick)),
        ]
    }

    fn moved(date: NaiveDate, days: i64) -> NaiveDate {
        date + chrono::TimeDelta::days(days)
    }

    fn period(grain: Grain, date: NaiveDate) -> i32 {
        grain.at(date.and_hms_opt(0, 0, 0).unwrap())
    }

    fn taken(step: Step, date: NaiveDate, span: Span, pick: i64) -> Option<(NaiveDate, Span)> {
        Some(match step {
            Step::Truncate(grain) => (grain.start(period(grain, date)).unwrap().date(), span.truncated(grain)?),
            Step::AddDays(days) => (moved(date, days), span.days_before(-days, -days)?),
            Step::AddMonths(months) => {
                let by = Months::new(months.unsigned_abs());
                let date = if months < 0 { date - by } else { date + by };
                (date, span.months_before(i64::from(-months))?)
            }
            // The new date is `from` to `to` days before the old one.
            Step::Within(from, to) => (moved(date, -(from + pick % (to - from + 1))), span.days_before(from, to)?),
            Step::SamePeriod(grain, within) => {
                let start = grain.start(period(grain, date)).unwrap().date();
                let length = grain.end_hours(period(grain, date)) / 24 - grain.start_hours(period(grain, date)) / 24;
                (start + Days::new((within % length).unsigned_abs()), span.truncated(grain)?)
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Follows a date through what a query does, and finds where it came from within the span, and within the mapping.
        #[test]
        fn a_span_holds_every_date_that_had_a_part(
            start in 0_i64..3000,
            steps in prop::collection::vec((step(), 0_i64..400), 1..5),
            up in prop::sample::select(GRAINS.to_vec()),
            down in prop::sample::select(GRAINS.to_vec()),
        ) {
            let origin = moved(NaiveDate::from_ymd_opt(2000, 1, 1).unwrap(), start);
            let (mut date, mut span) = (origin, Span::DATE);
            for (step, pick) in steps {
                let Some(next) = taken(step, date, span, pick) else { return Ok(()) };
                (date, span) = next;
            }
            let away = i64::from(period(span.grain, origin)) - i64::from(period(span.grain, date));
            prop_assert!((span.first..=span.last).contains(&away), "{span:?} has not {away}: {origin} to {date}");
            let Some(rule) = span.rule(up, down) else { return Ok(()) };
            let time = resolve_time("edge", rule, (Some(up), Some(down))).unwrap();
            let mapping = Mapping { time, entity: EntityMapping::All, upstream: Some(up), downstream: Some(down) };
            let (from, to) = mapping.needs_periods(period(down, date));
            prop_assert!((from..=to).contains(&period(up, origin)), "{rule:?} of {up} for {down}: {origin} to {date}");
        }
    }

    #[test]
    fn what_people_write_comes_to_the_mapping_that_they_mean() {
        let week = Span::DATE.days_before(-6, 0).unwrap();
        assert_eq!(week.rule(Grain::Day, Grain::Day), Some(TimeRule::Window(Window { back: 6, ahead: 0 })));
        let month = Span::DATE.truncated(Grain::Month).unwrap();
        assert_eq!(month.rule(Grain::Day, Grain::Month), Some(TimeRule::Word(TimeWord::RollUp)));
        assert_eq!(month.rule(Grain::Month, Grain::Day), Some(TimeRule::Word(TimeWord::Split)));
        assert_eq!(month.rule(Grain::Day, Grain::Day), Some(TimeRule::Window(Window { back: 30, ahead: 30 })));
        let yesterday = Span::DATE.days_before(-1, -1).unwrap();
        assert_eq!(yesterday.rule(Grain::Day, Grain::Day), Some(TimeRule::Previous(Previous { previous: 1 })));
        let last_month = month.months_before(-1).unwrap();
        assert_eq!(last_month.rule(Grain::Month, Grain::Month), Some(TimeRule::Previous(Previous { previous: 1 })));
        assert_eq!(week.truncated(Grain::Month).unwrap().rule(Grain::Day, Grain::Month).unwrap(), {
            TimeRule::Window(Window { back: 1, ahead: 0 })
        });
        assert_eq!(month.truncated(Grain::Week), None);
    }
}

//! [`Grain`]s of time and their periods, numbered by `i32`: what a partition of a table covers.
//!
//! Everything is UTC at the resolution of an hour. Weeks are ISO weeks, from Monday; they nest in no other grain but the
//! day's multiples, so periods of two grains relate by overlap ([`Grain::overlapping`]), never by containment.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Weekday};
use serde::{Deserialize, Serialize};

/// The only period of a table without time.
pub const TIMELESS: i32 = 0;

/// Years that [`Grain::parse`] reads.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// How much time a partition covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// An hour; periods count from 1970-01-01T00.
    Hour,
    /// A day; periods count from 1970-01-01.
    Day,
    /// An ISO week; periods count from the week of 1970-01-01, which begins on 1969-12-29.
    Week,
    /// A month; periods count from 1970-01.
    Month,
    /// A quarter; periods count from 1970-Q1.
    Quarter,
    /// A year; periods count from 1970.
    Year,
}

/// Why a period could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {grain}; write it as {}", grain.example())]
pub struct PeriodError {
    /// What stood there.
    pub text: String,
    /// What it should be.
    pub grain: Grain,
}

impl Grain {
    /// Hours from 1970-01-01T00 to the period's beginning.
    pub fn start_hours(self, period: i32) -> i64 {
        let period = i64::from(period);
        match self {
            Self::Hour => period,
            Self::Day => period * 24,
            Self::Week => (period * 7 - 3) * 24,
            Self::Month => month_start_days(period) * 24,
            Self::Quarter => month_start_days(period * 3) * 24,
            Self::Year => month_start_days(period * 12) * 24,
        }
    }

    /// Hours from 1970-01-01T00 to the period's end, which is the next one's beginning.
    pub fn end_hours(self, period: i32) -> i64 {
        match period.checked_add(1) {
            Some(next) => self.start_hours(next),
            None => i64::MAX,
        }
    }

    /// The period that holds an hour, counted from 1970-01-01T00; the last that there is where it would overflow.
    pub fn at_hours(self, hours: i64) -> i32 {
        let days = hours.div_euclid(24);
        let period = match self {
            Self::Hour => hours,
            Self::Day => days,
            Self::Week => (days + 3).div_euclid(7),
            Self::Month => month_of_day(days),
            Self::Quarter => month_of_day(days).div_euclid(3),
            Self::Year => month_of_day(days).div_euclid(12),
        };
        i32::try_from(period).unwrap_or(if period < 0 { i32::MIN } else { i32::MAX })
    }

    /// The period that holds a time.
    pub fn at(self, time: NaiveDateTime) -> i32 {
        self.at_hours(time.and_utc().timestamp().div_euclid(3600))
    }

    /// When a period begins; `None` beyond what chrono can hold.
    pub fn start(self, period: i32) -> Option<NaiveDateTime> {
        let since = TimeDelta::try_hours(self.start_hours(period))?;
        DateTime::UNIX_EPOCH.naive_utc().checked_add_signed(since)
    }

    /// First and last period of `other` that share an hour with the periods `from` to `to` of this grain. `i32::MIN` and
    /// `i32::MAX` stand for "without bound" and stay.
    pub fn overlapping(self, (from, to): (i32, i32), other: Self) -> (i32, i32) {
        if self == other {
            return (from, to);
        }
        let first = if from == i32::MIN { from } else { other.at_hours(self.start_hours(from)) };
        let last = if to == i32::MAX { to } else { other.at_hours(self.end_hours(to) - 1) };
        (first, last)
    }

    /// Whether every period of `coarser` is made of whole periods of this grain. A week is in no month, quarter or year.
    pub fn nests_in(self, coarser: Self) -> bool {
        self == coarser || (self < coarser && self != Self::Week)
    }

    /// A period as people write it: `2001-01-31T07`, `2001-01-31`, `2001-W05`, `2001-01`, `2001-Q1`, `2001`.
    pub fn format(self, period: i32) -> String {
        let Some(start) = self.start(period) else { return format!("{self} {period}") };
        match self {
            Self::Hour => start.format("%Y-%m-%dT%H").to_string(),
            Self::Day => start.format("%Y-%m-%d").to_string(),
            Self::Week => start.format("%G-W%V").to_string(),
            Self::Month => start.format("%Y-%m").to_string(),
            Self::Quarter => format!("{:04}-Q{}", start.year(), start.month0() / 3 + 1),
            Self::Year => format!("{:04}", start.year()),
        }
    }

    /// Reads what [`Self::format`] writes.
    ///
    /// # Errors
    /// [`PeriodError`] where the text is no period of this grain, or its year is not in 1 to 9999.
    pub fn parse(self, text: &str) -> Result<i32, PeriodError> {
        let period = self.start_of(text).map(|start| self.at(start));
        let canonical = period.filter(|period| self.format(*period) == text);
        canonical.ok_or_else(|| PeriodError { text: text.to_owned(), grain: self })
    }

    fn start_of(self, text: &str) -> Option<NaiveDateTime> {
        let date = |year: &str, month: u32| NaiveDate::from_ymd_opt(year.parse().ok()?, month, 1);
        let (day, hour) = match self {
            Self::Hour => {
                let (day, hour) = text.split_once('T')?;
                (day.parse().ok()?, hour.parse().ok()?)
            }
            Self::Day => (text.parse().ok()?, 0),
            Self::Week => {
                let (year, week) = text.split_once("-W")?;
                (NaiveDate::from_isoywd_opt(year.parse().ok()?, week.parse().ok()?, Weekday::Mon)?, 0)
            }
            Self::Month => {
                let (year, month) = text.split_once('-')?;
                (date(year, month.parse().ok()?)?, 0)
            }
            Self::Quarter => {
                let (year, quarter) = text.split_once("-Q")?;
                (date(year, quarter.parse::<u32>().ok()?.checked_mul(3)?.checked_sub(2)?)?, 0)
            }
            Self::Year => (date(text, 1)?, 0),
        };
        YEARS.contains(&day.year()).then_some(day)?.and_hms_opt(hour, 0, 0)
    }

    fn example(self) -> &'static str {
        match self {
            Self::Hour => "2001-01-31T07",
            Self::Day => "2001-01-31",
            Self::Week => "2001-W05",
            Self::Month => "2001-01",
            Self::Quarter => "2001-Q1",
            Self::Year => "2001",
        }
    }
}

impl fmt::Display for Grain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        })
    }
}

/// Days from 1970-01-01 to the first of a month, counted from 1970-01. Years begin in March here, so that the leap day is
/// the last of its year.
fn month_start_days(month: i64) -> i64 {
    let march = month + 1970 * 12 - 2;
    let (year, month) = (march.div_euclid(12), march.rem_euclid(12));
    let day_of_year = (153 * month + 2) / 5;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The month of a day, counted from 1970-01; the inverse of [`month_start_days`].
fn month_of_day(days: i64) -> i64 {
    const ERA_DAYS: i64 = 146_097;
    let days = days.saturating_add(719_468);
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (day - day / 1460 + day / 36_524 - day / (ERA_DAYS - 1)) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    (era * 400 + year - 1970) * 12 + month + 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const GRAINS: [Grain; 6] = [Grain::Hour, Grain::Day, Grain::Week, Grain::Month, Grain::Quarter, Grain::Year];

    #[rstest]
    #[case(Grain::Hour, "2001-01-31T07", 272_479)]
    #[case(Grain::Day, "2001-01-31", 11_353)]
    #[case(Grain::Week, "2001-W05", 1622)]
    #[case(Grain::Week, "1970-W01", 0)]
    #[case(Grain::Month, "2001-01", 372)]
    #[case(Grain::Quarter, "1969-Q4", -1)]
    #[case(Grain::Year, "2001", 31)]
    fn a_period_reads_as_it_prints(#[case] grain: Grain, #[case] text: &str, #[case] period: i32) {
        assert_eq!(grain.parse(text), Ok(period));
        assert_eq!(grain.format(period), text);
    }

    #[rstest]
    #[case(Grain::Day, "2001-02-29")]
    #[case(Grain::Day, "2001-2-9")]
    #[case(Grain::Week, "2001-W53")]
    #[case(Grain::Quarter, "2001-Q0")]
    #[case(Grain::Year, "99999")]
    #[case(Grain::Hour, "2001-01-31T24")]
    fn what_is_no_period_is_refused(#[case] grain: Grain, #[case] text: &str) {
        let error = grain.parse(text).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains(grain.example()), "{error}");
    }

    #[test]
    fn a_week_overlaps_the_two_months_that_it_lies_in() {
        let week = Grain::Week.parse("2001-W05").unwrap();
        let (first, last) = Grain::Week.overlapping((week, week), Grain::Month);
        assert_eq!((Grain::Month.format(first), Grain::Month.format(last)), ("2001-01".into(), "2001-02".into()));
        assert!(!Grain::Week.nests_in(Grain::Month) && Grain::Day.nests_in(Grain::Week));
    }

    proptest! {
        #[test]
        fn every_hour_lies_in_its_period_as_chrono_has_it(hours in -17_000_000_i64..70_000_000) {
            let time = DateTime::UNIX_EPOCH.naive_utc() + TimeDelta::hours(hours);
            for grain in GRAINS {
                let period = grain.at(time);
                prop_assert!(grain.start_hours(period) <= hours && hours < grain.end_hours(period));
                prop_assert_eq!(grain.at_hours(grain.start_hours(period)), period);
            }
            prop_assert_eq!(Grain::Month.at(time), (time.year() - 1970) * 12 + time.month0() as i32);
            prop_assert_eq!(Grain::Week.start(Grain::Week.at(time)).unwrap().weekday(), Weekday::Mon);
        }
    }
}

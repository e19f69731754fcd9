//! Cutting decided files into units.

use std::cmp::Ordering;

use lakeshift_journal::Epoch;

use super::{PlannedFile, Strategy};
use crate::table::{MigrationId, UnitId, deletes_in};
use crate::value::Value;

/// A file with deletes counts for so many files of an adopted unit.
const DELETES_WEIGHT: usize = 50;

/// How large a unit may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitLimits {
    /// Source bytes of a spliced or rewritten unit, unless a single file is larger.
    pub rewrite_bytes_max: u64,
    /// Files of an adopted unit; one with deletes counts for 50.
    pub adopt_files_max: usize,
}

/// Orders files by partition, newest (greatest) first or last, and gives each its unit: `prefix` and a number, such as
/// `b000001`. A unit holds neighbours of one strategy; one that is not adopted ends where the proven target partition changes.
pub fn into_units(mut files: Vec<PlannedFile>, newest_first: bool, limits: UnitLimits, prefix: &str) -> Vec<PlannedFile> {
    files.sort_by(|a, b| {
        let order = compare_partitions(&a.partition, &b.partition);
        let order = if newest_first { order.reverse() } else { order };
        order.then_with(|| a.path.cmp(&b.path))
    });
    let (mut number, mut bytes, mut count) = (0_u32, 0_u64, 0_usize);
    for index in 0..files.len() {
        let fits = index > 0 && {
            let (before, file) = (&files[index - 1], &files[index]);
            before.strategy == file.strategy
                && match file.strategy {
                    Strategy::Adopt => count + weight(file) <= limits.adopt_files_max,
                    Strategy::Splice | Strategy::Rewrite => {
                        bytes.saturating_add(file.size_bytes) <= limits.rewrite_bytes_max
                            && before.target_partition == file.target_partition
                    }
                }
        };
        if !fits {
            (number, bytes, count) = (number + 1, 0, 0);
        }
        bytes = bytes.saturating_add(files[index].size_bytes);
        count += weight(&files[index]);
        files[index].unit = UnitId(format!("{prefix}{number:06}"));
    }
    files
}

/// How many files a file to be adopted counts for. The deleted rows of a whole unit are held in memory.
fn weight(file: &PlannedFile) -> usize {
    if deletes_in(&file.identity).is_some() { DELETES_WEIGHT } else { 1 }
}

/// Null first, then by value; values of different kinds (never within one table) count as equal.
fn compare_partitions(a: &[Option<Value>], b: &[Option<Value>]) -> Ordering {
    let by_value = a.iter().zip(b).map(|pair| match pair {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => a.compare(b).unwrap_or(Ordering::Equal),
    });
    by_value.fold(Ordering::Equal, Ordering::then)
}

/// The start of the names of the data files that `unit` writes under `epoch`. The epoch keeps a revived runner's files
/// apart from those of the runner that took over.
pub fn data_file_stem(migration: &MigrationId, unit: &UnitId, epoch: Epoch) -> String {
    format!("ls.{migration}.{unit}.e{}", epoch.0)
}

/// The unit of `migration` that wrote a data file, told by the file's name; `None` for files of other origin.
pub fn unit_of_path(migration: &MigrationId, path: &str) -> Option<UnitId> {
    let name = path.rsplit('/').next()?;
    let mut parts = name.strip_prefix("ls.")?.split('.');
    let ours = parts.next()? == migration.0;
    let unit = parts.next()?;
    let epoch = parts.next()?.strip_prefix('e')?;
    (ours && epoch.starts_with(|digit: char| digit.is_ascii_digit())).then(|| UnitId(unit.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(day: i32, strategy: Strategy, size_bytes: u64, month: i64) -> PlannedFile {
        PlannedFile {
            unit: UnitId(String::new()),
            strategy,
            reason: String::new(),
            path: format!("day={day}/a.parquet"),
            identity: String::new(),
            size_bytes,
            rows: 1,
            partition: vec![Some(Value::Date(day))],
            target_partition: Some(vec![Some(Value::Int(month))]),
        }
    }

    fn units(files: Vec<PlannedFile>, newest_first: bool) -> Vec<(i32, String)> {
        let limits = UnitLimits { rewrite_bytes_max: 100, adopt_files_max: 2 };
        into_units(files, newest_first, limits, "b")
            .into_iter()
            .map(|file| match file.partition[0] {
                Some(Value::Date(day)) => (day, file.unit.0),
                _ => unreachable!(),
            })
            .collect()
    }

    #[test]
    fn the_newest_partition_comes_first_and_units_end_at_size_and_target_partition() {
        let files = [(1, 60, 0), (2, 60, 0), (3, 40, 0), (4, 10, 1)]
            .map(|(day, size, month)| file(day, Strategy::Rewrite, size, month));
        let named = |day, unit: &str| (day, unit.to_owned());
        let expected = [named(4, "b000001"), named(3, "b000002"), named(2, "b000002"), named(1, "b000003")];
        assert_eq!(units(files.to_vec(), true), expected);
        assert_eq!(units(files.to_vec(), false)[0], named(1, "b000001"));
    }

    #[test]
    fn a_spliced_unit_has_one_target_partition() {
        let splice = |day, month| file(day, Strategy::Splice, 10, month);
        let files = vec![splice(1, 0), splice(2, 0), splice(3, 1), file(4, Strategy::Rewrite, 10, 1)];
        let numbers: Vec<_> = units(files, false).into_iter().map(|(_, unit)| unit).collect();
        assert_eq!(numbers, ["b000001", "b000001", "b000002", "b000003"]);
    }

    #[test]
    fn a_unit_has_one_strategy_and_adopts_at_most_its_limit() {
        let adopt = |day| file(day, Strategy::Adopt, 1000, 0);
        let files = vec![adopt(1), adopt(2), adopt(3), file(4, Strategy::Rewrite, 1, 0)];
        let numbers: Vec<_> = units(files, true).into_iter().map(|(_, unit)| unit).collect();
        assert_eq!(numbers, ["b000001", "b000002", "b000002", "b000003"]);
    }

    #[test]
    fn a_unit_adopts_fewer_files_that_have_deletes() {
        let deleted = |day| PlannedFile {
            identity: crate::table::with_deletes("modified:5", "{}"),
            ..file(day, Strategy::Adopt, 10, 0)
        };
        let files = vec![deleted(1), deleted(2), deleted(3), file(4, Strategy::Adopt, 10, 0)];
        let limits = UnitLimits { rewrite_bytes_max: 100, adopt_files_max: 101 };
        let numbers = into_units(files, false, limits, "b").into_iter().map(|file| file.unit.0);
        assert_eq!(numbers.collect::<Vec<_>>(), ["b000001", "b000001", "b000002", "b000002"]);
    }

    #[test]
    fn a_written_file_tells_its_unit_and_a_foreign_one_does_not() {
        let (migration, unit) = (MigrationId("flights".into()), UnitId("b000012".into()));
        let path = format!("data/month=2001-01/{}-0001.parquet", data_file_stem(&migration, &unit, Epoch(3)));
        assert_eq!(unit_of_path(&migration, &path), Some(unit));
        assert_eq!(unit_of_path(&MigrationId("other".into()), &path), None);
        assert_eq!(unit_of_path(&migration, "day=1/part-0.parquet"), None);
    }
}

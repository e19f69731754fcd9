//! [`Ground`]: the table that a backfill rewrites a range of, which of its files have rows of the range, and what else they have.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use lakeshift_core::partition::{PartitionSpec, Transform};
use lakeshift_core::spec::{ParquetOptions, SortColumn};
use lakeshift_core::storage::Storage;
use lakeshift_core::stream::StreamSpec;
use lakeshift_core::table::{FileEntry, Snapshot, TableFormat};
use lakeshift_core::value::Value;
use lakeshift_exec::query::{Query, Slice};
use lakeshift_stream::{Boundary, Range};

use super::file::{StreamFile, refused};
use super::sink::ParquetSink;
use crate::engine::rows::scan_live;
use crate::error::Error;

/// What SQL calls the range's rows.
pub(super) const ROWS: &str = "events";
/// What it made of them, and all rows of the files, in the query that puts both together.
const MADE: &str = "made";
const EVERY: &str = "every";

/// A table that is rewritten beside a stream.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) table: Arc<dyn TableFormat>,
    /// Where its files lie, its own folder first.
    pub(super) places: Vec<Storage>,
    /// Where new ones are written.
    pub(super) staging: Storage,
    pub(super) parquet: ParquetOptions,
    pub(super) sort: Vec<SortColumn>,
}

/// Files that a backfill replaces.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) files: Vec<FileEntry>,
    /// Whether some have rows that are not of the range, too.
    pub(super) cut: bool,
}

impl Ground {
    /// The range in terms of the table's partitions.
    ///
    /// # Errors
    /// They do not tell the time of their rows.
    pub(super) fn extent(&self, file: &StreamFile, snapshot: &Snapshot, range: &Range) -> Result<Extent, Error> {
        Extent::new(&file.spec, &snapshot.partition, range)?.ok_or_else(|| {
            let (location, time) = (self.table.location(), &file.spec.time.column);
            let problem = format!(
                "the table at {location} is not partitioned by {time}, and a backfill would rewrite all of it; no row was changed"
            );
            refused(problem, "run it while the stream writes a table that is")
        })
    }

    /// The table's files that are the backfill's to replace.
    ///
    /// # Errors
    /// A table whose partitions do not tell the time of their rows.
    pub(super) async fn replaced(
        &self,
        file: &StreamFile,
        snapshot: &Snapshot,
        range: &Range,
        boundary: &Boundary,
    ) -> Result<Replaced, Error> {
        let extent = self.extent(file, snapshot, range)?;
        let (mut files, mut cut) = (Vec::new(), false);
        let mut all = self.table.files(snapshot);
        while let Some(entry) = all.try_next().await? {
            if !boundary.covers(&entry.path) {
                continue;
            }
            match extent.of(&entry.partition) {
                Part::None => continue,
                Part::Whole => {}
                Part::Some => cut = true,
            }
            files.push(entry);
        }
        Ok(Replaced { files, cut })
    }

    /// The rows that live in files of the table.
    ///
    /// # Errors
    /// As [`scan_live`].
    pub(super) async fn scan(
        &self,
        file: &StreamFile,
        snapshot: &Snapshot,
        files: &[FileEntry],
    ) -> Result<Arc<dyn ExecutionPlan>, Error> {
        let places: Vec<&Storage> = self.places.iter().collect();
        scan_live(&file.engine, self.table.as_ref(), &places, snapshot, files).await
    }

    /// What comes in place of files: what the query makes of the range's rows, and all other rows as they are.
    ///
    /// # Errors
    /// Files that cannot be read as the table says; a query that cannot be planned.
    pub(super) async fn rewritten(
        &self,
        file: &StreamFile,
        query: &Query,
        snapshot: &Snapshot,
        Replaced { files, cut }: &Replaced,
        range: &Range,
    ) -> Result<Arc<dyn ExecutionPlan>, Error> {
        let (slice, rows) = (slice(&file.spec, range)?, self.scan(file, snapshot, files).await?);
        if !cut {
            return Ok(query.plan(vec![(ROWS.to_owned(), rows)], &slice).await?);
        }
        let (stream, schema, time) = (&file.spec.stream, &snapshot.schema, Some(file.spec.time.column.as_str()));
        let inside =
            Query::new(&file.engine, stream, "SELECT * FROM every", &[(EVERY.to_owned(), schema.clone())], time).await?;
        let inside = inside.plan(vec![(EVERY.to_owned(), rows)], &slice).await?;
        let made = query.plan(vec![(ROWS.to_owned(), inside)], &slice).await?;
        let columns: Vec<String> = schema.fields.iter().map(|field| quoted(&field.name)).collect();
        let (columns, is_inside) = (columns.join(", "), condition(&slice));
        let sql =
            format!("SELECT {columns} FROM {MADE} UNION ALL SELECT {columns} FROM {EVERY} WHERE ({is_inside}) IS NOT TRUE");
        let tables = [MADE, EVERY].map(|name| (name.to_owned(), schema.clone()));
        let both = Query::new(&file.engine, stream, &sql, &tables, None).await?;
        let every = self.scan(file, snapshot, files).await?;
        Ok(both.plan(vec![(MADE.to_owned(), made), (EVERY.to_owned(), every)], &Slice::default()).await?)
    }

    /// Writes the table's files.
    pub(super) fn sink(&self, file: &StreamFile, snapshot: Snapshot) -> ParquetSink {
        ParquetSink {
            engine: file.engine.clone(),
            storage: self.staging.clone(),
            format: self.table.format(),
            stream: file.id(),
            schema: snapshot.schema,
            partition: snapshot.partition,
            parquet: self.parquet.clone(),
            sort: self.sort.clone(),
        }
    }
}

/// The part of a query's result that is the range.
fn slice(spec: &StreamSpec, range: &Range) -> Result<Slice, Error> {
    let grain = spec.time.grain;
    let bounds = grain.start(range.from).zip(range.to.checked_add(1).and_then(|next| grain.start(next)));
    let (from, to) = bounds.ok_or_else(|| refused("the range is beyond the calendar", "name periods that there are"))?;
    let entity = spec.entity.as_ref().zip(range.entity.as_ref());
    let entity = entity.map(|(column, value)| (column.column.clone(), value.clone()));
    Ok(Slice { time: Some((spec.time.column.clone(), from, to)), entity })
}

/// As SQL: whether a row is in the slice.
fn condition(slice: &Slice) -> String {
    let time = slice.time.as_ref().map(|(column, from, to)| {
        let column = quoted(column);
        format!("{column} >= DATE '{}' AND {column} < DATE '{}'", from.date(), to.date())
    });
    let entity =
        slice.entity.as_ref().map(|(column, value)| format!("{} = '{}'", quoted(column), value.replace('\'', "''")));
    time.into_iter().chain(entity).collect::<Vec<_>>().join(" AND ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What a range is in terms of a table's partitions.
pub(super) struct Extent {
    time: Vec<TimeExtent>,
    entity: Vec<EntityExtent>,
    /// Whether a partition tells the entity where the range is one's.
    tells_entity: bool,
}

/// Partition values of a field of the time's column.
struct TimeExtent {
    place: usize,
    /// Of the day before the range, its first, its last, and the day after.
    days: [Value; 4],
}

struct EntityExtent {
    place: usize,
    value: Value,
}

/// How many of a partition's rows are of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    None,
    Some,
    Whole,
}

impl Extent {
    /// `None` where no partition tells the time.
    fn new(spec: &StreamSpec, partition: &PartitionSpec, range: &Range) -> Result<Option<Self>, Error> {
        let day = |hours: i64| i32::try_from(hours.div_euclid(24)).unwrap_or(if hours < 0 { i32::MIN } else { i32::MAX });
        let grain = spec.time.grain;
        let (first, next) = (day(grain.start_hours(range.from)), day(grain.end_hours(range.to)));
        let days = [first.saturating_sub(1), first, next.saturating_sub(1), next].map(Value::Date);
        let wanted = spec.entity.as_ref().zip(range.entity.as_ref());
        let mut extent = Self { time: Vec::new(), entity: Vec::new(), tells_entity: wanted.is_none() };
        for (place, field) in partition.fields.iter().enumerate() {
            let untold = |error| {
                refused(format!("the partitions of the table do not tell the range: {error}"), "report this as a bug")
            };
            let apply = |value: &Value| field.transform.apply(value).map_err(untold);
            if field.column == spec.time.column && field.transform.is_monotonic() {
                let [before, first, last, after] = &days;
                let days = [apply(before)?, apply(first)?, apply(last)?, apply(after)?];
                extent.time.push(TimeExtent { place, days });
            } else if let Some((_, entity)) = wanted.filter(|(column, _)| column.column == field.column) {
                let value = apply(&Value::String(entity.clone()))?;
                extent.entity.push(EntityExtent { place, value });
                extent.tells_entity |= field.transform == Transform::Identity;
            }
        }
        Ok(Some(extent).filter(|extent| !extent.time.is_empty()))
    }

    fn of(&self, partition: &[Option<Value>]) -> Part {
        let value = |place: usize| partition.get(place).and_then(Option::as_ref);
        let mut whole = false;
        for TimeExtent { place, days: [before, first, last, after] } in &self.time {
            // A partition of nulls has no time, and no row of the range.
            let Some(value) = value(*place) else { return Part::None };
            let is = |ordering, bound: &Value| value.compare(bound) == Some(ordering);
            if is(Ordering::Less, first) || is(Ordering::Greater, last) {
                return Part::None;
            }
            whole |= is(Ordering::Greater, before) && is(Ordering::Less, after);
        }
        if self.entity.iter().any(|one| value(one.place) != Some(&one.value)) {
            return Part::None;
        }
        if whole && self.tells_entity { Part::Whole } else { Part::Some }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lakeshift_core::partition::PartitionField;
    use rstest::rstest;

    use super::*;

    const DAY: i32 = 11_323; // 2001-01-01

    fn spec() -> StreamSpec {
        let text = "stream: s\ncontrol: /c\ntable: {format: delta, location: /t}\ncolumns:\n  - {name: day, type: date, required: true}\n  \
                    - {name: port, type: string, required: true}\ntime: {column: day, grain: day}\nentity: {column: port}\nkafka: \
                    {bootstrap: 'h:1', topics: [t]}\n";
        StreamSpec::from_yaml(text, Path::new("stream.yaml")).unwrap()
    }

    fn extent(fields: &[(&str, Transform)], (from, to): (i32, i32), entity: Option<&str>) -> Option<Extent> {
        let fields = fields.iter().map(|(column, transform)| PartitionField::new(*column, *transform)).collect();
        let range = Range { from: DAY + from, to: DAY + to, entity: entity.map(str::to_owned) };
        Extent::new(&spec(), &PartitionSpec { fields }, &range).unwrap()
    }

    #[rstest]
    #[case::the_day_before(-1, Part::None)]
    #[case::first(0, Part::Whole)]
    #[case::last(2, Part::Whole)]
    #[case::the_day_after(3, Part::None)]
    fn days_are_of_the_range_as_a_whole_or_not_at_all(#[case] day: i32, #[case] part: Part) {
        for transform in [Transform::Identity, Transform::Day] {
            let extent = extent(&[("day", transform)], (0, 2), None).unwrap();
            assert_eq!(extent.of(&[Some(Value::Date(DAY + day))]), part);
            assert_eq!(extent.of(&[None]), Part::None);
        }
    }

    #[rstest]
    #[case::within_a_month((3, 9), [Part::None, Part::Some, Part::None])]
    #[case::a_month((0, 30), [Part::None, Part::Whole, Part::None])]
    #[case::a_month_and_a_day((0, 31), [Part::None, Part::Whole, Part::Some])]
    #[case::the_end_of_one((-1, 30), [Part::Some, Part::Whole, Part::None])]
    fn months_are_cut_where_the_range_ends_in_them(#[case] range: (i32, i32), #[case] parts: [Part; 3]) {
        let extent = extent(&[("day", Transform::Month)], range, None).unwrap();
        let january = 31 * 12;
        let found = [january - 1, january, january + 1].map(|month| extent.of(&[Some(Value::Int(month))]));
        assert_eq!(found, parts);
    }

    #[test]
    fn an_entity_is_told_by_its_own_partition_and_only_narrowed_by_a_bucket() {
        let day = || Some(Value::Date(DAY));
        let port = |text: &str| Some(Value::String(text.to_owned()));
        let own = extent(&[("day", Transform::Identity), ("port", Transform::Identity)], (0, 0), Some("ORD")).unwrap();
        assert_eq!((own.of(&[day(), port("ORD")]), own.of(&[day(), port("JFK")])), (Part::Whole, Part::None));
        assert_eq!(own.of(&[day(), None]), Part::None);
        let none = extent(&[("day", Transform::Identity)], (0, 0), Some("ORD")).unwrap();
        assert_eq!(none.of(&[day()]), Part::Some);
        let bucket = extent(&[("port", Transform::Bucket(8)), ("day", Transform::Identity)], (0, 0), Some("ORD")).unwrap();
        let of = Transform::Bucket(8).apply(&Value::String("ORD".to_owned())).unwrap();
        assert_eq!(bucket.of(&[Some(of), day()]), Part::Some);
        assert_eq!((0..8).filter(|one| bucket.of(&[Some(Value::Int(*one)), day()]) == Part::Some).count(), 1);
    }

    #[test]
    fn a_table_without_partitions_of_time_tells_nothing() {
        assert!(extent(&[("port", Transform::Identity)], (0, 0), None).is_none());
        assert!(extent(&[("day", Transform::Bucket(4))], (0, 0), None).is_none());
    }
}

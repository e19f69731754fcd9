//! [`Graph::build`]: from a [`GraphSpec`] to a [`Graph`], with every mapping inferred or refused.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::mapping::{EntityMapping, Mapping, TimeMapping};
use super::span::Span;
use super::spec::{EdgeSpec, GraphError, GraphSpec, TableSpec, TimeRule, TimeWord};
use super::time::Grain;
use super::{Edge, Graph, Origin, Table, TableId};
use crate::spec::is_name;
use crate::table::Format;

/// Periods that a window may reach in one direction.
const WINDOW_MAX: u32 = 100_000;

/// What the SQL of tables proves of their edges, by downstream and upstream. An edge that is not in it nobody looked at.
pub type Inferred = BTreeMap<(String, String), Proof>;

/// What SQL proves of one edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proof {
    /// Where the upstream's rows lie that a row is computed from, counted from the row's date. `None`: anywhere.
    pub span: Option<Span>,
    /// Whether those rows have the row's entity.
    pub same_entity: bool,
}

impl Graph {
    /// Resolves a spec. `inferred` is what the SQL proves, empty where nobody looked.
    ///
    /// # Errors
    /// [`GraphError`] for the first thing that cannot work, with its path in the file.
    pub fn build(spec: &GraphSpec, inferred: &Inferred) -> Result<Self, GraphError> {
        let order = Self::order(spec)?;
        let ids: BTreeMap<&str, TableId> = (0..).map(TableId).zip(&order).map(|(id, name)| (*name, id)).collect();
        let mut tables = Vec::with_capacity(order.len());
        for name in &order {
            let table = &spec.tables[*name];
            let mut after = Vec::with_capacity(table.after.len());
            for (upstream, stated) in &table.after {
                let proven = inferred.get(&((*name).to_owned(), upstream.clone())).copied();
                after.push(edge(spec, name, upstream, ids[upstream.as_str()], stated, proven)?);
            }
            choose_drivers(name, table, ids[name], &mut after)?;
            tables.push(Table { name: (*name).to_owned(), spec: table.clone(), logic: table.logic_digest(), after });
        }
        Ok(Self { name: spec.graph.clone(), pools: spec.pools.clone(), prices: spec.prices, tables })
    }

    /// The names of the tables, upstreams first: all that can be told before anybody looked at the SQL.
    ///
    /// # Errors
    /// [`GraphError`] for the first thing that cannot work, whatever the mappings are.
    pub fn order(spec: &GraphSpec) -> Result<Vec<&str>, GraphError> {
        if !is_name(&spec.graph) {
            return Err(refused("graph", "is no name", "use 1 to 64 letters (A–Z, a–z), digits, `-` and `_`"));
        }
        if let Some((name, _)) = spec.pools.iter().find(|(_, limit)| **limit == 0) {
            return Err(refused(&format!("pools.{name}"), "lets nothing run", "write how many partitions at a time"));
        }
        for (name, table) in &spec.tables {
            check_table(spec, name, table)?;
        }
        topological(spec)
    }
}

fn refused(path: &str, problem: impl Into<String>, hint: impl Into<String>) -> GraphError {
    GraphError::Value { path: path.to_owned(), problem: problem.into(), hint: hint.into() }
}

fn check_table(spec: &GraphSpec, name: &str, table: &TableSpec) -> Result<(), GraphError> {
    let path = format!("tables.{name}");
    if !is_name(name) {
        return Err(refused(&path, "is no name", "use 1 to 64 letters (A–Z, a–z), digits, `-` and `_`"));
    }
    let ways = [table.sql.is_some() || table.sql_file.is_some(), table.command.is_some()];
    if ways == [true, true] || (table.sql.is_some() && table.sql_file.is_some()) {
        return Err(refused(&path, "is computed in two ways", "keep one of sql, sql_file and command"));
    }
    if table.command.as_ref().is_some_and(Vec::is_empty) {
        return Err(refused(&format!("{path}.command"), "is empty", "write the program and its arguments"));
    }
    let needed = table.command.is_some() || table.after.contains_key(name);
    if needed == table.columns.is_empty() {
        let problem = match needed {
            true => "are missing, and a command computes the table, or it reads itself",
            false => "are those that the SQL gives",
        };
        let hint = "write names and SQL types beside a command, or where a table reads itself, and nothing elsewhere";
        return Err(refused(&format!("{path}.columns"), problem, hint));
    }
    if let Some(column) = table.columns.iter().find(|column| !column.trim().contains(' ')) {
        return Err(refused(
            &format!("{path}.columns"),
            format!("has `{column}`"),
            "write a name and a SQL type, such as `day DATE`",
        ));
    }
    if table.is_source() && !table.after.is_empty() {
        return Err(refused(&format!("{path}.after"), "is on a table that nothing computes", "add sql, or remove after"));
    }
    if table.files_in.is_some() && !(table.is_source() && table.format == Format::Iceberg) {
        return Err(refused(&format!("{path}.files_in"), "is not on a source in iceberg", "remove it"));
    }
    if !table.is_source() && table.after.keys().all(|upstream| upstream == name) {
        return Err(refused(&format!("{path}.after"), "names no other table", "name what the table is computed from"));
    }
    if let Some(pool) = table.pool.as_ref().filter(|pool| !spec.pools.contains_key(*pool)) {
        return Err(refused(
            &format!("{path}.pool"),
            format!("names {pool}, which is no pool"),
            "add it to `pools`, or remove it",
        ));
    }
    for upstream in table.after.keys() {
        if !spec.tables.contains_key(upstream) {
            let known = spec.tables.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(refused(
                &format!("{path}.after.{upstream}"),
                "is no table of this graph",
                format!("it has {known}"),
            ));
        }
    }
    Ok(())
}

/// The tables' names, upstreams first; by name among those that are free.
fn topological(spec: &GraphSpec) -> Result<Vec<&str>, GraphError> {
    let upstreams = |name: &str| -> Vec<&str> {
        spec.tables
            .get(name)
            .map_or(vec![], |table| table.after.keys().map(String::as_str).filter(|upstream| *upstream != name).collect())
    };
    let (mut order, mut placed) = (Vec::new(), BTreeSet::new());
    while order.len() < spec.tables.len() {
        let free = |name: &&str| !placed.contains(name) && upstreams(name).iter().all(|upstream| placed.contains(upstream));
        let next: Vec<&str> = spec.tables.keys().map(String::as_str).filter(free).collect();
        if next.is_empty() {
            return Err(cycle(spec, &placed, upstreams));
        }
        placed.extend(&next);
        order.extend(next);
    }
    if u16::try_from(order.len()).is_err() {
        return Err(refused("tables", "are more than 65535", "split the graph"));
    }
    Ok(order)
}

/// Every table that is not placed has an upstream that is not: following them must meet one again.
fn cycle<'a>(spec: &'a GraphSpec, placed: &BTreeSet<&str>, upstreams: impl Fn(&str) -> Vec<&'a str>) -> GraphError {
    let mut path: Vec<&str> = spec.tables.keys().map(String::as_str).filter(|name| !placed.contains(name)).take(1).collect();
    while let Some(next) = path.last().and_then(|last| upstreams(last).into_iter().find(|name| !placed.contains(name))) {
        let met = path.iter().position(|name| *name == next);
        path.push(next);
        if let Some(met) = met {
            path.drain(..met);
            break;
        }
    }
    // Followed upstream; told in the direction of the data.
    GraphError::Cycle { path: path.into_iter().rev().map(str::to_owned).collect() }
}

fn edge(
    spec: &GraphSpec,
    name: &str,
    upstream: &str,
    id: TableId,
    stated: &EdgeSpec,
    proven: Option<Proof>,
) -> Result<Edge, GraphError> {
    let path = format!("tables.{name}.after.{upstream}");
    let (down, up) = (&spec.tables[name], &spec.tables[upstream]);
    let grains = (up.time.as_ref().map(|time| time.grain), down.time.as_ref().map(|time| time.grain));
    let (time, time_from) = edge_time(&format!("{path}.time"), name == upstream, stated.time, proven, grains)?;
    if name == upstream && !matches!(time, TimeMapping::Offsets { last: ..=-1, .. }) {
        return Err(refused(
            &format!("{path}.time"),
            "lets a partition be computed from itself",
            "a table reads itself by `time: {previous: 1}` only",
        ));
    }
    let (entity, entity_from) = edge_entity(&format!("{path}.entity"), up, down, stated.entity, proven)?;
    if entity == EntityMapping::Same && (up.entity.is_none() || down.entity.is_none()) {
        let without = if up.entity.is_none() { upstream } else { name };
        let problem = format!("is `same`, and {without} has no entity");
        return Err(refused(&format!("{path}.entity"), problem, "write `all`, or give the table its entity column"));
    }
    let mapping = Mapping { time, entity, upstream: grains.0, downstream: grains.1 };
    Ok(Edge { upstream: id, mapping, time_from, entity_from, drives: false })
}

/// What the file states, if it leaves nothing out that the SQL is known to read; else what the SQL proves; where nobody looked
/// at any SQL, what the grains say.
fn edge_time(
    path: &str,
    is_self: bool,
    stated: Option<TimeRule>,
    proven: Option<Proof>,
    grains: (Option<Grain>, Option<Grain>),
) -> Result<(TimeMapping, Origin), GraphError> {
    let (up, down) = match grains {
        (Some(up), Some(down)) => (up, down),
        _ => {
            let origin = if stated.is_some() { Origin::Stated } else { Origin::Partitioning };
            return Ok((resolve_time(path, stated.unwrap_or(TimeRule::Word(TimeWord::All)), grains)?, origin));
        }
    };
    let by_sql = proven.and_then(|proof| proof.span).and_then(|span| span.rule(up, down));
    // What reaches further than any window may is no proof that helps.
    let by_sql = by_sql.and_then(|rule| resolve_time(path, rule, grains).ok());
    match (stated, by_sql) {
        (Some(rule), by_sql) => {
            let time = resolve_time(path, rule, grains)?;
            match by_sql.filter(|by_sql| !time.covers(*by_sql)) {
                None => Ok((time, Origin::Stated)),
                Some(needed) => Err(refused(
                    path,
                    format!("gives {}, and the SQL reads {}", time.told(grains), needed.told(grains)),
                    "take it out, for the SQL tells it; or narrow the SQL",
                )),
            }
        }
        (None, Some(by_sql)) => Ok((by_sql, Origin::Sql)),
        (None, None) if is_self => Err(refused(
            path,
            "is missing on a table that is computed from itself, and the SQL does not tell it",
            "a table reads itself by `time: {previous: 1}` only",
        )),
        (None, None) if proven.is_some() => Err(refused(
            path,
            "is missing, and the SQL does not tell which periods it reads",
            "write `same`, `roll_up`, `{back: 6}` or whatever holds all that the SQL reads; `all` always does",
        )),
        (None, None) => {
            let word = match up.cmp(&down) {
                Ordering::Equal => TimeWord::Same,
                Ordering::Less => TimeWord::RollUp,
                Ordering::Greater => TimeWord::Split,
            };
            Ok((resolve_time(path, TimeRule::Word(word), grains)?, Origin::Partitioning))
        }
    }
}

fn edge_entity(
    path: &str,
    up: &TableSpec,
    down: &TableSpec,
    stated: Option<EntityMapping>,
    proven: Option<Proof>,
) -> Result<(EntityMapping, Origin), GraphError> {
    if let Some(stated) = stated {
        return Ok((stated, Origin::Stated));
    }
    let (Some(up), Some(down)) = (&up.entity, &down.entity) else {
        return Ok((EntityMapping::All, Origin::Partitioning));
    };
    match proven {
        Some(Proof { same_entity: true, .. }) => Ok((EntityMapping::Same, Origin::Sql)),
        Some(Proof { same_entity: false, .. }) => Err(refused(
            path,
            "is missing, and the SQL does not tell that an entity's rows are computed from that entity's alone",
            "write `all`, or `same` where they are",
        )),
        None if up.column == down.column => Ok((EntityMapping::Same, Origin::Partitioning)),
        None => Err(refused(
            path,
            format!("cannot be inferred from the columns {} and {}", up.column, down.column),
            "write `all`, or `same` where both columns have the same values",
        )),
    }
}

pub(super) fn resolve_time(
    path: &str,
    rule: TimeRule,
    grains: (Option<Grain>, Option<Grain>),
) -> Result<TimeMapping, GraphError> {
    if rule == TimeRule::Word(TimeWord::All) {
        return Ok(TimeMapping::All);
    }
    let (Some(up), Some(down)) = grains else {
        let which = if grains.0.is_none() { "the upstream" } else { "the table" };
        return Err(refused(path, format!("needs time, and {which} has none"), "write `all`, or give it its time column"));
    };
    let offsets = |first: i32, last: i32| Ok(TimeMapping::Offsets { first, last });
    let periods = |count: u32| match i32::try_from(count) {
        Ok(periods) if count <= WINDOW_MAX => Ok(periods),
        _ => Err(refused(path, format!("reaches {count} periods"), format!("reach {WINDOW_MAX} at most, or write `all`"))),
    };
    let wrong = |word: &str, hint: &str| Err(refused(path, format!("is `{word}` from {up} to {down}"), hint));
    match rule {
        TimeRule::Word(TimeWord::Same) if up != down => wrong("same", "write `roll_up` or `split`"),
        TimeRule::Word(TimeWord::RollUp) if up >= down => wrong("roll_up", "only a finer upstream is rolled up"),
        TimeRule::Word(TimeWord::Split) if up <= down => wrong("split", "only a coarser upstream is split"),
        TimeRule::Word(_) => offsets(0, 0),
        TimeRule::Window(window) if window.back == 0 && window.ahead == 0 => {
            Err(refused(path, "is a window of no width", "write `same`, or how many periods `back` or `ahead`"))
        }
        TimeRule::Window(window) => offsets(-periods(window.back)?, periods(window.ahead)?),
        TimeRule::Previous(previous) if previous.previous == 0 => {
            Err(refused(path, "is a window of no width", "write how many periods before: `previous: 1`"))
        }
        TimeRule::Previous(previous) => offsets(-periods(previous.previous)?, -1),
    }
}

/// Marks the edges that make partitions expected: those that tell both period and entity, the period without an offset;
/// else those that tell the period without an offset; else those that tell the period.
fn choose_drivers(name: &str, table: &TableSpec, id: TableId, after: &mut [Edge]) -> Result<(), GraphError> {
    let score = |edge: &Edge| {
        let near = match edge.mapping.time {
            TimeMapping::Offsets { first, last } => first <= 0 && 0 <= last,
            TimeMapping::All if table.time.is_none() => true,
            TimeMapping::All => return 0,
        };
        let entity = table.entity.is_none() || edge.mapping.entity == EntityMapping::Same;
        1 + 2 * i32::from(near) + i32::from(entity)
    };
    let scores: Vec<i32> = after.iter().map(|edge| if edge.upstream == id { 0 } else { score(edge) }).collect();
    let best = scores.iter().copied().max().unwrap_or(0);
    for (edge, score) in after.iter_mut().zip(scores) {
        edge.drives = score == best && best > 0;
    }
    if best == 0 && !table.is_source() {
        let hint = "map one upstream by time, or remove the table's time";
        return Err(refused(&format!("tables.{name}.after"), "has no upstream that tells which periods there are", hint));
    }
    Ok(())
}

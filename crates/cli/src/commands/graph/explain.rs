//! `graph logic` and `graph explain`: which logic a number comes from, by what was read when it was computed.

use std::fmt::Write as _;

use lakeshift_core::graph::{EntityId, Key, Lineage, LogicId, Mark, Part, PartSpan, TableId, parts, why};
use serde_json::json;

use super::{Seen, key_of, told};
use crate::error::Error;
use crate::output::{Answer, table};

/// Entities that a line names; the rest is counted.
const ENTITIES_MAX: usize = 4;
/// Ranges that a line names.
const SPANS_MAX: usize = 3;

/// The exit code where partitions mix logics and nobody may.
const MIXED: u8 = 1;

/// The logic of every partition of a table, and what they mix.
pub(super) fn logic(seen: &Seen, name: &str, fail_on_mixed: bool) -> Result<Answer, Error> {
    let id = seen.table(name)?;
    let lineage = Lineage::new(seen.graph(), seen.history());
    let heading = ["partition", "logic", "mixes"].map(str::to_owned).to_vec();
    let (mut rows, mut all, mut mixed) = (vec![heading], Vec::new(), 0);
    for (key, state) in seen.versions.partitions(id) {
        let mixes: Vec<&str> = lineage.mixes(id, key).keys().map(|table| seen.graph().table(*table).name.as_str()).collect();
        mixed += u64::from(!mixes.is_empty());
        rows.push(vec![seen.show(id, key), said(seen, id, state.logic), mixes.join(", ")]);
        let digest = seen.versions.logic_digest(state.logic);
        let current = is_current(seen, id, state.logic);
        all.push(json!({ "partition": seen.show(id, key), "logic": digest, "current": current, "mixes": mixes }));
    }
    let mut text = table(&rows);
    if mixed > 0 {
        let _ = write!(
            text,
            "\n{mixed} mix what several logics computed; `lakeshift graph explain … {name} PARTITION` tells which"
        );
    }
    let answer = Answer::done(text, json!({ "table": name, "mixed": mixed, "partitions": all }));
    Ok(if fail_on_mixed && mixed > 0 { answer.with_exit_code(MIXED) } else { answer })
}

/// What one partition rests on, whether that is what a full rebuild would give, and what not.
pub(super) fn explain(seen: &Seen, partition: &[String]) -> Result<Answer, Error> {
    let id = seen.table(&partition[0])?;
    let key = key_of(seen, id, &partition[1..])?;
    let shown = seen.show(id, key);
    let parts = parts(&seen.history().read_by(seen.graph(), id, key));
    let links = why(seen.graph(), &seen.versions, &seen.staleness, &seen.holds, id, key);
    let mut text = format!("{shown}: {}", size(seen, id, key));
    for sentence in verdict(seen, id, key, &parts) {
        let _ = write!(text, "\n{sentence}");
    }
    for (depth, link) in links.iter().enumerate() {
        let indent = "  ".repeat(depth + 1);
        let _ = write!(text, "\n{indent}{} {}", seen.show(link.table, link.key), told(seen, link));
    }
    let mut rows = vec![["it was computed from", "partitions", "by"].map(str::to_owned).to_vec()];
    for part in parts.iter().filter(|part| part.table != id) {
        let name = seen.graph().table(part.table).name.clone();
        rows.push(vec![name, spans(seen, part), said(seen, part.table, part.logic)]);
    }
    if rows.len() > 1 {
        let _ = write!(text, "\n\n{}", table(&rows));
    }
    let rests: Vec<_> = parts
        .iter()
        .map(|part| {
            json!({
                "table": seen.graph().table(part.table).name, "partitions": part.partitions, "spans": spans(seen, part),
                "logic": seen.versions.logic_digest(part.logic), "current": is_current(seen, part.table, part.logic),
            })
        })
        .collect();
    let chain: Vec<_> = links
        .iter()
        .map(|link| json!({ "partition": seen.show(link.table, link.key), "because": told(seen, link) }))
        .collect();
    let answer = json!({
        "partition": shown, "verdict": verdict(seen, id, key, &parts), "rests_on": rests, "stale_because": chain,
    });
    Ok(Answer::done(text, answer))
}

fn size(seen: &Seen, id: TableId, key: Key) -> String {
    match seen.versions.get(id, key) {
        None if seen.staleness.mark(id, key).is_some() => "never computed".to_owned(),
        None => "no partition of this graph: its upstreams have nothing for it".to_owned(),
        Some(state) if seen.graph().table(id).is_source() => {
            format!("a source, version {}; nothing in this graph computes it", state.version)
        }
        Some(state) => format!("{} rows, by {}", state.rows, said(seen, id, state.logic)),
    }
}

/// The answer in sentences, the one that matters most first.
fn verdict(seen: &Seen, id: TableId, key: Key, parts: &[Part]) -> Vec<String> {
    let Some(mark) = seen.staleness.mark(id, key) else { return vec![] };
    if seen.graph().table(id).is_source() || seen.versions.get(id, key).is_none() {
        return vec![];
    }
    if mark.any(Mark::FOREIGN) {
        return vec!["Somebody else wrote to it, so that it is not what this graph computed.".to_owned()];
    }
    let mut sentences = Vec::new();
    for of_table in parts.chunk_by(|a, b| a.table == b.table) {
        let table = of_table[0].table;
        if seen.graph().table(table).is_source() {
            continue;
        }
        let name = &seen.graph().table(table).name;
        let (now, earlier): (Vec<&Part>, Vec<&Part>) = of_table.iter().partition(|part| is_current(seen, table, part.logic));
        let told = |parts: &[&Part]| parts.iter().map(|part| spans(seen, part)).collect::<Vec<_>>().join("; ");
        match (now.is_empty(), earlier.len()) {
            (_, 0) => {}
            (true, 1) if table == id => sentences.push("It is by an earlier logic of its own.".to_owned()),
            (true, 1) => sentences.push(format!("All that it rests on of {name} is by an earlier logic of it.")),
            (true, many) => sentences.push(format!("It mixes {many} earlier logics of {name}.")),
            (false, _) => sentences.push(format!(
                "It mixes logics of {name}: by the logic as it is: {}; by an earlier one: {}.",
                told(&now),
                told(&earlier)
            )),
        }
    }
    match (sentences.is_empty(), mark.is_stale()) {
        (true, false) => sentences.push("It is what a full rebuild would give.".to_owned()),
        (true, true) => sentences.push("It is stale, though by no old logic:".to_owned()),
        (false, true) => sentences.push("It is stale:".to_owned()),
        // What came out as it was is by both logics.
        (false, false) => sentences.push("It is not stale all the same: the logics gave the same rows.".to_owned()),
    }
    sentences
}

fn is_current(seen: &Seen, table: TableId, logic: LogicId) -> bool {
    seen.graph().table(table).logic.as_deref() == Some(seen.versions.logic_digest(logic))
}

fn said(seen: &Seen, table: TableId, logic: LogicId) -> String {
    let short: String = seen.versions.logic_digest(logic).chars().take(8).collect();
    match (seen.graph().table(table).is_source(), is_current(seen, table, logic)) {
        (true, _) => "a source".to_owned(),
        (false, _) if logic == LogicId::NONE => "somebody else".to_owned(),
        (_, true) => format!("{short} (as it is now)"),
        (_, false) => format!("{short} (an earlier one)"),
    }
}

/// `2001-01-01..2001-01-31 of EU, NA`.
fn spans(seen: &Seen, part: &Part) -> String {
    let grain = seen.graph().table(part.table).grain();
    let one = |span: &PartSpan| {
        let periods = match grain {
            None => None,
            Some(grain) if span.from == span.to => Some(grain.format(span.from)),
            Some(grain) => Some(format!("{}..{}", grain.format(span.from), grain.format(span.to))),
        };
        let named: Vec<&str> = span
            .entities
            .iter()
            .filter(|entity| **entity != EntityId::NONE)
            .map(|entity| seen.versions.entity_name(*entity))
            .collect();
        let entities = match named.len() {
            0 => None,
            few if few <= ENTITIES_MAX => Some(named.join(", ")),
            many => Some(format!("{} and {} others", named[..ENTITIES_MAX].join(", "), many - ENTITIES_MAX)),
        };
        match (periods, entities) {
            (None, None) => "all of it".to_owned(),
            (Some(one), None) | (None, Some(one)) => one,
            (Some(periods), Some(entities)) => format!("{periods} of {entities}"),
        }
    };
    let mut all: Vec<String> = part.spans.iter().take(SPANS_MAX).map(one).collect();
    if part.spans.len() > SPANS_MAX {
        all.push(format!("and more, {} partitions in all", part.partitions));
    }
    all.join(", ")
}

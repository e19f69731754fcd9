//! The page of a graph, by its text and in a browser.

use std::path::PathBuf;

use lakeshift_core::graph::{
    Fingerprint, Grain, Graph, GraphSpec, History, Inferred, Key, LogicId, Outcome, Page, Staleness, TableId, Versions,
};

use crate::report::browser;

/// Flights by day and region → days → a month over all; `<b>` is a region, as foreign text may be.
const GRAPH: &str = "
graph: flights
tables:
  flights:
    location: lake/flights
    format: hive
    time: {column: date, grain: day}
    entity: {column: region}
  daily:
    location: lake/daily
    format: delta
    time: {column: date, grain: day}
    entity: {column: region}
    sql: SELECT 1
    after: {flights: {}}
  monthly:
    location: lake/monthly
    format: delta
    time: {column: month, grain: month}
    sql: SELECT 3
    after: {daily: {}}
";

struct Toy {
    graph: Graph,
    versions: Versions,
    history: History,
    ran: Vec<(TableId, Key)>,
}

impl Toy {
    fn new(days: i32, regions: &[&str]) -> Self {
        let graph = Graph::build(&GraphSpec::from_yaml(GRAPH, "graph.yaml").unwrap(), &Inferred::new()).unwrap();
        let mut toy = Self { versions: Versions::new(&graph), graph, history: History::default(), ran: Vec::new() };
        let first = Grain::Day.parse("2001-01-01").unwrap();
        for period in first..first + days {
            for region in regions {
                let key = Key { period, entity: toy.versions.entity(region) };
                toy.record(TableId(0), key, "", 1);
            }
        }
        toy
    }

    /// Computes every partition of a table that the scan knows, by the logic as it is, or by another.
    fn compute(&mut self, table: u16, logic: Option<&str>, taken: impl Fn(Key) -> bool) {
        let table = TableId(table);
        let own = self.graph.table(table).logic.clone().unwrap();
        let scan = Staleness::scan(&self.graph, &self.versions, &[]);
        for (key, _) in scan.partitions(table).filter(|(key, _)| taken(*key)) {
            self.record(table, key, logic.unwrap_or(&own), 2);
            self.ran.push((table, key));
        }
    }

    fn record(&mut self, table: TableId, key: Key, logic: &str, content: u8) {
        let logic = if logic.is_empty() { LogicId::NONE } else { self.versions.logic(logic) };
        let content = content.wrapping_add(logic.0 as u8);
        let read_at = self.versions.sequence();
        let outcome = Outcome { fingerprint: Fingerprint([content; 32]), rows: 7, bytes: 70, logic, read_at };
        let _ = self.versions.record(table, key, outcome);
        self.history.record(table, key, self.versions.get(table, key).unwrap());
    }

    fn html(&self) -> String {
        let scan = Staleness::scan(&self.graph, &self.versions, &[]);
        Page::new(&self.graph, &self.versions, &scan, &self.history, &self.ran).to_html()
    }
}

/// January in three regions; `<b>` was computed by an earlier logic, the month from all of it.
fn january() -> Toy {
    let mut toy = Toy::new(31, &["EU", "NA", "<b>"]);
    let odd = toy.versions.entity_id("<b>").unwrap();
    toy.compute(1, None, |key| key.entity != odd);
    toy.compute(1, Some("earlier"), |key| key.entity == odd);
    toy.compute(2, None, |_| true);
    toy
}

/// Tiles of a class in one of the page's two maps.
fn tiles(html: &str, section: &str, class: &str) -> usize {
    let section = html.split(&format!("<section id=\"{section}\"")).nth(1).unwrap().split("</section>").next().unwrap();
    let strips = section.split("class=\"strips\"").nth(1).unwrap();
    strips.matches(&format!("<rect class=\"{class}\"")).count()
}

#[test]
fn the_page_tells_what_is_stale_and_which_partition_rests_on_several_logics() {
    let html = january().html();
    for absent in ["<script", "http://", "https://", "{{", "<b>"] {
        assert!(!html.contains(absent), "{absent}");
    }
    assert_eq!(tiles(&html, "stale", "source"), 3 * 31);
    assert_eq!((tiles(&html, "stale", "fresh"), tiles(&html, "stale", "must"), tiles(&html, "stale", "may")), (62, 31, 1));
    assert_eq!(
        (tiles(&html, "logic", "current"), tiles(&html, "logic", "earlier"), tiles(&html, "logic", "mixed")),
        (62, 31, 1)
    );
    assert!(
        html.contains("daily 2001-01-03 &lt;b&gt;: stale: its logic or what it read changed; 7 rows; number 65 of 94"),
        "{html}"
    );
    assert!(html.contains("<title>daily → monthly: day to month, all entities</title>"));
}

#[test]
fn a_tile_stands_for_the_worst_of_many_and_the_page_stays_small() {
    let regions: Vec<String> = (0..40).map(|region| format!("r{region}")).collect();
    let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
    let mut toy = Toy::new(4000, &regions);
    let late = Key { period: Grain::Day.parse("2005-05-05").unwrap(), entity: toy.versions.entity_id("r7").unwrap() };
    toy.compute(1, None, |key| key != late);
    let html = toy.html();
    assert!(html.len() < 4 << 20, "{} bytes", html.len());
    assert_eq!(tiles(&html, "stale", "missing"), 1 + 132, "one of the days, and every month");
}

#[test]
fn the_browser_draws_it_and_nothing_stands_out_of_it() {
    let Some(program) = browser::browser() else { return };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("graph-page");
    std::fs::create_dir_all(&folder).unwrap();
    // The page itself forbids scripts; the one that measures comes with its own permission.
    let script = "
        const box = (node) => node.getBoundingClientRect();
        const drawn = [...document.querySelectorAll('svg.strips rect')].filter((node) => box(node).width > 0 && box(node).height > 0);
        const out = [...document.querySelectorAll('svg rect')].filter((node) => box(node).right > box(node.closest('svg')).right + 1);
        const fill = (name) => getComputedStyle(document.querySelector('svg.strips rect.' + name)).fill;
        const wide = document.documentElement.scrollWidth > innerWidth;
        document.body.dataset.drawn = [drawn.length, out.length, wide, fill('may') !== fill('fresh')].join('|');";
    let html = january().html().replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'");
    let page = folder.join("graph.html");
    std::fs::write(&page, html.replace("</body>", &format!("<script>{script}</script></body>"))).unwrap();
    let dom = browser::dump(program, &folder, &page);
    // 93 of the source, 93 days and a month, twice.
    assert!(dom.contains("data-drawn=\"374|0|false|true\""), "{}", dom.split("data-drawn").nth(1).unwrap_or(&dom));
}

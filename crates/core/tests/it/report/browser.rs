//! The HTML page, by its text and in a browser: headless Chromium runs its script, uses its filters and measures it at a
//! phone's width. Where no Chromium is installed these tests say so and are skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use lakeshift_core::report::ValidationReport;

use super::fixtures::*;

#[test]
fn the_page_needs_nothing_else_and_foreign_text_stays_text() {
    for report in [hostile(), fail_by_key()] {
        let html = report.to_html().unwrap();
        for absent in ["http://", "https://", "<img", "<!--", "window.hacked=1</script>"] {
            let own = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!own.contains(absent), "{absent}");
        }
        assert_eq!(html.matches("<script").count(), 2, "the data and the script");
        assert_eq!(html.matches("</script>").count(), 2);
        assert!(!html.contains("{{"), "a place of the template is empty");
    }
}

#[test]
fn the_page_is_bounded() {
    let many = ValidationReport::new(parts(&whole(100_000), &damaged(100_000)));
    for report in [many, monster()] {
        let bytes = report.to_html().unwrap().len();
        assert!(bytes < 20 << 20, "{bytes} bytes");
    }
}

/// The page's elements after its own script and then `script` ran; `None` without Chromium.
fn opened(name: &str, report: &ValidationReport, script: &str) -> Option<String> {
    let browser = browser()?;
    let folder = folder(name);
    let html = report.to_html().unwrap();
    std::fs::write(folder.join("report.html"), &html).unwrap();
    let page = folder.join("scripted.html");
    std::fs::write(&page, html.replace("</body>", &format!("<script>{script}</script></body>"))).unwrap();
    Some(dump(browser, &folder, &page))
}

/// The first Chromium that runs here; says so where none does.
pub fn browser() -> Option<&'static str> {
    let works = |program: &&str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let browser = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(works);
    if browser.is_none() {
        eprintln!("skipped: no chromium here (apt-get install chromium), so the page was not opened");
    }
    browser
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The page's elements after its scripts ran.
pub fn dump(browser: &str, folder: &Path, page: &Path) -> String {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .args(["--window-size=1280,900", "--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(!log.contains("CONSOLE"), "the page wrote to the console: {log}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_browser_draws_every_tile_of_a_fail_and_its_filters_work() {
    let script = "
        const shown = () => document.querySelectorAll('#cells tbody tr').length;
        const all = shown();
        document.querySelector('button[data-state=now]').click();
        const bad = shown();
        document.querySelector('button[data-state=now]').click();
        const search = document.querySelector('#cells input');
        search.value = '2001-01-06'; search.dispatchEvent(new Event('input'));
        const found = shown();
        document.querySelectorAll('.tile')[2].dispatchEvent(new Event('click', { bubbles: true }));
        const detail = document.querySelector('.detail').textContent;
        document.documentElement.dataset.filtered = [all, bad, found, detail].join('|');";
    let Some(dom) = opened("fail", &fail_by_key(), script) else { return };
    assert!(dom.contains("data-tiles=\"31\""), "31 days");
    assert!(dom.contains("data-filtered=\"25|3|1|flight_date=2001-01-03, origin_bucket=2: rows differ"), "{dom}");
    for id in ["checks", "map", "cells", "rows", "columns", "ledger", "samples", "coverage", "inputs", "schema", "reproduce"]
    {
        assert!(dom.contains(&format!("<section id=\"{id}\"")), "no section {id}");
    }
    assert!(dom.contains("SELECT * FROM 'differences.parquet' WHERE row = 7"), "the query that shows the row");
}

#[test]
fn the_browser_draws_a_calendar_of_5000_days_and_20000_cells_without_one() {
    let Some(dom) = opened("5000", &ValidationReport::new(parts(&whole(4500), &damaged(4500))), "") else { return };
    assert!(dom.contains("data-tiles=\"4500\""), "a tile a day");
    let many = ValidationReport::new(parts(&whole(20_000), &damaged(20_000)));
    let dom = opened("20000", &many, "").unwrap();
    let months = 20_000_u32.div_ceil(30);
    let tiles: u32 = dom.split("data-tiles=\"").nth(1).and_then(|text| text.split('"').next()).unwrap().parse().unwrap();
    assert!((months - 20..=months).contains(&tiles), "a tile a month: {tiles}");
}

#[test]
fn the_browser_runs_no_foreign_text() {
    let script = "document.documentElement.dataset.hacked = String(window.hacked);";
    let Some(dom) = opened("hostile", &hostile(), script) else { return };
    assert!(dom.contains("data-hacked=\"undefined\""));
    assert!(dom.contains("&lt;img src=x"), "it is there as text");
}

/// A window has a least width, so the phone is a frame of 390 pixels; the page in it tells what stands out of it.
#[test]
fn nothing_is_wider_than_a_phone() {
    let script = "
        const out = (node) => node.getBoundingClientRect().right > innerWidth + 1 && !node.closest('.scroll, svg');
        const wide = [...document.querySelectorAll('body *')].filter(out).map((node) => node.tagName + '.' + node.className);
        parent.postMessage(innerWidth + ' ' + (wide.join(' ') || 'nothing'), '*');";
    let phone = "<iframe src='scripted.html' style='width:390px;height:844px;border:0'></iframe>
        <script>onmessage = (event) => { document.body.dataset.wide = event.data; };</script>";
    for (name, report) in
        [("fail", fail_by_key()), ("accepted", accepted()), ("hostile", hostile()), ("pass", revalidated())]
    {
        let name = format!("phone-{name}");
        if opened(&name, &report, script).is_none() {
            return;
        }
        let folder = folder(&name);
        let page = folder.join("phone.html");
        std::fs::write(&page, format!("<!doctype html><body>{phone}</body>")).unwrap();
        let dom = dump(browser().unwrap(), &folder, &page);
        assert!(dom.contains("data-wide=\"390 nothing\""), "{name}: {dom}");
    }
}

//! Answers: what a command writes to standard output, for people and for programs.

use serde::Serialize;
use serde_json::Value;

use crate::args::OutputFormat;
use crate::error::{Error, with_causes};

/// A command's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// For people, without a newline at the end.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// The exit code.
    pub exit_code: u8,
}

impl Answer {
    /// An answer of success.
    pub fn done(text: impl Into<String>, json: impl Serialize) -> Self {
        Self { text: text.into(), json: serde_json::to_value(json).unwrap_or(Value::Null), exit_code: 0 }
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with_exit_code(self, exit_code: u8) -> Self {
        Self { exit_code, ..self }
    }

    /// As it is written.
    pub fn render(&self, format: OutputFormat) -> String {
        match format {
            OutputFormat::Text => self.text.clone(),
            OutputFormat::Json => format!("{:#}", self.json),
        }
    }
}

/// An error as it is written to standard error.
pub fn render_error(error: &Error, format: OutputFormat) -> String {
    match format {
        OutputFormat::Json => {
            let json = serde_json::json!({
                "error": with_causes(error),
                "exit_code": error.exit_code(),
                "next_steps": error.next_steps(),
            });
            format!("{json:#}")
        }
        OutputFormat::Text => {
            let next: Vec<_> = error.next_steps().iter().map(|step| format!("lakeshift {step}")).collect();
            let next = if next.is_empty() { String::new() } else { format!("\nnext: {}", next.join(" | ")) };
            format!("error: {}{next}", with_causes(error))
        }
    }
}

/// Columns of a terminal as they are reckoned with.
const WIDTH: usize = 80;

/// What a last column keeps, however wide those before it are.
const LAST_COLUMN_MIN: usize = 30;

/// Rows of cells as aligned columns; the first row is the heading. The last column goes on below where it is too long.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let before: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
    let line = |row: &Vec<String>| {
        let Some((last, cells)) = row.split_last().filter(|_| row.len() == columns) else { return padded(row, &widths) };
        let first: String = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        let rest = " ".repeat(before);
        let options = wrapping(WIDTH.max(before + LAST_COLUMN_MIN)).initial_indent(&first).subsequent_indent(&rest);
        textwrap::fill(last, options).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn padded(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// `name: text`, in lines that a terminal has room for, those after the first indented to where the text begins. Without a newline
/// at the end.
pub fn paragraph(name: &str, text: &str) -> String {
    let (first, rest) = (format!("{name}: "), " ".repeat(name.chars().count() + 2));
    textwrap::fill(text, wrapping(WIDTH).initial_indent(&first).subsequent_indent(&rest))
}

/// Lines end between words only: a path stays whole.
fn wrapping<'a>(width: usize) -> textwrap::Options<'a> {
    textwrap::Options::new(width).break_words(false).word_splitter(textwrap::WordSplitter::NoHyphenation)
}

/// Bytes in the largest unit that leaves a number of at least one: `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// Seconds in words: `2 h 5 min`.
pub fn seconds(count: u64) -> String {
    match (count / 86_400, count / 3600 % 24, count / 60 % 60, count % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_last_cell_and_a_long_paragraph_go_on_below_and_keep_words_whole() {
        let path = format!("s3://lake/{}", "x".repeat(90));
        let long = format!("rows may lie in several partitions of the new table, {path}, and so on");
        let rows = [vec!["files", "why"], vec!["31", &long], vec!["7", "as it is"]];
        let told = table(&rows.map(|row| row.into_iter().map(str::to_owned).collect::<Vec<_>>()));
        insta::assert_snapshot!(format!("{told}\n{}", paragraph("cost", &long)));
        assert_eq!(table(&[vec!["one".to_owned()], Vec::new()]), "one\n");
    }
}

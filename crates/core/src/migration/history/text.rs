//! The timeline for a terminal of 80 columns.

use std::fmt::Write;

use super::{Moment, Timeline};
use crate::migration::Event;
use crate::report::text::{count, cut};

const WIDTH: usize = 80;
/// Before the sentence: number, time, kind.
const MARGIN: usize = 6 + 2 + 14 + 2 + 16 + 2;
const WRITER_CHARS_MAX: usize = 40;

impl Timeline {
    /// The timeline as text, without a newline at the end. A runner's entries stand under the command that it ran.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let number = count(self.entries.len() as u64);
        let _ = write!(out, "{}: {number} journal entries, every hash checked, phase {}", self.migration, self.phase);
        for moment in &self.entries {
            out.push('\n');
            out.push_str(&match &moment.event {
                Event::LeaseTaken { command, .. } => heading(moment, command),
                _ => line(moment),
            });
        }
        if let Some(head) = &self.head {
            let _ = write!(out, "\n\nhead {head}");
        }
        out
    }
}

fn heading(moment: &Moment, command: &str) -> String {
    let at = moment.at.format("%Y-%m-%d %H:%M:%S UTC");
    let writer: String = moment.writer.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\n{at}  {} by {}, epoch {}", cut(command, 16), cut(&writer, WRITER_CHARS_MAX), moment.epoch)
}

fn line(moment: &Moment) -> String {
    let start = format!("{:>6}  {}  {:<16}  ", moment.sequence, moment.at.format("%m-%d %H:%M:%S"), moment.kind);
    let lines = wrapped(&moment.summary, WIDTH - MARGIN);
    format!("{start}{}", lines.join(&format!("\n{}", " ".repeat(MARGIN)))).trim_end().to_owned()
}

/// Lines of at most `width` characters, broken at spaces, or within a word that is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() > width && rest.len() <= width {
            lines.push(String::new());
            used = 0;
        }
        while !rest.is_empty() {
            let space = usize::from(used > 0);
            if used + space >= width {
                lines.push(String::new());
                used = 0;
                continue;
            }
            let taken: Vec<char> = rest.drain(..rest.len().min(width - used - space)).collect();
            if let Some(line) = lines.last_mut() {
                if space == 1 && !line.is_empty() {
                    line.push(' ');
                }
                line.extend(&taken);
            }
            used += space + taken.len();
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn wrapped_text_fits_and_loses_no_character(text in "[a-zé ]{0,200}", width in 1_usize..50) {
            let lines = wrapped(&text, width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width), "{:?}", lines);
            let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(plain(&lines.concat()), plain(&text));
        }
    }
}

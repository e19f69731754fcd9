//! [`SpecError`]: where in the file, what is wrong, what was expected, what to do.

use std::fmt;

/// Longest piece of the file that an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// Something in a spec that must be changed before anything can run. Nothing has been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: Problem,
    /// What would be right, where the problem leaves a choice.
    pub expected: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// What is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file cannot be a spec.
    #[error("the file has {bytes} bytes, and a spec has {max} at most")]
    TooLarge {
        /// The file's size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not text.
    #[error("the file is not UTF-8 text")]
    NotUtf8,
    /// Nesting beyond any spec, or anchors that multiply.
    #[error("the file {how}")]
    Bomb {
        /// What grows.
        how: String,
    },
    /// Not YAML.
    #[error("not valid YAML: {reason}")]
    Syntax {
        /// What the YAML parser says.
        reason: String,
    },
    /// `${NAME}` in a place that takes none.
    #[error(
        "{key} contains `${{`; environment variables are substituted in storage options and in a catalogue's credentials only"
    )]
    Variable {
        /// The key that has it.
        key: String,
    },
    /// A key that the section does not have.
    #[error("unknown key `{key}` in {section}")]
    UnknownKey {
        /// The key.
        key: String,
        /// `backfill`, or `the spec`.
        section: String,
    },
    /// A key that the section must have.
    #[error("missing key `{key}` in {section}")]
    MissingKey {
        /// The key.
        key: String,
        /// `backfill`, or `the spec`.
        section: String,
    },
    /// A key that stands there twice.
    #[error("key `{key}` stands twice in {section}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// `backfill`, or `the spec`.
        section: String,
    },
    /// A value that the key does not take.
    #[error("{key} is {found}")]
    Value {
        /// The key's path.
        key: String,
        /// What stands there.
        found: String,
    },
    /// A location that cannot be used.
    #[error("{key}: {source}")]
    Location {
        /// The key's path.
        key: String,
        /// Why.
        source: super::LocationError,
    },
    /// Two settings that exclude each other.
    #[error("{what}")]
    Contradiction {
        /// Which two, and why.
        what: String,
    },
}

impl std::error::Error for SpecError {}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.problem)?;
        if let Some(expected) = &self.expected {
            write!(f, "\n  expected {expected}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// A piece of the file as an error shows it: on one line, without control characters, not too long.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(printable).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let code = escaped.then(|| c.escape_unicode());
    code.into_iter().flatten().chain((!escaped).then_some(c))
}

/// The nearest of `known` to a mistyped word.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let similarity = |name: &str| strsim::jaro_winkler(&word.to_lowercase(), &name.to_lowercase());
    let best = known.iter().map(|name| (similarity(name), *name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

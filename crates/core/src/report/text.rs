//! Making foreign text safe for Markdown, and numbers easy to read.

/// Characters of a name or value that a table cell shows.
const TEXT_CHARS_MAX: usize = 80;

/// Foreign text as inline code that cannot leave its table cell: cut, on one line, without back-ticks or bars.
pub(super) fn code(text: &str) -> String {
    let clean: String = text.chars().take(TEXT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut = if text.chars().nth(TEXT_CHARS_MAX).is_some() { "…" } else { "" };
    let clean = clean.replace('`', "'").replace('|', "¦");
    if clean.trim().is_empty() { format!("`\"{clean}\"`") } else { format!("`{clean}{cut}`") }
}

/// A sentence of ours with foreign names in it, as plain text that starts no markup.
pub(super) fn prose(text: &str) -> String {
    prose_of(text, 4 * TEXT_CHARS_MAX)
}

/// [`prose`] of at most so many characters.
pub(super) fn prose_of(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for c in cut(text, chars_max).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' => out.extend(['\\', c]),
            // A zero-width space, so that nobody is mentioned: GitHub looks for names after it has read the escapes.
            '@' => out.extend(['@', '\u{200b}']),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// 1234567 as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2 rows`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

/// Bytes in the largest unit that leaves at least one.
pub(crate) fn bytes(number: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scale = 1_u64;
    let mut name = None;
    for unit in units {
        if number / 1024 < scale {
            break;
        }
        scale *= 1024;
        name = Some(unit);
    }
    match name {
        None => format!("{number} B"),
        Some(name) => {
            let tenths = u128::from(number) * 10 / u128::from(scale);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

/// Milliseconds as seconds, minutes or hours.
pub(super) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Foreign text as XML or HTML text or attribute: no markup, and no character that XML 1.0 forbids.
pub(crate) fn markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Text of at most `chars_max` characters, with a mark where it was cut.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    let mut out: String = text.chars().take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() {
        out.push('…');
    }
    out
}

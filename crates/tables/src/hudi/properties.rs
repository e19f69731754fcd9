//! Java's `.properties` text.

use std::collections::BTreeMap;

/// The pairs of a properties file. `None` where an escape is cut short or is no character.
pub(super) fn parse(text: &str) -> Option<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while continues(&whole) {
            whole.pop();
            whole.push_str(lines.next().unwrap_or_default());
        }
        let (key, value) = split(&whole);
        pairs.insert(unescape(key)?, unescape(value)?);
    }
    Some(pairs)
}

/// Whether the line ends in a backslash that is not escaped itself.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Key and value, at the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        escaped = c == '\\' && !escaped;
        ends
    });
    let Some(end) = end else { return (line, "") };
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next()? {
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?);
                    continue;
                }
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\u{c}',
                other => other,
            },
            other => other,
        };
        flush(&mut units, &mut out)?;
        out.push(plain);
    }
    flush(&mut units, &mut out)?;
    Some(out)
}

/// Escapes of UTF-16 units that stand together are one text: a character may take two.
fn flush(units: &mut Vec<u16>, out: &mut String) -> Option<()> {
    if !units.is_empty() {
        out.push_str(&String::from_utf16(units).ok()?);
        units.clear();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a=1", Some(("a", "1")))]
    #[case("  a : 1", Some(("a", "1")))]
    #[case("a.b=x\\:y\\=z\\\\", Some(("a.b", "x:y=z\\")))]
    #[case("a=x\\\n   y", Some(("a", "xy")))]
    #[case("a\\=b=c=d", Some(("a=b", "c=d")))]
    #[case("a=\\u00e9\\ud83d\\ude00", Some(("a", "é😀")))]
    #[case("a=\\ud83d", None)]
    #[case("a=\\u00", None)]
    fn a_line_is_read_as_java_reads_it(#[case] text: &str, #[case] pair: Option<(&str, &str)>) {
        let expected = pair.map(|(key, value)| BTreeMap::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(parse(&format!("#comment\n\n{text}\n")), expected);
    }
}

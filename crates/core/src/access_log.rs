//! Access logs: who still reads the old table, and when last.
//!
//! Two forms are read, told apart by the line: S3's server access log as Amazon documents it, and a CSV of
//! `time,path[,user agent]` with the time in RFC 3339. Lines of neither form are counted, so that a log of another kind does
//! not pass for silence.

use chrono::{DateTime, FixedOffset, Utc};
use percent_encoding::percent_decode_str;

/// Stands in the user agent of Lakeshift's own requests, which are no reader's.
pub const OWN_AGENT: &str = "lakeshift";

/// One successful read of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// When.
    pub at: DateTime<Utc>,
    /// The object: a URL, or a path from the table's or the bucket's root.
    pub path: String,
    /// Who read it, in the client's own words.
    pub agent: String,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A read.
    Read(Read),
    /// Something else than a successful read of an object, or a heading.
    Other,
    /// Not a line of an access log.
    Unknown,
}

/// Reads one line.
pub fn parse(line: &str) -> Line {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Line::Other;
    }
    csv(line).or_else(|| s3(line)).unwrap_or(Line::Unknown)
}

/// `time,path[,user agent]`.
fn csv(line: &str) -> Option<Line> {
    let (time, rest) = line.split_once(',')?;
    if time == "time" {
        return Some(Line::Other);
    }
    let at = DateTime::parse_from_rfc3339(time.trim().trim_matches('"')).ok()?.with_timezone(&Utc);
    let (path, agent) = rest.split_once(',').unwrap_or((rest, ""));
    let plain = |text: &str| text.trim().trim_matches('"').to_owned();
    Some(Line::Read(Read { at, path: plain(path), agent: plain(agent) }))
}

/// `owner bucket [time] address requester id operation key "request" status … "referrer" "user agent" …`
fn s3(line: &str) -> Option<Line> {
    let fields = fields(line)?;
    let [_, bucket, time, _, _, _, operation, key, _, status, ..] = fields.as_slice() else { return None };
    let at: DateTime<FixedOffset> = DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z").ok()?;
    let succeeded = status.starts_with('2') || status.starts_with("304");
    if !operation.contains(".GET.OBJECT") || !succeeded || key == "-" {
        return Some(Line::Other);
    }
    // Amazon encodes the key twice where it holds what a URL may not.
    let once = percent_decode_str(key).decode_utf8().ok()?.into_owned();
    let key = percent_decode_str(&once).decode_utf8().map_or(once.clone(), std::borrow::Cow::into_owned);
    let agent = fields.get(16).cloned().unwrap_or_default();
    Some(Line::Read(Read { at: at.with_timezone(&Utc), path: format!("s3://{bucket}/{key}"), agent }))
}

/// Fields between spaces; one in quotes or square brackets may hold spaces itself.
fn fields(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut rest) = (Vec::new(), line);
    while !rest.is_empty() {
        let (close, start) = match rest.as_bytes()[0] {
            b'"' => ('"', 1),
            b'[' => (']', 1),
            _ => (' ', 0),
        };
        let body = &rest[start..];
        let end = match body.find(close) {
            Some(end) => end,
            None if close == ' ' => body.len(),
            None => return None,
        };
        fields.push(body[..end].to_owned());
        rest = body.get(end + start..).unwrap_or("").trim_start_matches(' ');
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const S3: &str = r#"79a5 lake [06/Feb/2026:00:01:57 +0000] 192.0.2.3 arn:aws:iam::1:user/ann DD6CC REST.GET.OBJECT flights/day%253D2001-01-01/a.parquet "GET /lake/flights/day%3D2001-01-01/a.parquet HTTP/1.1" 200 - 4 4 16 15 "-" "spark/3.5 (java 17)" - abc= SigV4 ECDHE AuthHeader lake.s3.amazonaws.com TLSV1.2"#;

    fn read(at: &str, path: &str, agent: &str) -> Line {
        Line::Read(Read { at: at.parse().unwrap(), path: path.to_owned(), agent: agent.to_owned() })
    }

    #[rstest]
    #[case(S3, read("2026-02-06T00:01:57Z", "s3://lake/flights/day=2001-01-01/a.parquet", "spark/3.5 (java 17)"))]
    #[case(&S3.replace("GET.OBJECT", "PUT.OBJECT"), Line::Other)]
    #[case(&S3.replace(" 200 ", " 403 "), Line::Other)]
    #[case(&S3.replace(" 200 ", " 206 "), read("2026-02-06T00:01:57Z", "s3://lake/flights/day=2001-01-01/a.parquet", "spark/3.5 (java 17)"))]
    #[case("2026-02-06T01:00:00+01:00,day=1/a b.parquet", read("2026-02-06T00:00:00Z", "day=1/a b.parquet", ""))]
    #[case(
        "2026-02-06T00:00:00Z, s3://lake/x.parquet , trino",
        read("2026-02-06T00:00:00Z", "s3://lake/x.parquet", "trino")
    )]
    #[case("time,path", Line::Other)]
    #[case("# a remark", Line::Other)]
    #[case("127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 23", Line::Unknown)]
    #[case("yesterday,a.parquet", Line::Unknown)]
    #[case("a \"b", Line::Unknown)]
    fn a_line_is_a_read_or_says_why_not(#[case] line: &str, #[case] expected: Line) {
        assert_eq!(parse(line), expected);
    }
}

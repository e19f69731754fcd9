//! Locations in a Metastore's spelling: Hadoop's, without percent-encoding, `file:/folder`, and `s3a` where we say `s3`.

use percent_encoding::percent_decode_str;

/// Schemes by which engines name one S3 bucket.
const S3: [&str; 3] = ["s3", "s3a", "s3n"];

/// One spelling of a location as a Metastore has it, for comparing.
pub(super) fn plain(location: &str) -> String {
    let (scheme, rest) = split(location);
    let scheme = if S3.contains(&scheme.as_str()) { "s3" } else { scheme.as_str() };
    format!("{scheme}:{}", rest.trim_end_matches('/'))
}

/// [`plain`] of one of our URLs.
pub(super) fn plain_of_url(url: &str) -> String {
    plain(&percent_decode_str(url).decode_utf8_lossy())
}

/// One of our URLs as the Metastore spells locations that begin like `like`.
pub(super) fn spelled(url: &str, like: &str) -> String {
    let url = percent_decode_str(url).decode_utf8_lossy().into_owned();
    let ((scheme, rest), (other, _)) = (split(&url), split(like));
    let is_s3 = S3.contains(&scheme.as_str()) && S3.contains(&other.as_str());
    format!("{}:{}", if is_s3 { other } else { scheme }, rest.trim_end_matches('/'))
}

/// The scheme, in small letters, and what follows its colon.
fn split(location: &str) -> (String, String) {
    let (scheme, rest) = location.split_once(':').unwrap_or(("", location));
    let scheme = scheme.to_ascii_lowercase();
    let rest = match scheme.as_str() {
        // An empty host is no host.
        "file" => format!("/{}", rest.trim_start_matches('/')),
        _ => rest.to_owned(),
    };
    (scheme, rest)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("file:///lake/a%20b", "file:/lake/a b/", true)]
    #[case("s3://lake/flights", "s3a://lake/flights", true)]
    #[case("s3://lake/flights", "s3n://lake/flights/", true)]
    #[case("s3://lake/flights", "s3a://lake/flights2", false)]
    #[case("s3://lake/flights", "gs://lake/flights", false)]
    #[case("file:///lake/d=1%252F2", "file:/lake/d=1%2F2", true)]
    fn a_location_is_known_in_a_metastores_spelling(#[case] url: &str, #[case] spelled: &str, #[case] is_same: bool) {
        assert_eq!(plain_of_url(url) == plain(spelled), is_same);
    }

    #[rstest]
    #[case("s3://lake/new", "s3a://lake/old", "s3a://lake/new")]
    #[case("s3://lake/new", "hdfs://lake/old", "s3://lake/new")]
    #[case("file:///lake/a%20b", "file:/lake/old", "file:/lake/a b")]
    #[case("gs://lake/new", "s3a://lake/old", "gs://lake/new")]
    fn a_new_location_is_spelled_as_the_old_one_was(#[case] url: &str, #[case] like: &str, #[case] expected: &str) {
        assert_eq!(spelled(url, like), expected);
    }
}

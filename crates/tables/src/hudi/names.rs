//! The names of data files, which say what they belong to.

/// What a data file's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileName {
    pub(super) file_id: String,
    /// Of a base file the instant that wrote it. Of a log file the base file's instant in layout 1, and the instant that
    /// wrote it from layout 2.
    pub(super) instant: String,
    pub(super) kind: Kind,
}

/// Base file or log file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `<file id>_<write token>_<instant>.parquet`.
    Base,
    /// A base file of another format, by its extension.
    OtherBase(String),
    /// `.<file id>_<instant>.log.<version>_<write token>`.
    Log {
        /// Counts the log files of one slice.
        version: u32,
        /// Tells attempts to write one file apart.
        token: String,
    },
    /// A log file that holds changes for change queries beside the data, and no data of its own.
    ChangeLog,
}

/// What `name` says; `None` where it is no data file's.
pub(super) fn parse(name: &str) -> Option<FileName> {
    match name.strip_prefix('.') {
        Some(name) => log(name),
        None => base(name),
    }
}

fn base(name: &str) -> Option<FileName> {
    let (stem, extension) = name.rsplit_once('.')?;
    let (rest, instant) = stem.rsplit_once('_')?;
    let (file_id, token) = rest.rsplit_once('_')?;
    if file_id.is_empty() || token.is_empty() || !is_instant(instant) {
        return None;
    }
    let kind = match extension {
        "parquet" => Kind::Base,
        "orc" | "hfile" | "lance" => Kind::OtherBase(extension.to_owned()),
        _ => return None,
    };
    Some(FileName { file_id: file_id.to_owned(), instant: instant.to_owned(), kind })
}

fn log(name: &str) -> Option<FileName> {
    let (stem, rest) = name.split_once(".log.")?;
    let (file_id, instant) = stem.rsplit_once('_')?;
    if file_id.is_empty() || !is_instant(instant) {
        return None;
    }
    let (rest, is_change_log) = rest.strip_suffix(".cdc").map_or((rest, false), |rest| (rest, true));
    let (version, token) = rest.split_once('_').unwrap_or((rest, ""));
    let version = version.parse().ok()?;
    let is_token = token.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let kind = match (is_token, is_change_log) {
        (false, _) => return None,
        (true, true) => Kind::ChangeLog,
        (true, false) => Kind::Log { version, token: token.to_owned() },
    };
    Some(FileName { file_id: file_id.to_owned(), instant: instant.to_owned(), kind })
}

fn is_instant(text: &str) -> bool {
    text.len() >= 14 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("84e8-0_2-13-62_20250331030642808.parquet", Some(("84e8-0", "20250331030642808")))]
    #[case("with_bars-0_2-13-62_20250331030642808.orc", Some(("with_bars-0", "20250331030642808")))]
    #[case(".84e8-0_20250331030642808.log.1_0-26-85", Some(("84e8-0", "20250331030642808")))]
    #[case(".84e8-0_20250331030642808.log.2", Some(("84e8-0", "20250331030642808")))]
    #[case(".84e8-0_20250331030642808.log.1_0-26-85.cdc", Some(("84e8-0", "20250331030642808")))]
    #[case("part-00000.parquet", None)]
    #[case(".84e8-0_20250331030642808.log.1_0-26-85.crc", None)]
    #[case(".hoodie_partition_metadata", None)]
    fn a_name_says_group_and_instant(#[case] name: &str, #[case] expected: Option<(&str, &str)>) {
        let found = parse(name);
        assert_eq!(found.as_ref().map(|name| (name.file_id.as_str(), name.instant.as_str())), expected);
    }
}

//! Whether the old table's disk has room for a rollback that loses nothing: for what the reverse mirror brings there until it goes.

use std::path::Path;
use std::time::Duration;

use lakeshift_core::spec::SunsetDisposition;

use super::reverse;
use super::tables::Tables;
use crate::error::Error;
use crate::output::bytes;
use crate::session::Session;

const DAY: Duration = Duration::from_secs(86_400);

/// Why what may come to the old table until it goes does not fit; `None` where it does, where nothing is carried back, and where the
/// table lies on no disk of this machine. As much is expected a day as came on the busiest day of dual writing.
///
/// # Errors
/// A table that cannot be read.
pub async fn lacking(session: &Session, tables: &Tables) -> Result<Option<String>, Error> {
    let costs = session.state.costs.values();
    let a_day = costs.map(|cost| cost.total().source_bytes).max().unwrap_or_default();
    // In quarantine nothing is carried; an undo carries all of it at once.
    let sunset = &session.spec.sunset;
    let (kept, periods) = match sunset.disposition {
        SunsetDisposition::Purge => {
            (sunset.grace.duration().saturating_add(sunset.quarantine.duration()), "sunset.grace and sunset.quarantine")
        }
        SunsetDisposition::Keep | SunsetDisposition::Quarantine => (sunset.grace.duration(), "sunset.grace"),
    };
    let days = kept.as_secs().div_ceil(DAY.as_secs());
    let expected = a_day.saturating_mul(days);
    let Some(free) = free_bytes(tables.source.location()).filter(|free| expected > *free) else { return Ok(None) };
    if reverse::impossible(session, tables).await?.is_some() {
        return Ok(None);
    }
    Ok(Some(format!(
        "the old table's disk has {} free, and the reverse mirror may bring {} there ({} a day, for {days} day(s) of {periods}): \
         make room, or shorten that time",
        bytes(free),
        bytes(expected),
        bytes(a_day)
    )))
}

/// Bytes that are free to this user on the disk of a location; `None` where it is on none of this machine's, or does not tell.
fn free_bytes(location: &str) -> Option<u64> {
    let folder = url::Url::parse(location).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()?;
    let there = folder.ancestors().find(|folder| Path::exists(folder))?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::free_bytes;

    #[test]
    fn a_disk_tells_what_is_free_and_a_store_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let of = |path: &str| free_bytes(&format!("file://{}/{path}", folder.path().display()));
        // Other processes write meanwhile; that there is less than an exbibyte shows the unit.
        assert!(of("").is_some_and(|free| free > 1 << 20 && free < 1 << 60));
        assert!(of("a%20table/that/is/not/there").is_some());
        assert_eq!((free_bytes("s3://bucket/flights"), free_bytes("memory:///lake/flights")), (None, None));
    }
}

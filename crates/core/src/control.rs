//! Live control: what an operator asks of a migration's runner, from any machine, through the control root.
//!
//! `<control>/migrations/<name>/control/00000000000000000001.json …`: numbered, create-only objects as the journal's, but
//! written without a lease. A runner reads them before it begins, between waves of work and every few seconds while it
//! works, and records each one that it honours in the journal. [`Controls`] is the fold: later requests win.

mod log;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use log::{ControlError, ControlLog};

/// One request, as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlEntry {
    /// Version of this object's format.
    pub format_version: u32,
    /// 1 for the first request to the migration.
    pub number: u64,
    /// What is asked.
    pub request: ControlRequest,
    /// Who asks, by their own word.
    pub by: String,
    /// Why, by their own word.
    pub reason: String,
    /// When, by the asking machine's clock.
    pub at: DateTime<Utc>,
    /// Makes the object that request's own.
    pub nonce: String,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// Move no more rows until resumed. Units under way stand still; the lease stays.
    Pause,
    /// Go on.
    Resume,
    /// Change limits; what is absent stays as it is.
    Throttle(Limits),
    /// The spec's limits again.
    Unthrottle,
    /// Hold the cutover.
    Postpone,
    /// Let it go.
    ClearPostpone,
}

/// Limits of a running migration; what is absent is the spec's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes read of the source each second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<Limit>,
    /// Requests to the stores of both tables each second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<Limit>,
    /// Units that run at once, from the next wave on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// A limit that can be lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// None.
    Unlimited,
    /// So many each second.
    At(u64),
}

impl Limit {
    /// The limit as a rate; `None` is unlimited.
    pub fn rate(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::At(rate) => Some(rate),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::At(rate) => rate.fmt(f),
        }
    }
}

impl Limits {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn amend(&mut self, later: Self) {
        self.bytes_per_second = later.bytes_per_second.or(self.bytes_per_second);
        self.requests_per_second = later.requests_per_second.or(self.requests_per_second);
        self.concurrency = later.concurrency.or(self.concurrency);
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limits = [
            self.bytes_per_second.map(|limit| format!("{limit} bytes/s")),
            self.requests_per_second.map(|limit| format!("{limit} requests/s")),
            self.concurrency.map(|units| format!("{units} unit(s) at once")),
        ];
        let said: Vec<_> = limits.into_iter().flatten().collect();
        f.write_str(&if said.is_empty() { "the spec's limits".to_owned() } else { said.join(", ") })
    }
}

impl std::fmt::Display for ControlRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pause => f.write_str("pause"),
            Self::Resume => f.write_str("resume"),
            Self::Throttle(limits) => write!(f, "throttle to {limits}"),
            Self::Unthrottle => f.write_str("throttle to the spec's limits"),
            Self::Postpone => f.write_str("postpone the cutover"),
            Self::ClearPostpone => f.write_str("let the cutover go"),
        }
    }
}

/// Who asked for something that holds, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// The request's number.
    pub number: u64,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, by their machine's clock.
    pub at: DateTime<Utc>,
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "by {} since {}: {}", self.by, self.at.format("%Y-%m-%d %H:%M:%S UTC"), self.reason)
    }
}

/// What all requests up to one of them come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Controls {
    /// The number of the last request that is counted in; 0 when there was none.
    pub last: u64,
    /// Whether no rows may move.
    pub paused: Option<Hold>,
    /// Whether the cutover is held.
    pub postponed: Option<Hold>,
    /// Limits in place of the spec's.
    pub limits: Limits,
}

impl Controls {
    /// Counts one more request in. One that is counted in already changes nothing.
    pub fn apply(&mut self, entry: &ControlEntry) {
        if entry.number <= self.last {
            return;
        }
        self.last = entry.number;
        let hold = || Some(Hold { number: entry.number, by: entry.by.clone(), reason: entry.reason.clone(), at: entry.at });
        match entry.request {
            ControlRequest::Pause => self.paused = hold(),
            ControlRequest::Resume => self.paused = None,
            ControlRequest::Throttle(limits) => self.limits.amend(limits),
            ControlRequest::Unthrottle => self.limits = Limits::default(),
            ControlRequest::Postpone => self.postponed = hold(),
            ControlRequest::ClearPostpone => self.postponed = None,
        }
    }
}

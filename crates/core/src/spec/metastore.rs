//! [`Metastore`]: the table or view of a Hive Metastore that readers ask for, as a spec names it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::check::{Checked, Finding, contradiction, value};
use super::guard::Step;
use super::model::Spec;

const KEY: &str = "cutover.metastore";
/// The port that a Metastore has where its address says none.
const PORT: u16 = 9083;
/// Characters that a Metastore's names have at most.
const NAME_CHARS_MAX: usize = 128;

/// A table or a view of a Hive Metastore by which readers find their table: Hive, Spark, Trino, Impala. It moves when the readers
/// of `alias` move (docs/playbook.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metastore {
    /// The address of its Thrift service: `thrift://host:9083`. Without SASL and TLS.
    pub uri: String,
    /// `database.table`: names the old table now; its location and format parameters become those of the new one. It cannot stand
    /// beside `view`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// `database.view`, in place of `table`: its text becomes `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// With `view`: what it selects when readers are on the new table, with the columns that it has now. The text that it has
    /// before is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl Metastore {
    /// The database and the name of the table or view.
    pub fn entry(&self) -> (&str, &str) {
        let name = self.table.as_deref().or(self.view.as_deref()).unwrap_or_default();
        name.split_once('.').unwrap_or(("", name))
    }

    /// Host and port.
    pub fn address(&self) -> (String, u16) {
        let parsed = Url::parse(&self.uri).ok();
        let host = parsed.as_ref().and_then(Url::host_str).unwrap_or_default();
        // What the URL has in brackets, the resolver wants without.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        (host, parsed.as_ref().and_then(Url::port).unwrap_or(PORT))
    }
}

/// Checks `cutover.metastore`, where there is one.
pub(super) fn check(spec: &Spec) -> Checked {
    let Some(metastore) = &spec.cutover.metastore else { return Ok(()) };
    address(&metastore.uri)?;
    let (key, name) = match (&metastore.table, &metastore.view) {
        (Some(table), None) => ("table", table),
        (None, Some(view)) => ("view", view),
        (Some(_), Some(_)) => {
            let what = format!("{KEY} names both a `table` and a `view`");
            return Err(contradiction(&format!("{KEY}.view"), what, "keep the one that readers ask for"));
        }
        (None, None) => {
            let what = format!("{KEY} names neither a `table` nor a `view`");
            return Err(lacking("table", what, "add the one that readers ask for: `table: lake.flights`"));
        }
    };
    if !is_entry(name) {
        let expected = "a database and a name of letters, digits and `_`: `lake.flights`";
        return Err(value(&format!("{KEY}.{key}"), name, expected));
    }
    match (&metastore.view, &metastore.query) {
        (None, Some(_)) => {
            let what = format!("{KEY}.query is the text of a view, and a table has none");
            Err(contradiction(&format!("{KEY}.query"), what, "remove `query`, or write `view` in place of `table`"))
        }
        (Some(_), None) => {
            let what = format!("{KEY}.view lacks the `query` that it shall be");
            Err(lacking("query", what, "add it: `query: SELECT id, name FROM lake.flights_iceberg`"))
        }
        (Some(_), Some(query)) if query.trim().is_empty() => {
            Err(value(&format!("{KEY}.query"), "", "a SELECT statement over the new table"))
        }
        _ => Ok(()),
    }
}

fn lacking(key: &str, what: String, hint: &str) -> Finding {
    let mut finding = contradiction(KEY, what, hint);
    finding.path.push(Step::Key(key.to_owned()));
    finding
}

/// The address may hold a credential, and is not shown.
fn address(uri: &str) -> Checked {
    let bad = |what: &str| {
        let what = format!("{KEY}.uri {what} (not shown: it may hold a credential)");
        Err(contradiction(&format!("{KEY}.uri"), what, "the address of one Thrift service: `thrift://host:9083`"))
    };
    let Ok(url) = Url::parse(uri) else { return bad("is no valid address") };
    match () {
        () if url.scheme() != "thrift" => bad("does not begin with thrift://"),
        () if url.host_str().is_none_or(str::is_empty) || uri.contains(',') => bad("does not name one host"),
        () if !url.username().is_empty() || url.password().is_some() => bad("names a user or a password"),
        () if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() => {
            bad("has more than a host and a port")
        }
        () => Ok(()),
    }
}

fn is_entry(name: &str) -> bool {
    let is_name = |part: &str| {
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !part.is_empty() && part.chars().all(sound) && part.len() <= NAME_CHARS_MAX
    };
    name.split_once('.').is_some_and(|(database, table)| is_name(database) && is_name(table))
}

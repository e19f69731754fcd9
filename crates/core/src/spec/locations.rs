//! [`Location`]: where a table or the control root lies, normalised to a URL.

use std::borrow::Cow;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use url::Url;

/// A folder on the local disk or an object store. In a spec from [`Spec::from_yaml`](super::Spec::from_yaml) it is a
/// URL without trailing slash, query or credentials; paths in the file were resolved against the file's folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Location(String);

/// Why a text is no location. Never holds the text's credentials.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum LocationError {
    /// Nothing stands there.
    #[error("the location is empty")]
    Empty,
    /// A text that is meant as a URL and is none.
    #[error("the location is not a valid URL: {reason}")]
    Invalid {
        /// What the URL parser says.
        reason: String,
    },
    /// A store that Lakeshift does not speak to.
    #[error("locations of scheme `{scheme}` are not supported")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// User name, password or query in the URL.
    #[error("the location's URL has a {part}, which may hold a credential (not shown)")]
    Credentials {
        /// user name, password, query or fragment.
        part: &'static str,
    },
    /// `..` in a URL.
    #[error("the location's URL contains `..`")]
    Dots,
    /// No bucket, or a host in a `file` URL, or the root of the file system.
    #[error("the location {problem}")]
    Place {
        /// What is wrong.
        problem: &'static str,
    },
    /// `~`, which is the shell's.
    #[error("the location begins with `~`, which stands for a home folder in a shell only")]
    Home,
}

const EXPECTED: &str = "a path, or a URL of scheme file, s3, az, abfs, abfss, gs or memory";

impl LocationError {
    /// What would be right.
    pub fn expected(&self) -> &'static str {
        EXPECTED
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "write the folder's path, relative to this file, or a URL",
            Self::Invalid { .. } => "two slashes follow the scheme: s3://bucket/folder, file:///folder",
            Self::Scheme { .. } => "write s3:// in place of s3a:// or s3n://, az:// in place of https:// for Azure",
            Self::Credentials { .. } => {
                "give credentials under `storage` as ${NAME}; in a folder's name write `?` as %3F and `#` as %23"
            }
            Self::Dots => "write the folder's full URL",
            Self::Place { .. } => "s3://bucket/folder, az://container/folder, file:///folder with three slashes",
            Self::Home => "write the path in full",
        }
    }
}

impl Location {
    /// A location that is already a URL.
    ///
    /// # Errors
    /// [`LocationError`] where it is not one that Lakeshift takes.
    pub fn from_url(text: &str) -> Result<Self, LocationError> {
        let url = Url::parse(text).map_err(|error| LocationError::Invalid { reason: error.to_string() })?;
        refuse_credentials(&url)?;
        refuse_dots(text)?;
        refuse_place(&url)?;
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The URL of a text as people write it, a path being relative to the absolute folder `base`.
    ///
    /// # Errors
    /// [`LocationError`] where it is not one that Lakeshift takes.
    pub fn resolved(text: &str, base: &Path) -> Result<String, LocationError> {
        Ok(Self(text.to_owned()).resolve(base)?.0)
    }

    /// The location as text: the URL without trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The location as a URL.
    ///
    /// # Errors
    /// [`LocationError`] for a location that did not come from [`Spec::from_yaml`](super::Spec::from_yaml) and is no URL.
    pub fn url(&self) -> Result<Url, LocationError> {
        Url::parse(&self.0).map_err(|error| LocationError::Invalid { reason: error.to_string() })
    }

    /// Whether this is `other` or a folder below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The location with a path resolved against the absolute folder `base`, without a look at the disk: `..` goes up by
    /// the text alone.
    pub(super) fn resolve(&self, base: &Path) -> Result<Self, LocationError> {
        let text = self.0.trim();
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        if text.contains("://") || looks_like_url(text) {
            return Self::from_url(text);
        }
        if text.starts_with('~') {
            return Err(LocationError::Home);
        }
        let path = normalise(&base.join(text));
        let not_absolute = |()| LocationError::Invalid { reason: "the spec's own folder is not absolute".to_owned() };
        let url = Url::from_file_path(path).map_err(not_absolute)?;
        refuse_place(&url)?;
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

/// `s3:/bucket` and `s3:bucket`: a scheme without its two slashes, not a folder of that name.
fn looks_like_url(text: &str) -> bool {
    let known = ["file", "s3", "s3a", "s3n", "az", "abfs", "abfss", "gs", "memory", "http", "https"];
    text.split_once(':').is_some_and(|(scheme, _)| known.contains(&scheme))
}

pub(super) fn normalise(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                path.pop();
            }
            other => path.push(other),
        }
        path
    })
}

fn refuse_credentials(url: &Url) -> Result<(), LocationError> {
    // In abfss://container@account.dfs.core.windows.net/ the container stands where a user name would.
    let container = matches!(url.scheme(), "abfs" | "abfss");
    let part = match () {
        () if url.password().is_some() => "password",
        () if !url.username().is_empty() && !container => "user name",
        () if url.query().is_some() => "query",
        () if url.fragment().is_some() => "fragment",
        () => return Ok(()),
    };
    Err(LocationError::Credentials { part })
}

/// The URL parser would clamp `..` silently, so it is looked for in the text.
fn refuse_dots(text: &str) -> Result<(), LocationError> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    if decoded.split(['/', '\\']).any(|part| part == "..") { Err(LocationError::Dots) } else { Ok(()) }
}

fn refuse_place(url: &Url) -> Result<(), LocationError> {
    let host = url.host_str().unwrap_or_default();
    let problem = match url.scheme() {
        "file" if !host.is_empty() => "is a file URL with a host",
        "file" if url.path().trim_matches('/').is_empty() => "is the root of the file system",
        "s3" | "gs" | "az" | "abfs" | "abfss" if host.is_empty() => "names no bucket or container",
        "file" | "s3" | "gs" | "az" | "abfs" | "abfss" | "memory" if !url.cannot_be_a_base() => return Ok(()),
        "file" | "s3" | "gs" | "az" | "abfs" | "abfss" | "memory" => "has no slashes after its scheme",
        other => return Err(LocationError::Scheme { scheme: other.to_owned() }),
    };
    Err(LocationError::Place { problem })
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Location {
    fn schema_name() -> Cow<'static, str> {
        "Location".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A folder: a path relative to this file, or a URL of scheme file, s3, az, abfs, abfss, gs or memory, without credentials.",
            "examples": ["../../lake/flights", "s3://lake/flights"],
        })
    }
}

//! From a URL to an opened location: [`Stores`] knows which object store serves which URL, and how to reach it.
//!
//! One client per bucket is made and shared by every location in it. Local files are served by one store that answers
//! only below the locations that were opened: a symlink cannot lead it elsewhere.

mod confined;
mod errors;
mod parallel;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lakeshift_core::storage::Storage;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore};
use url::Url;

use confined::ConfinedFiles;
pub(crate) use errors::{changed_since_listed, outside_error, store_error};
pub use parallel::side_by_side;

/// How requests name themselves in a store's access log; see [`lakeshift_core::access_log::OWN_AGENT`].
const USER_AGENT: &str = concat!("lakeshift/", env!("CARGO_PKG_VERSION"));

/// Options of one location: object_store's own configuration keys (`endpoint`, `region`, `access_key_id`, …), secrets
/// already resolved. They stand before what the environment says.
pub type StoreOptions = BTreeMap<String, String>;

/// Why a location could not be opened. Values of options never appear in the text.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The text is no usable URL.
    #[error("`{location}` is no location: {reason}; write an URL such as file:///lake/flights or s3://bucket/flights")]
    Url {
        /// The location as given, without credentials.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No store serves this scheme.
    #[error("{location}: no store serves `{scheme}://`; use file://, s3://, az://, gs:// or memory://")]
    Scheme {
        /// The location.
        location: String,
        /// Its scheme.
        scheme: String,
    },
    /// The store knows no such option.
    #[error("{location}: the store has no option `{key}`; see object_store's configuration keys for {scheme}://")]
    Option {
        /// The location.
        location: String,
        /// Its scheme.
        scheme: String,
        /// The option's name.
        key: String,
    },
    /// The path of a local location cannot be resolved.
    #[error("cannot resolve {location} on the local disk")]
    Local {
        /// The location.
        location: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The store's client refuses its configuration.
    #[error("cannot open {location}; check its options and the environment")]
    Client {
        /// The location.
        location: String,
        /// The cause.
        #[source]
        source: object_store::Error,
    },
}

type SharedStore = Arc<dyn ObjectStore>;
/// A bucket's URL and the options it was opened with.
type ClientKey = (String, StoreOptions);

/// Opens locations. Cheap to clone; clones share clients.
#[derive(Debug, Clone, Default)]
pub struct Stores {
    overrides: Arc<Vec<(String, SharedStore)>>,
    files: Arc<ConfinedFiles>,
    clients: Arc<Mutex<BTreeMap<ClientKey, SharedStore>>>,
}

impl Stores {
    /// Stores as the URLs name them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves every URL that starts with `url_prefix` (`memory:///`, `s3://lake/`, `file:///`) by `store`, whose paths
    /// are the URL's own path. Later calls go first. For tests and for wrapped stores.
    #[must_use]
    pub fn with_store(mut self, url_prefix: impl Into<String>, store: SharedStore) -> Self {
        let mut overrides = (*self.overrides).clone();
        overrides.insert(0, (url_prefix.into(), store));
        self.overrides = Arc::new(overrides);
        self
    }

    /// Opens `location` with what the environment says.
    ///
    /// # Errors
    /// [`StorageError`]; nothing is read or written on the store itself.
    pub fn open(&self, location: &str) -> Result<Storage, StorageError> {
        self.open_with(location, &StoreOptions::new())
    }

    /// Opens `location` with `options` before what the environment says. The location need not exist yet.
    ///
    /// # Errors
    /// [`StorageError`]; nothing is read or written on the store itself.
    pub fn open_with(&self, location: &str, options: &StoreOptions) -> Result<Storage, StorageError> {
        let url = parse(location)?;
        let url = if url.scheme() == "file" { self.admit_local(&url)? } else { url };
        let prefix = Path::from_url_path(url.path())
            .map_err(|error| StorageError::Url { location: url.to_string(), reason: error.to_string() })?;
        let replaced = self.overrides.iter().find(|(start, _)| url.as_str().starts_with(start.as_str()));
        match replaced {
            Some((_, store)) => Ok(Storage::new(url, Arc::clone(store), prefix)),
            None if url.scheme() == "file" => {
                Ok(Storage::new(url, Arc::clone(&self.files) as SharedStore, prefix).on_disk())
            }
            None => self.client(&url, options).map(|store| Storage::new(url, store, prefix)),
        }
    }

    /// The canonical URL of a local location, which the local store serves from now on.
    fn admit_local(&self, url: &Url) -> Result<Url, StorageError> {
        let location = url.to_string();
        let invalid = |reason: &str| StorageError::Url { location: location.clone(), reason: reason.to_owned() };
        let path = url.to_file_path().map_err(|()| invalid("a file URL names an absolute path and no host"))?;
        let canonical =
            confined::canonical(&path).map_err(|source| StorageError::Local { location: location.clone(), source })?;
        let canonical_url = Url::from_file_path(&canonical).map_err(|()| invalid("it is no absolute path"))?;
        self.files.admit(canonical);
        Ok(canonical_url)
    }

    fn client(&self, url: &Url, options: &StoreOptions) -> Result<SharedStore, StorageError> {
        let bucket = url[..url::Position::BeforePath].to_owned();
        let key = (bucket, options.clone());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(Arc::clone(client));
        }
        let client = build(url, options)?;
        clients.insert(key, Arc::clone(&client));
        Ok(client)
    }
}

/// The URL of `location`, refused where it carries credentials, `..` or a query.
fn parse(location: &str) -> Result<Url, StorageError> {
    // A URL that does not parse may still hold a password: it is shown without what stands before an `@`.
    let shown = location.rsplit_once('@').map_or(location, |(_, rest)| rest).to_owned();
    let invalid = |reason: &str| StorageError::Url { location: shown.clone(), reason: reason.to_owned() };
    let url = Url::parse(location).map_err(|error| invalid(&error.to_string()))?;
    if url.password().is_some() {
        return Err(invalid("it carries credentials; put them in the environment or in the location's options"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it has a query or a fragment (`?` and `#` are written %3F and %23)"));
    }
    // `Url::parse` resolves `..` silently; a location that needs it is not what it says.
    let climbs = location.split('/').any(|part| matches!(part, ".." | "." | "%2e%2e" | "%2E%2E"));
    if climbs {
        return Err(invalid("it contains `.` or `..`"));
    }
    Ok(url)
}

fn build(url: &Url, options: &StoreOptions) -> Result<SharedStore, StorageError> {
    let failed = |source| StorageError::Client { location: url.to_string(), source };
    match url.scheme() {
        "memory" => Ok(Arc::new(InMemory::new())),
        "s3" | "s3a" => s3(url, options)?.build().map(|store| Arc::new(store) as SharedStore).map_err(failed),
        "az" | "abfs" | "abfss" => {
            let agent = AzureConfigKey::Client(ClientConfigKey::UserAgent);
            let start = MicrosoftAzureBuilder::from_env().with_config(agent, USER_AGENT).with_url(url.as_str());
            let builder = configure(url, options, start, |builder, key, value| {
                key.parse().map(|key| builder.clone().with_config(key, value)).ok()
            })?;
            builder.build().map(|store| Arc::new(store) as SharedStore).map_err(failed)
        }
        "gs" => {
            let agent = GoogleConfigKey::Client(ClientConfigKey::UserAgent);
            let start = GoogleCloudStorageBuilder::from_env().with_config(agent, USER_AGENT).with_url(url.as_str());
            let builder = configure(url, options, start, |builder, key, value| {
                key.parse().map(|key| builder.clone().with_config(key, value)).ok()
            })?;
            builder.build().map(|store| Arc::new(store) as SharedStore).map_err(failed)
        }
        scheme => Err(StorageError::Scheme { location: url.to_string(), scheme: scheme.to_owned() }),
    }
}

/// S3 with conditional puts (`If-None-Match`, object_store's default). A plain `http://` endpoint is taken at its word.
fn s3(url: &Url, options: &StoreOptions) -> Result<AmazonS3Builder, StorageError> {
    let agent = AmazonS3ConfigKey::Client(ClientConfigKey::UserAgent);
    let start = AmazonS3Builder::from_env().with_config(agent, USER_AGENT).with_url(url.as_str());
    let builder = configure(url, options, start, |builder, key, value| {
        key.parse().map(|key| builder.clone().with_config(key, value)).ok()
    })?;
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).unwrap_or_default();
    Ok(if endpoint.starts_with("http://") { builder.with_allow_http(true) } else { builder })
}

/// Applies each option by `set`, which answers `None` where the store has no such key.
fn configure<B>(
    url: &Url,
    options: &StoreOptions,
    start: B,
    set: impl Fn(&B, &str, &str) -> Option<B>,
) -> Result<B, StorageError> {
    options.iter().try_fold(start, |builder, (key, value)| {
        set(&builder, &key.to_ascii_lowercase(), value).ok_or_else(|| StorageError::Option {
            location: url.to_string(),
            scheme: url.scheme().to_owned(),
            key: key.clone(),
        })
    })
}

/// The local path that a store's path names.
fn local_path(path: &Path) -> PathBuf {
    PathBuf::from(format!("/{path}"))
}

//! [`Catalog`]: the catalogue that keeps an Iceberg table, as a spec names it, and its credentials.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::check::{Checked, Finding, contradiction, value};
use super::guard::Step;
use super::model::Spec;
use super::secret::{MissingVariable, Place, Secret};
use crate::table::Format;

/// The catalogue that keeps an Iceberg table. Without one the table's own folder does (`metadata/vN.metadata.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// Which protocol it speaks.
    #[serde(rename = "type")]
    pub kind: CatalogKind,
    /// sql: `sqlite:////folder/catalog.db`, of which a path with three slashes starts from this file's folder, or
    /// `postgresql://host:5432/database`. rest: the address before `/v1`, `https://host/path`. Without credentials.
    pub uri: String,
    /// The table in it: `namespace.name`, the namespace of one level or more.
    pub table: String,
    /// sql only: the catalogue's name, by which several share one database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// sql only: the database's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Secret>,
    /// sql only: the user's password, `${NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// rest only: the warehouse to ask the catalogue for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warehouse: Option<String>,
    /// rest only: `id:secret` for OAuth2 client credentials, `${NAME}` or `${ID}:${SECRET}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Secret>,
    /// rest only: a bearer token, `${NAME}`, in place of `credential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// rest only: where tokens are had, when it is not the catalogue's own `/v1/oauth/tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2_server_uri: Option<String>,
    /// rest only: the OAuth2 scope; `catalog` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// The protocols of catalogues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CatalogKind {
    /// The table `iceberg_tables` of a database, as the JDBC catalogue and pyiceberg's SQL catalogue have it.
    Sql,
    /// The Iceberg REST catalogue.
    Rest,
}

/// What a catalogue wants to know of its caller, resolved. Holds credentials: its `Debug` shows none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CatalogCredentials {
    /// The database's user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// `id:secret`.
    pub credential: Option<String>,
    /// A bearer token.
    pub token: Option<String>,
}

impl std::fmt::Debug for CatalogCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CatalogCredentials(***)")
    }
}

/// Keys of the section that hold credentials; they mean nothing for what the migration is.
pub(super) const CREDENTIALS: [&str; 4] = ["user", "password", "credential", "token"];
/// Begins the address of a SQLite database; what follows is its path.
const SQLITE: &str = "sqlite:///";
/// Query parameters of a PostgreSQL address that are understood. No credential is among them.
const POSTGRES_PARAMETERS: [&str; 6] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "application_name"];

impl Catalog {
    /// The table's namespace, level by level, and its name.
    pub fn identifier(&self) -> (Vec<&str>, &str) {
        let mut levels: Vec<&str> = self.table.split('.').collect();
        let name = levels.pop().unwrap_or_default();
        (levels, name)
    }

    fn secrets(&self) -> [(&'static str, Option<&Secret>); 4] {
        let [user, password, credential, token] = CREDENTIALS;
        [
            (user, self.user.as_ref()),
            (password, self.password.as_ref()),
            (credential, self.credential.as_ref()),
            (token, self.token.as_ref()),
        ]
    }

    /// Takes over the credentials of `other` where it is the same catalogue: for a spec from a journal, which has none.
    pub fn take_credentials(&mut self, other: Option<&Self>) {
        let same = other.filter(|other| other.uri == self.uri);
        let of = |secret: fn(&Self) -> &Option<Secret>| same.and_then(|other| secret(other).clone());
        self.user = of(|one| &one.user);
        self.password = of(|one| &one.password);
        self.credential = of(|one| &one.credential);
        self.token = of(|one| &one.token);
    }

    /// Makes the path of a SQLite database absolute.
    pub(super) fn resolve(&mut self, base: &Path) {
        if let Some(path) = self.uri.strip_prefix(SQLITE).filter(|path| !path.is_empty()) {
            let path = super::locations::normalise(&base.join(path));
            self.uri = format!("{SQLITE}{}", path.display());
        }
    }
}

impl Spec {
    /// The catalogue of a table; `None` where its folder is the catalogue.
    pub fn catalog(&self, place: Place) -> Option<&Catalog> {
        match place {
            Place::Control => None,
            Place::Source => self.source.catalog.as_ref(),
            Place::Target => self.target.catalog.as_ref(),
        }
    }

    /// The credentials of a table's catalogue, with every `${NAME}` replaced by what `env` says. Hand them to the catalogue
    /// and to nothing else.
    ///
    /// # Errors
    /// [`MissingVariable`] for the first variable that `env` does not know.
    pub fn catalog_credentials(
        &self,
        place: Place,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<CatalogCredentials, MissingVariable> {
        let Some(catalog) = self.catalog(place) else { return Ok(CatalogCredentials::default()) };
        let resolve = |(key, secret): (&str, Option<&Secret>)| {
            secret.map(|secret| secret.resolve(&format!("catalog.{key}"), &env)).transpose()
        };
        let [user, password, credential, token] = catalog.secrets();
        Ok(CatalogCredentials {
            user: resolve(user)?,
            password: resolve(password)?,
            credential: resolve(credential)?,
            token: resolve(token)?,
        })
    }
}

/// Checks both tables' catalogues.
pub(super) fn check(spec: &Spec) -> Checked {
    let tables =
        [("source", spec.source.format, &spec.source.catalog), ("target", spec.target.format, &spec.target.catalog)];
    for (table, format, catalog) in tables {
        let Some(catalog) = catalog else { continue };
        let section = format!("{table}.catalog");
        if format != Format::Iceberg {
            let what = format!("{section} is for Iceberg tables, and this one is {format}");
            return Err(contradiction(&section, what, "remove `catalog`"));
        }
        one(&section, catalog)?;
    }
    if spec.cutover.exchange_entries {
        exchange(spec)?;
    }
    match (&spec.source.catalog, &spec.target.catalog) {
        (Some(source), Some(target)) if same_table(source, target) => {
            let what = "source and target are the same table of one catalogue";
            Err(contradiction("target.catalog", what, "give the new table another name"))
        }
        _ => Ok(()),
    }
}

/// Names are exchanged by one transaction of one database.
fn exchange(spec: &Spec) -> Checked {
    let what = match (&spec.source.catalog, &spec.target.catalog) {
        (Some(one), Some(other)) if one.kind != CatalogKind::Sql || other.kind != CatalogKind::Sql => {
            "cutover.exchange_entries is for catalogues of type sql: no other has a request that moves two names at once"
        }
        (Some(one), Some(other)) if (&one.uri, &one.name) != (&other.uri, &other.name) => {
            "cutover.exchange_entries wants both tables in one catalogue, of the same `uri` and `name`"
        }
        (Some(_), Some(_)) => return Ok(()),
        _ => "cutover.exchange_entries wants a `catalog` of both tables",
    };
    let hint = "remove it, and move readers by the alias or by `cutover.command`";
    Err(contradiction("cutover.exchange_entries", what, hint))
}

fn same_table(one: &Catalog, other: &Catalog) -> bool {
    let key = |catalog: &Catalog| {
        (catalog.kind, catalog.uri.clone(), catalog.name.clone(), catalog.warehouse.clone(), catalog.table.clone())
    };
    key(one) == key(other)
}

fn one(section: &str, catalog: &Catalog) -> Checked {
    let key = |name: &str| format!("{section}.{name}");
    if catalog.table.split('.').count() < 2 || catalog.table.split('.').any(|part| part.trim().is_empty()) {
        return Err(value(&key("table"), &catalog.table, "a namespace and a name: `lake.flights`"));
    }
    let (sql, rest) = (catalog.kind == CatalogKind::Sql, catalog.kind == CatalogKind::Rest);
    let used = [
        ("name", sql, catalog.name.is_some()),
        ("user", sql, catalog.user.is_some()),
        ("password", sql, catalog.password.is_some()),
        ("warehouse", rest, catalog.warehouse.is_some()),
        ("credential", rest, catalog.credential.is_some()),
        ("token", rest, catalog.token.is_some()),
        ("oauth2_server_uri", rest, catalog.oauth2_server_uri.is_some()),
        ("scope", rest, catalog.scope.is_some()),
    ];
    for (name, belongs, used) in used {
        if used && !belongs {
            let other = if sql { "rest" } else { "sql" };
            let what = format!("{} is for catalogues of type {other}", key(name));
            return Err(contradiction(&key(name), what, format!("remove `{name}`")));
        }
    }
    secrets(section, catalog)?;
    match catalog.kind {
        CatalogKind::Sql => sql_uri(section, catalog),
        CatalogKind::Rest => rest_uris(section, catalog),
    }
}

fn secrets(section: &str, catalog: &Catalog) -> Checked {
    let hint = "write ${NAME}, and set the environment variable NAME where lakeshift runs";
    for (name, secret) in catalog.secrets() {
        let what = match secret {
            Some(secret) if !secret.is_well_formed() => "has a `${` that does not open a variable (the value is not shown)",
            Some(secret) if name != "user" && !secret.is_only_variables(":") => {
                "holds a credential in the file itself (the value is not shown)"
            }
            _ => continue,
        };
        return Err(contradiction(&format!("{section}.{name}"), format!("{section}.{name} {what}"), hint));
    }
    if catalog.credential.is_some() && catalog.token.is_some() {
        let what = format!("{section} has both `credential` and `token`");
        return Err(contradiction(&format!("{section}.token"), what, "keep one of the two"));
    }
    if catalog.password.is_some() && catalog.user.is_none() {
        let what = format!("{section} has a `password` and no `user`");
        return Err(contradiction(&format!("{section}.password"), what, "add `user`"));
    }
    Ok(())
}

/// A finding about an address, which may hold a credential and is not shown.
fn bad_uri(key: &str, what: &str, hint: &str) -> Finding {
    contradiction(key, format!("{key} {what} (not shown: it may hold a credential)"), hint)
}

fn parsed(key: &str, text: &str, schemes: &[&str], hint: &str) -> Result<Url, Finding> {
    let url = Url::parse(text).map_err(|_| bad_uri(key, "is no valid address", hint))?;
    if !schemes.contains(&url.scheme()) || url.cannot_be_a_base() {
        return Err(bad_uri(key, "is no address that this type of catalogue has", hint));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "give user and secret by the section's own keys, as ${NAME}";
        return Err(bad_uri(key, "names a user or a password", hint));
    }
    match url.fragment() {
        Some(_) => Err(bad_uri(key, "has a fragment", hint)),
        None => Ok(url),
    }
}

fn sql_uri(section: &str, catalog: &Catalog) -> Checked {
    if catalog.name.as_ref().is_none_or(|name| name.trim().is_empty()) {
        let hint = "add the name that the catalogue has for its other users: `name: default`";
        let mut finding = contradiction(section, format!("{section} lacks `name`"), hint);
        finding.path.push(Step::Key("name".to_owned()));
        return Err(finding);
    }
    let key = format!("{section}.uri");
    let hint = "sqlite:////folder/catalog.db, or postgresql://host:5432/database";
    if let Some(path) = catalog.uri.strip_prefix("sqlite:") {
        let sound = catalog.uri.starts_with(SQLITE) && catalog.uri.len() > SQLITE.len() && !path.contains(['?', '#']);
        if !sound {
            return Err(bad_uri(&key, "names no SQLite file", hint));
        }
        return match catalog.user {
            None => Ok(()),
            Some(_) => Err(contradiction(&format!("{section}.user"), "SQLite has no users", "remove `user` and `password`")),
        };
    }
    let url = parsed(&key, &catalog.uri, &["postgresql", "postgres"], hint)?;
    let unknown = url.query_pairs().any(|(name, _)| !POSTGRES_PARAMETERS.contains(&name.as_ref()));
    match unknown {
        true => {
            Err(bad_uri(&key, "has a parameter that is not known", &format!("one of: {}", POSTGRES_PARAMETERS.join(", "))))
        }
        false => Ok(()),
    }
}

fn rest_uris(section: &str, catalog: &Catalog) -> Checked {
    let uris = [("uri", Some(&catalog.uri)), ("oauth2_server_uri", catalog.oauth2_server_uri.as_ref())];
    for (name, uri) in uris {
        let (Some(uri), key) = (uri, format!("{section}.{name}")) else { continue };
        let hint = "the catalogue's address before /v1: https://catalog.example.com/path";
        let url = parsed(&key, uri, &["http", "https"], hint)?;
        if url.query().is_some() {
            return Err(bad_uri(&key, "has a query", hint));
        }
    }
    Ok(())
}

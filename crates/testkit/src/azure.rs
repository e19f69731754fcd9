//! [`AzureServer`]: the Azure Blob API for tests, Azurite from the npm package `azurite`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lakeshift_journal::{Clock, RngExt, SystemClock, SystemRng};
use object_store::ObjectStore;
use object_store::azure::MicrosoftAzureBuilder;
use tokio::sync::OnceCell;

use crate::kept::{Kept, free_ports};

/// The container that the server has.
pub const CONTAINER: &str = "lake";
/// The storage account; made up.
pub const ACCOUNT: &str = "lakeshift";
/// How long the server may take to answer.
const START_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(300);
/// Asks for a container: the object store cannot make one, and the request must be signed.
const MAKE_CONTAINER: &str = r#"
const [account, key, port, container] = process.argv.slice(1);
const date = new Date().toUTCString(), version = "2021-08-06", path = `/${account}/${container}`;
const text = `PUT${"\n".repeat(12)}x-ms-date:${date}\nx-ms-version:${version}\n/${account}${path}\nrestype:container`;
const hmac = require("crypto").createHmac("sha256", Buffer.from(key, "base64")).update(text, "utf8").digest("base64");
const headers = {"x-ms-date": date, "x-ms-version": version, "content-length": 0, authorization: `SharedKey ${account}:${hmac}`};
const options = {host: "127.0.0.1", port, path: `${path}?restype=container`, method: "PUT", headers};
require("http").request(options, (answer) => { process.exitCode = answer.statusCode === 201 ? 0 : 1; answer.resume(); }).end();
"#;

static SHARED: OnceCell<Result<AzureServer, String>> = OnceCell::const_new();

/// A running server. It ends when this value is dropped, or with the process.
#[derive(Debug)]
pub struct AzureServer {
    kept: Kept,
    port: u16,
    key: String,
}

/// The server of this test process, started at the first call; nothing where Azurite is not installed, said on stderr.
///
/// # Panics
/// When the server cannot be started; and when it is not installed and `LAKESHIFT_REQUIRE_AZURE=1`.
#[expect(clippy::panic, clippy::print_stderr, reason = "a test is told why it cannot run")]
pub async fn shared() -> Option<&'static AzureServer> {
    let Some(azurite) = find_azurite() else {
        let hint = "Azurite was not found; run `npm install --prefix ~/.cache/lakeshift/azurite azurite@3.35.0`, or set \
                    LAKESHIFT_AZURITE to its `azurite-blob`";
        if std::env::var_os("LAKESHIFT_REQUIRE_AZURE").is_some_and(|value| value == "1") {
            panic!("LAKESHIFT_REQUIRE_AZURE=1, and {hint}");
        }
        eprintln!("SKIPPED the Azure part of this test: {hint}");
        return None;
    };
    let started = SHARED.get_or_init(async || AzureServer::start(&azurite).await.map_err(|error| error.to_string())).await;
    match started {
        Ok(server) => Some(server),
        Err(error) => panic!("could not start Azurite {}: {error}", azurite.display()),
    }
}

/// `azurite-blob`: `LAKESHIFT_AZURITE`, else the one below `$HOME/.cache/lakeshift/azurite`.
#[must_use]
pub fn find_azurite() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LAKESHIFT_AZURITE") {
        return Some(PathBuf::from(path));
    }
    let home = std::env::var_os("HOME").unwrap_or_default();
    let installed = Path::new(&home).join(".cache/lakeshift/azurite/node_modules/.bin/azurite-blob");
    installed.is_file().then_some(installed)
}

impl AzureServer {
    /// Starts a server on a free port with an empty container, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be spawned, or does not answer within 60 seconds; the message has the end of its log.
    pub async fn start(azurite: &Path) -> io::Result<Self> {
        // Any text of Base64 is a key.
        let key = format!("{:032x}{:032x}", SystemRng.nonce128(), SystemRng.nonce128());
        let (directory, ports) = (Kept::folder("lakeshift-azure-")?, free_ports(1)?);
        let kept = Kept::spawn(directory, azurite, |command| {
            let port = ports[0].to_string();
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port, "--inMemoryPersistence", "--silent"]);
            command.args(["--skipApiVersionCheck", "--disableTelemetry"]);
            command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{key}"));
        })?;
        let server = Self { kept, port: ports[0], key };
        let clock = SystemClock::new();
        while clock.elapsed() < START_MAX {
            let port = server.port.to_string();
            let node = Command::new("node").args(["-e", MAKE_CONTAINER, ACCOUNT, &server.key, &port, CONTAINER]).output()?;
            if node.status.success() {
                return Ok(server);
            }
            clock.sleep(POLL).await;
        }
        Err(io::Error::other(format!("no answer within {START_MAX:?}; its log ends with\n{}", server.kept.log_tail())))
    }

    /// What opens the server by a URL such as `az://lake/folder`.
    #[must_use]
    pub fn options(&self) -> BTreeMap<String, String> {
        let options = [
            ("account_name", ACCOUNT.to_owned()),
            ("access_key", self.key.clone()),
            ("endpoint", self.endpoint()),
            ("allow_http", "true".to_owned()),
        ];
        options.map(|(key, value)| (key.to_owned(), value)).into()
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// A new client. Clients belong to the runtime they are used in, so every test makes its own.
    ///
    /// # Errors
    /// When the configuration is refused.
    pub fn store(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        let builder = MicrosoftAzureBuilder::new().with_account(ACCOUNT).with_access_key(&self.key);
        let store = builder.with_endpoint(self.endpoint()).with_allow_http(true).with_container_name(CONTAINER).build()?;
        Ok(Arc::new(store))
    }
}

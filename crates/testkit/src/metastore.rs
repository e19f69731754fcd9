//! [`MetastoreServer`]: a real Hive Metastore for tests, from the jars of the PyPI package `pyspark`, with an embedded Derby.
//!
//! Tests look at it, and change what they have not written, by [`MetastoreServer::ask`]: Apache's own generated Thrift client
//! for Python, as pyiceberg brings it, so that no test takes our client's word for what our client wrote.

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lakeshift_journal::{Clock, SystemClock};
use tokio::sync::OnceCell;

use crate::kept::{Kept, free_ports};

/// How long the server may take to answer: it compiles its classes and makes its schema first.
const START_MAX: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(300);
/// Packages that the server's libraries reach into.
const OPENED: [&str; 5] = ["java.lang", "java.net", "java.nio", "java.util", "java.util.concurrent"];
/// What every script begins with: a client `c`, and `shown`, which makes JSON of what it answers.
const PRELUDE: &str = r#"
import json, sys
from thrift.transport import TSocket, TTransport
from thrift.protocol import TBinaryProtocol
from hive_metastore.ttypes import *
from hive_metastore.ThriftHiveMetastore import Client
socket = TSocket.TSocket("127.0.0.1", int(sys.argv[1]))
socket.setTimeout(60000)
transport = TTransport.TBufferedTransport(socket)
c = Client(TBinaryProtocol.TBinaryProtocol(transport))
transport.open()
def plain(x):
    if isinstance(x, dict): return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, set)): return [plain(v) for v in x]
    if hasattr(x, "__dict__"): return {k: plain(v) for k, v in vars(x).items() if v is not None}
    return x
def shown(x): print(json.dumps(plain(x), sort_keys=True))
"#;

/// Answers once databases and locks do: the first lock of all makes the tables of locks, and two first ones at once fail.
const READY: &str = r#"
c.get_all_databases()
part = LockComponent(type=LockType.EXCLUSIVE, level=LockLevel.TABLE, dbname="default", tablename="ready", operationType=DataOperationType.NO_TXN)
lock = c.lock(LockRequest(component=[part], user="test", hostname="test"))
c.unlock(UnlockRequest(lockid=lock.lockid))
"#;

static SHARED: OnceCell<Result<MetastoreServer, String>> = OnceCell::const_new();

/// A running server. It ends when this value is dropped, or with the process.
#[derive(Debug)]
pub struct MetastoreServer {
    kept: Kept,
    port: u16,
    python: PathBuf,
}

/// The server of this test process, started at the first call; nothing where Java, the jars or the client are not installed,
/// said on stderr.
///
/// # Panics
/// When the server cannot be started; and when something is not installed and `LAKESHIFT_REQUIRE_METASTORE=1`.
#[expect(clippy::panic, clippy::print_stderr, reason = "a test is told why it cannot run")]
pub async fn shared() -> Option<&'static MetastoreServer> {
    let parts = match (find_jars(), find_python()) {
        (Some(jars), Some(python)) if runs(Command::new("java").arg("-version")) => Some((jars, python)),
        _ => None,
    };
    let Some((jars, python)) = parts else {
        let hint = "a Hive Metastore wants Java 17, the jars of pyspark (`scripts/pyspark.sh ~/.cache/lakeshift/spark`, or \
                    LAKESHIFT_METASTORE_JARS) and `make venv`";
        if std::env::var_os("LAKESHIFT_REQUIRE_METASTORE").is_some_and(|value| value == "1") {
            panic!("LAKESHIFT_REQUIRE_METASTORE=1, and {hint}");
        }
        eprintln!("SKIPPED the Hive Metastore part of this test: {hint}");
        return None;
    };
    let start = async || MetastoreServer::start(&jars, &python).await.map_err(|error| error.to_string());
    match SHARED.get_or_init(start).await {
        Ok(server) => Some(server),
        Err(error) => panic!("could not start the Hive Metastore of {}: {error}", jars.display()),
    }
}

/// The folder of the jars: `LAKESHIFT_METASTORE_JARS`, else those of the pyspark that `make interop` uses.
#[must_use]
pub fn find_jars() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LAKESHIFT_METASTORE_JARS") {
        return Some(PathBuf::from(path));
    }
    let spark = std::env::var_os("LAKESHIFT_SPARK").map_or_else(|| in_cache("spark"), PathBuf::from);
    let versions = std::fs::read_dir(spark.join("venv/lib")).ok()?;
    let jars = versions.filter_map(|version| Some(version.ok()?.path().join("site-packages/pyspark/jars")));
    jars.filter(|jars| jars.is_dir()).max()
}

/// A Python that has the client.
fn find_python() -> Option<PathBuf> {
    let venv = std::env::var_os("LAKESHIFT_VENV").map_or_else(|| in_cache("venv"), PathBuf::from);
    let python = venv.join("bin/python");
    runs(Command::new(&python).args(["-c", "import thrift, hive_metastore"])).then_some(python)
}

fn in_cache(folder: &str) -> PathBuf {
    Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/lakeshift").join(folder)
}

fn runs(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

impl MetastoreServer {
    /// Starts a server on a free port with an empty Derby, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be spawned, or does not answer within four minutes; the message has the end of its log.
    pub async fn start(jars: &Path, python: &Path) -> io::Result<Self> {
        let directory = Kept::folder("lakeshift-metastore-")?;
        std::fs::write(directory.join("hive-site.xml"), site(&directory))?;
        let port = free_ports(1)?[0];
        let folder = directory.clone();
        let kept = Kept::spawn(directory, Path::new("java"), |command| {
            command.current_dir(&folder).arg("-Xmx512m");
            command.args(OPENED.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")));
            command.arg(format!("-Djava.io.tmpdir={}", folder.display()));
            command.arg("-cp").arg(format!("{}:{}/*", folder.display(), jars.display()));
            command.args(["org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", &port.to_string()]);
        })?;
        let server = Self { kept, port, python: python.to_owned() };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("thrift://127.0.0.1:{}", self.port)
    }

    /// Runs a Python script that has a client `c` of the service, its types, and `shown(x)`; answers what it prints.
    ///
    /// # Errors
    /// What Python complains of.
    pub fn ask(&self, script: &str) -> io::Result<String> {
        let mut python = Command::new(&self.python);
        python.arg("-c").arg(format!("{PRELUDE}\n{script}")).arg(self.port.to_string());
        let output = python.stdin(Stdio::null()).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    async fn wait_until_ready(&self) -> io::Result<()> {
        let clock = SystemClock::new();
        let mut last = String::new();
        while clock.elapsed() < START_MAX {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                match self.ask(READY) {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error.to_string(),
                }
            }
            clock.sleep(POLL).await;
        }
        Err(io::Error::other(format!("no answer within {START_MAX:?}: {last}\n{}", self.kept.log_tail())))
    }
}

/// The server's configuration. `hive.in.test` makes the tables of its locks, which Hive's own schema tool would have made.
fn site(directory: &Path) -> String {
    let folder = directory.display();
    let properties = [
        ("javax.jdo.option.ConnectionURL", format!("jdbc:derby:;databaseName={folder}/db;create=true")),
        ("hive.metastore.warehouse.dir", format!("file://{folder}/warehouse")),
        ("datanucleus.schema.autoCreateAll", "true".to_owned()),
        ("hive.metastore.schema.verification", "false".to_owned()),
        ("hive.in.test", "true".to_owned()),
        ("hive.async.log.enabled", "false".to_owned()),
    ];
    let property = |(name, value)| format!("<property><name>{name}</name><value>{value}</value></property>\n");
    let properties: String = properties.map(property).concat();
    format!("<configuration>\n{properties}</configuration>\n")
}

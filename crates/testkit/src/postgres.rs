//! [`PostgresServer`]: a real PostgreSQL for tests, from the system's packages, in a folder of its own.

use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lakeshift_journal::{Clock, RngExt, SystemClock, SystemRng};
use tokio::sync::OnceCell;

use crate::kept::{Kept, free_ports};

/// The database that the server has.
pub const DATABASE: &str = "lake";
/// The user that may use it.
pub const USER: &str = "lakeshift";
/// How long the server may take to answer.
const START_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

static SHARED: OnceCell<Result<PostgresServer, String>> = OnceCell::const_new();

/// A running server. It ends when this value is dropped, or with the process.
#[derive(Debug)]
pub struct PostgresServer {
    kept: Kept,
    port: u16,
    password: String,
}

/// The server of this test process, started at the first call; nothing where PostgreSQL is not installed, said on stderr.
///
/// # Panics
/// When the server cannot be started; and when it is not installed and `LAKESHIFT_REQUIRE_POSTGRES=1`.
#[expect(clippy::panic, clippy::print_stderr, reason = "a test is told why it cannot run")]
pub async fn shared() -> Option<&'static PostgresServer> {
    let Some(bin) = find_bin() else {
        let hint = "PostgreSQL was not found; install the package `postgresql`, or set LAKESHIFT_POSTGRES to its bin folder";
        if std::env::var_os("LAKESHIFT_REQUIRE_POSTGRES").is_some_and(|value| value == "1") {
            panic!("LAKESHIFT_REQUIRE_POSTGRES=1, and {hint}");
        }
        eprintln!("SKIPPED the PostgreSQL part of this test: {hint}");
        return None;
    };
    let started = SHARED.get_or_init(async || PostgresServer::start(&bin).await.map_err(|error| error.to_string())).await;
    match started {
        Ok(server) => Some(server),
        Err(error) => panic!("could not start PostgreSQL of {}: {error}", bin.display()),
    }
}

/// The folder with `initdb`: `LAKESHIFT_POSTGRES`, else the newest of Debian's packages.
#[must_use]
pub fn find_bin() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LAKESHIFT_POSTGRES") {
        return Some(PathBuf::from(path));
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    bins.filter(|bin| bin.join("initdb").is_file()).max()
}

impl PostgresServer {
    /// Starts a server on a free loopback port with an empty database, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be made or does not answer within 60 seconds; the message has its log.
    pub async fn start(bin: &Path) -> io::Result<Self> {
        let directory = Kept::folder("lakeshift-postgres-")?;
        let password = format!("{:032x}", SystemRng.nonce128());
        let (data, secret) = (directory.join("data"), directory.join("password"));
        std::fs::write(&secret, &password)?;
        let runner = Runner::of_folder(&directory)?;
        let port = free_ports(1)?[0];
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "-U", USER]);
        initdb.arg("--pgdata").arg(&data).arg("--pwfile").arg(&secret);
        runner.runs(&mut initdb);
        run(&mut initdb)?;
        std::fs::remove_file(&secret)?;
        let kept = Kept::spawn(directory, &bin.join("postgres"), |command| {
            command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k", "", "-F", "-c", "listen_addresses=127.0.0.1"]);
            runner.runs(command);
        })?;
        let server = Self { kept, port, password };
        server.create_database(bin).await?;
        Ok(server)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of [`USER`]; made up for this server.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Runs one statement and answers its rows as text, columns separated by `|`.
    ///
    /// # Errors
    /// What `psql` says.
    pub fn query(&self, statement: &str) -> io::Result<String> {
        let bin = find_bin().ok_or_else(|| io::Error::other("PostgreSQL is gone"))?;
        self.psql(&bin, DATABASE, statement)
    }

    fn psql(&self, bin: &Path, database: &str, statement: &str) -> io::Result<String> {
        let mut psql = Command::new(bin.join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, "-d", database, "-At", "-c", statement]);
        run(psql.env("PGPASSWORD", &self.password))
    }

    async fn create_database(&self, bin: &Path) -> io::Result<()> {
        let clock = SystemClock::new();
        let mut last = String::new();
        while clock.elapsed() < START_MAX {
            match self.psql(bin, "postgres", &format!("CREATE DATABASE {DATABASE}")) {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            clock.sleep(POLL).await;
        }
        Err(io::Error::other(format!("no answer within {START_MAX:?}: {last}\n{}", self.kept.log_tail())))
    }
}

/// Who runs the server: PostgreSQL refuses root, which then becomes the system user `postgres`.
struct Runner {
    ids: Option<(u32, u32)>,
}

impl Runner {
    /// Hands the folder to who runs the server.
    fn of_folder(directory: &Path) -> io::Result<Self> {
        if std::fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(Self { ids: None });
        }
        let users = std::fs::read_to_string("/etc/passwd")?;
        let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == "postgres");
        let id = |at: usize| fields.as_ref().and_then(|fields| fields.get(at)?.parse().ok());
        let (Some(user), Some(group)) = (id(2), id(3)) else {
            return Err(io::Error::other("running as root, and there is no user `postgres` to run the server as"));
        };
        chown(directory, Some(user), Some(group))?;
        for entry in std::fs::read_dir(directory)? {
            chown(entry?.path(), Some(user), Some(group))?;
        }
        Ok(Self { ids: Some((user, group)) })
    }

    fn runs(&self, command: &mut Command) {
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command.current_dir("/");
    }
}

/// Runs a command to its end; its output, or its complaint as the error.
fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

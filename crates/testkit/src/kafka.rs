//! [`KafkaServer`]: a real Apache Kafka for tests, one broker in KRaft mode, in a folder of its own.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lakeshift_journal::{Clock, SystemClock};
use tokio::sync::OnceCell;

use crate::kept::{Kept, free_ports};

/// How long the broker may take to listen.
const START_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);
/// Any cluster's id: 16 bytes in base64.
const CLUSTER: &str = "bGFrZXNoaWZ0LXRlc3RzMQ";

static SHARED: OnceCell<Result<KafkaServer, String>> = OnceCell::const_new();

/// A running broker. It ends when this value is dropped, or with the process.
#[derive(Debug)]
pub struct KafkaServer {
    kept: Kept,
    port: u16,
}

/// The broker of this test process, started at the first call; nothing where Kafka is not installed, said on stderr.
///
/// # Panics
/// When the broker cannot be started; and when it is not installed and `LAKESHIFT_REQUIRE_KAFKA=1`.
#[expect(clippy::panic, clippy::print_stderr, reason = "a test is told why it cannot run")]
pub async fn shared() -> Option<&'static KafkaServer> {
    let Some(jars) = find_jars() else {
        let hint =
            "Kafka was not found; run `scripts/kafka.sh ~/.cache/lakeshift/kafka`, or set LAKESHIFT_KAFKA_JARS to its jars";
        if std::env::var_os("LAKESHIFT_REQUIRE_KAFKA").is_some_and(|value| value == "1") {
            panic!("LAKESHIFT_REQUIRE_KAFKA=1, and {hint}");
        }
        eprintln!("SKIPPED the Kafka part of this test: {hint}");
        return None;
    };
    let started = SHARED.get_or_init(async || KafkaServer::start(&jars).await.map_err(|error| error.to_string())).await;
    match started {
        Ok(server) => Some(server),
        Err(error) => panic!("could not start Kafka of {}: {error}", jars.display()),
    }
}

/// The folder with Kafka's jars: `LAKESHIFT_KAFKA_JARS`, else where `scripts/kafka.sh` is told to put them.
#[must_use]
pub fn find_jars() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/lakeshift/kafka/jars"));
    let jars = std::env::var_os("LAKESHIFT_KAFKA_JARS").map(PathBuf::from).or_else(home)?;
    jars.is_dir().then_some(jars)
}

impl KafkaServer {
    /// Starts a broker on a free loopback port, and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be made or does not listen within 90 seconds; the message has its log.
    pub async fn start(jars: &Path) -> io::Result<Self> {
        let directory = Kept::folder("lakeshift-kafka-")?;
        let ports = free_ports(2)?;
        let (port, controller) = (ports[0], ports[1]);
        let properties = directory.join("server.properties");
        let data = directory.join("data");
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\nlog.dirs={}\noffsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=1\ntransaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n",
            data.display()
        );
        std::fs::write(&properties, text)?;
        let classes = format!("{}/*", jars.display());
        let mut format = Command::new("java");
        format.args(["-Xmx256m", "-cp", &classes, "kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER, "-c"]);
        let formatted = format.arg(&properties).stdin(Stdio::null()).output()?;
        if !formatted.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&formatted.stderr).trim().to_owned()));
        }
        let kept = Kept::spawn(directory, Path::new("java"), |command| {
            command.args(["-Xmx512m", "-cp", &classes, "kafka.Kafka"]).arg(&properties);
        })?;
        let server = Self { kept, port };
        let clock = SystemClock::new();
        while clock.elapsed() < START_MAX {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            clock.sleep(POLL).await;
        }
        Err(io::Error::other(format!("it does not listen within {START_MAX:?}\n{}", server.kept.log_tail())))
    }

    /// Its bootstrap address.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

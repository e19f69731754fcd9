//! [`ZookeeperServer`]: a real ZooKeeper for tests, standalone, from the system's packages, in a folder of its own.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kept::{Restartable, free_ports};

/// A server that can be stopped and started again with what it had. It ends when this value is dropped, or with the process.
#[derive(Debug)]
pub struct ZookeeperServer {
    server: Restartable,
    port: u16,
}

/// The jar of ZooKeeper, which names those it needs: `LAKESHIFT_ZOOKEEPER_JAR`, else that of Debian's package.
#[must_use]
pub fn find_jar() -> Option<PathBuf> {
    let jar = std::env::var_os("LAKESHIFT_ZOOKEEPER_JAR").map(PathBuf::from);
    let jar = jar.unwrap_or_else(|| PathBuf::from("/usr/share/java/zookeeper.jar"));
    jar.is_file().then_some(jar)
}

impl ZookeeperServer {
    /// Starts a server on a free loopback port; nothing where ZooKeeper is not installed, said on stderr.
    ///
    /// # Panics
    /// When the server cannot be started; and when it is not installed and `LAKESHIFT_REQUIRE_ZOOKEEPER=1`.
    #[expect(clippy::panic, clippy::print_stderr, reason = "a test is told why it cannot run")]
    pub async fn start_if_installed() -> Option<Self> {
        let Some(jar) = find_jar() else {
            let hint = "ZooKeeper was not found; install the package `zookeeper`, or set LAKESHIFT_ZOOKEEPER_JAR to its jar";
            if std::env::var_os("LAKESHIFT_REQUIRE_ZOOKEEPER").is_some_and(|value| value == "1") {
                panic!("LAKESHIFT_REQUIRE_ZOOKEEPER=1, and {hint}");
            }
            eprintln!("SKIPPED the ZooKeeper part of this test: {hint}");
            return None;
        };
        match Self::start(&jar).await {
            Ok(server) => Some(server),
            Err(error) => panic!("could not start {}: {error}", jar.display()),
        }
    }

    async fn start(jar: &Path) -> io::Result<Self> {
        let (port, jar) = (free_ports(1)?[0], jar.display().to_string());
        let arguments = move |_: &Path| {
            let main = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
            // The configuration lies in the folder that the server is started in.
            ["-Xmx256m", "-Dzookeeper.admin.enableServer=false", "-cp", &jar, main, "zoo.cfg"].map(str::to_owned).to_vec()
        };
        let mut server = Restartable::new("lakeshift-zookeeper-", PathBuf::from("java"), arguments)?;
        // Short ticks allow short sessions.
        let settings = format!(
            "tickTime=100\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxSessionTimeout=60000\n4lw.commands.whitelist=srvr\n",
            server.data().display()
        );
        std::fs::write(server.data().join("zoo.cfg"), settings)?;
        server.start(&|| answers(port).is_ok_and(|answer| answer.contains("Mode:"))).await?;
        Ok(Self { server, port })
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it again with what it had.
    ///
    /// # Errors
    /// It does not answer; the message has its log.
    pub async fn start_again(&mut self) -> io::Result<()> {
        let port = self.port;
        self.server.start(&|| answers(port).is_ok_and(|answer| answer.contains("Mode:"))).await
    }
}

/// What the server says of itself; it listens before it serves.
fn answers(port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    // One that is starting may accept and not answer.
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

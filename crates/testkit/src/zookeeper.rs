//! A real ZooKeeper for tests, standalone, from the system's packages, in a folder of its own.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kept::free_ports;
use crate::restartable::{Program, Restartable};

/// Starts a server on a free loopback port; nothing where ZooKeeper is not installed, said on stderr.
///
/// # Panics
/// When the server cannot be started; and when it is not installed and `LAKESHIFT_REQUIRE_ZOOKEEPER=1`.
pub async fn start_if_installed() -> Option<Restartable> {
    let hint = "ZooKeeper was not found; install the package `zookeeper`, or set LAKESHIFT_ZOOKEEPER_JAR to its jar";
    Restartable::start_found(find().map(program), "LAKESHIFT_REQUIRE_ZOOKEEPER", hint).await
}

/// The jar of ZooKeeper, which names those it needs: `LAKESHIFT_ZOOKEEPER_JAR`, else that of Debian's package.
fn find() -> Option<PathBuf> {
    let jar = std::env::var_os("LAKESHIFT_ZOOKEEPER_JAR").map(PathBuf::from);
    let jar = jar.unwrap_or_else(|| PathBuf::from("/usr/share/java/zookeeper.jar"));
    jar.is_file().then_some(jar)
}

fn program(jar: PathBuf) -> io::Result<Program> {
    let (port, jar) = (free_ports(1)?[0], jar.display().to_string());
    let arguments = move |data: &Path| {
        // Short ticks allow short sessions.
        let settings = format!(
            "tickTime=100\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxSessionTimeout=60000\n4lw.commands.whitelist=srvr\n",
            data.display()
        );
        std::fs::write(data.join("zoo.cfg"), settings)?;
        let main = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
        // The configuration lies in the folder that the server is started in.
        let arguments = ["-Xmx256m", "-Dzookeeper.admin.enableServer=false", "-cp", &jar, main, "zoo.cfg"];
        Ok(arguments.map(str::to_owned).to_vec())
    };
    Ok(Program {
        prefix: "lakeshift-zookeeper-",
        path: PathBuf::from("java"),
        port,
        arguments: Box::new(arguments),
        is_ready: |port| answer(port).is_ok_and(|answer| answer.contains("Mode:")),
    })
}

/// What the server says of itself; it listens before it serves.
fn answer(port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    // One that is starting may accept and not answer.
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

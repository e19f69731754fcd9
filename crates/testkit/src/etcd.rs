//! [`EtcdServer`]: a real etcd for tests, one member, from the system's packages, in a folder of its own.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::kept::{Restartable, find_program, free_ports};

/// A server that can be stopped and started again with what it had. It ends when this value is dropped, or with the process.
#[derive(Debug)]
pub struct EtcdServer {
    server: Restartable,
    port: u16,
}

impl EtcdServer {
    /// Starts a server on free loopback ports; nothing where etcd is not installed, said on stderr.
    ///
    /// # Panics
    /// When the server cannot be started; and when it is not installed and `LAKESHIFT_REQUIRE_ETCD=1`.
    #[expect(clippy::panic, clippy::print_stderr, reason = "a test is told why it cannot run")]
    pub async fn start_if_installed() -> Option<Self> {
        let Some(program) = find_program("LAKESHIFT_ETCD", "etcd") else {
            let hint = "etcd was not found; install the package `etcd-server`, or set LAKESHIFT_ETCD to the program";
            if std::env::var_os("LAKESHIFT_REQUIRE_ETCD").is_some_and(|value| value == "1") {
                panic!("LAKESHIFT_REQUIRE_ETCD=1, and {hint}");
            }
            eprintln!("SKIPPED the etcd part of this test: {hint}");
            return None;
        };
        match Self::start(&program).await {
            Ok(server) => Some(server),
            Err(error) => panic!("could not start {}: {error}", program.display()),
        }
    }

    async fn start(program: &Path) -> io::Result<Self> {
        let ports = free_ports(2)?;
        let (port, peer) = (ports[0], format!("http://127.0.0.1:{}", ports[1]));
        let client = format!("http://127.0.0.1:{port}");
        let arguments = move |data: &Path| {
            let mut arguments = vec!["--data-dir".to_owned(), data.join("etcd").display().to_string()];
            for (flag, value) in [
                ("--listen-client-urls", client.as_str()),
                ("--advertise-client-urls", client.as_str()),
                ("--listen-peer-urls", peer.as_str()),
                ("--initial-advertise-peer-urls", peer.as_str()),
                ("--initial-cluster", &format!("default={peer}")),
            ] {
                arguments.extend([flag.to_owned(), value.to_owned()]);
            }
            arguments
        };
        let mut server = Restartable::new("lakeshift-etcd-", PathBuf::from(program), arguments)?;
        // A member listens before it has a leader; the first request waits for that.
        server.start(&|| TcpStream::connect(("127.0.0.1", port)).is_ok()).await?;
        Ok(Self { server, port })
    }

    /// Its port for clients on 127.0.0.1.
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
    /// It does not listen; the message has its log.
    pub async fn start_again(&mut self) -> io::Result<()> {
        let port = self.port;
        self.server.start(&|| TcpStream::connect(("127.0.0.1", port)).is_ok()).await
    }
}

//! A real etcd for tests, one member, from the system's packages, in a folder of its own.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::kept::free_ports;
use crate::restartable::{Program, Restartable};

/// Starts a server on free loopback ports; nothing where etcd is not installed, said on stderr.
///
/// # Panics
/// When the server cannot be started; and when it is not installed and `LAKESHIFT_REQUIRE_ETCD=1`.
pub async fn start_if_installed() -> Option<Restartable> {
    let hint = "etcd was not found; install the package `etcd-server`, or set LAKESHIFT_ETCD to the program";
    Restartable::start_found(find().map(program), "LAKESHIFT_REQUIRE_ETCD", hint).await
}

/// `LAKESHIFT_ETCD`, else what is in the search path.
fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LAKESHIFT_ETCD") {
        return Some(PathBuf::from(path));
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join("etcd")).find(|path| path.is_file())
}

fn program(path: PathBuf) -> io::Result<Program> {
    let ports = free_ports(2)?;
    let (client, peer) = (format!("http://127.0.0.1:{}", ports[0]), format!("http://127.0.0.1:{}", ports[1]));
    let arguments = move |data: &Path| {
        let flags = [
            ("--data-dir", data.join("etcd").display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client.clone()),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer.clone()),
            ("--initial-cluster", format!("default={peer}")),
        ];
        Ok(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect())
    };
    Ok(Program {
        prefix: "lakeshift-etcd-",
        path,
        port: ports[0],
        arguments: Box::new(arguments),
        // A member listens before it has a leader; the first request waits for that.
        is_ready: |port| TcpStream::connect(("127.0.0.1", port)).is_ok(),
    })
}

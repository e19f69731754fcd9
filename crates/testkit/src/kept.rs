//! [`Kept`]: a server's process and its folder, both gone when the test process is, whatever way it ends.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Ends the server when this process closes the pipe, by intent or by dying in any way, and clears its folder. A signal
/// to the whole process group (Ctrl-C) ends the `read` and so does the same.
const KEEPER: &str =
    r#"trap : HUP INT TERM; dir=$1; shift; "$@" & server=$!; read -r _; kill -9 $server; wait $server; rm -rf "$dir""#;
const LOG: &str = "server.log";
/// Lines of a log that an error repeats.
const LOG_LINES: usize = 20;

/// A running server. It ends when this value is dropped, or with the process.
#[derive(Debug)]
pub(crate) struct Kept {
    keeper: Child,
    directory: PathBuf,
}

impl Kept {
    /// A folder for a server's files, which [`spawn`](Self::spawn) takes over.
    pub fn folder(prefix: &str) -> io::Result<PathBuf> {
        Ok(TempDir::with_prefix(prefix)?.keep())
    }

    /// Starts `program`; `configure` adds its arguments, environment and user.
    pub fn spawn(directory: PathBuf, program: &Path, configure: impl FnOnce(&mut Command)) -> io::Result<Self> {
        let log = std::fs::File::create(directory.join(LOG))?;
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).args([directory.as_os_str(), program.as_os_str()]);
        configure(&mut command);
        let keeper = command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { keeper, directory })
    }

    /// The folder.
    #[cfg(feature = "locks")]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The end of what the server has said.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.directory.join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // The keeper's exit status says nothing about a test.
        let _ = self.keeper.wait();
    }
}

/// Ports that are free now. Another process may take one before the server does; the server then does not get ready.
pub(crate) fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held: io::Result<Vec<TcpListener>> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    held?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

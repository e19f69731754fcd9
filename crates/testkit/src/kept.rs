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

/// A program by the variable that names it, else in the search path.
#[cfg(feature = "locks")]
pub(crate) fn find_program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(feature = "locks")]
pub(crate) use restartable::Restartable;

#[cfg(feature = "locks")]
mod restartable {
    use std::fmt;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use lakeshift_journal::{Clock, SystemClock};

    use super::Kept;

    /// How long a server may take to answer.
    const START_MAX: Duration = Duration::from_secs(60);
    const POLL: Duration = Duration::from_millis(50);

    /// What a server is started with, from the folder of its data.
    type Arguments = Box<dyn Fn(&Path) -> Vec<String> + Send + Sync>;

    /// A server that is stopped and started again with the data that it had.
    pub(crate) struct Restartable {
        server: Option<Kept>,
        /// Clears the data when all is over; it runs nothing that matters.
        data: Kept,
        prefix: &'static str,
        program: PathBuf,
        arguments: Arguments,
    }

    impl fmt::Debug for Restartable {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Restartable").field("program", &self.program).finish_non_exhaustive()
        }
    }

    impl Restartable {
        /// A server that is not started yet; `arguments` are made from the folder of its data, in which it runs.
        pub fn new(
            prefix: &'static str,
            program: PathBuf,
            arguments: impl Fn(&Path) -> Vec<String> + Send + Sync + 'static,
        ) -> io::Result<Self> {
            let data = Kept::spawn(Kept::folder(prefix)?, Path::new("sleep"), |command| {
                command.arg("infinity");
            })?;
            Ok(Self { server: None, data, prefix, program, arguments: Box::new(arguments) })
        }

        /// The folder of its data.
        pub fn data(&self) -> &Path {
            &self.data.directory
        }

        /// Starts it, and waits until it is ready.
        pub async fn start(&mut self, is_ready: &(dyn Fn() -> bool + Sync)) -> io::Result<()> {
            let data = self.data().to_owned();
            let server = Kept::spawn(Kept::folder(self.prefix)?, &self.program, |command| {
                command.args((self.arguments)(&data)).current_dir(&data);
            })?;
            let server = self.server.insert(server);
            let clock = SystemClock::new();
            while clock.elapsed() < START_MAX {
                if is_ready() {
                    return Ok(());
                }
                clock.sleep(POLL).await;
            }
            Err(io::Error::other(format!("no answer within {START_MAX:?}\n{}", server.log_tail())))
        }

        /// Kills it.
        pub fn stop(&mut self) {
            self.server = None;
        }
    }
}

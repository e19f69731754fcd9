//! [`Restartable`]: a real server on a loopback port, which is stopped and started again with the data that it had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lakeshift_journal::{Clock, SystemClock};

use crate::kept::Kept;

/// How long a server may take to answer.
const START_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Makes a server's arguments from the folder of its data, in which it runs, and whatever it wants to find there.
type Arguments = dyn Fn(&Path) -> io::Result<Vec<String>> + Send + Sync;

/// A server's program and what it is started with.
pub(crate) struct Program {
    /// The beginning of its folders' names.
    pub prefix: &'static str,
    pub path: PathBuf,
    pub port: u16,
    pub arguments: Box<Arguments>,
    /// Whether it serves on the port.
    pub is_ready: fn(u16) -> bool,
}

/// A running server. It ends when this value is dropped, or with the process.
pub struct Restartable {
    server: Option<Kept>,
    /// Clears the data when all is over; it runs nothing that matters.
    data: Kept,
    program: Program,
}

impl fmt::Debug for Restartable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restartable").field("program", &self.program.path).finish_non_exhaustive()
    }
}

impl Restartable {
    /// Starts `program`; nothing where it was not `found`, said on stderr with the `hint`.
    ///
    /// # Panics
    /// When it cannot be started; and when it is not there and the variable `required` is 1.
    #[expect(clippy::panic, clippy::print_stderr, reason = "a test is told why it cannot run")]
    pub(crate) async fn start_found(program: Option<io::Result<Program>>, required: &str, hint: &str) -> Option<Self> {
        let Some(program) = program else {
            if std::env::var_os(required).is_some_and(|value| value == "1") {
                panic!("{required}=1, and {hint}");
            }
            eprintln!("SKIPPED a part of this test: {hint}");
            return None;
        };
        match async { Self::start(program?).await }.await {
            Ok(server) => Some(server),
            Err(error) => panic!("could not start it: {error}"),
        }
    }

    async fn start(program: Program) -> io::Result<Self> {
        let data = Kept::spawn(Kept::folder(program.prefix)?, Path::new("sleep"), |command| {
            command.arg("infinity");
        })?;
        let mut server = Self { server: None, data, program };
        server.start_again().await?;
        Ok(server)
    }

    /// Its port for clients on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.program.port
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it again with what it had, and waits until it serves.
    ///
    /// # Errors
    /// It does not; the message has its log.
    pub async fn start_again(&mut self) -> io::Result<()> {
        let Program { prefix, path, port, arguments, is_ready } = &self.program;
        let data = self.data.directory();
        let arguments = arguments(data)?;
        let server = Kept::spawn(Kept::folder(prefix)?, path, |command| {
            command.args(arguments).current_dir(data);
        })?;
        let server = self.server.insert(server);
        let clock = SystemClock::new();
        while clock.elapsed() < START_MAX {
            if is_ready(*port) {
                return Ok(());
            }
            clock.sleep(POLL).await;
        }
        Err(io::Error::other(format!("{} gave no answer within {START_MAX:?}\n{}", path.display(), server.log_tail())))
    }
}

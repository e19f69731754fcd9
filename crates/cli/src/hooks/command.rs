//! A user's command: payload on standard input, answer by exit code.

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, Command};

/// Bytes of standard error that are looked at; the rest is read and forgotten, so that the command can end.
const STDERR_BYTES_MAX: u64 = 8 * 1024;

/// Runs `command` with `variables` added to the environment. It is killed when this future is dropped.
///
/// # Errors
/// What it did, as the end of a sentence: it could not be started, or ended with another exit code than 0.
pub async fn run(command: &[String], variables: &[(&'static str, String)], stdin: Option<String>) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("names no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("could not be started: {error}"))?;
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    let write = async {
        if let (Some(mut input), Some(text)) = (input, stdin) {
            // A command that does not read is none the worse for it.
            let _ = input.write_all(text.as_bytes()).await;
        }
    };
    let ((), words, status) = tokio::join!(write, last_line(errors), child.wait());
    let status = status.map_err(|error| format!("could not be waited for: {error}"))?;
    match (status.success(), status.code()) {
        (true, _) => Ok(()),
        (false, Some(code)) => Err(format!("ended with exit code {code}{words}")),
        (false, None) => Err(format!("was killed{words}")),
    }
}

/// The last line of what the command said at first, without what a terminal would obey.
async fn last_line(errors: Option<ChildStderr>) -> String {
    let Some(mut errors) = errors else { return String::new() };
    let mut said = Vec::new();
    let read = (&mut errors).take(STDERR_BYTES_MAX).read_to_end(&mut said).await;
    if read.is_ok() {
        let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
    }
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let clean: String = last.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.is_empty() { clean } else { format!(": {clean}") }
}

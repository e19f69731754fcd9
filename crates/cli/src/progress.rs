//! Progress on standard error: a bar with rate and time left on a terminal, plain lines elsewhere, nothing when quiet.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A bar that is redrawn.
    Bar,
    /// A line for each step.
    Lines,
    /// Nowhere.
    Quiet,
}

impl Progress {
    /// A bar when standard error is a terminal, else lines.
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() { Self::Bar } else { Self::Lines }
    }

    /// Says one thing.
    pub fn say(self, text: impl AsRef<str>) {
        if self != Self::Quiet {
            line(text.as_ref());
        }
    }

    /// Begins something of `total_bytes`.
    pub fn begin(self, what: &str, total_bytes: u64) -> Meter {
        let bar = ProgressBar::with_draw_target(
            Some(total_bytes),
            match self {
                Self::Bar => ProgressDrawTarget::stderr(),
                _ => ProgressDrawTarget::hidden(),
            },
        );
        if let Ok(style) =
            ProgressStyle::with_template("{prefix} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        if self == Self::Bar {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Meter { progress: self, bar }
    }
}

/// Something under way.
#[derive(Debug)]
pub struct Meter {
    progress: Progress,
    bar: ProgressBar,
}

impl Meter {
    /// A step of `bytes` is done.
    pub fn step(&self, bytes: u64, message: &str) {
        self.bar.inc(bytes);
        match self.progress {
            Progress::Bar => self.bar.set_message(message.to_owned()),
            Progress::Lines => {
                let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
                let percent = (done * 100).checked_div(total).unwrap_or(100);
                line(&format!("{percent:3}% {} of {}  {message}", HumanBytes(done), HumanBytes(total)));
            }
            Progress::Quiet => {}
        }
    }

    /// It is over.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

#[expect(clippy::print_stderr, reason = "this is where the program talks to people")]
fn line(text: &str) {
    eprintln!("{text}");
}

//! Progress with rate and remaining time: bars on a terminal, plain lines elsewhere. Everything goes to standard error.

mod bars;
mod plain;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

use crate::clock::Stopwatch;
use plain::Lines;

pub use bars::suspend;

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ui {
    /// Bars where standard error is a terminal, else lines.
    #[default]
    Auto,
    /// Lines.
    Plain,
    /// Bars, even where standard error looks like no terminal (a container without one, a recording).
    Bars,
}

impl Ui {
    /// Every value, as it is written.
    pub const NAMES: [&str; 3] = ["auto", "plain", "bars"];

    /// Whether bars are drawn.
    fn draws_bars(self) -> bool {
        match self {
            Self::Auto => io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            Self::Plain => false,
            Self::Bars => true,
        }
    }
}

impl fmt::Display for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Bars => "bars",
        })
    }
}

/// A text that names no way of showing progress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no way to show progress: write auto, plain or bars")]
pub struct UnknownUi(String);

impl FromStr for Ui {
    type Err = UnknownUi;

    fn from_str(text: &str) -> Result<Self, UnknownUi> {
        [Self::Auto, Self::Plain, Self::Bars]
            .into_iter()
            .find(|ui| ui.to_string() == text)
            .ok_or_else(|| UnknownUi(text.to_owned()))
    }
}

/// Whether colours are wanted: not where `NO_COLOR` is set to something (<https://no-color.org>), not where standard
/// error is no terminal.
pub fn use_color() -> bool {
    color_allowed(std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()), io::stderr().is_terminal())
}

fn color_allowed(no_color: bool, terminal: bool) -> bool {
    terminal && !no_color
}

/// The progress of one job. It can be shared among threads.
#[derive(Debug)]
pub struct Progress {
    lines: Mutex<Lines>,
    watch: Stopwatch,
    bar: Option<ProgressBar>,
    ended: bool,
}

impl Progress {
    /// Begins a job of `total` steps.
    pub fn new(ui: Ui, label: &str, total: u64) -> Self {
        let bar = ui.draws_bars().then(|| bars::add(ui == Ui::Bars, label, total));
        Self { lines: Mutex::new(Lines::new(label, total)), watch: Stopwatch::start(), bar, ended: false }
    }

    /// `step` steps are done; `message` says how it goes (`loss 2.31  acc 0.62  410 img/s`).
    pub fn set(&self, step: u64, message: &str) {
        self.update(|_| step, message);
    }

    /// `steps` more steps are done; for jobs whose steps end on several threads.
    pub fn inc(&self, steps: u64) {
        self.update(|done| done.saturating_add(steps), "");
    }

    /// The job is done; `message` says what came of it. A progress that is dropped instead counts as stopped.
    pub fn finish(mut self, message: &str) {
        self.end("done in", message);
    }

    fn update(&self, step: impl FnOnce(u64) -> u64, message: &str) {
        // A thread that panicked left at worst an old number behind.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let step = step(lines.step());
        let due = lines.set(self.watch.seconds(), step, message);
        match &self.bar {
            Some(bar) => {
                bar.set_message(message.to_owned());
                bar.set_position(step);
            }
            None => due.into_iter().for_each(|line| print(&line)),
        }
    }

    /// Replaces the bar by a line of text, which stays on the screen.
    fn end(&mut self, how: &str, message: &str) {
        if let Some(bar) = self.bar.take() {
            bars::remove(&bar);
        }
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        print(&lines.end(self.watch.seconds(), how, message));
        self.ended = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.ended {
            self.end("stopped after", "");
        }
    }
}

/// Prints a line; a closed standard error is no reason to stop.
fn print(line: &str) {
    suspend(|| drop(writeln!(io::stderr(), "{line}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for name in Ui::NAMES {
            assert_eq!(name.parse::<Ui>().unwrap().to_string(), name);
        }
        let error = "tui".parse::<Ui>().unwrap_err().to_string();
        assert_eq!(error, "\"tui\" is no way to show progress: write auto, plain or bars");
    }

    #[test]
    fn color_needs_a_terminal_and_no_objection() {
        assert!(color_allowed(false, true));
        assert!(!color_allowed(true, true));
        assert!(!color_allowed(false, false));
    }

    #[test]
    fn progress_can_be_shared_by_threads() {
        let progress = Progress::new(Ui::Plain, "cache", 400);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| progress.inc(1)));
            }
        });
        assert_eq!(progress.lines.lock().unwrap().step(), 400);
        progress.finish("done");
    }
}

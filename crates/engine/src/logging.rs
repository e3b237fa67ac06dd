//! Messages: text for people on standard error, JSON lines in the run folder.
//!
//! A program starts logging before it knows its run folder; what it says until then is kept and written as soon as the
//! file is attached. Messages never tear progress bars, and a log that cannot be written never stops a run.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use data::fsx::LineLog;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::error::Result;
use crate::progress;

/// Crates of this project; what others say is shown from one level higher up.
const OUR_CRATES: [&str; 6] = ["data", "model", "engine", "eval", "train", "roentgen"];
/// How much is kept while no file is attached (bytes).
const EARLY_BYTES: usize = 256 << 10;

/// The log of this process, once [`init`] ran.
static LOG: OnceLock<LogFile> = OnceLock::new();

/// Starts logging and returns the handle of the log file. A second call changes nothing and returns the same handle.
///
/// On standard error: warnings of libraries and, for `verbosity` 0, 1 or more, this project's messages from info, debug
/// or trace on. The file takes everything that standard error takes, and this project's debug messages always.
pub fn init(verbosity: u8) -> LogFile {
    LOG.get_or_init(|| {
        let file = LogFile::default();
        let text = fmt::layer()
            .without_time()
            .with_target(verbosity > 0)
            .with_ansi(progress::use_color())
            .with_writer(|| Screen)
            .with_filter(filter(verbosity));
        let json = fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(file.clone())
            .with_filter(filter(verbosity.max(1)));
        // Another subscriber can only be there where a program set its own, and then that one is meant.
        let _ = tracing_subscriber::registry().with(text).with(json).try_init();
        file
    })
    .clone()
}

/// Which messages pass.
fn filter(verbosity: u8) -> Targets {
    let (ours, others) = match verbosity {
        0 => (LevelFilter::INFO, LevelFilter::WARN),
        1 => (LevelFilter::DEBUG, LevelFilter::WARN),
        _ => (LevelFilter::TRACE, LevelFilter::INFO),
    };
    Targets::new().with_default(others).with_targets(OUR_CRATES.map(|name| (name, ours)))
}

/// Standard error above the progress bars.
#[derive(Debug)]
struct Screen;

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A closed standard error must not make the logger complain on standard error.
        progress::suspend(|| drop(io::stderr().write_all(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log file of a process, to which a path can be attached later. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LogFile(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    /// No file yet: whole lines, at most [`EARLY_BYTES`].
    Early(Vec<u8>),
    File(LineLog),
    /// Writing failed; the rest is dropped.
    Broken,
}

impl Default for State {
    fn default() -> Self {
        Self::Early(Vec::new())
    }
}

impl LogFile {
    /// Writes the lines so far and all that follow to the file at `path`.
    ///
    /// # Errors
    /// The file cannot be written; later lines are then kept for another attempt.
    pub fn attach(&self, path: &Path) -> Result<()> {
        let mut log = LineLog::open(path)?;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Early(bytes) = &*state {
            for line in String::from_utf8_lossy(bytes).lines() {
                log.line(line)?;
            }
        }
        *state = State::File(log);
        Ok(())
    }

    fn append(&self, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Early(early) if early.len() + bytes.len() <= EARLY_BYTES => early.extend(bytes),
            State::File(log) => {
                let written = log.line(String::from_utf8_lossy(bytes).trim_end());
                if let Err(error) = written {
                    *state = State::Broken;
                    drop(state);
                    // Not by `tracing`, which would end here again.
                    let line = format!("WARN the log is incomplete from here on: {error}\n");
                    progress::suspend(|| drop(io::stderr().write_all(line.as_bytes())));
                }
            }
            State::Early(_) | State::Broken => {}
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_before_and_after_the_file_all_arrive_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let log = LogFile::default();
        let json = fmt::layer().json().flatten_event(true).with_writer(log.clone()).with_filter(filter(1));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(json), || {
            tracing::info!(target: "train", studies = 3, "early");
            log.attach(&path).unwrap();
            tracing::debug!(target: "engine::fit", "with\na line break");
            tracing::info!(target: "burn", "a library chats");
            tracing::warn!(target: "burn", "a library warns");
            tracing::trace!(target: "train", "too fine");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let messages: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["early", "with\na line break", "a library warns"]);
        assert_eq!(lines[0]["studies"], 3);
        assert_eq!(lines[0]["level"], "INFO");
    }

    #[test]
    fn a_program_without_a_run_folder_keeps_little() {
        let mut log = LogFile::default();
        let line = [vec![b'x'; 999], vec![b'\n']].concat();
        for _ in 0..1000 {
            log.write_all(&line).unwrap();
        }
        let State::Early(bytes) = &*log.0.lock().unwrap() else { panic!("nothing was attached") };
        // 262 whole lines of 1000 bytes fit into 262144.
        assert_eq!(bytes.len(), 262_000);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_ends_the_log_and_nothing_else() {
        let mut log = LogFile::default();
        if log.attach(Path::new("/dev/full")).is_err() {
            println!("skipped: no /dev/full here");
            return;
        }
        log.write_all(b"{}\n").unwrap();
        assert!(matches!(&*log.0.lock().unwrap(), State::Broken));
        log.write_all(b"{}\n").unwrap();
    }

    #[test]
    fn verbosity_opens_the_filter() {
        use tracing::Level;
        let passes = |verbosity, target: &str, level| filter(verbosity).would_enable(target, &level);
        assert!(passes(0, "train", Level::INFO) && !passes(0, "train", Level::DEBUG));
        assert!(passes(1, "engine::fit", Level::DEBUG) && !passes(1, "engine::fit", Level::TRACE));
        assert!(passes(2, "roentgen_train", Level::TRACE));
        assert!(passes(0, "cubecl_runtime", Level::WARN) && !passes(1, "cubecl_runtime", Level::INFO));
    }
}

//! Programs whose output goes nowhere, to a closed pipe or to a file do their work as on a terminal.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::workplace::{CONVIRT, Workplace, sibling};

fn programs() -> Vec<(PathBuf, &'static [&'static str])> {
    let train = PathBuf::from(env!("CARGO_BIN_EXE_roentgen-train"));
    let mut programs: Vec<(PathBuf, &[&str])> = vec![
        (train.clone(), &["tiny.toml", "--print-config"]),
        (train.clone(), &["tiny.toml", "--dry-run"]),
        (train, &["tiny.toml", "--out", "run", "--json"]),
    ];
    programs.extend(sibling("eval").map(|path| (path, &["retrieval", "--weights", "run", "--resamples", "10"][..])));
    programs.extend(sibling("data").map(|path| (path, &["stats", "phantom"][..])));
    programs
}

fn command(place: &Workplace, program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(place.0.path()).env_remove("ROENTGEN_OUT").args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Workplace::new(CONVIRT);
    for (program, arguments) in programs() {
        let mut child =
            command(&place, &program, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !messages.contains("panicked"), "{arguments:?}: {messages}");
    }
    assert!(place.path("run/eval.json").is_file());
}

#[cfg(unix)]
#[test]
fn a_closed_or_full_error_output_is_no_failure() {
    let place = Workplace::new(CONVIRT);
    let program = Path::new(env!("CARGO_BIN_EXE_roentgen-train"));
    for (run, redirection) in [("closed", "2>&-"), ("full", "2>/dev/full")] {
        let script = format!("exec \"$0\" tiny.toml --out {run} -v {redirection}");
        let mut shell = Command::new("sh");
        shell.current_dir(place.0.path()).env_remove("ROENTGEN_OUT").args(["-c", &script]).arg(program);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{redirection}: {:?}", output.status);
        assert!(place.path(run).join("eval.json").is_file());
    }
}

#[test]
fn without_a_terminal_lines_are_plain() {
    let place = Workplace::new(CONVIRT);
    for (program, arguments) in programs() {
        let output = command(&place, &program, arguments).env("TERM", "xterm-256color").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let control = |bytes: &[u8]| bytes.iter().any(|b| *b == 0x1b || *b == b'\r');
        assert!(!control(&output.stdout) && !control(&output.stderr), "{arguments:?}");
    }
}

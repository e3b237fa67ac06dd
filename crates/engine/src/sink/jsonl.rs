//! Metrics as JSON lines: `{"step":10,"train/loss/total":4.1}`, one object for each logged step.
//!
//! JSON has no NaN and no infinity: such a number is `null`, and the field `non_finite` of the object says which it was
//! (`{"step":3,"loss":null,"non_finite":{"loss":"NaN"}}`).

use std::path::{Path, PathBuf};

use data::fsx::LineLog;
use serde_json::{Map, Value};

use super::MetricSink;
use crate::error::Result;

/// Largest file that is read back.
const MAX_BYTES: u64 = 1 << 30;

/// A file of JSON lines.
#[derive(Debug)]
pub struct JsonlSink {
    path: PathBuf,
    /// Absent after a failed write, until the file can be opened again.
    log: Option<LineLog>,
}

impl JsonlSink {
    /// Appends to the file at `path`, which is created where it is missing.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), log: Some(LineLog::open(path)?) })
    }

    /// Opens the file at `path` as it was after `step`: later lines go, as does a torn last one. Each line that stays is
    /// given to `keep` with its step and its values.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open_after(path: &Path, step: u64, mut keep: impl FnMut(u64, &[(&str, f64)]) -> Result<()>) -> Result<Self> {
        if path.exists() {
            let bytes = data::fsx::read_capped(path, MAX_BYTES)?;
            let mut kept = String::new();
            for line in String::from_utf8_lossy(&bytes).lines() {
                let Ok(Value::Object(object)) = serde_json::from_str(line) else { continue };
                let Some(at) = object.get("step").and_then(Value::as_u64).filter(|at| *at <= step) else { continue };
                let values: Vec<(&str, f64)> = object
                    .iter()
                    .filter(|(k, _)| *k != "step")
                    .filter_map(|(k, v)| Some((k.as_str(), v.as_f64()?)))
                    .collect();
                keep(at, &values)?;
                kept.push_str(line);
                kept.push('\n');
            }
            data::fsx::write_atomic(path, kept.as_bytes())?;
        }
        Self::open(path)
    }
}

impl MetricSink for JsonlSink {
    fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        // A failed write may have left half a line; opening the file ends it.
        let mut log = self.log.take().map_or_else(|| LineLog::open(&self.path), Ok)?;
        log.line(&record(step, values))?;
        self.log = Some(log);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.log.as_ref().map_or(Ok(()), |log| Ok(log.sync()?))
    }
}

/// The line of one step.
fn record(step: u64, values: &[(&str, f64)]) -> String {
    let mut object = Map::new();
    object.insert("step".to_owned(), step.into());
    let mut odd = Map::new();
    for &(name, value) in values {
        // `from` turns a number that JSON cannot hold into null.
        object.insert(name.to_owned(), Value::from(value));
        if !value.is_finite() {
            odd.insert(name.to_owned(), value.to_string().into());
        }
    }
    if !odd.is_empty() {
        object.insert("non_finite".to_owned(), odd.into());
    }
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_numbers_their_value() {
        let values = [("train/loss", 0.1), ("lr", 1e-7), ("a", -0.0), ("big", 1e300)];
        let line = record(7, &values);
        assert_eq!(line, r#"{"step":7,"train/loss":0.1,"lr":1e-7,"a":-0.0,"big":1e+300}"#);
        let back: Value = serde_json::from_str(&line).unwrap();
        for (name, value) in values {
            assert_eq!(back[name].as_f64().map(f64::to_bits), Some(value.to_bits()));
        }
    }

    #[test]
    fn numbers_outside_json_are_null_and_named() {
        let line = record(1, &[("a", f64::NAN), ("b", f64::INFINITY), ("c", f64::NEG_INFINITY), ("d", 2.0)]);
        assert_eq!(
            line,
            r#"{"step":1,"a":null,"b":null,"c":null,"d":2.0,"non_finite":{"a":"NaN","b":"inf","c":"-inf"}}"#
        );
    }

    #[test]
    fn a_second_opening_appends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        for step in 0..2 {
            let mut sink = JsonlSink::open(&path).unwrap();
            sink.scalars(step, &[("x", 0.5)]).unwrap();
            sink.flush().unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"step\":0,\"x\":0.5}\n{\"step\":1,\"x\":0.5}\n");
    }

    #[test]
    fn what_came_after_a_step_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut sink = JsonlSink::open(&path).unwrap();
        for step in 1..=4 {
            sink.scalars(step, &[("x", step as f64)]).unwrap();
        }
        let whole = std::fs::read_to_string(&path).unwrap();
        data::fsx::write_atomic(&path, format!("{whole}{{\"step\":2,\"to").as_bytes()).unwrap();
        let mut seen = Vec::new();
        let mut sink = JsonlSink::open_after(&path, 2, |step, values| {
            seen.push((step, values[0].1));
            Ok(())
        })
        .unwrap();
        sink.scalars(3, &[("x", 9.0)]).unwrap();
        assert_eq!(seen, [(1, 1.0), (2, 2.0)]);
        let expected = "{\"step\":1,\"x\":1.0}\n{\"step\":2,\"x\":2.0}\n{\"step\":3,\"x\":9.0}\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_each_time() {
        let Ok(mut sink) = JsonlSink::open(Path::new("/dev/full")) else {
            println!("skipped: no /dev/full here");
            return;
        };
        for step in 0..2 {
            let error = sink.scalars(step, &[("x", 0.5)]).unwrap_err();
            assert_eq!(error.exit_code(), 4, "{error}");
        }
    }
}

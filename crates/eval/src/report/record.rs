//! What the folder of a run says without its weights.

use std::collections::BTreeMap;
use std::path::Path;

use data::fsx;
use data::source::parts::SourceConfig;
use engine::checkpoint::{Card, Checkpoint};
use engine::error::{EngineError, RunDirProblem};
use engine::run_dir::Environment;
use serde_json::Value;

use crate::error::Result;

/// Largest file that is read (bytes): a hundred thousand steps make some 60 MB of metrics.
const MAX_FILE: u64 = 256 << 20;

/// Numbers of a training by name, each with its steps, in their order.
pub type Metrics = BTreeMap<String, Vec<(f64, f64)>>;

/// A run.
#[derive(Debug)]
pub struct RunRecord {
    /// Name of the folder.
    pub name: String,
    /// The configuration as text; empty where the folder has none.
    pub config: String,
    /// Where it was run.
    pub environment: Option<Environment>,
    /// What its evaluation found; `null` while it is not done.
    pub figures: Value,
    /// What training logged.
    pub metrics: Metrics,
    /// What its weights are; nothing before the first are saved.
    pub card: Option<Card>,
}

impl RunRecord {
    /// Reads a folder that training or fine-tuning wrote.
    ///
    /// # Errors
    /// If it holds neither a configuration nor weights, or a file of it cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        // The name as it is, also of `.` and of links.
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = |name: &str| -> Result<Option<String>> {
            let path = folder.join(name);
            let bytes = if path.is_file() { Some(fsx::read_capped(&path, MAX_FILE)?) } else { None };
            Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let config = text("config.toml")?;
        let has_weights = folder.join("model.safetensors").is_file();
        if config.is_none() && !has_weights {
            let why = RunDirProblem::NoRun;
            return Err(EngineError::RunDir { path: folder.to_owned(), why }.into());
        }
        let environment = text("env.json")?.and_then(|text| serde_json::from_str(&text).ok());
        let figures = text("eval.json")?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let metrics = text("metrics.jsonl")?.map(|text| metrics(&text)).unwrap_or_default();
        let card = if has_weights { Some(Checkpoint::read(folder)?.card) } else { None };
        Ok(Self { name, config: config.unwrap_or_default(), environment, figures, metrics, card })
    }

    /// Where its images come from, as its configuration says.
    pub fn source(&self) -> Option<SourceConfig> {
        let config: toml::Table = self.config.parse().ok()?;
        config.get("data")?.get("source")?.clone().try_into().ok()
    }

    /// The value of a key of the configuration, such as `objective.kind`.
    pub fn setting(&self, key: &str) -> Option<String> {
        let config: toml::Table = self.config.parse().ok()?;
        let mut parts = key.split('.');
        let mut value = config.get(parts.next()?)?;
        for part in parts {
            value = value.get(part)?;
        }
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }
}

/// A line that is no JSON, such as one that a crash cut off, is passed over: training writes it again.
fn metrics(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in text.lines() {
        let Ok(Value::Object(line)) = serde_json::from_str::<Value>(line) else { continue };
        let Some(step) = line.get("step").and_then(Value::as_f64) else { continue };
        for (name, value) in line.iter().filter(|(name, _)| *name != "step") {
            if let Some(value) = value.as_f64().filter(|value| value.is_finite()) {
                metrics.entry(name.clone()).or_default().push((step, value));
            }
        }
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_by_name_and_torn_lines_passed_over() {
        let read = metrics(
            "{\"step\":10,\"train/loss\":2.5,\"note\":\"x\"}\n{\"step\":20,\"train/loss\":1.5}\n{\"step\":30,\"tr",
        );
        assert_eq!(read, Metrics::from([("train/loss".to_owned(), vec![(10.0, 2.5), (20.0, 1.5)])]));
        assert_eq!(metrics("null\n[1]\n{\"train/loss\":1}\n"), Metrics::new());
    }

    #[test]
    fn a_folder_without_a_run_is_refused_and_settings_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunRecord::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("config.toml"), "{error}");
        let config = "[objective]\nkind = \"mgca\"\n[data.source]\nkind = \"phantom\"\nseed = 3\n";
        data::fsx::write_atomic(&folder.path().join("config.toml"), config.as_bytes()).unwrap();
        let record = RunRecord::read(folder.path()).unwrap();
        assert_eq!(record.setting("objective.kind").as_deref(), Some("mgca"));
        assert_eq!(record.setting("objective.none"), None);
        assert!(
            matches!(record.source(), Some(SourceConfig::Phantom(source)) if source.seed == 3 && source.test == 512)
        );
        assert!(record.figures.is_null() && record.card.is_none());
    }
}

//! Chosen metrics as log lines for people: `step 200  val/loss 3.912  val/auroc 0.741`.

use std::fmt::Write as _;

use super::MetricSink;
use crate::error::Result;
use crate::table::number;

/// Log lines with the metrics of some groups. The numbers of every step belong to the progress bar; lines are for what
/// comes rarely, such as validation.
#[derive(Debug)]
pub struct ConsoleSink {
    prefixes: Vec<&'static str>,
}

impl ConsoleSink {
    /// Shows the metrics whose names begin with one of `prefixes`.
    pub fn new(prefixes: &[&'static str]) -> Self {
        Self { prefixes: prefixes.to_vec() }
    }

    /// The line for these metrics, `None` where none of them is shown.
    fn line(&self, step: u64, values: &[(&str, f64)]) -> Option<String> {
        let mut line = String::new();
        for (name, value) in values {
            if self.prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                let _ = write!(line, "  {name} {}", number(*value));
            }
        }
        (!line.is_empty()).then(|| format!("step {step}{line}"))
    }
}

impl MetricSink for ConsoleSink {
    fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        if let Some(line) = self.line(step, values) {
            tracing::info!("{line}");
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chosen_groups_are_shown() {
        let sink = ConsoleSink::new(&["val/", "eval/"]);
        let values = [("train/loss", 1.0), ("val/loss", 3.91249), ("eval/auroc", f64::NAN), ("validity", 1.0)];
        assert_eq!(sink.line(20, &values).as_deref(), Some("step 20  val/loss 3.912  eval/auroc -"));
        assert_eq!(sink.line(20, &values[..1]), None);
    }
}

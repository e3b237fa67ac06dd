//! What happens while a classifier is fine-tuned: the bar, the score of every epoch, the best classifier and, with a folder,
//! the states to go on from.

use std::path::{Path, PathBuf};

use burn::optim::ModuleOptimizer;
use data::error::DataError;
use data::fsx;
use engine::EngineError;
use engine::checkpoint::{self, Card, Checkpoint};
use engine::fit::{Observer, StepReport};
use engine::progress::Progress;
use engine::state::store::StateStore;
use engine::state::writer::StateWriter;
use engine::state::{Snapshot, TrainState};
use engine::upload::Preprocess;
use model::head::classifier::ImageClassifier;
use model::head::label_kind::LabelKind;

use super::criterion::Criterion;
use super::figures::Scores;
use super::kept::MODEL;
use crate::error::{EvalError, Result};
use crate::partial::write_json;
use crate::supervised::Supervised;
use crate::tasks::{Opened, Tools};

/// Validation score and logits of the best classifier so far, beside its weights.
const SCORES: &str = "best.json";

/// Logits of the images of a part, `[K][N]`.
pub(super) fn scores(
    model: &ImageClassifier,
    part: &Opened<'_>,
    preprocess: &Preprocess,
    tools: &Tools,
    tick: crate::embed::Tick<'_>,
) -> Result<Scores> {
    let (width, rows) = part.logits(model, preprocess, tools, tick)?;
    Ok((0..width).map(|class| rows.chunks_exact(width).map(|row| row[class]).collect()).collect())
}

/// The epoch with the best validation score so far.
pub(super) struct Best {
    /// The score; more is better.
    pub(super) score: f64,
    /// Logits of the validation images.
    pub(super) validate: Scores,
    pub(super) model: ImageClassifier,
}

impl Best {
    /// What [`Saving::best`] wrote.
    pub(super) fn read(place: &Path, tools: &Tools) -> Result<Self> {
        let path = place.join(SCORES);
        let bytes = fsx::read_capped(&path, 1 << 30)?;
        let (score, validate) = serde_json::from_slice(&bytes).map_err(|error| DataError::Io {
            action: "read",
            path,
            source: error.into(),
        })?;
        let model = Checkpoint::read(&place.join(MODEL))?.image_classifier(&tools.device)?;
        Ok(Self { score, validate, model })
    }
}

/// Where the best classifier and the states of a repetition are kept.
pub(super) struct Saving {
    place: PathBuf,
    card: Card,
    states: StateWriter,
}

impl Saving {
    fn best(&self, best: &Best) -> engine::Result<()> {
        fsx::create_private_dir(&self.place)?;
        checkpoint::save(&self.place.join(MODEL), &best.model, &self.card)?;
        Ok(write_json(&self.place.join(SCORES), &(best.score, &best.validate))?)
    }
}

/// Shows training and keeps the classifier with the best validation score.
pub(super) struct Watch<'a> {
    pub(super) progress: Progress,
    pub(super) validate: &'a Opened<'a>,
    /// Labels of the validation part, `[K][N]`.
    pub(super) labels: &'a [Vec<Option<bool>>],
    pub(super) criterion: Criterion,
    pub(super) kind: LabelKind,
    pub(super) preprocess: Preprocess,
    pub(super) tools: &'a Tools,
    pub(super) best: Option<Best>,
    /// Set by [`Watch::keep_in`].
    pub(super) saving: Option<Saving>,
}

impl Watch<'_> {
    /// Keeps the best classifier and the states of this training in a folder.
    pub(super) fn keep_in(&mut self, place: &Path, states: StateStore, card: Card) {
        self.saving = Some(Saving { place: place.to_owned(), card, states: StateWriter::new(states) });
    }

    /// Waits until the last state is written.
    pub(super) fn finish(&mut self) -> Result<()> {
        Ok(self.saving.as_mut().map_or(Ok(()), |saving| saving.states.finish())?)
    }

    /// What training ended with, where nothing was saved that it could go on from.
    pub(super) fn ended(&self, error: EngineError) -> EvalError {
        match error {
            EngineError::Interrupted { signal, .. } if self.saving.is_none() || self.best.is_none() => {
                EvalError::Interrupted { signal }
            }
            error => error.into(),
        }
    }
}

impl Observer<Supervised> for Watch<'_> {
    fn on_step(&mut self, report: &StepReport) -> engine::Result<()> {
        let name = self.criterion.name();
        let best = |best: &Best| format!("  validation {name} {:.3}", best.score.abs());
        let best = self.best.as_ref().map_or_else(String::new, best);
        let message = format!(
            "loss {:.3}  {:.0} images/s{best}",
            report.get("loss").unwrap_or(f64::NAN),
            report.samples as f64 / report.seconds.max(1e-9)
        );
        self.progress.set(report.step, &message);
        Ok(())
    }

    /// One minus the score: what is lower is better.
    fn validate(&mut self, objective: &Supervised, step: u64) -> engine::Result<f64> {
        let scored = scores(&objective.model, self.validate, &self.preprocess, self.tools, &|_| Ok(()))
            .and_then(|scores| Ok((self.criterion.score(self.kind, self.labels, &scores)?, scores)));
        let (score, validate) = scored.map_err(|error| in_engine(error, step))?;
        // Asked for before training began.
        let score = score.unwrap_or(0.0);
        if self.best.as_ref().is_none_or(|best| score > best.score) {
            let best = Best { score, validate, model: objective.model.clone() };
            // Before the state of this epoch, which says that it was the best.
            if let Some(saving) = &self.saving {
                saving.best(&best)?;
            }
            self.best = Some(best);
        }
        tracing::debug!(step, validation = score, "epoch ended");
        Ok(1.0 - score)
    }

    fn on_best(&mut self, _: &Supervised, _: u64) -> engine::Result<()> {
        Ok(())
    }

    fn on_save(
        &mut self,
        objective: &Supervised,
        optimizer: &ModuleOptimizer,
        state: &TrainState,
    ) -> engine::Result<()> {
        // Before the first epoch ends there is no classifier to go on with: training starts again.
        match &mut self.saving {
            Some(saving) if self.best.is_some() => saving.states.save(Snapshot::take(objective, optimizer, state)),
            _ => Ok(()),
        }
    }

    fn interrupted(&self) -> Option<u8> {
        self.tools.interrupts.signal()
    }
}

/// What scoring the validation part can fail with, in the terms of the loop.
fn in_engine(error: EvalError, step: u64) -> EngineError {
    match error {
        EvalError::Data(error) => error.into(),
        EvalError::Engine(error) => *error,
        EvalError::Model(error) => error.into(),
        // Scores are all that is left.
        _ => EngineError::NonFinite { what: "a validation score".to_owned(), value: f64::NAN, step, skipped: 0 },
    }
}

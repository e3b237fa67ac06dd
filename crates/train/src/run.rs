//! One run: data, model, training, evaluation, records.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use data::loader::Loader;
use data::pairing::labels::OBSERVATIONS;
use data::pairing::labels::observed;
use data::prompt::Prompts;
use data::rng::{Purpose, key};
use data::source::parts::{Parts, SourceConfig};
use data::text::Tokenizer;
use engine::checkpoint::{Architecture, Card, Checkpoint, Provenance, TextCard};
use engine::clock::{Stopwatch, peak_memory_bytes, resident_memory_bytes};
use engine::fit::{FitConfig, Start, fit, update};
use engine::interrupt::Interrupts;
use engine::memory::{Passes, measured};
use engine::monitor::Monitor;
use engine::objective::{Context, Objective};
use engine::progress::{Progress, Ui};
use engine::run_dir::RunDir;
use engine::sink::{JsonlSink, MetricSink, MultiSink, TensorBoardSink};
use engine::state::store::StateStore;
use engine::state::writer::StateWriter;
use engine::state::{Origin, SavedState, Snapshot};
use eval::metric::Bootstrap;
use eval::supervised::Supervised;
use eval::tasks::{ProbeParts, Tools, Towers, classify, probe};
use model::DualEncoder;
use model::head::classifier::ImageClassifierConfig;
use model::head::topics::TopicHeads;
use model::image::ImageEncoder;
use model::ops::{allocator_bytes, count_memory};
use serde_json::{Map, Value, json};

use crate::batches::Batches;
use crate::error::TrainError;
use crate::objective::convirt::ConVirt;
use crate::objective::medclip::{MedClip, MedClipConfig};
use crate::objective::mgca::flavour::MgcaConfig;
use crate::objective::mgca::{Mgca, Wording};
use crate::observe::{Recorder, Totals};
use crate::recipe::{ObjectiveConfig, Recipe, Resolved, SupervisedConfig};
use crate::resume;
use crate::text_cache::keep_states;

/// Where a run writes and how it shows progress.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The run folder.
    pub run: RunDir,
    /// Style of progress.
    pub ui: Ui,
    /// The plain device and its name.
    pub device: (Device, String),
    /// Whether the folder holds a run to go on with.
    pub goes_on: bool,
    /// Goes on even where settings, data or version changed.
    pub force: bool,
}

/// Everything that all objectives need.
struct Setup<'a> {
    recipe: &'a Recipe,
    tokenizer: &'a Arc<Tokenizer>,
    options: &'a RunOptions,
    parts: &'a Parts,
    /// The texts, where they are not those of the images.
    texts: Option<&'a str>,
    train: Loader,
    validation: Option<Loader>,
    /// Signals that ask the run to end. Before there is anything to save they end the process as usual.
    interrupts: Interrupts,
}

/// Trains and evaluates; returns the figures that `eval.json` holds.
///
/// # Errors
/// What data, device, training or evaluation fail with; everything written before stays.
pub fn run(resolved: &Resolved, options: &RunOptions) -> Result<Value, TrainError> {
    let clock = Stopwatch::start();
    let recipe = &resolved.recipe;
    let run = &options.run;
    run.clean()?;
    run.write_environment(&resume::environment(recipe, &options.device.1)?)?;
    let parts = recipe.data.source.parts()?;
    for part in [&parts.train, &parts.validate, &parts.test] {
        tracing::info!(data = %part.name, studies = part.studies.len(), "part read");
    }
    let batches = Batches::new(recipe, &resolved.tokenizer, &parts.train)?;
    let train = batches.loader(&parts.train, None)?;
    let validation = match recipe.eval.every {
        0 => None,
        _ => Some(batches.loader(&parts.validate, Some(&train))?),
    };
    let texts = batches.name_of_texts();
    let interrupts = Interrupts::listen(run.path())?;
    let tokenizer = &resolved.tokenizer;
    let setup = Setup { interrupts, recipe, tokenizer, options, parts: &parts, texts, train, validation };
    options.device.0.seed(key(recipe.run.seed, Purpose::Init, 0, 0));
    let (mut figures, totals) = match &recipe.objective {
        ObjectiveConfig::Convirt(loss) => {
            let preprocess = recipe.preprocess();
            let model = start_weights(recipe, recipe.model.init(&options.device.0.clone().autodiff()))?;
            let initial = model.image_encoder.valid();
            let card = setup.card("convirt", Architecture::DualEncoder(recipe.model.clone()))?;
            let save = |path: &Path, o: &ConVirt, card: &Card| engine::checkpoint::save(path, &o.model, card);
            let heads = setup.topic_heads();
            let totals = setup.train(ConVirt::new(model, loss.clone(), heads, preprocess), &card, save)?;
            (setup.evaluate(Some(&initial))?, totals)
        }
        ObjectiveConfig::Mgca(loss) => {
            let model = start_weights(recipe, recipe.model.init(&options.device.0.clone().autodiff()))?;
            let initial = model.image_encoder.valid();
            let mut card = setup.card("mgca", Architecture::DualEncoder(recipe.model.clone()))?;
            card.alignment = Some(loss.alignment_rules());
            let save = |path: &Path, o: &Mgca, card: &Card| engine::checkpoint::save(path, &o.model, card);
            let objective = mgca(resolved, loss, model, setup.topic_heads());
            let totals = setup.train(objective, &card, save)?;
            (setup.evaluate(Some(&initial))?, totals)
        }
        ObjectiveConfig::Medclip(loss) => {
            let objective = medclip(recipe, loss, &options.device.0.clone().autodiff())?;
            let initial = objective.model.image_encoder.valid();
            let card = setup.card("medclip", Architecture::DualEncoder(recipe.model.clone()))?;
            let save = |path: &Path, o: &MedClip, card: &Card| engine::checkpoint::save(path, &o.kept(), card);
            let totals = setup.train(objective, &card, save)?;
            (setup.evaluate(Some(&initial))?, totals)
        }
        ObjectiveConfig::Supervised(config) => {
            let architecture = supervised(recipe, config, &parts.train.classes);
            architecture.validate().map_err(engine::EngineError::from)?;
            let model = architecture.init(&options.device.0.clone().autodiff());
            let mut card = setup.card("supervised", Architecture::ImageClassifier(architecture))?;
            card.text = None;
            card.classes.clone_from(&parts.train.classes);
            let save = |path: &Path, o: &Supervised, card: &Card| engine::checkpoint::save(path, &o.model, card);
            let totals = setup.train(Supervised::new(model, recipe.preprocess()), &card, save)?;
            (setup.evaluate(None)?, totals)
        }
    };
    figures.insert(
        "timing".to_owned(),
        json!({ "seconds": clock.seconds(), "images_per_second": totals.images_per_second() }),
    );
    figures.insert("memory".to_owned(), json!({ "peak_bytes": peak_memory_bytes() }));
    let figures = Value::Object(figures);
    run.write_eval(&figures)?;
    Ok(figures)
}

/// What two updates showed.
#[derive(Debug, Clone, Copy)]
pub struct Tried {
    /// Numbers of all parameters.
    pub parameters: usize,
    /// Numbers of those that get a gradient.
    pub trained: usize,
    /// Seconds of the second update.
    pub seconds: f64,
    /// Resident memory with the data read and before there was a model (bytes).
    pub resident: Option<u64>,
    /// Images that were kept, and the second batch (bytes).
    pub data: [usize; 2],
    /// Images that a run may keep (bytes).
    pub cache: usize,
    /// Memory of both updates.
    pub passes: [Passes; 2],
    /// Growth of what the allocator has of the system, from the model on (bytes).
    pub allocator: u64,
}

/// Makes two updates; nothing is kept.
///
/// # Errors
/// As a run before its second update.
pub fn try_updates(resolved: &Resolved, parts: &Parts, device: &Device) -> Result<Tried, TrainError> {
    let recipe = &resolved.recipe;
    let batches = Batches::new(recipe, &resolved.tokenizer, &parts.train)?;
    let loader = batches.loader(&parts.train, None)?;
    let (resident, allocator) = (resident_memory_bytes(), allocator_bytes());
    count_memory();
    let tracked = device.clone().autodiff();
    let tried = match &recipe.objective {
        ObjectiveConfig::Convirt(loss) => {
            let model = start_weights(recipe, recipe.model.init(&tracked))?;
            try_objective(ConVirt::new(model, loss.clone(), None, recipe.preprocess()), recipe, &loader, &tracked)
        }
        ObjectiveConfig::Mgca(loss) => {
            let model = start_weights(recipe, recipe.model.init(&tracked))?;
            try_objective(mgca(resolved, loss, model, None), recipe, &loader, &tracked)
        }
        ObjectiveConfig::Medclip(loss) => try_objective(medclip(recipe, loss, &tracked)?, recipe, &loader, &tracked),
        ObjectiveConfig::Supervised(config) => {
            let model = supervised(recipe, config, &parts.train.classes).init(&tracked);
            try_objective(Supervised::new(model, recipe.preprocess()), recipe, &loader, &tracked)
        }
    }?;
    Ok(Tried { resident, allocator: allocator_bytes().saturating_sub(allocator), ..tried })
}

fn try_objective<O: Objective>(
    mut objective: O,
    recipe: &Recipe,
    loader: &Loader,
    device: &Device,
) -> Result<Tried, TrainError> {
    let config = fit_config(recipe);
    let parameters = objective.num_params();
    // Parameters are drawn when they are first read: before the first update, whose memory is measured.
    drop(objective.valid());
    let mut optimizer = config.optim.init(&objective);
    let cache = (recipe.data.cache_mib << 20).min(loader.store().len() * recipe.data.source_size.pow(2));
    let mut tried = Tried {
        parameters,
        trained: 0,
        seconds: 0.0,
        resident: None,
        data: [0; 2],
        cache,
        passes: [Passes::default(); 2],
        allocator: 0,
    };
    for step in 0..2 {
        let batch = loader.batch(step)?;
        let ctx = Context { step, epoch: 0, total_steps: recipe.run.steps, seed: recipe.run.seed };
        let clock = Stopwatch::start();
        let (updated, passes) = measured(|| update(objective, &mut optimizer, &batch, &config, 0.0, &ctx, device));
        objective = updated.objective;
        tried.seconds = clock.seconds();
        tried.trained = updated.trained;
        tried.data = [loader.store().cached_bytes(), batch.bytes()];
        tried.passes = [tried.passes[1], passes];
    }
    Ok(tried)
}

fn mgca(resolved: &Resolved, loss: &MgcaConfig, model: DualEncoder, topics: Option<TopicHeads>) -> Mgca {
    let recipe = &resolved.recipe;
    let wording = Wording::new(&resolved.tokenizer, recipe.data.max_tokens);
    Mgca::new(model, loss.clone(), topics, wording, recipe.preprocess())
}

/// The objective with the weights and the temperature that the recipe names.
fn medclip(recipe: &Recipe, loss: &MedClipConfig, tracked: &Device) -> Result<MedClip, TrainError> {
    let model = start_weights(recipe, recipe.model.init(tracked))?;
    let scale = match &recipe.init.checkpoint {
        Some(path) => {
            Checkpoint::read(path)?.weights.carried_number("logit_scale").map_err(engine::EngineError::from)?
        }
        None => None,
    };
    let objective = MedClip::new(model, loss.clone(), scale, recipe.preprocess());
    if loss.labels_weight > 0.0 {
        let (image, text) = (recipe.model.image.feature_size(), recipe.model.text.feature_size());
        return Ok(objective.with_labels(TopicHeads::new(image, text, OBSERVATIONS, tracked)));
    }
    Ok(objective)
}

fn supervised(recipe: &Recipe, config: &SupervisedConfig, classes: &[String]) -> ImageClassifierConfig {
    ImageClassifierConfig { image: recipe.model.image.clone(), num_classes: classes.len(), dropout: config.dropout }
}

fn fit_config(recipe: &Recipe) -> FitConfig {
    FitConfig {
        seed: recipe.run.seed,
        steps: recipe.run.steps,
        micro_batch_size: recipe.data.micro_batch_size,
        optim: recipe.optim.clone(),
        eval_every: recipe.eval.every,
        early_stop: recipe.eval.early_stop,
        save_every: recipe.run.save_every,
    }
}

/// Metrics as they were after `done` updates: what a run wrote after the state that it goes on from will come again.
fn sinks(run: &RunDir, done: u64) -> Result<MultiSink, TrainError> {
    data::fsx::remove_dir_all(&run.tensorboard())?;
    let mut tensorboard = TensorBoardSink::create(&run.tensorboard())?;
    let jsonl = JsonlSink::open_after(&run.metrics(), done, |step, values| tensorboard.scalars(step, values))?;
    Ok(MultiSink::new().with(jsonl).with(tensorboard))
}

/// The model with the weights that the recipe names.
fn start_weights(recipe: &Recipe, mut model: DualEncoder) -> Result<DualEncoder, TrainError> {
    let wrap = |error: model::ModelError| TrainError::from(engine::EngineError::from(error));
    if let Some(path) = &recipe.init.checkpoint {
        model = Checkpoint::read(path)?.weights.load(model, "").map_err(wrap)?;
    }
    if let Some(path) = &recipe.init.image {
        let weights = Checkpoint::read(path)?.at_image_size(recipe.data.image_size)?.weights;
        model.image_encoder = weights.load(model.image_encoder, "image_encoder.").map_err(wrap)?;
    }
    if let Some(path) = &recipe.init.text {
        model.text_encoder = Checkpoint::read(path)?.weights.load(model.text_encoder, "text_encoder.").map_err(wrap)?;
    }
    keep_states(recipe, model)
}

impl Setup<'_> {
    fn card(&self, objective: &str, architecture: Architecture) -> Result<Card, TrainError> {
        let data = &self.recipe.data;
        let mut card = Card::new(objective, architecture, self.recipe.preprocess());
        let fingerprint = self.train.fingerprint();
        card.provenance = Provenance {
            data: std::iter::once(self.parts.train.name.as_str())
                .chain(self.texts)
                .map(|name| format!("{name} sha256:{fingerprint}"))
                .collect(),
            licence: self.recipe.run.licence.clone(),
            config_sha256: Some(resume::learned_sha256(self.recipe)?),
            ..Provenance::default()
        };
        card.text = Some(TextCard {
            tokenizer_sha256: self.tokenizer.sha256().to_owned(),
            lowercase: data.tokenizer.lowercase,
            max_tokens: data.max_tokens,
        });
        if let Some(file) = self.tokenizer.file() {
            let name = file.file_name().map(PathBuf::from).unwrap_or_default();
            let bytes = data::fsx::read_capped(file, 32 << 20)?;
            data::fsx::write_atomic(&self.options.run.path().join(name), &bytes)?;
        }
        Ok(card)
    }

    /// The heads that predict the topics of the report, where the recipe asks for them and the reports have any.
    fn topic_heads(&self) -> Option<TopicHeads> {
        let count = self.train.topics().map_or(0, |topics| topics.count());
        let model = &self.recipe.model;
        let device = self.options.device.0.clone().autodiff();
        (count > 0).then(|| TopicHeads::new(model.image.feature_size(), model.text.feature_size(), count, &device))
    }

    /// The beginning, or a saved state of the same data.
    fn start<O: Objective>(
        &self,
        saved: Option<SavedState>,
        objective: O,
        config: &FitConfig,
    ) -> Result<Start<O>, TrainError> {
        let environment = resume::environment(self.recipe, &self.options.device.1)?;
        let origin = Origin {
            seed: config.seed,
            config_sha256: environment.config_sha256,
            data_sha256: self.train.fingerprint(),
            tokenizer_sha256: self.tokenizer.sha256().to_owned(),
            version: environment.version,
            burn: environment.burn,
            device: environment.device,
        };
        let Some(saved) = saved else { return Ok(Start::fresh(objective, &config.optim, origin)) };
        if !self.options.force {
            resume::compare_origin(&self.options.run, &saved.train.origin, &origin)?;
        }
        tracing::info!(step = saved.train.step, "goes on from a saved state");
        Ok(Start::resumed(saved, objective, &config.optim, origin)?)
    }

    fn train<O: Objective + 'static>(
        &self,
        objective: O,
        card: &Card,
        save: impl Fn(&Path, &O, &Card) -> engine::Result<()>,
    ) -> Result<Totals, TrainError> {
        let recipe = self.recipe;
        let run = &self.options.run;
        tracing::info!(parameters = objective.num_params(), device = %self.options.device.1, "training");
        let states = StateStore::new(&run.checkpoints(), recipe.run.keep_every);
        let saved = if self.options.goes_on { states.newest()? } else { None };
        states.clean(saved.as_ref().map_or(0, |saved| saved.train.step))?;
        let config = fit_config(recipe);
        let start = self.start(saved, objective, &config)?;
        states.check_space(Snapshot::estimated_bytes(start.objective()))?;
        let progress = Progress::new(self.options.ui, "train", recipe.run.steps);
        let sinks = sinks(run, start.step())?;
        let mut recorder = Recorder {
            run,
            card,
            progress: &progress,
            sinks,
            log_every: recipe.run.log_every,
            validation: self.validation.as_ref(),
            validation_steps: (recipe.eval.max_studies / recipe.data.batch_size).max(1) as u64,
            device: &self.options.device.0,
            save: &save,
            states: StateWriter::new(states),
            interrupts: self.interrupts.clone(),
            monitor: Monitor::default(),
            totals: Totals::default(),
        };
        let tracked = self.options.device.0.clone().autodiff();
        let trained = fit(start, &self.train, &config, &tracked, &mut recorder);
        // Whatever ended training, and above all a signal, the last state must be on the disk.
        recorder.states.finish()?;
        trained?;
        let totals = recorder.totals;
        recorder.sinks.flush()?;
        drop(recorder);
        let best = data::fsx::read_capped(&run.best().join("model.safetensors"), 16 << 30)?;
        data::fsx::write_atomic(&run.model(), &best)?;
        progress.finish(&format!("{:.0} images/s", totals.images_per_second()));
        for (sample, cause) in self.train.quarantine() {
            tracing::warn!(%sample, cause, "unreadable study");
        }
        Ok(totals)
    }

    /// Every task that the data allow, on the best checkpoint. `initial` is the image encoder before training, for the
    /// probe that pretraining is measured against.
    fn evaluate(&self, initial: Option<&ImageEncoder>) -> Result<Map<String, Value>, TrainError> {
        let eval = &self.recipe.eval;
        let tools = Tools {
            device: self.options.device.0.clone(),
            ui: self.options.ui,
            batch_size: eval.batch_size,
            ks: eval.ks.clone(),
            bootstrap: Bootstrap { resamples: eval.resamples, ..Bootstrap::default() },
            cache_bytes: 0,
            kept_rows: None,
            interrupts: self.interrupts.clone(),
        };
        let checkpoint = Checkpoint::read(&self.options.run.model())?;
        let Parts { validate, test, categories, .. } = self.parts;
        let mut figures = Map::new();
        let Some(initial) = initial else {
            figures.insert("supervised".to_owned(), json!(classify(&checkpoint, test, &tools)?));
            return Ok(figures);
        };
        let towers = Towers::new(&checkpoint, self.tokenizer, self.recipe.data.max_tokens, &tools)?;
        if let Some(categories) = categories {
            let prompts = Prompts::phantom();
            figures.insert("zero_shot".to_owned(), json!(towers.zero_shot(test, &prompts)?));
            figures.insert("retrieval".to_owned(), json!(towers.retrieval_by_category(categories, &prompts)?));
        } else if test.studies.iter().any(|study| !study.sentences.is_empty()) {
            figures.insert("retrieval".to_owned(), json!(towers.retrieval_by_pairs(test)?));
        } else {
            let figure = towers.zero_shot(&observed(test.clone()), &Prompts::observations())?;
            figures.insert("zero_shot".to_owned(), json!(figure));
        }
        if let SourceConfig::Phantom(source) = &self.recipe.data.source {
            let parts = ProbeParts { train: &source.probed(), validate, test };
            for (name, encoder) in [("linear_probe", &towers.model.image_encoder), ("linear_probe_random", initial)] {
                let figure = probe(name, encoder, &checkpoint.card.preprocess, parts, &eval.probe, &tools)?;
                figures.insert(name.to_owned(), json!(figure));
            }
        }
        Ok(figures)
    }
}

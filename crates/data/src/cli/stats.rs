//! `stats`: how much of what there is.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use data::error::DataError;
use data::record::{Dataset, Split};
use data::report::counts::TextCounts;
use data::source::mimic::Counts;
use data::split::check_leaks;
use data::text::{Tokenizer, TokenizerConfig};
use serde_json::{Value, json};

use super::source::{Loaded, SourceArgs};

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Number of phantoms to count.
    #[arg(long, default_value_t = 2000)]
    count: u64,
    /// `tokenizer.json`, `vocab.txt` or a folder with either [default: the built-in vocabulary].
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &StatsArgs) -> Result<()> {
    let Loaded { data, texts, cleanings } = args.source.load_counted(args.count)?;
    let path = args.tokenizer.clone().unwrap_or_default();
    let tokenizer = Tokenizer::load(&TokenizerConfig { path, ..TokenizerConfig::default() })?;
    let mut counted = count(&data, texts, &tokenizer)?;
    if let Value::Object(fields) = &mut counted {
        fields.retain(|_, value| !value.is_null());
    }
    for (name, counts) in cleanings {
        counted["cleanings"][name] = reports(&counts);
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&counted)?)?;
    } else {
        super::print(&mut out, &counted, "")?;
    }
    Ok(())
}

/// Sentences and tokens of the reports, and how many have none for which reason.
fn reports(counts: &Counts) -> Value {
    let of_each = |total: usize| total as f64 / counts.texts.max(1) as f64;
    let mut told = json!({
        "texts": counts.texts,
        "sentences": counts.sentences,
        "sentences_per_text": of_each(counts.sentences),
        "most_sentences": counts.most_sentences,
        "tokens_per_text": of_each(counts.tokens),
        "most_tokens": counts.most_tokens,
        "with_deidentification_marks": counts.marked_reports,
    });
    for (reason, count) in counts.reasons().filter(|(reason, _)| reason.name().starts_with("report_")) {
        told[reason.name()] = json!(count);
    }
    told
}

/// What `stats` prints, in its order.
fn count(data: &Dataset, texts: Option<TextCounts>, tokenizer: &Tokenizer) -> Result<Value> {
    let lengths: Vec<usize> = data
        .studies
        .iter()
        .flat_map(|study| &study.sentences)
        .map(|sentence| Ok(tokenizer.encode(sentence.expose(), usize::MAX)?.input_ids.len()))
        .collect::<Result<_, DataError>>()?;
    let patients: HashSet<&String> = data.studies.iter().map(|study| study.patient_id.expose()).collect();
    let of_split = |split| data.studies.iter().filter(|study| study.split == split).count();
    let mut labels = serde_json::Map::new();
    for (k, class) in data.classes.iter().enumerate() {
        let of = |value| data.studies.iter().filter(|study| study.labels[k] == value).count();
        let counts = json!({"positive": of(Some(true)), "negative": of(Some(false)), "unlabelled": of(None)});
        labels.insert(class.clone(), counts);
    }
    let total: usize = lengths.iter().sum();
    Ok(json!({
        "source": data.name,
        "studies": data.studies.len(),
        "images": data.studies.iter().map(|study| study.images.len()).sum::<usize>(),
        "patients": patients.len(),
        "patients_in_one_split": check_leaks(data).is_ok(),
        "splits": {
            "train": of_split(Split::Train),
            "validate": of_split(Split::Validate),
            "test": of_split(Split::Test),
        },
        "sentences": lengths.len(),
        "studies_without_sentence": data.studies.iter().filter(|study| study.sentences.is_empty()).count(),
        "reports": texts,
        "tokens_per_sentence": {
            "mean": total as f64 / lengths.len().max(1) as f64,
            "longest": lengths.iter().max().copied().unwrap_or(0),
        },
        "labels": labels,
    }))
}

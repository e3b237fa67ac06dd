//! `eval embed`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use data::fsx;
use data::record::Phi;
use data::source::image_list::{self, Listed};
use engine::checkpoint::Checkpoint;
use engine::progress::Progress;
use model::text::bert::Pooling;
use serde_json::json;

use super::compute::Compute;
use crate::columns::Columns;
use crate::error::{EvalError, Result};
use crate::tasks::Tools;
use crate::vectors::{Encoders, Ready, of_images, of_texts};

/// Largest list of images or texts that is read (bytes).
const MAX_LIST_BYTES: u64 = 1 << 30;

#[derive(Debug, Args)]
pub(super) struct EmbedArgs {
    /// A run folder, a folder of Hugging Face, or a file of weights of any known kind.
    #[arg(long)]
    weights: PathBuf,
    /// A folder of images, or a file with one path a line, relative to its folder.
    #[arg(long)]
    images: Option<PathBuf>,
    /// A file with one text a line.
    #[arg(long)]
    texts: Option<PathBuf>,
    /// A safetensors file with tensors ready for the towers: `images` [N, C, H, W] f32; `input_ids` and
    /// `attention_mask` [N, T] i64.
    #[arg(long, conflicts_with_all = ["images", "texts"])]
    tensors: Option<PathBuf>,
    /// How the vectors of a text's last layer become one; default: as the weights were trained.
    #[arg(long, value_enum)]
    pooling: Option<PoolingName>,
    /// The safetensors file to write: `image_features`, `image_local`, `image_embeds`, `text_hidden`, `text_features`,
    /// `text_embeds`, as far as the weights have them; rows in the order of the input. A command that was stopped goes on from
    /// the folder OUT.partial.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    compute: Compute,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// A pooling on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum PoolingName {
    Max,
    Mean,
    Cls,
}

pub(super) fn run(args: &EmbedArgs) -> Result<String> {
    let Tools { device, ui, batch_size, .. } = args.compute.tools()?;
    let ready = args.tensors.as_deref().map(Ready::read).transpose()?;
    if ready.is_none() && args.images.is_none() && args.texts.is_none() {
        let what = "name images, texts or tensors".to_owned();
        return Err(EvalError::Unfit { data: "nothing to embed".to_owned(), what });
    }
    let mut checkpoint = Checkpoint::read(&args.weights)?;
    if let Some(size) = ready.as_ref().and_then(Ready::image_size) {
        checkpoint = checkpoint.at_image_size(size)?;
    }
    if let Some(pooling) = args.pooling {
        checkpoint = checkpoint.with_pooling(match pooling {
            PoolingName::Max => Pooling::Max,
            PoolingName::Mean => Pooling::Mean,
            PoolingName::Cls => Pooling::Cls,
        });
    }
    let encoders = Encoders::new(&checkpoint, &device)?;
    let place = (batch_size, &device);
    let listed = match &args.images {
        Some(images) if images.is_dir() => image_list::folder(images)?,
        Some(images) => lines_of_images(images)?,
        None => Vec::new(),
    };
    if args.images.is_some() && listed.is_empty() {
        let what = "it names no image: give a folder of images, or a file with one path a line".to_owned();
        return Err(EvalError::Unfit { data: "--images".to_owned(), what });
    }
    let mut columns = Columns::open(&args.out, &digest(args, &checkpoint, &listed)?)?;
    let mut bad = Vec::new();
    if let Some(ready) = &ready {
        // Tensors that are ready fit into memory: they begin anew.
        columns.clear()?;
        let progress = Progress::new(ui, "embed", ready.rows() as u64);
        let tick = |done: usize| {
            progress.set(done as u64, "");
            Ok(())
        };
        ready.embed(&encoders, &checkpoint.card.model, place, &mut columns, &tick)?;
        progress.finish("");
    }
    if args.images.is_some() {
        let progress = Progress::new(ui, "images", listed.len() as u64);
        let tick = |done: usize| {
            progress.set(done as u64, "");
            Ok(())
        };
        bad = of_images(&encoders, &listed, &checkpoint.card.preprocess, place, &mut columns, &tick)?;
        progress.finish("");
    }
    if let Some(texts) = &args.texts {
        let (tokenizer, card) = checkpoint.tokenizer()?;
        let text = text_of(texts)?;
        let encode = |line: &str| Ok(tokenizer.encode(line, card.max_tokens)?.input_ids);
        let encoded: Vec<Vec<u32>> = text.lines().map(encode).collect::<Result<_>>()?;
        let progress = Progress::new(ui, "texts", encoded.len() as u64);
        let tick = |done: usize| {
            progress.set(done as u64, "");
            Ok(())
        };
        of_texts(&encoders, &encoded, tokenizer.pad_id(), place, &mut columns, &tick)?;
        progress.finish("");
    }
    let shapes = columns.finish(&BTreeMap::new())?;
    Ok(told(args, &checkpoint, &shapes, &bad))
}

/// What the rows depend on.
fn digest(args: &EmbedArgs, checkpoint: &Checkpoint, images: &[Listed]) -> Result<String> {
    let weights = fsx::sha256_file(&checkpoint.weights.source.path)?;
    let files = [&args.texts, &args.tensors].map(|path| path.as_deref().map(fsx::state));
    let (version, images) = (env!("CARGO_PKG_VERSION"), image_list::fingerprint(images));
    let (model, pooling) = (&checkpoint.card.model, args.pooling);
    Ok(fsx::sha256_hex(format!("{version} {weights} {model:?} {pooling:?} {files:?} {images}").as_bytes()))
}

/// What was written, for people or machines.
fn told(args: &EmbedArgs, checkpoint: &Checkpoint, shapes: &BTreeMap<String, Vec<usize>>, bad: &[usize]) -> String {
    let family = checkpoint.weights.family;
    if args.json {
        let value = json!({"weights": family.name, "tensors": shapes, "unreadable": bad});
        return format!("{value:#}\n");
    }
    let mut text = format!("{} ({})\n", family.what, family.name);
    for (name, shape) in shapes {
        let _ = writeln!(text, "  {name:<15} {shape:?}");
    }
    if !bad.is_empty() {
        let rows: Vec<String> = bad.iter().take(10).map(ToString::to_string).collect();
        let (count, more) = (bad.len(), if bad.len() > 10 { ", ..." } else { "" });
        let _ = writeln!(text, "{count} images could not be read; their rows are NaN: {}{more}", rows.join(", "));
    }
    text
}

fn text_of(path: &Path) -> Result<String> {
    let bytes = fsx::read_capped(path, MAX_LIST_BYTES)?;
    let text = String::from_utf8(bytes);
    text.map_err(|_| EvalError::Unfit { data: path.display().to_string(), what: "it must be text in UTF-8".to_owned() })
}

/// Images by a file with one path a line.
fn lines_of_images(path: &Path) -> Result<Vec<Listed>> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let text = text_of(path)?;
    let lines = text.lines().filter(|line| !line.trim().is_empty()).zip(1..);
    let listed = lines.map(|(line, row)| Listed {
        row,
        name: Phi::new(line.to_owned()),
        path: Ok(Phi::new(folder.join(line.trim()))),
    });
    Ok(listed.collect())
}

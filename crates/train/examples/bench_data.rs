//! One side of `scripts/bench_data.py`: files of images and sentences to what a training step takes, on one core.
//!
//! `cargo run --release -p train --example bench_data -- write FOLDER IMAGES SIDE` writes phantoms, the sentences of
//! reports and the built-in vocabulary. `... -- TASK CHANNELS FOLDER` prints a line of JSON with the settings of the work,
//! then answers each line `go` of standard input with one of JSON: the seconds that it took, and the mean of what was made.

use std::borrow::Cow;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use data::fsx::{create_private_dir, write_atomic};
use data::image::augment::AugmentParams;
use data::image::decode::decode_file;
use data::image::transform::resize_larger_side;
use data::image::{GrayImage, encode};
use data::rng::{Purpose, stream};
use data::source::phantom::{PhantomKey, Prevalence};
use data::text::Tokenizer;
use engine::clock::Stopwatch;
use engine::config::Layer;
use engine::device::DeviceSpec;
use engine::upload::Preprocess;
use serde_json::{Value, json};
use train::recipe::{DataSection, resolve};

type Failure = Box<dyn std::error::Error>;

/// Reports whose sentences are written.
const REPORTS: u64 = 1024;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Failure> {
    model::ops::keep_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["write", folder, images, side] => write(Path::new(folder), images.parse()?, side.parse()?),
        [task, channels, folder] => answer(task, channels.parse()?, Path::new(folder)),
        _ => Err("give a task, a number of channels and a folder".into()),
    }
}

/// Writes `phantom/*.png`, `sentences.txt` and `vocab.txt`.
fn write(folder: &Path, images: u64, side: usize) -> Result<(), Failure> {
    let phantom = |index| PhantomKey { seed: 0, index, prevalence: Prevalence::Natural }.study();
    let place = folder.join("phantom");
    create_private_dir(&place)?;
    for index in 0..images {
        write_atomic(&place.join(format!("{index:04}.png")), &encode::png(&phantom(index).render(side))?)?;
    }
    let sentences: Vec<String> = (0..REPORTS).flat_map(|index| phantom(index).sentences).collect();
    write_atomic(&folder.join("sentences.txt"), sentences.join("\n").as_bytes())?;
    write_atomic(&folder.join("vocab.txt"), data::text::BUILTIN_VOCAB.as_bytes())?;
    Ok(())
}

fn answer(task: &str, channels: usize, folder: &Path) -> Result<(), Failure> {
    let mut bench = Bench::new(task, channels, folder)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", bench.settings())?;
    for line in std::io::stdin().lock().lines() {
        let answer = match line?.as_str() {
            "go" => bench.go()?,
            other => return Err(format!("unknown request {other:?}").into()),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// What is done at a request.
enum Task {
    /// Files to grey images as they are cached.
    Decode(Vec<PathBuf>),
    /// Cached images to batches.
    Augment(Vec<GrayImage>),
    /// Files to batches.
    Both(Vec<PathBuf>),
    /// Sentences to ids.
    Tokenise(Box<Tokenizer>, Vec<String>),
}

struct Bench {
    task: Task,
    data: DataSection,
    preprocess: Preprocess,
    device: Device,
    epoch: u64,
}

impl Bench {
    fn new(task: &str, channels: usize, folder: &Path) -> Result<Self, Failure> {
        // The recipe with the paper's augmentation; its data are never read.
        let mut data = resolve("convirt-rn50", &[Layer::set("data.source.manifest=pairs.csv")?])?.recipe.data;
        let size = data.source_size;
        let task = match task {
            "decode-jpeg" => Task::Decode(files(folder, "jpeg")?),
            "decode-png" => Task::Decode(files(folder, "png")?),
            "augment" | "augment-without-blur" => {
                if task == "augment-without-blur" {
                    data.augment.blur_sigma = [0.0, 0.0];
                }
                Task::Augment(files(folder, "png")?.iter().map(|file| decode(file, size)).collect::<Result<_, _>>()?)
            }
            "jpeg-to-batch" => Task::Both(files(folder, "jpeg")?),
            "png-to-batch" => Task::Both(files(folder, "png")?),
            "tokenise" | "tokenise-bare" => {
                let text = std::fs::read_to_string(folder.join("sentences.txt"))?;
                Task::Tokenise(Box::new(Tokenizer::builtin()?), text.lines().map(str::to_owned).collect())
            }
            other => return Err(format!("unknown task {other}").into()),
        };
        let preprocess = Preprocess::imagenet(data.image_size, data.source_size, channels);
        Ok(Self { task, data, preprocess, device: "cpu".parse::<DeviceSpec>()?.open()?.0, epoch: 0 })
    }

    /// What the other side needs to do the same.
    fn settings(&self) -> Value {
        let data = &self.data;
        let items = match &self.task {
            Task::Decode(files) | Task::Both(files) => files.len(),
            Task::Augment(images) => images.len(),
            Task::Tokenise(_, sentences) => sentences.len(),
        };
        json!({
            "items": items,
            "source": data.source_size,
            "image": data.image_size,
            "batch": data.batch_size,
            "tokens": data.max_tokens,
            "augment": data.augment,
            "kernel": data.augment.kernel(data.image_size),
            "mean": self.preprocess.mean,
            "std": self.preprocess.std,
        })
    }

    fn go(&mut self) -> Result<Value, Failure> {
        self.epoch += 1;
        let (seconds, mean) = match &self.task {
            Task::Decode(files) => decoded(files, self.data.source_size)?,
            Task::Augment(images) => self.batches(images.len(), |i| Ok(Cow::Borrowed(&images[i])))?,
            Task::Both(files) => {
                self.batches(files.len(), |i| Ok(Cow::Owned(decode(&files[i], self.data.source_size)?)))?
            }
            Task::Tokenise(tokenizer, sentences) => tokenised(tokenizer, sentences, self.data.max_tokens)?,
        };
        Ok(json!({ "seconds": seconds, "mean": mean }))
    }

    /// Batches as an objective uploads them: augmented, repeated to the channels of the encoder and normalised.
    fn batches<'a>(
        &self,
        count: usize,
        image: impl Fn(usize) -> Result<Cow<'a, GrayImage>, Failure>,
    ) -> Result<(f64, f64), Failure> {
        let size = self.data.image_size;
        let (mut seconds, mut mean) = (0.0, 0.0);
        for start in (0..count).step_by(self.data.batch_size) {
            let clock = Stopwatch::start();
            let len = self.data.batch_size.min(count - start);
            let mut images = Vec::with_capacity(len * size * size);
            for i in start..start + len {
                let grey = image(i)?;
                let mut draw = stream(0, Purpose::Augment, self.epoch, i as u64);
                let drawn = AugmentParams::draw(&self.data.augment, grey.width, grey.height, size, &mut draw);
                images.extend_from_slice(&drawn.apply(grey.as_ref(), size).data);
            }
            let batch = self.preprocess.images(&images, len, size, &self.device);
            seconds += clock.seconds();
            mean += f64::from(batch.mean().into_scalar::<f32>()) * len as f64 / count as f64;
        }
        Ok((seconds, mean))
    }
}

/// The files of a kind, in order.
fn files(folder: &Path, kind: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder.join(kind))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_, Failure>>()?;
    files.sort();
    Ok(files)
}

/// An image as the loader's cache keeps it.
fn decode(file: &Path, size: usize) -> Result<GrayImage, Failure> {
    Ok(resize_larger_side(decode_file(file)?, size))
}

fn decoded(files: &[PathBuf], size: usize) -> Result<(f64, f64), Failure> {
    let clock = Stopwatch::start();
    let images: Vec<GrayImage> = files.iter().map(|file| decode(file, size)).collect::<Result<_, _>>()?;
    let seconds = clock.seconds();
    Ok((seconds, mean(images.iter().flat_map(|image| &image.pixels).map(|&pixel| f64::from(pixel)))))
}

fn tokenised(tokenizer: &Tokenizer, sentences: &[String], tokens: usize) -> Result<(f64, f64), Failure> {
    let clock = Stopwatch::start();
    let texts: Vec<Vec<u32>> = sentences
        .iter()
        .map(|sentence| tokenizer.encode(sentence, tokens).map(|encoded| encoded.input_ids))
        .collect::<Result<_, _>>()?;
    let seconds = clock.seconds();
    // Of ids and of their places, so that no two of them may change places.
    let weighted =
        |text: &Vec<u32>| text.iter().zip(1_u32..).map(|(&id, place)| f64::from(id) * f64::from(place)).sum::<f64>();
    Ok((seconds, mean(texts.iter().map(weighted))))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

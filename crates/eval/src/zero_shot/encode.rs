//! Sentences and images as vectors.

use std::collections::{BTreeMap, HashMap};

use data::batch::TextBatch;
use engine::upload::texts as upload;
use model::DualEncoder;

use super::draw::Draw;
use super::rule::{Rule, Scores, Targets};
use crate::embed::{TextTower, map_images};
use crate::error::Result;
use crate::ranking::Embeddings;
use crate::tasks::{Opened, Tools};

/// Sentences that are encoded at once.
const SENTENCES: usize = 64;
/// Images whose embeddings are held at once, about: memory does not grow with the number of images but for their scores.
const IMAGES: usize = 4096;

/// Token ids of a sentence and the rows that have it.
type Encoded = (Vec<u32>, Vec<usize>);

/// A model as classifier.
#[derive(Debug)]
pub(super) struct Classifier<'a> {
    pub(super) text: TextTower<'a>,
    pub(super) preprocess: &'a engine::upload::Preprocess,
    /// Whether padding counts in the vector of a text. Then every list of sentences is padded to its longest, as `MedCLIP`
    /// pads the prompts of a class; otherwise there is no padding.
    pub(super) counts_padding: bool,
}

impl Classifier<'_> {
    /// Scores of the images for every draw.
    ///
    /// # Errors
    /// Unreadable images, vectors that are not finite, and an interrupt.
    pub(super) fn scores(
        &self,
        (rule, temperature): (Rule, f64),
        draws: &[Draw<'_>],
        opened: &Opened<'_>,
        tools: &Tools,
    ) -> Result<Vec<Scores>> {
        let lists: Vec<&[&str]> = draws.iter().flat_map(|draw| draw.lists.iter().map(Vec::as_slice)).collect();
        let (width, vectors) = self.sentences(&lists, rule.takes_raw_vectors(), tools)?;
        let mut first = 0;
        let mut targets = Vec::with_capacity(draws.len());
        for draw in draws {
            let last = first + draw.lists.iter().map(Vec::len).sum::<usize>() * width;
            targets.push(Targets::new(rule, temperature, width, &vectors[first..last], &draw.classes)?);
            first = last;
        }
        drop(vectors);
        let mut scores: Vec<Scores> = draws.iter().map(|draw| vec![Vec::new(); draw.classes.len()]).collect();
        let label = format!("embed {}", opened.dataset.name);
        tools.progress(&label, opened.images.len(), |tick| {
            let mut done = 0;
            // Whole batches, so that their bounds do not depend on where this loop divides the images.
            for images in opened.images.chunks(IMAGES.next_multiple_of(tools.batch_size)) {
                let shifted = |more: usize| tick(done + more);
                let embeds = self.images(images, opened, tools, &shifted)?;
                done += images.len();
                for (scores, targets) in scores.iter_mut().zip(&targets) {
                    for (all, more) in scores.iter_mut().zip(targets.scores(&embeds)?) {
                        all.extend(more);
                    }
                }
            }
            Ok(())
        })?;
        for scores in &mut scores {
            rule.finish(scores);
        }
        Ok(scores)
    }

    fn images(
        &self,
        images: &[(usize, usize)],
        opened: &Opened<'_>,
        tools: &Tools,
        tick: crate::embed::Tick<'_>,
    ) -> Result<Embeddings> {
        let model = self.text.model;
        let embed = |x| model.encode_image(x).embeds;
        let network = (model, "embeddings");
        let (width, rows) = map_images(opened, images, network, self.preprocess, tools, tick, embed)?;
        Ok(Embeddings::new(images.len(), width.max(1), rows)?)
    }

    /// The width of vectors and those of all sentences, list after list. A sentence that occurs again is encoded once.
    fn sentences(&self, lists: &[&[&str]], raw: bool, tools: &Tools) -> Result<(usize, Vec<f32>)> {
        let TextTower { model, tokenizer, max_tokens, device } = self.text;
        // By length with padding: every batch is as wide as its texts are to be, whatever else is in it.
        let mut by_length: BTreeMap<usize, Vec<Encoded>> = BTreeMap::new();
        let mut known: HashMap<(usize, Vec<u32>), usize> = HashMap::new();
        let mut count = 0;
        for list in lists {
            let encode = |text: &&str| Ok(tokenizer.encode(text, max_tokens)?.input_ids);
            let encoded: Vec<Vec<u32>> = list.iter().map(encode).collect::<Result<_>>()?;
            let longest = encoded.iter().map(Vec::len).max().unwrap_or(0);
            for ids in encoded {
                let tokens = if self.counts_padding { longest } else { ids.len() }.max(1);
                let same = by_length.entry(tokens).or_default();
                let place = *known.entry((tokens, ids.clone())).or_insert(same.len());
                match same.get_mut(place) {
                    Some((_, rows)) => rows.push(count),
                    None => same.push((ids, vec![count])),
                }
                count += 1;
            }
        }
        let total = by_length.values().map(Vec::len).sum();
        tools.progress("embed prompts", total, |tick| {
            let (mut width, mut vectors, mut done) = (1, Vec::new(), 0);
            for (tokens, chunk) in by_length.iter().flat_map(|(n, same)| same.chunks(SENTENCES).map(move |c| (*n, c))) {
                let ids: Vec<Vec<u32>> = chunk.iter().map(|(ids, _)| ids.clone()).collect();
                let batch = upload(&TextBatch::padded(&ids, tokens, tokenizer.pad_id()), device);
                let found = encoded_texts(model, batch, raw);
                width = found.len() / chunk.len();
                vectors.resize(count * width, 0.0);
                for ((_, rows), vector) in chunk.iter().zip(found.chunks_exact(width)) {
                    for row in rows {
                        vectors[row * width..(row + 1) * width].copy_from_slice(vector);
                    }
                }
                done += chunk.len();
                tick(done)?;
            }
            Ok((width, vectors))
        })
    }
}

/// Vectors of texts in the joint space, row-major: of unit length, or as the projection gives them.
fn encoded_texts(model: &DualEncoder, batch: model::text::TextInput, raw: bool) -> Vec<f32> {
    let vectors = if raw {
        let features = model.text_encoder.forward(batch, model.frozen_text_layers()).global;
        model.text_projection.forward(features)
    } else {
        model.encode_text(batch).embeds
    };
    vectors.into_data().iter::<f32>().collect()
}

#[cfg(test)]
mod tests {
    use data::text::Tokenizer;
    use engine::device::DeviceSpec;
    use engine::interrupt::Interrupts;
    use engine::progress::Ui;
    use model::DualEncoderConfig;
    use serde_json::json;

    use super::*;
    use crate::metric::Bootstrap;

    #[test]
    fn lists_are_padded_to_their_longest_where_padding_counts() {
        let (device, _) = "auto".parse::<DeviceSpec>().unwrap().open().unwrap();
        let tokenizer = Tokenizer::builtin().unwrap();
        let config: DualEncoderConfig = serde_json::from_value(json!({
            "image": {
                "kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 4, "in_channels": 1,
            },
            "text": {
                "kind": "bert", "vocab_size": tokenizer.vocab_size(), "hidden_size": 16, "num_layers": 1, "num_heads": 2,
                "intermediate_size": 32, "max_position_embeddings": 32, "pooling": "padded_mean",
            },
            "projection": { "kind": "mlp" },
            "embed_dim": 8,
        }))
        .unwrap();
        let model = config.init(&device);
        let preprocess = engine::upload::Preprocess::imagenet(32, 32, 1);
        let tools = Tools {
            device: device.clone(),
            ui: Ui::Plain,
            batch_size: 2,
            ks: Vec::new(),
            bootstrap: Bootstrap::default(),
            cache_bytes: 0,
            kept_rows: None,
            interrupts: Interrupts::default(),
        };
        let of = |counts_padding: bool, lists: &[&[&str]]| {
            let text = TextTower { model: &model, tokenizer: &tokenizer, max_tokens: 32, device: &device };
            let classifier = Classifier { text, preprocess: &preprocess, counts_padding };
            let (width, vectors) = classifier.sentences(lists, false, &tools).unwrap();
            assert_eq!(width, 8);
            vectors.chunks_exact(width).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let gap = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let [short, long] = ["No edema.", "There is mild interstitial edema of both lungs with a large effusion."];
        let rows = of(true, &[&[short, long], &[short], &[long, short]]);
        // By hand: both sentences as one batch, and the short one alone.
        let reference = |texts: &[&str]| {
            let batch = TextBatch::new(texts.iter().copied(), &tokenizer, 32).unwrap();
            encoded_texts(&model, upload(&batch, &device), false)
        };
        let (both, alone) = (reference(&[short, long]), reference(&[short]));
        for (row, wanted) in [(0, &both[..8]), (1, &both[8..]), (2, &alone[..]), (3, &both[8..]), (4, &both[..8])] {
            assert!(gap(&rows[row], wanted) < 1e-5, "row {row}");
        }
        assert!(gap(&rows[0], &rows[2]) > 1e-3, "padding counts");
        let plain = of(false, &[&[short, long], &[short]]);
        assert!(plain[0] == plain[2] && gap(&plain[0], &alone) < 1e-5, "nothing is padded");
    }
}

//! Where in an image a model finds a sentence and its words, as plain numbers on the grid of its local features.
//!
//! A model whose words and patches were aligned (`MGCA`) compares them as it did in training: by its local heads and its
//! attention. Of any other, each cell of the last map goes through the head of whole images as if it were one, and is compared
//! with the embedding of the text: a class activation map (Zhou et al., "Learning deep features for discriminative
//! localization", 2016) with a head that need not be linear.
//!
//! Shape letters: `B` pairs, `P` cells, `R` words of all texts, `E` width of the joint space.

pub mod frame;
pub mod record;

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Device, Tensor};
use data::batch::TextBatch;
use data::image::Plane;
use data::record::Phi;
use data::text::Tokenizer;
use engine::checkpoint::{Architecture, Checkpoint};
use engine::upload::{Preprocess, texts as upload_texts};
use model::DualEncoder;
use model::alignment::Alignment;
use model::alignment::attend::Gather;
use model::alignment::rules::AlignmentRules;
use model::image::{Cells, ImageEncoderConfig};
use model::ops::l2_normalize;
use model::text::words::WordPlan;
use serde::Serialize;

use crate::embed::embed_texts;
use crate::error::{EvalError, Result};
use crate::ranking::Embeddings;

/// Texts encoded at once.
const BATCH: usize = 64;

/// A value for each cell of an image, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Cells in a column.
    pub rows: usize,
    /// Cells in a row.
    pub columns: usize,
    /// `rows * columns` values.
    pub values: Vec<f32>,
    /// Where they lie on the square that the network sees.
    pub cells: Cells,
}

impl Grid {
    /// The cells of a square.
    fn square(values: Vec<f32>, cells: Cells) -> Self {
        let side = values.len().isqrt().max(1);
        Self { rows: values.len() / side, columns: side, values, cells }
    }

    /// Row and column of the greatest value, the first of several.
    pub fn highest(&self) -> (usize, usize) {
        let greater = |best: usize, i: usize| if self.values[i] > self.values[best] { i } else { best };
        let best = (1..self.values.len()).fold(0, greater);
        (best / self.columns, best % self.columns)
    }

    /// The least and the greatest value.
    pub fn scale(&self) -> (f32, f32) {
        let least = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        (least, self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max))
    }

    /// The map on a square of `size` pixels, interpolated.
    pub fn enlarged(&self, size: usize) -> Plane {
        Plane { width: size, height: size, data: self.on(size, size, Cells::tiles(size)).values }
    }

    /// The map on another grid, interpolated between the middles of cells and continued beyond them.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "places between the first and last cell"
    )]
    pub fn on(&self, rows: usize, columns: usize, cells: Cells) -> Self {
        // The cells before and after each of the new ones, and the share of the latter.
        let places = |count: usize, old: usize| -> Vec<(usize, usize, f32)> {
            let place = |new: usize| {
                let at = ((cells.middle(new) - self.cells.first) / self.cells.step).clamp(0.0, (old - 1) as f64);
                (at.floor() as usize, at.ceil() as usize, at.fract() as f32)
            };
            (0..count).map(place).collect()
        };
        let (down, across) = (places(rows, self.rows), places(columns, self.columns));
        let value = |row: usize, column: usize| self.values[row * self.columns + column];
        let values = down.iter().flat_map(|&(above, below, low)| {
            across.iter().map(move |&(left, right, far)| {
                let along = |row: usize| value(row, left) * (1.0 - far) + value(row, right) * far;
                along(above) * (1.0 - low) + along(below) * low
            })
        });
        Self { rows, columns, values: values.collect(), cells }
    }
}

/// What cells are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum SentenceVector {
    /// The mean of the embeddings of its words, which local heads put where they put cells. Needs aligned words.
    Words,
    /// The embedding of the text as a report, which training compared with whole images.
    Report,
}

/// What an [`Explainer`] is asked to do otherwise than its checkpoint was trained.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ExplainOptions {
    /// Temperature of attention by cosines.
    pub temperature: Option<f64>,
    /// What cells are compared with; default: words where they were aligned.
    pub sentence: Option<SentenceVector>,
}

/// A dual encoder that shows where it finds text.
#[derive(Debug)]
pub struct Explainer {
    /// The model, on its plain device.
    pub model: DualEncoder,
    /// Preparation of its images.
    pub preprocess: Preprocess,
    /// How its words and patches were aligned, with the temperature in use; nothing where they were not.
    pub rules: Option<AlignmentRules>,
    /// What cells are compared with.
    pub sentence: SentenceVector,
    cells: Cells,
    tokenizer: Tokenizer,
    continues: Vec<bool>,
    max_tokens: usize,
    device: Device,
}

/// What one word sees of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct WordMap {
    /// Share of each cell; they sum to 1.
    pub grid: Grid,
    /// The word as the tokenizer spells it.
    pub text: Phi<String>,
    /// Whether it is the mark at the end of the text, which the published code takes for a word.
    pub is_separator: bool,
}

/// The maps of one image and one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Cosine of each cell with the text.
    pub sentence: Grid,
    /// What each word sees; nothing where words were not aligned.
    pub words: Option<Vec<WordMap>>,
    /// Whether the text was longer than what the model reads.
    pub is_cut: bool,
}

/// The words of texts of one length, in the joint space.
struct Words {
    reports: Vec<Vec<Range<usize>>>,
    /// `[R, E]`.
    embeds: Tensor<2>,
}

impl Explainer {
    /// Loads the two towers of a checkpoint and what it knows of words and patches.
    ///
    /// # Errors
    /// If it has not both towers or its tensors do not fit its card; if the card does not tell how words were aligned that the
    /// model has heads for; if the options do not fit it.
    pub fn new(mut checkpoint: Checkpoint, options: ExplainOptions, device: &Device) -> Result<Self> {
        let mut rules = checkpoint.card.alignment;
        if checkpoint.card.model.alignment().is_none() {
            rules = None;
            use_last_stage(&mut checkpoint.card.model);
        } else if rules.is_none() {
            return Err(unfit("its card does not tell how words and patches were aligned: train it with this version"));
        }
        let model = checkpoint.dual_encoder(device)?;
        let cells =
            checkpoint.dual_config()?.image.cells(checkpoint.card.preprocess.image_size).ok_or_else(no_cells)?;
        let (tokenizer, text) = checkpoint.tokenizer()?;
        if let Some(temperature) = options.temperature {
            let by_cosines = rules.as_mut().filter(|rules| !rules.learned_attention);
            let rules = by_cosines.ok_or_else(|| {
                unfit(
                    "a temperature is for attention by cosines, which this checkpoint has not: leave --temperature out",
                )
            })?;
            if !(temperature > 0.0 && temperature.is_finite()) {
                return Err(unfit("the temperature must be more than 0"));
            }
            rules.token_temperature = temperature;
        }
        let usual = if rules.is_some() { SentenceVector::Words } else { SentenceVector::Report };
        let sentence = options.sentence.unwrap_or(usual);
        if rules.is_none() && sentence == SentenceVector::Words {
            return Err(unfit("its words were not aligned with patches: compare them as a report"));
        }
        let continues = tokenizer.continuations();
        let (preprocess, device) = (checkpoint.card.preprocess, device.clone());
        Ok(Self {
            model,
            preprocess,
            rules,
            sentence,
            cells,
            tokenizer,
            continues,
            max_tokens: text.max_tokens,
            device,
        })
    }

    /// Prepared images (see [`crate::embed::framed`]) as input of the model, `[B, C, size, size]`.
    pub fn images(&self, planes: &[Plane]) -> Tensor<4> {
        let pixels: Vec<f32> = planes.iter().flat_map(|plane| plane.data.iter().copied()).collect();
        self.preprocess.images(&pixels, planes.len(), self.preprocess.image_size, &self.device)
    }

    /// Cosine of each cell of each image with the text of the same number.
    ///
    /// # Shapes
    /// `cells`: those of `B` images (see [`Explainer::cells`]), `[B, P, E]`; `B` texts.
    ///
    /// # Errors
    /// If a text has no word.
    ///
    /// # Panics
    /// If there are not as many texts as images.
    pub fn sentence_maps(&self, cells: &Tensor<3>, texts: &[&str]) -> Result<Vec<Grid>> {
        assert_eq!(cells.dims()[0], texts.len(), "one text for each image");
        Ok(cosines(cells, &self.sentence_vectors(texts)?, self.cells))
    }

    /// Everything that the model shows of one image and one text.
    ///
    /// # Errors
    /// If the text has no word.
    pub fn explain(&self, image: &Plane, text: &str) -> Result<Explained> {
        let cells = self.cells(self.images(std::slice::from_ref(image)))?;
        let sentence = cosines(&cells, &self.sentence_vectors(&[text])?, self.cells).swap_remove(0);
        let ids = self.encode(text)?;
        let is_cut = self.tokenizer.encode(text, usize::MAX)?.input_ids.len() > ids.len();
        let words =
            self.aligned().map(|(alignment, rules)| self.words_see(alignment, rules, cells, ids)).transpose()?;
        Ok(Explained { sentence, words, is_cut })
    }

    fn aligned(&self) -> Option<(&Alignment, &AlignmentRules)> {
        self.model.alignment.as_ref().zip(self.rules.as_ref())
    }

    /// Cells of images in the joint space, of unit length.
    ///
    /// # Shapes
    /// `[B, C, H, W]` to `[B, P, E]`.
    ///
    /// # Errors
    /// If the image tower has no local features.
    pub fn cells(&self, images: Tensor<4>) -> Result<Tensor<3>> {
        let local = self.model.image_encoder.forward(images).local;
        let local = local.ok_or_else(no_cells)?;
        if let Some((alignment, _)) = self.aligned() {
            return Ok(alignment.image_local.forward_all(local));
        }
        let [b, p, d] = local.dims();
        let cells = l2_normalize(self.model.image_projection.forward(local.reshape([b * p, d]))); // [B * P, E]
        let e = cells.dims()[1];
        Ok(cells.reshape([b, p, e]))
    }

    /// Token ids of a text that has at least one.
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        if self.tokenizer.pieces(text)?.is_empty() {
            return Err(wordless());
        }
        Ok(self.tokenizer.encode(text, self.max_tokens)?.input_ids)
    }

    /// What cells are compared with, a row for each text. Texts of one length share a batch, so there is no padding.
    fn sentence_vectors(&self, texts: &[&str]) -> Result<Embeddings> {
        let mut by_length: BTreeMap<usize, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
        for (index, text) in texts.iter().enumerate() {
            let ids = self.encode(text)?;
            by_length.entry(ids.len()).or_default().push((index, ids));
        }
        let Some((alignment, rules)) = self.aligned().filter(|_| self.sentence == SentenceVector::Words) else {
            return embed_texts(&self.model, &self.tokenizer, texts, self.max_tokens, BATCH, &self.device);
        };
        let mut rows: Vec<Vec<f32>> = vec![Vec::new(); texts.len()];
        for chunk in by_length.values().flat_map(|same| same.chunks(BATCH)) {
            let ids: Vec<Vec<u32>> = chunk.iter().map(|(_, ids)| ids.clone()).collect();
            let words = self.words(alignment, rules, &ids)?;
            let width = words.embeds.dims()[1];
            let values: Vec<f32> = words.embeds.into_data().iter::<f32>().collect();
            let mut values = values.chunks_exact(width);
            for ((index, ids), ranges) in chunk.iter().zip(&words.reports) {
                let mut sum = vec![0.0; width];
                for (range, word) in ranges.iter().zip(values.by_ref()) {
                    // The mark at the end says nothing of what the text is about.
                    if !is_separator(range, ids) {
                        sum.iter_mut().zip(word).for_each(|(sum, value)| *sum += value);
                    }
                }
                rows[*index] = sum;
            }
        }
        let width = rows.first().map_or(1, Vec::len);
        Ok(Embeddings::new(texts.len(), width, rows.concat())?)
    }

    /// Words of texts of one length.
    fn words(&self, alignment: &Alignment, rules: &AlignmentRules, ids: &[Vec<u32>]) -> Result<Words> {
        let batch = TextBatch::from_ids(ids, self.tokenizer.pad_id());
        let continues = |id: u32| self.continues.get(id as usize).copied().unwrap_or(false);
        let (tokens, mask) = (batch.tokens, &batch.attention_mask);
        let plan = WordPlan::new(&batch.input_ids, mask, tokens, self.max_tokens, rules.words, continues);
        let has_word = |(ranges, ids): (&Vec<Range<usize>>, &Vec<u32>)| ranges.iter().any(|r| !is_separator(r, ids));
        if !plan.reports().iter().zip(ids).all(has_word) {
            return Err(wordless());
        }
        let tokens = self.model.text_encoder.forward(upload_texts(&batch, &self.device), None).tokens;
        let words = plan.upload(&self.device);
        let embeds = alignment.text_local.forward(words.gather(words.merge(tokens)));
        Ok(Words { reports: plan.reports().to_vec(), embeds })
    }

    /// What each word of a text sees of the cells of one image, `[1, P, E]`.
    fn words_see(
        &self,
        alignment: &Alignment,
        rules: &AlignmentRules,
        cells: Tensor<3>,
        ids: Vec<u32>,
    ) -> Result<Vec<WordMap>> {
        let gather: Gather = rules
            .words_see(alignment)
            .ok_or_else(|| unfit("it was trained with learned maps between words and patches, which it lacks"))?;
        let ids = [ids];
        let words = self.words(alignment, rules, &ids)?;
        let weights = gather.attend(words.embeds.unsqueeze(), cells, None).weights; // [1, R, P]
        let p = weights.dims()[2];
        let values: Vec<f32> = weights.into_data().iter::<f32>().collect();
        let [ids] = &ids;
        let maps = words.reports[0].iter().zip(values.chunks_exact(p)).map(|(range, weights)| WordMap {
            grid: Grid::square(weights.to_vec(), self.cells),
            text: Phi::new(self.spelled(&ids[range.clone()])),
            is_separator: is_separator(range, ids),
        });
        Ok(maps.collect())
    }

    /// A word from its pieces.
    fn spelled(&self, ids: &[u32]) -> String {
        let pieces = ids.iter().filter_map(|&id| self.tokenizer.token(id));
        pieces.map(|piece| piece.strip_prefix("##").unwrap_or(&piece).to_owned()).collect()
    }
}

/// Whether a word is the last token, which ends every text.
fn is_separator(word: &Range<usize>, ids: &[u32]) -> bool {
    word.start + 1 == ids.len()
}

/// Makes a residual network without local heads return the map that its global feature is the mean of.
fn use_last_stage(model: &mut Architecture) {
    if let Architecture::DualEncoder(config) = model
        && let ImageEncoderConfig::Resnet(resnet) = &mut config.image
    {
        resnet.local_stage = Some(4);
        resnet.local_position = false;
    }
}

/// Cosines of cells with the vector of their image, `[B, P, E]` and `B` rows, all of unit length.
fn cosines(cells: &Tensor<3>, vectors: &Embeddings, places: Cells) -> Vec<Grid> {
    let [_, p, e] = cells.dims();
    let values: Vec<f32> = cells.clone().into_data().iter::<f32>().collect();
    let images = values.chunks_exact(p * e).zip(vectors.data().chunks_exact(e));
    let cosine = |cell: &[f32], vector: &[f32]| cell.iter().zip(vector).map(|(a, b)| a * b).sum();
    images
        .map(|(cells, vector)| Grid::square(cells.chunks_exact(e).map(|cell| cosine(cell, vector)).collect(), places))
        .collect()
}

fn no_cells() -> EvalError {
    unfit("its image tower has no local features")
}

fn unfit(what: &str) -> EvalError {
    EvalError::Unfit { data: "the checkpoint".to_owned(), what: what.to_owned() }
}

fn wordless() -> EvalError {
    let what = "the model reads no word of it: give a sentence".to_owned();
    EvalError::Unfit { data: "the text".to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_cell_is_the_first_of_the_greatest() {
        let grid = |values: Vec<f32>| Grid { rows: 2, columns: 3, values, cells: Cells::tiles(3) };
        let found = grid(vec![0.1, 0.4, -2.0, 0.4, 0.0, 0.3]);
        assert_eq!((found.highest(), found.scale()), ((0, 1), (-2.0, 0.4)));
        assert_eq!(grid(vec![-1.0, -3.0, -2.0, -4.0, -1.5, -0.5]).highest(), (1, 2));
        let square = Grid::square(vec![0.0; 9], Cells::tiles(3));
        assert_eq!((square.rows, square.columns), (3, 3));
    }

    #[test]
    fn an_enlarged_map_keeps_its_values_and_their_places() {
        let grid = Grid { rows: 2, columns: 2, values: vec![1.0, 2.0, 3.0, 4.0], cells: Cells::tiles(2) };
        let plane = grid.enlarged(8);
        let at = |x: usize, y: usize| plane.data[y * 8 + x];
        for (corner, wanted) in [(at(0, 0), 1.0_f32), (at(7, 0), 2.0), (at(0, 7), 3.0), (at(7, 7), 4.0)] {
            assert!((corner - wanted).abs() < 1e-6, "{corner} for {wanted}");
        }
        // The middle of the picture lies half-way between all four.
        assert!((f32::midpoint(at(3, 3), at(4, 4)) - 2.5).abs() < 1e-6);
        // Cells in the corners of their tiles: the first pixel, and the fifth.
        let cells = Cells { first: 0.5 / 8.0, step: 0.5 };
        let plane = Grid { cells, ..grid.clone() }.enlarged(8);
        for (x, wanted) in [(0, 1.0_f32), (2, 1.5), (4, 2.0), (7, 2.0)] {
            assert!((plane.data[x] - wanted).abs() < 1e-6, "{x}: {}", plane.data[x]);
        }
        assert_eq!(grid.on(2, 2, grid.cells), grid);
    }
}

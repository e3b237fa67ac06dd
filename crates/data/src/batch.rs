//! Batches as host buffers: images, token ids, labels.
//!
//! Shape letters: `B` studies, `S` sentences per study, `T` tokens of the longest text, `W` topics, `K` classes.

use crate::error::Result;
use crate::text::Tokenizer;

/// Texts as token ids, padded to the longest of the batch: no work is done for padding beyond it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextBatch {
    /// Number of texts.
    pub len: usize,
    /// Tokens per text (`T`).
    pub tokens: usize,
    /// `[len, T]`, row-major.
    pub input_ids: Vec<u32>,
    /// 1 where there is text, 0 where there is padding; `[len, T]`, row-major.
    pub attention_mask: Vec<u32>,
}

impl TextBatch {
    /// Tokenises texts, each cut at `max_tokens` with the special tokens.
    ///
    /// # Errors
    /// If `max_tokens` leaves no room for text.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>, tokenizer: &Tokenizer, max_tokens: usize) -> Result<Self> {
        let encoded: Vec<Vec<u32>> =
            texts.into_iter().map(|text| Ok(tokenizer.encode(text, max_tokens)?.input_ids)).collect::<Result<_>>()?;
        Ok(Self::from_ids(&encoded, tokenizer.pad_id()))
    }

    /// Pads token ids to the longest text.
    ///
    /// A text without a token becomes padding alone, and a batch of such texts has one column of it: no side of a tensor
    /// is zero unless there is no text.
    pub fn from_ids(encoded: &[Vec<u32>], pad_id: u32) -> Self {
        Self::padded(encoded, encoded.iter().map(|ids| ids.len().max(1)).max().unwrap_or(0), pad_id)
    }

    /// Pads token ids to `tokens`, for encoders whose vector of a text depends on how far it is padded.
    ///
    /// # Panics
    /// If a text is longer.
    pub fn padded(encoded: &[Vec<u32>], tokens: usize, pad_id: u32) -> Self {
        let mut input_ids = Vec::with_capacity(encoded.len() * tokens);
        let mut attention_mask = Vec::with_capacity(encoded.len() * tokens);
        for ids in encoded {
            input_ids.extend(ids);
            assert!(ids.len() <= tokens, "a text of {} tokens does not fit {tokens}", ids.len());
            input_ids.extend(std::iter::repeat_n(pad_id, tokens - ids.len()));
            attention_mask.extend((0..tokens).map(|t| u32::from(t < ids.len())));
        }
        Self { len: encoded.len(), tokens, input_ids, attention_mask }
    }

    /// Some of the texts, padded as all of them are.
    fn range(&self, start: usize, end: usize) -> Self {
        let ids = start * self.tokens..end * self.tokens;
        Self {
            len: end - start,
            tokens: self.tokens,
            input_ids: self.input_ids[ids.clone()].to_vec(),
            attention_mask: self.attention_mask[ids].to_vec(),
        }
    }

    /// Memory that its token ids and masks take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.input_ids.as_slice()) + size_of_val(self.attention_mask.as_slice())
    }
}

/// Studies of one step: an image each, its sentences and its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct PairBatch {
    /// Number of studies (`B`).
    pub len: usize,
    /// Side of an image (px).
    pub size: usize,
    /// Grey values, 0 to 1; `[B, size, size]`, row-major.
    pub images: Vec<f32>,
    /// Sentences per study (`S`); 0 where the data set has no text.
    pub sentences: usize,
    /// `B * S` texts; the first `S` belong to the first study.
    pub texts: TextBatch,
    /// Sentences beside whole reports, as many of each study, where the loader was asked for them.
    pub beside: TextBatch,
    /// Topics of each report, where the loader was asked for them; `[B, W]`, row-major.
    pub topics: Vec<f32>,
    /// Number of classes (`K`).
    pub classes: usize,
    /// 1, 0, or NaN where a class is not labelled; `[B, K]`, row-major.
    pub labels: Vec<f32>,
    /// What the texts of each study say of the same classes, where they are not its own; `[B, K]` or empty, row-major.
    pub text_labels: Vec<f32>,
    /// Index of each study in the data set.
    pub studies: Vec<u32>,
}

impl PairBatch {
    /// Memory that everything in it takes: images, texts, topics, labels of both and the numbers of the studies.
    pub fn bytes(&self) -> usize {
        let floats = [&self.images, &self.topics, &self.labels, &self.text_labels];
        let floats: usize = floats.map(|part| size_of_val(part.as_slice())).iter().sum();
        floats + self.texts.bytes() + self.beside.bytes() + size_of_val(self.studies.as_slice())
    }

    /// Splits into parts of at most `size` studies (at least one), in order.
    pub fn micro_batches(&self, size: usize) -> Vec<Self> {
        let size = size.max(1);
        (0..self.len).step_by(size).map(|start| self.range(start, (start + size).min(self.len))).collect()
    }

    fn range(&self, start: usize, end: usize) -> Self {
        let pixels = self.size * self.size;
        let texts = |all: &TextBatch| all.range(start * all.len / self.len, end * all.len / self.len);
        let rows = |all: &[f32]| all[start * all.len() / self.len..end * all.len() / self.len].to_vec();
        Self {
            len: end - start,
            size: self.size,
            images: self.images[start * pixels..end * pixels].to_vec(),
            sentences: self.sentences,
            texts: texts(&self.texts),
            beside: texts(&self.beside),
            topics: rows(&self.topics),
            classes: self.classes,
            labels: rows(&self.labels),
            text_labels: rows(&self.text_labels),
            studies: self.studies[start..end].to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_padded_to_the_longest() {
        let batch = TextBatch::from_ids(&[vec![2, 7, 3], vec![2, 3]], 0);
        assert_eq!((batch.len, batch.tokens), (2, 3));
        assert_eq!(batch.input_ids, [2, 7, 3, 2, 3, 0]);
        assert_eq!(batch.attention_mask, [1, 1, 1, 1, 1, 0]);
    }

    #[test]
    fn texts_of_padding_alone_keep_their_place() {
        let one = TextBatch::from_ids(&[vec![]], 9);
        assert_eq!((one.len, one.tokens, one.input_ids, one.attention_mask), (1, 1, vec![9], vec![0]));
        let mixed = TextBatch::from_ids(&[vec![], vec![2, 3]], 9);
        assert_eq!(mixed.input_ids, [9, 9, 2, 3]);
        assert_eq!(mixed.attention_mask, [0, 0, 1, 1]);
        assert_eq!(TextBatch::from_ids(&[], 9), TextBatch::default());
    }

    #[test]
    fn an_empty_text_is_its_special_tokens() {
        let tokenizer = Tokenizer::builtin().unwrap();
        for text in ["", " \n ", "\u{ad}\0"] {
            let batch = TextBatch::new([text], &tokenizer, 8).unwrap();
            assert_eq!((batch.len, batch.tokens), (1, 2), "{text:?}");
            let special = ["[CLS]", "[SEP]"].map(|token| tokenizer.id(token).unwrap());
            assert_eq!(batch.input_ids, special);
            assert_eq!(batch.attention_mask, [1, 1]);
        }
    }

    #[test]
    fn a_batch_of_one_study_and_one_without_text_can_be_taken_apart() {
        let batch = PairBatch {
            len: 1,
            size: 1,
            images: vec![0.5],
            sentences: 0,
            texts: TextBatch::default(),
            beside: TextBatch::default(),
            topics: Vec::new(),
            classes: 0,
            labels: Vec::new(),
            text_labels: Vec::new(),
            studies: vec![4],
        };
        for size in [0, 1, 9] {
            assert_eq!(batch.micro_batches(size), std::slice::from_ref(&batch));
        }
    }

    #[test]
    fn micro_batches_hold_every_study_once() {
        let batch = PairBatch {
            len: 3,
            size: 1,
            images: vec![0.0, 1.0, 2.0],
            sentences: 2,
            texts: TextBatch::from_ids(&[vec![1], vec![2], vec![3], vec![4], vec![5], vec![6]], 0),
            beside: TextBatch::from_ids(&[vec![7, 7], vec![8], vec![9]], 0),
            topics: vec![0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
            classes: 1,
            labels: vec![1.0, 0.0, 1.0],
            text_labels: vec![0.0, 1.0, 1.0],
            studies: vec![9, 8, 7],
        };
        // 3 pixels, 12 ids, 12 marks of the mask, 6 topics, twice 3 labels and 3 studies of 4 bytes each.
        assert_eq!((batch.bytes(), batch.texts.bytes(), batch.beside.bytes()), (42 * 4, 12 * 4, 12 * 4));
        let parts = batch.micro_batches(2);
        assert_eq!(parts.iter().map(PairBatch::bytes).sum::<usize>(), 42 * 4);
        assert_eq!(parts.iter().map(|p| p.len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(parts[1].texts.input_ids, [5, 6]);
        assert_eq!(parts[1].beside.input_ids, [9, 0]);
        assert_eq!(parts[1].topics, [1.0, 1.0]);
        assert_eq!((parts[0].text_labels.as_slice(), parts[1].text_labels.as_slice()), (&[0.0, 1.0][..], &[1.0][..]));
        assert_eq!((parts[1].images[0], parts[1].labels[0], parts[1].studies[0]), (2.0, 1.0, 7));
    }
}

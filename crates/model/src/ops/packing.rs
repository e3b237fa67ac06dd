//! Texts one after another, without the padding that makes them equally long: what is not there needs no work.
//!
//! All layers of a transformer but attention act on rows, and attention can be told where the rows of a text begin. Which texts
//! share a batch stays what the order of the data made it, so that nothing is learned from their lengths; sorting texts by
//! length for the sake of speed would decide which studies are contrasted with each other.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::cpu::is_on_cpu;

/// Where the tokens of each text begin among those of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    /// One more than there are texts: the last is the number of all tokens.
    starts: Arc<[usize]>,
    longest: usize,
}

impl Packing {
    /// Texts of these numbers of tokens.
    pub fn new(lengths: &[usize]) -> Self {
        let mut sum = 0;
        let starts = std::iter::once(0).chain(lengths.iter().map(|length| {
            sum += length;
            sum
        }));
        Self { starts: starts.collect(), longest: lengths.iter().copied().max().unwrap_or(0) }
    }

    /// That of padded texts, `[B, T]` and true at padding, where the device has bodies for packed rows and every text is
    /// tokens first and padding behind them.
    pub fn of_padded(padding: &Tensor<2, Bool>) -> Option<Self> {
        if !is_on_cpu(&padding.device()) {
            return None;
        }
        let [_, t] = padding.dims();
        let mask: Vec<bool> = padding.to_data().iter::<bool>().collect();
        let lengths = mask.chunks(t.max(1)).map(|text| {
            let length = text.iter().take_while(|padding| !**padding).count();
            (length > 0 && text[length..].iter().all(|padding| *padding)).then_some(length)
        });
        Some(Self::new(&lengths.collect::<Option<Vec<_>>>()?))
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of tokens of all texts.
    pub fn rows(&self) -> usize {
        self.starts[self.texts()]
    }

    /// Tokens of the longest text.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Rows of a text.
    pub fn of(&self, text: usize) -> Range<usize> {
        self.starts[text]..self.starts[text + 1]
    }

    /// Token ids `[B, T]` as `[1, M]`.
    pub fn pack(&self, ids: &Tensor<2, Int>) -> Tensor<2, Int> {
        let [_, t] = ids.dims();
        let all: Vec<i64> = ids.to_data().iter::<i64>().collect();
        let packed = (0..self.texts()).flat_map(|text| &all[text * t..text * t + self.of(text).len()]);
        ints(packed.copied().collect(), &ids.device())
    }

    /// The place of each token in its text, `[1, M]`.
    pub fn positions(&self, device: &Device) -> Tensor<2, Int> {
        let of = |text| (0..).take(self.of(text).len());
        ints((0..self.texts()).flat_map(of).collect(), device)
    }

    /// Rows `[1, M, D]` as `[B, T, D]`; what stands at padding means nothing.
    pub fn unpack(&self, rows: Tensor<3>) -> Tensor<3> {
        let [_, m, d] = rows.dims();
        let (b, t) = (self.texts(), self.longest);
        if m == b * t {
            return rows.reshape([b, t, d]);
        }
        // Behind the end of a text its last row is repeated.
        let of = |text: usize| {
            let rows = self.of(text);
            (0..t).map(move |i| i64::try_from((rows.start + i).min(rows.end - 1)).unwrap_or(i64::MAX))
        };
        let places = ints((0..b).flat_map(of).collect(), &rows.device());
        rows.reshape([m, d]).select(0, places.reshape([b * t])).reshape([b, t, d])
    }
}

fn ints(values: Vec<i64>, device: &Device) -> Tensor<2, Int> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [1, len]), device)
}

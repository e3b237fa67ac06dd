//! The auxiliary prediction of a report's topics, which objectives may share.
//!
//! Shape letters: `B` studies, `S` sentences per study, `K` topics.

use burn::tensor::Tensor;
use engine::objective::LossTerm;

use crate::loss::topics::topic_error;

/// Topics of a batch of reports, and what the towers make of them.
#[derive(Debug, Clone)]
pub struct TopicEmbeds {
    /// As the images show them, `[B, K]`.
    pub image: Tensor<2>,
    /// As the sentences tell of them, `[B * S, K]`.
    pub text: Tensor<2>,
    /// As they are, `[B, K]`.
    pub target: Tensor<2>,
}

impl TopicEmbeds {
    /// Its parts in a fixed order.
    pub fn into_rows(self) -> [Tensor<2>; 3] {
        [self.image, self.text, self.target]
    }

    /// The same with other rows, which `next` gives for each part in that order.
    #[must_use]
    pub fn refilled(&self, mut next: impl FnMut(&Tensor<2>) -> Tensor<2>) -> Self {
        Self { image: next(&self.image), text: next(&self.text), target: next(&self.target) }
    }
}

/// The errors of both predictions.
pub fn topic_terms(topics: &TopicEmbeds, weight: f64) -> [LossTerm; 2] {
    [("image_topics", &topics.image), ("text_topics", &topics.text)].map(|(name, predicted)| {
        let value = topic_error(predicted.clone(), topics.target.clone());
        LossTerm { name, value, weight }
    })
}

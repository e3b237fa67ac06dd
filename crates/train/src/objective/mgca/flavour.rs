//! What paper and published code of `MGCA` disagree about: one table, and the options that it sets.

use model::alignment::rules::AlignmentRules;
use model::text::words::WordRules;
use serde::{Deserialize, Serialize};

use crate::objective::flavour::Difference;
pub use crate::objective::flavour::Flavour;

/// Every difference that changes a result: key, the paper's value, that of the published code. A recipe may set any of them.
///
/// # Source
/// `methods.md` 2.3, 2.5, 2.6 and 8.
pub const DIFFERENCES: [Difference; 16] = [
    ("objective.instance_temperature", "0.1", "0.07"),
    ("objective.instance_mean", "true", "false"),
    ("objective.token_temperature", "0.07", "0.1"),
    ("objective.token_mean", "true", "false"),
    ("objective.weight_per_token", "true", "false"),
    ("objective.clip_weights", "false", "true"),
    ("objective.learned_attention", "true", "false"),
    ("objective.raw_vit_context", "false", "true"),
    ("objective.separator_is_word", "false", "true"),
    ("objective.padding_takes_part", "false", "true"),
    ("objective.attention_shifted", "false", "true"),
    ("objective.full_text_truncated", "false", "true"),
    ("objective.prototype_temperature", "0.2", "0.2"),
    ("model.text.num_layers", "12", "6"),
    ("model.text.zero_positions", "false", "true"),
    ("model.text.type_vocab_size", "2", "0"),
];

/// Constants of the objective. Those that [`DIFFERENCES`] names are set by the flavour unless a recipe sets them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is one difference between paper and code")]
pub struct MgcaConfig {
    /// Whose values fill what a recipe leaves open.
    pub flavour: Flavour,
    /// Weight of the alignment of pairs (ITA).
    #[serde(default = "one")]
    pub instance_weight: f64,
    /// Weight of the alignment of words and patches (CTA).
    #[serde(default = "one")]
    pub token_weight: f64,
    /// Weight of the contrast of sentences with the patches of all images; 0 in paper and published code, which compare words
    /// and patches of one pair alone.
    #[serde(default)]
    pub sentence_weight: f64,
    /// Temperature of that contrast, and of its smooth maximum over patches.
    #[serde(default = "sentence_temperature")]
    pub sentence_temperature: f64,
    /// Share of an image's patches that take part in that contrast, drawn anew in each update: with few, every patch that
    /// shows a finding must tell of it, and not one beside them for all.
    #[serde(default = "one")]
    pub sentence_patches: f64,
    /// Weight of the alignment with prototypes (CPA).
    #[serde(default = "one")]
    pub prototype_weight: f64,
    /// Temperature of the contrast of pairs.
    pub instance_temperature: f64,
    /// Whether that loss is the mean of both directions instead of their sum.
    pub instance_mean: bool,
    /// Temperature of the contrast of tokens, and of attention without parameters.
    pub token_temperature: f64,
    /// Whether that loss is the mean of word and patch side instead of their sum.
    pub token_mean: bool,
    /// Whether weights are divided by the number of words or patches.
    pub weight_per_token: bool,
    /// Whether weights are clipped to their 10 % and 90 % quantiles and then divided by their sum.
    pub clip_weights: bool,
    /// Whether words and patches see each other by learned maps.
    pub learned_attention: bool,
    /// Whether what a patch sees of the report keeps its length where the tower is a vision transformer.
    pub raw_vit_context: bool,
    /// Whether the mark at the end of a report is a word.
    pub separator_is_word: bool,
    /// Whether padding is projected and counts among words.
    pub padding_takes_part: bool,
    /// Whether a token has the attention that is paid to the one after it.
    pub attention_shifted: bool,
    /// Whether a report that fills the length loses its last word and the mark at its end.
    pub full_text_truncated: bool,
    /// Temperature of the prediction of prototypes.
    pub prototype_temperature: f64,
    /// Sharpness of the assignment to prototypes: small is sharp.
    #[serde(default = "sinkhorn_epsilon")]
    pub sinkhorn_epsilon: f64,
    /// Rounds of the assignment.
    #[serde(default = "sinkhorn_iterations")]
    pub sinkhorn_iterations: usize,
    /// Passes over the data during which prototypes stay as they are.
    #[serde(default = "frozen_epochs")]
    pub freeze_prototypes_epochs: u64,
    /// Topics of the report that both towers predict besides; 0 in the paper.
    #[serde(default)]
    pub topics: usize,
    /// Weight of the error of either prediction.
    #[serde(default = "one")]
    pub topics_weight: f64,
}

fn one() -> f64 {
    1.0
}

fn sentence_temperature() -> f64 {
    0.1
}

fn sinkhorn_epsilon() -> f64 {
    0.05
}

fn sinkhorn_iterations() -> usize {
    3
}

fn frozen_epochs() -> u64 {
    1
}

impl MgcaConfig {
    /// What a checkpoint must tell whoever looks at its words and patches.
    pub fn alignment_rules(&self) -> AlignmentRules {
        AlignmentRules {
            learned_attention: self.learned_attention,
            token_temperature: self.token_temperature,
            words: WordRules {
                separator_is_word: self.separator_is_word,
                full_text_truncated: self.full_text_truncated,
            },
        }
    }

    /// The first key that makes no sense, its value and what to use.
    pub fn fault(&self) -> Option<(&'static str, f64, &'static str)> {
        let positive = [
            ("objective.instance_temperature", self.instance_temperature),
            ("objective.token_temperature", self.token_temperature),
            ("objective.sentence_temperature", self.sentence_temperature),
            ("objective.prototype_temperature", self.prototype_temperature),
            ("objective.sinkhorn_epsilon", self.sinkhorn_epsilon),
        ];
        let weights = [
            ("objective.instance_weight", self.instance_weight),
            ("objective.token_weight", self.token_weight),
            ("objective.sentence_weight", self.sentence_weight),
            ("objective.prototype_weight", self.prototype_weight),
            ("objective.topics_weight", self.topics_weight),
        ];
        let share = ("objective.sentence_patches", self.sentence_patches, "use more than 0 and at most 1");
        if !(self.sentence_patches > 0.0 && self.sentence_patches <= 1.0) {
            return Some(share);
        }
        let odd = positive.into_iter().find(|(_, value)| !(*value > 0.0 && value.is_finite()));
        let negative = || weights.into_iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite()));
        odd.map(|(key, value)| (key, value, "use more than 0"))
            .or_else(|| negative().map(|(key, value)| (key, value, "use 0 or more")))
    }
}

//! Words of reports and the attention that is paid to them, against the transcription of MGCA in torch.

use burn::tensor::{Tensor, TensorData};
use model::text::words::{WordPlan, WordRules};
use model::weights::TensorMap;

use super::support::{Golden, assert_all_close, device, host};

/// Sums of a few products: nothing but their order differs.
const TOLERANCE: f32 = 1e-6;
/// Reports are cut here.
const MAX_TOKENS: usize = 9;

#[test]
fn words_weights_and_gradients_are_those_of_torch() {
    let golden = Golden::read("mgca_words");
    let (mut actual, mut expected) = (TensorMap::new(), TensorMap::new());
    for (flavour, published) in [("paper", false), ("reference", true)] {
        let rules = WordRules { separator_is_word: published, full_text_truncated: published };
        for case in ["full", "padded", "short"] {
            let key = |name: &str| format!("{case}.{name}");
            let words = plan(&golden, case, rules).padded_to(MAX_TOKENS - 1).upload(&device().autodiff());
            let hidden = golden.tensor::<3>(&key("hidden"), &device().autodiff()).require_grad();
            let attention = golden.tensor::<4>(&key("attention"), &device().autodiff());
            let merged = words.merge(hidden.clone());
            let weighting = golden.tensor::<3>(&key("weighting"), &device().autodiff());
            let grads = (merged.clone() * weighting).sum().backward();
            let found = [
                ("words", host(merged)),
                ("word_weights", host(words.attention(attention, published))),
                ("word_mask", host(words.padding.bool_not().float())),
                ("grad_hidden", host(hidden.grad(&grads).unwrap())),
            ];
            for (name, tensor) in found {
                let name = format!("{flavour}.{case}.{name}");
                expected.insert(name.clone(), golden.host(&name).clone());
                actual.insert(name, tensor);
            }
        }
    }
    assert_all_close("words", &actual, &expected, TOLERANCE);
}

/// The reports of a case: pieces that go on with a word have the id 1.
fn plan(golden: &Golden, case: &str, rules: WordRules) -> WordPlan {
    let continuation = golden.host(&format!("{case}.continuation"));
    let [_, t] = continuation.shape[..] else { panic!("two axes") };
    let ids: Vec<u32> = continuation.data.iter().map(|&flag| u32::from(flag > 0.5)).collect();
    let lengths = &golden.host(&format!("{case}.lengths")).data;
    let mask: Vec<u32> =
        lengths.iter().flat_map(|&length| (0..t).map(move |i| u32::from((i as f32) < length))).collect();
    WordPlan::new(&ids, &mask, t, MAX_TOKENS, rules, |id| id == 1)
}

#[test]
fn true_words_are_gathered_and_spread_out_again() {
    let golden = Golden::read("mgca_words");
    let words = plan(&golden, "short", WordRules::default()).upload(&device());
    let [b, m] = words.padding.dims();
    let numbers: Vec<f32> = (0..b * m * 2).map(|i| i as f32 + 1.0).collect();
    let all = Tensor::<3>::from_data(TensorData::new(numbers, [b, m, 2]), &device());
    let rows = words.gather(all.clone());
    let count = host(words.padding.clone().bool_not().float()).data.iter().filter(|&&mark| mark > 0.5).count();
    assert_eq!(rows.dims()[0], count);
    let kept = all * words.padding.clone().bool_not().float().reshape([b, m, 1]);
    assert_eq!(host(words.spread(rows)), host(kept));
}

//! The contrast of sentences with patches against torch: `scripts/golden/sentence_loss.py`.

use burn::tensor::Tensor;
use train::loss::sentence::{SentenceConfig, sentence_loss};

use super::support::{Golden, assert_all_close, host, number, scalar, tolerance, tracked};

#[test]
fn value_and_gradients_are_those_of_torch() {
    let golden = Golden::read("sentence_loss");
    let config = SentenceConfig { temperature: golden.metadata("temperature") };
    for case in ["one", "few", "many"] {
        let device = tracked();
        let given = |name: &str| golden.tensor::<3>(&format!("{case}.{name}"), &device).require_grad();
        let (sentences, patches) = (given("sentences"), given("patches"));
        let found = sentence_loss(&sentences, &patches, &config);
        let grads = found.loss.clone().backward();
        let actual = [
            ("loss", scalar(number(found.loss))),
            ("accuracy", scalar(number(found.accuracy))),
            ("grad.sentences", host(sentences.grad(&grads).unwrap())),
            ("grad.patches", host(patches.grad(&grads).unwrap())),
        ];
        let actual: Vec<_> = actual.map(|(name, value)| (name.to_owned(), value)).into();
        let expected = actual.iter().map(|(name, _)| (name.clone(), golden.host(&format!("{case}.{name}")).clone()));
        // Torch's own single precision is within 1e-6; sums of exponentials and one logarithm lose little more.
        let expected = expected.collect();
        assert_all_close(case, &actual.into_iter().collect(), &expected, tolerance(1e-5));
    }
}

#[test]
fn reports_without_sentences_have_no_loss() {
    let device = tracked();
    let none = Tensor::<3>::zeros([2, 3, 4], &device).require_grad();
    let patches = Tensor::ones([2, 5, 4], &device);
    let found = sentence_loss(&none, &patches, &SentenceConfig { temperature: 0.1 });
    let grads = found.loss.clone().backward();
    assert_eq!((number(found.loss), number(found.accuracy)), (0.0, 0.0));
    let largest = none.grad(&grads).map_or(0.0, |grad| number(grad.abs().max().reshape([1])));
    assert!(largest < 1e-12, "{largest}");
}

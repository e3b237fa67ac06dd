//! The error of predicted topics against torch: `scripts/golden/topic_error.py`.

use train::loss::topics::topic_error;

use super::support::{Golden, assert_all_close, host, number, scalar, tolerance, tracked};

#[test]
fn value_and_gradient_are_those_of_torch() {
    let golden = Golden::read("topic_error");
    for case in ["s1", "s3"] {
        let predicted = golden.tensor::<2>(&format!("{case}.predicted"), &tracked()).require_grad();
        let loss = topic_error(predicted.clone(), golden.tensor(&format!("{case}.target"), &tracked()));
        let grads = loss.clone().backward();
        let actual =
            [("loss".to_owned(), scalar(number(loss))), ("grad".to_owned(), host(predicted.grad(&grads).unwrap()))];
        let expected = ["loss", "grad"].map(|name| (name.to_owned(), golden.host(&format!("{case}.{name}")).clone()));
        // Torch's own single precision is within 1.2e-7; differences, squares and one sum lose little more.
        assert_all_close(case, &actual.into_iter().collect(), &expected.into_iter().collect(), tolerance(1e-5));
    }
}

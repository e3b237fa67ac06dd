"""Codes of MGCA's prototypes by Sinkhorn's iterations.

Writes crates/train/tests/it/golden/sinkhorn.safetensors. `<case>.cosines` are of random unit rows and prototypes,
`<case>.codes` what three iterations make of them; each row of codes sums to one. The case `feasible` has a multiple of
as many images as prototypes, and its `converged` are the codes after 200 iterations: every prototype then gets the same
share (`prototype_sums`, the sums of the columns). The plain form, which holds numbers up to exp(20), and the one in
logarithms are asserted to agree.
"""

import numpy as np
import torch
from common import cast, randn, reference, write
from mgca import REFERENCE, check, log_sinkhorn, sinkhorn
from torch.nn import functional

EPSILON = REFERENCE["sinkhorn_epsilon"]
ITERATIONS = REFERENCE["sinkhorn_iterations"]
LONG = 200
# Images, prototypes, width of the embeddings.
CASES = {
    "b1_k9": (1, 9, 6),
    "b2_k9": (2, 9, 6),
    "b7_k9": (7, 9, 6),
    "b2_k500": (2, 500, 16),
    "b7_k500": (7, 500, 16),
    "b72_k40": (72, 40, 16),
    "feasible": (24, 6, 16),
}


def run(_, cosines, iterations):
    return {"codes": sinkhorn(cosines, EPSILON, iterations)}


def codes(name, cosines, iterations):
    found = reference(f"{name}, {iterations} iterations", run, cosines, iterations)["codes"]
    for form in [cosines, cosines.float()]:
        gap = (log_sinkhorn(form, EPSILON, iterations).double() - found).abs().max().item()
        assert gap < (1e-12 if form.dtype == torch.float64 else 1e-5), gap
    assert (found.sum(1) - 1.0).abs().max() < 1e-12
    # Few images among many prototypes leave little to share out: one image gets the same code for all of them, however
    # many iterations there are. Longer runs differ less still.
    seen = {"no iteration": (EPSILON, 0)}
    if 2 * len(cosines) > cosines.shape[1] and iterations == ITERATIONS:
        seen |= {"an iteration less": (EPSILON, iterations - 1), "epsilon 0.055": (0.055, iterations)}
    for what, arguments in seen.items():
        gap = ((sinkhorn(cosines, *arguments) - found).abs().max() / found.max()).item()
        print(f"{name}: {what} misses by {gap:.2f}")
        assert gap > 1e-2
    return found


def main():
    check()
    rng = np.random.default_rng(60)
    tensors = {}
    for name, (size, count, width) in CASES.items():
        rows = [functional.normalize(randn(rng, each, width)) for each in [size, count]]
        (cosines,) = cast([rows[0] @ rows[1].T], torch.float32)
        cosines = cosines.double()
        tensors |= {f"{name}.cosines": cosines, f"{name}.codes": codes(name, cosines, ITERATIONS)}
        if name == "feasible":
            converged = codes(name, cosines, LONG)
            sums = converged.sum(0)
            print(f"{name}: shares of prototypes {sums.tolist()}")
            assert (sums - size / count).abs().max() < 1e-6
            assert (tensors[f"{name}.codes"].sum(0) - size / count).abs().max() > 1e-2
            tensors |= {f"{name}.converged": converged, f"{name}.prototype_sums": sums}
    metadata = {"epsilon": EPSILON, "iterations": ITERATIONS, "converged_iterations": LONG}
    write("train", "sinkhorn", tensors, metadata)


if __name__ == "__main__":
    main()

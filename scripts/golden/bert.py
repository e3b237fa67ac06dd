"""BERT with padding in the batch: token vectors, max-pooled features and gradients, whole and with a frozen lower part.

Writes crates/model/tests/it/golden/{bert,bert_frozen}.safetensors.
"""

import numpy as np
import torch
from common import as_float, gradients, max_pool, randn, randomize, reference, state, tiny_bert, token_batch, write

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "intermediate_size": 64,
    "max_positions": 12,
}
FROZEN_LAYERS = 1


def run(_, model, ids, mask, weights):
    """Token vectors, pooled features and the gradients of a weighted sum of both."""
    tokens = model.train()(input_ids=ids, attention_mask=mask.long()).last_hidden_state * mask[:, :, None]
    features = max_pool(tokens, mask)
    ((features * weights[0]).sum() + (tokens * weights[1]).sum()).backward()
    return {"tokens": tokens.detach(), "features": features.detach(), **gradients(model, "grad.")}


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(2)
    model = randomize(tiny_bert(**SIZES, pooler=True), rng, scale=1.5)
    ids, mask = token_batch(rng, [9, 4, 2, 7], SIZES["vocab_size"])
    # Padding carries no weight: what stands there is nobody's business.
    weights = [randn(rng, 4, 32), randn(rng, 4, 9, 32) * mask[:, :, None]]
    whole = reference("bert", run, model, ids, mask, weights)
    tensors = state(model, "param.") | whole
    tensors |= {"input_ids": as_float(ids), "attention_mask": as_float(mask)}
    tensors |= {"weights.features": weights[0], "weights.tokens": weights[1]}
    config = {key: value for key, value in SIZES.items() if key != "max_positions"}
    config |= {"max_position_embeddings": SIZES["max_positions"], "dropout": 0.0}
    write("model", "bert", tensors, {"config": config})

    # The tanh form of GELU must not pass for the exact one: its gradients have to differ by far more than is tolerated.
    other = tiny_bert(**SIZES, act="gelu_pytorch_tanh", pooler=True)
    other.load_state_dict(model.state_dict())
    tanh = run(None, other, ids, mask, weights)
    gap = max(((tanh[k] - v).abs().max() / v.abs().max()).item() for k, v in whole.items() if v.abs().max() > 1e-9)
    assert gap > 1e-3, gap

    model.embeddings.requires_grad_(False)
    model.encoder.layer[:FROZEN_LAYERS].requires_grad_(False)
    frozen = reference("bert frozen", run, model, ids, mask, weights)
    frozen = {name: value for name, value in frozen.items() if name.startswith("grad.")}
    assert all(name.startswith("grad.encoder.layer.1.") for name in frozen)
    write("model", "bert_frozen", frozen, {"frozen_layers": FROZEN_LAYERS})


if __name__ == "__main__":
    main()

"""Words of MGCA: pieces merged by summation, their attention, the mask of true words.

Writes crates/model/tests/it/golden/mgca_words.safetensors. `full` is a batch in which two reports fill all tokens: one
ends in a word of one piece, one in a word of three. `short` has fewer tokens than there may be, and the [SEP] of its
longest report has no token behind it; in `padded` the last token is padding in every report. Inputs are `<batch>.*`;
`<flavour>.<batch>.*` are the merged vectors (`words`, rows beyond the words are zero), the attention on them before any
clipping (`word_weights`), the mask (`word_mask`) and the gradient of `sum(words * weighting)` with respect to the
hidden states (`grad_hidden`).
"""

import numpy as np
import torch
from common import as_float, cast, randn, reference, write
from mgca import FLAVOURS, check, merge, text_batch
from torch.nn import functional

MAX_TOKENS = 9
WIDTH = 6
HEADS = 3
LENGTHS = {"full": [9, 5, 9, 3], "short": [7, 4, 6], "padded": [5, 3]}
TOKENS = {"full": 9, "short": 7, "padded": 6}
# Tokens that continue a word; one that starts a report starts a word.
FLAGS = {
    "full": [
        [0, 0, 1, 0, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 1, 1, 0],
        [0, 1, 0, 0, 0, 0, 0, 0, 0],
    ],
    "short": [[0, 1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0]],
    "padded": [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]],
}
CHANGES = ["separator_is_word", "attention_shifted", "full_text_truncated"]


def run(_, hidden, attention, lengths, continuation, weighting, options):
    hidden.requires_grad_()
    words, weights, mask = merge(hidden, attention, lengths, continuation, MAX_TOKENS, options)
    (words * weighting).sum().backward()
    results = {"words": words.detach(), "word_weights": weights, "grad_hidden": hidden.grad}
    return results | {"word_mask": mask.to(hidden.dtype)}


def by_walking(hidden, attention, lengths, continuation):
    """The flavour `reference` once more: a walk over all tokens but the last, each with the attention of the next."""
    room = MAX_TOKENS - hidden.shape[1]
    seen = functional.pad(attention.mean(1)[:, 0], (0, room))[:, 1:, None]
    tokens = torch.cat([functional.pad(hidden, (0, 0, 0, room))[:, :-1], seen], 2)
    merged = torch.zeros_like(tokens)
    for report, length in enumerate(lengths.tolist()):
        words, pending = [], tokens[report, 0]
        for position, token in enumerate(tokens[report, 1:length], start=1):
            if continuation[report, position] and position > 1:
                pending = pending + token
                continue
            words.append(pending)
            pending = token
            if position == length - 1:
                words.append(pending)
        merged[report, : len(words) - 1] = torch.stack(words[1:])
    return merged[:, :, :-1], merged[:, :, -1]


def main():
    check()
    rng = np.random.default_rng(50)
    tensors = {}
    for name, lengths in LENGTHS.items():
        hidden, attention, lengths, continuation = text_batch(rng, lengths, TOKENS[name], WIDTH, HEADS, FLAGS[name])
        weighting = randn(rng, len(lengths), MAX_TOKENS - 1, WIDTH)
        inputs = {"hidden": hidden, "attention": attention, "lengths": as_float(lengths)}
        inputs |= {"continuation": as_float(continuation), "weighting": weighting}
        tensors |= {f"{name}.{key}": value for key, value in inputs.items()}
        inputs = [hidden, attention, lengths, continuation, weighting]
        for flavour, options in FLAVOURS.items():
            found = reference(f"{flavour} {name}", run, *inputs, options)
            tensors |= {f"{flavour}.{name}.{key}": value for key, value in found.items()}
            if flavour == "reference":
                words, weights = by_walking(*inputs[:4])
                assert torch.allclose(words, found["words"]) and torch.allclose(weights, found["word_weights"])
            for key in CHANGES if name == "full" else CHANGES[:2]:
                other = run(None, *cast(inputs, torch.float64), options | {key: not options[key]})
                gap = max((other[each] - value).abs().max().item() for each, value in found.items())
                print(f"{flavour} {name}: another {key} misses by {gap:.2f}")
                assert gap > 1e-2
    write("model", "mgca_words", tensors, {"options": FLAVOURS, "max_tokens": MAX_TOKENS})


if __name__ == "__main__":
    main()

"""The contrast of sentences with the patches of all images, one sentence at a time in a loop.

Writes crates/train/tests/it/golden/sentence_loss.safetensors: words and patches of unit length, the number of the
sentence of each word (-1: none), the loss, the share of sentences that find their image, and the gradients. One report
has a word in no sentence, one a number without words, one padding; `many` fills more than one row.
"""

import numpy as np
import torch
from common import as_float, randn, reference, write
from torch.nn.functional import cross_entropy, normalize

CASES = {
    "one": [[0, 0, 1, -1]],
    "few": [[0, 0, 1, 1, 1, -1], [0, 0, 0, -1, -1, -1], [0, 2, 2, 2, -1, -1]],
    "many": [[0, 1, 2, 3, 3], [0, 0, 0, 0, 0], [-1, -1, -1, -1, -1], [0, 1, 1, 2, -1], [0, 0, 1, 1, -1]],
}
TEMPERATURE = 0.15
PATCHES, WIDTH = 6, 5


def run(_, words, patches, sentences):
    for value in [words, patches]:
        value.requires_grad_()
    logits, own = [], []
    for report, numbers in enumerate(sentences.tolist()):
        for number in sorted(set(numbers) - {-1}):
            members = [words[report, word] for word, each in enumerate(numbers) if each == number]
            sentence = normalize(torch.stack(members).sum(0), dim=0)
            similar = [
                TEMPERATURE * ((image @ sentence / TEMPERATURE).logsumexp(0) - np.log(len(image))) for image in patches
            ]
            logits.append(torch.stack(similar) / TEMPERATURE)
            own.append(report)
    logits, own = torch.stack(logits), torch.tensor(own)
    loss = cross_entropy(logits, own)
    loss.backward()
    accuracy = (logits.argmax(1) == own).to(words.dtype).mean()
    return {"loss": loss.detach(), "accuracy": accuracy, "grad.words": words.grad, "grad.patches": patches.grad}


def main():
    rng = np.random.default_rng(31)
    tensors = {}
    for name, numbers in CASES.items():
        sentences = torch.tensor(numbers)
        words = normalize(randn(rng, *sentences.shape, WIDTH), dim=-1).float().double()
        patches = normalize(randn(rng, len(sentences), PATCHES, WIDTH), dim=-1).float().double()
        results = reference(name, run, words, patches, sentences)
        given = {"words": words, "patches": patches, "sentences": as_float(sentences)}
        tensors |= {f"{name}.{key}": value for key, value in (given | results).items()}
    write("train", "sentence_loss", tensors, {"temperature": TEMPERATURE})


if __name__ == "__main__":
    main()

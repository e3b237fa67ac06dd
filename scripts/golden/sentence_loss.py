"""The contrast of sentences with the patches of all images, one sentence at a time in a loop.

Writes crates/train/tests/it/golden/sentence_loss.safetensors: sentences and patches of unit length, the loss, the share
of sentences that find their image, and the gradients. Sentences of length zero have no words: of `few` one, of `many` a
whole report.
"""

import numpy as np
import torch
from common import randn, reference, write
from torch.nn.functional import cross_entropy, normalize

# Sentences of each report, and those (report, sentence) that have no words.
CASES = {"one": ((1, 2), []), "few": ((3, 3), [(1, 2)]), "many": ((5, 2), [(2, 0), (2, 1), (4, 1)])}
TEMPERATURE = 0.15
PATCHES, WIDTH = 6, 5


def run(_, sentences, patches):
    for value in [sentences, patches]:
        value.requires_grad_()
    logits, own = [], []
    for report, said in enumerate(sentences):
        for sentence in said:
            if sentence.norm() < 0.5:
                continue
            similar = [
                TEMPERATURE * ((image @ sentence / TEMPERATURE).logsumexp(0) - np.log(len(image))) for image in patches
            ]
            logits.append(torch.stack(similar) / TEMPERATURE)
            own.append(report)
    logits, own = torch.stack(logits), torch.tensor(own)
    loss = cross_entropy(logits, own)
    loss.backward()
    accuracy = (logits.argmax(1) == own).to(sentences.dtype).mean()
    return {"loss": loss.detach(), "accuracy": accuracy, "grad.sentences": sentences.grad, "grad.patches": patches.grad}


def main():
    rng = np.random.default_rng(31)
    tensors = {}
    for name, (shape, empty) in CASES.items():
        sentences = normalize(randn(rng, *shape, WIDTH), dim=-1).float().double()
        for report, sentence in empty:
            sentences[report, sentence] = 0.0
        patches = normalize(randn(rng, shape[0], PATCHES, WIDTH), dim=-1).float().double()
        results = reference(name, run, sentences, patches)
        given = {"sentences": sentences, "patches": patches}
        tensors |= {f"{name}.{key}": value for key, value in (given | results).items()}
    write("train", "sentence_loss", tensors, {"temperature": TEMPERATURE})


if __name__ == "__main__":
    main()

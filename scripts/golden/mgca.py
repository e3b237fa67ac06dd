"""MGCA after its encoders: heads, words, weights and the three losses, in both flavours.

`PAPER` is what the article says, `REFERENCE` what the released program does; every difference is an option of its own.
Run alone, the script checks numbers known from elsewhere.
"""

import math

import torch
from common import randn
from torch import nn
from torch.nn import functional

PAPER = {
    "instance_temperature": 0.1,
    "instance_mean": True,
    "token_temperature": 0.07,
    "token_mean": True,
    "weight_per_token": True,
    "clip_weights": False,
    "learned_attention": True,
    "raw_vit_context": False,
    "separator_is_word": False,
    "padding_takes_part": False,
    "attention_shifted": False,
    "full_text_truncated": False,
    "prototype_temperature": 0.2,
    "sinkhorn_epsilon": 0.05,
    "sinkhorn_iterations": 3,
}
REFERENCE = {
    "instance_temperature": 0.07,
    "instance_mean": False,
    "token_temperature": 0.1,
    "token_mean": False,
    "weight_per_token": False,
    "clip_weights": True,
    "learned_attention": False,
    "raw_vit_context": True,
    "separator_is_word": True,
    "padding_takes_part": True,
    "attention_shifted": True,
    "full_text_truncated": True,
    "prototype_temperature": 0.2,
    "sinkhorn_epsilon": 0.05,
    "sinkhorn_iterations": 3,
}
FLAVOURS = {"paper": PAPER, "reference": REFERENCE}


def cross_entropy(scores):
    """Of each row; the target of row m is m."""
    return functional.cross_entropy(scores, torch.arange(len(scores)), reduction="none")


# Words


def groups(flags, length, max_tokens, options):
    """Positions of the tokens of each word of a report of `length` tokens from [CLS] to [SEP]."""
    words = []
    for position in range(1, length - 1):
        if flags[position] and words:
            words[-1].append(position)
        else:
            words.append([position])
    if options["full_text_truncated"] and length == max_tokens:
        return words[:-1]
    return words + [[length - 1]] if options["separator_is_word"] else words


def merge(hidden, attention, lengths, continuation, max_tokens, options):
    """Sums of the pieces of words `[B, max_tokens - 1, D]`, their attention `[B, max_tokens - 1]`, the mask of words.

    Rows beyond the words of a report are zero.
    """
    size, tokens, _ = hidden.shape
    seen = attention.detach().mean(1)[:, 0]
    if options["attention_shifted"]:
        seen = functional.pad(seen[:, 1:], (0, 1))
    pieces = torch.zeros(size, max_tokens - 1, tokens, dtype=hidden.dtype)
    for report in range(size):
        words = groups(continuation[report].tolist(), int(lengths[report]), max_tokens, options)
        for word, positions in enumerate(words):
            pieces[report, word, positions] = 1.0
    return pieces @ hidden, (pieces @ seen[:, :, None])[:, :, 0], pieces.any(2)


def clipped(weights, counted):
    """The counted entries of one report or image, clipped to their 10 % and 90 % quantiles, as parts of their sum."""
    low, high = torch.quantile(weights[counted], torch.tensor([0.1, 0.9], dtype=weights.dtype))
    weights = torch.where(counted, weights.clamp(low, high), 0.0)
    return weights / weights.sum()


def word_weights(attention, options):
    """Weights `[B, M]` from the attention on words."""
    if not options["clip_weights"]:
        return attention
    return torch.stack([clipped(row, row != 0.0) for row in attention])


def patch_weights(patches, attention, options):
    """Weights `[B, P]` from the attention of the last block, or all equal where the tower has none."""
    if attention is None:
        weights = torch.ones(patches.shape[:2], dtype=patches.dtype)
    else:
        weights = attention.detach().mean(1)[:, 0, 1:]
    if not options["clip_weights"]:
        return weights
    return torch.stack([clipped(row, torch.ones_like(row, dtype=torch.bool)) for row in weights])


# Losses


def instance_loss(image, text, options):
    """From unit rows: cross-entropies of both directions."""
    scores = image @ text.T / options["instance_temperature"]
    total = cross_entropy(scores).mean() + cross_entropy(scores.T).mean()
    return total / 2 if options["instance_mean"] else total


def attend(queries, keys, options, layer=None):
    """What each query finds among the keys."""
    if options["learned_attention"]:
        return layer(queries, keys, keys)[0]
    return (queries @ keys.T / options["token_temperature"]).softmax(1) @ keys


def token_side(queries, found, weights, options):
    """Weighted cross-entropies of the rows and columns of one report or image."""
    scores = queries @ found.T / options["token_temperature"]
    return (weights * cross_entropy(scores)).sum(), (weights * cross_entropy(scores.T)).sum()


def word_side(words, patches, weights, options, layer=None):
    found = functional.normalize(attend(words, patches, options, layer))
    return token_side(words, found, weights, options)


def patch_side(patches, words, weights, options, vit, layer=None):
    """`words` without padding: what is masked is no key."""
    found = attend(patches, words, options, layer)
    if options["learned_attention"] or not (vit and options["raw_vit_context"]):
        found = functional.normalize(found)
    return token_side(patches, found, weights, options)


@torch.no_grad()
def sinkhorn(cosines, epsilon, iterations):
    """Codes `[B, K]`, whose rows sum to one."""
    size, count = cosines.shape
    q = (cosines / epsilon).exp().T
    q = q / q.sum()
    for _ in range(iterations):
        q = q * (1.0 / count) / q.sum(1, keepdim=True)
        q = q * (1.0 / size) / q.sum(0, keepdim=True)
    return (q / q.sum(0, keepdim=True)).T


@torch.no_grad()
def log_sinkhorn(cosines, epsilon, iterations):
    """The same without numbers that could overflow."""
    size, count = cosines.shape
    q = (cosines / epsilon).T
    q = q - q.flatten().logsumexp(0)
    for _ in range(iterations):
        q = q - q.logsumexp(1, keepdim=True) - math.log(count)
        q = q - q.logsumexp(0, keepdim=True) - math.log(size)
    return (q - q.logsumexp(0, keepdim=True)).exp().T


def prototype_losses(image, text, prototypes, options):
    """From unit rows: the codes of images supervise their reports, and the codes of reports their images."""
    cosines = [each @ prototypes.T for each in [image, text]]
    codes = [sinkhorn(each, options["sinkhorn_epsilon"], options["sinkhorn_iterations"]) for each in cosines]
    logs = [(each / options["prototype_temperature"]).log_softmax(1) for each in cosines]
    return [-(code * log).sum(1).mean() for code, log in [(codes[0], logs[1]), (codes[1], logs[0])]]


# The model


class Head(nn.Module):
    """`head.{0,1,3,4}`; of vectors `[B, D]` or, local, of tokens `[B, N, D]`."""

    def __init__(self, in_size, hidden_size, embed_dim, local):
        super().__init__()
        self.local = local
        layer = (lambda *sizes: nn.Conv1d(*sizes, kernel_size=1)) if local else nn.Linear
        self.head = nn.Sequential(
            layer(in_size, hidden_size),
            nn.BatchNorm1d(hidden_size),
            nn.ReLU(),
            layer(hidden_size, embed_dim),
            nn.BatchNorm1d(embed_dim, affine=False),
        )

    def forward(self, x):
        x = self.head(x.transpose(1, 2)).transpose(1, 2) if self.local else self.head(x)
        return functional.normalize(x, dim=-1)


class Heads(nn.Module):
    """What stands behind one encoder; a whole model adds the encoder itself as `model`."""

    def __init__(self, global_size, local_size, hidden_size, embed_dim):
        super().__init__()
        self.global_embed = Head(global_size, hidden_size, embed_dim, local=False)
        self.local_embed = Head(local_size, hidden_size, embed_dim, local=True)


class Mgca(nn.Module):
    """Names as in MGCA's state dict."""

    def __init__(self, image_global, image_local, text, hidden_size, embed_dim, prototypes, max_tokens, options):
        super().__init__()
        self.max_tokens = max_tokens
        self.options = options
        self.img_encoder_q = Heads(image_global, image_local, hidden_size, embed_dim)
        self.text_encoder_q = Heads(text, text, hidden_size, embed_dim)
        self.word_local_atten_layer = nn.MultiheadAttention(embed_dim, 1, batch_first=True)
        self.patch_local_atten_layer = nn.MultiheadAttention(embed_dim, 1, batch_first=True)
        self.prototype_layer = nn.Linear(embed_dim, prototypes, bias=False)

    @torch.no_grad()
    def normalize_prototypes(self):
        self.prototype_layer.weight.copy_(functional.normalize(self.prototype_layer.weight))

    def local_words(self, words, mask):
        """Embeddings of words `[B, max_tokens - 1, E]`; padding is zero where it takes no part."""
        embed = self.text_encoder_q.local_embed
        if self.options["padding_takes_part"]:
            return embed(words)
        embedded = embed(words[mask][None])[0]
        padded = torch.zeros(*mask.shape, embedded.shape[1], dtype=words.dtype)
        return padded.index_put(mask.nonzero(as_tuple=True), embedded)

    def forward(self, image_global, image_local, image_attention, hidden, attention, lengths, continuation):
        """Losses by name, then weights and mask of words and weights of patches.

        `image_attention` `[B, N, 1 + P, 1 + P]` is None where the image tower has none. Prototypes are used as they
        are; `normalize_prototypes` comes before.
        """
        options = self.options
        words, seen, mask = merge(hidden, attention, lengths, continuation, self.max_tokens, options)
        of_words, of_patches = word_weights(seen, options), patch_weights(image_local, image_attention, options)
        image = self.img_encoder_q.global_embed(image_global)
        text = self.text_encoder_q.global_embed(hidden[:, 0])
        patches = self.img_encoder_q.local_embed(image_local)
        words = self.local_words(words, mask)

        sides = {"word_loss": [], "patch_loss": []}
        for w, p, true, a, b in zip(words, patches, mask, of_words, of_patches, strict=True):
            per_word, per_patch = (1.0 / true.sum(), 1.0 / len(p)) if options["weight_per_token"] else (1.0, 1.0)
            rows = torch.ones_like(true) if options["padding_takes_part"] else true
            loss = word_side(w[rows], p, a[rows] * per_word, options, self.word_local_atten_layer)
            sides["word_loss"].append(sum(loss) / 2)
            vit = image_attention is not None
            loss = patch_side(p, w[true], b * per_patch, options, vit, self.patch_local_atten_layer)
            sides["patch_loss"].append(sum(loss) / 2)
        losses = {name: torch.stack(each).mean() for name, each in sides.items()}
        losses["instance_loss"] = instance_loss(image, text, options)
        losses["token_loss"] = losses["word_loss"] + losses["patch_loss"]
        if options["token_mean"]:
            losses["token_loss"] = losses["token_loss"] / 2
        losses["prototype_loss"] = sum(prototype_losses(image, text, self.prototype_layer.weight, options)) / 2
        losses["total"] = losses["instance_loss"] + losses["token_loss"] + losses["prototype_loss"]
        return losses, {"word_weights": of_words, "word_mask": mask.to(hidden.dtype), "patch_weights": of_patches}


# Batches


def attention_maps(rng, heads, mask):
    """Probabilities `[B, heads, T, T]` that single precision holds exactly; none on keys that the mask leaves out."""
    size, tokens = mask.shape
    scores = randn(rng, size, heads, tokens, tokens, scale=1.5)
    scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
    return scores.softmax(3).float().double()


def text_batch(rng, lengths, tokens, width, heads, continuation=None):
    """Hidden states, attention, lengths and flags of random reports; about a third of the tokens continue a word."""
    lengths = torch.tensor(lengths)
    positions = torch.arange(tokens)[None, :]
    mask = positions < lengths[:, None]
    drawn = torch.from_numpy(rng.random(mask.shape)) < 0.35 if continuation is None else torch.tensor(continuation) > 0
    continuation = drawn & (positions > 0) & (positions < lengths[:, None] - 1)
    hidden = randn(rng, len(lengths), tokens, width)
    return hidden, attention_maps(rng, heads, mask), lengths, continuation


# Known numbers


def check():
    """Numbers of an independent transcription in plain Python."""

    def table(rows, columns, function):
        i = torch.arange(rows, dtype=torch.float64)[:, None]
        return functional.normalize(function(i, torch.arange(columns, dtype=torch.float64)[None, :]))

    def close(found, expected):
        found, expected = torch.stack(list(found)), torch.tensor(expected, dtype=torch.float64)
        assert (found - expected).abs().max() < 1e-6, (found, expected)

    image = table(4, 5, lambda i, k: torch.sin(1 + 3 * i + k))
    text = table(4, 5, lambda i, k: torch.cos(2 + i + 2 * k))
    scores = image @ text.T / 0.07
    close([cross_entropy(scores).mean(), cross_entropy(scores.T).mean()], [1.835804, 1.897928])
    close([instance_loss(image, text, REFERENCE)], [3.733733])

    prototypes = table(3, 5, lambda k, j: torch.sin(0.5 + k**2 + j))
    known = {
        "image": [[0.147740, 0.852260, 0], [0, 0, 1], [0.873227, 0.126773, 0], [0, 0, 1]],
        "text": [
            [0.419066, 0.000443, 0.580491],
            [0.683406, 0.005922, 0.310671],
            [0.058124, 0.633599, 0.308277],
            [0.000152, 0.964869, 0.034980],
        ],
    }
    for name, each in [("image", image), ("text", text)]:
        for form in [sinkhorn, log_sinkhorn]:
            close(form(each @ prototypes.T, 0.05, 3), known[name])
    losses = prototype_losses(image, text, prototypes, REFERENCE)
    close([*losses, sum(losses) / 2], [1.597782, 5.936048, 3.766915])

    words = table(3, 5, lambda i, k: torch.sin(0.3 + 2 * i + k))
    patches = table(4, 5, lambda i, k: torch.cos(0.7 * i + 1.3 * k))
    losses = word_side(words, patches, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), REFERENCE)
    close([*losses, sum(losses) / 2], [0.428818, 5.356728, 2.892773])
    even = patch_weights(patches[None], None, REFERENCE)[0]
    for vit, expected in [(False, [0.689508, 1.223416, 0.956462]), (True, [0.685798, 1.216044, 0.950921])]:
        losses = patch_side(patches, words, even, REFERENCE, vit)
        close([*losses, sum(losses) / 2], expected)

    attention = torch.tensor([[0, 0.02, 0.05, 0.10, 0.20, 0.40, 0]], dtype=torch.float64)
    expected = [[0, 0.045584, 0.071225, 0.142450, 0.284900, 0.455840, 0]]
    close(word_weights(attention, REFERENCE), expected)


if __name__ == "__main__":
    check()
    print("all known numbers are met")

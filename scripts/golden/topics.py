"""Topics of reports: the leading eigenvectors of the correlation between the words of odd and even sentences.

A transcription with numpy (`corrcoef`, `eigh`), in another way than the code under test: whole matrices instead of
counts. Writes crates/data/tests/it/golden/topics.json.
"""

import json

import numpy as np
from common import REPOSITORY

NUM_REPORTS, NUM_TOPICS = 60, 4
SHARE = 0.02


def draw(rng):
    """Reports of two to five sentences: three findings, each named by one of two ids, among ids that mean nothing."""
    reports = []
    for _ in range(NUM_REPORTS):
        findings = rng.random(3) < [0.5, 0.4, 0.3]
        sentences = []
        for _ in range(rng.integers(2, 6)):
            which = int(rng.integers(3))
            name = 3000 + 10 * which + 5 * int(findings[which]) + int(rng.integers(2))
            sentences.append([name, *(int(x) for x in rng.integers(3100, 3106, size=2))])
        reports.append(sentences)
    return reports


def presence(groups, vocabulary):
    rows = [[float(any(word in sentence for sentence in group)) for word in vocabulary] for group in groups]
    return np.array(rows)


def main():
    reports = draw(np.random.default_rng(5))
    words = sorted({word for report in reports for sentence in report for word in sentence})
    share = presence(reports, words).mean(axis=0)
    words = [word for word, s in zip(words, share) if SHARE <= s <= 1 - SHARE]
    odd, even = (presence([report[first::2] for report in reports], words) for first in (0, 1))
    assert (odd.std(axis=0) > 0).all() and (even.std(axis=0) > 0).all()
    w = len(words)
    correlation = np.corrcoef(odd.T, even.T)[:w, w:]
    values, vectors = np.linalg.eigh((correlation + correlation.T) / 2)
    # Neighbouring eigenvalues must differ, or their vectors are a matter of rounding.
    assert np.diff(values)[-NUM_TOPICS:].min() > 0.02, values[-NUM_TOPICS - 1 :]
    vectors = vectors[:, ::-1][:, :NUM_TOPICS]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(NUM_TOPICS)])
    whole = presence(reports, words)
    topics = ((whole - whole.mean(axis=0)) / whole.std(axis=0)) @ vectors
    topics = (topics - topics.mean(axis=0)) / topics.std(axis=0)
    golden = {"reports": reports, "topics": topics.tolist()}
    path = REPOSITORY / "crates/data/tests/it/golden/topics.json"
    path.write_text(json.dumps(golden) + "\n")
    print(f"{path.relative_to(REPOSITORY)}: {NUM_REPORTS} reports, {w} words, eigenvalues {values[::-1][:NUM_TOPICS]}")


if __name__ == "__main__":
    main()

"""Sections of invented reports by MIMIC-CXR's own script, and their sentences as MGCA cleans them.

Takes the path of `txt/section_parser.py` of MIT-LCP/mimic-cxr (MIT licence), which is not part of this repository. The
cleaning is a transcription. Writes crates/data/tests/it/golden/mimic_sections.json.
"""

import importlib.util
import json
import random
import re
import sys
from pathlib import Path

NUM_REPORTS = 400
OUT = Path(__file__).resolve().parents[2] / "crates/data/tests/it/golden/mimic_sections.json"

# Headers of every kind: aliases, longer names, titles, unknown names, and what only looks like a header.
HEADERS = (
    "FINDINGS IMPRESSION INDICATION COMPARISON HISTORY TECHNIQUE EXAMINATION CONCLUSION NDICATION FINDNGS PFI WETREAD "
    "COMPARSION ADDENDUM RIBS Findings NOTE2".split()
    + ["FINAL REPORT", "CHEST (PA AND LAT)", "CHEST, TWO VIEWS", "FINDINGS/ IMPRESSION", "FINDINGS AND IMPRESSION"]
    + ["REASON FOR EXAM", "CLINICAL HISTORY", "PORTABLE AP CHEST", "RECOMMENDATION(S)", "FRONTAL SEMI-UPRIGHT VIEW"]
    + ["IMPRESSION AND FINDINGS", "COMPARISON FILM", "HISTORY OF FINDINGS", " ", ""]
)
TEXTS = ["Clear lungs.", "No effusion", "1. Stable. 2. Old fracture of rib 5.", "A 2.5 cm nodule.", "___", "Normal.", " "]
TEXTS += ["as of ___, na\u00efve", "caf\u00e9 \u03b1 \u03b2.", "two\ufffd\ufffdwords", "heart is\n mildly enlarged", "NOTE: x"]
BREAKS = ["\n ", "\n", "\n \n ", "\n\n ", "\n \n", " ", "\n  ", "\n\t"]


def report(rng):
    parts = [rng.choice(["", "Title", "                 FINAL REPORT", rng.choice(TEXTS)])]
    for _ in range(rng.randrange(7)):
        parts += [rng.choice(BREAKS), rng.choice(HEADERS), rng.choice([":", ": ", ":\n", ": \n \n ", ":  ", " : ", "", ":x"])]
        for _ in range(rng.randrange(3)):
            parts += [rng.choice(TEXTS), rng.choice(BREAKS)]
    return "".join(parts)


def mgca(text):
    sentences = []
    for point in re.split(r"[0-9]+\.", text.replace("\n", " ")):
        for sentence in point.split("."):
            words = re.findall(r"\w+", sentence.replace("\ufffd\ufffd", " ").lower())
            if len(words) > 1:
                kept = [word.encode("ascii", "ignore").decode() for word in words]
                kept = [word for word in kept if word]
                if kept:
                    sentences.append(" ".join(kept))
    return sentences


def main():
    spec = importlib.util.spec_from_file_location("section_parser", sys.argv[1])
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rng = random.Random(3)
    cases = []
    for _ in range(NUM_REPORTS):
        text = report(rng)
        sections, names, _ = script.section_text(text)
        cases.append({"report": text, "sections": list(zip(names, sections)), "sentences": mgca(text)})
    assert sum("last_paragraph" in dict(case["sections"]) for case in cases) > 20
    OUT.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()

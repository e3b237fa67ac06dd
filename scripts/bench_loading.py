"""Time and memory of loading ResNet-50 and BERT-base, beside `safetensors.torch.load_file` of the same files in one run.

    python scripts/bench_loading.py [roentgen-model] [--rounds 5]

load_file maps a file and leaves its pages on the disk until they are touched; here every value is read, checked for NaN and
laid out for the network. Both figures of load_file are printed: the call alone, and the call with one pass over the values.
Peaks are of whole processes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from checking import find_program

LOAD = """
import resource, sys, time
import torch
from safetensors.torch import load_file
torch.set_num_threads(2)
start = time.perf_counter()
tensors = [load_file(path) for path in sys.argv[2:]]
if sys.argv[1] == "touch":
    total = sum(value.sum(dtype=torch.float64).item() for file in tensors for value in file.values() if value.is_floating_point())
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def python(mode, paths):
    out = subprocess.run([sys.executable, "-c", LOAD, mode, *paths], check=True, capture_output=True, text=True).stdout
    seconds, peak = out.split()
    return float(seconds), int(peak)


# A small parent: the peak of a child counts that of the process that it was forked from.
LAUNCH = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def ours(program, paths):
    """Seconds of loading both, and the peak (KiB) of each process."""
    seconds, peaks = 0.0, []
    for path in paths:
        command = [sys.executable, "-S", "-c", LAUNCH, str(program), "inspect", "--load", "--json", path]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        told, peak = text.rstrip().rsplit("\n", 1)
        seconds += json.loads(told)["loaded_seconds"]
        peaks.append(int(peak))
    return seconds, peaks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", help="roentgen-model")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    program = find_program(options.program, "roentgen-model")

    import torch
    import torchvision
    import transformers
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("resnet50.safetensors", "bert.safetensors")]
        torch.manual_seed(0)
        save_file(torchvision.models.resnet50().state_dict(), paths[0])
        config = transformers.BertConfig(vocab_size=28996)
        save_file(transformers.BertModel(config, add_pooling_layer=False).state_dict(), paths[1])
        sizes = [Path(path).stat().st_size for path in paths]
        rows = {"load_file": [], "load_file, touched": [], "roentgen-model": []}
        for _ in range(options.rounds):
            rows["load_file"].append(python("call", paths)[0])
            rows["load_file, touched"].append(python("touch", paths)[0])
            seconds, peaks = ours(program, paths)
            rows["roentgen-model"].append(seconds)
        for name, seconds in rows.items():
            print(f"{name:<20} {min(seconds):6.3f} {statistics.median(seconds):6.3f} {max(seconds):6.3f} s")
        base = statistics.median(rows["load_file, touched"])
        print(f"ratio to load_file, touched: {statistics.median(rows['roentgen-model']) / base:.2f}")
        for path, size, peak in zip(paths, sizes, peaks):
            print(f"{Path(path).name:<20} file {size / 2**20:6.1f} MiB, peak {peak / 2**10:6.1f} MiB: {peak * 1024 / size:.2f}")


if __name__ == "__main__":
    main()

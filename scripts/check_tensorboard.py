"""Reads the TensorBoard events of a run with TensorBoard's own reader and compares every value with metrics.jsonl.

Usage: python scripts/check_tensorboard.py RUN        (needs: pip install tensorboard numpy)

Exit code 0: the same tags, steps and values (in single precision, as TensorBoard keeps them), in the same order.
Exit code 1: the first differences are printed.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SHOWN = 10


def read_jsonl(path):
    """Tag -> list of (step, value); NaN and infinities are restored from the field `non_finite`."""
    series = defaultdict(list)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        record = json.loads(line, parse_constant=lambda name: sys.exit(f"{path}:{number}: {name} is not JSON"))
        odd = record.pop("non_finite", {})
        step = record.pop("step")
        for tag, value in record.items():
            if (value is None) != (tag in odd):
                sys.exit(f"{path}:{number}: {tag} is null without a reason, or has a reason without being null")
            series[tag].append((step, float(odd[tag]) if value is None else value))
    return series


def read_events(folder):
    """Tag -> list of (step, value), with nothing sampled or purged."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def same(a, b):
    # Overflow to infinity is what single precision does with such numbers.
    with np.errstate(over="ignore"):
        a, b = np.float32(a), np.float32(b)
    return a == b or (np.isnan(a) and np.isnan(b))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = Path(sys.argv[1])
    expected, found = read_jsonl(run / "metrics.jsonl"), read_events(run / "tb")
    faults = [f"{tag}: only in metrics.jsonl" for tag in expected.keys() - found.keys()]
    faults += [f"{tag}: only in tb" for tag in found.keys() - expected.keys()]
    count = 0
    for tag in sorted(expected.keys() & found.keys()):
        if len(expected[tag]) != len(found[tag]):
            faults.append(f"{tag}: {len(expected[tag])} values in metrics.jsonl, {len(found[tag])} in tb")
        for (step, value), (tb_step, tb_value) in zip(expected[tag], found[tag]):
            count += 1
            if step != tb_step or not same(value, tb_value):
                faults.append(f"{tag}: metrics.jsonl has {value} at step {step}, tb {tb_value} at step {tb_step}")
    if count == 0:
        faults.append("there is nothing to compare")
    for fault in faults[:SHOWN]:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(f"{run}: {len(faults)} differences")
    print(f"{run}: {count} values of {len(expected)} tags are equal")


if __name__ == "__main__":
    main()

"""How time grows with the work, and how long the programs take to start: a table of each in Markdown, and a chart.

    cargo build --release --workspace --bins --examples
    python scripts/bench_growth.py [--rounds 3] [--svg docs/growth.svg] [--json FILE] [--tiny]

Needs nothing but Python. Rounds go through all sizes of all series, so that a busy moment hits each alike; figures are medians over
rounds. The exponent is the slope of a line through the logarithms of all sizes and seconds: 1 is linear, and a part that does
not grow makes it smaller. That of the last doubling has least of such a part. Two threads.

- update: one of the default recipe, from a batch in memory to new weights, against its images
- epoch: of the default recipe from the first image drawn to the last update, against the images of the data
- zero-shot, retrieval: the whole command, against the images of a CSV, each of which is read, decoded, encoded and compared,
  with the intervals of 1,000 resamples; retrieval ranks all reports for all images and the other way round
- AUROC: with the interval of 1,000 resamples, against scores
- neighbours: the 10 nearest for 1,000 queries, exact, against candidates of 128 numbers
"""

import argparse
import array
import csv
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_pytorch import THREADS, Side

REPOSITORY = Path(__file__).resolve().parents[1]
BUILT = REPOSITORY / "target/release"
ENVIRONMENT = dict(os.environ, RAYON_NUM_THREADS=str(THREADS))
# Batches of the default recipe.
BATCH = 48
# What a run does besides training, made as small as it can be.
BRIEF = [
    "data.source.validate=48",
    "data.source.test=64",
    "data.source.probe=48",
    "data.source.candidates_per_class=2",
    "data.source.queries_per_class=1",
    "eval.every=0",
    "eval.resamples=2",
    "eval.probe.max_epochs=1",
]
STARTS = [
    ("roentgen-train", "--version"),
    ("roentgen-train", "--help"),
    ("roentgen-train", "--print-config"),
    ("roentgen-eval", "--version"),
    ("roentgen-eval", "--help"),
    ("roentgen-data", "--version"),
    ("roentgen-data", "--help"),
    ("roentgen-model", "--version"),
    ("roentgen-model", "list"),
]
# Seconds in which a program should have started.
START_TARGET = 0.2


def run(program, *arguments):
    """What a program prints, and the seconds from its start to its end."""
    command = [str(part) for part in (BUILT / program, *arguments)]
    start = time.perf_counter()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout, seconds


class Series:
    """Seconds of some work at several sizes."""

    def __init__(self, name, axis, sizes, measure):
        self.name, self.axis, self.sizes, self.measure = name, axis, sizes, measure
        self.seconds = {size: [] for size in sizes}

    def median(self, size):
        return statistics.median(self.seconds[size])

    def exponent(self, sizes):
        """The slope of the line through the logarithms."""
        points = [(math.log(size), math.log(self.median(size))) for size in sizes]
        x, y = (statistics.mean(values) for values in zip(*points))
        return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


class Bench:
    """The work of all series, in a folder."""

    def __init__(self, folder, tiny):
        self.folder, self.runs = folder, 0
        scale = 8 if tiny else 1
        batches = [8, 16, 32, 64, 128]
        epochs = [BATCH * count for count in ((2, 4, 8) if tiny else (10, 20, 40, 80))]
        images = [count // scale for count in (256, 512, 1024, 2048, 4096)]
        scores = [count // scale for count in (62_500, 125_000, 250_000, 500_000, 1_000_000)]
        candidates = [count // scale for count in (20_000, 40_000, 80_000, 160_000, 320_000)]
        steps = {batch: self.side("bench_steps", "phantom-step", batch) for batch in batches}
        run("roentgen-data", "prepare", "phantom", "--out", folder / "images", "--count", images[-1], "--size", 128)
        with (folder / "images/pairs.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        for count in images:
            with (folder / f"images/first-{count}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(rows[: count + 1])
        self.epoch(2 * BATCH)
        kernels = {size: self.kernels(*size) for size in zip(scores, candidates)}
        by_scores = {size[0]: side for size, side in kernels.items()}
        by_candidates = {size[1]: side for size, side in kernels.items()}
        ask = lambda sides, what: lambda size: json.loads(sides[size].answer(what))["seconds"]
        self.series = [
            Series("update", "images of a batch", batches, lambda size: statistics.median(steps[size].ask("go") for _ in range(5))),
            Series("epoch", "images of the data", epochs, self.epoch),
            Series("zero-shot", "images", images, lambda size: self.evaluate("zero-shot", size)),
            Series("retrieval", "images and reports", images, lambda size: self.evaluate("retrieval", size)),
            Series("AUROC, interval", "scores", scores, ask(by_scores, "auroc")),
            Series("neighbours", "candidates", candidates, ask(by_candidates, "rank")),
        ]

    def side(self, example, *arguments):
        program = BUILT / "examples" / example
        if not program.is_file():
            sys.exit(f"there is no {program}: build it first (see --help)")
        return Side([str(part) for part in (program, *arguments)])

    def epoch(self, images):
        """Seconds of the updates of one epoch, with the wait for their batches."""
        self.runs += 1
        settings = [part for value in (f"data.source.train={images}", *BRIEF) for part in ("--set", value)]
        out = ["--out", self.folder / f"run-{self.runs}", "--steps", images // BATCH, "--ui", "plain", "--json"]
        figures = json.loads(run("roentgen-train", "convirt-phantom", *settings, *out)[0])
        return images / figures["timing"]["images_per_second"]

    def evaluate(self, task, images):
        data = self.folder / f"images/first-{images}.csv"
        return run("roentgen-eval", task, "--weights", self.folder / "run-1", "--data", data, "--ui", "plain")[1]

    def kernels(self, scores, candidates):
        """The example that computes metrics, with random data of some sizes."""
        folder = self.folder / f"kernels-{scores}"
        folder.mkdir()
        sizes = {"items": scores, "candidates": candidates, "queries": 1000, "dim": 128, "resamples": 1000, "k": 10}

        def floats(name, count):
            array.array("f", array.array("h", os.urandom(2 * count))).tofile((folder / name).open("wb"))

        floats("scores.f32", scores)
        floats("candidates.f32", candidates * sizes["dim"])
        floats("queries.f32", sizes["queries"] * sizes["dim"])
        (folder / "labels.u8").write_bytes(bytes(byte < 26 for byte in os.urandom(scores)))
        (folder / "setup.json").write_text(json.dumps(sizes))
        return Kernels(BUILT / "examples/bench_metrics", folder)


class Kernels:
    """The example that computes metrics, as a process that answers lines."""

    def __init__(self, program, folder):
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen([str(program), str(folder)], env=ENVIRONMENT, **pipes)
        assert self.process.stdout.readline().strip() == "ready"

    def answer(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


def decimals(seconds):
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:.0f}"


def table(series):
    yield "| work | grows with | sizes | seconds | exponent | last doubling |"
    yield "|---|---|---|---|---|---|"
    for one in series:
        seconds = ", ".join(decimals(one.median(size)) for size in one.sizes)
        sizes = ", ".join(f"{size:,}" for size in one.sizes)
        whole, last = one.exponent(one.sizes), one.exponent(one.sizes[-2:])
        yield f"| {one.name} | {one.axis} | {sizes} | {seconds} | {whole:.2f} | {last:.2f} |"


def starts(rounds):
    seconds = {start: [] for start in STARTS}
    for _ in range(rounds):
        for start in STARTS:
            seconds[start].append(run(*start)[1])
    return seconds


def starts_table(seconds):
    yield "| command | seconds to its end, median | largest |"
    yield "|---|---|---|"
    for (program, argument), found in seconds.items():
        yield f"| `{program} {argument}` | {statistics.median(found):.3f} | {max(found):.3f} |"


WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 330, 270, 62, 34, 14, 52
INK, GRID, BLUE = "#282828", "#E1E1E1", "#0072B2"


def ticks(low, high):
    """Round numbers between two others, about a factor of two to five apart."""
    marks = [base * 10.0**power for power in range(-5, 8) for base in (1, 2, 5)]
    inside = [mark for mark in marks if low <= mark <= high]
    return inside if len(inside) <= 6 else [mark for mark in inside if f"{mark:e}"[0] == "1"]


def short(number):
    if number >= 1e6:
        return f"{number / 1e6:g}M"
    return f"{number / 1e3:g}k" if number >= 1e4 else f"{number:g}"


def panel(one, left, top):
    """A chart of a series whose axes are logarithms."""
    sizes = one.sizes
    spread = [second for size in sizes for second in one.seconds[size]]
    # The linear line through the middle of the points, in logarithms.
    middle = statistics.mean(math.log(one.median(size) / size) for size in sizes)
    linear = [math.exp(middle) * size for size in (sizes[0], sizes[-1])]
    x_low, x_high = sizes[0] / 1.25, sizes[-1] * 1.25
    y_low, y_high = min(spread + linear) / 1.3, max(spread + linear) * 1.3
    inner = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)
    x = lambda value: left + LEFT + inner[0] * math.log(value / x_low) / math.log(x_high / x_low)
    y = lambda value: top + TOP + inner[1] * (1 - math.log(value / y_low) / math.log(y_high / y_low))

    def text(at, down, what, anchor="middle", more=""):
        return f'<text x="{at:.1f}" y="{down:.1f}" text-anchor="{anchor}"{more}>{what}</text>'

    bottom, right = top + HEIGHT - BOTTOM, left + WIDTH - RIGHT
    yield text((left + LEFT + right) / 2, top + 20, f"{one.name}: exponent {one.exponent(sizes):.2f}", more=' font-weight="bold"')
    for mark in ticks(y_low, y_high):
        yield f'<path d="M{left + LEFT} {y(mark):.1f}H{right}" stroke="{GRID}"/>'
        yield text(left + LEFT - 6, y(mark) + 4, short(mark), "end")
    for size in sizes:
        yield f'<path d="M{x(size):.1f} {top + TOP}V{bottom}" stroke="{GRID}"/>'
        yield text(x(size), bottom + 17, short(size))
    yield f'<rect x="{left + LEFT}" y="{top + TOP}" width="{inner[0]}" height="{inner[1]}" fill="none" stroke="{INK}"/>'
    yield text((left + LEFT + right) / 2, bottom + 38, one.axis)
    turn = f' transform="rotate(-90 {left + 16} {top + TOP + inner[1] / 2:.1f})"'
    yield text(left + 16, top + TOP + inner[1] / 2, "seconds", more=turn)
    ends = " ".join(f"{x(size):.1f},{y(second):.1f}" for size, second in zip((sizes[0], sizes[-1]), linear))
    yield f'<polyline points="{ends}" fill="none" stroke="{INK}" stroke-dasharray="5 4"/>'
    line = " ".join(f"{x(size):.1f},{y(one.median(size)):.1f}" for size in sizes)
    yield f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="2"/>'
    for size in sizes:
        low, high = min(one.seconds[size]), max(one.seconds[size])
        yield f'<path d="M{x(size):.1f} {y(low):.1f}V{y(high):.1f}" stroke="{BLUE}" stroke-width="2"/>'
        yield f'<circle cx="{x(size):.1f}" cy="{y(one.median(size)):.1f}" r="4" fill="{BLUE}"/>'


def chart(series, columns=3):
    """All series as SVG, on a ground of its own so that it can be read on a dark page."""
    rows = -(-len(series) // columns)
    width, height = columns * WIDTH, rows * HEIGHT + 28
    yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    yield f' font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{INK}">'
    yield "<title>Seconds against the size of the work, both axes logarithmic</title>"
    yield f'<rect width="{width}" height="{height}" fill="#FFFFFF"/>'
    for i, one in enumerate(series):
        yield from panel(one, i % columns * WIDTH, i // columns * HEIGHT)
    down = height - 14
    yield f'<path d="M{LEFT} {down}h34" stroke="{BLUE}" stroke-width="2"/><circle cx="{LEFT + 17}" cy="{down}" r="4" fill="{BLUE}"/>'
    yield f'<text x="{LEFT + 42}" y="{down + 4}">measured: median, smallest and largest</text>'
    yield f'<path d="M{LEFT + 330} {down}h34" stroke="{INK}" stroke-dasharray="5 4"/>'
    yield f'<text x="{LEFT + 372}" y="{down + 4}">linear</text>'
    yield "</svg>"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--svg", type=Path, default=REPOSITORY / "docs/growth.svg")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tiny", action="store_true", help="smaller sizes, to see that it runs")
    options = parser.parse_args()
    started = starts(max(options.rounds, 3))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.tiny)
        # The first answer of a process that stays has costs of its own.
        for one in bench.series:
            if one.name not in ("epoch", "zero-shot", "retrieval"):
                for size in one.sizes:
                    one.measure(size)
        for number in range(options.rounds):
            for one in bench.series:
                for size in one.sizes:
                    one.seconds[size].append(one.measure(size))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    print("\n".join(table(bench.series)))
    print()
    print("\n".join(starts_table(started)))
    late = [" ".join(start) for start, found in started.items() if statistics.median(found) > START_TARGET]
    print(f"\nMore than {START_TARGET} s: {', '.join(late) or 'none'}.")
    options.svg.write_text("\n".join(chart(bench.series)) + "\n")
    if options.json:
        growth = {one.name: {str(size): found for size, found in one.seconds.items()} for one in bench.series}
        options.json.write_text(json.dumps({"growth": growth, "starts": {" ".join(k): v for k, v in started.items()}}, indent=1))


if __name__ == "__main__":
    main()

"""The data path by Pillow, torchvision and transformers, and by this project, alternately in one run on one core each.

    pip install -r scripts/requirements.txt
    cargo build --release -p train --example bench_data
    python scripts/bench_data.py [--tasks decode-jpeg,...] [--channels 1,3] [--rounds 7] [--json FILE]

Images are phantoms of this project, grey, of `--side` pixels, written by Pillow as JPEG (quality 95) and as PNG; texts are the
sentences of phantoms' reports. Each side of a task is a process of its own with one thread; a round asks one and then the other,
and the order changes from round to round. The first answer of either is left out. The ratio is seconds of the Python side over
seconds of this project, so that more is better; its median and range over rounds are printed.

decode: a file to 8-bit pixels with a side of 256, which is what the loader keeps in memory. augment: from there to normalised
batches of 32 images of 224 pixels, by the five augmentations of ConVIRT with the ranges of the recipe convirt-rn50; once more
without the blur, which is most of torchvision's time. to-batch: both. tokenise: a sentence to ids of WordPiece, by
transformers, and (bare) by the library `tokenizers` alone. With three channels the Python side converts to RGB when it decodes,
as is usual; this project stays grey and repeats the channel when a batch goes to the device, which is timed.

torchvision's transforms run on PIL images up to the blur, on 8-bit tensors or on float tensors: the Python side tries all three
before the first answer and takes the fastest; `--form` names one. PyTorch flushes denormal numbers to zero, which it does not do by
itself: the weights of a narrow blur hold many, and make it three to thirty times slower. Pillow decodes a JPEG in full, as this
project does, which besides looks through its data for an end before their time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "target/release/examples/bench_data"
# How far the means of what both sides make may be apart: grey levels of 255, deviations of normalised pixels (the draws
# differ), ids.
TASKS = {
    "decode-jpeg": 0.5,
    "decode-png": 0.5,
    "augment": 0.5,
    "augment-without-blur": 0.5,
    "jpeg-to-batch": 0.5,
    "png-to-batch": 0.5,
    "tokenise": 0.0,
    "tokenise-bare": 0.0,
}
FORMS = ["pil", "uint8", "float"]
# Images on which the three forms are tried.
TRIED = 16


class Side:
    """A process that does a piece of work whenever it is asked."""

    def __init__(self, command):
        one = dict.fromkeys(["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"], "1")
        environment = dict(os.environ, **one, TOKENIZERS_PARALLELISM="false")
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self.settings = json.loads(self.process.stdout.readline())

    def ask(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def write_files(program, folder, images, side):
    """Phantoms as JPEG and PNG, sentences and the vocabulary."""
    from PIL import Image

    subprocess.run([program, "write", folder, str(images), str(side)], check=True)
    for kind in ("jpeg", "png"):
        (folder / kind).mkdir()
    for file in sorted((folder / "phantom").iterdir()):
        with Image.open(file) as image:
            image.save(folder / "jpeg" / f"{file.stem}.jpg", quality=95)
            image.save(folder / "png" / f"{file.stem}.png")


def transforms(form, settings):
    """What a training set does to a PIL image, and the function that puts a decoded image into the form that it starts from."""
    import torch
    from torchvision.transforms import InterpolationMode, v2

    drawn = settings["augment"]
    bilinear = InterpolationMode.BILINEAR
    floats = v2.ToDtype(torch.float32, scale=True)
    steps = [
        v2.RandomResizedCrop(
            settings["image"], scale=drawn["crop_area"], ratio=drawn["crop_ratio"], interpolation=bilinear, antialias=True
        ),
        v2.RandomHorizontalFlip(drawn["flip"]),
        v2.RandomAffine(drawn["rotate_degrees"], translate=[drawn["translate"]] * 2, scale=drawn["scale"], interpolation=bilinear),
        v2.ColorJitter(brightness=drawn["brightness"], contrast=drawn["contrast"]),
    ]
    last = [v2.Normalize(settings["mean"], settings["std"])]
    if drawn["blur_sigma"][1] > 0:
        last.insert(0, v2.GaussianBlur(settings["kernel"], sigma=drawn["blur_sigma"]))
    if form == "pil":
        return v2.Compose([*steps, v2.ToImage(), floats, *last]), lambda image: image
    if form == "uint8":
        return v2.Compose([*steps, floats, *last]), v2.ToImage()
    return v2.Compose([*steps, *last]), v2.Compose([v2.ToImage(), floats])


def build(task, channels, folder, settings, form):
    """The Python side of a task as a function that returns seconds and a mean; with it how the work is done."""
    if task.startswith("tokenise"):
        return tokenise(task, folder, settings)

    import torch
    from PIL import Image

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    kind = "jpeg" if "jpeg" in task else "png"
    files = sorted((folder / kind).iterdir())

    def decode(file):
        with Image.open(file) as image:
            # The phantoms are square.
            pixels = image.convert("RGB" if channels == 3 else "L")
            return pixels.resize((settings["source"], settings["source"]), Image.Resampling.BILINEAR)

    if task.startswith("decode"):

        def work():
            start = time.perf_counter()
            images = [decode(file) for file in files]
            seconds = time.perf_counter() - start
            pixels = [value for image in images for value in image.convert("L").tobytes()]
            return seconds, statistics.fmean(pixels)

        return work, "Pillow"

    def batches(load, items, augment):
        seconds, mean = 0.0, 0.0
        for at in range(0, len(items), settings["batch"]):
            start = time.perf_counter()
            batch = torch.stack([augment(load(item)) for item in items[at : at + settings["batch"]]])
            seconds += time.perf_counter() - start
            mean += batch.mean().item() * len(batch) / len(items)
        return seconds, mean

    def of(form):
        augment, enter = transforms(form, settings)
        if task.startswith("augment"):
            images = [enter(decode(file)) for file in files]
            return lambda count: batches(lambda image: image, images[:count], augment)
        return lambda count: batches(lambda file: enter(decode(file)), files[:count], augment)

    works = {name: of(name) for name in (FORMS if form == "fastest" else [form])}
    best = min(works, key=lambda name: min(works[name](TRIED)[0] for _ in range(3)))
    return lambda: works[best](None), best


def tokenise(task, folder, settings):
    sentences = (folder / "sentences.txt").read_text().splitlines()
    if task == "tokenise":
        from transformers import BertTokenizerFast

        tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True)

        def encode(sentence):
            return tokenizer(sentence, truncation=True, max_length=settings["tokens"])["input_ids"]
    else:
        from tokenizers import BertWordPieceTokenizer

        tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
        tokenizer.enable_truncation(settings["tokens"])

        def encode(sentence):
            return tokenizer.encode(sentence).ids

    def work():
        start = time.perf_counter()
        texts = [encode(sentence) for sentence in sentences]
        seconds = time.perf_counter() - start
        return seconds, sum(id * place for text in texts for place, id in enumerate(text, 1)) / len(texts)

    return work, "transformers" if task == "tokenise" else "tokenizers"


def answer(task, channels, folder, settings, form):
    """The Python side: answers lines as the example does."""
    work, done = build(task, channels, folder, settings, form)
    print(json.dumps({"by": done}), flush=True)
    for _ in sys.stdin:
        seconds, mean = work()
        print(json.dumps({"seconds": seconds, "mean": mean}), flush=True)


def compare(task, channels, folder, options):
    ours = Side([str(options.program), task, str(channels), str(folder)])
    settings = json.dumps(ours.settings)
    theirs = Side([sys.executable, __file__, "--answer", task, str(channels), str(folder), settings, options.form])
    made = [side.ask()["mean"] for side in (ours, theirs)]
    assert abs(made[0] - made[1]) <= TASKS[task], f"{task}: the means of what is made are {made}"
    times = {ours: [], theirs: []}
    for i in range(options.rounds):
        for side in (ours, theirs) if i % 2 else (theirs, ours):
            times[side].append(side.ask()["seconds"])
    ratios = [b / a for a, b in zip(times[ours], times[theirs])]
    for side in (ours, theirs):
        side.end()
    items = ours.settings["items"]
    return {
        "task": task,
        "channels": channels,
        "by": theirs.settings["by"],
        "items": items,
        "ours": items / statistics.median(times[ours]),
        "theirs": items / statistics.median(times[theirs]),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "means": made,
    }


def main():
    if sys.argv[1:2] == ["--answer"]:
        task, channels, folder, settings, form = sys.argv[2:]
        return answer(task, int(channels), Path(folder), json.loads(settings), form)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--channels", default="1,3")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--form", choices=["fastest", *FORMS], default="fastest")
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(options.program, folder, options.images, options.side)
        print("| work | channels | this, per second | Python, per second | Python / this | range | Python by |")
        print("|---|---|---|---|---|---|---|")
        for task in options.tasks.split(","):
            is_text = task.startswith("tokenise")
            for channels in [1] if is_text else map(int, options.channels.split(",")):
                one = compare(task, channels, folder, options)
                found.append(one)
                row = [task, "" if is_text else channels, f"{one['ours']:.0f}", f"{one['theirs']:.0f}", f"{one['ratio']:.2f}"]
                print("|", " | ".join(map(str, [*row, f"{one['low']:.2f} to {one['high']:.2f}", one["by"]])), "|", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

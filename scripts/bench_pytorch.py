"""The same work by PyTorch and by this project, alternately in one run: seconds, ratios and peak memory.

    pip install -r scripts/requirements.txt
    cargo build --release -p train --example bench_steps
    python scripts/bench_pytorch.py [--tasks resnet50-inference,...] [--batches 8,32] [--rounds 5] [--json FILE]

Each side of a task is a process of its own with two threads, which keeps its weights and its batch; a round asks one and then the
other, and the order changes from round to round. The first answer of either is left out. The ratio is seconds of PyTorch over
seconds of this project, so that more is better; its median and range over rounds are printed. PyTorch runs in single precision
and, for networks with convolutions, in channels_last, which is its faster layout here (`--layout contiguous` takes the usual
one). Work: ResNet-50 and BERT-base forward, and forward with the gradients of all parameters that train (BERT: six of twelve
layers); whole updates of ConVIRT, MGCA and MedCLIP with ResNet-50 and BERT, from a batch in memory to new weights; the update
of the default recipe. Tasks `reports-fixed`, `-fixed-kept`, `-longest`, `-packed` and `-kept` are updates of ConVIRT on sentences of the CSV
that the variable REPORTS names, against the usual pipeline, which pads to 112 tokens and computes everything in each step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

THREADS = 2
PROGRAM = Path(__file__).resolve().parents[1] / "target/release/examples/bench_steps"
TASKS = [
    "resnet50-inference",
    "resnet50-training",
    "bert-inference",
    "bert-training",
    "convirt-step",
    "mgca-step",
    "medclip-step",
    "phantom-step",
]
FROZEN_LAYERS = 6


class Side:
    """A process that does a piece of work whenever it is asked."""

    def __init__(self, command):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(THREADS), OMP_NUM_THREADS=str(THREADS), OMP_WAIT_POLICY="passive")
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self.sizes = json.loads(self.process.stdout.readline())

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def build(task, batch, sizes, layout):
    """PyTorch's side of a task as a function without arguments."""
    import torch
    from torch import nn
    from torch.nn.functional import normalize
    from torchvision.models import resnet50
    from torchvision.models.resnet import BasicBlock, ResNet
    from transformers import BertConfig, BertModel

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    side, tokens = sizes["image"], sizes["tokens"]
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format

    def images(channels, side):
        return torch.randn(batch, channels, side, side).to(memory_format=form)

    def towers():
        network = resnet50()
        network.fc = nn.Identity()
        return network.to(memory_format=form)

    def bert(layers=12, **more):
        config = BertConfig(vocab_size=sizes.get("vocabulary", 4105), num_hidden_layers=layers, attn_implementation="sdpa", **more)
        return BertModel(config, add_pooling_layer=False)

    def freeze(model):
        for part in [model.embeddings, *model.encoder.layer[:FROZEN_LAYERS]]:
            part.requires_grad_(False)
        return model

    def ids(count):
        return torch.full((count, tokens), 7), torch.ones(count, tokens, dtype=torch.long)

    def mlp(inner, hidden, outer, norm=False):
        if not norm:
            return nn.Sequential(nn.Linear(inner, hidden), nn.ReLU(), nn.Linear(hidden, outer))
        last = nn.BatchNorm1d(outer, affine=False)
        return nn.Sequential(nn.Linear(inner, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outer), last)

    def contrast(a, b, temperature, weight=0.5):
        logits = normalize(a, dim=1) @ normalize(b, dim=1).T / temperature
        target = torch.arange(len(a))
        entropy = nn.functional.cross_entropy
        return weight * entropy(logits, target) + (1 - weight) * entropy(logits.T, target)

    def updates(modules, loss, optimizer):
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        optimizer = optimizer(parameters)
        for module in modules:
            module.train()

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            # Read as a training loop reads it.
            torch.nn.utils.clip_grad_norm_(parameters, 1e9)
            optimizer.step()

        return step

    if task == "resnet50-inference":
        model, x = towers().eval(), images(3, side)

        @torch.inference_mode()
        def work():
            return model(x).sum().item()

        return work
    if task == "resnet50-training":
        model, x = towers().train(), images(3, side)

        def work():
            model.zero_grad(set_to_none=True)
            model(x).square().mean().backward()

        return work
    if task in ("bert-inference", "bert-training"):
        training = task == "bert-training"
        model = freeze(bert()).train() if training else bert().eval()
        words, mask = ids(batch)

        def forward():
            return model(input_ids=words, attention_mask=mask).last_hidden_state.amax(dim=1)

        if not training:

            @torch.inference_mode()
            def work():
                return forward().sum().item()

            return work

        def work():
            model.zero_grad(set_to_none=True)
            forward().square().mean().backward()

        return work
    if task == "convirt-step" or task.startswith("reports-"):
        image, text = towers(), freeze(bert())
        heads = [mlp(2048, 2048, 512), mlp(768, 768, 512)]
        x, (words, mask) = images(3, side), ids(batch)

        def loss():
            pooled = text(input_ids=words, attention_mask=mask).last_hidden_state.amax(dim=1)
            return contrast(heads[0](image(x)), heads[1](pooled), 0.1, 0.75)

        return updates([image, text, *heads], loss, lambda p: torch.optim.Adam(p, lr=1e-6, weight_decay=1e-6))
    if task == "medclip-step":
        image, text = towers(), bert()
        heads = [nn.Linear(2048, 512, bias=False), nn.Linear(768, 512, bias=False)]
        scale = nn.Parameter(torch.tensor(2.659))
        holder = nn.Module()
        holder.scale = scale
        x, (words, mask) = images(3, side), ids(2 * batch)
        labels = torch.tensor([[float((i * 14 + j) % 3 == 0) for j in range(14)] for i in range(batch)])

        def loss():
            hidden = text(input_ids=words, attention_mask=mask, output_hidden_states=True).hidden_states
            pooled = torch.stack([hidden[i].mean(dim=1) for i in (1, 2, 12)]).mean(dim=0)
            v, t = (normalize(head(f), dim=1) for head, f in zip(heads, (image(x), pooled)))
            soft = normalize(labels, dim=1) @ normalize(labels, dim=1).T
            total = 0
            for part in t.reshape(batch, 2, -1).unbind(1):
                logits = scale.exp() * v @ part.T
                rows, columns = logits.log_softmax(1), logits.log_softmax(0)
                total = total - ((soft.softmax(1) * rows).sum() + (soft.softmax(0) * columns).sum()) / (4 * batch)
            return total

        return updates([image, text, *heads, holder], loss, lambda p: torch.optim.AdamW(p, lr=1e-6, weight_decay=1e-4))
    if task == "mgca-step":
        import bench_mgca

        bench_mgca.PAIRS = batch
        network = towers()
        text = bert(layers=6)
        heads = [mlp(2048, 2048, 128, True), mlp(768, 2048, 128, True)]
        local = lambda inner: nn.Sequential(
            nn.Conv1d(inner, 2048, 1), nn.BatchNorm1d(2048), nn.ReLU(), nn.Conv1d(2048, 128, 1), nn.BatchNorm1d(128, affine=False)
        )
        locals_ = [local(1024), local(768)]
        holder = nn.Module()
        holder.prototypes = nn.Parameter(torch.randn(500, 128))
        x, (words, mask) = images(3, side), ids(batch)
        bench_mgca.WORDS = tokens - 1

        def loss():
            y = nn.functional.interpolate(x, size=299, mode="bilinear", align_corners=True)
            y = network.maxpool(network.relu(network.bn1(network.conv1(y))))
            y = network.layer3(network.layer2(network.layer1(y)))
            patches = y.flatten(2)
            pooled = network.avgpool(network.layer4(y)).flatten(1)
            hidden = text(input_ids=words, attention_mask=mask).last_hidden_state
            v, t = (normalize(head(f), dim=1) for head, f in zip(heads, (pooled, hidden[:, 0])))
            p, w = (
                normalize(head(f).transpose(1, 2), dim=2)
                for head, f in zip(locals_, (patches, hidden[:, 1:].transpose(1, 2)))
            )
            bench_mgca.PATCHES = p.shape[1]
            return bench_mgca.losses(v, t, w, p, normalize(holder.prototypes, dim=1))

        return updates([network, text, *heads, *locals_, holder], loss, lambda p: torch.optim.AdamW(p, lr=1e-6, weight_decay=0.05))
    if task == "phantom-step":

        class Small(ResNet):
            """A basic block of 16, 32, 64 and 128 channels a stage, on one channel."""

            def __init__(self):
                super().__init__(BasicBlock, [1, 1, 1, 1])
                self.inplanes = 16
                self.conv1 = nn.Conv2d(1, 16, 7, 2, 3, bias=False)
                self.bn1 = nn.BatchNorm2d(16)
                for stage, width in enumerate((16, 32, 64, 128)):
                    setattr(self, f"layer{stage + 1}", self._make_layer(BasicBlock, width, 1, stride=1 if stage == 0 else 2))
                self.fc = nn.Identity()

        image = Small().to(memory_format=form)
        text = bert(
            layers=2,
            hidden_size=128,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=128,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )

        def head(inner):
            return nn.Sequential(nn.Linear(inner, inner), nn.BatchNorm1d(inner), nn.ReLU(), nn.Linear(inner, 256), nn.BatchNorm1d(256))

        heads = [head(128), head(128)]
        x, (words, mask) = images(1, side), ids(batch)

        def loss():
            pooled = text(input_ids=words, attention_mask=mask).last_hidden_state.amax(dim=1)
            return contrast(heads[0](image(x)), heads[1](pooled), 0.1, 0.75)

        return updates([image, text, *heads], loss, lambda p: torch.optim.AdamW(p, lr=1e-6, weight_decay=0.02))
    raise SystemExit(f"unknown task {task}: {', '.join(TASKS)}")


def answer(task, batch, sizes, layout):
    """PyTorch's side: answers lines as the example does."""
    import resource

    work = build(task, batch, sizes, layout)
    print(json.dumps(sizes), flush=True)
    for line in sys.stdin:
        if line.strip() == "go":
            start = time.perf_counter()
            work()
            print(time.perf_counter() - start, flush=True)
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)


def compare(task, batch, rounds, layout, program):
    ours = Side([str(program), task, str(batch)])
    theirs = Side([sys.executable, __file__, "--answer", task, str(batch), json.dumps(ours.sizes), layout])
    for side in (ours, theirs):
        side.ask("go")
    times = {ours: [], theirs: []}
    for i in range(rounds):
        for side in (ours, theirs) if i % 2 else (theirs, ours):
            times[side].append(side.ask("go"))
    ratios = [b / a for a, b in zip(times[ours], times[theirs])]
    memory = [side.ask("memory") for side in (ours, theirs)]
    for side in (ours, theirs):
        side.end()
    return {
        "task": task,
        "batch": batch,
        "ours": statistics.median(times[ours]),
        "torch": statistics.median(times[theirs]),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "memory": memory[0] / memory[1],
    }


def main():
    if sys.argv[1:2] == ["--answer"]:
        task, batch, sizes, layout = sys.argv[2:]
        return answer(task, int(batch), json.loads(sizes), layout)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--batches", default="8,32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layout", choices=["channels_last", "contiguous"], default="channels_last")
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    print("| work | batch | PyTorch / this | range | peak memory, this / PyTorch |")
    print("|---|---|---|---|---|")
    for task in options.tasks.split(","):
        for batch in map(int, options.batches.split(",")):
            one = compare(task, batch, options.rounds, options.layout, options.program)
            found.append(one)
            row = f"| {task} | {batch} | {one['ratio']:.2f} | {one['low']:.2f} to {one['high']:.2f} | {one['memory']:.2f} |"
            print(row, flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

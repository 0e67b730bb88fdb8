"""Time of a training step through the real loop, and of starting up.

    python benchmarks/training.py --rounds 3
    GOMP_SPINCOUNT=10000 python benchmarks/training.py --out docs/results/bench-training.json

With the variable threads that wait for others sleep after some ten microseconds. As they come they spin longer, which
on a busy machine takes a small network's step many times its work; asleep at once, they wake too late for it.
Methods are held against plain cross-entropy, and cross-entropy in the library's loop against a loop written by hand.
A job trains for a few short epochs, the best of which counts, the first left out; the jobs take turns, and what is
reported is the median over the rounds of the ratios within a round.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from labelwise.methods.classification.compress_features import CoTeaching
from labelwise.methods.classification.cross_entropy import CrossEntropy
from labelwise.methods.classification.elr import ELR
from labelwise.networks.build import build_network
from labelwise.networks.network import Network
from labelwise.training.data import TrainingData
from labelwise.training.loop import train
from labelwise.training.recipe import BuildNetwork, Recipe
from labelwise.training.settings import Settings

BATCH_SIZE, NUM_CLASSES, EPOCHS = 128, 10, 3
RATE, MOMENTUM = 0.02, 0.9
FORGET_RATE = 0.2
# A forward pass counts 1 and a backward pass 2 an example: Co-teaching ranks each half of a batch by one forward pass,
# and trains each network on what is kept of a half.
CO_TEACHING_FLOOR = (1 + 3 * (1 - FORGET_RATE)) / 3
LIMITS = {"elr": 1.08, "co-teaching": 1.7}
START_UP_LIMIT = 0.5
THREAD_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


class Case(NamedTuple):
    """A network by name, the shape of its inputs, and how many steps an epoch has."""

    network: str
    shape: tuple[int, ...]
    steps: int

    def build(self) -> Network:
        """A fresh network."""
        return build_network(self.network, self.shape, NUM_CLASSES)

    def data(self) -> TrainingData:
        """Noise: what is learnt does not matter here."""
        generator = torch.Generator().manual_seed(0)
        size = self.steps * BATCH_SIZE
        inputs = torch.randn(size, *self.shape, generator=generator)
        return TrainingData(inputs, torch.randint(NUM_CLASSES, (size,), generator=generator), NUM_CLASSES)


CASES = (Case("cnn", (3, 32, 32), 8), Case("mlp-256-256", (784,), 100))
RECIPES: dict[str, Callable[[BuildNetwork], Recipe]] = {
    "cross-entropy": CrossEntropy,
    "elr": ELR,
    "co-teaching": lambda build: CoTeaching(build, forget_rate=FORGET_RATE, num_gradual=0),
}
BY_HAND = "cross-entropy by hand"
PASSES = "co-teaching's passes by hand"


def time_recipe(name: str, case: Case, data: TrainingData) -> float:
    """Seconds a step through the library's loop."""
    stamps: list[float] = []
    settings = Settings(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=RATE, momentum=MOMENTUM, accelerator="cpu")
    train(RECIPES[name](case.build), data, settings, on_epoch=lambda row: stamps.append(time.perf_counter()))
    return best_epoch(stamps, case)


def time_by_hand(case: Case, data: TrainingData) -> float:
    """Seconds a step of cross-entropy in the plainest loop that shuffles, steps and adds up the loss."""
    network = case.build()
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM)
    assert isinstance(data.inputs, torch.Tensor)
    stamps = []
    for _ in range(EPOCHS):
        total = torch.zeros(())
        for index in torch.randperm(len(data)).split(BATCH_SIZE):
            loss = functional.cross_entropy(network(data.inputs[index]), data.labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        stamps.append(time.perf_counter())
    return best_epoch(stamps, case)


def time_passes(case: Case, data: TrainingData) -> float:
    """Seconds a step of the passes that Co-teaching cannot do without: it picks the first rows instead of the best."""
    half, kept = BATCH_SIZE // 2, int((1 - FORGET_RATE) * (BATCH_SIZE // 2))
    networks = [case.build() for _ in range(2)]
    optimizers = [torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM) for network in networks]
    assert isinstance(data.inputs, torch.Tensor)
    stamps = []
    for _ in range(EPOCHS):
        for index in torch.randperm(len(data)).split(BATCH_SIZE):
            inputs, labels = data.inputs[index], data.labels[index]
            with torch.no_grad():
                for network, rows in zip(networks, inputs.split(half), strict=True):
                    network(rows)
            for network, optimizer in zip(networks, optimizers, strict=True):
                loss = functional.cross_entropy(network(inputs[:kept]), labels[:kept])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
        stamps.append(time.perf_counter())
    return best_epoch(stamps, case)


def best_epoch(stamps: list[float], case: Case) -> float:
    """Seconds a step in the fastest epoch between two stamps."""
    return min(end - start for start, end in itertools.pairwise(stamps)) / case.steps


def bench_steps(case: Case, rounds: int) -> dict[str, list[float]]:
    """Seconds a step of each job, one number a round."""
    data = case.data()
    seconds: dict[str, list[float]] = {BY_HAND: [], PASSES: [], **{name: [] for name in RECIPES}}
    for _ in range(rounds):
        seconds[BY_HAND].append(time_by_hand(case, data))
        seconds[PASSES].append(time_passes(case, data))
        for name in RECIPES:
            seconds[name].append(time_recipe(name, case, data))
    return seconds


def median_ratio(seconds: dict[str, list[float]], job: str, other: str) -> float:
    """Median over the rounds of the time of one job, divided by that of another."""
    return statistics.median(a / b for a, b in zip(seconds[job], seconds[other], strict=True))


def step_table(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Milliseconds a step, and ratios."""
    columns = ["network", "job", "ms a step", "held against", "ratio", "floor of the ratio", "limit"]
    rows = []
    for network, seconds in found.items():
        pairs = [(BY_HAND, BY_HAND, "", ""), ("cross-entropy", BY_HAND, "1", "")]
        pairs += [(PASSES, BY_HAND, f"{CO_TEACHING_FLOOR:.2f}", "")]
        pairs += [("elr", "cross-entropy", "1", str(LIMITS["elr"]))]
        pairs += [("co-teaching", "cross-entropy", f"{CO_TEACHING_FLOOR:.2f}", str(LIMITS["co-teaching"]))]
        for job, other, floor, limit in pairs:
            milliseconds = f"{1000 * statistics.median(seconds[job]):.3g}"
            ratio = "" if job == other else f"{median_ratio(seconds, job, other):.3f}"
            rows.append([network, job, milliseconds, "" if job == other else other, ratio, floor, limit])
    return {"columns": columns, "rows": rows}


def bench_start_up(rounds: int) -> dict[str, list[float]]:
    """Seconds of whole processes, one number a round."""
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        'python -c "import labelwise"': [python, "-c", "import labelwise"],
        "labelwise --help": [str(Path(python).with_name("labelwise")), "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def start_up_table(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Best and median of the rounds."""
    rows = [
        [f"`{name}`", f"{statistics.median(each):.2f}", f"{min(each):.2f}", "" if "pass" in name else START_UP_LIMIT]
        for name, each in seconds.items()
    ]
    return {"columns": ["command", "seconds, median", "seconds, best", "limit"], "rows": rows}


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start_up = bench_start_up(arguments.rounds)
    steps = {case.network: bench_steps(case, arguments.rounds) for case in CASES}
    tables = [step_table(steps), start_up_table(start_up)]
    for table in tables:
        print(*(" | ".join(map(str, cells)) for cells in [table["columns"], *table["rows"]]), sep="\n", flush=True)
    if arguments.out is None:
        return
    report = {
        "title": "A training step, and starting up",
        "text": (
            f"Batches of {BATCH_SIZE} on {arguments.threads} threads: a small convolutional network on 32 x 32 "
            "pictures of 3 channels, and a small fully connected one on 784 numbers, where every fixed cost of a step "
            "shows. All but the loop by hand go through the library's loop. Floors count passes over the network, a "
            "forward pass as 1 and a backward pass as 2: ELR adds none, only a softmax and a row of memory an example; "
            f"Co-teaching's two networks each rank half a batch and train on {1 - FORGET_RATE:.0%} of the other half. "
            "Its passes by hand show how much dearer an example is in a smaller batch. "
            "The medians of ratios are over rounds in which the jobs take turns."
        ),
        "machine": f"{platform.machine()}, {arguments.threads} threads",
        "versions": {name: version(name) for name in ("labelwise", "torch", "lightning-fabric")},
        "environment": {name: value for name, value in os.environ.items() if name in THREAD_VARIABLES},
        "tables": tables,
        "records": {"seconds_a_step": steps, "seconds_of_start_up": start_up},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Learning from a million instances in bags: time, memory, and a bag as one factor against its pairs.

    python benchmarks/bags.py --out docs/results/bench-bags.json

Instances have 16 features and stand around 40 random centres, half of them positive; bags are drawn at random. Every
job has a process of its own on one core and reports processor seconds and the peak memory of the whole process
(getrusage), data and imports included. A fit is `BagClassifier` with its defaults but for the network, the optimiser,
the size of a batch and the epochs: for llp-bp two rounds of neighbour search, belief propagation for six pairs of
weights, and training. Below, belief propagation alone, for one pair of weights and at most 100 rounds: the published
form, in which all pairs of a bag are edges, against one factor a bag, both of the same distribution. The floor reads
and writes every message once a round: two of 8 bytes an edge. The weights (bags 0.5, similarities 2) are strong: with
pairs, large bags settle only under weaker ones, which hold the counts less.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FEATURES, CENTRES, SPREAD = 16, 40, 0.6
NUM_TEST = 10_000
BAG_LAMBDA, SIM_LAMBDA = 0.5, 2.0
FITS = ("llp-bp", "dllp")
PROPAGATIONS = ("pairs", "count")


class Drawn(NamedTuple):
    """Features (n, 16) float32, labels (n,) and the bag of each row."""

    X: np.ndarray
    y: np.ndarray
    bag_ids: np.ndarray


def draw(rows: int, bag_size: int, seed: int = 0) -> Drawn:
    """The same instances for the same seed."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CENTRES, FEATURES))
    near = rng.integers(0, CENTRES, rows)
    X = (centres[near] + SPREAD * rng.normal(size=(rows, FEATURES))).astype(np.float32)
    return Drawn(X, (near % 2).astype(np.int64), rng.permutation(rows) // bag_size)


def fit(recipe: str, rows: int, bag_size: int) -> dict[str, Any]:
    """Fit the estimator and score labels of unseen rows."""
    from labelwise import BagClassifier

    train, test = draw(rows, bag_size), draw(NUM_TEST, bag_size, seed=1)
    counts = np.bincount(train.bag_ids, weights=train.y)
    model = BagClassifier(
        recipe,
        network="mlp-64",
        batch_size=4096,
        epochs=4,
        optimizer="adamw",
        learning_rate=3e-3,
        accelerator="cpu",
    )
    started = time.process_time()
    model.fit(train.X, train.bag_ids, counts)
    seconds = time.process_time() - started
    return {"seconds": round(seconds, 1), "accuracy": round(float(model.score(test.X, test.y)), 4)} | (
        model.recipe_.extra_manifest()
    )


def propagate(bag_factor: str, rows: int, bag_size: int) -> dict[str, Any]:
    """Belief propagation alone."""
    from labelwise.labels.bags import check_bags
    from labelwise.methods.bags.llp_bp import pseudo_labels
    from labelwise.numerics.neighbours import knn_pairs, matern_half

    drawn = draw(rows, bag_size)
    bags = check_bags(drawn.bag_ids, np.bincount(drawn.bag_ids, weights=drawn.y))
    X = (drawn.X - drawn.X.mean(axis=0)) / (drawn.X.std(axis=0) * np.sqrt(FEATURES))
    started = time.process_time()
    pairs = knn_pairs(X, 5, generator=np.random.default_rng(0))
    sims = matern_half(X, pairs)
    search = time.process_time() - started
    options: dict[str, Any] = {"bag_lambda": BAG_LAMBDA, "sim_lambda": SIM_LAMBDA, "bag_factor": bag_factor}
    pseudo_labels(pairs[:0], sims[:0], check_bags([0, 0], [1]), **options)  # loads the compiled loops
    started = time.process_time()
    found = pseudo_labels(pairs, sims, bags, **options)
    seconds = time.process_time() - started
    return {
        "search": round(search, 1),
        "seconds": round(seconds, 1),
        "rounds": found.info.rounds,
        "round": round(seconds / found.info.rounds, 3),
        "residual": float(f"{found.info.residual:.2g}"),
        "bag_error": round(found.bag_error, 2),
        "accuracy": round(float(((found.probs >= 0.5) == drawn.y).mean()), 4),
        "similarities": len(pairs),
        "bag_pairs": int((bags.sizes * (bags.sizes - 1) // 2).sum()),
        "floor": round(_floor(len(pairs) + (int((bags.sizes**2).sum() // 2) if bag_factor == "pairs" else rows)), 3),
    }


def _floor(edges: int) -> float:
    """Seconds of one read and write of two messages an edge."""
    messages = np.zeros((edges, 2))
    messages += 1.0
    started = time.process_time()
    messages += 1.0
    return time.process_time() - started


def run_job(job: str, rows: int, bag_size: int) -> dict[str, Any]:
    """Run a job in a process of its own, one core."""
    command = [sys.executable, __file__, "--job", job, "--rows", str(rows), "--bag-sizes", str(bag_size)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    started = time.perf_counter()
    environment = {"PATH": "/usr/bin:/bin"} | threads
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1]) | {"wall": round(time.perf_counter() - started, 1)}
    print(job, rows, bag_size, found, flush=True)
    return {"job": job, "rows": rows, "bag_size": bag_size} | found


FIT_COLUMNS = {
    "job": "recipe",
    "seconds": "processor s",
    "wall": "wall s, with imports and data",
    "peak_mb": "peak, MB",
    "accuracy": "accuracy on unseen instances",
}
PROPAGATION_COLUMNS = {
    "job": "a bag is",
    "search": "neighbours, s",
    "seconds": "propagation, s",
    "rounds": "rounds",
    "round": "s a round",
    "floor": "floor a round, s",
    "peak_mb": "peak, MB",
    "residual": "residual",
    "bag_error": "mean miss of a bag's count",
    "accuracy": "accuracy of pseudo-labels",
}


def table(records: list[dict[str, Any]], columns: dict[str, str]) -> dict[str, Any]:
    """One row a record."""
    rows = [[f"{each['rows']:,}", each["bag_size"], *(each[key] for key in columns)] for each in records]
    return {"columns": ["instances", "bag size", *columns.values()], "rows": rows}


def report(fits: list[dict[str, Any]], propagations: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept in a JSON file."""
    return {
        "title": "Bags of a million instances",
        "text": " ".join(str(__doc__).split("\n\n", 2)[2].split()),
        "tables": [table(fits, FIT_COLUMNS), table(propagations, PROPAGATION_COLUMNS)],
        "machine": f"{platform.machine()}, one core",
        "versions": {name: version(name) for name in ("labelwise", "numpy", "numba", "scipy", "torch")},
        "records": fits + propagations,
    }


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--bag-sizes", type=int, nargs="+", default=[16, 256], help="of a tenth of the rows")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--job", choices=FITS + PROPAGATIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows = int(arguments.rows)
    if arguments.job:
        job = fit if arguments.job in FITS else propagate
        found = job(arguments.job, rows, arguments.bag_sizes[0])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps(found | {"peak_mb": peak}))
        return
    fits = [run_job(recipe, rows, 64) for recipe in FITS]
    cases = [(rows, 64), *[(rows // 10, size) for size in arguments.bag_sizes]]
    propagations = [run_job(factor, *case) for case in cases for factor in PROPAGATIONS]
    found = report(fits, propagations)
    for kept in found["tables"]:
        print("\n".join(" | ".join(map(str, row)) for row in [kept["columns"], *kept["rows"]]), end="\n\n")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

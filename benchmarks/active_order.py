"""Errors found per look: suspects in static order, in the order that learns from decisions, and the best there is.

    python benchmarks/active_order.py --data-dir DIR --out docs/results/active-order.json

CIFAR-10 with labels by people (CIFAR-10N): the clean labels are the reviewer. With --settle: the data on which the
constants of the order were settled, digits with redrawn labels and, from the data folder, adult with planted errors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from labelwise.audit.active_order import active_order, doubts
from labelwise.audit.audit import audit
from labelwise.audit.cross_validation import cross_val_pred_probs
from labelwise.data.encode import encoder_for
from labelwise.data.named import load
from labelwise.files import atomic_write
from labelwise.numerics.neighbours import nearest
from labelwise.reproductions.result import paired_interval

BATCH, NEIGHBOURS = 30, 6
PEOPLE = ("aggregate_label", "random_label1", "worst_label")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of each draw")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--settle", action="store_true", help="the data that constants were settled on")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sources = settling(options) if options.settle else people(options)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, X, given, truth, seed in sources:
        found.setdefault(name, []).append(measure(X, given, truth, seed))
    result = {name: summary(rows) for name, rows in found.items()}
    print(json.dumps({name: {k: v for k, v in row.items() if k != "curves"} for name, row in result.items()}, indent=1))
    if options.out:
        with atomic_write(options.out, text=True) as stream:
            stream.write(json.dumps(result, indent=1) + "\n")


def people(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, int]]:
    """Rows of CIFAR-10's training part by their ImageNet features, drawn anew for each seed."""
    for name in PEOPLE:
        examples = load(f"cifar10n-features:{name}", data_dir=options.data_dir)
        train = np.flatnonzero(examples.split == "train")
        for seed in range(options.seeds):
            rows = np.random.default_rng([seed, 7]).permutation(train)[: options.rows]
            assert examples.truth is not None
            yield name, examples.inputs[rows], examples.given[rows], examples.truth[rows], seed


def settling(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, int]]:
    """What the constants were settled on."""
    yield from digits(options.seeds)
    if options.data_dir is not None:
        yield from adult(options)


def adult(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, int]]:
    """People of the census, of whom far more of those who earn much are labelled wrongly."""
    examples = load("adult", data_dir=options.data_dir)
    encoded = encoder_for(examples).fit(examples.inputs).transform(examples.inputs)
    for seed in range(options.seeds):
        rng = np.random.default_rng([seed, 3])
        rows = rng.permutation(len(encoded))[: min(options.rows, 6_000)]
        truth = examples.given[rows]
        flipped = rng.random(len(rows)) < np.where(truth == 1, 0.3, 0.05)
        yield "adult", encoded[rows], np.where(flipped, 1 - truth, truth), truth, seed


def digits(seeds: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, int]]:
    """Scans of digits with labels redrawn evenly, or a class after another by how alike they are."""
    X, truth = load_digits(return_X_y=True)
    for kind in ("even", "pairs"):
        for seed in range(seeds):
            rng = np.random.default_rng([seed, 8])
            alike = np.array([6, 7, 3, 8, 9, 6, 0, 1, 3, 4])[truth]
            other = rng.integers(0, 10, len(truth)) if kind == "even" else alike
            chance = 0.3 if kind == "even" else np.where(truth < 5, 0.4, 0.02)
            yield kind, X / 16, np.where(rng.random(len(truth)) < chance, other, truth), truth, seed


def measure(X: np.ndarray, given: np.ndarray, truth: np.ndarray, seed: int) -> dict[str, Any]:
    """Errors found after each look (suspects,), by order."""
    model = LogisticRegression(C=0.1, max_iter=200)
    probs = cross_val_pred_probs(model, X, given, cv=3, random_state=seed)
    found = audit(given, probs)
    others = np.flatnonzero(~found.is_issue)
    order = np.concatenate([found.ranked, others[np.argsort(found.scores[others], kind="stable")]])
    rows = np.arange(len(given))
    near = nearest(X[order].astype(np.float32), NEIGHBOURS, "euclidean")[1]
    wrong = (given != truth)[order]
    known = doubts(
        given[order], found.suggested[order], probs[rows, given][order], probs[rows, found.suggested][order], near
    )
    looks = len(found.ranked)
    active = np.array(look_in_batches(known, wrong, looks))
    hits = {
        "static": wrong[:looks],
        "active": wrong[active],
        "best": np.arange(looks) < wrong.sum(),
        "random": np.full(looks, wrong.mean()),
    }
    return {
        "errors": int(wrong.sum()),
        "looks": looks,
        "curves": {name: np.cumsum(each) for name, each in hits.items()},
    }


def look_in_batches(known: Any, wrong: np.ndarray, looks: int) -> list[int]:
    """Positions in the order in which they are looked at: a batch, then a new order, and so on."""
    seen: list[int] = []
    is_seen = np.zeros(len(wrong), dtype=bool)
    while len(seen) < looks:
        order = active_order(known, seen, wrong[seen])
        batch = order[~is_seen[order]][: min(BATCH, looks - len(seen))]
        is_seen[batch] = True
        seen += batch.tolist()
    return seen


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Area under each curve, 1 where every look finds an error, and the curves of the first seed."""
    names = rows[0]["curves"]
    areas = {name: [area(row["curves"][name], row["looks"]) for row in rows] for name in names}
    shares = {name: [float(row["curves"][name][-1] / row["errors"]) for row in rows] for name in names}
    gain = paired_interval(areas["active"], areas["static"])
    first = rows[0]
    points = np.unique(np.linspace(0, first["looks"] - 1, 100).astype(int))
    return {
        "seeds": len(rows),
        "looks": [row["looks"] for row in rows],
        "errors": [row["errors"] for row in rows],
        "area": {name: float(np.mean(values)) for name, values in areas.items()},
        "errors_found_share": {name: float(np.mean(values)) for name, values in shares.items()},
        "active_minus_static": gain._asdict(),
        "curves": {"looks": (points + 1).tolist()}
        | {name: np.round(curve[points], 1).tolist() for name, curve in first["curves"].items()},
    }


def area(curve: np.ndarray, looks: int) -> float:
    """Area under errors found per look, 1 where every look finds one."""
    return float(curve.sum() / (looks * (looks + 1) / 2))


if __name__ == "__main__":
    main()

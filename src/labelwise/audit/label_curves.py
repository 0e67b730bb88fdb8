"""Learning curves over cheap and dear labels: how a model's error falls as more of either are taken, measured by
sub-sampling the labels at hand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.numerics.softmax_regression import fit_softmax, predict_softmax

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNLABELLED = -1
HELD_OUT = 0.4  # of the dear labels, in each repeat
PENALTIES = (0.03, 0.3, 3.0)
DEAR_SIZES, CHEAP_SIZES = 5, 4
FEWEST_DEAR, FEWEST_CHEAP = 5, 20


class Labelled(NamedTuple):
    """Features X (n, d), rows of length about 1, and cheap and dear labels (n,) int64, -1 where there is none."""

    X: Floats
    cheap: Ints
    dear: Ints
    num_classes: int

    @property
    def n_cheap(self) -> int:
        """Rows with a cheap and no dear label: what a model can still learn from the cheap source."""
        return int(((self.cheap >= 0) & (self.dear < 0)).sum())

    @property
    def n_open(self) -> int:
        """Rows without a dear label: as many can be bought here, each in place of the row's cheap one."""
        return int((self.dear < 0).sum())

    @property
    def n_dear(self) -> int:
        """Rows with a dear label."""
        return int((self.dear >= 0).sum())


class Curves(NamedTuple):
    """Counts (points,) of labels, and the held-out error of each repeat after them, (repeats, points)."""

    n_cheap: Ints
    n_dear: Ints
    errors: Floats
    num_held: int


def train_in_sequence(data: Labelled, cheap_rows: Ints, dear_rows: Ints, penalty: float) -> Floats:
    """Weights (d + 1, classes): learnt from cheap labels, then from dear ones, held near what the cheap ones taught."""
    first = fit_softmax(data.X[cheap_rows], data.cheap[cheap_rows], data.num_classes, penalty)
    return fit_softmax(data.X[dear_rows], data.dear[dear_rows], data.num_classes, penalty, first)


def measure_curves(data: Labelled, penalty: float, repeats: int, rng: np.random.Generator) -> Curves:
    """Train on nested draws of many sizes; score on dear rows that no model of the repeat saw, neither label.

    In each repeat one permutation serves all sizes, so differences between them are paired. Cost: about 30 small fits
    a repeat.
    """
    dear_rows = np.flatnonzero(data.dear >= 0)
    num_held = round(HELD_OUT * len(dear_rows))
    cheap_only = np.flatnonzero((data.cheap >= 0) & (data.dear < 0))
    dear_sizes = sizes_up_to(len(dear_rows) - num_held, FEWEST_DEAR, DEAR_SIZES)
    cheap_sizes = sizes_up_to(len(cheap_only), FEWEST_CHEAP, CHEAP_SIZES)
    pairs = [(w, h) for w in cheap_sizes for h in dear_sizes if w + h > 0]
    errors = np.zeros((repeats, len(pairs)))
    for repeat in range(repeats):
        order, cheap = rng.permutation(dear_rows), rng.permutation(cheap_only)
        held, dear = order[:num_held], order[num_held:]
        weak = {w: fit_softmax(data.X[cheap[:w]], data.cheap[cheap[:w]], data.num_classes, penalty)
                for w in cheap_sizes}  # fmt: skip
        for place, (w, h) in enumerate(pairs):
            weights = fit_softmax(data.X[dear[:h]], data.dear[dear[:h]], data.num_classes, penalty, weak[w])
            errors[repeat, place] = error_rate(data, held, weights)
    counts = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Curves(counts[:, 0], counts[:, 1], errors, num_held)


def choose_penalty(data: Labelled, repeats: int, rng: np.random.Generator) -> tuple[float, float]:
    """The penalty, of three, with the least held-out error when trained on all else at hand; and that error."""
    dear_rows, cheap = np.flatnonzero(data.dear >= 0), np.flatnonzero((data.cheap >= 0) & (data.dear < 0))
    num_held = round(HELD_OUT * len(dear_rows))
    orders = [rng.permutation(dear_rows) for _ in range(repeats)]
    found = [
        float(np.mean([
            error_rate(data, order[:num_held], train_in_sequence(data, cheap, order[num_held:], penalty))
            for order in orders
        ]))
        for penalty in PENALTIES
    ]  # fmt: skip
    best = int(np.argmin(found))
    return PENALTIES[best], found[best]


def error_rate(data: Labelled, rows: Ints, weights: Floats) -> float:
    """Share of rows whose dear label the model does not predict; 0 without rows."""
    if len(rows) == 0:
        return 0.0
    return float((predict_softmax(data.X[rows], weights).argmax(axis=1) != data.dear[rows]).mean())


def sizes_up_to(most: int, fewest: int, count: int) -> list[int]:
    """0 and ``count`` sizes or fewer that grow by a constant factor from ``fewest`` to ``most``."""
    if most <= fewest:
        return sorted({0, most})
    return [0, *sorted({round(size) for size in np.geomspace(fewest, most, count)})]

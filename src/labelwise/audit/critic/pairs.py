"""Which pairs of labels are worth a judge's time, and which label is best once they are judged.

Bassi et al., ISBI 2025. Labels whose projections agree count as equally good.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.critic.verdicts import FIRST, SECOND, UNDECIDED
from labelwise.errors import InputError


class Selection(NamedTuple):
    """Pairs of a Dice below ``threshold``; ``mask`` (n,) bool are those to compare."""

    threshold: float
    mask: NDArray[np.bool_]


class ExampleRows(NamedTuple):
    """Rows of pairs whose labels can serve as examples: ``good`` ones that agree, ``bad`` ones that do not."""

    good: NDArray[np.int64]
    bad: NDArray[np.int64]


def select_pairs(
    dice: ArrayLike, threshold_max: float = 0.8, min_cases: int = 100, max_cases: int = 10_000
) -> Selection:
    """Choose the pairs that disagree most, given the Dice (n,) of all pairs of all cases.

    The threshold is mean - deviation (n - 1 in its divisor), at most ``threshold_max``; where fewer than ``min_cases``
    lie strictly below, it is raised until that many do, and a list no longer than ``min_cases`` is taken whole
    (threshold just above 1). Of more than ``max_cases`` the lowest are taken, earlier ones first among equal.
    Raises InputError for values outside [0, 1] and negative counts. O(n log n).
    """
    values = np.asarray(dice, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InputError("dice holds values that are none: give one number from 0 to 1 for each pair.")
    if min_cases < 0 or max_cases < 0:
        raise InputError(f"min_cases is {min_cases}, max_cases {max_cases}: give counts of at least 0.")
    order = np.argsort(values, kind="stable")
    threshold = _threshold(values, values[order], threshold_max, min_cases)
    mask = np.zeros(len(values), dtype=bool)
    mask[order[: min(int((values < threshold).sum()), max_cases)]] = True
    return Selection(threshold, mask)


def choose_examples(
    dice: ArrayLike, threshold: float, count_good: int = 2, count_bad: int = 2, good_from: float = 0.95
) -> ExampleRows:
    """Rows to show a judge as examples: the pairs that agree best from ``good_from`` on, the worst below ``threshold``.

    dice: (n,), as for `select_pairs`. There may be fewer than asked for. Bassi et al., ISBI 2025.
    """
    values = np.asarray(dice, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    good = np.argsort(-values, kind="stable")[: int((values >= good_from).sum())][:count_good]
    return ExampleRows(good, order[: int((values < threshold).sum())][:count_bad])


def sequential_best(count: int, verdict: Callable[[int, int], float]) -> int:
    """The best of ``count`` labels by ``count`` - 1 comparisons: a challenger replaces the incumbent if it wins.

    ``verdict(incumbent, challenger)`` is 2 where the challenger is better. The first label begins, and keeps its place
    in a tie. Raises InputError where there is no label.
    """
    if count < 1:
        raise InputError("there is no label to choose from: give at least one.")
    best = 0
    for challenger in range(1, count):
        if verdict(best, challenger) == SECOND:
            best = challenger
    return best


def round_robin_scores(verdicts: ArrayLike) -> NDArray[np.float64]:
    """Wins and half the ties of each label, from ``verdicts`` (K, K) of row against column; the diagonal is ignored.

    The best label is ``scores.argmax()``, the first among equal ones (Copeland). Raises InputError unless square.
    """
    table = np.asarray(verdicts, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise InputError(f"verdicts has shape {table.shape}: give one row and one column a label.")
    points = (table == FIRST) + 0.5 * (table == UNDECIDED)
    np.fill_diagonal(points, 0)
    return points.sum(axis=1)


def _threshold(
    values: NDArray[np.float64], ascending: NDArray[np.float64], threshold_max: float, min_cases: int
) -> float:
    if len(values) <= min_cases:
        return math.nextafter(1.0, 2.0)
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    threshold = min(float(values.mean() - deviation), threshold_max)
    return threshold if (values < threshold).sum() >= min_cases else float(ascending[min_cases])

"""Buying labels: a budget shared between cheap and dear ones, which rows to buy next, and what came of it.

Wu, Mallen, Belrose, "Balancing Label Quantity and Quality for Scalable Elicitation", 2024
(https://arxiv.org/abs/2410.13215). Many cheap labels are wrong in places; few dear ones are right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.scores import check_choice
from labelwise.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMALLEST_PROB = 1e-8
WEIGHTS = ("entropy", "margin")
QUANTITY, QUALITY, MIXED, UNDECIDED = "quantity-dominant", "quality-dominant", "mixed", "undecided"


class Allocation(NamedTuple):
    """How many cheap and how many dear labels."""

    n_low: int
    n_high: int


def allocate_budget(budget: float, frac_high: float, cost_low: float = 0.1, cost_high: float = 1.0) -> Allocation:
    """Dear labels for the share ``frac_high`` of a budget, rounded down, and cheap ones for all that is left.

    Exact: numbers count as they are written (0.1 is a tenth), so no label is lost to rounding and nothing is
    overspent. Raises InputError for a negative budget, a share outside [0, 1] or a price that is not above 0.
    """
    _check_prices(cost_low, cost_high)
    if not 0 <= budget < math.inf:
        raise InputError(f"budget is {budget}: give a number of 0 or more.")
    if not 0 <= frac_high <= 1:
        raise InputError(f"frac_high is {frac_high}: give a share from 0 to 1.")
    whole, share, low, high = (_exact(each) for each in (budget, frac_high, cost_low, cost_high))
    n_high = int(share * whole / high)
    return Allocation(int((whole - n_high * high) / low), n_high)


def total_cost(n_low: int, n_high: int, cost_low: float = 0.1, cost_high: float = 1.0) -> float:
    """What so many labels cost; those shown in a prompt count too. Raises InputError for counts below 0."""
    _check_prices(cost_low, cost_high)
    if n_low < 0 or n_high < 0:
        raise InputError(f"n_low={n_low}, n_high={n_high}: give counts of 0 or more.")
    return float(n_low * _exact(cost_low) + n_high * _exact(cost_high))


def draw_probabilities(
    probs: ArrayLike, temperature: float = 1.0, most_confident: bool = False, weights: str = "entropy"
) -> Floats:
    """Chance of each row to be drawn first, (N,) float64, sum 1: its weight to the power of ``1 / temperature``.

    probs: (N, classes). The weight is the entropy (to the base of the number of classes), or with ``margin`` one minus
    half the gap between the two likeliest classes; ``most_confident`` takes one minus that. Temperature 0 leaves only
    the largest weight (ties share); where every weight is 0, all rows have the same chance. Raises InputError.
    """
    logs = _log_weights(probs, most_confident, weights)
    if len(logs) == 0:
        return np.zeros(0)
    top = logs.max()
    if top == -math.inf:
        return np.full(len(logs), 1 / len(logs))
    _check_temperature(temperature)
    powers = (logs == top).astype(np.float64) if temperature == 0 else np.exp((logs - top) / temperature)
    return powers / powers.sum()


def uncertainty_sample(
    probs: ArrayLike,
    n: int,
    temperature: float = 1.0,
    most_confident: bool = False,
    weights: str = "entropy",
    *,
    rng: np.random.Generator,
) -> Ints:
    """Draw ``n`` of N rows without replacement by the chances of `draw_probabilities`, (n,) int64 in random order.

    Temperature 0 takes the n largest weights (of equal ones the first rows). Rows of weight 0 come last. Raises
    InputError, also for more rows than there are. Cost: one sort.
    """
    _check_temperature(temperature)
    logs = _log_weights(probs, most_confident, weights)
    if not 0 <= n <= len(logs):
        raise InputError(f"n is {n} of {len(logs)} rows: give a number from 0 to that.")
    if temperature == 0:
        return rng.permutation(np.argsort(-logs, kind="stable")[:n])
    # Keys with Gumbel noise, sorted, are draws one after the other without replacement.
    noise = rng.gumbel(size=len(logs))
    keys = np.where(logs == -math.inf, -math.inf, logs / temperature + noise)
    return np.lexsort((-noise, -keys))[:n].astype(np.int64)


def pareto_frontier(cost: ArrayLike, accuracy: ArrayLike) -> Ints:
    """Positions of the runs that no cheaper or equally dear one matches, by rising cost and rising accuracy, (m,).

    cost, accuracy: (n,). Of equal runs the first stays. Raises InputError for lengths that differ and for NaN.
    """
    costs, scores = _numbers(cost, "cost"), _numbers(accuracy, "accuracy")
    if len(costs) != len(scores):
        raise InputError(f"there are {len(costs)} costs and {len(scores)} accuracies: give one of each a run.")
    order = np.lexsort((-scores, costs))
    best_before = np.concatenate([[-math.inf], np.maximum.accumulate(scores[order])])[: len(order)]
    return order[scores[order] > best_before].astype(np.int64)


def classify_regime(fractions: ArrayLike, accuracy: ArrayLike, stderr: ArrayLike) -> str:
    """Which labels a budget is best spent on, by accuracies (n,) with standard errors at fractions from 0 to 1.

    ``mixed`` where an interior fraction beats both ends by more than the standard error of the difference; else
    ``quantity-dominant`` or ``quality-dominant`` where one end beats the other so; else ``undecided``. Raises
    InputError without the ends 0 and 1.
    """
    shares, scores, errors = (
        _numbers(fractions, "fractions"),
        _numbers(accuracy, "accuracy"),
        _numbers(stderr, "stderr"),
    )
    if not len(shares) == len(scores) == len(errors):
        raise InputError(
            f"there are {len(shares)} fractions, {len(scores)} accuracies and {len(errors)} standard errors: "
            "give one of each."
        )
    return regime_of(shares, scores[:, None] - scores > np.hypot(errors[:, None], errors))


def regime_of(fractions: ArrayLike, is_better: ArrayLike) -> str:
    """The regime of `classify_regime` by comparisons (n, n) bool: whether the row's fraction beats the column's.

    Raises InputError without the ends 0 and 1.
    """
    shares, beats = _numbers(fractions, "fractions"), np.asarray(is_better, dtype=bool)
    ends = [np.flatnonzero(shares == end) for end in (0, 1)]
    if not all(len(end) for end in ends):
        raise InputError(f"fractions are {shares.tolist()}: give the ends 0 and 1 too.")
    low, high = (int(end[0]) for end in ends)
    interior = np.flatnonzero((shares > 0) & (shares < 1))
    if (beats[interior, low] & beats[interior, high]).any():
        return MIXED
    if beats[low, high]:
        return QUANTITY
    return QUALITY if beats[high, low] else UNDECIDED


def roc_auc(y_true: ArrayLike, score: ArrayLike) -> float:
    """Share of pairs of a positive and a negative row that scores (n,) rank right, ties half.

    y_true: (n,) of 0 and 1. Raises InputError where one of the two is missing: there are no pairs then.
    """
    from scipy.stats import rankdata

    truth, scores = np.asarray(y_true).astype(bool), _numbers(score, "score")
    if truth.shape != scores.shape:
        raise InputError(f"y_true has {len(truth)} rows, score {len(scores)}: give one of each a row.")
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        raise InputError("y_true holds one class only, which leaves nothing to rank: give rows of both.")
    above = rankdata(scores)[truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def api_batch_size_epochs(n: int) -> tuple[int, int]:
    """Batch size and epochs for n labels, as hosted fine-tuning chooses them. Raises InputError for n below 1."""
    if n < 1:
        raise InputError(f"n is {n}: give at least 1 label.")
    batch = 1 if n < 1024 else 2 if n < 4096 else 8
    if n < 30:
        return batch, math.ceil(100 / (n // batch))
    return batch, 3 if n < 4096 else 2 if n < 16384 else 1


def few_shot_prefix(
    texts: Sequence[str], labels: ArrayLike, targets: Sequence[str], *, rng: np.random.Generator
) -> list[str]:
    """Put labelled examples before each of the ``targets``, in an order drawn anew for each.

    An example is its text, a line with its label and an empty line; labels (n,) from 0 to 1 count as 1 from 0.5 on. A
    language model then scores by the logit of "1" minus that of "0". Raises InputError for lengths that differ.
    """
    hardened = (_numbers(labels, "labels") >= 0.5).astype(int)
    if len(hardened) != len(texts):
        raise InputError(f"there are {len(texts)} texts and {len(hardened)} labels: give one label a text.")
    shots = [f"{text}\n{label}\n\n" for text, label in zip(texts, hardened.tolist(), strict=True)]
    return ["".join(shots[place] for place in rng.permutation(len(shots))) + f"{target}\n" for target in targets]


def centroid_features(X: ArrayLike, examples: ArrayLike, labels: ArrayLike, num_classes: int = 2) -> Floats:
    """Cosine of rows X (n, d) with the mean of each class's examples, (n, classes); 0 for a class without any.

    What few labelled examples say of a row where there is no language model to show them to. examples: (k, d).
    """
    rows, shots, classes = np.asarray(X, np.float64), np.asarray(examples, np.float64), np.asarray(labels)
    means = [shots[classes == k].mean(axis=0) if (classes == k).any() else np.zeros(rows.shape[1]) for k in
             range(num_classes)]  # fmt: skip
    centroids = np.stack(means)  # (classes, d)
    norms = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(centroids, axis=1)  # (n, classes)
    return np.divide(rows @ centroids.T, norms, out=np.zeros_like(norms), where=norms > 0)


class Oracle:
    """Sells right labels (n,) at ``cost`` each and counts them; a label that was bought is not paid for again."""

    def __init__(self, labels: ArrayLike, cost: float = 1.0) -> None:
        self._labels = np.asarray(labels)
        self.cost = cost
        self.queried: list[int] = []

    def __len__(self) -> int:
        return len(self._labels)

    def query(self, ids: ArrayLike) -> NDArray[np.generic]:
        """Labels of the rows ``ids`` (m,), in their order. Raises InputError for a row that is not there."""
        rows = np.asarray(ids, dtype=np.int64)
        if ((rows < 0) | (rows >= len(self._labels))).any():
            raise InputError(f"the oracle has rows 0 to {len(self._labels) - 1}, and others were asked for.")
        self.queried += sorted(set(rows.tolist()) - set(self.queried))
        return self._labels[rows]

    @property
    def num_queries(self) -> int:
        """How many labels were bought."""
        return len(self.queried)

    @property
    def spent(self) -> float:
        """What they cost."""
        return self.num_queries * self.cost


def uncertainty(probs: ArrayLike, weights: str = "entropy") -> Floats:
    """How unsure each row (N, classes) is, (N,) from 0 to 1: the weight of `draw_probabilities`."""
    check_choice(weights, WEIGHTS, "weights")
    rows = np.asarray(probs, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise InputError(f"probs has shape {rows.shape}: give (rows, classes) with two classes or more.")
    is_bad = ~((rows >= 0) & (rows <= 1))  # NaN fails every comparison
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        raise InputError(f"probs row {row}, column {column} is {rows[row, column]}: give probabilities from 0 to 1.")
    clamped = rows.clip(SMALLEST_PROB, 1 - SMALLEST_PROB)
    if weights == "entropy":
        return -(clamped * np.log(clamped)).sum(axis=1) / math.log(rows.shape[1])
    top = np.sort(clamped, axis=1)
    return 1 - (top[:, -1] - top[:, -2]) / 2


def _log_weights(probs: ArrayLike, most_confident: bool, weights: str) -> Floats:
    found = uncertainty(probs, weights)
    found = np.maximum(1 - found if most_confident else found, 0)
    return np.log(found, out=np.full_like(found, -math.inf), where=found > 0)


def _exact(number: float) -> Fraction:
    return Fraction(repr(float(number)))


def _check_prices(cost_low: float, cost_high: float) -> None:
    for name, cost in (("cost_low", cost_low), ("cost_high", cost_high)):
        if not 0 < cost < math.inf:
            raise InputError(f"{name} is {cost}: give a price above 0.")


def _check_temperature(temperature: float) -> None:
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature is {temperature}: give a number of 0 or more.")


def _numbers(values: ArrayLike, name: str) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or np.isnan(numbers).any():
        raise InputError(f"{name} must be a list of numbers without NaN: check what it was made of.")
    return numbers

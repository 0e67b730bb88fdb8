"""Label-sets that hold the true one as often as promised, out of 2^M and without looking at them all.

Maltoudoglou, Paisios, Lenc, Martinek, Kral, Papadopoulos, "Well-calibrated confidence measures for multi-label text
classification with a large number of labels", Pattern Recognition 122, 2022, https://arxiv.org/abs/2312.09304.

A label-set t in {0, 1}^M is scored by its distance from the model's outputs o in [0, 1]^M,

    a(t) = sum_j |t_j - o_j|^d,                                                                             (1)
    p(t) = (number of calibration rows with a_i >= a(t), plus 1) / (q + 1),                                 (2)

and the set of a row holds every t with p(t) > epsilon. It misses the true label-set with probability at most epsilon,
on average over q calibration rows and new rows from the same source, for any model: the calibration rows must have
taken no part in training, and their label-sets must be right.

No label-set that is rejected need be looked at. With k = floor(epsilon (q + 1)), p(t) > epsilon means that a(t) is at
most the k-th largest calibration score A. The smallest score is that of the label-set b of the outputs above 0.5;
changing label j against b adds a gain of its own, |1 - b_j - o_j|^d - |b_j - o_j|^d >= 0. So the set is b with every
subset of changes whose gains sum to at most A - a(b): subset sums below a budget, listed from the smallest up.

Scores are whole multiples of 1e-12: each term of (1) is rounded, and whole numbers are added. Their sums do not depend
on the order, so a label-set has one score wherever it is computed, and equal scores are equal. The promise is
untouched, since all rows are rounded alike.
"""

import bisect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.labels.check import check_multilabels, check_presence_probs
from labelwise.numerics.subset_sums import count_subset_sums, smallest_subset_sums, subset_sums_best_first

STEPS = 1e12  # score steps in 1: exact for outputs of up to 6 decimals with d = 2
MAX_SETS = 100_000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sets = NDArray[np.bool_]


def nonconformity(outputs: ArrayLike, labels: ArrayLike, d: float = 2.0) -> Floats:
    """Score (n,) float64 of each row's label-set, equation (1): ``outputs`` (n, M) in [0, 1], ``labels`` (n, M) 0 or 1.

    Raises InputError for bad input, unknown labels (-1) included. Cost: one pass.
    """
    return _scores(_check_outputs(outputs), _check_known(labels), _check_power(d)) / STEPS


def p_value(scores: ArrayLike, calibration_scores: ArrayLike) -> Floats:
    """Equation (2) for ``scores`` of any shape; ``calibration_scores`` (q,). Scores 1e-12 apart or less count as equal.

    Raises InputError without calibration scores, or for scores that are not finite.
    """
    asked, known = (np.asarray(each, dtype=np.float64) for each in (scores, calibration_scores))
    if known.ndim != 1 or not len(known):
        raise InputError(f"calibration_scores has shape {known.shape}: give at least one score, shape (q,).")
    if not (np.isfinite(asked).all() and np.isfinite(known).all()):
        raise InputError("scores or calibration_scores holds NaN or infinity: repair or leave out those rows.")
    return _p_values(np.rint(asked * STEPS), np.sort(np.rint(known * STEPS)))


def rejection_rank(epsilon: float, num_rows: int) -> int:
    """k = floor(epsilon (q + 1)) for q calibration rows, exactly, ``epsilon`` being the decimal that it is written as.

    0 means that no label-set can be rejected. Raises InputError for an epsilon that is not from 0 to 1.
    """
    try:
        level = Fraction(str(epsilon))
    except ValueError:
        level = Fraction(-1)
    if not 0 <= level <= 1:
        raise InputError(f"epsilon is {epsilon}: give the share of misses allowed, from 0 to 1.")
    return math.floor(level * (num_rows + 1))


def positive_probabilities(predicted: Sequence[ArrayLike], classes: Sequence[ArrayLike]) -> Floats:
    """Outputs (n, M) from scikit-learn's ``predict_proba`` for several labels, a list of M arrays (n, classes).

    ``classes`` is the model's ``classes_``. A label that training never saw at 1 gets 0. Raises InputError for lengths
    that differ.
    """
    if len(predicted) != len(classes):
        raise InputError(f"predicted has {len(predicted)} labels, classes {len(classes)}: give the model's classes_.")
    columns = []
    for label, (probs, names) in enumerate(zip(predicted, classes, strict=True)):
        table, is_positive = np.asarray(probs, dtype=np.float64), np.asarray(names) == 1
        if table.ndim != 2 or table.shape[1] != len(is_positive):
            raise InputError(f"predicted has shape {table.shape} at label {label}: give (n, {len(is_positive)}).")
        columns.append(table[:, is_positive].sum(axis=1))
    return np.column_stack(columns)


class LabelSets(NamedTuple):
    """One row's set, by rising score; equal scores by label-set, read as a binary number. Truncated: there are more."""

    label_sets: Sets  # (K, M)
    scores: Floats  # (K,)
    p_values: Floats  # (K,) not rising
    is_truncated: bool


class PointPrediction(NamedTuple):
    """The label-set of the smallest score, its p-value, and one minus the p-value of the next best."""

    labels: Sets  # (n, M)
    credibility: Floats  # (n,)
    confidence: Floats  # (n,)


class LabelPowersetICP:
    """Sets of label-sets in three steps: train elsewhere, ``calibrate`` on rows kept aside, ``prediction_set``.

    ``d`` is the power of equation (1): the larger, the more one far-off label outweighs many near ones. Raises
    InputError for a power that is not above 0 and finite.
    """

    def __init__(self, d: float = 2.0) -> None:
        self.d = _check_power(d)
        self.num_labels = 0
        self.scores: Ints = np.zeros(0, dtype=np.int64)  # (q,) rising, in steps of 1e-12

    def calibrate(self, outputs: ArrayLike, labels: ArrayLike) -> Self:
        """Score the true label-sets of rows that took no part in training; nothing is learnt afterwards.

        ``outputs`` (n, M) in [0, 1]; ``labels`` (n, M) 0 or 1; rows with an unknown label (-1) are left out, which
        keeps the promise only for rows of their kind. Raises InputError for bad input or where no row is known.
        """
        checked, given = _check_outputs(outputs), check_multilabels(labels)
        _check_same_shape(checked, given)
        is_known = (given >= 0).all(axis=1)
        if not is_known.any():
            raise InputError("labels has no row whose labels are all known: give labelled rows kept aside.")
        self.scores = np.sort(_scores(checked[is_known], given[is_known], self.d))
        self.num_labels = checked.shape[1]
        return self

    def threshold(self, epsilon: float) -> float:
        """Largest score in a set for ``epsilon``: infinity where all label-sets are in, minus infinity where none is.

        Raises InputError before ``calibrate`` or for an epsilon outside 0 to 1.
        """
        rank = self._rank(epsilon)
        if rank == 0:
            return math.inf
        return float(self.scores[-rank] / STEPS) if rank <= len(self.scores) else -math.inf

    def prediction_set(self, outputs: ArrayLike, epsilon: float = 0.1, *, max_sets: int = MAX_SETS) -> list[LabelSets]:
        """The label-sets that cannot be rejected at ``epsilon``, for each row of ``outputs`` (n, M) in [0, 1].

        An empty set is within the promise and says that no label-set is plausible. Of more than ``max_sets`` the best
        are returned; which of equally good ones, is free. Raises InputError for bad input. Cost: O(K) a row of K sets.
        """
        if max_sets < 1:
            raise InputError(f"max_sets is {max_sets}: give at least 1.")
        changes, budgets = self._changes(outputs, epsilon)
        rows = zip(changes.base, changes.base_scores, changes.gains, budgets, strict=True)
        return [self._sets_of_row(*row, max_sets) for row in rows]

    def set_sizes(self, outputs: ArrayLike, epsilon: float = 0.1) -> Floats:
        """Exact number of label-sets in each row's set, (n,) float64, without listing them.

        Infinite where they are too many to count, from some 10^8 on (2^M, where all are in, is no such case). Raises
        InputError for bad input. Cost: see `count_subset_sums`.
        """
        changes, budgets = self._changes(outputs, epsilon)
        pairs = zip(changes.gains, budgets, strict=True)
        return np.asarray([count_subset_sums(gains, np.asarray([budget]))[0] for gains, budget in pairs])

    def iter_label_sets(self, outputs_row: ArrayLike) -> Iterator[tuple[Sets, float, float]]:
        """All 2^M label-sets of one row (M,), lazily, as (label-set (M,), score, p-value) from the most plausible on.

        Raises InputError for bad input. Order among equal scores is free.
        """
        row = np.asarray(outputs_row)
        if row.ndim != 1:
            raise InputError(f"outputs_row has shape {row.shape}: give the outputs of one row, shape (M,).")
        changes = _changes(self._check(row[None]), self.d)
        base, lowest, known = changes.base[0], int(changes.base_scores[0]), self.scores.tolist()

        def walk() -> Iterator[tuple[Sets, float, float]]:
            for total, changed in subset_sums_best_first(changes.gains[0]):
                label_set = base.copy()
                label_set[list(changed)] ^= True
                not_below = len(known) - bisect.bisect_left(known, lowest + total)
                yield label_set, (lowest + total) / STEPS, (not_below + 1) / (len(known) + 1)

        return walk()

    def predict(self, outputs: ArrayLike) -> PointPrediction:
        """Most plausible label-set, credibility and confidence of each row (n, M), without enumeration.

        Raises InputError for bad input.
        """
        changes = _changes(self._check(outputs), self.d)
        second = changes.base_scores + changes.gains.min(axis=1)
        credibility = _p_values(changes.base_scores, self.scores)
        return PointPrediction(changes.base, credibility, 1.0 - _p_values(second, self.scores))

    def contains(self, outputs: ArrayLike, labels: ArrayLike, epsilon: float = 0.1) -> Sets:
        """Whether each row's set holds the label-set ``labels`` (n, M), (n,) bool, in O(M) a row.

        Raises InputError for bad input, unknown labels (-1) included.
        """
        scores = _scores(self._check(outputs), _check_known(labels), self.d)
        return scores <= self._largest(epsilon)

    def mean_p_value(self, outputs: ArrayLike) -> Floats:
        """Mean of p(t) over all 2^M label-sets, (n,): the smaller, the more a row's set says (the S criterion).

        Infinite where there are too many sums to count, from some 40 labels on. Raises InputError for bad input.
        """
        changes = _changes(self._check(outputs), self.d)
        shares = np.zeros((len(changes.base), len(self.scores)))  # of label-sets within each calibration score
        for row, (gains, lowest) in enumerate(zip(changes.gains, changes.base_scores, strict=True)):
            shares[row] = np.ldexp(count_subset_sums(gains, self.scores - lowest), -self.num_labels)
        return (shares.sum(axis=1) + 1.0) / (len(self.scores) + 1)

    def notes(self, epsilon: float) -> tuple[str, ...]:
        """Sentences on what the sets for ``epsilon`` promise and why they may hold all label-sets."""
        promise = (
            f"On average over calibration samples and new rows from the same source, sets miss the true label-set of "
            f"at most {epsilon:.4g} of the rows."
        )
        if self._rank(epsilon):
            return (promise,)
        few = f"{len(self.scores)} calibration rows are too few to reject any label-set at {epsilon:.4g}"
        return promise, f"{few}: give at least 1 / epsilon - 1 rows."

    def to_state(self) -> dict[str, Any]:
        """Return JSON-able values; scores in steps of 1e-12."""
        return {"d": self.d, "labels": self.num_labels, "scores": self.scores.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make anew what ``to_state`` described; raises InputError where that is damaged."""
        try:
            made = cls(state["d"])
            made.num_labels = int(state["labels"])
            made.scores = np.asarray(state["scores"], dtype=np.int64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the saved label-set predictor is damaged ({error!r}): restore the file.") from error
        largest = made.scores.max(initial=0)
        is_whole = made.scores.ndim == 1 and (np.diff(made.scores, prepend=0) >= 0).all()
        if not is_whole or largest > made.num_labels * STEPS:
            raise InputError("the saved label-set predictor is damaged (scores): restore the file.")
        return made

    def _sets_of_row(self, base: Sets, lowest: int, gains: Ints, budget: int, max_sets: int) -> LabelSets:
        sums, changed = smallest_subset_sums(gains, budget, max_sets + 1)
        label_sets = base ^ changed
        order = np.lexsort((*np.packbits(label_sets, axis=1).T[::-1], sums))[:max_sets]
        scores = lowest + sums[order]
        return LabelSets(label_sets[order], scores / STEPS, _p_values(scores, self.scores), len(sums) > max_sets)

    def _changes(self, outputs: ArrayLike, epsilon: float) -> tuple["_Changes", Ints]:
        """Base label-sets and gains of all rows, and what the gains may sum to, (n,)."""
        changes = _changes(self._check(outputs), self.d)
        return changes, self._largest(epsilon) - changes.base_scores

    def _largest(self, epsilon: float) -> int:
        """Largest score in a set for ``epsilon``, in steps."""
        rank = self._rank(epsilon)
        if rank == 0:
            return self.num_labels * int(STEPS)
        return int(self.scores[-rank]) if rank <= len(self.scores) else -1

    def _rank(self, epsilon: float) -> int:
        self._refuse_uncalibrated()
        return rejection_rank(epsilon, len(self.scores))

    def _check(self, outputs: ArrayLike) -> Floats:
        self._refuse_uncalibrated()
        checked = _check_outputs(outputs)
        if checked.shape[1] != self.num_labels:
            raise InputError(
                f"outputs has {checked.shape[1]} labels, the calibration had {self.num_labels}: give the same labels."
            )
        return checked

    def _refuse_uncalibrated(self) -> None:
        if not len(self.scores):
            raise InputError("no score was measured yet: call calibrate first.")


class LabelSetReport(NamedTuple):
    """Error over rows, sizes of their sets; without rows all are 0."""

    empirical_error: float
    average_set_size: float  # the N criterion
    empty_share: float
    single_share: float  # sets that hold one label-set
    size_counts: Ints  # (M + 2,) rows whose set holds 0, 1, 2-3, 4-7, ... label-sets


@dataclass(slots=True, eq=False)
class LabelSetSummary:
    """Mergeable counts of how often sets hold the true label-set and how large they are."""

    missed: int
    total_size: float
    sizes: Ints  # (M + 2,)

    @classmethod
    def empty(cls, num_labels: int) -> Self:
        """Summary of no rows."""
        return cls(0, 0.0, np.zeros(num_labels + 2, dtype=np.int64))

    def update(self, is_covered: ArrayLike, set_sizes: ArrayLike) -> None:
        """Add a block: what ``contains`` and ``set_sizes`` gave, (n,) each. Raises InputError for bad input."""
        covered, sizes = np.asarray(is_covered), np.asarray(set_sizes, dtype=np.float64)
        if covered.dtype != np.bool_ or covered.ndim != 1 or covered.shape != sizes.shape:
            raise InputError(
                f"is_covered {covered.shape} and set_sizes {sizes.shape} differ: give bool and numbers, (n,)."
            )
        places = np.frexp(np.minimum(sizes, np.ldexp(1.0, len(self.sizes) - 2)))[
            1
        ]  # bits of the size: 0, 1, 2, 2, 3 ...
        if not (sizes >= 0).all():
            raise InputError("set_sizes holds NaN or a number below 0: give what set_sizes returned.")
        self.missed += int((~covered).sum())
        self.total_size += float(sizes.sum())
        self.sizes += np.bincount(places, minlength=len(self.sizes))

    def merge(self, other: "LabelSetSummary") -> "LabelSetSummary":
        """Summary of the rows of both. Raises InputError if the labels differ in number."""
        if len(self.sizes) != len(other.sizes):
            raise InputError(
                f"the summaries are of {len(self.sizes) - 2} and {len(other.sizes) - 2} labels: merge like ones."
            )
        return LabelSetSummary(self.missed + other.missed, self.total_size + other.total_size, self.sizes + other.sizes)

    def finalize(self) -> LabelSetReport:
        """Shares out of the counts."""
        rows = max(int(self.sizes.sum()), 1)
        empty, single = self.sizes[:2] / rows
        return LabelSetReport(
            self.missed / rows, self.total_size / rows, float(empty), float(single), self.sizes.copy()
        )


class _Changes(NamedTuple):
    base: Sets  # (n, M) the label-set of the smallest score
    base_scores: Ints  # (n,)
    gains: Ints  # (n, M) what changing a label adds


def _changes(outputs: Floats, d: float) -> _Changes:
    unset, is_set = _terms(outputs, d)
    return _Changes(outputs > 0.5, np.minimum(unset, is_set).sum(axis=1), np.abs(is_set - unset))


def _terms(outputs: Floats, d: float) -> tuple[Ints, Ints]:
    """Terms of equation (1) for labels at 0 and at 1, in whole steps, (n, M) each."""
    unset, is_set = (np.rint(each**d * STEPS).astype(np.int64) for each in (outputs, 1.0 - outputs))
    return unset, is_set


def _scores(outputs: Floats, labels: Ints, d: float) -> Ints:
    _check_same_shape(outputs, labels)
    unset, is_set = _terms(outputs, d)
    return np.where(labels == 1, is_set, unset).sum(axis=1)


def _p_values(scores: Ints | Floats, calibration_scores: Ints | Floats) -> Floats:
    """Equation (2), in steps; ``calibration_scores`` (q,) rising."""
    below = np.searchsorted(calibration_scores, scores, side="left")
    return (len(calibration_scores) - below + 1) / (len(calibration_scores) + 1)


def _check_power(d: float) -> float:
    if not 0 < d < math.inf:
        raise InputError(f"d is {d}: give a power above 0.")
    return float(d)


def _check_outputs(outputs: ArrayLike) -> Floats:
    checked = check_presence_probs(outputs, name="outputs").astype(np.float64, copy=False)
    if not checked.shape[1]:
        raise InputError(
            f"outputs has shape {checked.shape}: give one row for each example, one column for each label."
        )
    return checked


def _check_known(labels: ArrayLike) -> Ints:
    given = check_multilabels(labels)
    if (given < 0).any():
        row, column = np.argwhere(given < 0)[0]
        raise InputError(f"labels row {row}, column {column} is unknown (-1): leave out rows not known in full.")
    return given


def _check_same_shape(outputs: Floats, labels: Ints) -> None:
    if outputs.shape != labels.shape:
        raise InputError(f"outputs has shape {outputs.shape}, labels {labels.shape}: give one label for each output.")


CARD = Card(
    number=23,
    slug="lp-icp",
    title="Label-sets with a guarantee (label powerset inductive conformal prediction, LP-ICP)",
    task="certainty",
    fault="several labels a row, and no word on which combinations are plausible",
    recipe=(),
    idea="List the label-sets that cannot be rejected, out of 2^M, from the most plausible on.",
    use="labelwise.LabelPowersetICP().calibrate(outputs, labels).prediction_set(new_outputs, epsilon=0.1)",
    paper="Well-calibrated confidence measures for multi-label text classification with a large number of labels, "
    "Pattern Recognition 122, 2022",
    link="https://arxiv.org/abs/2312.09304",
    authors_code="none found",
    licence="golden numbers from exhaustive enumeration",
    defaults={"d": 2.0, "epsilon": 0.1, "max_sets": MAX_SETS},
    cost="one sort of q calibration scores; O(M) a row to test one label-set, O(K) to list K",
)

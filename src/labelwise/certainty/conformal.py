"""Prediction sets that hold the true class as often as promised, also when calibration labels are partly wrong.

Split-conformal prediction (Vovk et al., 2005; Sadinle et al., 2019; Romano et al., 2020). A score s(x, k) is small
where class k is plausible for row x; the set of x holds the classes whose score is at most a threshold that was
measured on n calibration rows. For exchangeable rows with right labels the r-th smallest own score covers a new row's
true class with probability at least r / (n + 1), exactly, for any model and any n; so the threshold of ``alpha`` is
that of rank r = ceil((n + 1)(1 - alpha)), and where r > n no set smaller than all classes keeps the promise.

Wrong calibration labels. Let T[given, true] be the noise matrix, and let the given label depend on the row through
its true class y alone. With W = T^-1, sum_j W[k, j] T[j, y] = 1 for k = y and 0 otherwise. Hence, for every t,

    G_i(t) = sum_k W[k, given_i] 1[s(x_i, k) <= t],    E[G_i(t) | x_i, y_i] = 1[s(x_i, y_i) <= t]            (1)

so the sum of G_i(t) over the rows counts, without bias, the true classes that threshold t covers (the marginal form
of Sesia et al., 2023, https://arxiv.org/abs/2309.05092; Bortolotti et al., 2025, https://arxiv.org/abs/2501.18060). It
takes the place of the count of own scores. The threshold of rank r is the smallest t from which on, for all t' >= t,

    sum_i G_i(t') + least - margin sqrt(n) sd_i(G_i(t') - 1[s(x_i, given_i) <= t']) >= r                      (2)

- ``least = min_j sum_k min(W[k, j], 0)`` is the least that one more row could add. As in the plain rule, which counts
  the new row as not covered, the threshold is then never below the one that all n + 1 rows together would have given.
- the last term is ``margin`` standard errors of the correction alone (what the plain count must be changed by). The
  sampling error of the labels themselves is in the rank already.
- "from which on": the weighted count is not monotone, so the first crossing would be an accident of the sample.

For T = I both terms vanish and (2) is the plain rule, to the last bit. Otherwise the promise of 1 - alpha, an average
over calibration samples and new rows, holds up to a term of order 1 / n (the threshold is chosen on the labels whose
noise it averages over), on which the margin is a reserve; it is not a finite-sample theorem. It assumes that T is known
and that wrong labels do not depend on the row given its true class. For an estimated T give several plausible ones:
the threshold is the largest of theirs. Where T hardly tells classes apart nothing can be promised from given labels and
sets hold all classes. The plain threshold is no safe fallback in general: it is too large where noise spreads labels
away from plausible classes (Einbinder et al., 2022, https://arxiv.org/abs/2209.14295), but too small where it moves
them towards what the model prefers. ``assume_dispersive`` says that the first is the case.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError
from labelwise.labels.check import check_labels, check_pred_probs
from labelwise.labels.noise import check_noise_matrix, scale_noise

SCORES = ("lac", "aps")
ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
# Largest column sum of |T^-1|: how much one given label may count. Beyond, what T is not known to matters more than T.
LARGEST_INVERSE = 100.0
# Slack for ranks, so that (n + 1)(1 - alpha) = 18.000000000000004 asks for rank 18.
ROUNDING = 1e-9

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sets = NDArray[np.bool_]


def conformal_scores(pred_probs: ArrayLike, score: str = "lac", uniforms: ArrayLike | None = None) -> Floats:
    """Scores (n, classes) float64, small where a class is plausible.

    ``lac``: one minus the probability. ``aps``: total probability of the classes that come first by falling
    probability, the class itself included; equal probabilities go by class number. With ``uniforms`` (n,) from [0, 1]
    the share u of the class itself is taken off (Romano et al., 2020, equation 8), which makes coverage exact.
    Raises InputError for bad input. Cost: for aps one sort a row.
    """
    probs = check_pred_probs(pred_probs).astype(np.float64)
    if score not in SCORES:
        raise InputError(f"score is {score!r}: choose one of {', '.join(SCORES)}.")
    if score == "lac":
        if uniforms is not None:
            raise InputError("uniforms belong to the score aps: leave them out for lac.")
        return 1.0 - probs
    order = np.argsort(-probs, axis=1, kind="stable")
    summed = np.cumsum(np.take_along_axis(probs, order, axis=1), axis=1)
    scores = np.empty_like(summed)
    np.put_along_axis(scores, order, summed, axis=1)
    return scores if uniforms is None else scores - _check_uniforms(uniforms, len(probs))[:, None] * probs


def conformal_rank(num_rows: int, alpha: float) -> int:
    """Rank ``ceil((n + 1)(1 - alpha))`` of the threshold among n calibration scores; above n means all classes.

    Raises InputError for an alpha that is not between 0 and 1.
    """
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha is {alpha}: give the share of misses allowed, above 0 and below 1.")
    return max(math.ceil((num_rows + 1) * (1.0 - alpha) - ROUNDING), 1)


def plain_thresholds(scores: Floats, labels: Ints) -> Floats:
    """Thresholds (n,) of the ranks 1 to n: the own scores in order; ``scores`` (n, classes), ``labels`` (n,)."""
    return np.sort(scores[np.arange(len(labels)), labels])


def corrected_thresholds(scores: Floats, labels: Ints, noise_matrix: ArrayLike, margin: float = 1.0) -> Floats:
    """Thresholds (n,) of the ranks 1 to n for true labels, from given ones, by equation (2); infinity = all classes.

    ``scores`` (n, classes), given ``labels`` (n,), ``noise_matrix`` (classes, classes) [given, true]. All infinite
    where the inverse has a column of absolute sum above 100. Raises InputError for a matrix that is none.
    Cost: one sort of n x classes scores, and some ten arrays of that size.
    """
    num_rows, num_classes = scores.shape
    matrix = check_noise_matrix(noise_matrix, num_classes)
    inverse = _safe_inverse(matrix)
    if inverse is None:
        return np.full(num_rows, np.inf)
    least = np.minimum(inverse, 0.0).sum(axis=0).min()

    by_row = np.argsort(scores, axis=1, kind="stable")
    steps = np.take_along_axis(inverse.T[labels], by_row, axis=1)  # (n, classes) by which G_i rises at each score
    shifts = steps - (by_row == labels[:, None])  # the same for the correction alone
    # Differences of squares, so that their sum up to t is the sum of the rows' squared corrections at t.
    squares = np.diff(np.cumsum(shifts, axis=1) ** 2, axis=1, prepend=0.0)

    points = np.take_along_axis(scores, by_row, axis=1).ravel()
    order = np.argsort(points, kind="stable")
    points = points[order]
    is_last = np.append(points[1:] > points[:-1], True)  # equal scores count together
    count, shift, square = (np.cumsum(each.ravel()[order])[is_last] for each in (steps, shifts, squares))

    variance = np.maximum(square - shift**2 / num_rows, 0.0) / max(num_rows - 1, 1)
    sure = count + least - margin * np.sqrt(num_rows * variance)
    from_here_on = np.minimum.accumulate(sure[::-1])[::-1]
    place = np.searchsorted(from_here_on, np.arange(1, num_rows + 1) - ROUNDING)  # (n,)
    return np.append(points[is_last], np.inf)[place]


def plausible_matrices(matrix: ArrayLike, rate: float, low: float, high: float) -> Floats:
    """Noise matrices (3, K, K) of the same kind with wrong labels at ``low``, ``rate`` and ``high`` of the rows.

    ``matrix`` [given, true] is that of ``rate``; without wrong labels all three are alike. For ``conformalize``, when
    the rate is known up to an interval only. Raises InputError for rates that are not 0 <= low <= rate <= high <= 1.
    """
    if not 0.0 <= low <= rate <= high <= 1.0:
        raise InputError(f"low, rate, high are {low}, {rate}, {high}: give shares from 0 to 1 in rising order.")
    return np.stack([scale_noise(matrix, each / rate if rate > 0 else 1.0) for each in (low, rate, high)])


class SplitConformal:
    """Prediction sets in three steps: train elsewhere, ``conformalize`` on rows kept aside, ``predict_sets``.

    ``score`` is ``lac`` (smallest sets on average) or ``aps`` (sets that grow with the difficulty of a row). An empty
    set is within the promise and says that no class is plausible; by default it gets the most probable class instead,
    which can only raise coverage. ``allow_empty`` keeps it empty. Raises InputError for a score that is not known.
    """

    def __init__(self, score: str = "lac", *, allow_empty: bool = False) -> None:
        if score not in SCORES:
            raise InputError(f"score is {score!r}: choose one of {', '.join(SCORES)}.")
        self.score = score
        self.allow_empty = allow_empty
        self.num_rows = 0
        self.is_corrected = False
        self.ranks: Ints = np.zeros(0, dtype=np.int64)  # (m,) rising, those whose threshold is kept
        self.thresholds: Floats = np.zeros(0)  # (m,) not falling

    def conformalize(
        self,
        pred_probs: ArrayLike,
        labels: ArrayLike,
        *,
        noise_matrix: ArrayLike | None = None,
        margin: float = 1.0,
        assume_dispersive: bool = False,
        alphas: Sequence[float] | None = None,
        uniforms: ArrayLike | None = None,
    ) -> Self:
        """Measure thresholds on rows that took no part in training.

        ``pred_probs`` (n, classes); ``labels`` (n,), rows of -1 are left out. With ``noise_matrix`` (K, K) or
        (matrices, K, K), entries [given, true], the labels are given ones and the promise is about true ones, for the
        worst of the matrices; ``margin`` is the reserve in standard errors of the correction. ``assume_dispersive``
        keeps thresholds at most those without correction, right where wrong labels are harder to cover than the true
        class (uniform noise and a model better than chance). ``alphas``: keep the thresholds of these only, for a
        small saved state; default all n. ``uniforms`` (n,): randomised aps.
        Raises InputError for bad input or where no label is known.
        """
        scores = conformal_scores(pred_probs, self.score, uniforms)
        checked = check_labels(labels, num_classes=scores.shape[1])
        if len(checked) != len(scores):
            raise InputError(f"pred_probs has {len(scores)} rows for {len(checked)} labels: give one row each.")
        if not margin >= 0:
            raise InputError(f"margin is {margin}: give a number of standard errors of at least 0.")
        known = checked >= 0
        scores, checked = scores[known], checked[known]
        if not len(checked):
            raise InputError("labels has no known label to calibrate on: give labelled rows kept aside from training.")
        thresholds = plain_thresholds(scores, checked)
        if noise_matrix is not None:
            worst = _worst_thresholds(scores, checked, noise_matrix, margin)
            thresholds = np.minimum(worst, thresholds) if assume_dispersive else worst
        self.num_rows, self.is_corrected = len(checked), noise_matrix is not None
        self.ranks = _kept_ranks(self.num_rows, alphas)
        self.thresholds = thresholds[self.ranks - 1]
        return self

    def threshold(self, alpha: float) -> float:
        """Largest score that a set for ``alpha`` takes in; infinity where nothing smaller than all classes will do.

        Where ``alphas`` were given to ``conformalize`` and ``alpha`` is none of them, the next smaller one serves.
        Raises InputError before ``conformalize``, for an alpha below all that were kept, or outside 0 to 1.
        """
        if not self.num_rows:
            raise InputError("no threshold was measured yet: call conformalize first.")
        rank = conformal_rank(self.num_rows, alpha)
        if rank > self.num_rows:
            return math.inf
        place = int(np.searchsorted(self.ranks, rank))
        if place == len(self.ranks):
            raise InputError(f"alpha {alpha:g} is below those that were kept: call conformalize with it in alphas.")
        return float(self.thresholds[place])

    def predict_sets(self, pred_probs: ArrayLike, alpha: float = 0.1, *, uniforms: ArrayLike | None = None) -> Sets:
        """Return sets as bool (n, classes): true where a class belongs to the row's set.

        ``uniforms`` (n,) when ``conformalize`` had some. Raises InputError for bad input.
        """
        scores = conformal_scores(pred_probs, self.score, uniforms)
        sets = scores <= self.threshold(alpha)
        if not self.allow_empty:
            sets[np.arange(len(sets)), scores.argmin(axis=1)] = True
        return sets

    def notes(self, alpha: float) -> tuple[str, ...]:
        """Sentences on what the sets for ``alpha`` promise and why they may hold all classes."""
        rank = conformal_rank(self.num_rows, alpha)
        kind = "true" if self.is_corrected else "given"
        promise = (
            f"On average over calibration samples and new rows from the same source, sets hold the {kind} class of "
            f"at least {1 - alpha:.4g} of the rows."
        )
        if rank > self.num_rows:
            least = math.ceil((1.0 - alpha) / alpha - ROUNDING)
            few = f"{self.num_rows} calibration rows are too few: below {least} rows every set holds all classes."
            return promise, few
        if not self.is_corrected:
            return (promise,)
        model = "The noise matrix is right, and given its true class a wrong label does not depend on the row."
        if math.isfinite(self.threshold(alpha)):
            return promise, model
        return promise, model, "Too little is left of the labels after the correction: every set holds all classes."

    def to_state(self) -> dict[str, Any]:
        """Return JSON-able values; an infinite threshold is null."""
        return {
            "score": self.score,
            "allow_empty": self.allow_empty,
            "rows": self.num_rows,
            "corrected": self.is_corrected,
            "ranks": self.ranks.tolist(),
            "thresholds": [value if math.isfinite(value) else None for value in self.thresholds.tolist()],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make anew what ``to_state`` described; raises InputError where that is damaged."""
        try:
            made = cls(state["score"], allow_empty=bool(state["allow_empty"]))
            made.num_rows, made.is_corrected = int(state["rows"]), bool(state["corrected"])
            made.ranks = np.asarray(state["ranks"], dtype=np.int64)
            values = [math.inf if value is None else float(value) for value in state["thresholds"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the saved prediction sets are damaged ({error!r}): restore the file.") from error
        made.thresholds = np.asarray(values, dtype=np.float64)
        is_whole = made.ranks.shape == made.thresholds.shape and not np.isnan(made.thresholds).any()
        if not is_whole or (np.diff(made.ranks) <= 0).any() or (made.thresholds[1:] < made.thresholds[:-1]).any():
            raise InputError("the saved prediction sets are damaged (ranks and thresholds): restore the file.")
        return made


class CoverageReport(NamedTuple):
    """Coverage over rows with a known label, sizes over all rows; a class or table without rows has 0."""

    coverage: float
    mean_size: float
    class_coverage: Floats  # (classes,)
    class_counts: Ints  # (classes,) rows with a known label
    size_counts: Ints  # (classes + 1,) rows whose set holds 0, 1, ... classes


@dataclass(slots=True, eq=False)
class CoverageSummary:
    """Mergeable counts of how often sets hold the label, by class, and how large they are."""

    covered: Ints  # (classes,)
    total: Ints  # (classes,)
    sizes: Ints  # (classes + 1,)

    @classmethod
    def empty(cls, num_classes: int) -> Self:
        """Summary of no rows."""
        covered, total = np.zeros((2, num_classes), dtype=np.int64)
        return cls(covered, total, np.zeros(num_classes + 1, dtype=np.int64))

    def update(self, sets: ArrayLike, labels: ArrayLike) -> None:
        """Add a block: sets (n, classes) bool, labels (n,), -1 = unknown. Raises InputError for bad input."""
        members, given = _check_sets(sets, labels, len(self.total))
        known = np.flatnonzero(given >= 0)
        is_covered = members[known, given[known]]
        self.total += np.bincount(given[known], minlength=len(self.total))
        self.covered += np.bincount(given[known][is_covered], minlength=len(self.total))
        self.sizes += np.bincount(set_sizes(members), minlength=len(self.sizes))

    def merge(self, other: "CoverageSummary") -> "CoverageSummary":
        """Summary of the rows of both. Raises InputError if the classes differ in number."""
        if len(self.total) != len(other.total):
            raise InputError(f"the summaries are of {len(self.total)} and {len(other.total)} classes: merge like ones.")
        return CoverageSummary(self.covered + other.covered, self.total + other.total, self.sizes + other.sizes)

    def finalize(self) -> CoverageReport:
        """Shares out of the counts."""
        rows = max(int(self.sizes.sum()), 1)
        return CoverageReport(
            coverage=float(self.covered.sum() / max(int(self.total.sum()), 1)),
            mean_size=float((self.sizes * np.arange(len(self.sizes))).sum() / rows),
            class_coverage=self.covered / np.maximum(self.total, 1),
            class_counts=self.total.copy(),
            size_counts=self.sizes.copy(),
        )


def coverage(sets: ArrayLike, labels: ArrayLike) -> float:
    """Share of the rows with a known label (n,) whose set (n, classes) holds it; 0 where none is known."""
    members = np.asarray(sets)
    if members.ndim == 2 and not len(members) and not np.size(labels):
        return 0.0
    members, given = _check_sets(sets, labels, None)
    known = np.flatnonzero(given >= 0)
    return float(members[known, given[known]].mean()) if len(known) else 0.0


def set_sizes(sets: ArrayLike) -> Ints:
    """Number of classes in each set, (n,) int64."""
    return np.asarray(sets, dtype=bool).sum(axis=1, dtype=np.int64)


def _worst_thresholds(scores: Floats, labels: Ints, matrices: ArrayLike, margin: float) -> Floats:
    """The largest threshold of each rank over one noise matrix (K, K) or several (matrices, K, K)."""
    stack = np.asarray(matrices, dtype=np.float64)
    if stack.ndim == 2:
        stack = stack[None]
    if stack.ndim != 3 or not len(stack):
        raise InputError(
            f"noise_matrix has shape {stack.shape}: give (classes, classes) or (matrices, classes, classes)."
        )
    return np.maximum.reduce([corrected_thresholds(scores, labels, matrix, margin) for matrix in stack])


def _safe_inverse(matrix: Floats) -> Floats | None:
    """Inverse (K, K), or None where it does not exist or amplifies too much."""
    try:
        inverse: Floats = np.linalg.inv(matrix).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        return None
    return inverse if np.abs(inverse).sum(axis=0).max() <= LARGEST_INVERSE else None


def _kept_ranks(num_rows: int, alphas: Sequence[float] | None) -> Ints:
    if alphas is None:
        return np.arange(1, num_rows + 1)
    ranks = np.unique(np.asarray([conformal_rank(num_rows, alpha) for alpha in alphas], dtype=np.int64))
    return ranks[ranks <= num_rows]


def _check_uniforms(uniforms: ArrayLike, num_rows: int) -> Floats:
    checked = np.asarray(uniforms, dtype=np.float64)
    if checked.shape != (num_rows,) or not ((checked >= 0) & (checked <= 1)).all():
        raise InputError(f"uniforms has shape {checked.shape}: give {num_rows} numbers from 0 to 1, one a row.")
    return checked


def _check_sets(sets: ArrayLike, labels: ArrayLike, num_classes: int | None) -> tuple[Sets, Ints]:
    members = np.asarray(sets)
    if members.ndim != 2 or members.dtype != np.bool_ or num_classes not in (None, members.shape[1]):
        raise InputError(f"sets has shape {members.shape} and type {members.dtype}: give bool (rows, classes).")
    given = check_labels(labels, num_classes=members.shape[1])
    if len(given) != len(members):
        raise InputError(f"sets has {len(members)} rows for {len(given)} labels: give one set for each label.")
    return members, given

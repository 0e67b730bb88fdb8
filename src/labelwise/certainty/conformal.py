"""Prediction sets that hold the true class as often as promised, also when calibration labels are partly wrong.

Split-conformal prediction (Vovk et al. 2005; Sadinle et al. 2019; Romano et al. 2020): the score of a row and a class
is small where the class is plausible; a set holds the classes whose score is at most a threshold that was measured on
calibration rows. For exchangeable rows with right labels, the k-th smallest score with k = ceil((n + 1)(1 - alpha))
gives coverage of at least 1 - alpha and at most 1 - alpha + 1 / (n + 1), exactly and for any model.

Wrong calibration labels. Let T[given, true] be the noise matrix and given labels depend on the row through the true
class alone. Then P(given | x) = T P(true | x), so for every function f of a row and a class

    E[f(X, true)] = E[ sum_k T^-1[k, given] f(X, k) ]                                        (1)

With f the indicator of a score at most t, the right side is the coverage of threshold t among true labels, estimated
from given ones without bias (the device of Sesia et al., 2023, https://arxiv.org/abs/2309.05092). The threshold is
the smallest beyond which this estimate, less ``margin`` standard errors, never falls under 1 - alpha again. Where
noise spreads labels away from plausible classes, plain calibration is conservative already (Einbinder et al., 2022,
https://arxiv.org/abs/2209.14295), so the corrected threshold is never allowed above the plain one. The promise then
rests on the matrix: it is approximate where the matrix is estimated or the noise depends on the row.
"""

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError
from labelwise.labels.check import check_labels, check_pred_probs

SCORES = ("lac", "aps")
ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
# A matrix this hard to invert says next to nothing about the true labels.
LARGEST_CONDITION = 1e3


def conformal_scores(pred_probs: ArrayLike, score: str = "lac") -> NDArray[np.float64]:
    """Scores (n, classes), small where a class is plausible.

    ``lac``: one minus the probability. ``aps``: total probability of the classes at least as probable, the class
    itself included (without randomisation, so sets err on the large side); equal probabilities go by class order.
    """
    probs = check_pred_probs(pred_probs).astype(np.float64)
    if score == "lac":
        return 1.0 - probs
    if score == "aps":
        order = np.argsort(-probs, axis=1, kind="stable")
        summed = np.cumsum(np.take_along_axis(probs, order, axis=1), axis=1)
        scores = np.empty_like(summed)
        np.put_along_axis(scores, order, summed, axis=1)
        return scores
    raise InputError(f"score is {score!r}; choose one of {', '.join(SCORES)}")


def conformal_quantile(scores: ArrayLike, alpha: float) -> float:
    """The ``ceil((n + 1)(1 - alpha))``-th smallest score (n,); infinity where n is too small to promise that much."""
    scores = np.sort(np.asarray(scores, dtype=np.float64))
    rank = math.ceil((len(scores) + 1) * (1.0 - alpha) - 1e-9)
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


def corrected_quantile(
    scores: NDArray[np.float64], labels: NDArray[np.int64], noise_matrix: ArrayLike, alpha: float, margin: float = 1.0
) -> float:
    """Threshold for coverage among true labels from given ones, by equation (1); never above the plain threshold.

    ``scores`` (n, classes), given ``labels`` (n,), ``noise_matrix`` [given, true]. ``margin`` is the number of
    standard errors that the estimated coverage must lie above 1 - alpha. Falls back on the plain threshold where
    the matrix cannot be inverted safely. Cost: one sort of n x classes scores.
    """
    rows = np.arange(len(labels))
    plain = conformal_quantile(scores[rows, labels], alpha)
    matrix = np.asarray(noise_matrix, dtype=np.float64)
    if np.linalg.cond(matrix) > LARGEST_CONDITION:
        return plain
    weights = np.linalg.inv(matrix).T[labels]  # (n, classes), row i holds T^-1[:, given_i]

    order = np.argsort(scores, axis=None, kind="stable")
    ranked = scores.ravel()[order]
    coverage = np.cumsum(weights.ravel()[order]) / len(labels)

    def threshold(target: float) -> float:
        # The last score at which the estimate is still too low; with negative weights it may dip again after rising.
        short = np.flatnonzero(coverage < target - 1e-12)
        last = short[-1] if len(short) else -1
        return float(ranked[last + 1]) if last + 1 < len(ranked) else math.inf

    first = threshold(1.0 - alpha)
    terms = (weights * (scores <= first)).sum(axis=1)  # (n,) the mean of these is the estimate
    error = float(terms.std(ddof=1) / math.sqrt(len(terms))) if len(terms) > 1 else math.inf
    # One row more would be needed to be exact without noise: the (n + 1) / n of the plain rule.
    target = (1.0 - alpha) * (len(labels) + 1) / len(labels) + margin * error
    return min(plain, threshold(min(target, float(coverage[-1]))))


class SplitConformal:
    """Prediction sets in three steps: train elsewhere, ``conformalize`` on rows kept aside, ``predict_sets``.

    ``score`` is ``lac`` (smallest sets on average) or ``aps`` (sets that grow with the difficulty of a row).
    ``allow_empty=False`` adds the most probable class to a set that would be empty, which can only raise coverage.
    """

    def __init__(self, score: str = "lac", *, allow_empty: bool = False) -> None:
        if score not in SCORES:
            raise InputError(f"score is {score!r}; choose one of {', '.join(SCORES)}")
        self.score = score
        self.allow_empty = allow_empty
        self.thresholds: dict[float, float] = {}
        self.num_rows = 0

    def conformalize(
        self,
        pred_probs: ArrayLike,
        labels: ArrayLike,
        *,
        noise_matrix: ArrayLike | None = None,
        alphas: Sequence[float] = ALPHAS,
        margin: float = 1.0,
    ) -> Self:
        """Measure the threshold of each ``alpha`` on rows that took no part in training.

        ``pred_probs`` (n, classes); ``labels`` (n,), -1 left out. With ``noise_matrix`` [given, true] the labels are
        given ones and the promise is about true ones. Raises InputError for a bad alpha or where no label is known.
        """
        for alpha in alphas:
            if not 0.0 < alpha < 1.0:
                raise InputError(f"alpha is {alpha}; give the share of misses allowed, above 0 and below 1")
        scores = conformal_scores(pred_probs, self.score)
        checked = check_labels(labels, num_classes=scores.shape[1])
        if len(checked) != len(scores):
            raise InputError(
                f"there are {len(scores)} probability rows but {len(checked)} labels; give one label a row"
            )
        known = checked >= 0
        scores, checked = scores[known], checked[known]
        if not len(checked):
            raise InputError("no calibration row has a known label; give labelled rows that took no part in training")
        own = scores[np.arange(len(checked)), checked]
        self.num_rows = len(checked)
        self.thresholds = {
            float(alpha): conformal_quantile(own, alpha)
            if noise_matrix is None
            else corrected_quantile(scores, checked, noise_matrix, alpha, margin)
            for alpha in alphas
        }
        return self

    def threshold(self, alpha: float) -> float:
        """The threshold measured for ``alpha``, or for the next smaller one, which promises more.

        Raises InputError before ``conformalize`` or for an alpha under all that were measured.
        """
        fitting = [each for each in self.thresholds if each <= alpha + 1e-12]
        if not fitting:
            known = ", ".join(f"{each:g}" for each in sorted(self.thresholds)) or "none yet: call conformalize first"
            raise InputError(f"no threshold was measured for alpha {alpha:g}; measured are {known}")
        return self.thresholds[max(fitting)]

    def predict_sets(self, pred_probs: ArrayLike, alpha: float = 0.1) -> NDArray[np.bool_]:
        """Return sets as bool (n, classes): true where a class belongs to the row's set."""
        scores = conformal_scores(pred_probs, self.score)
        # The slack keeps a score that is equal to the threshold inside, whatever the last bit says.
        sets = scores <= self.threshold(alpha) + 1e-12
        if not self.allow_empty:
            sets[np.arange(len(sets)), scores.argmin(axis=1)] = True
        return sets

    def to_state(self) -> dict[str, Any]:
        """Return JSON-able values; an infinite threshold is null."""
        finite = [[alpha, None if math.isinf(value) else value] for alpha, value in self.thresholds.items()]
        return {"score": self.score, "allow_empty": self.allow_empty, "rows": self.num_rows, "thresholds": finite}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "SplitConformal":
        """Make anew what ``to_state`` described."""
        made = cls(state["score"], allow_empty=bool(state["allow_empty"]))
        made.num_rows = int(state["rows"])
        made.thresholds = {
            float(alpha): math.inf if value is None else float(value) for alpha, value in state["thresholds"]
        }
        return made


def coverage(sets: NDArray[np.bool_], labels: ArrayLike) -> float:
    """Share of rows with a known label whose set holds it; 0 where none is known."""
    labels = np.asarray(labels)
    known = np.flatnonzero(labels >= 0)
    return float(sets[known, labels[known]].mean()) if len(known) else 0.0

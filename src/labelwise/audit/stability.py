"""How stable a benchmark's ranking is under label errors: accuracies as the share of mislabelled examples grows.

Northcutt, Athalye, Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS
2021, section 5. A test set is split into benign examples B (not doubted, or validated as right), correctable ones C
(people agreed on another label) and unknown ones U. Removing a random fraction of B raises the noise prevalence |C| /
(|B| + |C|); a model that is better on B may be worse on C, and then the ranking turns over at a computable
prevalence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError
from labelwise.labels.check import UNLABELLED, check_labels

Floats = NDArray[np.float64]
Numbers = TypeVar("Numbers", float, Floats)
Correlation = Literal["spearman", "kendall"]


class Crossover(NamedTuple):
    """Where two models swap places: noise prevalence and the fraction of benign examples to remove; None if never.

    A negative removed fraction says that the order has already turned over on the set as it is.
    """

    prevalence: float | None
    removed_fraction: float | None


class Accuracies(NamedTuple):
    """Accuracies of one model, each in [0, 1]; 0 on an empty part.

    original: given labels, all examples. corrected: corrected labels, benign and correctable examples.
    benign: on B. correctable_given and correctable_corrected: on C against either label.
    """

    original: float
    corrected: float
    benign: float
    correctable_given: float
    correctable_corrected: float


class Interval(NamedTuple):
    """`low` and `high` ends, each (prevalences,)."""

    low: Floats
    high: Floats


NO_CROSSOVER = Crossover(None, None)


def prevalence(n_benign: int, n_correctable: int, removed_fraction: float = 0.0) -> float:
    """Noise prevalence |C| / (|C| + (1 - x) |B|) once a fraction x of the benign examples is removed; 0 if nothing is
    left.

    Raises InputError for negative counts or a fraction outside [0, 1]. Northcutt et al. 2021, section 5.
    """
    if n_benign < 0 or n_correctable < 0:
        raise InputError(f"n_benign={n_benign}, n_correctable={n_correctable}: give counts of 0 or more.")
    if not 0 <= removed_fraction <= 1:
        raise InputError(f"removed_fraction is {removed_fraction}: give a number from 0 to 1.")
    left = n_correctable + (1 - removed_fraction) * n_benign
    return n_correctable / left if left > 0 else 0.0


def accuracy_at_prevalence(acc_benign: float, acc_correctable: float, n: Numbers) -> Numbers:
    """Expected accuracy (1 - n) a_B + n a_C at noise prevalence n, a number or an array in [0, 1]."""
    return (1 - n) * acc_benign + n * acc_correctable


def crossover(
    acc_benign_a: float,
    acc_benign_b: float,
    acc_correctable_a: float,
    acc_correctable_b: float,
    n_benign: int,
    n_correctable: int,
) -> Crossover:
    """Noise prevalence n* = d / (d + e) at which b overtakes a, and the removed fraction x* of B that brings it about.

    d = a_B - b_B is a's lead on the benign part, e = b_C - a_C is b's lead on the correctable part. There is no
    crossover unless both are positive (one model then wins or ties on both parts) and neither part is empty. Call it
    with a as the better model on the benign part.
    """
    lead_benign = acc_benign_a - acc_benign_b
    lead_correctable = acc_correctable_b - acc_correctable_a
    if lead_benign <= 0 or lead_correctable <= 0 or n_benign == 0 or n_correctable == 0:
        return NO_CROSSOVER
    n = lead_benign / (lead_benign + lead_correctable)
    return Crossover(n, 1 - n_correctable * (1 - n) / (n * n_benign))


def rank_correlation(first: Sequence[float], second: Sequence[float], method: Correlation = "spearman") -> float | None:
    """Rank correlation of two scores of the same models, in [-1, 1].

    None when it is undefined: fewer than two models, or all tie on one side. Raises InputError for another method.
    """
    from scipy.stats import kendalltau, spearmanr

    measures = {"spearman": spearmanr, "kendall": kendalltau}
    if method not in measures:
        raise InputError(f"method is {method!r}: choose one of {', '.join(measures)}.")
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(measures[method](first, second).statistic)


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkStudy:
    """A test set with given labels (n,), corrected labels (n,), and (n,) bool masks of the benign and correctable
    examples.

    What is in neither mask is unknown and left out of the corrected set. Corrected labels are read on the two masks
    only. Raises InputError for lengths that differ and for masks that overlap.
    """

    given: NDArray[np.int64]
    corrected: NDArray[np.int64]
    benign_mask: NDArray[np.bool_]
    correctable_mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in self.__slots__}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(f"lengths differ ({found}): give one entry an example in each.")
        overlap = np.flatnonzero(self.benign_mask & self.correctable_mask)
        if len(overlap):
            raise InputError(
                f"row {overlap[0]} is in both masks: an example is benign, correctable or neither, so clear one."
            )

    @classmethod
    def of(cls, given: ArrayLike, corrected: ArrayLike) -> BenchmarkStudy:
        """The study of given and corrected labels (n,), where a corrected label of -1 says that none was agreed on.

        Labels left as they were are benign, changed ones correctable. Raises InputError as `check_labels` does, for
        lengths that differ, and for a given label that is unknown.
        """
        old, new = check_labels(given, name="given"), check_labels(corrected, name="corrected")
        if len(old) != len(new):
            raise InputError(
                f"there are {len(old)} given and {len(new)} corrected labels: give one of each an example."
            )
        if (old == UNLABELLED).any():
            row = int((old == UNLABELLED).argmax())
            raise InputError(f"given row {row} is -1, unknown: leave out examples of the benchmark without a label.")
        return cls(old, new, old == new, (old != new) & (new != UNLABELLED))

    @property
    def noise_prevalence(self) -> float:
        """Share of correctable examples among benign and correctable ones."""
        return prevalence(*self.sizes)

    def accuracies(self, preds: ArrayLike) -> Accuracies:
        """Accuracies of predicted classes (n,) on all parts. O(n)."""
        predicted = self._check(preds)
        hits_given = predicted == self.given
        hits_corrected = predicted == self.corrected
        return Accuracies(
            original=_mean(hits_given),
            corrected=_mean(hits_corrected[self.benign_mask | self.correctable_mask]),
            benign=_mean(hits_corrected[self.benign_mask]),
            correctable_given=_mean(hits_given[self.correctable_mask]),
            correctable_corrected=_mean(hits_corrected[self.correctable_mask]),
        )

    def accuracy_at_prevalence(self, preds: ArrayLike, n: Numbers) -> Numbers:
        """Expected corrected accuracy of predicted classes (n,) at noise prevalence n, a number or an array."""
        found = self.accuracies(preds)
        return accuracy_at_prevalence(found.benign, found.correctable_corrected, n)

    def crossover(self, preds_a: ArrayLike, preds_b: ArrayLike) -> Crossover:
        """Where the two models swap places on corrected labels, whichever of them leads on the benign part."""
        return self.crossover_of(self.accuracies(preds_a), self.accuracies(preds_b))

    def crossover_of(self, a: Accuracies, b: Accuracies) -> Crossover:
        """The same from the accuracies of the two models."""
        if a.benign < b.benign:
            a, b = b, a
        return crossover(a.benign, b.benign, a.correctable_corrected, b.correctable_corrected, *self.sizes)

    def rank_correlation(self, predictions: Sequence[ArrayLike], method: Correlation = "spearman") -> float | None:
        """Rank correlation over models of their accuracies on C, given against corrected labels.

        predictions: one (n,) row of predicted classes a model. Negative when fitting the given labels costs right
        answers. None when it is undefined: fewer than two models, or all tie on one side.
        """
        found = [self.accuracies(preds) for preds in predictions]
        return rank_correlation(
            [each.correctable_given for each in found], [each.correctable_corrected for each in found], method
        )

    def bootstrap_interval(
        self,
        preds: ArrayLike,
        prevalences: ArrayLike,
        *,
        rng: np.random.Generator,
        num_draws: int = 2000,
        confidence: float = 0.95,
    ) -> Interval:
        """Percentile bootstrap interval of the expected accuracy at each noise prevalence, (prevalences,) low and high.

        Benign and correctable examples are resampled apart, each part at its full size. A resampled count of hits is
        binomial, so it is drawn as such: O(num_draws * prevalences), whatever the number of examples.
        """
        found = self.accuracies(preds)
        grid = np.asarray(prevalences, dtype=np.float64)  # (prevalences,)
        n_benign, n_correctable = self.sizes
        benign = rng.binomial(n_benign, found.benign, num_draws) / max(n_benign, 1)  # (draws,)
        correctable = rng.binomial(n_correctable, found.correctable_corrected, num_draws) / max(n_correctable, 1)
        draws = np.outer(benign, 1 - grid) + np.outer(correctable, grid)  # (draws, prevalences)
        tail = (1 - confidence) / 2
        low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
        return Interval(low, high)

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of benign and of correctable examples."""
        return int(self.benign_mask.sum()), int(self.correctable_mask.sum())

    def _check(self, preds: ArrayLike) -> NDArray[np.int64]:
        predicted = np.asarray(preds)
        if predicted.shape != self.given.shape:
            raise InputError(
                f"preds has shape {predicted.shape}, the study {self.given.shape}: give one predicted class an example."
            )
        return predicted


def _mean(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else 0.0

"""Audit statistics as mergeable summaries: update with blocks of rows, merge those of other workers, finalize.

Floating-point sums depend on their order, so probabilities are added up as integers, in units of 2^-60: any division
of the rows into blocks, processes or machines, merged in any order, gives the same bits as one pass. Two rounds:
`ConfidenceSummary` gives the thresholds of all the data, with which `JointSummary` counts the confident joint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.evidence import Floats, Ints, gather
from labelwise.errors import InputError
from labelwise.labels.check import check_labels_and_pred_probs

# A probability is high / 2^30 + low / 2^60; an int64 holds the sum of 2^33 such words.
WORD = 1 << 30
# float64 adds integers exactly below 2^53, hence at most 2^22 words of 2^30 at a time.
ROWS_AT_A_TIME = 1 << 20

# Above every probability: a class without given labels is never reached.
ABSENT_THRESHOLD = 2.0
LOWEST_THRESHOLD = 2e-6


@dataclass(slots=True, eq=False)
class ConfidenceSummary:
    """Sum of the probability of the given class over the rows of each class: what the confident thresholds need.

    ``class_counts``, ``high``, ``low`` (classes,) int64; the sum of class k is high[k] / 2^30 + low[k] / 2^60.
    """

    class_counts: Ints
    high: Ints
    low: Ints
    num_unlabelled: int = 0

    @classmethod
    def empty(cls, num_classes: int) -> Self:
        """Summary of no rows."""
        counts, high, low = np.zeros((3, num_classes), dtype=np.int64)
        return cls(counts, high, low)

    def update(self, labels: ArrayLike, pred_probs: ArrayLike) -> None:
        """Add a block: labels (n,), -1 = unlabelled; pred_probs (n, classes). Raises InputError for bad input."""
        given, probs = _check_block(labels, pred_probs, len(self.class_counts))
        self.add_own_probs(given, probs[np.arange(len(given)), given])

    def add_own_probs(self, labels: Ints, own_prob: NDArray[Any]) -> None:
        """Add rows of which only the given class's probability is known; both (n,) and already checked."""
        for start in range(0, len(labels), ROWS_AT_A_TIME):
            self._add(labels[start : start + ROWS_AT_A_TIME], own_prob[start : start + ROWS_AT_A_TIME])

    def _add(self, labels: Ints, own_prob: NDArray[Any]) -> None:
        given = labels[labels >= 0]
        scaled = own_prob[labels >= 0].astype(np.float64) * WORD
        high = np.floor(scaled)
        low = np.rint((scaled - high) * WORD)
        num_classes = len(self.class_counts)
        self.class_counts += np.bincount(given, minlength=num_classes)
        self.high += np.bincount(given, weights=high, minlength=num_classes).astype(np.int64)
        self.low += np.bincount(given, weights=low, minlength=num_classes).astype(np.int64)
        self.num_unlabelled += len(labels) - len(given)

    def merge(self, other: ConfidenceSummary) -> ConfidenceSummary:
        """Summary of the rows of both. Raises InputError if the classes differ in number."""
        _check_same_classes(len(self.class_counts), len(other.class_counts))
        return ConfidenceSummary(
            self.class_counts + other.class_counts,
            self.high + other.high,
            self.low + other.low,
            self.num_unlabelled + other.num_unlabelled,
        )

    def finalize(self) -> Floats:
        """Confident thresholds (classes,) float64: mean probability of class k over the rows labelled k, at least 2e-6.

        A class without rows has threshold 2, which no probability reaches.
        """
        sums = (int(high) * WORD + int(low) for high, low in zip(self.high, self.low, strict=True))
        # Division of Python integers rounds once, correctly.
        means = [
            total / (int(count) * WORD * WORD) if count else ABSENT_THRESHOLD
            for total, count in zip(sums, self.class_counts, strict=True)
        ]
        return np.maximum(np.asarray(means), LOWEST_THRESHOLD)


class JointCounts(NamedTuple):
    """``confident_joint`` (classes, classes) int64 [given, confident class], its diagonal at least 1; ``num_issues``
    off-diagonal rows whose prediction also disputes the label; ``num_disputed`` rows whose likeliest class is not
    the given one.
    """

    confident_joint: Ints
    num_issues: int
    num_disputed: int


@dataclass(slots=True, eq=False)
class JointSummary:
    """Counts of (given class, class the model is confident of), for thresholds (classes,) fixed beforehand."""

    thresholds: Floats
    counts: Ints  # (classes, classes)
    num_issues: int = 0
    num_disputed: int = 0

    @classmethod
    def empty(cls, thresholds: Floats) -> Self:
        """Summary of no rows."""
        return cls(thresholds, np.zeros((len(thresholds), len(thresholds)), dtype=np.int64))

    def update(self, labels: ArrayLike, pred_probs: ArrayLike) -> None:
        """Add a block: labels (n,), -1 = unlabelled; pred_probs (n, classes). Raises InputError for bad input."""
        given, probs = _check_block(labels, pred_probs, len(self.thresholds))
        evidence = gather(given, probs, self.thresholds)
        self.counts += count_pairs(given, evidence.guess, len(self.thresholds))
        self.num_issues += int((evidence.is_off_diagonal & evidence.is_clearly_disputed).sum())
        self.num_disputed += int(evidence.is_disputed.sum())

    def merge(self, other: JointSummary) -> JointSummary:
        """Summary of the rows of both. Raises InputError if the thresholds differ."""
        _check_same_classes(len(self.thresholds), len(other.thresholds))
        if not np.array_equal(self.thresholds, other.thresholds):
            raise InputError(
                "the two summaries have different thresholds: merge the ConfidenceSummary of all rows first."
            )
        return JointSummary(
            self.thresholds,
            self.counts + other.counts,
            self.num_issues + other.num_issues,
            self.num_disputed + other.num_disputed,
        )

    def finalize(self) -> JointCounts:
        """The confident joint and the numbers of suspects."""
        return JointCounts(with_diagonal(self.counts), self.num_issues, self.num_disputed)


def count_pairs(labels: Ints, guess: Ints, num_classes: int) -> Ints:
    """How many rows have each (label, guess), (classes, classes) int64; rows with -1 in either are not counted."""
    counts = np.zeros(num_classes**2, dtype=np.int64)
    for start in range(0, len(labels), ROWS_AT_A_TIME):
        given, likely = labels[start : start + ROWS_AT_A_TIME], guess[start : start + ROWS_AT_A_TIME]
        is_counted = (given >= 0) & (likely >= 0)
        counts += np.bincount(given[is_counted] * num_classes + likely[is_counted], minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def with_diagonal(counts: Ints) -> Ints:
    """Copy of counts (classes, classes) in which every class has at least one rightly labelled example."""
    joint = counts.copy()
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint


def _check_block(labels: ArrayLike, pred_probs: ArrayLike, num_classes: int) -> tuple[Ints, NDArray[Any]]:
    given, probs = check_labels_and_pred_probs(labels, pred_probs)
    _check_same_classes(num_classes, probs.shape[1])
    return given, probs


def _check_same_classes(expected: int, found: int) -> None:
    if expected != found:
        raise InputError(f"{found} classes do not fit a summary of {expected}: every block needs the same columns.")

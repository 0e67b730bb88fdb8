"""What an audit needs to know of each example: a few numbers a row, however many classes there are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Room for rounding: a probability this little below a threshold, or below the largest, still counts as reaching it.
SLACK = 1e-6


class Evidence(NamedTuple):
    """Facts of n examples, all (n,).

    ``labels`` given class, -1 = unlabelled; ``own_prob`` probability of the given class; ``other`` likeliest class
    other than the given (the lower class where several tie) and ``other_prob`` its probability; ``guess`` the class
    that the model is confident of, -1 if none. Unlabelled rows hold own_prob 1, other -1, other_prob 0 and guess -1,
    so that nothing ever speaks against them. Classes are integers of any width.
    """

    labels: Ints
    own_prob: NDArray[Any]
    other: NDArray[Any]
    other_prob: NDArray[Any]
    guess: NDArray[Any]

    def part(self, rows: slice) -> Evidence:
        """Evidence of some rows, not copied."""
        return Evidence(*(facts[rows] for facts in self))

    @property
    def is_labelled(self) -> Bools:
        """Rows that have a label."""
        return self.labels >= 0

    @property
    def is_disputed(self) -> Bools:
        """Rows whose likeliest class is not the given one."""
        return _exceeds(self.other, self.other_prob, self.labels, self.own_prob)

    @property
    def is_clearly_disputed(self) -> Bools:
        """Rows whose likeliest class is not the given one even when the given class is helped by the slack."""
        return _exceeds(self.other, self.other_prob, self.labels, self.own_prob + np.float64(SLACK))

    @property
    def is_off_diagonal(self) -> Bools:
        """Rows that the model is confident belong to a class other than the given."""
        return (self.guess >= 0) & (self.guess != self.labels)


def gather(labels: Ints, pred_probs: NDArray[Any], thresholds: Floats) -> Evidence:
    """Evidence of checked labels (n,) and probabilities (n, classes); thresholds (classes,).

    Cost: a copy of `pred_probs` and a boolean array of its shape.
    """
    rows = np.flatnonzero(labels >= 0)
    given = labels[rows]
    own_prob = np.ones(len(labels))
    own_prob[rows] = pred_probs[rows, given]

    others = pred_probs.copy()
    others[rows, given] = -1
    other = np.full(len(labels), -1, dtype=np.int64)
    other[rows] = others.argmax(axis=1)[rows]
    other_prob = np.zeros(len(labels))
    # With one class there is no other: its probability is then 0.
    other_prob[rows] = np.maximum(others[rows, other[rows]], 0)

    guess = np.full(len(labels), -1, dtype=np.int64)
    guess[rows] = confident_guess(pred_probs, thresholds)[rows]
    return Evidence(labels, own_prob, other, other_prob, guess)


def confident_guess(pred_probs: NDArray[Any], thresholds: Floats) -> Ints:
    """Class that the model is confident of, (n,) int64, -1 if none; pred_probs (n, classes), thresholds (classes,).

    Confident means at least the class's threshold, less the slack. Of several such classes the answer is the likeliest
    class of all, as in the authors' code (count.py, compute_confident_joint); the paper takes the likeliest of
    the confident ones, which differs only where the likeliest of all is below its own threshold.
    """
    is_confident = pred_probs >= thresholds - SLACK  # (n, classes)
    num_confident = is_confident.sum(axis=1)  # (n,)
    guess = np.where(num_confident > 1, pred_probs.argmax(axis=1), is_confident.argmax(axis=1))
    return np.where(num_confident > 0, guess, -1)


def _exceeds(class_a: NDArray[Any], prob_a: NDArray[Any], class_b: NDArray[Any], prob_b: NDArray[Any]) -> Bools:
    """Whether class a comes before class b in an argmax: larger, or equal and the lower class."""
    return (prob_a > prob_b) | ((prob_a == prob_b) & (class_a < class_b))

"""How good predictions of several labels a row are. Labels are 1, 0 or -1 = unknown; unknown ones never count."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def average_precision(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> Floats:
    """Average precision of each class, (classes,): precision at each distinct score, weighed by the recall it adds.

    ``scores`` (n, classes), larger where the label is likelier; ``labels`` (n, classes). Equal scores are one step; a
    class without a known positive has 0. Cost: one sort a class.
    """
    return np.array([_class_precision(scores[:, k], labels[:, k]) for k in range(labels.shape[1])], dtype=np.float64)


def mean_average_precision(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Mean of ``average_precision`` over the classes that have a known positive; 0 where none has."""
    has_positive = (labels == 1).any(axis=0)
    return float(average_precision(scores, labels)[has_positive].mean()) if has_positive.any() else 0.0


class F1(NamedTuple):
    """``micro``: of all entries together; ``macro``: mean over classes, 0 for a class never known nor said present."""

    micro: float
    macro: float


def f1_scores(predicted: NDArray[np.generic], labels: NDArray[np.int64]) -> F1:
    """F1 of predictions (n, classes), 1 or True where present, for labels (n, classes); 0 where nothing is right."""
    said = predicted.astype(bool) & (labels >= 0)
    present = labels == 1
    right = (said & present).sum(axis=0)  # (classes,)
    total = said.sum(axis=0) + present.sum(axis=0)
    by_class = 2 * right / np.maximum(total, 1)
    macro = float(by_class.mean()) if len(by_class) else 0.0
    return F1(float(2 * right.sum() / max(int(total.sum()), 1)), macro)


def _class_precision(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    known = labels >= 0
    order = np.argsort(-scores[known], kind="stable")
    ranked, is_positive = scores[known][order], labels[known][order] == 1
    if not is_positive.any():
        return 0.0
    found = np.cumsum(is_positive)
    steps = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last row of each distinct score
    gained = np.diff(found[steps], prepend=0)
    return float((found[steps] / (steps + 1) * gained).sum() / found[-1])

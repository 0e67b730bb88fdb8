"""How labels go wrong: noise models that turn true labels into given ones.

A noise matrix T has entry [given, true] and columns that sum to 1. Every draw comes from the generator passed in, and
a label of -1 stays -1.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError
from labelwise.labels.check import check_labels

Labels = NDArray[np.int64]
Matrix = NDArray[np.float64]

# Confusions of CIFAR-10 used throughout the literature: truck > automobile, bird > airplane, cat <> dog, deer > horse.
CIFAR10_PAIRS: Mapping[int, int] = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}


def symmetric_matrix(num_classes: int, rate: float, *, include_self: bool = True) -> Matrix:
    """Uniform noise on a share ``rate`` of the labels.

    With ``include_self`` the label is redrawn over all classes, so ``rate (K - 1) / K`` of the labels end wrong (the
    convention of ELR and DivideMix); without, it moves to one of the others, so ``rate`` end wrong (Co-teaching).
    """
    _check_rate(rate)
    if include_self:
        return (1.0 - rate) * np.eye(num_classes) + rate / num_classes
    others = max(num_classes - 1, 1)
    return (1.0 - rate - rate / others) * np.eye(num_classes) + rate / others


def pair_matrix(num_classes: int, rate: float, pairs: Mapping[int, int] | None = None) -> Matrix:
    """Class-dependent noise: a share ``rate`` of each class in ``pairs`` goes to its partner (default: the next class)."""
    _check_rate(rate)
    pairs = {k: (k + 1) % num_classes for k in range(num_classes)} if pairs is None else pairs
    matrix = np.eye(num_classes)
    for true, given in pairs.items():
        if not (0 <= true < num_classes and 0 <= given < num_classes):
            raise InputError(f"pair {true} > {given} names a class that is not among the {num_classes}")
        matrix[true, true] -= rate
        matrix[given, true] += rate
    return matrix


def apply_matrix(labels: ArrayLike, matrix: ArrayLike, rng: np.random.Generator) -> Labels:
    """Draw each given label from the column of its true one. Raises InputError for a matrix that is none."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (matrix < -1e-9).any():
        raise InputError(f"a noise matrix is square and has no negative entry; this one has shape {matrix.shape}")
    if not np.allclose(matrix.sum(axis=0), 1.0, atol=1e-6):
        column = int(np.argmax(np.abs(matrix.sum(axis=0) - 1.0)))
        raise InputError(
            f"column {column} of the noise matrix sums to {matrix.sum(axis=0)[column]:.4g}; "
            "entry [given, true] needs columns that sum to 1"
        )
    true = check_labels(labels, num_classes=len(matrix))
    return _draw(true, np.cumsum(matrix, axis=0).T[np.maximum(true, 0)], rng)


def redraw_symmetric(labels: ArrayLike, rate: float, num_classes: int, rng: np.random.Generator) -> Labels:
    """Redraw exactly a share ``rate`` of the labels, chosen at random, uniformly over ALL classes.

    Some draw their own class again, so about ``rate (K - 1) / K`` of the labels end wrong.
    """
    _check_rate(rate)
    given = check_labels(labels, num_classes=num_classes).copy()
    known = np.flatnonzero(given >= 0)
    chosen = rng.choice(known, round(rate * len(known)), replace=False)
    given[chosen] = rng.integers(0, num_classes, len(chosen))
    return given


def move_symmetric(labels: ArrayLike, rate: float, num_classes: int, rng: np.random.Generator) -> Labels:
    """Move exactly a share ``rate`` of each class to one of the OTHER classes, all alike; a share ``rate`` end wrong."""
    _check_rate(rate)
    given = check_labels(labels, num_classes=num_classes).copy()
    for true in range(num_classes):
        rows = np.flatnonzero(np.asarray(labels) == true)
        chosen = rng.choice(rows, round(rate * len(rows)), replace=False)
        given[chosen] = (true + rng.integers(1, max(num_classes, 2), len(chosen))) % num_classes
    return given


def instance_dependent(
    labels: ArrayLike, features: ArrayLike, rate: float, num_classes: int, rng: np.random.Generator
) -> Labels:
    """Noise that follows from the row, ``rate`` of the labels wrong on average (after Xia et al., NeurIPS 2020).

    Each row has a flip probability of its own, normal around ``rate`` with deviation 0.1 and cut to [0, 1]; where a
    flipped label goes follows a random linear score of ``features`` (n, d), one projection a true class.
    """
    _check_rate(rate)
    true = check_labels(labels, num_classes=num_classes)
    rows = np.asarray(features, dtype=np.float64).reshape(len(true), -1)
    rows = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-12) / np.sqrt(rows.shape[1])
    flip = np.clip(rng.normal(rate, 0.1, len(true)), 0.0, 1.0) if 0 < rate < 1 else np.full(len(true), rate)
    projection = rng.normal(size=(num_classes, rows.shape[1], num_classes))
    scores = np.empty((len(true), num_classes))
    for k in range(num_classes):
        scores[true == k] = rows[true == k] @ projection[k]
    scores[np.arange(len(true)), np.maximum(true, 0)] = -np.inf
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    probs = flip[:, None] * weights / weights.sum(axis=1, keepdims=True)
    probs[np.arange(len(true)), np.maximum(true, 0)] = 1.0 - flip
    return _draw(true, np.cumsum(probs, axis=1), rng)


def human_votes(labels: ArrayLike, worker_matrices: ArrayLike, rng: np.random.Generator) -> Labels:
    """Votes (n, workers) of people who err each in their own way; ``worker_matrices`` (workers, K, K) [vote, true]."""
    matrices = np.asarray(worker_matrices, dtype=np.float64)
    return np.stack([apply_matrix(labels, matrix, rng) for matrix in matrices], axis=1)


def noise_rate(given: ArrayLike, truth: ArrayLike) -> float:
    """Share of rows whose given label is wrong, over rows where both are known; 0 where none is."""
    given, truth = np.asarray(given), np.asarray(truth)
    known = (given >= 0) & (truth >= 0)
    return float((given != truth)[known].mean()) if known.any() else 0.0


def empirical_matrix(given: ArrayLike, truth: ArrayLike, num_classes: int) -> Matrix:
    """Measured noise matrix [given, true]; the column of a class that no row has is zero."""
    given, truth = check_labels(given, num_classes=num_classes), check_labels(truth, num_classes=num_classes)
    known = (given >= 0) & (truth >= 0)
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (given[known], truth[known]), 1.0)
    return counts / np.maximum(counts.sum(axis=0), 1.0)


def _draw(true: Labels, cumulative: NDArray[np.float64], rng: np.random.Generator) -> Labels:
    """One class a row from cumulative probabilities (n, K); rows whose true label is -1 stay -1."""
    uniform = rng.random(len(true))[:, None] * cumulative[:, -1:]
    drawn = (uniform >= cumulative).sum(axis=1)
    return np.where(true < 0, true, np.minimum(drawn, cumulative.shape[1] - 1)).astype(np.int64)


def _check_rate(rate: float) -> None:
    if not 0.0 <= rate <= 1.0:
        raise InputError(f"the noise rate is {rate}; give a share from 0 to 1")

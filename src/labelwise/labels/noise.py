"""How labels go wrong: noise models that turn true labels into given ones.

A noise matrix T has entry [given, true], so its columns sum to 1. Every draw comes from the generator passed in, and
a label of -1 stays -1. "Symmetric" means two things in the literature: a share of the labels redrawn over ALL classes
(ELR, DivideMix: ``symmetric_matrix``, ``redraw_symmetric``), or moved to one of the OTHER classes (Co-teaching:
``symmetric_matrix(include_self=False)``, ``move_symmetric``).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from labelwise.errors import InputError
from labelwise.labels.check import check_labels, check_multilabels

Labels = NDArray[np.int64]
Matrix = NDArray[np.float64]

# Confusions of CIFAR-10 used throughout the literature: truck > automobile, bird > airplane, cat <> dog, deer > horse.
CIFAR10_PAIRS: Mapping[int, int] = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
# Deviation of the rows' flip probabilities around the rate, as in Xia et al.
FLIP_DEVIATION = 0.1


def check_noise_matrix(matrix: ArrayLike, num_classes: int | None = None, name: str = "noise_matrix") -> Matrix:
    """Noise matrix (K, K) float64, entry [given, true], finite, not negative, columns that sum to 1 within 1e-6.

    Raises InputError; a matrix whose rows sum to 1 instead is told to be transposed.
    """
    checked = np.asarray(matrix, dtype=np.float64)
    if checked.ndim != 2 or checked.shape[0] != checked.shape[1] or not checked.size:
        raise InputError(f"{name} has shape {checked.shape}: give one row and one column for each class.")
    if num_classes is not None and len(checked) != num_classes:
        raise InputError(f"{name} is for {len(checked)} classes, not {num_classes}: give one row and column each.")
    is_bad = ~(checked >= 0) | ~np.isfinite(checked)
    if is_bad.any():
        given, true = np.argwhere(is_bad)[0]
        raise InputError(f"{name} row {given}, column {true} is {checked[given, true]}: give shares from 0 to 1.")
    off = np.abs(checked.sum(axis=0) - 1.0)  # (K,)
    if off.max() > 1e-6:
        column = int(off.argmax())
        remedy = "transpose it" if np.allclose(checked.sum(axis=1), 1.0) else "divide every column by its sum"
        total = checked[:, column].sum()
        raise InputError(f"{name} column {column} sums to {total:.6g}, not 1 (entries are [given, true]): {remedy}.")
    return checked


def symmetric_matrix(num_classes: int, rate: float, *, include_self: bool = True) -> Matrix:
    """Uniform noise (K, K) on a share ``rate`` of the labels.

    With ``include_self`` the label is redrawn over all classes, so ``rate (K - 1) / K`` of the labels end wrong;
    without, it moves to one of the others, so ``rate`` end wrong. Raises InputError for a rate outside 0 to 1, and
    where there is no other class to move to.
    """
    _check_rate(rate)
    if include_self:
        return (1.0 - rate) * np.eye(num_classes) + rate / num_classes
    _need_other_class(num_classes, rate)
    share = rate / max(num_classes - 1, 1)
    return (1.0 - rate - share) * np.eye(num_classes) + share


def pair_matrix(num_classes: int, rate: float, pairs: Mapping[int, int] | None = None) -> Matrix:
    """Class-dependent noise (K, K): a share ``rate`` of each class in ``pairs`` (true: given) goes to its partner.

    Without ``pairs`` every class goes to the next one, the last to the first. Raises InputError for a rate outside 0
    to 1 or a class that is not there.
    """
    _check_rate(rate)
    matrix = np.eye(num_classes)
    pairs = {k: (k + 1) % num_classes for k in range(num_classes)} if pairs is None else pairs
    for true, given in pairs.items():
        if not (0 <= true < num_classes and 0 <= given < num_classes):
            raise InputError(
                f"pairs has {true} > {given}, but classes go from 0 to {num_classes - 1}: correct the pair."
            )
        matrix[true, true] -= rate
        matrix[given, true] += rate
    return matrix


def scale_noise(matrix: ArrayLike, factor: float) -> Matrix:
    """The same kind of noise with ``factor`` times the wrong labels, (K, K): ``I + factor (T - I)``.

    A factor that would empty a diagonal entry is cut to what it can bear. Raises InputError for a negative factor.
    """
    checked = check_noise_matrix(matrix)
    if not factor >= 0:
        raise InputError(f"factor is {factor}: give a number of at least 0.")
    most = 1.0 / max(1.0 - float(checked.diagonal().min()), 1e-12)
    identity = np.eye(len(checked))
    return identity + min(factor, most) * (checked - identity)


def apply_matrix(labels: ArrayLike, matrix: ArrayLike, rng: np.random.Generator | np.random.RandomState) -> Labels:
    """Draw the given label of each row (n,) from the column of its true one. Raises InputError for bad input."""
    checked = check_noise_matrix(matrix)
    given = check_labels(labels, num_classes=len(checked)).copy()
    uniforms = rng.random(len(given))
    cumulative = np.cumsum(checked, axis=0)
    for true in range(len(checked)):
        rows = np.flatnonzero(np.asarray(labels) == true)
        # Scaled by the last sum, so that rounding never reaches past the last class that has a share.
        given[rows] = np.searchsorted(cumulative[:, true], uniforms[rows] * cumulative[-1, true], side="right")
    return given


def redraw_symmetric(labels: ArrayLike, rate: float, num_classes: int, rng: np.random.Generator) -> Labels:
    """Redraw exactly ``round(rate n)`` of the n known labels, chosen at random, uniformly over ALL classes.

    Some draw their own class again, so about ``rate (K - 1) / K`` of the labels end wrong.
    """
    _check_rate(rate)
    given = check_labels(labels, num_classes=num_classes).copy()
    known = np.flatnonzero(given >= 0)
    chosen = rng.choice(known, round(rate * len(known)), replace=False)
    given[chosen] = rng.integers(0, num_classes, len(chosen))
    return given


def move_symmetric(labels: ArrayLike, rate: float, num_classes: int, rng: np.random.Generator) -> Labels:
    """Move exactly ``round(rate n_k)`` of the n_k labels of each class k to the OTHER classes, all alike.

    Raises InputError where there is no other class.
    """
    _check_rate(rate)
    _need_other_class(num_classes, rate)
    truth = check_labels(labels, num_classes=num_classes)
    given = truth.copy()
    for true in range(num_classes):
        rows = np.flatnonzero(truth == true)
        chosen = rng.choice(rows, round(rate * len(rows)), replace=False)
        given[chosen] = (true + rng.integers(1, max(num_classes, 2), len(chosen))) % num_classes
    return given


def instance_dependent(
    labels: ArrayLike, features: ArrayLike, rate: float, num_classes: int, rng: np.random.Generator
) -> Labels:
    """Noise that follows from the row's ``features`` (n, ...): ``rate`` of the labels (n,) wrong on average.

    After Xia et al., "Part-dependent Label Noise", NeurIPS 2020, algorithm 2. Each row has a flip probability of its
    own, normal around ``rate`` with deviation 0.1; the normal is cut at the same distance on both sides, where the
    paper cuts at 0 and 1, so that the mean is ``rate`` also near the ends. Where a flipped label goes follows a softmax
    of random linear scores of the standardised features, one projection a true class; it is never the true class.
    Raises InputError for bad input. Cost: one product of (n, d) by (d, K) and a table of n x K.
    """
    _check_rate(rate)
    _need_other_class(num_classes, rate)
    truth = check_labels(labels, num_classes=num_classes)
    inputs = _standardise(features, len(truth))  # (n, d)
    reach = ndtr(min(rate, 1.0 - rate) / FLIP_DEVIATION)
    flip = rate + FLIP_DEVIATION * ndtri(rng.uniform(1.0 - reach, reach, len(truth)))  # (n,)
    flip = np.clip(flip, 0.0, 1.0)

    given = truth.copy()
    is_flipped = (rng.random(len(truth)) < flip) & (truth >= 0)
    uniforms = rng.random(len(truth))
    for true in range(num_classes):
        projection = rng.normal(size=(inputs.shape[1], num_classes))
        rows = np.flatnonzero(is_flipped & (truth == true))
        scores = inputs[rows] @ projection  # (m, K)
        scores[:, true] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.finfo(np.float64).max))
        cumulative = np.cumsum(shares, axis=1)
        given[rows] = (cumulative <= (uniforms[rows] * cumulative[:, -1])[:, None]).sum(axis=1)
    return given


def human_votes(labels: ArrayLike, worker_matrices: ArrayLike, rng: np.random.Generator) -> Labels:
    """Votes (n, workers) of people who err each in their own way, independently given the true label.

    ``worker_matrices`` (workers, K, K), entry [worker, vote, true]. Raises InputError for bad input.
    """
    matrices = np.asarray(worker_matrices, dtype=np.float64)
    if matrices.ndim != 3 or not len(matrices):
        raise InputError(f"worker_matrices has shape {matrices.shape}: give one noise matrix for each worker.")
    return np.stack([apply_matrix(labels, matrix, rng) for matrix in matrices], axis=1)


def drop_labels(labels: ArrayLike, keep_prob: float, rng: np.random.Generator) -> Labels:
    """Forget entries of multi-labels (n, classes), 1, 0 or -1 = unknown: each is kept with ``keep_prob``, else -1.

    Raises InputError for a probability outside 0 to 1.
    """
    _check_rate(keep_prob)
    given = check_multilabels(labels)
    return np.where(rng.random(given.shape) < keep_prob, given, -1)


def miss_positives(labels: ArrayLike, rate: float, rng: np.random.Generator) -> Labels:
    """Overlook a share of the positives of multi-labels (n, classes): each 1 becomes 0 with probability ``rate``.

    Raises InputError for a rate outside 0 to 1.
    """
    _check_rate(rate)
    given = check_multilabels(labels)
    return np.where((given == 1) & (rng.random(given.shape) < rate), 0, given)


def noise_rate(given: ArrayLike, truth: ArrayLike) -> float:
    """Share of rows whose given label is wrong, over rows where both are known; 0 where none is."""
    given, truth = _both_known(given, truth, None)
    return float((given != truth).mean()) if len(given) else 0.0


def empirical_matrix(given: ArrayLike, truth: ArrayLike, num_classes: int) -> Matrix:
    """Measured noise matrix (K, K) [given, true]; the column of a class that no row has is 0."""
    given, truth = _both_known(given, truth, num_classes)
    counts = np.bincount(given * num_classes + truth, minlength=num_classes**2).reshape(num_classes, num_classes)
    return counts / np.maximum(counts.sum(axis=0), 1)


def _both_known(given: ArrayLike, truth: ArrayLike, num_classes: int | None) -> tuple[Labels, Labels]:
    given = check_labels(given, num_classes=num_classes, name="given")
    truth = check_labels(truth, num_classes=num_classes, name="truth")
    if len(given) != len(truth):
        raise InputError(f"there are {len(given)} given labels but {len(truth)} true ones: give one of each a row.")
    known = (given >= 0) & (truth >= 0)
    return given[known], truth[known]


def _standardise(features: ArrayLike, num_rows: int) -> NDArray[np.float64]:
    """Features (n, d) with mean 0 and a squared length of about 1, so that no destination takes all."""
    inputs = np.asarray(features, dtype=np.float64)
    if inputs.ndim == 0 or len(inputs) != num_rows:
        raise InputError(f"features has shape {inputs.shape} for {num_rows} labels: give one row for each label.")
    inputs = inputs.reshape(num_rows, -1)
    if not np.isfinite(inputs).all():
        row, column = np.argwhere(~np.isfinite(inputs))[0]
        raise InputError(f"features row {row}, column {column} is {inputs[row, column]}: repair or leave out that row.")
    deviation = np.maximum(inputs.std(axis=0), 1e-12)
    return (inputs - inputs.mean(axis=0)) / deviation / np.sqrt(max(inputs.shape[1], 1))


def _check_rate(rate: float) -> None:
    if not 0.0 <= rate <= 1.0:
        raise InputError(f"rate is {rate}: give the share of labels as a number from 0 to 1.")


def _need_other_class(num_classes: int, rate: float) -> None:
    if num_classes < 2 and rate > 0:
        raise InputError(f"num_classes is {num_classes}: labels can move to another class only where there are two.")

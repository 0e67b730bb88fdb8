"""Calibrated probabilities: temperature scaling, and measures of how honest a model's confidence is.

Temperature scaling: Guo et al., ICML 2017 (https://arxiv.org/abs/1706.04599). Risk and coverage: Geifman et al.,
ICLR 2019 (https://arxiv.org/abs/1805.08206). Labels of -1 are unknown and take no part; a measure of no rows is 0.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from labelwise.errors import InputError
from labelwise.labels.check import check_labels
from labelwise.labels.noise import check_noise_matrix

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
# With a noise matrix the likelihood may have several valleys; one grid step is a factor of 1.28.
GRID_STEPS = 25
SMALLEST_PROBABILITY = 1e-12
LOWEST_LOG_LIKELIHOOD = -1e6

Floats = NDArray[np.float64]


class ReliabilityBins(NamedTuple):
    """Predictions by confidence, (bins,) each: mean confidence, accuracy and count; empty bins hold 0."""

    confidence: Floats
    accuracy: Floats
    counts: NDArray[np.int64]


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """Return ``softmax(logits / temperature)`` row by row in float64, (n, classes).

    Raises InputError for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise InputError(f"temperature is {temperature}: give a number above 0.")
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def fit_temperature(logits: ArrayLike, labels: ArrayLike, noise_matrix: ArrayLike | None = None) -> float:
    """Return the temperature between 0.05 and 20 that makes the labels most likely.

    ``logits`` (n, classes), ``labels`` (n,) int64. With ``noise_matrix`` (classes, classes), entry [given, true], the
    labels are given ones, ``P(given | x) = sum_k matrix[given, k] softmax(z / t)_k`` (forward correction, Patrini et
    al., CVPR 2017), so that the temperature fits the true ones. Rows that are all right drive it to the lower bound,
    rows that are all wrong to the upper one. Raises InputError for bad input or where no label is known.
    Cost: about 50 softmaxes of the logits.
    """
    logits, labels = _check_rows(logits, labels, "logits")
    if not len(labels):
        raise InputError("labels has no known label to fit a temperature on: give labelled rows.")
    matrix = None if noise_matrix is None else check_noise_matrix(noise_matrix, logits.shape[1])

    def loss(log_temperature: float) -> float:
        log_probs = log_softmax(logits / np.exp(log_temperature), axis=1)
        if matrix is None:
            return float(-_own(log_probs, labels).mean())
        likely = logsumexp(log_probs, axis=1, b=matrix[labels])  # (n,)
        # A label that the matrix calls impossible is as bad at every temperature.
        return float(-np.maximum(likely, LOWEST_LOG_LIKELIHOOD).mean())

    grid = np.linspace(np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE), GRID_STEPS + 1)
    best = int(np.argmin([loss(point) for point in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, GRID_STEPS)])
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    log_temperature = found.x if found.fun < loss(grid[best]) else grid[best]
    return float(np.clip(np.exp(log_temperature), LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE))


def reliability_bins(probs: ArrayLike, labels: ArrayLike, n_bins: int = 10) -> ReliabilityBins:
    """Sort rows by their largest probability into equal bins (lower, upper]; a confidence of 0 joins the first.

    ``probs`` (n, classes) are used as given, not scaled to sum 1; ``labels`` (n,) int64. Raises InputError for bad
    input.
    """
    if n_bins < 1:
        raise InputError(f"n_bins is {n_bins}: give at least 1.")
    probs, labels = _check_rows(probs, labels, "probs")
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    # Quotients rather than multiples of a width: 3 / 10 is the double that is written 0.3.
    edges = np.arange(1, n_bins) / n_bins
    place = np.searchsorted(edges, confidence, side="left")  # (n,) an upper edge belongs to the bin below
    count = np.bincount(place, minlength=n_bins)
    divisor = np.maximum(count, 1)
    mean_confidence = np.bincount(place, confidence, n_bins) / divisor
    accuracy = np.bincount(place, correct, n_bins) / divisor
    return ReliabilityBins(mean_confidence, accuracy, count)


def expected_calibration_error(probs: ArrayLike, labels: ArrayLike, n_bins: int = 10) -> float:
    """Mean gap between confidence and accuracy over the bins (n_bins of equal width), weighted by their counts."""
    bins = reliability_bins(probs, labels, n_bins)
    total = max(int(bins.counts.sum()), 1)
    return float((np.abs(bins.accuracy - bins.confidence) * bins.counts).sum() / total)


def classwise_calibration_error(probs: ArrayLike, labels: ArrayLike, n_bins: int = 15) -> float:
    """Mean over classes 0 to the largest label of the gap between a class's probability and how often it is right.

    Bins are (lower, upper], weighted by their counts; as published (Bala93/MarginLoss), a probability of exactly 0
    falls in none. ``probs`` (n, classes), ``labels`` (n,) int64. Raises InputError for bad input.
    """
    if n_bins < 1:
        raise InputError(f"n_bins is {n_bins}: give at least 1.")
    probs, labels = _check_rows(probs, labels, "probs")
    if not len(labels):
        return 0.0
    edges = np.arange(1, n_bins) / n_bins
    errors = []
    for label in range(int(labels.max()) + 1):
        values = probs[probs[:, label] > 0, label]
        right = (labels == label)[probs[:, label] > 0]
        errors.append(_gaps(values, right, np.searchsorted(edges, values, side="left"), n_bins))
    return float(np.mean(errors) / len(labels))


def adaptive_calibration_error(probs: ArrayLike, labels: ArrayLike, n_bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over bins of about as many rows, weighted by their counts.

    The edges are the sorted confidences at the positions ``b n / n_bins``, interpolated; bins are open below, so that,
    as published (Bala93/MarginLoss), the least confident row falls in none. ``probs`` (n, classes), ``labels`` (n,)
    int64. Raises InputError for bad input.
    """
    if n_bins < 1:
        raise InputError(f"n_bins is {n_bins}: give at least 1.")
    probs, labels = _check_rows(probs, labels, "probs")
    if not len(labels):
        return 0.0
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    ordered = np.sort(confidence)
    # In whole numbers, so that an edge at a data value is that very value.
    below, rest = np.divmod(np.arange(n_bins + 1) * len(labels), n_bins)
    below, above = np.minimum(below, len(labels) - 1), np.minimum(below + 1, len(labels) - 1)
    edges = ordered[below] + (ordered[above] - ordered[below]) * rest / n_bins
    place = np.searchsorted(edges, confidence, side="left") - 1  # (n,) -1 at the lowest edge
    inside = (place >= 0) & (place < n_bins)
    return _gaps(confidence[inside], correct[inside], place[inside], n_bins) / len(labels)


def negative_log_likelihood(probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean of ``-log p[label]`` in nats; a probability below 1e-12 counts as 1e-12."""
    probs, labels = _check_rows(probs, labels, "probs")
    if not len(labels):
        return 0.0
    return float(-np.log(np.maximum(_own(probs, labels), SMALLEST_PROBABILITY)).mean())


def brier_score(probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared distance between the probabilities and the one-hot label, summed over classes: 0 to 2."""
    probs, labels = _check_rows(probs, labels, "probs")
    if not len(labels):
        return 0.0
    # |p - onehot|^2 = |p|^2 - 2 p[label] + 1
    return float(((probs**2).sum(axis=1) - 2.0 * _own(probs, labels) + 1.0).mean())


def area_under_risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean over k = 1..n of the error rate among the k most confident rows; ties keep their order.

    ``confidence`` (n,) float, ``correct`` (n,) bool. Raises InputError for bad input. Cost: one sort.
    """
    confidence, correct = _check_confidence(confidence, correct)
    if not len(confidence):
        return 0.0
    order = np.argsort(-confidence, kind="stable")
    return float((np.cumsum(~correct[order]) / np.arange(1, len(order) + 1)).mean())


def excess_aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve beyond that of the perfect order, in which all errors come last.

    With e errors the perfect area is ``(1 / n) sum_{j=1..e} j / (n - e + j)``, not its limit for many rows.
    """
    confidence, correct = _check_confidence(confidence, correct)
    if not len(correct):
        return 0.0
    errors = int((~correct).sum())
    steps = np.arange(1, errors + 1)
    perfect = (steps / (len(correct) - errors + steps)).sum() / len(correct)
    return area_under_risk_coverage(confidence, correct) - float(perfect)


def _gaps(confidence: Floats, correct: NDArray[np.bool_], place: NDArray[np.int64], n_bins: int) -> float:
    """Sum over bins of the distance between summed confidence and number correct; ``place`` (n,) is each row's bin."""
    return float(np.abs(np.bincount(place, confidence - correct, n_bins)).sum())


def _own(values: Floats, labels: NDArray[np.int64]) -> Floats:
    """Each row's value (n,) of its own label."""
    return values[np.arange(len(labels)), labels]


def _check_rows(values: ArrayLike, labels: ArrayLike, name: str) -> tuple[Floats, NDArray[np.int64]]:
    """Rows (n, classes) and labels (n,) of the rows whose label is known, checked."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise InputError(f"{name} has shape {values.shape}: give one row for each label, one column for each class.")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(f"{name} row {row}, column {column} is {values[row, column]}: repair or leave out that row.")
    if not len(values) and not np.size(labels):
        return values, np.zeros(0, dtype=np.int64)
    checked = check_labels(labels, num_classes=values.shape[1])
    if len(checked) != len(values):
        raise InputError(f"{name} has {len(values)} rows for {len(checked)} labels: give one row for each label.")
    known = checked >= 0
    return values[known], checked[known]


def _check_confidence(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if confidence.ndim != 1 or confidence.shape != correct.shape:
        raise InputError(f"confidence has shape {confidence.shape}, correct {correct.shape}: give one of each a row.")
    if np.isnan(confidence).any():
        row = int(np.isnan(confidence).argmax())
        raise InputError(f"confidence row {row} is nan: repair or leave out that row.")
    if not np.isin(correct, (0, 1)).all():
        raise InputError("correct has an entry that is neither true nor false: give one bool a row.")
    return confidence, correct.astype(bool)

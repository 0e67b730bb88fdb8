"""Calibrated probabilities: temperature scaling, and measures of how honest a model's confidence is.

Temperature scaling: Guo et al., ICML 2017 (https://arxiv.org/abs/1706.04599). Risk and coverage: Geifman et al.,
ICLR 2019 (https://arxiv.org/abs/1805.08206). Labels of -1 are unknown and take no part.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from labelwise.errors import InputError
from labelwise.labels.check import check_labels

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0


class ReliabilityBins(NamedTuple):
    """Predictions by confidence: each bin's mean confidence, accuracy and count; empty bins hold 0."""

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    counts: NDArray[np.int64]


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return ``softmax(logits / temperature)`` row by row in float64, (n, classes)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
    return exponents / exponents.sum(axis=1, keepdims=True)


def fit_temperature(logits: ArrayLike, labels: ArrayLike, noise_matrix: ArrayLike | None = None) -> float:
    """Return the temperature that makes the labels most likely, between 0.05 and 20.

    ``logits`` (n, classes), ``labels`` (n,) int64. With ``noise_matrix`` (classes, classes), entry [given, true] with
    columns that sum to 1, the labels are taken as given ones, ``P(given) = sum_true matrix[given, true] P(true)``
    (forward correction, Patrini et al., CVPR 2017), so that the temperature fits the true ones.
    Raises InputError where no label is known. Cost: about 30 passes over the logits.
    """
    logits, labels = _known(logits, labels)
    matrix = None if noise_matrix is None else np.asarray(noise_matrix, dtype=np.float64)
    rows = np.arange(len(labels))

    def negative_log_likelihood(log_temperature: float) -> float:
        probs = softmax(logits, float(np.exp(log_temperature)))
        likely = probs[rows, labels] if matrix is None else (probs * matrix[labels]).sum(axis=1)
        return float(-np.log(np.maximum(likely, 1e-300)).mean())

    bounds = (np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE))
    found = minimize_scalar(negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def reliability_bins(probs: ArrayLike, labels: ArrayLike, n_bins: int = 10) -> ReliabilityBins:
    """Sort rows by their largest probability into equal bins (lower, upper]; a confidence of 0 joins the first.

    ``probs`` (n, classes) are used as given, not scaled to sum 1; ``labels`` (n,) int64.
    """
    confidence, correct = _confidence(probs, labels)
    edges = np.linspace(0.0, 1.0, n_bins + 1)[1:-1]
    place = np.searchsorted(edges, confidence, side="left")  # (n,) upper edges belong to the bin below
    count = np.bincount(place, minlength=n_bins)
    divisor = np.maximum(count, 1)
    mean_confidence = np.bincount(place, confidence, n_bins) / divisor
    accuracy = np.bincount(place, correct, n_bins) / divisor
    return ReliabilityBins(mean_confidence, accuracy, count)


def expected_calibration_error(probs: ArrayLike, labels: ArrayLike, n_bins: int = 10) -> float:
    """Mean gap between confidence and accuracy over the bins, weighted by their counts; 0 without rows."""
    bins = reliability_bins(probs, labels, n_bins)
    total = max(int(bins.counts.sum()), 1)
    return float((np.abs(bins.accuracy - bins.confidence) * bins.counts).sum() / total)


def negative_log_likelihood(probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean of ``-log p[label]``; a probability of 0 counts as 1e-12."""
    probs, labels = _known(probs, labels)
    return float(-np.log(np.maximum(probs[np.arange(len(labels)), labels], 1e-12)).mean())


def brier_score(probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared distance between the probabilities and the one-hot label, from 0 to 2."""
    probs, labels = _known(probs, labels)
    onehot = np.eye(probs.shape[1])[labels]
    return float(((probs - onehot) ** 2).sum(axis=1).mean())


def area_under_risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean over k = 1..n of the error rate among the k most confident rows (ties keep their order); 0 without rows.

    ``confidence`` (n,) float, ``correct`` (n,) bool. Cost: one sort.
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if not len(confidence):
        return 0.0
    order = np.argsort(-confidence, kind="stable")
    return float((np.cumsum(~correct[order]) / np.arange(1, len(order) + 1)).mean())


def excess_aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve beyond that of the perfect order, in which all errors come last."""
    correct = np.asarray(correct, dtype=bool)
    errors, total = int((~correct).sum()), len(correct)
    if not total:
        return 0.0
    steps = np.arange(1, errors + 1)
    return area_under_risk_coverage(confidence, correct) - float((steps / (total - errors + steps)).sum() / total)


def _known(values: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise InputError(f"scores of shape {values.shape} must be finite numbers as (rows, classes); check the model")
    checked = check_labels(labels, num_classes=values.shape[1])
    if len(checked) != len(values):
        raise InputError(f"there are {len(values)} rows of scores but {len(checked)} labels; give one label a row")
    known = checked >= 0
    if not known.any():
        raise InputError("no row has a known label, so there is nothing to calibrate on; give labelled rows")
    return values[known], checked[known]


def _confidence(probs: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    probs, labels = _known(probs, labels)
    return probs.max(axis=1), probs.argmax(axis=1) == labels

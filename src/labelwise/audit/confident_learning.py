"""Confident learning: which given labels are wrong, and how given and true classes are distributed together.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021; as used in
"Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS 2021. Letters A to E in the
docstrings are the steps of the method; where the paper and the authors' code (cleanlab 2.9) differ, this follows the
code.

Shapes: n examples; classes = columns of pred_probs, also those that no label uses. labels (n,) int64, -1 = unlabelled:
such rows count nowhere and are never an issue. pred_probs (n, classes), rows sum to 1, from a model that was not
trained on the row. Matrices named joint are [given, true].
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit import filters
from labelwise.audit.evidence import SLACK, Bools, Evidence, Floats, Ints, gather
from labelwise.audit.scores import SCORES, check_choice, label_quality_scores
from labelwise.audit.summary import ConfidenceSummary, count_pairs, with_diagonal
from labelwise.errors import InputError
from labelwise.labels.check import check_labels, check_labels_and_pred_probs

__all__ = [
    "Latent",
    "calibrate_confident_joint",
    "confident_joint",
    "confident_thresholds",
    "estimate_joint",
    "estimate_latent",
    "find_label_issues",
    "label_quality_scores",
    "num_label_issues",
]

TINY = 1e-100
LOWEST_PRIOR = 1e-6
HIGHEST_NOISE_RATE = 0.9999
COUNTS = ("off_diagonal", "calibrated", "uncalibrated_trace")


class Latent(NamedTuple):
    """``prior`` (classes,) of the true classes; ``noise_matrix`` [given, true] = P(given | true) and
    ``inverse_noise_matrix`` [true, given] = P(true | given), columns sum to 1 (to 0 for a class without counts).
    """

    prior: Floats
    noise_matrix: Floats
    inverse_noise_matrix: Floats


def confident_thresholds(labels: ArrayLike, pred_probs: ArrayLike) -> Floats:
    """Mean probability of class k over the examples labelled k, (classes,), at least 2e-6; 2 if there are none (A1).

    The mean is rounded once, whatever the order of the rows. Raises InputError for bad input. Cost: O(n).
    """
    return _thresholds(*check_labels_and_pred_probs(labels, pred_probs))


@overload
def confident_joint(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    thresholds: ArrayLike | None = None,
    calibrate: bool = True,
    return_off_diagonal: Literal[False] = False,
) -> Ints: ...


@overload
def confident_joint(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    thresholds: ArrayLike | None = None,
    calibrate: bool = True,
    return_off_diagonal: Literal[True],
) -> tuple[Ints, Ints]: ...


def confident_joint(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    thresholds: ArrayLike | None = None,
    calibrate: bool = True,
    return_off_diagonal: bool = False,
) -> Ints | tuple[Ints, Ints]:
    """How many examples of each given class are confidently of each class, (classes, classes) int64 (A2-A4).

    thresholds: (classes,), by default `confident_thresholds`. calibrate: scale to the number of labels of each class.
    return_off_diagonal: return also the rows, ascending, counted off the diagonal. Raises InputError for bad input.
    Cost: one read of pred_probs and a copy of it.
    """
    given, probs = check_labels_and_pred_probs(labels, pred_probs)
    evidence = gather(given, probs, _thresholds(given, probs, thresholds))
    joint = with_diagonal(count_pairs(given, evidence.guess, probs.shape[1]))
    if calibrate:
        joint = _calibrate(joint, given)
    if return_off_diagonal:
        return joint, np.flatnonzero(evidence.is_off_diagonal)
    return joint


def calibrate_confident_joint(joint: ArrayLike, labels: ArrayLike) -> Ints:
    """Confident joint scaled so that each row sums to the number of labels of that class, (classes, classes) int64
    (A4).

    joint: (classes, classes) counts, not negative. labels: (n,). Raises InputError for bad input.
    """
    counts = _check_joint(joint)
    return _calibrate(counts, check_labels(labels, num_classes=len(counts)))


def estimate_joint(labels: ArrayLike, pred_probs: ArrayLike, *, confident_joint: ArrayLike | None = None) -> Floats:
    """Joint distribution of given and true class, (classes, classes) float64, sums to 1 (A5).

    confident_joint: counts to use instead of those of `pred_probs`; they are calibrated here. All zero if no row is
    labelled. Raises InputError for bad input.
    """
    given, probs = check_labels_and_pred_probs(labels, pred_probs)
    if confident_joint is None:
        evidence = gather(given, probs, _thresholds(given, probs))
        counts = with_diagonal(count_pairs(given, evidence.guess, probs.shape[1]))
    else:
        counts = _check_joint(confident_joint)
    return joint_distribution(_calibrate(counts, given))


def joint_distribution(calibrated_joint: Ints) -> Floats:
    """Calibrated counts (classes, classes) divided by their sum."""
    return calibrated_joint / max(float(calibrated_joint.sum()), TINY)


def estimate_latent(joint: ArrayLike, labels: ArrayLike, *, converge: bool = False) -> Latent:
    """Prior of the true classes and both noise matrices from a calibrated confident joint (B).

    joint: (classes, classes) counts. labels: (n,). converge: make the three agree by iteration (3 rounds of 5).
    Raises InputError for bad input.
    """
    counts = _check_joint(joint)
    given = check_labels(labels, num_classes=len(counts))
    class_counts = _class_counts(given, len(counts))
    given_prior = class_counts / max(float(class_counts.sum()), TINY)
    noise = counts / np.maximum(counts.sum(axis=0), TINY)
    inverse = counts.T / np.maximum(counts.sum(axis=1), TINY)
    prior = _count_prior(given_prior, noise, inverse)
    noise, inverse = _clip_noise_rates(noise), _clip_noise_rates(inverse)
    if converge:
        return _converge(given_prior, prior, noise)
    return Latent(prior, noise, inverse)


def noise_matrix(joint: NDArray[Any]) -> Floats:
    """P(given | true), (classes, classes) [given, true], as in `estimate_latent`, of a calibrated confident joint."""
    return _clip_noise_rates(joint / np.maximum(joint.sum(axis=0), TINY))


def num_label_issues(labels: ArrayLike, pred_probs: ArrayLike, method: str = "off_diagonal") -> int:
    """Estimated number of wrong labels (C).

    method: 'off_diagonal' counts the examples off the diagonal whose prediction disputes the label; 'calibrated' takes
    the off-diagonal mass of the calibrated joint; 'uncalibrated_trace' that of the uncalibrated counts, as in the
    study. Raises InputError for bad input. Cost: as `confident_joint`.
    """
    check_choice(method, COUNTS, "method")
    given, probs = check_labels_and_pred_probs(labels, pred_probs)
    evidence = gather(given, probs, _thresholds(given, probs))
    if method == "off_diagonal":
        return int((evidence.is_off_diagonal & evidence.is_clearly_disputed).sum())
    num_labelled = int(evidence.is_labelled.sum())
    counts = with_diagonal(count_pairs(given, evidence.guess, probs.shape[1]))
    if method == "uncalibrated_trace":
        return math.floor((1 - counts.trace() / counts.sum()) * num_labelled)
    return round((1 - joint_distribution(_calibrate(counts, given)).trace()) * num_labelled)


def find_label_issues(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    filter_by: str = filters.DEFAULT_FILTER,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
    rank_by: str | None = None,
) -> NDArray[Any]:
    """Suspected label errors as a mask (n,) bool, or with rank_by as indices int64, most suspicious first (E).

    filter_by: one of `filters.FILTERS`. frac_noise: part of the estimated errors to flag; min_examples_per_class: how
    many examples of each class to leave unflagged; both act on the prune_by filters and 'both' only. rank_by: one of
    `scores.SCORES`. Raises InputError for bad input. Cost: as `confident_joint`; the filters by noise rate also sort
    each class's rows once for each class they are confused with.
    """
    check_choice(filter_by, filters.FILTERS, "filter_by")
    if rank_by is not None:
        check_choice(rank_by, SCORES, "rank_by")
    filters.check_amounts(min_examples_per_class, frac_noise)
    given, probs = check_labels_and_pred_probs(labels, pred_probs)
    evidence = gather(given, probs, _thresholds(given, probs))
    mask = issue_mask(evidence, probs, filter_by, frac_noise, min_examples_per_class)
    if rank_by is None:
        return mask
    return filters.ranked(mask, label_quality_scores(given, probs, rank_by))


def issue_mask(
    evidence: Evidence, pred_probs: NDArray[Any], filter_by: str, frac_noise: float, min_examples_per_class: int
) -> Bools:
    """Mask (n,) of suspected errors from the evidence on checked inputs."""
    if filter_by not in filters.NEED_PRUNE_COUNTS:
        return filters.flag(evidence, filter_by, None, None)
    num_classes = pred_probs.shape[1]
    calibrated = _calibrate(with_diagonal(count_pairs(evidence.labels, evidence.guess, num_classes)), evidence.labels)
    prune_counts = filters.make_prune_counts(calibrated, min_examples_per_class, frac_noise)
    is_prunable = filters.prunable_classes(_class_counts(evidence.labels, num_classes), min_examples_per_class)
    by_noise_rate = partial(filters.select_by_noise_rate, evidence.labels, pred_probs, is_prunable=is_prunable)
    return filters.flag(evidence, filter_by, prune_counts, by_noise_rate)


def _thresholds(labels: Ints, pred_probs: NDArray[Any], thresholds: ArrayLike | None = None) -> Floats:
    num_classes = pred_probs.shape[1]
    if thresholds is None:
        summary = ConfidenceSummary.empty(num_classes)
        summary.add_own_probs(labels, pred_probs[np.arange(len(labels)), labels])
        return summary.finalize()
    given = np.asarray(thresholds, dtype=np.float64)
    if given.shape != (num_classes,) or np.isnan(given).any():
        raise InputError(f"thresholds has shape {given.shape}: give one number for each of the {num_classes} classes.")
    return given


def _class_counts(labels: Ints, num_classes: int) -> Ints:
    return np.bincount(labels[labels >= 0], minlength=num_classes)


def _calibrate(joint: NDArray[Any], labels: Ints) -> Ints:
    return calibrate_by_counts(joint, _class_counts(labels, len(joint)))


def calibrate_by_counts(joint: NDArray[Any], class_counts: Ints) -> Ints:
    """`calibrate_confident_joint` of a checked joint (classes, classes) and the number of labels of each class."""
    # Column by column, as cleanlab has it: the order of summation decides which way a rounding tie falls.
    joint = np.asfortranarray(joint)
    scaled = (joint.T / np.maximum(joint.sum(axis=1), TINY) * class_counts).T
    scaled = scaled / max(float(scaled.sum()), TINY) * class_counts.sum()
    return _round_rows(scaled)


def _round_rows(values: Floats) -> Ints:
    """Round (rows, columns) to integers, keeping each row's rounded total: the largest errors give way first."""
    rounded = values.round()
    missing = values.sum(axis=1).round() - rounded.sum(axis=1)  # (rows,)
    # Errors are at most a half, so enough of them point the right way: a cell that has none never gives way.
    columns, rows = np.divmod(np.flatnonzero((values != rounded).T), len(values))
    order = np.lexsort((values[rows, columns] - rounded[rows, columns], rows))  # by row, then error, then column
    rows, columns = rows[order], columns[order]
    sizes = np.bincount(rows, minlength=len(values))
    place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    gives_way = (place >= (sizes - missing)[rows]) | (place < -missing[rows])
    rows, columns = rows[gives_way], columns[gives_way]
    rounded[rows, columns] += np.sign(missing)[rows]
    return rounded.astype(np.int64)


def _check_joint(joint: ArrayLike) -> NDArray[Any]:
    counts = np.asarray(joint)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind not in "iuf":
        raise InputError(
            f"joint has shape {counts.shape} and type {counts.dtype}: give a (classes, classes) array of counts."
        )
    is_bad = ~(np.isfinite(counts) & (counts >= 0))
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        raise InputError(f"joint row {row}, column {column} is {counts[row, column]}: give counts of 0 or more.")
    return counts


def _count_prior(given_prior: Floats, noise: Floats, inverse: Floats) -> Floats:
    """P(true = k) proportional to P(true = k | given = k) / P(given = k | true = k) P(given = k)."""
    return _clip_prior(inverse.diagonal() / np.maximum(noise.diagonal(), TINY) * given_prior, LOWEST_PRIOR)


def _clip_prior(prior: Floats, lowest: float) -> Floats:
    clipped = np.clip(prior, lowest, 1.0)
    return clipped / clipped.sum()


def _clip_noise_rates(matrix: Floats) -> Floats:
    clipped = np.clip(matrix, 0, HIGHEST_NOISE_RATE)
    np.fill_diagonal(clipped, matrix.diagonal())
    return clipped / np.maximum(clipped.sum(axis=0), TINY)


def _converge(given_prior: Floats, prior: Floats, noise: Floats) -> Latent:
    for _ in range(3):
        for _ in range(5):
            inverse = _clip_noise_rates((noise * prior).T / np.maximum(given_prior, TINY))
            prior = _count_prior(given_prior, noise, inverse)
        noise = _clip_noise_rates((inverse * given_prior).T / np.maximum(prior, TINY))
    return Latent(_clip_prior(prior, 10 * SLACK), _clip_noise_rates(noise), _clip_noise_rates(inverse))

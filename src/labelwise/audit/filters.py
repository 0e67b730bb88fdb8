"""Filters: which examples to flag as wrongly labelled, from the evidence on each row (cleanlab/filter.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.evidence import Bools, Evidence, Floats, Ints
from labelwise.audit.scores import margin_score
from labelwise.errors import InputError

FILTERS = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)
# Best F1 of finding wrong labels on average over digits with flips of two kinds and human labels of CIFAR-10.
DEFAULT_FILTER = "prune_by_noise_rate"
# The filters that look at each row by itself.
ROW_BY_ROW = ("confident_learning", "predicted_neq_given")
NEED_PRUNE_COUNTS = ("prune_by_noise_rate", "prune_by_class", "both")


def flag(
    evidence: Evidence, filter_by: str, prune_counts: Ints | None, by_noise_rate: Callable[[Ints], Bools] | None
) -> Bools:
    """Mask (n,) of suspected errors.

    prune_counts (classes, classes) is needed by the filters of NEED_PRUNE_COUNTS; by_noise_rate(prune_counts) -> mask,
    the one selection that must see all probabilities, by 'prune_by_noise_rate' and 'both'.
    """
    if filter_by in ("low_normalized_margin", "low_self_confidence"):
        return _lowest(evidence, filter_by)
    if filter_by == "predicted_neq_given":
        mask = evidence.is_disputed
    elif filter_by == "confident_learning":
        mask = evidence.is_off_diagonal
    else:
        assert prune_counts is not None
        mask = np.ones(len(evidence.labels), dtype=bool)
        if filter_by != "prune_by_noise_rate":
            mask &= select_by_class(evidence, prune_counts)
        if filter_by != "prune_by_class":
            assert by_noise_rate is not None
            mask &= by_noise_rate(prune_counts)
    # A label that the prediction agrees with, up to rounding, is never an issue.
    return mask & evidence.is_clearly_disputed


def make_prune_counts(calibrated_joint: Ints, min_examples_per_class: int, frac_noise: float) -> Ints:
    """M of the spec: M[k, j] examples with given j and true k are to be removed, (classes, classes) int64.

    calibrated_joint: (classes, classes) [given, true]. The order of the operations is cleanlab's, as the last step
    cuts off the fraction: an amount that is a whole number but for rounding must fall on the same side.
    """
    counts = calibrated_joint.T  # [true, given]
    kept = np.maximum(counts.diagonal(), min_examples_per_class)
    added = kept - counts.diagonal()
    num_nonzero = np.maximum(np.count_nonzero(counts, axis=0) - 1.0, 1.0)
    full = np.maximum(counts - added / num_nonzero, 0)
    np.fill_diagonal(full, kept)
    reduced = full * frac_noise
    np.fill_diagonal(reduced, kept)
    np.fill_diagonal(reduced, kept + np.sum(full - reduced, axis=0))
    return reduced.astype(np.int64)


def prunable_classes(class_counts: Ints, min_examples_per_class: int) -> Bools:
    """Classes (classes,) that may lose examples: those with more than the minimum, and with two at least.

    A class of one example is left alone even if the minimum is 0: that is what cleanlab does.
    """
    return class_counts > max(min_examples_per_class, 1)


def select_by_class(evidence: Evidence, prune_counts: Ints) -> Bools:
    """Of each class j the n_j - M[j, j] examples with the smallest p[j], ties to the lower row, as a mask (n,)."""
    rows = np.flatnonzero(evidence.is_labelled)
    given = evidence.labels[rows]
    order = rows[np.lexsort((evidence.own_prob[rows], given))]  # stable: by class, then probability, then row
    class_counts = np.bincount(given, minlength=len(prune_counts))
    num_removed = np.where(class_counts > 1, class_counts - prune_counts.diagonal(), 0)
    starts = np.cumsum(class_counts) - class_counts
    place = np.arange(len(order)) - np.repeat(starts, class_counts)
    mask = np.zeros(len(evidence.labels), dtype=bool)
    mask[order[place < np.repeat(num_removed, class_counts)]] = True
    return mask


def select_by_noise_rate(labels: Ints, pred_probs: NDArray[Any], prune_counts: Ints, is_prunable: Bools) -> Bools:
    """Of each class j and each other class k the M[k, j] examples with the largest p[k] - p[j], as a mask (n,).

    labels (n,); pred_probs (n, classes); is_prunable (classes,). Ties go to the lower row. Cost: one sort of each
    column of a class's rows that has anything to remove.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for j in np.flatnonzero(is_prunable):
        num_removed = prune_counts[:, j].copy()
        num_removed[j] = 0
        columns = np.flatnonzero(num_removed > 0)
        if len(columns) == 0:
            continue
        rows = np.flatnonzero(labels == j)
        probs = pred_probs[rows].astype(np.float64)  # (rows, classes)
        margins = probs[:, columns] - probs[:, [j]]
        order = np.argsort(-margins, axis=0, kind="stable")
        is_removed = np.arange(len(rows))[:, None] < num_removed[columns]
        mask[rows[order[is_removed]]] = True
    return mask


def check_amounts(min_examples_per_class: int, frac_noise: float) -> None:
    """Raise InputError for a negative minimum or a fraction outside 0 to 1."""
    if min_examples_per_class < 0:
        raise InputError(f"min_examples_per_class is {min_examples_per_class}: give 0 or more.")
    if not 0 <= frac_noise <= 1:
        raise InputError(f"frac_noise is {frac_noise}: give a fraction from 0 to 1.")


def _lowest(evidence: Evidence, filter_by: str) -> Bools:
    count = int((evidence.is_off_diagonal & evidence.is_clearly_disputed).sum())
    scores: NDArray[Any] = evidence.own_prob
    if filter_by == "low_normalized_margin":
        scores = margin_score(evidence.own_prob, evidence.other_prob)
    rows = np.flatnonzero(evidence.is_labelled)
    mask = np.zeros(len(scores), dtype=bool)
    mask[rows[lowest_first(scores[rows])[:count]]] = True
    return mask


def lowest_first(scores: NDArray[Any]) -> Ints:
    """Order of scores (n,), none of them below 0, ascending, ties to the lower row."""
    if scores.dtype != np.float32:
        return np.argsort(scores, kind="stable")
    # The bits of a score in front of its row: numbers are sorted ten times faster than rows by a key. -0 + 0 is 0.
    keys = (scores + 0).view(np.int32).astype(np.int64) << 32 | np.arange(len(scores))
    keys.sort()
    return keys & 0xFFFFFFFF


def ranked(mask: Bools, scores: Floats | NDArray[Any]) -> Ints:
    """Rows of the mask (n,), int64, lowest score first, ties to the lower row."""
    rows = np.flatnonzero(mask)
    return rows[lowest_first(scores[rows])]
